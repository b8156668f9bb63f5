"""How long a report over many runs takes, and how much memory.

Writes synthetic records of a grid of arms, each over many seeds and epochs, with a few failed runs,
then reports them with the installed command in a separate process, as a user does.

    python scripts/bench_report.py                       10,000 runs: 100 arms of 100 seeds
    python scripts/bench_report.py --arms 1000 --seeds 10
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.config import files, schema
from ablate.metrics import OF_A_SPLIT

ABLATE = Path(sys.executable).parent / "ablate"
FAILED = 0.01  # of the runs


def main() -> None:
    """Write records, report them, print time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arms", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=30)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        sweep = Path(place) / "sweep"
        size = write_sweep(sweep, asked.arms, asked.seeds, asked.epochs)
        started = time.perf_counter()
        subprocess.run([ABLATE, "report", sweep], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        page = (sweep / "report" / "report.html").stat().st_size
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the report's process is the only child
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    runs = asked.arms * asked.seeds
    print(
        f"{runs:,} runs ({asked.arms} arms, {asked.seeds} seeds, {asked.epochs} epochs;"
        f" {size / 2**20:.0f} MiB of records): {seconds:.1f} s"
        f" ({cpu:.1f} s of CPU time, all threads), {peak:.2f} GiB, page of {page / 2**20:.1f} MiB"
    )
    print(f"Python {platform.python_version()}, {platform.machine()}; n = 1")


def write_sweep(folder: Path, arms: int, seeds: int, epochs: int) -> int:
    """Write the records of a sweep over dropout rates and weight decays.

    Args:
        folder: The folder of the sweep.
        arms: Number of arms.
        seeds: Runs per arm.
        epochs: Entries per history.

    Returns:
        Bytes written.
    """
    draw = random.Random(0)
    base = _config()
    width = max(1, round(arms**0.5))
    total = 0
    for arm in range(arms):
        rate, decay = (arm % width) / width, 1e-6 * (arm // width)
        config = base | {
            "dropout": base["dropout"] | {"dense": rate},
            "optimizer": base["optimizer"] | {"weight_decay": decay},
        }
        for seed in range(seeds):
            key = f"{arm * seeds + seed:016x}"
            text = json.dumps(_record(key, config | {"seed": seed}, epochs, draw), indent=1)
            (folder / key).mkdir(parents=True)
            total += (folder / key / "record.json").write_text(text)
    return total


def _config() -> dict[str, Any]:
    groups = {group: files.option(group, option) for group, option in files.chosen().items()}
    config = files.top() | groups | {"precision": "fp32", "device": "cpu", "name": "digits-cnn"}
    assert set(schema.flatten(config)) & {"dropout.dense", "optimizer.weight_decay"}
    return config


def _record(
    key: str, config: Mapping[str, Any], epochs: int, draw: random.Random
) -> dict[str, Any]:
    failed = draw.random() < FAILED
    history = [_entry(epoch, config["dropout"]["dense"], draw) for epoch in range(1, epochs + 1)]
    error = 0.02 + 0.01 * config["dropout"]["dense"] + draw.gauss(0, 0.003)
    measured = {
        f"{split}/{name}": error * factor
        for split, factor in (("train", 0.5), ("val", 0.9), ("test", 1.0))
        for name in OF_A_SPLIT
    }
    gaps = {"gap/accuracy": error / 2, "gap/loss": error / 2, "epochs_to_best": epochs - 3}
    return {
        "schema": 1,
        "key": key,
        "study": None,
        "arm": None,
        "seed": config["seed"],
        "config": config,
        "status": "failed" if failed else "finished",
        "reason": "RuntimeError: synthetic" if failed else None,
        "active": {"dropout/dense": config["dropout"]["dense"]},
        "metrics": {} if failed else measured | gaps,
        "history": history,
        "evaluate": {},
        "parameters": 53002,
        "timing": {"started": "2026-01-01T00:00:00+00:00", "seconds": [0.1] * epochs},
        "environment": {
            "versions": {"python": "3.11", "torch": "2.15"},
            "platform": "Linux",
            "device": "a processor",
            "commit": "0" * 40,
            "dirty": False,
            "data": {"digest": "f" * 16, "sizes": {"train": 1079, "val": 359, "test": 359}},
        },
    }


def _entry(epoch: int, rate: float, draw: random.Random) -> dict[str, Any]:
    error = 0.3 / epoch + 0.01 * rate + abs(draw.gauss(0, 0.01))
    return {
        "epoch": epoch,
        "step": 16 * epoch,
        "lr": 0.002 / epoch,
        "train/loss": error,
        "train/accuracy": 1 - error / 2,
        "val/loss": 2 * error,
        "val/accuracy": 1 - error,
    }


if __name__ == "__main__":
    main()
