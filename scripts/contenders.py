"""What ablate is compared with: the default network trained by loops that people write by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import ablate
from ablate import environment
from ablate.data.tensors import Tensors
from ablate.plan.planning import plan
from ablate.plan.request import Request

Step = Callable[[], Any]

# Without installing the package, Hydra finds our sweeper only if this folder is on the path.
sys.path.append(str(Path(ablate.__file__).parent / "plugins"))


def configuration(*overrides: str) -> dict[str, Any]:
    """Resolve a request, as the command does."""
    (run,) = plan(Request(overrides), whole=True).runs
    return dict(run.config)


def settle_arithmetic() -> None:
    """Make torch compute fp32 as ablate does, without tf32, but let cuDNN pick the fastest way."""
    environment.settle_arithmetic()
    torch.backends.cudnn.benchmark = True


def network(conv: float = 0.0, dense: float = 0.0) -> nn.Module:
    """Build the default network by hand, with torch's dropout if a rate is given."""

    def drop(rate: float) -> list[nn.Module]:
        return [nn.Dropout(rate)] if rate else []

    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *drop(conv)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *drop(conv)),
        *(nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), *drop(dense), nn.Linear(128, 10)),
    )


def by_hand(
    module: nn.Module, data: Tensors, batch: int, autocast: torch.dtype | None = None
) -> Step:
    """Make the loop that a careful person writes: normalized tensors in memory, torch.optim.

    Args:
        module: The network, on the device of the data.
        data: The data set.
        batch: Batch size.
        autocast: Type of activations if lower than that of the weights, otherwise None.
    """
    images, labels = data.normalized(data.train.images), data.train.labels
    fused = images.device.type == "cuda" or None  # what torch would choose elsewhere
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=fused)
    criterion = nn.CrossEntropyLoss()
    source = _batches(len(labels), batch, images.device)
    loss_sum = torch.zeros((), device=images.device)
    right = torch.zeros((), dtype=torch.int64, device=images.device)

    def step() -> None:
        index = next(source)
        x, y = images[index], labels[index]
        optimizer.zero_grad()
        with lowered(images.device, autocast):
            logits = module(x)
            loss = criterion(logits, y)
        loss.backward()
        optimizer.step()
        loss_sum.add_(loss.detach())
        right.add_((logits.argmax(1) == y).sum())

    return step


def as_graph(
    module: nn.Module, data: Tensors, batch: int, autocast: torch.dtype | None = None
) -> Step:
    """Make the fastest loop for single runs: compiled, and launched as one CUDA graph per step.

    `mode="reduce-overhead"` would capture forward and backward pass separately, and leave out the
    optimizer and `zero_grad`. So the kernels are compiled without graphs, and the whole step, with
    Adam's fused kernel, is captured as in PyTorch's notes on CUDA graphs. On a CPU the same step is
    compiled, but not captured. The arguments are those of `by_hand`.
    """
    images, labels = data.normalized(data.train.images), data.train.labels
    device = images.device
    cuda = device.type == "cuda"
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True, capturable=cuda)
    source, index = _batches(len(labels), batch, device), torch.arange(batch, device=device)
    loss_sum = torch.zeros((), device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)

    @torch.compile(dynamic=False)
    def losses(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        # Without the cache, which a capture would have to keep alive.
        with lowered(device, autocast, cache=False):
            logits = module(x)
            return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).sum()

    def work() -> None:
        # Gradients are allocated in the graph's own memory, rather than filled with zeros.
        optimizer.zero_grad(set_to_none=True)
        loss, count = losses(images[index], labels[index])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum.add_(loss.detach())
        right.add_(count)

    return _each(work, lambda: index.copy_(next(source)), captured=cuda)


def _each(work: Step, prepare: Step, *, captured: bool) -> Step:
    """Make a step that prepares and does some work, possibly launched as a graph."""
    launch = _captured(work, prepare) if captured else work

    def step() -> None:
        prepare()
        launch()

    return step


def _captured(work: Step, prepare: Step) -> Step:
    """Do some work a few times on a separate stream, then capture it; return its replay."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            prepare()
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    prepare()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _batches(items: int, batch: int, device: torch.device) -> Iterator[Tensor]:
    """Yield the indices of each batch, reshuffled at every epoch."""
    while True:
        order = torch.randperm(items, device=device)
        for start in range(0, items - batch + 1, batch):
            yield order[start : start + batch]


def lowered(
    device: torch.device, autocast: torch.dtype | None, cache: bool = True
) -> AbstractContextManager[Any]:
    """Return the context that lowers the type of activations, if one is given."""
    if autocast is None:
        return nullcontext()
    return torch.autocast(device.type, autocast, cache_enabled=cache)


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Like torchvision's MNIST per item: a PIL image through ToTensor and Normalize."""

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


def with_loader(
    module: nn.Module,
    data: Tensors,
    batch: int,
    workers: int = 2,
    autocast: torch.dtype | None = None,
) -> Step:
    """Make the usual script: a Dataset of pictures behind a DataLoader with some workers."""
    device = data.train.images.device
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(
        _Pictures(data),
        batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    source = batches()

    def step() -> None:
        x, y = (part.to(device, non_blocking=True) for part in next(source))
        optimizer.zero_grad()
        with lowered(device, autocast):
            loss = criterion(module(x), y)
        loss.backward()
        optimizer.step()

    return step
