"""Counts what five standard sweeps ask of a GPU: launches, copies, waits, bytes.

`python -m tests.gpu.standard_sweeps` counts again and writes `standard_sweeps.json`, which
`test_standard_sweeps.py` compares with. Data sets and batches are as large as the real ones, since
the memory of an evaluation depends on them.
"""

from __future__ import annotations

import gc
import json
import os
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.files import write_cifar10, write_mnist
from tests.gpu.fake.log import counted
from tests.gpu.fake.running import ROOT, on_fake_gpu

KEPT = Path(__file__).with_suffix(".json")
PRECISIONS = ("fp32", "bf16")
_WARM = 5  # steps: those before a capture, the captured one, and one more


@dataclass(frozen=True)
class Sweep:
    """Runs that differ only in their seed.

    Attributes:
        runs: How many runs.
        changes: Changes to the default configuration.
    """

    runs: int
    changes: dict[str, Any] = field(default_factory=dict)


_MNIST = {"data": "mnist", "batch_size": 128, "dropout.dense": 0.5}  # and the default network
SWEEPS = {
    "cnn on mnist": Sweep(64, _MNIST),
    "cnn with batch norm on mnist": Sweep(64, _MNIST | {"norm": "batch"}),
    "cnn on digits": Sweep(64),
    "mlp on mnist": Sweep(64, {"data": "mnist", "model": "mlp", "batch_size": 128}),
    "resnet on cifar10": Sweep(
        16,
        {"data": "cifar10", "batch_size": 128, "augment": "flip_crop"}
        | {"model": "resnet", "model.depth": 20, "norm": "batch"},
    ),
}


def count(name: str, precision: str) -> dict[str, dict[str, int]]:
    """Count what a sweep does, in a process on a fake device and in an empty folder.

    Returns:
        ``step``, a step without a graph; ``graph``, a step launched as one; ``evaluation``, of the
        test images; each with ``kernels``, ``launches``, ``copies``, ``sets`` (of memory) and
        ``waits``. ``step`` and ``evaluation`` also have ``moved``, the bytes that operators read
        and write. ``run`` is a whole run of one epoch. All have ``allocated`` and ``device``, the
        peak bytes of tensors and of memory taken from the device.
    """
    from ablate.data import load
    from ablate.train.training import Training
    from tests.gpu.garbage import accept_garbage

    accept_garbage()
    _write_data(name)
    configs = _configs(name, precision)
    begun = partial(Training, data=load(configs[0]), fused=True)
    written = begun([c | {"stack": c["stack"] | {"capture": False}} for c in configs])
    for _ in range(_WARM):
        written.launch()
    found = {"step": _counted(written.launch) | _moved(written.launch)}
    evaluate = partial(written.scores.of, written.data.test)
    found["evaluation"] = _counted(evaluate) | _moved(evaluate)
    del written, evaluate
    captured = begun(configs)
    for _ in range(_WARM):
        captured.launch()
    assert captured.captured
    found["graph"] = _counted(captured.launch)
    del captured

    def train() -> None:
        training = begun(configs)
        while not training.done:
            training.advance()
        training.finish()

    whole = _counted(train)
    found["run"] = {peak: whole[peak] for peak in ("allocated", "device")}
    return found


def _configs(name: str, precision: str) -> list[dict[str, Any]]:
    from tests.configs import config

    sweep = SWEEPS[name]
    shared = {"device": "cuda", "precision": precision, "epochs": 1} | sweep.changes
    return [config(seed=seed, **shared) for seed in range(sweep.runs)]


def _write_data(name: str) -> None:
    if name.endswith("mnist"):
        write_mnist(Path(), images=60_000, compressed=False)
    if name.endswith("cifar10"):
        write_cifar10(Path(), images=50_000)
    os.environ["ABLATE_DATA"] = str(Path.cwd())


def _counted(work: Any) -> dict[str, int]:
    import torch

    gc.collect()  # leftovers of earlier work
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with counted() as did:
        work()
    return {
        "kernels": did.kernels,
        "launches": did.launches,
        "copies": did.copies,
        "sets": did.memsets,
        "waits": did.waits,
        "allocated": torch.cuda.max_memory_allocated(),
        "device": did.peak,
    }


def _moved(work: Any) -> dict[str, int]:
    from gpu.traffic import Traffic

    with Traffic() as traffic:
        work()
    return {"moved": traffic.bytes}


def count_apart(name: str, precision: str) -> dict[str, dict[str, int]]:
    """Count in a separate process."""
    path = (ROOT, ROOT / "ablate/plugins", ROOT / "scripts")
    found: dict[str, dict[str, int]] = on_fake_gpu(
        count, name, precision, PYTHONPATH=os.pathsep.join(map(str, path))
    )
    return found


def write() -> None:
    """Count all sweeps again, and save the figures."""
    sweeps = {
        f"{name}, {precision}": count_apart(name, precision)
        for name in SWEEPS
        for precision in PRECISIONS
    }
    kept = {"torch": version("torch"), "sweeps": sweeps}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    # Import it by name: the counting processes look the function up by its module's name.
    from tests.gpu import standard_sweeps

    standard_sweeps.write()
