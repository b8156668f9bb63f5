"""A walk over every result knob: it acts from the moment that it declares, or it is refused.

Each is changed alone, in every option that has it, in a training of a few small steps. A new knob
needs an entry in `tests.walk` unless it acts in `BASE` and its type yields another value.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from ablate.config import files, schema
from ablate.config.knob import Knob
from ablate.data import load
from ablate.errors import AblateError
from ablate.plan.request import Request
from ablate.plan.run import Run
from ablate.train.training import Training
from tests.asking import runs_of
from tests.walk import FOREIGN, IDLE, OF_FILES, REFUSED, RESULTS, another, options, planned

MOMENTS = ("start", "step", "epoch", "epochs")

# -- what a training does, moment by moment --------------------------------------------------------


class Trace:
    """The numbers of a run, which is trained only as far as they are asked for."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.training = Training([run], load(run), fused=False)
        self.seen: dict[str, dict[str, Any]] = {"start": {"drawn": weights(self.training)}}
        self.training.advance()
        self.seen["start"] |= {"weights": weights(self.training)}
        self.seen["start"] |= {"loss": self.training.losses[0]}

    def by(self, moment: str) -> dict[str, Any]:
        """Return the weights, and what is recorded, by a moment."""
        training, history = self.training, self.training.courses[0].history
        if moment != "start" and "step" not in self.seen:
            while not history:
                training.advance()
            self.seen["step"] = {"weights": weights(training)} | part(history[0], "train/")
            self.seen["epoch"] = part(history[0], "val/")
        if moment == "epochs" and "epochs" not in self.seen:
            while not training.done:
                training.advance()
            last = {"epochs": len(history), "weights": weights(training)} | part(history[-1], "/")
            metrics = training.finish()[0]
            self.seen["epochs"] = last | {"metrics": metrics, "tested": weights(training)}
        return self.seen[moment]


@functools.cache
def trace(text: str) -> Trace:
    return Trace(json.loads(text))


def weights(training: Training) -> dict[str, Tensor]:
    held = training.stack.slice(0)
    return {name: held[name] for name in training.stack.parameters}


def part(entry: Mapping[str, Any], of: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if of in name}


def differ(one: Any, other: Any) -> bool:
    """Tell whether numbers differ by more than rounding, or in their type.

    Weights and records that only one of two runs has are no difference by themselves.
    """
    if isinstance(one, dict):
        return any(differ(one[name], other[name]) for name in one.keys() & other.keys())
    if not isinstance(one, Tensor):
        return bool(one != pytest.approx(other, rel=1e-5))
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return True
    return not torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def first_difference(one: Run, other: Run) -> str | None:
    """Tell from which moment on two runs differ."""
    mine, theirs = (trace(json.dumps(run.config, sort_keys=True)) for run in (one, other))
    return next((m for m in MOMENTS if differ(mine.by(m), theirs.by(m))), None)


# -- where a knob applies --------------------------------------------------------------------------


def setting(knob: Knob, value: Any) -> dict[str, Any]:
    """Write a value as a change of a configuration."""
    if knob.name == "model.activation._target_":
        return {"model.activation": {"_target_": value}}
    return {knob.name.removesuffix(".name"): value}


def pairs(knob: Knob) -> Iterator[tuple[str, Run, Run]]:
    """List pairs of runs that differ only in one knob, in every option that has it.

    A word of a choice that the plan refuses, or that makes the same run, makes no pair.
    """
    for number, option in enumerate(options(knob)):
        one = planned(knob.name, option)
        values = another(knob, schema.get(one.config, knob.name), option.get(knob.group, ""))
        # All words of a choice in the first option; in the others one word is enough.
        for value in values if number == 0 else islice(values, 1):
            changes = option | setting(knob, value)
            if value in REFUSED.get(knob.name, ()):
                with pytest.raises(AblateError, match=f"{knob.group or knob.name}"):
                    planned(knob.name, changes)
            elif (other := planned(knob.name, changes)).key != one.key:
                yield f"{option} {knob.name}={value}", one, other


@pytest.mark.parametrize(
    "knob", [one for one in RESULTS if one.name not in OF_FILES], ids=lambda knob: knob.name
)
def test_a_result_knob_acts_from_the_moment_that_it_declares(knob: Knob) -> None:
    found = {what: first_difference(one, other) for what, one, other in pairs(knob)}
    assert found, "there is a setting in which it can be changed"
    assert [what for what, moment in found.items() if moment is None] == []
    assert min(found.values(), key=lambda moment: MOMENTS.index(moment or "")) == knob.acts_after


# -- where it does not -----------------------------------------------------------------------------


def test_every_knob_that_can_be_idle_has_a_setting_in_which_it_is() -> None:
    assert set(IDLE) == {knob.name for knob in schema.KNOBS if knob.idle or knob.idle_in}


@pytest.mark.parametrize("name", IDLE)
def test_a_value_that_touches_nothing_is_refused(name: str) -> None:
    changes, value = IDLE[name]
    with pytest.raises(AblateError) as caught:
        planned("", changes | {name.removesuffix(".name"): value})
    said = f"{name.removesuffix('.name')}={schema.shown(value)} touches nothing: "
    assert [fault.startswith(said) for fault in caught.value.faults] == [True]
    assert len(caught.value.faults[0]) > len(said) + 10, "a reason"


@pytest.mark.parametrize(("knob", "option"), FOREIGN.values(), ids=FOREIGN)
def test_a_knob_that_an_option_does_not_have_is_refused_beside_it(knob: Knob, option: str) -> None:
    owner = files.owners(knob.name)[0]
    value = schema.shown(files.option(*owner.split("="))[knob.name.partition(".")[2]])
    with pytest.raises(AblateError) as caught:
        runs_of(Request((option, f"{knob.name}={value}")))
    told = f"{knob.name} touches nothing with {option}: it belongs to "
    assert [fault.startswith(told) for fault in caught.value.faults] == [True]
    assert owner in caught.value.faults[0]
