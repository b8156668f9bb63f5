"""Trains a request in three ways: fused with mates, looped, and in plain torch; compares them.

A run in plain torch whose initial weights are moved by 1e-12 tells how long the way is stable: from
the step on at which that moves the weights by more than the tolerance, rounding alone parts the
three, and nothing is compared.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from ablate.config import schema
from ablate.config.effect import SOLVERS
from ablate.data import load
from ablate.data.tensors import Split, Tensors
from ablate.errors import AblateError
from ablate.plan.resolve import resolve
from ablate.plan.run import Run
from ablate.plan.stacks import graph_of
from ablate.train.training import Training
from tests.configs import config
from tests.fuzz import legal
from tests.fuzz.legal import Overrides
from tests.plain_training import Trained, train

TOLERANCE = 1e-6
NUDGE = 1e-12
_TESTED = 30  # test images
_SMALL = 1e-3  # numbers below this are compared as if they were of this size


@dataclass
class Verdict:
    """What came of a request.

    Attributes:
        faults: Where the three ways part; each names the ways and the numbers.
        stable: Share of the steps that could be compared.
    """

    faults: list[str]
    stable: float = 1.0


def words(overrides: Overrides) -> list[str]:
    """Write a request as the words of a command line."""
    return [f"{name}={schema.shown(value)}" for name, value in overrides.items()]


def command(overrides: Overrides) -> str:
    """Write a request as a command line."""
    return " ".join(["ablate run", *map(shlex.quote, words(overrides))])


def planned(overrides: Overrides) -> Run:
    """Resolve a request, without Hydra, which would take most of the time.

    Raises:
        AblateError: It is refused.
    """
    made = config(**overrides)
    knobs = {f"{name}.name" if name in schema.OPTIONS else name for name in overrides}
    return resolve(made, knobs | ({"dropout"} & overrides.keys()))


def legal_request(chance: Random) -> tuple[Overrides, int]:
    """Draw requests until one is planned; give it, and how many were refused on the way."""
    refused, drawn = 0, legal.request(chance)
    while True:
        try:
            planned(drawn)
        except AblateError as error:
            refused += 1
            names = legal.blamed(drawn, error.faults)
            drawn = legal.without(drawn, names) if names else legal.request(chance)
        except Exception as error:
            raise RuntimeError(f"this cannot be planned: {command(drawn)}") from error
        else:
            return drawn, refused


def stack_of(chance: Random, overrides: Overrides) -> list[Run]:
    """Plan a request, and two mates that differ from it in axis knobs.

    Raises:
        AblateError: The request is refused.
    """
    first = planned(overrides)
    runs = [first]
    for number in (1, 2):
        try:
            run = planned(legal.mate(chance, overrides))
        except AblateError:
            run = first
        if graph_of(run) != graph_of(first):
            run = planned(overrides | {"seed": number})
        runs.append(run)
    return runs


def judged(runs: Sequence[Run]) -> Verdict:
    """Train runs of one stack in every way, and compare."""
    configs = [run.config for run in runs]
    data = load(configs[0])
    some = Split(data.test.images[:_TESTED], data.test.labels[:_TESTED])
    data = replace(data, test=some)
    ways = {}
    if configs[0]["optimizer"]["name"] in SOLVERS:
        each = [_trained(Training([c], data, fused=False))[0] for c in configs[:1]]
        ways["looped"], configs = each, configs[:1]
    else:
        ways["looped"] = _trained(Training(configs, data, fused=False))
        ways["fused"] = _trained(Training(configs, data, fused=True))
    verdict = Verdict([])
    for r, each_config in enumerate(configs):
        plain = train(each_config, data)
        if any(_faults(plain, found[r], math.inf) for found in ways.values()):
            stable = _stable_steps(plain, each_config, data)
            verdict.stable = min(verdict.stable, stable / max(len(plain.steps), 1))
            for way, found in ways.items():
                faults = _faults(plain, found[r], stable)
                verdict.faults += [f"run {r}, {way}: {fault}" for fault in faults]
    return verdict


def _trained(training: Training) -> list[Trained]:
    left = [Trained() for _ in training.courses]
    while not training.done:
        going = [course.goes_on for course in training.courses]
        training.advance()
        for r, some in enumerate(left):
            if going[r]:
                some.steps.append(training.stack.slice(r))
                some.losses.append(training.losses[r])
    metrics = training.finish()
    for r, (some, course) in enumerate(zip(left, training.courses, strict=True)):
        some.history = [dict(entry) for entry in course.history]
        some.tested = training.stack.slice(r)
        some.metrics = {k: v for k, v in metrics[r].items() if v is not None}
        some.diverged = course.diverged is not None
    return left


def _stable_steps(plain: Trained, run: Mapping[str, Any], data: Tensors) -> float:
    """Count the steps that a tiny move does not part; infinite if the end is stable too."""
    moved = train(dict(run), data, nudge=NUDGE)
    for number, (one, other) in enumerate(zip(plain.steps, moved.steps, strict=False)):
        if not _distance(one, other) <= TOLERANCE:
            return number
    return len(plain.steps) if _ends_differ(plain, moved) else math.inf


def _faults(plain: Trained, ours: Trained, stable: float) -> list[str]:
    """Say where a training of ours leaves the plain one, as far as that is stable."""
    steps = min(len(plain.steps), stable)
    if stable == math.inf and len(plain.steps) != len(ours.steps):
        return [f"{len(ours.steps)} steps, not {len(plain.steps)}"]
    means = _means(plain, len(plain.steps) // max(len(plain.history), 1))
    for step, (one, other) in enumerate(zip(plain.steps, ours.steps, strict=False)):
        if step <= steps and _apart(means[step], ours.losses[step]):
            return [f"step {step}: loss {ours.losses[step]!r}, not {means[step]!r}"]
        if step < steps and not (distance := _distance(one, other)) <= TOLERANCE:
            return [f"step {step}: weights {distance:.1e} apart: {_furthest(one, other)}"]
    return _ends_differ(plain, ours) if stable == math.inf else []


def _means(plain: Trained, epoch_steps: int) -> list[float]:
    """Take the mean loss of each epoch so far, as a training tells it."""
    means = []
    for step in range(len(plain.losses)):
        begun = step - step % epoch_steps
        means.append(sum(plain.losses[begun : step + 1]) / (step + 1 - begun))
    return means


def _ends_differ(plain: Trained, ours: Trained) -> list[str]:
    if plain.diverged != ours.diverged:
        return [f"diverged: {ours.diverged}, not {plain.diverged}"]
    for number, (entry, other) in enumerate(zip(plain.history, ours.history, strict=False), 1):
        for name, value in entry.items():
            if _apart(value, other[name]):
                return [f"epoch {number}: {name} {other[name]!r}, not {value!r}"]
    if plain.diverged:
        return []
    if not (distance := _distance(plain.tested, ours.tested)) <= TOLERANCE:
        which = _furthest(plain.tested, ours.tested)
        return [f"tested weights {distance:.1e} apart: {which}"]
    for name, value in plain.metrics.items():
        if _apart(value, ours.metrics[name]):
            return [f"{name} {ours.metrics[name]!r}, not {value!r}"]
    return []


def _apart(one: float, other: float | None) -> bool:
    if other is None or not math.isfinite(one):  # a record has null for what is not finite
        return (other is not None and math.isfinite(other)) or math.isfinite(one)
    return not abs(one - other) <= TOLERANCE * max(abs(one), _SMALL)


def _distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return max(_apart_by(one[name], other[name]) for name in one)


def _furthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    return max(one, key=lambda name: _apart_by(one[name], other[name]))


def _apart_by(one: Tensor, other: Tensor) -> float:
    if torch.equal(one, other):
        return 0.0
    distance = float((one - other).abs().max() / one.abs().max().clamp(min=_SMALL))
    return math.inf if math.isnan(distance) else distance


def shrunk(overrides: Overrides, seed: str) -> Overrides:
    """Leave out what a failing request does not need to fail."""
    needed = overrides
    for name in overrides:
        fewer = legal.without(needed, {name})
        if name == "precision" or fewer == needed:
            continue
        try:
            fails = bool(judged(stack_of(Random(seed), fewer)).faults)
        except AblateError:
            continue
        except Exception:  # a crash is a failure, too
            fails = True
        needed = fewer if fails else needed
    return needed
