"""When a knob touches nothing: given a configuration in which it is on, the reason, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Config = Mapping[str, Any]
Reason = Callable[[Config], str | None]

CONVOLUTIONAL = ("cnn", "lenet5", "vgg", "resnet")
SOLVERS = ("lbfgs", "newton")
RATES = ("input", "conv", "dense", "output")
_AUGMENTATIONS = (
    *("shift", "flip", "crop", "rotate", "scale", "shear", "cutout"),
    *("brightness", "contrast", "_target_"),
)
ON_IMAGES = ("mixup", "cutmix", "input_noise")  # they draw from augmentation's seed
_OWN_MODEL = "your own model decides where it drops"


# -- dropout ---------------------------------------------------------------------------------------


def no_conv(config: Config) -> str | None:
    """Dropout after convolutional blocks."""
    name = config["model"]["name"]
    if name == "custom":
        return _OWN_MODEL
    return None if name in CONVOLUTIONAL else "the model has no convolutional layer"


def no_dense(config: Config) -> str | None:
    """Dropout after hidden dense layers."""
    if config["model"]["name"] == "custom":
        return _OWN_MODEL
    return None if config["model"].get("hidden") else "the model has no hidden dense layer"


def own_ends(config: Config) -> str | None:
    """Dropout at the ends of a network."""
    return _OWN_MODEL if config["model"]["name"] == "custom" else None


def nothing_dropped(config: Config) -> str | None:
    """What adjusts dropout."""
    if config["model"]["name"] == "custom":
        return _OWN_MODEL
    some = any(_is_on(config["dropout"].get(name)) for name in RATES)
    return None if some else "nothing is dropped: every rate is 0"


def no_such_dropout(config: Config) -> str | None:
    """A kind of dropout."""
    rates, model = config["dropout"], config["model"]["name"]
    if rates.get("_target_"):
        return "your own dropout stands in its place"
    if rates["kind"] == "spatial" and not (
        _is_on(rates.get("input")) or (_is_on(rates.get("conv")) and model in CONVOLUTIONAL)
    ):
        return nothing_dropped(config) or "no map of several pixels is dropped from"
    return nothing_dropped(config)


def nothing_to_scale(config: Config) -> str | None:
    """How dropout is scaled."""
    if config["dropout"].get("_target_"):
        return "your own dropout scales by itself"
    if config["dropout"]["kind"] in ("gaussian", "alpha"):
        return f"dropout.kind={config['dropout']['kind']} keeps the mean by itself"
    return nothing_dropped(config)


def no_dropout(config: Config) -> str | None:
    """The seed of dropout."""
    if config["model"]["name"] == "custom":
        return None
    deep = config["model"]["name"] == "resnet" and _is_on(config["regularize"]["stochastic_depth"])
    return None if deep else nothing_dropped(config)


# -- norm ------------------------------------------------------------------------------------------


def no_norm(config: Config) -> str | None:
    """What adjusts a norm."""
    return "norm=none has nothing to adjust" if config["norm"]["name"] == "none" else None


def nothing_to_normalize(config: Config) -> str | None:
    """A norm."""
    model = config["model"]
    if model["name"] == "custom":
        return "your own model decides how it normalizes"
    if model["name"] in CONVOLUTIONAL:
        return None
    if config["norm"]["name"] == "instance":
        return "the model has no convolutional layer, and a dense unit has no pixels to normalize"
    return None if model.get("hidden") else "the model has no layer to normalize"


def no_batch_norm(config: Config) -> str | None:
    """What adjusts batch norm."""
    if config["norm"]["name"] != "batch":
        return "it acts only with norm=batch"
    return None


def no_running_statistics(config: Config) -> str | None:
    """What adjusts running statistics."""
    if config["norm"].get("eval") == "batch":
        return "norm.eval=batch keeps no running statistics"
    if config["regularize"].get("swa") == 0:
        return "regularize.swa=0 computes the statistics of its average anew, from the start"
    return no_batch_norm(config)


# -- training --------------------------------------------------------------------------------------


def long_warmup(config: Config) -> str | None:
    """A warm-up."""
    return _longer(config["schedule"]["warmup_epochs"], config, "the warm-up")


def no_fall(config: Config) -> str | None:
    """A schedule whose rate falls by a factor."""
    stays = config["schedule"].get("gamma") == 1
    return "with schedule.gamma=1 the rate never falls" if stays else None


def one_cycle(config: Config) -> str | None:
    """What tells a cycle from the one before."""
    alone = config["schedule"].get("cycles") == 1
    return "with schedule.cycles=1 there is no other cycle" if alone else None


def long_patience(config: Config) -> str | None:
    """The patience of a plateau."""
    return _longer(config["schedule"].get("patience"), config, "the patience")


def long_stopping(config: Config) -> str | None:
    """The patience of early stopping."""
    patience = config["regularize"]["early_stopping"]
    return _longer(patience, config, "the patience")


def one_epoch(config: Config) -> str | None:
    """Selection by validation."""
    alone = config["select"] == "best" and config["epochs"] == 1
    return "after epochs=1 the best weights are the last" if alone else None


def no_rule(config: Config) -> str | None:
    """What changes a step's gradient or the step."""
    name = config["optimizer"]["name"]
    return f"optimizer={name} searches its own steps" if name in SOLVERS else None


def no_branch(config: Config) -> str | None:
    """Stochastic depth."""
    if config["model"]["name"] != "resnet":
        return "only model=resnet has residual branches"
    return None


def nothing_augmented(config: Config) -> str | None:
    """What adjusts augmentation."""
    some = any(_is_on(config["augment"].get(name)) for name in _AUGMENTATIONS)
    return None if some else "nothing is augmented"


def no_augmentation(config: Config) -> str | None:
    """The seed of augmentation."""
    beside = any(_is_on(config["regularize"][name]) for name in ON_IMAGES)
    return None if beside else nothing_augmented(config)


# -- execution -------------------------------------------------------------------------------------


def no_cluster(config: Config) -> str | None:
    """What is asked of a cluster."""
    return None if config["launch"] == "slurm" else "only launch=slurm asks a cluster"


# -- parts -----------------------------------------------------------------------------------------


def _longer(value: Any, config: Config, what: str) -> str | None:
    epochs = config["epochs"]
    if not isinstance(value, int | float) or not isinstance(epochs, int):
        return None  # told as illegal
    if value >= epochs:
        return f"{what} is {'as long as' if value == epochs else 'longer than'} training" + (
            f" (epochs={epochs})"
        )
    return None


def _is_on(value: Any) -> bool:
    """Tell whether a rate, a list of rates, a strength or a target is not zero or null."""
    return any(value) if isinstance(value, list | tuple) else bool(value)
