"""When a knob has no effect.

Each function takes a configuration in which its knob is on. It returns the reason why the knob has
no effect, or None if it has one. Docstrings say which knobs a function is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ablate.config.course import last_epoch

Config = Mapping[str, Any]
Reason = Callable[[Config], str | None]

CONVOLUTIONAL = ("cnn", "lenet5", "vgg", "resnet")
RECURRENT = ("rnn", "lstm", "gru")
SOLVERS = ("lbfgs", "newton")
RATES = ("input", "conv", "dense", "output")
_AUGMENTATIONS = (
    *("shift", "flip", "crop", "rotate", "scale", "shear", "cutout"),
    *("brightness", "contrast", "_target_"),
)
ON_IMAGES = ("mixup", "cutmix", "input_noise")  # these use augmentation's seed
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
    """Settings that adjust dropout."""
    if config["model"]["name"] == "custom":
        return _OWN_MODEL
    some = any(_is_on(config["dropout"].get(name)) for name in RATES)
    return None if some else "nothing is dropped: every rate is 0"


def no_such_dropout(config: Config) -> str | None:
    """The kind of dropout."""
    if config["dropout"].get("_target_"):
        return "your own dropout takes its place"
    if config["dropout"]["kind"] == "spatial" and not _drops_maps(config):
        return nothing_dropped(config) or _no_map(config)
    return nothing_dropped(config)


def _drops_maps(config: Config) -> bool:
    """Tell whether dropout acts on channels with several pixels, or on units at several steps."""
    rates, model = config["dropout"], config["model"]
    if _is_on(rates.get("input")):
        return True
    if model["name"] in CONVOLUTIONAL:
        return _is_on(rates.get("conv"))
    if model["name"] not in RECURRENT:
        return False
    hidden, rates = model.get("hidden"), rates.get("dense")
    if not isinstance(hidden, list | tuple):
        return True  # reported elsewhere, as an illegal value
    # Only the last step of the last layer is used.
    return _is_on(rates[:-1] if isinstance(rates, list | tuple) else [rates] * (len(hidden) - 1))


def _no_map(config: Config) -> str:
    if config["model"]["name"] not in RECURRENT or not config["model"].get("hidden"):
        return "dropout acts on no map of more than one pixel"
    return (
        "only the last step of the last recurrent layer is classified, so its units are dropped"
        " one by one; spatial dropout acts only between layers (model.hidden=[64,64])"
    )


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
    """Settings that adjust a norm."""
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
    """Settings that adjust batch norm."""
    if config["norm"]["name"] != "batch":
        return "it acts only with norm=batch"
    return None


def no_running_statistics(config: Config) -> str | None:
    """Settings that adjust running statistics."""
    if config["norm"].get("eval") == "batch":
        return "norm.eval=batch keeps no running statistics"
    if config["regularize"].get("swa") == 0:
        return "regularize.swa=0 recomputes the statistics for its average from the start"
    return no_batch_norm(config)


# -- training --------------------------------------------------------------------------------------


def long_warmup(config: Config) -> str | None:
    """A warm-up."""
    warmup, epochs = config["schedule"]["warmup_epochs"], config["epochs"]
    if not isinstance(epochs, int) or warmup < epochs:
        return None  # an illegal value is reported elsewhere
    than = "as long as" if warmup == epochs else "longer than"
    return f"the warm-up is {than} training (epochs={epochs})"


def no_fall(config: Config) -> str | None:
    """A schedule whose rate falls by a factor."""
    stays = config["schedule"].get("gamma") == 1
    return "with schedule.gamma=1 the rate never falls" if stays else None


def one_cycle(config: Config) -> str | None:
    """Settings that change from one cycle to the next."""
    alone = config["schedule"].get("cycles") == 1
    return "with schedule.cycles=1 there is no other cycle" if alone else None


def long_stopping(config: Config) -> str | None:
    """The patience of early stopping."""
    epochs = config["epochs"]
    if not isinstance(epochs, int):
        return None  # reported elsewhere, as an illegal value
    last = last_epoch(1, config["regularize"]["early_stopping"])  # if the first epoch is the best
    if last < epochs:
        return None
    return f"it could end training after epoch {last} at the earliest, and epochs={epochs}"


def one_epoch(config: Config) -> str | None:
    """Selection by validation."""
    alone = config["select"] == "best" and config["epochs"] == 1
    return "after epochs=1 the best weights are the last" if alone else None


def no_rule(config: Config) -> str | None:
    """Settings that change a gradient or an optimizer's step."""
    name = config["optimizer"]["name"]
    return f"optimizer={name} finds its own steps" if name in SOLVERS else None


def no_branch(config: Config) -> str | None:
    """Stochastic depth."""
    if config["model"]["name"] != "resnet":
        return "only model=resnet has residual branches"
    return None


def nothing_augmented(config: Config) -> str | None:
    """Settings that adjust augmentation."""
    some = any(_is_on(config["augment"].get(name)) for name in _AUGMENTATIONS)
    return None if some else "nothing is augmented"


def no_augmentation(config: Config) -> str | None:
    """The seed of augmentation."""
    beside = any(_is_on(config["regularize"][name]) for name in ON_IMAGES)
    return None if beside else nothing_augmented(config)


# -- execution -------------------------------------------------------------------------------------


def no_slurm(config: Config) -> str | None:
    """Settings of a cluster's jobs."""
    return None if config["launch"] == "slurm" else "only launch=slurm submits jobs"


def one_stack(config: Config) -> str | None:
    """Settings of a job that trains several stacks."""
    if config["launch"] == "slurm" and config["slurm"]["stacks"] == 1:
        return "a job trains one stack: set slurm.stacks"
    return no_slurm(config)


def no_ray(config: Config) -> str | None:
    """Settings of a Ray cluster."""
    return None if config["launch"] == "ray" else "only launch=ray uses Ray"


# -- parts -----------------------------------------------------------------------------------------


def _is_on(value: Any) -> bool:
    """Tell whether a rate (or any in a list), a strength or a target is neither zero nor null."""
    return any(value) if isinstance(value, list | tuple) else bool(value)
