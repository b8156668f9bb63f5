"""Measures taken after training, as metrics: `ablate evaluate`, and what a study's `measure` asks.

Names begin with the command that measured them. Of the test images (``evaluate/val/...`` of the
validation images), where <q> is ``error``, ``loss``, ``ece`` or ``brier``:

evaluate/plain/<q>                 the network as it was trained: dropout by weight scaling
evaluate/views/<q>                 probabilities averaged over views of each image
evaluate/dropout/<mean>/<q>        averaged over sampled sub-networks: ``arithmetic``, ``geometric``
evaluate/dropout/agreement/<mean>  share of images that this mean decides as weight scaling does
evaluate/dropout/divergence/<mean> KL(this mean ‖ weight scaling), nats
evaluate/dropout/entropy           of the arithmetic mean, nats; ``information``: how much of it the
                                   choice of the sub-network accounts for
evaluate/calibration/temperature   fitted on validation; ``after/<q>``, but for the error, with it
evaluate/deletion/50/error         with 50 % of each hidden layer's units deleted (10, 20, ... 90),
                                   a mean over draws
evaluate/deletion/error_area       that curve's mean height from 0 to 90 %
evaluate/correlation/1             mean |r| between units of hidden layer 1, 2, ...; ``mean`` of all
evaluate/perturbation/shift/error  mean over its strengths; ``rotate`` and ``noise`` too

Of training images in training mode, at the ``start`` (initial weights) and the ``end``:

inspect/start/activation_std/1     standard deviation of hidden layer 1, 2, ...; ``last``;
                                   ``ratio``: the last layer's over the first's
inspect/start/saturated/1          share of outputs near an end of the activation's range; ``last``;
                                   ``mean`` over hidden layers
inspect/start/dead/mean            share of units that are the same for every image, likewise
inspect/start/gradient_norm/1      norm of the loss's gradient by weight matrix 1, 2, ...; ``last``:
                                   the output layer's; ``ratio``: the first's over the last's (near
                                   1 too where signal and gradient vanish alike: the product stays)

A hidden layer is an activation's output, or a recurrent layer's states; in a network without such
modules the output of each convolution and linear layer but the last. What cannot be told (the
saturation of a relu, a ratio to 0) is missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_Entry = Mapping[str, Any]

_QUALITIES: Final = ("error", "loss", "ece", "brier")
_MEANS: Final = ("arithmetic", "geometric")
_LAYER: Final = "<layer>"  # 1, 2, ...
EVALUATED: Final[dict[str, tuple[str, ...]]] = {
    "plain": tuple(f"plain/{q}" for q in _QUALITIES),
    "views": tuple(f"views/{q}" for q in _QUALITIES),
    "dropout": (
        *(f"dropout/{mean}/{q}" for mean in _MEANS for q in _QUALITIES),
        *(f"dropout/{what}/{mean}" for what in ("agreement", "divergence") for mean in _MEANS),
        *("dropout/entropy", "dropout/information"),
    ),
    "calibration": (
        "calibration/temperature",
        *(f"calibration/after/{q}" for q in _QUALITIES[1:]),
    ),
    "deletion": (
        *(f"deletion/{percent}/error" for percent in range(10, 100, 10)),
        "deletion/error_area",
    ),
    "correlation": (f"correlation/{_LAYER}", "correlation/mean"),
    "perturbation": tuple(f"perturbation/{kind}/error" for kind in ("shift", "rotate", "noise")),
}
INSPECTED: Final = (
    *(f"activation_std/{part}" for part in (_LAYER, "last", "ratio")),
    *(f"saturated/{part}" for part in (_LAYER, "last", "mean")),
    "dead/mean",
    *(f"gradient_norm/{part}" for part in (_LAYER, "last", "ratio")),
)
MOMENTS: Final = ("start", "end")


def is_measured(metric: str) -> bool:
    """Tell whether a metric is one that is measured after training, by its name."""
    return metric.startswith(("evaluate/", "inspect/"))


def is_of_a_layer(metric: str) -> bool:
    """Tell whether a metric is of one layer by its number, of which there may be many."""
    return is_measured(metric) and metric.rpartition("/")[2].isdecimal()


def matches(metric: str, name: str) -> bool:
    """Tell whether a metric is the named one, whose ``<layer>`` stands for any number."""
    start, number, rest = name.partition(_LAYER)
    digits = "[1-9][0-9]*" if number else ""
    return re.fullmatch(re.escape(start) + digits + re.escape(rest), metric) is not None


def measured(found: Mapping[str, Any]) -> dict[str, float | None]:
    """Give what a record holds of measurements after training.

    Args:
        found: The record; one without any gives nothing.

    Returns:
        Numbers by name, as this module lists them; None where there is none.
    """
    of_splits = found.get("evaluate") or {}
    looks = found.get("inspect") or {}
    numbers: dict[str, float | None] = {}
    for split, entries in of_splits.items():
        start = "evaluate" if split == "test" else f"evaluate/{split}"
        numbers |= {f"{start}/{name}": value for name, value in _evaluated(entries).items()}
    for moment in MOMENTS:
        if moment in looks:
            look = of_look(looks[moment])
            numbers |= {f"inspect/{moment}/{name}": value for name, value in look.items()}
    return numbers


# -- evaluate --------------------------------------------------------------------------------------


def _evaluated(entries: _Entry) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for kind, names in EVALUATED.items():
        entry = entries.get(kind)
        if entry is None:  # not asked for, or nothing that it applies to
            continue
        if kind == "deletion":
            numbers |= _deletion(entry)
        elif kind == "correlation":
            units = [layer["correlation"] for layer in entry.values()]
            numbers |= {f"correlation/{i}": r for i, r in enumerate(units, start=1)}
            numbers["correlation/mean"] = _mean(units)
        elif kind == "perturbation":
            numbers |= {f"perturbation/{what}/error": _error(e) for what, e in entry.items()}
        else:
            numbers |= {name: _at({kind: entry}, name) for name in names}
    return numbers


def _at(node: Any, path: str) -> float | None:
    """Follow a path; at its end, of a number by outcome, take that over all images."""
    for part in path.split("/"):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node.get("all") if isinstance(node, Mapping) else node


def _deletion(entry: _Entry) -> dict[str, float | None]:
    shares, errors = entry["share"], [_less(1, mean) for mean in entry["mean"]]
    numbers = {
        f"deletion/{round(100 * share)}/error": error
        for share, error in zip(shares, errors, strict=True)
        if share
    }
    return {**numbers, "deletion/error_area": _height(shares, errors)}


def _height(x: Sequence[float], y: Sequence[float | None]) -> float | None:
    """Work out the mean height of a curve, by trapezoids."""
    known = [value for value in y if value is not None]
    if len(known) < len(y):
        return None
    steps = zip(x[1:], x[:-1], known[1:], known[:-1], strict=True)
    return math.fsum((b - a) * (v + w) / 2 for b, a, v, w in steps) / (x[-1] - x[0])


def _error(entry: _Entry) -> float | None:
    """Average the error over strengths; the first, 0, is the images as they are."""
    return _less(1, _mean(entry["accuracy"][1:]))


# -- inspect ---------------------------------------------------------------------------------------


def of_look(look: _Entry) -> dict[str, float | None]:
    """Give the numbers of one look, without the moment in their names.

    Args:
        look: As `inspection.written` gives it.
    """
    hidden = _hidden(list(look["layers"].values()))
    matrices = [row for row in look["weights"].values() if row["matrix"]]
    sd, norm = [row["sd"] for row in hidden], [row["grad_norm"] for row in matrices]
    saturated = [row["saturated"] for row in hidden]
    numbers = _layers("activation_std", sd) | _layers("gradient_norm", norm)
    if sd:
        numbers["activation_std/ratio"] = _ratio(sd[-1], sd[0])
        numbers["dead/mean"] = _mean([row["dead"] for row in hidden])
    if norm:
        numbers["gradient_norm/ratio"] = _ratio(norm[0], norm[-1])
    if any(share is not None for share in saturated):
        numbers |= _layers("saturated", saturated) | {"saturated/mean": _mean(saturated)}
    return numbers


def _hidden(layers: Sequence[_Entry]) -> list[_Entry]:
    active = [row for row in layers if row["kind"] in ("activation", "recurrent")]
    return active or [row for row in layers if row["kind"] in ("conv", "linear")][:-1]


def _layers(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    numbers = {f"{name}/{i}": value for i, value in enumerate(values, start=1)}
    return numbers | ({f"{name}/last": values[-1]} if values else {})


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _mean(values: Sequence[float | None]) -> float | None:
    """Average what is known."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _less(whole: float, value: float | None) -> float | None:
    return None if value is None else whole - value
