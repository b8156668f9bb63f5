"""When a knob has no effect within the steps of a training.

Each function takes a configuration in which its knob is on, and the length of the training. It
returns the reason why no number would change without the knob, whatever the validation losses, or
None. Docstrings say which knobs a function is for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from ablate.config.course import Length, first_averaged, first_fall, warmup_steps
from ablate.config.rates import fractions

Config = Mapping[str, Any]
Schedule = Mapping[str, Any]
ReasonInCourse = Callable[[Config, Length], str | None]

_SOME, _CHUNK = 64, 1 << 16  # steps whose rates are compared first, and then per round
_MOST = 1 << 24  # with more steps than this, a sample stands for all


# -- schedules -------------------------------------------------------------------------------------


def no_move(config: Config, length: Length) -> str | None:
    """A schedule, and settings without which the rate stays constant."""
    schedule = config["schedule"]
    if schedule["name"] == "plateau":
        return late_fall(config, length)
    if _same(schedule, {"name": "constant"}, length):
        return f"the rate is constant in {steps_to_fill(schedule, length)}"
    return None


def late_fall(config: Config, length: Length) -> str | None:
    """The patience of a plateau."""
    first = first_fall(config["schedule"], length)
    if first < length.epochs:
        return None
    return (
        f"the rate could fall after epoch {first} at the earliest, and epochs={length.epochs}; set"
        " schedule.patience"
    )


def short_warmup(config: Config, length: Length) -> str | None:
    """A warm-up."""
    schedule = config["schedule"]
    if not _same(schedule, {"warmup_epochs": 0}, length):
        return None
    if warmup_steps(schedule, length) == 0:
        return f"it is less than half a step, with {_steps(length.epoch_steps)} an epoch"
    return "it is one step, which has the full rate"


def same_with(part: str, value: Any) -> ReasonInCourse:
    """A setting of a schedule whose value makes no difference."""

    def reason(config: Config, length: Length) -> str | None:
        schedule = config["schedule"]
        if schedule[part] == value or not _same(schedule, {part: value}, length):
            return None
        return (
            f"in {steps_to_fill(schedule, length)} the rates are the same with"
            f" schedule.{part}={value}"
        )

    return reason


def late_milestones(config: Config, length: Length) -> list[float]:
    """List the milestones that come after the last step."""
    schedule = config["schedule"]
    milestones = schedule["milestones"]
    return [
        milestone
        for milestone in milestones
        if _same(schedule, {"milestones": [m for m in milestones if m != milestone]}, length)
    ]


def steps_to_fill(schedule: Schedule, length: Length) -> str:
    """Describe the steps that a schedule fills."""
    warmup = warmup_steps(schedule, length)
    left = _steps(length.steps - warmup)
    return f"the {left} after the warm-up" if warmup else f"the {left} of training"


def _same(schedule: Schedule, changes: Schedule, length: Length) -> bool:
    """Tell whether a change of a schedule changes no step's rate."""
    return _agree(_frozen(schedule), _frozen({**schedule, **changes}), length)


def _frozen(schedule: Schedule) -> tuple[tuple[str, Any], ...]:
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in sorted(schedule.items()))


@lru_cache(maxsize=4096)  # the cells of a grid share most schedules
def _agree(
    one: tuple[tuple[str, Any], ...], other: tuple[tuple[str, Any], ...], length: Length
) -> bool:
    import numpy as np  # slow to import, and only needed when a request sets a schedule

    with np.errstate(all="ignore"):  # parts of a schedule divide by 0 outside their range
        return all(
            np.array_equal(*(fractions(dict(s), length, step, np) for s in (one, other)))
            for step in _in_turn(length.steps, np)
        )


def _in_turn(steps: int, np: Any) -> Iterator[Any]:
    """Yield a few steps from all of training, where differences usually show; then all steps."""
    yield np.unique(np.linspace(0, steps - 1, _SOME).round())
    for start in range(0, min(steps, _MOST), _CHUNK):
        yield np.arange(start, min(start + _CHUNK, steps), dtype=np.float64)


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"


# -- averages of the weights -----------------------------------------------------------------------


def little_to_average(config: Config, length: Length) -> str | None:
    """Stochastic weight averaging."""
    count = length.steps - first_averaged(config["regularize"]["swa"], length.steps)
    if count == 0:
        return f"it would begin after the last of {_steps(length.steps)}"
    if count == 1 and not _may_measure_anew(config):
        return f"it would average the last of {_steps(length.steps)} alone"
    return None


def _may_measure_anew(config: Config) -> bool:
    """Tell whether batch norm's statistics may be measured for an average, even one of one step."""
    norm = config["norm"]
    own = "custom" in (config["model"]["name"], norm["name"])
    return own or (norm["name"] == "batch" and norm["eval"] == "running")


def nothing_kept(config: Config, length: Length) -> str | None:
    """An exponential average."""
    if length.steps == 1:
        return "training is one step, and there is nothing to average"
    weight = 1 - float(config["regularize"]["ema"])
    if config["precision"] != "fp64":
        (weight,) = struct.unpack("f", struct.pack("f", weight))
    return "each step's weight in the average, 1 - ema, rounds to 1" if weight == 1 else None


# -- optimizers ------------------------------------------------------------------------------------


def one_step(config: Config, length: Length) -> str | None:
    """Coefficients that act from the second step on."""
    return "training is one step, and it acts from the second" if length.steps == 1 else None


def one_step_of_momentum(config: Config, length: Length) -> str | None:
    """Momentum. If it looks ahead, it lengthens even the first step."""
    return (
        one_step(config, length) if config["optimizer"]["name"] in ("momentum", "rmsprop") else None
    )
