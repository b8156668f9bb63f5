"""Shows progress on standard error: a bar on a terminal, otherwise a line per epoch or stack."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from ablate import record
from ablate.launch.attempt import Follower
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack
from ablate.streams import visible
from ablate.train.training import Training

_REFRESH = 0.2  # seconds between two reads of the loss, which wait for the device


class Progress(Follower):
    """Follows the training of one run.

    Args:
        training: The training to follow.
        runs: Its run, just one.
    """

    def __init__(self, training: Training, runs: Sequence[Run]) -> None:
        config = runs[0].config
        self._training = training
        self._title = visible(f"{config['name']} seed {config['seed']}")
        self._images = training.batch * len(training.configs)
        self._looked = time.monotonic()
        # Disabled if standard error is not a terminal; then `_line` prints instead.
        self._bar = tqdm(
            total=training.steps * self._images,
            initial=training.step * self._images,
            desc=self._title,
            unit=" img",
            unit_scale=True,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {remaining} {rate_fmt}{postfix}",
            dynamic_ncols=True,
            disable=None,
            leave=False,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def step(self, ended: bool) -> None:
        """Update the bar, or print a line if the step ended an epoch."""
        if self._bar.disable:
            if ended:
                self._line()
            return
        self._bar.update(self._images)
        now = time.monotonic()
        if now - self._looked >= _REFRESH:
            self._looked = now
            self._bar.set_postfix_str(self._state(), refresh=False)

    def _state(self) -> str:
        losses, history = self._training.losses, self._training.courses[0].history
        text = f"loss {losses[0]:.4f}"
        if history:
            last = history[-1]
            val = last["val/accuracy"]
            split, accuracy = ("train", last["train/accuracy"]) if val is None else ("val", val)
            text += f" {split} accuracy {100 * accuracy:.1f} %"
        return text

    def _line(self) -> None:
        training = self._training
        last = training.courses[0].history[-1]
        speed = training.epoch_steps * self._images / max(training.seconds[-1], 1e-9)
        val = (
            ""
            if last["val/accuracy"] is None
            else f"  val loss {last['val/loss']:.4f} accuracy {last['val/accuracy']:.4f}"
        )
        print(
            f"{self._title}  epoch {last['epoch']}/{training.epochs}"
            f"  train loss {last['train/loss']:.4f} accuracy {last['train/accuracy']:.4f}{val}"
            f"  {speed:,.0f} images/s",
            file=sys.stderr,
            flush=True,
        )


def note(text: str) -> None:
    """Print a note on standard error, above any bar."""
    tqdm.write(f"ablate: note: {text}", file=sys.stderr)


class SweepProgress:
    """Follows a sweep: one bar over all runs, and a line for each stack that ends.

    Args:
        stacks: All stacks of the sweep.
        todo: The stacks that will be trained.
    """

    def __init__(self, stacks: Sequence[RunStack], todo: Sequence[RunStack]) -> None:
        total = sum(len(stack.runs) for stack in stacks)
        left = sum(len(stack.runs) for stack in todo)
        self._number, self._count = 0, len(todo)
        self._bar = tqdm(
            total=total,
            initial=total - left,
            desc=visible(str(stacks[0].runs[0].config["name"])),
            unit=" runs",
            dynamic_ncols=True,
            disable=None,
            leave=False,
        )

    def __enter__(self) -> SweepProgress:
        self._bar.refresh()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def ended(self, stack: RunStack) -> None:
        """Print how a stack ended."""
        self._number += 1
        records = [found for run in stack.runs if (found := record.read_if_sound(run.directory))]
        ends = Counter(found["status"] for found in records)
        ending = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
        line = f"stack {self._number}/{self._count}: {ending}{_errors(records)}"
        # tqdm clears its bar before the line and redraws it after, so the two do not mix.
        tqdm.write(line, file=sys.stderr)
        self._bar.update(len(stack.runs))


def _errors(records: Sequence[record.Record]) -> str:
    errors = [e for r in records if (e := r["metrics"].get("val/error")) is not None]
    if not errors:
        return ""
    mean = f"; validation error {100 * sum(errors) / len(errors):.2f} %"
    low, high = 100 * min(errors), 100 * max(errors)
    return mean if len(errors) == 1 else f"{mean} ({low:.2f} to {high:.2f})"
