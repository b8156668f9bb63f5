"""Trains with every technique on the fake device, start to finish, and reports what went wrong.

All in one process, since importing torch takes seconds, and a technique a tenth of a second.
"""

from __future__ import annotations

import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablate.config import files
from ablate.data import load
from ablate.data.tensors import Split
from ablate.train.training import Training
from tests.gpu.fake.log import Event, recorded
from tests.gpu.garbage import accept_garbage
from tests.techniques import TECHNIQUES, runs

MEASURED = 60  # test images; few suffice, since the numbers are garbage anyway


def faults_of_all(data: str, precision: str) -> dict[str, list[str]]:
    """Train with all techniques, fused and alone.

    Args:
        data: ``digits``, or ``mnist``.
        precision: As configured.

    Returns:
        For each ``fused NAME`` and ``alone NAME``, a sentence per fault.
    """
    accept_garbage()
    return {
        f"{'fused' if fused else 'alone'} {name}": _faults(name, data, precision, fused)
        for name in TECHNIQUES
        for fused in (True, False)
    }


def _faults(name: str, data: str, precision: str, fused: bool) -> list[str]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = _gone_through(_configs(name, data, precision, fused), fused)
        except Exception as error:
            return [f"raised {type(error).__name__}: {error} ({_place(error)})"]
    # torch calls the mode in which it warns of waits a prototype.
    said = [str(w.message) for w in told if "prototype" not in str(w.message)]
    return found + [f"warned: {words}" for words in said]


def _configs(name: str, data: str, precision: str, fused: bool) -> list[dict[str, Any]]:
    # Three steps per epoch: the second epoch has the capture, and steps that replay it.
    sizes = {"train_size": 60, "val_size": 60}
    changes: dict[str, Any] = {"device": "cuda", "data": files.option("data", data) | sizes}
    configs = [config | changes for config in runs(name, precision)]
    return configs[: 2 if fused else 1]


def _gone_through(configs: list[dict[str, Any]], fused: bool) -> list[str]:
    """Train, evaluate, save a state, resume from it, and finish; return the faults."""
    tensors = load(configs[0])
    some = Split(tensors.test.images[:MEASURED], tensors.test.labels[:MEASURED])
    tensors = replace(tensors, test=some)
    first = Watched(configs, tensors, fused=fused)
    while first.step < first.steps - 1:
        first.advance()
    states = [first.state(r) for r in range(len(configs))]
    first.advance()
    first.finish()
    if first.repeats and not first.captured:
        first.faults.append("its steps repeat, and were not captured")
    second = Watched(configs, tensors, fused=fused)
    second.restore(states)
    second.advance()
    second.finish()
    return first.faults + second.faults


class Watched(Training):
    """A training that collects in `faults` what its steps should not have done."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.faults: list[str] = []
        self._launched = 0
        super().__init__(*arguments, **named)

    def launch(self) -> None:
        with recorded("capture", "copy", "error", "wait") as events:
            super().launch()
        warm = self._launched > 0 and self.repeats  # a first step may fill caches
        self._launched += 1
        self.faults += [f"step {self.step + 1}: {fault}" for fault in _wrong_in(events, warm)]


def _wrong_in(events: list[Event], warm: bool) -> list[str]:
    found = [event.name for event in events if event.kind == "error"]
    begun = [i for i, event in enumerate(events) if event.kind == "capture"]
    if begun:
        captured = events[begun[0] : begun[-1]]
        found += [f"{e.name} inside the capture" for e in captured if _waits(e)]
    elif warm:
        found += [f"{e.name} in a step that will be captured" for e in events if _waits(e)]
    return found


def _waits(event: Event) -> bool:
    return event.kind == "wait" or (event.kind == "copy" and "pageable" in event.name)


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "ablate" in Path(f.filename).parts]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "not in ablate"
