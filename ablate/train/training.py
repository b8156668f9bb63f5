"""The one training step and loop, over the run axis.

A `Training` holds R runs at one step. It knows no files and no terminal: the caller asks for one
step after another, and may take its state at any step, from which another `Training` resumes with
the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ablate import environment
from ablate.axis import Step, row
from ablate.config import schema
from ablate.data.tensors import Tensors
from ablate.metrics import OF_A_SPLIT
from ablate.optim import schedule
from ablate.record import Epoch
from ablate.train.batches import Batches
from ablate.train.building import build_stack
from ablate.train.course import Course
from ablate.train.cuda_graph import Captured
from ablate.train.eval_parts import sees_its_batch
from ablate.train.footprint import Images, runs_at_once
from ablate.train.scoring import Scores
from ablate.train.update import Update

Config = Mapping[str, Any]


class Training:
    """R runs of one graph, at one step.

    Args:
        configs: Resolved configurations that agree on every graph knob.
        data: Their data set.
        fused: Whether to apply the networks under vmap; a network that cannot be is looped.

    Attributes:
        step: Steps done, of ``steps``.
        courses: What is known about each run: history, best epoch, divergence.
        seconds: Training time of each epoch, evaluation left out.
        alone: Why the network cannot be fused, or None.
        right_RN: Which test images each run got right, bool, on the CPU; None before the end.
    """

    def __init__(self, configs: Sequence[Config], data: Tensors, *, fused: bool) -> None:
        self.configs, self.data = list(configs), data
        self.device = data.device
        self.batch: int = configs[0]["batch_size"]
        self.epochs: int = configs[0]["epochs"]
        self.stack, self.alone = build_stack(configs, data, fused=fused)
        self.batches = Batches(configs, data)
        self.epoch_steps, self.steps = self.batches.length.epoch_steps, self.batches.length.steps
        self.step = 0
        self.update = Update(configs, self.stack, self.steps)
        at_once = runs_at_once(
            configs, Images.of(data), fused=self.stack.fused, memory=self._memory
        )
        by_content = sees_its_batch(configs[0])
        self.scores = Scores(
            self.stack, self.update, self.batches, data, at_once, by_content=by_content
        )
        rates = [
            schedule.rates(c["schedule"], c["optimizer"]["lr"], self.batches.length)
            for c in configs
        ]
        self.lr_TR = torch.stack(rates, 1).to(self.device)
        self.courses = [Course(config, self.batches.length) for config in configs]
        width = len(configs)
        self._sums = {
            name: torch.zeros(width, dtype=torch.float64, device=self.device)
            for name in ("loss", "penalty", "right")
        }
        # Steps in which a limit on gradients or weights changed something.
        self._acted = {
            name: torch.zeros(width, dtype=torch.int64, device=self.device)
            for name in self.update.limits
        }
        self._bad_R = torch.full((width,), -1, dtype=torch.int64, device=self.device)
        self._alive_R = torch.ones(width, dtype=torch.bool, device=self.device)
        self._factor_R = torch.ones(width, dtype=torch.float64, device=self.device)
        self._clock = torch.zeros((), dtype=torch.int64, device=self.device)
        captured = self.device.type == "cuda" and self.repeats and configs[0]["stack"]["capture"]
        self._captured = Captured() if captured else None
        self.seconds: list[float] = []
        self._spent = 0.0
        self.right_RN: Tensor | None = None

    @property
    def _memory(self) -> int | None:
        """The memory of the device in bytes, where it is a limit."""
        return environment.cuda().memory if self.device.type == "cuda" else None

    # -- steps -------------------------------------------------------------------------------------

    @property
    def repeats(self) -> bool:
        """Whether the device does the same work in every step, except for the step's number.

        Not if a step runs the user's code, does a line search, leaves out some runs, or fetches its
        images from a file.
        """
        if self.data.is_fetched:
            return False
        alone = not self.stack.fused and len(self.configs) > 1
        own = schema.targets(self.configs[0])
        return not (alone or own or self.update.searches)

    @property
    def done(self) -> bool:
        """Whether all steps are done, or no run is left to train."""
        return self.step == self.steps or not any(c.goes_on for c in self.courses)

    def advance(self) -> bool:
        """Do one step; at the end of an epoch, evaluate. Returns whether an epoch ended."""
        start = time.perf_counter()
        self.launch()
        self.step += 1
        ended = self.step % self.epoch_steps == 0
        if ended and self.device.type == "cuda":
            torch.cuda.synchronize()
        self._spent += time.perf_counter() - start
        if ended:
            self._end_epoch()
        return ended

    @property
    def captured(self) -> bool:
        """Whether steps are now launched as a CUDA graph."""
        return self._captured is not None and self._captured.graph is not None

    def launch(self) -> None:
        """Do the work of the next step without counting it; a GPU may not have finished it."""
        if self._captured is None:
            self._work(self.step)
            return
        self.batches.begin_epoch(self.step // self.epoch_steps)
        self._captured(self._count_on)

    def _work(self, step: Step) -> None:
        x_RBCHW, target = self.batches.at(step)
        alive = [course.goes_on for course in self.courses]
        found = self.update.step(x_RBCHW, target, self._rates(step), step, alive)
        self._sums["loss"] += found.loss_R
        self._sums["right"] += found.right_R
        if found.penalty_R is not None:
            self._sums["penalty"] += found.penalty_R
        for name, acted_R in found.acted.items():
            self._acted[name] += acted_R & self._alive_R
        now_bad = (self._bad_R < 0) & ~found.total_R.isfinite()
        # Not masked_fill: it would wait for the step's number from the device.
        self._bad_R.copy_(torch.where(now_bad, step, self._bad_R))

    def _count_on(self) -> None:
        """Do the step given by the device's own counter, and count it."""
        self._work(self._clock)
        self._clock += 1

    def _rates(self, step: Step) -> Tensor:
        """Look up the learning rates of a step of this epoch, float64 [R]."""
        return row(self.lr_TR, step) * self._factor_R

    @property
    def losses(self) -> list[float]:
        """Mean training loss of each run in this epoch so far (waits for the device)."""
        place = self.step % self.epoch_steps
        if place == 0:
            ends = [c.history[-1]["train/loss"] if c.history else None for c in self.courses]
            return [math.nan if loss is None else loss for loss in ends]
        losses: list[float] = (self._sums["loss"] / place).tolist()
        return losses

    def _end_epoch(self) -> None:
        self.seconds.append(self._spent)
        self._spent = 0.0
        means = {name: (sums / self.epoch_steps).tolist() for name, sums in self._sums.items()}
        means["lr"] = self._rates(self.step - 1).tolist()
        with self.scores.in_place(self.step):
            val = self.scores.of(self.data.val)
            for r, (course, bad) in enumerate(zip(self.courses, self._bad_R.tolist(), strict=True)):
                if course.goes_on:
                    mean = {name: each[r] for name, each in means.items()}
                    entry = self._entry(mean, None if val is None else val[r])
                    course.end_epoch(entry, bad if bad >= 0 else None, partial(self.stack.slice, r))
        for sums in self._sums.values():
            sums.zero_()
        self._take_note()

    def _take_note(self) -> None:
        """Update the device on what the courses say about the next steps."""
        for r, course in enumerate(self.courses):
            self._alive_R[r] = course.goes_on
            self._factor_R[r] = course.plateau.factor

    def _entry(self, mean: Mapping[str, float], val: Mapping[str, float] | None) -> Epoch:
        """Write an epoch of a run as in the record's history."""
        entry: Epoch = {
            "epoch": self.step // self.epoch_steps,
            "step": self.step,
            "lr": mean["lr"],
            "train/loss": mean["loss"],
            "train/penalty": mean["penalty"],
            "train/accuracy": mean["right"] / self.batch,
            "val/loss": None if val is None else val["loss"],
            "val/accuracy": None if val is None else val["accuracy"],
        }
        if not self.update.objective.penalized:
            del entry["train/penalty"]
        return entry

    # -- the end -----------------------------------------------------------------------------------

    def finish(self) -> list[dict[str, float | None]]:
        """Put the selected weights in place and measure every split, the test split only here.

        Returns:
            For each run the record's flat metrics; empty for a run that diverged.
        """
        self.scores.settle(self.step)
        for r, course in enumerate(self.courses):
            if course.selected is not None:
                self.stack.load_slice(r, course.selected)
        train, val = self.scores.of(self.data.train), self.scores.of(self.data.val)
        test, self.right_RN = self.scores.graded(self.data.test)
        found = {"train": train, "val": val, "test": test}
        assert train is not None, "there is an image to train on"
        for course, measured in zip(self.courses, train, strict=True):
            if course.diverged is None and not math.isfinite(measured["loss"]):
                course.diverged = self.step  # at the last step, after which no loss is computed
        return [
            self._metrics(r, {name: m[r] if m else None for name, m in found.items()})
            if course.diverged is None
            else {}
            for r, course in enumerate(self.courses)
        ]

    def _metrics(
        self, r: int, found: dict[str, dict[str, float] | None]
    ) -> dict[str, float | None]:
        flat: dict[str, float | None] = {
            f"{split}/{name}": None if values is None else values[name]
            for split, values in found.items()
            for name in OF_A_SPLIT
        }
        train, test = found["train"], found["test"]
        assert train is not None, "there is an image to train on, and one to test on"
        assert test is not None, "there is an image to train on, and one to test on"
        flat["gap/accuracy"] = train["accuracy"] - test["accuracy"]
        flat["gap/loss"] = test["loss"] - train["loss"]
        best = self.courses[r].best
        flat["epochs_to_best"] = None if best is None else best["epoch"]
        steps = self.courses[r].history[-1]["step"]
        return flat | {f"acted/{name}": int(n_R[r]) / steps for name, n_R in self._acted.items()}

    # -- state -------------------------------------------------------------------------------------

    def state(self, r: int) -> dict[str, Any]:
        """Copy all that run r needs to resume, on the CPU."""
        return {
            "step": self.step,
            "network": self.stack.slice(r),
            **self.update.state(r),
            "sums": {name: sums[r].item() for name, sums in self._sums.items()},
            "acted": {name: count_R[r].item() for name, count_R in self._acted.items()},
            "bad": self._bad_R[r].item(),
            "course": self.courses[r].state(),
            "seconds": self.seconds,
            "spent": self._spent,
        }

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resume from the states of all R runs, taken at the same step."""
        assert len({state["step"] for state in states}) == 1, "all states are of one step"
        for r, state in enumerate(states):
            self.stack.load_slice(r, state["network"])
            self.update.restore(r, state)
            for name, value in state["sums"].items():
                self._sums[name][r] = value
            for name, count in state["acted"].items():
                self._acted[name][r] = count
            self._bad_R[r] = state["bad"]
            self.courses[r].restore(state["course"])
        self.step = states[0]["step"]
        self._clock.fill_(self.step)
        self._take_note()
        self.seconds = list(states[0]["seconds"])
        self._spent = states[0]["spent"]
