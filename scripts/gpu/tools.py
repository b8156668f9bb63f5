"""What the parts share: where results go, how time is taken, and the machine's two limits."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ablate import environment
from ablate.data import load
from ablate.data.tensors import Tensors
from ablate.nets.shapes import layers
from ablate.train.training import Training
from contenders import configuration


@dataclass
class Bench:
    """One part under way; what it finds is written at once, so that a cut loses little.

    Attributes:
        part: Its name.
        device: ``cuda``, or ``cpu`` to try the script out.
        small: Whether all sizes are the smallest, to try the script out.
        folder: Where ``gpu_<part>.txt`` and ``gpu_<part>.json`` go.
        batch: Batch size of the sweep.
        found: All figures, by name.
    """

    part: str
    device: str
    small: bool
    folder: Path
    batch: int = 128
    found: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        exact_convolutions()  # for all contenders alike
        about = environment.describe(self.device)
        self.found["about"] = about | {"date": datetime.now(UTC).date().isoformat()}
        self.say(
            f"scripts/bench_gpu.py --part {self.part}, {self.found['about']['date']},"
            f" {about['device']}, torch {torch.__version__}"
            + (", smallest sizes: no figure of worth" if self.small else "")
        )

    def say(self, line: str = "") -> None:
        """Print a line, and keep it."""
        print(line, flush=True)
        self.lines.append(line)
        self._write()

    def note(self, name: str, value: Any) -> None:
        """Keep a figure."""
        self.found[name] = value
        self._write()

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text, numbers = (self.folder / f"gpu_{self.part}.{kind}" for kind in ("txt", "json"))
        text.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        numbers.write_text(json.dumps(self.found, indent=1), encoding="utf-8")

    # -- trainings ---------------------------------------------------------------------------------

    def config(self, *overrides: str) -> dict[str, Any]:
        """Resolve a request on this device."""
        return configuration(f"device={self.device}", *overrides)

    def runs(self, width: int, *overrides: str) -> list[dict[str, Any]]:
        """Resolve runs that differ in seed, rate and dropout."""
        plain = self.config(*overrides)
        rates = {"dense": [0.1 * (1 + i % 8) for i in range(width)]}
        return [
            plain
            | {
                "seed": i,
                "optimizer": plain["optimizer"] | {"lr": 1e-3 * (1 + i % 3) / 2},
                "dropout": plain["dropout"] | {"dense": rates["dense"][i]},
            }
            for i in range(width)
        ]

    def training(self, runs: Sequence[dict[str, Any]], *, fused: bool | None = None) -> Training:
        """Make a training of some runs; fused where there are several, unless told otherwise."""
        return Training(runs, load(runs[0]), fused=len(runs) > 1 if fused is None else fused)

    # -- time --------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Wait until the device has done all it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Time some work, the device's part of it included."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def milliseconds(self, step: Callable[[], Any], wanted: float = 0.5) -> float:
        """Time a step: the median of five turns of about as many seconds as wanted together."""
        for _ in range(2 if self.small else 8):
            step()
        once = self.seconds(step)
        count = 1 if self.small else max(3, int(wanted / 5 / once))
        turns = [self.seconds(lambda: [step() for _ in range(count)]) for _ in range(5)]
        return 1000 * statistics.median(turns) / count

    # -- limits ------------------------------------------------------------------------------------

    def copy_rate(self) -> float:
        """Measure bytes a second of a large copy on the device, read and written."""
        count = 2**20 if self.small else 2**28
        source = torch.rand(count, device=self.device)
        target = torch.empty_like(source)
        return 2 * 4 * count / (self.milliseconds(lambda: target.copy_(source)) / 1000)


def least_bytes(config: dict[str, Any], data: Tensors, number: int) -> int:
    """Count the bytes that a step of one run moves at least, unless layers are merged.

    Each layer's output is written once, read by the next layer and again on the way back, and its
    gradient is written and read once; the images are read. Of each parameter, weight, gradient and
    Adam's two means are read and the last three written, the gradient written and the weight read
    twice: ten times 4 bytes.

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


def exact_convolutions() -> None:
    """Keep cuDNN from rounding what convolutions in fp32 multiply, as ablate does."""
    torch.backends.cudnn.allow_tf32 = False


def distance(one: Training, other: Training, r: int, s: int) -> float:
    """Give the largest relative difference between run r of one training and s of another."""
    a, b = one.stack.slice(r), other.stack.slice(s)
    far = [
        (a[k] - b[k]).abs().max() / a[k].abs().max().clamp(min=0.1)
        for k in a
        if a[k].is_floating_point()
    ]
    return worst(far)


def worst(far: Sequence[torch.Tensor]) -> float:
    """Give the largest of some numbers; infinity where any is not finite."""
    return float(torch.stack([f.double().cpu() for f in far]).nan_to_num(torch.inf).max())


def same(one: Training, other: Training, r: int, s: int) -> bool:
    """Tell whether two runs hold the same bits; NaN equals NaN."""
    a, b = one.stack.slice(r), other.stack.slice(s)
    return all(torch.equal(a[k].nan_to_num(7.7), b[k].nan_to_num(7.7)) for k in a)
