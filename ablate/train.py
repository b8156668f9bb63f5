"""The one training step and loop, over the run axis.

A `Training` holds R runs at one step of their way. It knows no files and no terminal: whoever
drives it asks for one step after another, and may take its state at any step, from which another
`Training` goes on with the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ablate import metrics, rng, schedule
from ablate.data.tensors import Split, Tensors
from ablate.errors import AblateError
from ablate.init import initialize
from ablate.nets.build import build
from ablate.nets.own import seeded
from ablate.optim import Optimizer
from ablate.stack import EVAL_BATCH, Stack, unbatchable

Config = Mapping[str, Any]

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}  # of the weights
_SEED_OF = ("init", "order", "dropout", "augment")


def seed_of(config: Config, source: str) -> int:
    """Give the seed of one source of randomness: its own where it is pinned, else the run's."""
    pinned = config["seeds"][source]
    return int(config["seed"] if pinned is None else pinned)


class Training:
    """R runs of one graph, at one step.

    Args:
        configs: Resolved configurations that agree on every graph knob.
        data: Their data set.
        fused: Whether to apply the networks under vmap; a network that cannot be is looped.

    Attributes:
        step: Steps done, of ``steps``.
        history: For each run, one object an epoch done, as in the record.
        seconds: Training time of each epoch, evaluation left out.
        alone: Why the network cannot be fused, or None.
    """

    def __init__(self, configs: Sequence[Config], data: Tensors, *, fused: bool) -> None:
        config = configs[0]
        self.configs, self.data = list(configs), data
        self.device = data.train.images.device
        self.batch: int = config["batch_size"]
        self.epoch_steps = len(data.train) // self.batch
        self.epochs: int = config["epochs"]
        self.steps = self.epoch_steps * self.epochs
        self.step = 0
        self.alone: str | None = None
        self.stack = self._build(fused)
        self.optimizer = Optimizer([c["optimizer"] for c in configs], self.stack.parameters)
        rates = [
            schedule.rates(c["schedule"], c["optimizer"]["lr"], self.steps, self.epoch_steps)
            for c in configs
        ]
        self.lr_TR = torch.stack(rates, 1).to(self.device)
        seeds_R = torch.tensor([seed_of(c, "order") for c in configs], dtype=torch.int64)
        self._order_R = rng.stream(seeds_R, "order").to(self.device)
        self._order_RSB: Tensor | None = None
        width = len(configs)
        self._loss_R = torch.zeros(width, dtype=torch.float64, device=self.device)
        self._right_R = torch.zeros(width, dtype=torch.int64, device=self.device)
        self._bad_R = torch.full((width,), -1, dtype=torch.int64, device=self.device)
        self.history: list[list[dict[str, Any]]] = [[] for _ in configs]
        self.seconds: list[float] = []
        self._spent = 0.0
        self._best: list[dict[str, Any] | None] = [None] * width
        self.diverged: list[int | None] = [None] * width

    def _build(self, fused: bool) -> Stack:
        config, data = self.configs[0], self.data
        modules = []
        for c in self.configs:
            with seeded(0):  # torch's layers draw weights of their own, which are drawn anew here
                module = build(c, data.shape, data.classes)
            initialize(module, c["init"], seed_of(c, "init"))
            modules.append(module.to(self.device, data.dtype))
        if not any(p.requires_grad for p in modules[0].parameters()):
            raise AblateError("the model has no parameter to train")
        if config["model"]["name"] == "custom":
            images, _ = data.batch(torch.arange(min(2, len(data.train)), device=self.device))
            self.alone = unbatchable(modules[0], images)
        return Stack(
            modules,
            [seed_of(c, "dropout") for c in self.configs],
            fused=fused and self.alone is None,
            autocast=torch.bfloat16 if config["precision"] == "bf16" else None,
            random=self.alone is not None,
        )

    # -- the way through training ------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether all steps are done, or no run is left to train."""
        return self.step == self.steps or not any(self.alive)

    @property
    def alive(self) -> list[bool]:
        """Which runs have not diverged."""
        return [step is None for step in self.diverged]

    def advance(self) -> bool:
        """Do one step; at the end of an epoch, evaluate. Returns whether an epoch ended."""
        start = time.perf_counter()
        epoch, place = divmod(self.step, self.epoch_steps)
        if place == 0 or self._order_RSB is None:
            self._order_RSB = self._order(epoch)
        x_RBCHW, y_RB = self.data.batch(self._order_RSB[:, place])
        loss_R, right_R, gradients = self.stack.gradients(x_RBCHW, y_RB, self.step, self.alive)
        self.optimizer.step(gradients, self.lr_TR[self.step], self.step + 1)
        self._loss_R += loss_R
        self._right_R += right_R
        now_bad = (self._bad_R < 0) & ~loss_R.isfinite()
        self._bad_R.masked_fill_(now_bad, self.step)
        self.step += 1
        ended: bool = place + 1 == self.epoch_steps
        if ended and self.device.type == "cuda":
            torch.cuda.synchronize()
        self._spent += time.perf_counter() - start
        if ended:
            self._end_epoch(epoch)
        return ended

    @property
    def losses(self) -> list[float]:
        """Mean training loss of each run in this epoch so far (waits for the device)."""
        place = self.step % self.epoch_steps or self.epoch_steps
        if self.step % self.epoch_steps == 0:
            return [h[-1]["train/loss"] if h else math.nan for h in self.history]
        losses: list[float] = (self._loss_R / place).tolist()
        return losses

    def _order(self, epoch: int) -> Tensor:
        count = len(self.data.train)
        order_RN = rng.permutation(rng.fold(self._order_R, epoch), count)
        return order_RN[:, : self.epoch_steps * self.batch].view(-1, self.epoch_steps, self.batch)

    def _end_epoch(self, epoch: int) -> None:
        self.seconds.append(self._spent)
        self._spent = 0.0
        loss_R = (self._loss_R / self.epoch_steps).tolist()
        accuracy_R = (self._right_R / (self.epoch_steps * self.batch)).tolist()
        val = self._measure(self.data.val)
        for r, bad in enumerate(self._bad_R.tolist()):
            if self.diverged[r] is not None:
                continue
            if bad < 0 and val is not None and not math.isfinite(val[r]["loss"]):
                bad = self.step
            entry = {
                "epoch": epoch + 1,
                "step": self.step,
                "lr": float(self.lr_TR[self.step - 1, r]),
                "train/loss": loss_R[r],
                "train/accuracy": accuracy_R[r],
                "val/loss": None if val is None else val[r]["loss"],
                "val/accuracy": None if val is None else val[r]["accuracy"],
            }
            self.history[r].append(entry)
            if bad >= 0:
                self.diverged[r] = bad
            elif val is not None:
                self._keep_if_best(r, entry)
        self._loss_R.zero_()
        self._right_R.zero_()

    def _keep_if_best(self, r: int, entry: dict[str, Any]) -> None:
        score = (entry["val/accuracy"], -entry["val/loss"])
        best = self._best[r]
        if best is not None and score <= (best["accuracy"], -best["loss"]):
            return
        self._best[r] = {
            "epoch": entry["epoch"],
            "accuracy": entry["val/accuracy"],
            "loss": entry["val/loss"],
            "weights": self.stack.slice(r) if self.configs[r]["select"] == "best" else {},
        }

    # -- measuring ---------------------------------------------------------------------------------

    def _measure(self, split: Split) -> list[dict[str, float]] | None:
        if len(split) == 0:
            return None
        chunks = [
            self.stack.predict(self.data.normalized(images))
            for images in torch.split(split.images, EVAL_BATCH)
        ]
        found = metrics.measure(torch.cat(chunks, 1), split.labels)
        columns = {name: values.tolist() for name, values in found.items()}
        return [
            {name: column[r] for name, column in columns.items()} for r in range(len(self.configs))
        ]

    def finish(self) -> list[dict[str, float | None]]:
        """Put the selected weights in place and measure every split, the test split this once.

        Returns:
            For each run the record's flat metrics; empty for a run that diverged.
        """
        for r, best in enumerate(self._best):
            if best is not None and best["weights"]:
                self.stack.load_slice(r, best["weights"])
        splits = {name: getattr(self.data, name) for name in ("train", "val", "test")}
        found = {name: self._measure(split) for name, split in splits.items()}
        train = found["train"]
        assert train is not None, "there is an image to train on"
        for r, measured in enumerate(train):
            if self.diverged[r] is None and not math.isfinite(measured["loss"]):
                self.diverged[r] = self.steps  # in the last step, which no later loss shows
        return [
            self._metrics({name: m[r] if m else None for name, m in found.items()}, self._best[r])
            if alive
            else {}
            for r, alive in enumerate(self.alive)
        ]

    @staticmethod
    def _metrics(
        found: dict[str, dict[str, float] | None], best: dict[str, Any] | None
    ) -> dict[str, float | None]:
        flat: dict[str, float | None] = {
            f"{split}/{name}": None if values is None else values[name]
            for split, values in found.items()
            for name in ("loss", "accuracy", "error", "ece")
        }
        train, test = found["train"], found["test"]
        assert train is not None, "there is an image to train on, and one to test on"
        assert test is not None, "there is an image to train on, and one to test on"
        flat["gap/accuracy"] = train["accuracy"] - test["accuracy"]
        flat["gap/loss"] = test["loss"] - train["loss"]
        flat["epochs_to_best"] = None if best is None else best["epoch"]
        return flat

    # -- state -------------------------------------------------------------------------------------

    def state(self, r: int) -> dict[str, Any]:
        """Copy all that run r needs to go on, on the CPU."""
        slots = self.optimizer.state.items()
        return {
            "step": self.step,
            "network": self.stack.slice(r),
            "optimizer": {s: {k: v[r].cpu().clone() for k, v in t.items()} for s, t in slots},
            "loss": self._loss_R[r].item(),
            "right": self._right_R[r].item(),
            "bad": self._bad_R[r].item(),
            "diverged": self.diverged[r],
            "history": self.history[r],
            "best": self._best[r],
            "seconds": self.seconds,
            "spent": self._spent,
        }

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from the states of all R runs, taken at the same step."""
        assert len({state["step"] for state in states}) == 1, "mates stand at the same step"
        for r, state in enumerate(states):
            self.stack.load_slice(r, state["network"])
            for slot, tensors in state["optimizer"].items():
                for name, tensor in tensors.items():
                    self.optimizer.state[slot][name][r].copy_(tensor)
            self._loss_R[r] = state["loss"]
            self._right_R[r] = state["right"]
            self._bad_R[r] = state["bad"]
            self.diverged[r] = state["diverged"]
            self.history[r] = list(state["history"])
            self._best[r] = state["best"]
        self.step = states[0]["step"]
        self.seconds = list(states[0]["seconds"])
        self._spent = states[0]["spent"]
