"""What a single run costs: ours next to a hand-written loop and the usual DataLoader script.

    python scripts/bench_single.py [--steps N] [--rounds N]

All contenders train the same network on MNIST with the same threads. They take turns, a few steps
at a time, so that a noisy machine slows all alike. Ratios are of the sums over all turns, with the
range over turns. MNIST is found as by `ablate run data=mnist`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from ablate import environment
from ablate.data import load
from ablate.nets.own_dropout import with_own_dropout
from ablate.train.memory import keep_freed_memory
from ablate.train.training import Training
from contenders import Step, by_hand, configuration, network, with_loader


def main() -> None:
    """Print all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="steps a turn")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each contender")
    options = parser.parse_args()
    about = environment.describe("cpu")
    print(f"{about['device']}, {about['threads']} threads, torch {torch.__version__}\n")
    keep_freed_memory()
    config = configuration("data=mnist")
    data = load(config)
    batch: int = config["batch_size"]
    print(f"MNIST, batch {batch}, the default network (conv 32, conv 64, dense 128), Adam")
    training = Training([config], data, fused=False)
    compare(
        {
            "ablate": training.advance,
            "hand-written loop, data in memory": by_hand(network(), data, batch),
            "DataLoader script": with_loader(network(), data, batch),
        },
        options.steps,
        options.rounds,
    )
    print("\nDropout 0.25 after each block and 0.5 in the dense layer, same network, eager")
    compare(
        {
            "counter-hash masks": by_hand(with_own_dropout(network(0.25, 0.5)), data, batch),
            "nn.Dropout": by_hand(network(0.25, 0.5), data, batch),
            "no dropout": by_hand(network(), data, batch),
        },
        options.steps,
        options.rounds,
    )
    print("\nStart-up, seconds (median of 5)")
    start_up()


def compare(contenders: dict[str, Step], steps: int, rounds: int) -> None:
    """Let the contenders take turns; print milliseconds per step and ratios to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, step in contenders.items():
            start = time.perf_counter()
            for _ in range(steps):
                step()
            if turn:  # the first turn warms up
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(seconds.values()))
    for name, spent in seconds.items():
        ratios = [ours / theirs for ours, theirs in zip(first, spent, strict=True)]
        overall = sum(first) / sum(spent)
        print(
            f"  {name:36s} {1000 * sum(spent) / steps / rounds:8.3f} ms a step"
            f"   first / this {overall:.3f}  (turns {min(ratios):.3f} to {max(ratios):.3f})"
        )


def start_up() -> None:
    """Time the command's help and its refusal of a wrong override."""
    command = str(Path(sys.executable).parent / "ablate")
    for words in (["--help"], ["run", "--help"], ["run", "dropout.cnv=0.2"]):
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([command, *words], capture_output=True, check=False)
            seconds.append(time.perf_counter() - start)
        print(f"  ablate {' '.join(words):28s} {statistics.median(seconds):.2f}")


if __name__ == "__main__":
    main()
