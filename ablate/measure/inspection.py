"""Signal statistics of runs: at the start, during training and after training.

At the start we look at the initial weights, and do one step to measure the size of its update.
After training we look at the weights in the run's record. With ``every=N`` the run is trained here,
step by step, with the same numbers as a recorded run, and nothing is recorded.

The images are always the same training images, without augmentation, as in evaluation; gradients
are those of the mean cross entropy only. The update is the optimizer's own, with everything that
acts in the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ablate import data, record
from ablate.errors import AblateError
from ablate.measure.layers import differs
from ablate.measure.observe import fixed_batch, observe, update_ratios
from ablate.measure.signals import OF_LAYERS, OF_WEIGHTS, Look
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack
from ablate.train.training import Training


@dataclass(frozen=True)
class Seen:
    """One look at a run.

    Attributes:
        name: The run's name.
        run: The run.
        moment: ``start``, ``step`` or ``end``.
        step: Steps done so far.
        mode: ``train`` or ``eval``, or ``both`` if they do not differ.
        found: The statistics; rows of weights also have ``update_ratio``: the size of the next step
            over that of the weight, ‖Δw‖/‖w‖ (None if it is unknown, or the weight is 0).
    """

    name: str
    run: Run
    moment: str
    step: int
    mode: str
    found: Look


@dataclass
class Inspected:
    """All looks at some runs.

    Attributes:
        images: Number of training images: as many as requested, or the size of the smallest
            training split if that is less.
        seen: The looks, run by run.
        failures: Runs that did not finish, and how they ended.
    """

    images: int
    seen: list[Seen] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def inspect_stack(
    stack: RunStack, names: Sequence[str], settings: Mapping[str, Any], into: Inspected
) -> None:
    """Look at the runs of a stack.

    Args:
        stack: The runs. To be looked at after training, by their records, they must have ended.
        names: A name for each run.
        settings: The settings of `ablate inspect`.
        into: The looks are added here.

    Raises:
        AblateError: A run that had finished before kept no weights.
    """
    watch = _Watch(stack, names, settings, into)
    watch.on_the_way()
    if settings["train"] and settings["every"] is None:
        watch.recorded()


def at_both_ends(run: Run, images: int, trained: bool) -> dict[str, Any]:
    """Look at a run in training mode, at the start and after training.

    Args:
        run: A run; with `trained` it must have finished.
        images: How many training images to look at.
        trained: Whether to look at the trained weights, from the run's record, too.

    Returns:
        The record's entry `inspect`: ``images``, and for each moment (``start``, ``end``) ``step``,
        ``layers`` (by name: ``kind`` and `signals.OF_LAYERS`) and ``weights`` (by name: ``matrix``
        and `signals.OF_WEIGHTS` without the update ratio).

    Raises:
        AblateError: The run did not finish, or kept no weights.
    """
    settings = {"images": images, "every": None, "train": trained}
    inspected = Inspected(images)
    watch = _Watch(RunStack((run,), fused=False, why=""), [run.key], settings, inspected)
    watch.start()
    if trained:
        watch.recorded()
    if inspected.failures:
        raise AblateError(*inspected.failures)
    seen = [one for one in inspected.seen if one.mode != "eval"]
    return {"images": images} | {one.moment: written(one.found, one.step) for one in seen}


def written(found: Look, step: int) -> dict[str, Any]:
    """Convert a look to what a record holds, without its histograms."""
    of_layers, of_weights = ("kind", *OF_LAYERS), ("matrix", *OF_WEIGHTS[:-1])
    return {
        "step": step,
        "layers": {row["layer"]: {name: row[name] for name in of_layers} for row in found.layers},
        "weights": {
            row["parameter"]: {name: row[name] for name in of_weights} for row in found.weights
        },
    }


# -- looking at a stack of runs --------------------------------------------------------------------


class _Watch:
    """Looks at the runs of a stack."""

    def __init__(
        self, stack: RunStack, names: Sequence[str], settings: Mapping[str, Any], into: Inspected
    ) -> None:
        self.runs, self.names, self.into = stack.runs, names, into
        self.every, self.train = settings["every"], settings["train"]
        configs = [run.config for run in stack.runs]
        tensors = data.load(configs[0], stack.runs[0].digest)
        self.training = Training(configs, tensors, fused=stack.fused)
        self.batch = fixed_batch(self.training.data, settings["images"])
        into.images = min(into.images, len(self.batch[0]))
        own = self.training.alone is not None
        self.differs = own or any(
            differs(self.training.stack.layers(r)) for r in range(len(configs))
        )

    def on_the_way(self) -> None:
        """Look at the start and, if `every` is set, during training up to the end."""
        training = self.training
        with tqdm(total=training.steps, disable=None, leave=False, unit=" steps") as bar:
            while not training.done:
                step = training.step
                if step == 0 or step % self.every == 0:
                    self._at_a_step("start" if step == 0 else "step")
                else:
                    training.advance()
                bar.update()
                if self.every is None:
                    return
        training.finish()
        for r, course in enumerate(training.courses):
            self._look(r, "end", training.step)
            if course.diverged is not None:
                self._failed(r, "diverged", f"the loss was not finite at step {course.diverged}")

    def start(self) -> None:
        """Look at the initial weights, without doing a step."""
        for r in range(len(self.runs)):
            self._look(r, "start", 0)

    def recorded(self) -> None:
        """Look at the trained weights in the runs' records."""
        for r, run in enumerate(self.runs):
            found = record.read(run.directory)
            status = "missing" if found is None else found["status"]
            if status != "finished":
                self._failed(r, status, "" if found is None else str(found["reason"]))
            if found is None or status not in ("finished", "diverged"):
                continue
            steps = found["history"][-1]["step"] if found["history"] else 0
            self._look(r, "end", steps, record.load_weights(run.directory))

    def _failed(self, r: int, status: str, reason: str) -> None:
        self.into.failures.append(f"{self.names[r]}: {status}: {reason}")

    def _at_a_step(self, moment: str) -> None:
        """Look at all runs, do a step, and measure the size of its updates."""
        training, step = self.training, self.training.step
        some = [r for r, course in enumerate(training.courses) if course.goes_on]
        looks = {r: self._look(r, moment, step) for r in some}
        ratios = update_ratios(training)
        for r, found in looks.items():
            for row in found.weights:
                ratio = ratios[row["parameter"]][r]
                row["update_ratio"] = ratio if math.isfinite(ratio) else None

    def _look(
        self, r: int, moment: str, step: int, weights: Mapping[str, Tensor] | None = None
    ) -> Look:
        """Look at a run in training mode; before and after training also in evaluation mode.

        Evaluation mode is left out if it gives the same.
        """
        how: dict[str, Any] = {"weights": weights, "step": step}
        train = observe(self.training, r, *self.batch, training_mode=True, **how)
        modes = {"train" if self.differs else "both": train}
        if self.differs and moment != "step":
            modes["eval"] = observe(self.training, r, *self.batch, training_mode=False, **how)
        for mode, found in modes.items():
            seen = Seen(self.names[r], self.runs[r], moment, step, mode, found)
            self.into.seen.append(seen)
        return train
