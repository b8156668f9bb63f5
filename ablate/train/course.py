"""The course of one run: its history, its best epoch, and whether it goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from ablate.config.course import Length, Plateau, first_look
from ablate.record import Epoch
from ablate.regularize.early_stopping import has_stalled

Weights = dict[str, Tensor]


@dataclass
class Course:
    """What is known about a run at the end of an epoch.

    Attributes:
        config: Its configuration.
        length: How long its training is.
        history: One object per finished epoch, as in the record.
        best: Epoch, accuracy and loss of the best validation, and its weights if they will be
            tested (`select=best`).
        diverged: The step at which the loss was not finite.
        stopped: Epoch and weights at which early stopping ended it.
        plateau: The factor of its learning rate.
    """

    config: Mapping[str, Any]
    length: Length
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Any] | None = None
    diverged: int | None = None
    stopped: dict[str, Any] | None = None
    plateau: Plateau = field(default_factory=Plateau)

    @property
    def goes_on(self) -> bool:
        """Whether to train it further."""
        return self.diverged is None and self.stopped is None

    @property
    def selected(self) -> Weights | None:
        """The weights to test; None for the last ones."""
        if self.best is not None and self.best["weights"]:
            weights: Weights = self.best["weights"]
            return weights
        return None if self.stopped is None else self.stopped["weights"]

    def end_epoch(self, entry: Epoch, bad: int | None, weights: Callable[[], Weights]) -> None:
        """Note the end of an epoch.

        Args:
            entry: Its object in the record.
            bad: The step at which the loss was not finite, or None.
            weights: Copies the weights under evaluation.
        """
        self.history.append(entry)
        val = entry["val/loss"]
        if bad is None and val is not None and not math.isfinite(val):
            bad = entry["step"]
        if bad is not None:
            self.diverged = bad
        elif val is not None:
            self._compare(entry, val, weights)
            schedule = self.config["schedule"]
            if schedule["name"] == "plateau" and entry["epoch"] >= first_look(
                schedule, self.length
            ):
                self.plateau.look(schedule, val)

    def _compare(self, entry: Epoch, loss: float, weights: Callable[[], Weights]) -> None:
        score = (entry["val/accuracy"], -loss)
        if self.best is None or score > (self.best["accuracy"], -self.best["loss"]):
            self.best = {
                "epoch": entry["epoch"],
                "accuracy": entry["val/accuracy"],
                "loss": loss,
                "weights": weights() if self.config["select"] == "best" else {},
            }
        patience = self.config["regularize"]["early_stopping"]
        if patience and has_stalled(entry["epoch"], self.best["epoch"], patience):
            self.stopped = {"epoch": entry["epoch"], "weights": weights()}

    def state(self) -> dict[str, Any]:
        """Copy what the run needs to resume."""
        return {
            "history": self.history,
            "best": self.best,
            "diverged": self.diverged,
            "stopped": self.stopped,
            "plateau": asdict(self.plateau),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` copied."""
        self.history = list(state["history"])
        self.best, self.diverged = state["best"], state["diverged"]
        self.stopped = state["stopped"]
        self.plateau = Plateau(**state["plateau"])
