"""What each technique costs: its training step against the plain one, side by side.

python scripts/bench_methods.py             on digits-sized and MNIST-sized images
python scripts/bench_methods.py --rounds 3  shorter

Contenders take turns in one process, a few steps each, so that other load on the machine affects
all alike. It prints the median ratio of a technique's step to the plain step next to it, and the
middle half of the ratios. A technique above 1.3 must have a reason, which the table names.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ablate import environment
from ablate.data.source import Part
from ablate.data.tensors import Tensors, to_device
from ablate.plan.planning import plan
from ablate.plan.request import Request
from ablate.train.memory import keep_freed_memory
from ablate.train.training import Training

PAGE = Path(__file__).parent.parent / "results" / "published" / "benchmarks" / "methods.txt"
STEPS = 4  # per turn
LIMIT = 1.3

WHY = {
    "dropout": "draws a number for each element of each layer, by definition",
    "norm=instance": "torch's group norm is slow where a group is one channel; it need not be",
    "augment=": "some thirty small operations, which only a step of 1 ms shows",
    "regularize.sam": "two gradients a step, by definition",
    "optimizer=muon": "five Newton-Schulz iterations on each matrix a step, by definition",
}
PLAIN: tuple[str, ...] = ()
ROWS: tuple[tuple[str, ...], ...] = (
    ("dropout=standard",),
    *(("dropout=standard", f"dropout.kind={kind}") for kind in ("gaussian", "spatial", "alpha")),
    ("dropout=standard", "dropout.kind=dropconnect"),
    ("dropout=standard", "dropout.scaling=test"),
    *((f"norm={name}",) for name in ("batch", "layer", "group", "instance")),
    *((f"model.activation={name}",) for name in ("sigmoid", "tanh", "leaky_relu", "elu", "selu")),
    *((f"model.activation={name}",) for name in ("gelu", "silu")),
    ("model.pool=avg",),
    *((f"optimizer={name}",) for name in ("sgd", "momentum", "nesterov", "adagrad", "adadelta")),
    *((f"optimizer={name}",) for name in ("rmsprop", "adamw", "nadam", "muon")),
    *((f"schedule={name}",) for name in ("one_cycle", "plateau")),
    ("regularize.l1=1e-5",),
    ("regularize.l2=1e-4",),
    ("regularize.max_norm=3",),
    ("regularize.label_smoothing=0.1",),
    ("regularize.mixup=0.2",),
    ("regularize.cutmix=1",),
    ("regularize.input_noise=0.1",),
    ("regularize.clip_norm=1",),
    ("regularize.clip_value=0.1",),
    ("regularize.ema=0.99",),
    ("regularize.swa=0.5",),
    ("regularize.sam=0.05",),
    *((f"augment={name}",) for name in ("shift", "flip_crop", "cutout", "affine", "light")),
)


@dataclass
class Contender:
    """A technique being timed.

    Attributes:
        overrides: What turns it on.
        training: Its training; restarted when it ends.
        ratios: Its step time over the plain one, for each turn.
    """

    overrides: tuple[str, ...]
    training: Training
    ratios: list[float]


def images(side: int, count: int) -> Tensors:
    """Make images of noise: a step's cost does not depend on what they show."""
    random = np.random.default_rng(0)

    def part(n: int) -> Part:
        pixels = random.integers(0, 256, (n, 1, side, side), dtype=np.uint8)
        labels: NDArray[np.int64] = np.arange(n, dtype=np.int64) % 10
        return Part(pixels, labels)

    parts = {"train": part(count), "val": part(10), "test": part(10)}
    return to_device(parts, 10, None, torch.device("cpu"), torch.float32)


def configuration(overrides: Sequence[str]) -> dict[str, Any]:
    """Resolve a request."""
    (run,) = plan(Request(("epochs=1000", *overrides)), whole=True).runs
    return dict(run.config)


def turn(contender: Contender) -> float:
    """Do a few steps; return the seconds per step."""
    start = time.perf_counter()
    for _ in range(STEPS):
        contender.training.advance()
    return (time.perf_counter() - start) / STEPS


def measure(
    data: Tensors, rounds: int, only: str
) -> Iterator[tuple[tuple[str, ...], NDArray[np.float64]]]:
    """Let every technique and the plain step take turns."""
    plain = Contender(PLAIN, Training([configuration(PLAIN)], data, fused=False), [])
    wanted = [row for row in ROWS if only in " ".join(row)]
    others = [Contender(o, Training([configuration(o)], data, fused=False), []) for o in wanted]
    for contender in (plain, *others):
        turn(contender)
    for _ in range(rounds):
        for contender in others:
            before = turn(plain)
            own = turn(contender)
            contender.ratios.append(2 * own / (before + turn(plain)))
    for contender in others:
        yield contender.overrides, np.array(contender.ratios)


def main(arguments: Sequence[str]) -> int:
    """Print the table, and write it where results are published."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="a part of the overrides; nothing is written")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    about = environment.describe("cpu")
    lines = [
        "step with a technique / plain step, the default network, batch 64, R = 1; median of"
        f" {asked.rounds} turns of {STEPS} steps [middle half]",
        f"{about['device']}, {torch.get_num_threads()} threads, torch {torch.__version__},"
        f" Python {platform.python_version()}",
        "",
        f"{'':58} {'8 x 8':>18} {'28 x 28':>18}",
    ]
    small, large = (list(measure(images(side, 6400), asked.rounds, asked.only)) for side in (8, 28))
    for (overrides, few), (_, many) in zip(small, large, strict=True):
        why = next((w for name, w in WHY.items() if overrides[-1].startswith(name)), "")
        cells = " ".join(f"{_shown(ratios):>18}" for ratios in (few, many))
        above = max(float(np.median(few)), float(np.median(many))) > LIMIT
        note = why if why and above else "above 1.3" if above else ""
        lines.append(f"{' '.join(overrides):58} {cells}  {note}".rstrip())
    lines += [
        "",
        "lbfgs and newton have no step to compare: one of lbfgs is up to 20 iterations on the whole"
        " training set,",
        "one of newton takes a backward pass for each parameter, by definition.",
    ]
    print("\n".join(lines))
    if not arguments:
        PAGE.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return 0


def _shown(ratios: NDArray[np.float64]) -> str:
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.2f} [{low:.2f}-{high:.2f}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
