"""Measures a finished run for its study, as `ablate evaluate` and `ablate inspect` do.

Numbers go into the record, under `evaluate` and `inspect`; numbers that are already there are not
measured again. Curves and pictures are left to those commands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate import record
from ablate.measure.applicability import has_dropout, transformations
from ablate.measure.evaluate_settings import EvaluateSettings
from ablate.measure.recording import add_evaluation, writing
from ablate.plan.run import Run


@dataclass(frozen=True)
class Wanted:
    """What to measure of a run.

    Attributes:
        evaluate: Settings of `ablate evaluate`, or None to skip it.
        inspect: Settings of `ablate inspect` (``images``, ``train``), or None to skip it.
    """

    evaluate: EvaluateSettings | None
    inspect: Mapping[str, Any] | None


def lacks(found: record.Record, wanted: Wanted) -> list[str]:
    """List which of ``evaluate`` and ``inspect`` are wanted, but missing in a run's record."""
    lacking = []
    if wanted.evaluate is not None and not _evaluated(found, wanted.evaluate):
        lacking.append("evaluate")
    if wanted.inspect is not None and not _inspected(found, wanted.inspect):
        lacking.append("inspect")
    return lacking


def measure_run(run: Run, wanted: Wanted) -> None:
    """Measure what a run's record lacks and write it there; wait if another process holds the run.

    Raises:
        AblateError: It cannot be measured: its weights are gone, or its data have changed.
        DiskFullError: There is no space left for the record.
    """
    from ablate.measure import evaluation, inspection
    from ablate.measure.saved import check, open_run

    folder = run.directory
    with writing(folder), record.claim(folder):
        # Read again, now that no other process can write it.
        entry = check(folder, record.read(folder, checked=True))
        lacking = lacks(entry, wanted)
        if "evaluate" in lacking and (how := wanted.evaluate) is not None:
            saved = open_run(folder, entry, how.device, like=run.config)
            found = evaluation.measure(saved, how)
            entry = add_evaluation(folder, entry, how.split, found.entries)
        if "inspect" in lacking and (look := wanted.inspect) is not None:
            seen = inspection.at_both_ends(run, look["images"], look["train"])
            record.write(folder, {**entry, "inspect": seen})


def names_of_layers(run: Run) -> set[str]:
    """List the names that a run's layers will give: ``activation_std/3``, ``saturated/last``, ...

    Raises:
        AblateError: Its network cannot be built.
    """
    import torch

    from ablate.measure.after_training import of_look
    from ablate.measure.deletion import hidden_layers_of
    from ablate.measure.inspection import written
    from ablate.measure.signals import look
    from ablate.nets.build import build
    from ablate.rng import seeded

    x_BCHW = torch.linspace(-1, 1, 2 * math.prod(run.shape)).view(2, *run.shape)
    with seeded(0):
        network = build(run.config, run.shape, run.classes).eval()
        found = of_look(written(look(network, x_BCHW, torch.zeros(2, dtype=torch.int64)), 0))
        units = hidden_layers_of(run.config, network, x_BCHW).units
    known = {name for name, value in found.items() if value is not None}
    layers = {f"correlation/{number}" for number, _ in enumerate(units, start=1)}
    return known | layers | ({"correlation/mean"} if units else set())


def _evaluated(found: record.Record, how: EvaluateSettings) -> bool:
    """Tell whether a record holds everything that these settings measure, with these settings."""
    entries = found["evaluate"].get(how.split, {})
    views, dropout, deletion = (entries.get(kind) for kind in ("views", "dropout", "deletion"))
    augment = transformations(how.augmentation(found["config"]))
    asked = {"views": how.views, "augment": augment}
    if how.views and augment and (views is None or not asked.items() <= views.items()):
        return False
    if how.samples and has_dropout(found) and (dropout or {}).get("samples") != how.samples:
        return False
    if how.delete and not ("deletion" in entries and _is_of(deletion, how)):
        return False
    return "plain" in entries and (not how.perturb or "perturbation" in entries)


def _is_of(deletion: Mapping[str, Any] | None, how: EvaluateSettings) -> bool:
    return deletion is None or (deletion["draws"], deletion["scaled"]) == (how.draws, how.scaled)


def _inspected(found: record.Record, look: Mapping[str, Any]) -> bool:
    held = found.get("inspect") or {}
    moments = {"start", "end"} if look["train"] else {"start"}
    return held.get("images") == look["images"] and moments <= set(held)
