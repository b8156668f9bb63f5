"""Part sweep: 64 runs on MNIST, dropout by seed, beside what people use.

Baselines are timed over two epochs of one run, without evaluation, and extrapolated to 64 runs;
stacks train all 64 runs to the end, and measure them after each epoch and at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.multiprocessing as processes
from torch import nn

from ablate.data import load
from ablate.data.tensors import Tensors
from ablate.train.training import Training
from contenders import Step, by_hand, network, with_loader
from gpu.tools import Bench, exact_convolutions, least_bytes

_RUNS, _EPOCHS, _MEASURED = 64, 10, 2
_TOGETHER = 4  # processes at once
_KINDS = (("fp32", False), ("bf16", False), ("bf16", True))  # precision, compiled


def run(bench: Bench) -> bool:
    """Fill the table for one batch size."""
    rate = bench.copy_rate()
    bench.say(f"copy: {rate / 1e9:,.0f} GB/s")
    table = Table(bench, 32 if bench.small else bench.batch, rate)
    table.others()
    table.ours()
    table.ratios()
    return True


class Table:
    """All contenders at one batch size; each is printed and kept as soon as it is known.

    Args:
        bench: The part.
        batch: Batch size.
        rate: Bytes a second that the device copies.
    """

    def __init__(self, bench: Bench, batch: int, rate: float) -> None:
        few = ("data.train_size=320", "epochs=2") if bench.small else (f"epochs={_EPOCHS}",)
        self.bench, self.batch, self.rate = bench, batch, rate
        self.common = ("data=mnist", f"batch_size={batch}", "dropout.dense=0.5", *few)
        self.config = bench.config(*self.common)
        self.data, self.epochs = load(self.config), int(self.config["epochs"])
        self.epoch_steps = len(self.data.train) // batch
        self.runs = 4 if bench.small else _RUNS
        self.found: dict[str, float] = {}
        bench.say(
            f"\n{self.runs} runs of {self.epochs} epochs, batch {batch}: seconds, runs an hour"
        )

    def tell(self, name: str, seconds: float, note: str) -> None:
        """Print and keep the seconds of a contender."""
        self.found[name] = seconds
        self.bench.note(f"batch {self.batch}", self.found)
        hourly = 3600 * self.runs / seconds
        self.bench.say(f"  {name:44s} {seconds:9.1f} {hourly:9.0f}   {note}")

    def fail(self, name: str, error: Exception) -> None:
        """Print why a contender has no figure; the others keep theirs."""
        self.bench.say(f"  {name:44s} {str(error).splitlines()[0][:80]}")

    def others(self) -> None:
        """Time what people use, and extrapolate."""
        bench, data, batch = self.bench, self.data, self.batch
        workers = 0 if bench.small else 4
        serial: dict[str, Callable[[], Step]] = {
            "(i) serial, DataLoader": lambda: with_loader(_net(bench), data, batch, workers),
            "(ii) serial, data on the device, eager": lambda: by_hand(_net(bench), data, batch),
            "(iii) serial, compiled, CUDA graphs": lambda: _compiled(_net(bench), data, batch),
        }
        note = f"extrapolated from {_MEASURED} epochs"
        for name, make in serial.items():
            try:
                cold, warm = _epoch(bench, make, self.epoch_steps)
            except Exception as error:  # a compiler may fail in any way
                self.fail(name, error)
                continue
            seconds = cold + self.runs * self.epochs * warm
            self.tell(name, seconds, f"{note}; first steps {cold:.1f} s")
        name = f"(iv) {_TOGETHER} processes of (ii) at once"
        try:
            epoch = _together(bench, self.common, self.epoch_steps)
        except RuntimeError as error:
            self.fail(name, error)
        else:
            self.tell(name, epoch * self.runs * self.epochs / _TOGETHER, f"{note} each")

    def ours(self) -> None:
        """Train all runs as stacks."""
        steps = self.runs * self.epochs * self.epoch_steps
        for precision, compiled in _KINDS[: 1 if self.bench.small else None]:
            common = (*self.common, f"precision={precision}")
            number = 2 if precision == "bf16" else 4
            floor = steps * least_bytes(self.config, self.data, number) / self.rate
            for width in (1, 2) if self.bench.small else (1, 8, 32, 64):
                name = f"(v) stacks of {width}, {precision}{', compiled' if compiled else ''}"
                try:
                    seconds, cold = _stacks(self.bench, common, width, self.runs, compiled)
                except torch.OutOfMemoryError as error:
                    self.fail(name, error)
                    continue
                note = f"{seconds / floor:.1f} floors; of it {cold:.1f} s for first steps"
                self.tell(name, seconds, note)

    def ratios(self) -> None:
        """Hold the best stack against each of the others."""
        best = min(value for name, value in self.found.items() if name.startswith("(v)"))
        for name, value in self.found.items():
            if not name.startswith("(v)"):
                self.bench.say(f"  best stack against {name}: {value / best:.1f} times")


def _net(bench: Bench) -> nn.Module:
    return network(dense=0.5).to(bench.device)


def _epoch(bench: Bench, make: Callable[[], Step], steps: int) -> tuple[float, float]:
    """Time the first steps, then a later epoch; seconds each."""
    start = time.perf_counter()
    step = make()
    for _ in range(5):
        step()
    bench.wait()
    cold = time.perf_counter() - start
    warm = bench.seconds(lambda: [step() for _ in range(_MEASURED * steps)]) / _MEASURED
    return cold, warm


def _compiled(module: nn.Module, data: Tensors, batch: int) -> Step:
    """Write what a careful person compiles: the step as a whole, launched as a CUDA graph."""
    images, labels = data.normalized(data.train.images), data.train.labels
    cuda = images.device.type == "cuda"
    rate = torch.tensor(1e-3, device=images.device) if cuda else 1e-3
    optimizer = torch.optim.Adam(module.parameters(), lr=rate, capturable=cuda)
    criterion = nn.CrossEntropyLoss()

    def work(index: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = criterion(module(images[index]), labels[index])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return loss.detach()

    fast: Any = torch.compile(work, mode="reduce-overhead" if cuda else "default")
    order = torch.randperm(len(labels), device=images.device)
    place = 0

    def step() -> None:
        nonlocal order, place
        if place + batch > len(labels):
            order, place = torch.randperm(len(labels), device=images.device), 0
        fast(order[place : place + batch])
        place += batch

    return step


# -- several processes -----------------------------------------------------------------------------


def _together(bench: Bench, common: tuple[str, ...], steps: int) -> float:
    """Time an epoch while several processes train at once, in seconds, start-up left out."""
    context = processes.get_context("spawn")
    gate = context.Barrier(_TOGETHER, timeout=120)  # one that died leaves none waiting
    seconds = context.SimpleQueue()
    config = bench.config(*common)
    workers = [
        context.Process(target=_worker, args=(config, steps, gate, seconds))
        for _ in range(_TOGETHER)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a process of several at once died")
    return max(float(seconds.get()) for _ in workers)


def _worker(config: dict[str, Any], steps: int, gate: Any, seconds: Any) -> None:
    exact_convolutions()
    data = load(config)
    step = by_hand(network(dense=0.5).to(config["device"]), data, config["batch_size"])
    for _ in range(5):
        step()
    gate.wait()
    start = time.perf_counter()
    for _ in range(_MEASURED * steps):
        step()
    if config["device"] == "cuda":
        torch.cuda.synchronize()
    seconds.put((time.perf_counter() - start) / _MEASURED)


# -- ours ------------------------------------------------------------------------------------------


def _stacks(
    bench: Bench, common: tuple[str, ...], width: int, runs: int, compiled: bool
) -> tuple[float, float]:
    """Train all runs in stacks of a width, to their metrics; seconds, and those before steps.

    Of stacks of one, a single one is trained and the rest extrapolated.
    """
    each = bench.runs(runs, *common)
    each = [run | {"stack": run["stack"] | {"compile": compiled}} for run in each]
    trained = width if width == 1 else runs
    before = 0.0

    def train() -> None:
        nonlocal before
        for start in range(0, trained, width):
            training = bench.training(each[start : start + width], fused=width > 1 or compiled)
            before += bench.seconds(partial(_begin, training))
            while not training.done:
                training.advance()
            training.finish()

    return bench.seconds(train) * runs / trained, before * runs / trained


def _begin(training: Training) -> None:
    for _ in range(min(5, training.steps)):
        training.advance()
