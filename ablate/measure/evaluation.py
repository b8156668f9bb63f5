"""Measures one saved run: entries of its record by kind, and the curves behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import Tensor

from ablate.data.strength import excessive
from ablate.data.tensors import Split
from ablate.errors import AblateError
from ablate.measure import calibration, deletion, ensembles, mistakes, perturbations
from ablate.measure.applicability import has_dropout, transformations
from ablate.measure.evaluate_settings import EvaluateSettings
from ablate.measure.saved import Saved
from ablate.train.quality import measure_one

Say = Callable[[str], object]


@dataclass
class Found:
    """What was found of a run.

    Attributes:
        entries: By kind, as the record holds them.
        frames: Curves by name.
    """

    entries: dict[str, Any] = field(default_factory=dict)
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)


def measure(saved: Saved, wanted: EvaluateSettings, say: Say = lambda kind: None) -> Found:
    """Measure everything that was asked for and applies.

    Args:
        saved: The run.
        wanted: What to measure.
        say: Called with what is being measured.

    Raises:
        AblateError: The split has no image, or a transformation would leave nothing of it.
    """
    if too_much := excessive(wanted.strengths, *saved.data.shape):
        raise AblateError(*too_much)
    say("plain")
    split, found = saved.split(wanted.split), Found()
    log_NK = saved.logits(split).log_softmax(-1)
    found.entries["plain"] = measure_one(log_NK, split.labels)
    found.frames["predictions"] = mistakes.predictions(log_NK, split.labels, saved.classes)
    _add_classes(found, saved, wanted, log_NK, split)
    _add_calibration(found, saved, wanted, log_NK, split)
    augment = wanted.augmentation(saved.config)
    if wanted.views and transformations(augment):
        say("views")
        views_NK = ensembles.views(saved, split, augment)
        how = {"views": wanted.views, "augment": transformations(augment)}
        found.entries["views"] = how | measure_one(views_NK, split.labels)
    if wanted.samples and has_dropout(saved.record):
        say("sub-networks")
        _add_samples(found, saved, wanted.samples, log_NK, split)
    if wanted.delete:
        say("deletion")
        _add_units(found, saved, wanted, log_NK, split)
    if wanted.perturb:
        say("perturbation")
        _add_perturbations(found, saved, log_NK, split)
    return found


def _add_classes(
    found: Found, saved: Saved, wanted: EvaluateSettings, log_NK: Tensor, split: Split
) -> None:
    counts_KK = mistakes.confusion(log_NK, split.labels)
    confused = mistakes.most_confused(counts_KK, saved.classes)
    found.entries["classes"] = {
        "accuracy": mistakes.class_accuracy(counts_KK),
        "confused": [{"true": t, "given": g, "images": n} for t, g, n in confused],
    }
    names = list(saved.classes)
    matrix = pd.DataFrame(counts_KK.numpy(), index=pd.Index(names, name="true"), columns=names)
    found.frames["confusion"] = matrix.reset_index()
    if wanted.worst:
        worst = found.frames["predictions"].nlargest(wanted.worst, "loss", keep="all")
        found.frames["worst"] = worst.head(wanted.worst).reset_index(drop=True)


def _add_calibration(
    found: Found, saved: Saved, wanted: EvaluateSettings, log_NK: Tensor, split: Split
) -> None:
    """Measure calibration, and how a temperature changes it if other images can fit one."""
    entry: dict[str, Any] = {"temperature": None, "limited": None, "before": _faith(log_NK, split)}
    curves = {"before": calibration.curve(log_NK, split.labels)}
    fitted = None
    if wanted.split != "val" and len(saved.data.val):
        fitted = calibration.temperature(saved.logits(saved.data.val), saved.data.val.labels)
    if fitted is not None:
        after_NK = (log_NK / fitted.value).log_softmax(-1)
        entry |= {"temperature": fitted.value, "limited": fitted.limited}
        entry["after"] = _faith(after_NK, split)
        curves["after"] = calibration.curve(after_NK, split.labels)
    found.entries["calibration"] = entry
    parts = [frame.assign(temperature=when) for when, frame in curves.items()]
    found.frames["calibration"] = pd.concat(parts, ignore_index=True)


def _faith(log_NK: Tensor, split: Split) -> dict[str, float]:
    """Measure what a temperature can change."""
    measured = measure_one(log_NK, split.labels)
    return {name: measured[name] for name in ("ece", "loss", "brier")}


def _add_samples(found: Found, saved: Saved, count: int, log_NK: Tensor, split: Split) -> None:
    drawn = ensembles.samples(saved, split, count)
    entry = ensembles.compared(drawn, log_NK, split.labels)
    found.entries["dropout"] = {"samples": count, **entry}
    found.frames["predictions"] = found.frames["predictions"].assign(
        entropy_of_mean=drawn.entropy_N.cpu().numpy(), information=drawn.information_N.cpu().numpy()
    )


def _add_units(
    found: Found, saved: Saved, wanted: EvaluateSettings, log_NK: Tensor, split: Split
) -> None:
    layers = deletion.hidden_layers(saved)
    if not layers.units:  # softmax regression: asked for, but there is nothing to delete
        found.entries |= {"deletion": None, "correlation": None}
        return
    frame = deletion.measure(saved, layers, split, log_NK, wanted.draws, wanted.scaled)
    accuracy = frame.groupby("share")["accuracy"]
    found.entries["deletion"] = {
        "draws": wanted.draws,
        "scaled": wanted.scaled,
        "share": list(accuracy.groups),
        **{name: accuracy.agg(name).tolist() for name in ("mean", "min", "max")},
    }
    found.frames["deletion"] = frame
    units = deletion.correlations(saved, layers, split)
    found.frames["correlation"] = units
    found.entries["correlation"] = units.set_index("layer").to_dict("index")


def _add_perturbations(found: Found, saved: Saved, log_NK: Tensor, split: Split) -> None:
    frame = perturbations.measure(saved, split, log_NK)
    found.frames["perturbation"] = frame
    found.entries["perturbation"] = {
        str(kind): {name: part[name].tolist() for name in ("strength", "accuracy", "loss")}
        for kind, part in frame.groupby("kind", sort=False)
    }
