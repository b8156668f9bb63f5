"""What looking inside costs: training with a look every 100 steps against training alone.

python scripts/bench_inspect.py             on digits of 8 × 8 and of 28 × 28 pixels
python scripts/bench_inspect.py --rounds 2  shorter; the page is not written

Two trainings of the same run take turns in one process, 100 steps each, so that other load on the
machine affects both alike. It prints the median of the ratios of two turns, with the middle half;
the target is below 1.10.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ablate import environment
from ablate.commands.asking import Words
from ablate.commands.inspect.request import checked
from ablate.data import load
from ablate.measure.observe import fixed_batch, observe, update_ratios
from ablate.train.memory import keep_freed_memory
from ablate.train.training import Training

PAGE = Path(__file__).parent.parent / "results" / "published" / "benchmarks" / "inspect.txt"
EVERY = 100
ROWS: dict[str, tuple[str, ...]] = {
    "cnn, 8 x 8": (),
    "cnn, batch norm, dropout, 8 x 8": ("norm=batch", "dropout=standard"),
    "mlp, 8 x 8": ("model=mlp",),
    "cnn, 28 x 28": ("data.image_size=28",),
}


def turn(training: Training, watched: bool) -> float:
    """Do some steps, the first with a look if the training is inspected; return the seconds."""
    batch = fixed_batch(training.data, 256)
    start = time.perf_counter()
    if watched:
        observe(training, 0, *batch, training_mode=True)
        update_ratios(training)
    for _ in range(EVERY - watched):
        training.advance()
    return time.perf_counter() - start


def main(arguments: Sequence[str]) -> int:
    """Print the table, and write it where results are published."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(arguments).rounds
    keep_freed_memory()
    about = environment.describe("cpu")
    lines = [
        f"{EVERY} steps with a look / {EVERY} steps alone, batch 64, R = 1; median of {rounds}"
        " rounds [middle half]",
        f"{about['device']}, {torch.get_num_threads()} threads, torch {torch.__version__},"
        f" Python {platform.python_version()}",
        "",
    ]
    for name, overrides in ROWS.items():
        (run,) = checked(Words(("epochs=1000", *overrides))).runs
        alone, watched = (Training([run.config], load(run.config), fused=False) for _ in range(2))
        turns = [(turn(alone, False), turn(watched, True)) for _ in range(rounds + 1)]
        times = np.array(turns[1:])  # the first round warms up
        low, middle, high = np.quantile(times[:, 1] / times[:, 0], [0.25, 0.5, 0.75])
        step = 1000 * float(np.median(times[:, 0])) / EVERY
        lines.append(f"{name:34} {step:6.1f} ms a step  {middle:.3f} [{low:.3f}-{high:.3f}]")
    print("\n".join(lines))
    if "--rounds" not in arguments:
        PAGE.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
