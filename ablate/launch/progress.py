"""What is seen while training, on standard error: a bar on a terminal, else a line an epoch."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from ablate.train import Training

_REFRESH = 0.2  # seconds between two looks at the loss, each of which waits for the device


class Progress:
    """Follows one training.

    Args:
        training: What is followed.
        title: Name of the run.
    """

    def __init__(self, training: Training, title: str) -> None:
        self._training, self._title = training, title
        self._images = training.batch * len(training.configs)
        self._looked = time.monotonic()
        self._shown_epochs = 0
        # Disabled where standard error is no terminal: there `_line` speaks instead.
        self._bar = tqdm(
            total=training.steps * self._images,
            initial=training.step * self._images,
            desc=title,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None,
            leave=False,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def step(self, ended: bool) -> None:
        """Take note of a step, and of whether it ended an epoch."""
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
        losses, history = self._training.losses, self._training.history[0]
        text = f"loss {losses[0]:.4f}"
        if history:
            text += f", train accuracy {history[-1]['train/accuracy']:.4f}"
        if history and history[-1]["val/accuracy"] is not None:
            text += f", val accuracy {history[-1]['val/accuracy']:.4f}"
        return text

    def _line(self) -> None:
        training = self._training
        last = training.history[0][-1]
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
