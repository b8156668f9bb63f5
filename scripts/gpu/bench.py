"""Tools to measure with: runs to train, a clock that waits for the device, its two limits."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ablate.data import load
from ablate.data.tensors import Tensors
from ablate.nets.shapes import layers
from ablate.train.training import Training
from contenders import configuration


@dataclass(frozen=True)
class Bench:
    """The device and the sizes to measure with.

    Attributes:
        device: ``cuda``, or ``cpu`` to try the script.
        dry: Whether to use the smallest sizes, to try the script.
        batch: Batch size of the sweep.
    """

    device: str
    dry: bool
    batch: int = 128

    # -- trainings ---------------------------------------------------------------------------------

    def config(self, *overrides: str) -> dict[str, Any]:
        """Resolve a request on this device."""
        return configuration(f"device={self.device}", *overrides)

    def runs(self, width: int, *overrides: str, **stack: Any) -> list[dict[str, Any]]:
        """Resolve runs that differ in seed, rate and dropout.

        Args:
            width: Number of runs.
            overrides: What they share.
            stack: Settings of their stack, such as ``capture`` and ``compile``.
        """
        plain = self.config(*overrides)
        return [
            plain
            | {
                "seed": i,
                "optimizer": plain["optimizer"] | {"lr": 1e-3 * (1 + i % 3) / 2},
                "dropout": plain["dropout"] | {"dense": 0.1 * (1 + i % 8)},
                "stack": plain["stack"] | stack,
            }
            for i in range(width)
        ]

    def training(self, runs: Sequence[dict[str, Any]], *, fused: bool | None = None) -> Training:
        """Make a training of some runs; fused by default if there are several."""
        return Training(runs, load(runs[0]), fused=len(runs) > 1 if fused is None else fused)

    # -- time --------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Wait until the device has done all its work."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Time some work, with the device's part of it."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def milliseconds(self, step: Callable[[], Any], wanted: float = 0.5) -> float:
        """Time a step: the median of five turns, which together take about the wanted seconds."""
        # Skip the steps before a capture, and the capture itself.
        for _ in range(5 if self.dry else 8):
            step()
        once = self.seconds(step)
        count = 1 if self.dry else max(3, int(wanted / 5 / once))
        turns = [self.seconds(lambda: [step() for _ in range(count)]) for _ in range(5)]
        return 1000 * statistics.median(turns) / count

    # -- memory ------------------------------------------------------------------------------------

    def forget(self) -> int:
        """Restart the count of the device's memory; return the bytes in use."""
        gc.collect()
        if self.device == "cpu":
            return 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def peak(self) -> int:
        """Return the most bytes reserved since; 0 on the CPU, where they are not counted."""
        return 0 if self.device == "cpu" else torch.cuda.max_memory_reserved()


# -- limits ----------------------------------------------------------------------------------------


def copy_rate(bench: Bench) -> dict[str, float]:
    """Measure the bytes per second, read and written, of a large copy on the device."""
    count = 2**20 if bench.dry else 2**28
    source = torch.rand(count, device=bench.device)
    target = torch.empty_like(source)
    ms = bench.milliseconds(lambda: target.copy_(source))
    return {"bytes a second": 2 * 4 * count / (ms / 1000)}


def least_bytes(config: dict[str, Any], data: Tensors, number: int) -> int:
    """Count the fewest bytes that a step of one run moves, unless layers are merged.

    Each layer's output is written once, read by the next layer and again in the backward pass, and
    its gradient is written and read once; the images are read. For each parameter, the update reads
    weight, gradient and Adam's two means, and writes weight and means; before it, the gradient is
    written and the weight read twice: ten times 4 bytes.

    Args:
        config: The run's configuration.
        data: Its data set.
        number: Bytes of one number of an activation.
    """
    found = layers(config["model"], data.shape, data.classes)
    outputs = sum(layer.width * layer.uses for layer in found)
    image = data.shape[0] * data.shape[1] * data.shape[2]
    return int(config["batch_size"] * (image + 5 * number * outputs)) + 40 * sum(
        layer.weights for layer in found
    )
