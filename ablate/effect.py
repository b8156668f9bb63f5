"""When a knob touches nothing: given a configuration in which it is on, the reason, or None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]


def no_conv(config: Config) -> str | None:
    """Dropout after convolutional blocks."""
    if config["model"]["name"] == "custom":
        return "your own model decides where it drops"
    return None if config["model"].get("channels") else "the model has no convolutional layer"


def no_dense(config: Config) -> str | None:
    """Dropout after hidden dense layers."""
    if config["model"]["name"] == "custom":
        return "your own model decides where it drops"
    return None if config["model"].get("hidden") else "the model has no hidden dense layer"


def own_model(config: Config) -> str | None:
    """Dropout at the ends of a network."""
    own = config["model"]["name"] == "custom"
    return "your own model decides where it drops" if own else None


def no_norm(config: Config) -> str | None:
    """What adjusts a norm."""
    return "norm=none has nothing to adjust" if config["norm"]["name"] == "none" else None


def nothing_to_normalize(config: Config) -> str | None:
    """A norm."""
    if config["model"]["name"] == "custom":
        return "your own model decides how it normalizes"
    if config["norm"]["name"] == "instance" and not config["model"].get("channels"):
        return "the model has no convolutional layer, and a dense unit has no pixels to normalize"
    if config["model"].get("channels") or config["model"].get("hidden"):
        return None
    return "the model has no layer to normalize"


def no_batch_norm(config: Config) -> str | None:
    """What adjusts batch norm."""
    if config["norm"]["name"] != "batch":
        return "it acts only with norm=batch"
    return None


def no_running_statistics(config: Config) -> str | None:
    """What adjusts running statistics."""
    if config["norm"].get("eval") == "batch":
        return "norm.eval=batch keeps no running statistics"
    return no_batch_norm(config)


def long_warmup(config: Config) -> str | None:
    """A warm-up."""
    warmup, epochs = config["schedule"]["warmup_epochs"], config["epochs"]
    if isinstance(warmup, int | float) and isinstance(epochs, int) and warmup > epochs:
        return f"the warm-up is longer than training (epochs={epochs})"
    return None


def no_dropout(config: Config) -> str | None:
    """The seed of dropout."""
    rates = config["dropout"]
    some = any(bool(r) and r != [0] * len(_as_list(r)) for r in rates.values())
    return None if some or config["model"]["name"] == "custom" else "nothing is dropped"


def no_augmentation(config: Config) -> str | None:
    """The seed of augmentation."""
    return "nothing is augmented"


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
