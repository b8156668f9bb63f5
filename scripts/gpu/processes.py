"""Several processes that share the card, each with its own run, under MPS if it runs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ablate.data import load
from contenders import as_graph, by_hand, network, settle_arithmetic
from gpu.apart import Figures
from gpu.bench import Bench

_TIMED = 2  # epochs
_LIMIT = 130  # seconds in all, so that with and without MPS fit into the job's limit
_WAYS = {"compiled, CUDA graphs": as_graph, "eager": by_hand}
_CONTROL = "nvidia-cuda-mps-control"


def processes(bench: Bench, config: dict[str, Any], count: int, way: str) -> Figures:
    """Time an epoch while several processes train in bf16, start-up left out.

    Args:
        bench: Where and at which sizes.
        config: What each of them trains; 64 times in all, or 4 in a dry run.
        count: How many processes.
        way: How each of them trains.
    """
    with _mps(bench) as mps:
        try:
            epoch = _together(bench, config, count, way)
        except RuntimeError:
            if not mps:
                raise
            epoch = None
    note = "under MPS" if mps else "without MPS"
    if epoch is None:
        epoch, note = _together(bench, config, count, way), "without MPS, under which they died"
    rounds = (4 if bench.dry else 64) / count
    seconds = rounds * config["epochs"] * epoch
    return {"seconds": seconds, "epoch of a run": epoch, "processes": count, "note": note}


@contextlib.contextmanager
def _mps(bench: Bench) -> Iterator[bool]:
    """Let processes started in this context use the card at once; yields whether they do.

    Without it the card switches between processes. The server has its own folders, so that one that
    already runs is left alone. This process must not have used the card yet.
    """
    if bench.dry or shutil.which(_CONTROL) is None:
        yield False
        return
    with tempfile.TemporaryDirectory() as folder:
        places = {f"CUDA_MPS_{name}_DIRECTORY": folder for name in ("PIPE", "LOG")}
        os.environ.update(places)
        try:
            started = subprocess.run([_CONTROL, "-d"], timeout=30, check=False).returncode == 0
            yield started
        finally:
            if Path(folder, "control").exists():
                subprocess.run([_CONTROL], input="quit\n", text=True, timeout=60, check=False)
            for name in places:
                del os.environ[name]


def _together(bench: Bench, config: dict[str, Any], count: int, way: str) -> float:
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(count, timeout=_LIMIT)  # so that none waits for one that died
    seconds = context.SimpleQueue()
    workers = [
        context.Process(target=_worker, args=(bench, config, way, gate, seconds))
        for _ in range(count)
    ]
    for worker in workers:
        worker.start()
    end = time.monotonic() + _LIMIT
    for worker in workers:
        worker.join(max(0, end - time.monotonic()))
    if any(worker.exitcode != 0 for worker in workers):
        for worker in workers:
            worker.kill()
        raise RuntimeError(f"a process of {count} at once died, or hung")
    return max(float(seconds.get()) for _ in workers)


def _worker(bench: Bench, config: dict[str, Any], way: str, gate: Any, seconds: Any) -> None:
    data = load(config)
    settle_arithmetic()
    module = network(dense=0.5).to(bench.device)
    step = _WAYS[way](module, data, config["batch_size"], torch.bfloat16)
    for _ in range(5):
        step()
    bench.wait()
    gate.wait()
    steps = _TIMED * (len(data.train) // config["batch_size"])
    start = time.perf_counter()
    for _ in range(steps):
        step()
    bench.wait()
    seconds.put((time.perf_counter() - start) / _TIMED)
