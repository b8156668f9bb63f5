"""Reads measurements after training from a record, by the names of `ablate.metrics`.

`ablate evaluate`, `ablate inspect` and a study's `measure` write them to the record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ablate.metrics import METRICS, MOMENTS

_Entry = Mapping[str, Any]
_Numbers = dict[str, float | None]


def numbers(found: Mapping[str, Any]) -> _Numbers:
    """Return a record's measurements after training.

    Args:
        found: The record; it may hold none.

    Returns:
        Metric -> number; None if the metric could not be measured.
    """
    of_splits = found.get("evaluate") or {}
    looks = found.get("inspect") or {}
    named: _Numbers = {}
    for split, entries in of_splits.items():
        start = "evaluate" if split == "test" else f"evaluate/{split}"
        named |= {f"{start}/{path}": value for path, value in _evaluated(entries).items()}
    for moment in MOMENTS:
        if moment in looks:
            look = of_look(looks[moment])
            named |= {f"inspect/{moment}/{path}": value for path, value in look.items()}
    return named


# -- evaluate --------------------------------------------------------------------------------------


def _evaluated(entries: _Entry) -> _Numbers:
    """Return the numbers of one split, by name without the split."""
    groups: dict[str, list[str]] = {}
    for metric in METRICS.values():
        if metric.kind == "evaluate" and metric.place == "test":
            groups.setdefault(metric.group, []).append(metric.path)
    named: _Numbers = {}
    for group, paths in groups.items():
        entry = entries.get(group)
        if entry is None:  # not requested, or it does not apply to this run
            continue
        if group in _SUMMARIES:
            named |= _SUMMARIES[group](entry)
        else:
            named |= {path: _at({group: entry}, path) for path in paths}
    return named


def _at(node: Any, path: str) -> float | None:
    """Follow a path; if it ends in numbers by outcome, take the number over all images."""
    for part in path.split("/"):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node.get("all") if isinstance(node, Mapping) else node


def _deletion(entry: _Entry) -> _Numbers:
    shares, errors = entry["share"], [_less(1, mean) for mean in entry["mean"]]
    by_share = {
        f"deletion/{round(100 * share)}/error": error
        for share, error in zip(shares, errors, strict=True)
        if share
    }
    return {**by_share, "deletion/error_area": _height(shares, errors)}


def _correlation(entry: _Entry) -> _Numbers:
    units = [layer["correlation"] for layer in entry.values()]
    layers: _Numbers = {f"correlation/{i}": r for i, r in enumerate(units, start=1)}
    return {**layers, "correlation/mean": _mean(units)}


def _perturbation(entry: _Entry) -> _Numbers:
    return {f"perturbation/{way}/error": _error(found) for way, found in entry.items()}


# Groups with curves, or numbers per layer. In other groups, a metric's path leads to its number.
_SUMMARIES: Final[Mapping[str, Callable[[_Entry], _Numbers]]] = {
    "deletion": _deletion,
    "correlation": _correlation,
    "perturbation": _perturbation,
}


def _height(x: Sequence[float], y: Sequence[float | None]) -> float | None:
    """Compute the mean height of a curve, by the trapezoidal rule."""
    known = [value for value in y if value is not None]
    if len(known) < len(y):
        return None
    steps = zip(x[1:], x[:-1], known[1:], known[:-1], strict=True)
    return math.fsum((b - a) * (v + w) / 2 for b, a, v, w in steps) / (x[-1] - x[0])


def _error(entry: _Entry) -> float | None:
    """Average the error over strengths, without the first: strength 0 changes no image."""
    return _less(1, _mean(entry["accuracy"][1:]))


# -- inspect ---------------------------------------------------------------------------------------


def of_look(look: _Entry) -> _Numbers:
    """Return the numbers of one look, by name without the moment.

    Args:
        look: The output of `inspection.written`.
    """
    hidden = _hidden(list(look["layers"].values()))
    matrices = [row for row in look["weights"].values() if row["matrix"]]
    sd, norm = [row["sd"] for row in hidden], [row["grad_norm"] for row in matrices]
    saturated = [row["saturated"] for row in hidden]
    named = _layers("activation_std", sd) | _layers("gradient_norm", norm)
    if sd:
        named["activation_std/ratio"] = _ratio(sd[-1], sd[0])
        named["dead/mean"] = _mean([row["dead"] for row in hidden])
    if norm:
        named["gradient_norm/ratio"] = _ratio(norm[0], norm[-1])
    if any(share is not None for share in saturated):
        named |= _layers("saturated", saturated) | {"saturated/mean": _mean(saturated)}
    return named


def _hidden(layers: Sequence[_Entry]) -> list[_Entry]:
    active = [row for row in layers if row["kind"] in ("activation", "recurrent")]
    return active or [row for row in layers if row["kind"] in ("conv", "linear")][:-1]


def _layers(name: str, values: Sequence[float | None]) -> _Numbers:
    by_number = {f"{name}/{i}": value for i, value in enumerate(values, start=1)}
    return by_number | ({f"{name}/last": values[-1]} if values else {})


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _mean(values: Sequence[float | None]) -> float | None:
    """Average the values that are not None; None if there is none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _less(whole: float, value: float | None) -> float | None:
    return None if value is None else whole - value
