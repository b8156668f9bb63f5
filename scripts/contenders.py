"""What ablate is held against: the default network trained by loops that people write by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import ablate
from ablate.data.tensors import Tensors
from ablate.plan.planning import plan
from ablate.plan.request import Request

Step = Callable[[], Any]

# Hydra finds our sweeper there also where the package is not installed, but only on the path.
sys.path.append(str(Path(ablate.__file__).parent / "plugins"))


def configuration(*overrides: str) -> dict[str, Any]:
    """Resolve a request, as the command does."""
    (run,) = plan(Request(overrides), whole=True).runs
    return dict(run.config)


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
            order = torch.randperm(len(labels), device=images.device)
            for start in range(0, len(labels) - batch + 1, batch):
                index = order[start : start + batch]
                yield images[index], labels[index]

    source = batches()
    loss_sum = torch.zeros((), device=images.device)
    right = torch.zeros((), dtype=torch.int64, device=images.device)

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

        self.images = data.train.images[:, 0].cpu().numpy()
        self.labels = data.train.labels.tolist()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        picture: Tensor = self.transform(Image.fromarray(self.images[index]))
        return picture, self.labels[index]


def with_loader(module: nn.Module, data: Tensors, batch: int, workers: int = 2) -> Step:
    """Write the usual script: a Dataset of pictures behind a DataLoader with some workers."""
    device = data.train.images.device
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(_Pictures(data), batch, shuffle=True, num_workers=workers, drop_last=True)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    source = batches()

    def step() -> None:
        x, y = (part.to(device) for part in next(source))
        optimizer.zero_grad()
        loss = criterion(module(x), y)
        loss.backward()
        optimizer.step()

    return step
