"""What a single run costs: ours beside a hand-written loop and beside the usual DataLoader script.

    python scripts/bench_single.py [--steps N] [--rounds N]

All contenders train the same network on MNIST with the same threads. They take turns, a few steps
at a time, so that a noisy machine slows all alike; ratios are of the sums over all turns, with the
range over turns beside. MNIST is looked for as `ablate run data=mnist` does.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ablate import environment
from ablate.data.tensors import Tensors
from ablate.launch.describe import load
from ablate.launch.memory import keep_freed_memory
from ablate.nets.dropout import with_own_dropout
from ablate.plan import Request
from ablate.plan.cells import bare
from ablate.plan.request import check, compose, hydra_session
from ablate.plan.resolve import resolve
from ablate.train import Training

Step = Callable[[], Any]


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
            "DataLoader script": with_loader(data, batch),
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


def configuration(*overrides: str) -> dict[str, Any]:
    """Resolve a request, as the command does."""
    request = Request(overrides)
    with hydra_session(request) as hydra:
        checked = check(hydra, request)
        return dict(
            resolve(bare(compose(hydra, request, checked.overrides)), checked.explicit).config
        )


def compare(contenders: dict[str, Step], steps: int, rounds: int) -> None:
    """Let the contenders take turns, and print milliseconds a step and ratios to the first."""
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


def network(conv: float = 0.0, dense: float = 0.0) -> nn.Module:
    """Write the default network by hand, with torch's dropout where a rate is given."""

    def drop(rate: float) -> list[nn.Module]:
        return [nn.Dropout(rate)] if rate else []

    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *drop(conv)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *drop(conv)),
        *(nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), *drop(dense), nn.Linear(128, 10)),
    )


def by_hand(module: nn.Module, data: Tensors, batch: int) -> Step:
    """Write the loop that a careful person writes: normalized tensors in memory, torch.optim."""
    images, labels = data.normalized(data.train.images), data.train.labels
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            order = torch.randperm(len(labels))
            for start in range(0, len(labels) - batch + 1, batch):
                index = order[start : start + batch]
                yield images[index], labels[index]

    source = batches()
    loss_sum, right = torch.zeros(()), torch.zeros((), dtype=torch.int64)

    def step() -> None:
        x, y = next(source)
        optimizer.zero_grad()
        logits = module(x)
        loss = criterion(logits, y)
        loss.backward()
        optimizer.step()
        loss_sum.add_(loss.detach())
        right.add_((logits.argmax(1) == y).sum())

    return step


class _Pictures(Dataset[tuple[Tensor, int]]):
    """What torchvision's MNIST does for an item: a PIL image through ToTensor and Normalize."""

    def __init__(self, data: Tensors) -> None:
        from torchvision import transforms

        self.images, self.labels = data.train.images[:, 0].numpy(), data.train.labels.tolist()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        picture: Tensor = self.transform(Image.fromarray(self.images[index]))
        return picture, self.labels[index]


def with_loader(data: Tensors, batch: int) -> Step:
    """Write the usual script: a Dataset of pictures behind a DataLoader with two workers."""
    module = network()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(_Pictures(data), batch, shuffle=True, num_workers=2, drop_last=True)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    source = batches()

    def step() -> None:
        x, y = next(source)
        optimizer.zero_grad()
        loss = criterion(module(x), y)
        loss.backward()
        optimizer.step()

    return step


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
