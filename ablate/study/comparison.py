"""Runs a study, or a design of the command line: tunes what is to be tuned, then trains the arms.

What the study says, and what was tuned, is written beside its runs as study.json, from which the
report takes question, claims and baseline.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hydra._internal.hydra import Hydra

from ablate import record
from ablate.config import files
from ablate.errors import AblateError
from ablate.launch.hydra_launcher import train_all
from ablate.plan import Run
from ablate.plan.arms import (
    Cell,
    Choice,
    Planned,
    Resolver,
    check_arms,
    equalized,
    grid,
    name_of,
    of_study,
    of_tuning,
)
from ablate.plan.request import Request
from ablate.study import measurement
from ablate.study.study import FILE, Study


class UntunedError(AblateError):
    """No setting of an arm's tuned knobs finished, so that nothing can be chosen for it."""

    status = 1


class Comparison:
    """A study on its way.

    Args:
        hydra: Composes.
        request: What the user asked for, without the study's name.
        study: The study.

    Raises:
        AblateError: Something is wrong with it; nothing was started.
    """

    def __init__(self, hydra: Hydra, request: Request, study: Study) -> None:
        self.study, self._own = study, request.overrides
        _require_free(study, request.overrides)
        self._resolver = Resolver(hydra, request)
        self.tuning: list[Planned] = []
        if study.tuning is not None:
            self.tuning = self._resolver.planned(self._equal(of_tuning(study, self._own)))
        # Tuned knobs stand at their first values until they are chosen: what is wrong is told now.
        first = {arm.name: choice for arm in study.arms for choice in grid(study, arm)[:1]}
        self.reported = self._planned(first)
        faults = measurement.unfit(study, [plan.run for plan in self.reported])
        if faults:
            raise AblateError(*faults)

    def _planned(self, choices: Mapping[str, Choice]) -> list[Planned]:
        cells = of_study(self.study, self._own, choices)
        planned = self._resolver.planned(self._equal(cells))
        check_arms(self.study, planned)
        return planned

    def _equal(self, cells: Sequence[Cell]) -> list[Cell]:
        return equalized(self.study, cells, self._resolver)

    def train(self) -> list[Run]:
        """Tune, train what is reported, then measure what is to be measured of it.

        Returns:
            The reported runs, and before them the tuning runs.

        Raises:
            KeyboardInterrupt: A stop was asked for.
            DiskFullError: The disk is full.
        """
        choices: dict[str, Choice] = {}
        if self.tuning:
            self._train(self.tuning)
            choices = tuned(self.study, self.tuning)
            self.reported = self._planned(choices)
        self._write(choices)
        self._train(self.reported)
        if self.study.measure is not None:
            from ablate.study.measuring import measure_all  # and with it torch

            runs = [plan.run for plan in self.reported]
            device = runs[0].config["device"]
            faults = measure_all(runs, measurement.wanted(self.study.measure, device))
            self._write(choices, faults)
        return [plan.run for plan in (*self.tuning, *self.reported)]

    def _train(self, planned: Sequence[Planned]) -> None:
        runs = [plan.run for plan in planned]
        train_all(
            self._resolver.composer,
            runs,
            [plan.overrides for plan in planned],
            [plan.contents for plan in planned],
        )
        for run in runs:
            _label(run)

    def _write(self, choices: Mapping[str, Choice], unmeasured: Sequence[str] = ()) -> None:
        folder = self.reported[0].run.sweep
        folder.mkdir(parents=True, exist_ok=True)
        told = described(self.study, choices) | {
            "unmeasured": list(unmeasured),
            "command": list(self._own),
            "runs": [plan.run.key for plan in self.reported],
        }
        draft = folder / f".{FILE}.part"
        draft.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
        draft.replace(folder / FILE)


def _require_free(study: Study, overrides: Sequence[str]) -> None:
    """Check that a request leaves to a study what the study decides.

    Raises:
        AblateError: It sets a tuned knob, or the seed.
    """
    tuned_knobs = (
        [name for arm in study.arms for name in study.grid_of(arm)] if study.tuning else []
    )
    reasons = dict.fromkeys(tuned_knobs, "the study tunes it")
    reasons["seed"] = "the study's arms have seeds of their own"
    faults = [
        f"{override}: {reasons[name_of(override)]} ({study.file})"
        for override in overrides
        if name_of(override) in reasons
    ]
    if faults:
        raise AblateError(*faults)


def _label(run: Run) -> None:
    """Give a record that an earlier version of the study left its arm's present name."""
    if _bears_its_names(run, record.read(run.directory)):
        return
    with record.claim(run.directory):
        now = record.read(run.directory)  # another process may have written meanwhile
        if now is not None and not _bears_its_names(run, now):
            record.write(run.directory, now | {"study": run.study, "arm": run.arm})


def _bears_its_names(run: Run, found: record.Record | None) -> bool:
    return found is None or (found["study"], found["arm"]) == (run.study, run.arm)


def described(study: Study, choices: Mapping[str, Choice]) -> dict[str, Any]:
    """Write a study down as its report needs it, with what was tuned."""
    return {
        "name": study.name,
        "file": None if study.file.parent == files.CONF / files.STUDIES else str(study.file),
        "question": study.question,
        "source": study.source,
        "fixed": list(study.fixed),
        "metric": study.metric,
        "margin": study.margin,
        "target": study.target,
        "equal": study.equal,
        "baseline": study.baseline.name,
        "arms": {
            arm.name: {
                "overrides": list(arm.overrides),
                "seeds": list(study.seeds_of(arm)),
                "tuned": choices.get(arm.name, {}),
                "grid": dict(arm.grid or {}),
                "on the grid's edge": _on_edge(study.grid_of(arm), choices.get(arm.name, {})),
            }
            for arm in study.arms
        },
        "tuning": None if study.tuning is None else asdict(study.tuning),
        "measure": None if study.measure is None else asdict(study.measure),
        "claims": [asdict(claim) for claim in study.claims],
    }


def _on_edge(grid: Mapping[str, Sequence[str]], choice: Choice) -> list[str]:
    return [name for name, value in choice.items() if value in (grid[name][0], grid[name][-1])]


# -- tuning ----------------------------------------------------------------------------------------


def tuned(study: Study, planned: Sequence[Planned]) -> dict[str, Choice]:
    """Choose for each arm the setting with the best mean over the tuning seeds, on validation.

    A setting of which a run failed or diverged is not chosen; of equal ones the first is.

    Raises:
        UntunedError: No setting of an arm finished.
    """
    assert study.tuning is not None, "it is asked for where something is tuned"
    metric = study.tuning.metric
    sign = -1 if metric == "val/accuracy" else 1
    chosen: dict[str, Choice] = {}
    for arm in study.arms:
        settings = grid(study, arm)
        scores = [
            _mean(_validation(plan.run, metric, sign) for plan in planned if _is_of(plan, arm, s))
            for s in settings
        ]
        best = min(range(len(settings)), key=lambda i: (scores[i], i))
        if not math.isfinite(scores[best]):
            raise UntunedError(
                f"no setting of {', '.join(study.grid_of(arm))} finished for the arm {arm.name}:"
                " `ablate show` tells what went wrong with the tuning runs"
            )
        chosen[arm.name] = settings[best]
    return chosen


def _is_of(plan: Planned, arm: Any, setting: Choice) -> bool:
    given = {f"{name}={value}" for name, value in setting.items()}
    return plan.run.arm == arm.name and given <= {o.lstrip("+") for o in plan.overrides}


def _validation(run: Run, metric: str, sign: int) -> float:
    """Read what a tuning run is to have least of; without an end, it has infinitely much."""
    found = record.read(run.directory)
    value = None if found is None else found["metrics"].get(metric)
    return math.inf if value is None else sign * float(value)


def _mean(values: Any) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.inf


def unmeasured(runs: Sequence[Run]) -> bool:
    """Tell whether some run of a study that was trained could not be measured."""
    told = json.loads((runs[-1].sweep / FILE).read_text(encoding="utf-8"))
    return bool(told["unmeasured"])
