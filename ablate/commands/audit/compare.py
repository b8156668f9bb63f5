"""Compares a recorded run with itself, trained again: numbers and weights to the last bit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate import record
from ablate.config import schema
from ablate.errors import AblateError
from ablate.plan.code import differences


@dataclass(frozen=True)
class Repetition:
    """How a recorded run compares with itself, trained again.

    Attributes:
        epochs: Number of epochs that both have.
        first: The first epoch that differs, counted from 1, or None.
        history: Per-epoch number -> its largest difference, for those that differ.
        metrics: Metric -> its difference, for those that differ.
        weights: The largest difference of a weight; None if they were not compared.
        lacking: What could not be compared, and why.
        environment: Differences in machine, software, data and code, in words.
    """

    epochs: int
    first: int | None
    history: Mapping[str, float]
    metrics: Mapping[str, float]
    weights: float | None
    lacking: tuple[str, ...]
    environment: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether everything that was compared is the same to the last bit."""
        return not (self.history or self.metrics or self.weights)


def compare(before: Path, now: Path) -> Repetition:
    """Compare two folders of the same run.

    Args:
        before: The recorded one.
        now: The one that was trained again.

    Raises:
        AblateError: A record cannot be read, or the run did not finish this time.
    """
    old, new = record.read_whole(before), record.read_whole(now)
    if old is None or new is None or new["status"] != old["status"]:
        how = "has no record" if new is None else f"is {new['status']}: {new['reason']}"
        raise AblateError(f"{before} was not trained again: {now} {how}")
    pairs = list(zip(old["history"], new["history"], strict=False))
    epochs = [_apart(was, is_) for was, is_ in pairs]
    lacking = []
    if len(old["history"]) != len(new["history"]):
        lacking.append(f"{len(old['history'])} epochs then, {len(new['history'])} now")
    try:
        weights = _weights_apart(before, now)
    except AblateError as error:
        weights = None
        lacking.append(f"weights: {error.faults[0]}")
    names = dict.fromkeys(name for epoch in epochs for name in epoch)
    return Repetition(
        len(pairs),
        next((number for number, epoch in enumerate(epochs, start=1) if epoch), None),
        {name: max(epoch.get(name, 0.0) for epoch in epochs) for name in names},
        _apart(old["metrics"], new["metrics"]),
        weights,
        tuple(lacking),
        tuple(_environment(old, new)),
    )


def _apart(was: Mapping[str, Any], is_: Mapping[str, Any]) -> dict[str, float]:
    """Return by how much numbers differ: infinitely if one of them is not finite.

    Numbers that one side lacks, as records of other versions may, are not compared.
    """
    found = {}
    for name in was.keys() & is_.keys():
        one, other = was[name], is_[name]
        if one != other:
            known = one is not None and other is not None
            found[name] = abs(other - one) if known else math.inf
    return dict(sorted(found.items()))


def _weights_apart(before: Path, now: Path) -> float:
    """Return the largest difference of a weight; 0.0 only if all bits are the same.

    Raises:
        AblateError: The weights were not kept, are gone, or belong to another network.
    """
    import torch

    old, new = record.load_weights(before), record.load_weights(now)
    if {n: (v.shape, v.dtype) for n, v in old.items()} != {
        n: (v.shape, v.dtype) for n, v in new.items()
    }:
        raise AblateError("they belong to another network")
    largest = 0.0
    for name, was in old.items():
        is_ = new[name]
        bits = [value.contiguous().reshape(-1).view(torch.uint8) for value in (was, is_)]
        if torch.equal(*bits):
            continue
        apart = (is_.double() - was.double()).abs().max().item()
        # NaN counts as infinity, and a zero of another sign as the smallest difference.
        largest = max(largest, math.inf if math.isnan(apart) else apart, math.ulp(0.0))
    return largest


def _environment(old: record.Record, new: record.Record) -> Iterable[str]:
    """List what differs between the environments of two runs."""
    was, is_ = (schema.flatten(dict(one["environment"])) for one in (old, new))
    for name in dict.fromkeys([*was, *is_]):
        if was.get(name) != is_.get(name) and name != "stack.slot":
            yield f"{name.removeprefix('versions.')} {_said(was, name)} → {_said(is_, name)}"
    if (code := record.code_in(old)) is not None:
        yield from differences(code, record.code_in(new))


def _said(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        return "not known"
    return value if isinstance(value, str) else schema.shown(value)
