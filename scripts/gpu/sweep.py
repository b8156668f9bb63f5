"""Part sweep: 64 runs on MNIST, dropout by seed, next to what people use.

Each contender has its own process. It is timed over two epochs, and extrapolated to all runs and
epochs; a stack is evaluated after each epoch as always, the others never. Our fastest kind of each
precision is then also trained and measured to the end.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from ablate.data import load
from ablate.train.training import Training
from contenders import Step, as_graph, by_hand, network, settle_arithmetic, with_loader
from gpu.apart import Figures
from gpu.bench import Bench, copy_rate, least_bytes
from gpu.jax_stack import jax_stack
from gpu.jobs import Job
from gpu.processes import processes

_RUNS, _EPOCHS, _TIMED = 64, 10, 2
_TYPES = {"fp32": None, "bf16": torch.bfloat16}
_SERIAL = {
    "serial, compiled, CUDA graphs": as_graph,
    "serial, data on the device, eager": by_hand,
    "serial, DataLoader": with_loader,
}
_WIDTHS = (32, 64, 16, 8, 1)


def jobs(bench: Bench, all_found: Mapping[str, Figures]) -> Iterator[Job]:
    """List the contenders: ours and the strongest baselines first."""
    yield Job("copy", copy_rate, ours=False)
    yield from _stacks(bench, "bf16", compiled=False)
    # To start and to compile takes long: a dry run tries each of the others in one type, and
    # compiles one of them alone (part step compiles ours).
    types = ("bf16",) if bench.dry else ("bf16", "fp32")
    for name in _SERIAL:
        for precision in types:
            yield _other(f"{name}, {precision}", serial, name, precision)
    yield from _stacks(bench, "fp32", compiled=False)
    if not bench.dry:
        yield from _stacks(bench, "bf16", compiled=True)
    count = 2 if bench.dry else min(8, os.cpu_count() or 1)
    for way in ("eager",) if bench.dry else ("compiled, CUDA graphs", "eager"):
        name = f"{count} processes at once, {way}, bf16"
        yield _other(name, processes, settings(bench), count, way)
    for precision in types:
        for width in (2,) if bench.dry else (64, 16):
            name = f"JAX, vmap and scan, {width} runs, {precision}"
            yield _other(name, jax_stack, settings(bench), width, precision)
    for precision in ("bf16", "fp32"):
        mine = [f for n, f in all_found.items() if n.startswith("ours, ") and precision in n]
        timed = [found for found in mine if "seconds" in found]
        if timed:
            best = min(timed, key=lambda found: float(found["seconds"]))
            arguments = (precision, best["width"], best["compiled"])
            yield Job(f"ours to the end, {precision}", to_the_end, arguments, 300, alone=True)


def _other(name: str, work: Callable[..., Figures], *arguments: Any) -> Job:
    return Job(name, work, arguments, 300, alone=True, ours=False)


def _stacks(bench: Bench, precision: str, compiled: bool) -> Iterator[Job]:
    for width in (2,) if bench.dry else _WIDTHS:
        name = f"ours, stacks of {width}, {precision}{', compiled' if compiled else ''}"
        yield Job(name, stacks, (width, precision, compiled), 240, alone=True)


def settings(bench: Bench) -> dict[str, Any]:
    """Resolve what all contenders train."""
    batch = 32 if bench.dry else bench.batch
    few = ("data.train_size=320",) if bench.dry else ()
    epochs = f"epochs={_TIMED if bench.dry else _EPOCHS}"
    return bench.config("data=mnist", f"batch_size={batch}", "dropout.dense=0.5", epochs, *few)


def _overrides(bench: Bench, precision: str) -> tuple[str, ...]:
    config = settings(bench)
    return (
        *("data=mnist", f"batch_size={config['batch_size']}", f"epochs={config['epochs']}"),
        *("dropout.dense=0.5", f"precision={precision}"),
        *(("data.train_size=320",) if bench.dry else ()),
    )


def _runs(bench: Bench) -> int:
    return 4 if bench.dry else _RUNS


# -- what people use -------------------------------------------------------------------------------


def serial(bench: Bench, name: str, precision: str) -> Figures:
    """Time a loop over a single run."""
    config = settings(bench)
    data = load(config)
    settle_arithmetic()
    start = time.perf_counter()
    module = network(dense=0.5).to(bench.device)
    more = {"workers": 0 if bench.dry else 4} if name.endswith("DataLoader") else {}
    make: Any = _SERIAL[name]
    step: Step = make(module, data, config["batch_size"], autocast=_TYPES[precision], **more)
    for _ in range(5):
        step()
    bench.wait()
    first = time.perf_counter() - start
    steps = _TIMED * (len(data.train) // config["batch_size"])
    epoch = bench.seconds(lambda: [step() for _ in range(steps)]) / _TIMED
    # What is compiled once serves all runs.
    seconds = first + _runs(bench) * config["epochs"] * epoch
    return {"seconds": seconds, "first steps": first, "epoch of a run": epoch}


# -- ours ------------------------------------------------------------------------------------------


def stacks(bench: Bench, width: int, precision: str, compiled: bool) -> Figures:
    """Time two epochs and the final measurement of one stack."""
    config = settings(bench)
    runs = bench.runs(width, *_overrides(bench, precision), compile=compiled)
    first = bench.seconds(lambda: _begun(bench, runs, compiled))
    begun: list[Training] = []
    later = bench.seconds(lambda: begun.append(_begun(bench, runs, compiled)))
    (training,) = begun
    epoch = bench.seconds(lambda: _epochs(training)) / _TIMED
    final = bench.seconds(training.finish)
    count = -(-_runs(bench) // width)
    seconds = first + (count - 1) * later + count * (config["epochs"] * epoch + final)
    least = least_bytes(config, training.data, 2 if precision == "bf16" else 4)
    whole = _runs(bench) * config["epochs"] * training.epoch_steps * least
    found = {"seconds": seconds, "first steps": first, "epoch": epoch, "least bytes": whole}
    return {**found, "width": width, "compiled": compiled}


def _begun(bench: Bench, runs: list[dict[str, Any]], compiled: bool) -> Training:
    """Make a training that has compiled what it compiles, and captured its step."""
    training = bench.training(runs, fused=len(runs) > 1 or compiled)
    for _ in range(5):
        training.advance()
    return training


def _epochs(training: Training) -> None:
    last = min(training.step + _TIMED * training.epoch_steps, training.steps)
    while training.step < last and not training.done:
        training.advance()


def to_the_end(bench: Bench, precision: str, width: int, compiled: bool) -> Figures:
    """Train all runs, from their making to their metrics: nothing is extrapolated."""
    runs = bench.runs(_runs(bench), *_overrides(bench, precision), compile=compiled)
    accuracies: list[float] = []

    def train() -> None:
        for start in range(0, len(runs), width):
            training = bench.training(runs[start : start + width], fused=width > 1 or compiled)
            while not training.done:
                training.advance()
            # For a diverged run, every answer counts as wrong.
            accuracies.extend(float(m.get("test/accuracy") or 0) for m in training.finish())

    seconds = bench.seconds(train)
    accuracy = statistics.mean(accuracies)
    return {"seconds": seconds, "accuracy": accuracy, "runs": len(runs), "width": width}


# -- the table -------------------------------------------------------------------------------------


def told(name: str, found: Figures, all_found: Mapping[str, Figures]) -> list[str]:
    """Put a contender into a line."""
    if name == "copy":
        return [
            f"copy: {found['bytes a second'] / 1e9:,.0f} GB/s, read and written",
            "\nseconds for all runs, extrapolated from two epochs unless to the end",
        ]
    notes = []
    if "first steps" in found:
        notes.append(f"{found['first steps']:.1f} s for first steps")
    rate = all_found.get("copy", {}).get("bytes a second")
    if "least bytes" in found and rate:
        notes.append(f"{found['seconds'] * rate / found['least bytes']:.1f} floors")
    if "accuracy" in found:
        notes.append(f"stacks of {found['width']}, test accuracy {found['accuracy']:.4f}")
    if "note" in found:
        notes.append(found["note"])
    return [f"  {name:56s} {found['seconds']:9.1f}   {'; '.join(notes)}"]


def closing(all_found: Mapping[str, Figures]) -> list[str]:
    """Compare the best stack of each precision with each other contender."""
    lines = []
    timed = {name: found["seconds"] for name, found in all_found.items() if "seconds" in found}
    for precision in _TYPES:
        ours = [s for n, s in timed.items() if n.startswith("ours, ") and precision in n]
        others = {n: s for n, s in timed.items() if not n.startswith("ours") and precision in n}
        lines += [
            f"  best stack against {n}: {s / min(ours):.1f} times"
            for n, s in others.items()
            if ours
        ]
    return ["", *lines]
