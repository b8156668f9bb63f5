"""What a record says of a run before and while it trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import torch

from ablate import data, environment, record
from ablate.data.tensors import Tensors, to_device
from ablate.plan.run import Run
from ablate.train.training import DTYPES, Training


def first_record(run: Run) -> record.Record:
    """Write the record of a run that has not begun."""
    return {
        "schema": record.SCHEMA,
        "key": run.key,
        "study": run.study,
        "arm": run.arm,
        "seed": run.config["seed"],
        "config": run.config,
        "status": "running",
        "reason": None,
        "active": {},
        "metrics": {},
        "history": [],
        "evaluate": {},
        "parameters": None,
        "timing": {"started": now(), "seconds": []},
        "environment": {},
    }


def environment_of(run: Run, training: Training, slot: int) -> record.Environment:
    """Describe what a run trains on: machine, software, data, and its place in the stack."""
    source, tensors, stack = data.read(run.config["data"]), training.data, training.stack
    return environment.describe(run.config["device"]) | {
        "data": {
            "digest": run.digest,
            "shape": list(tensors.shape),
            "classes": list(source.classes),
            "sizes": {
                "train": len(tensors.train),
                "val": len(tensors.val),
                "test": len(tensors.test),
            },
            "mean": tensors.mean.flatten().tolist(),
            "std": tensors.std.flatten().tolist(),
        },
        "stack": {"width": stack.width, "slot": slot, "fused": stack.fused},
    }


def load(config: Mapping[str, Any]) -> Tensors:
    """Bring a configuration's data set onto its device, split and ready; the last one is kept."""
    wanted = {name: config[name] for name in ("data", "device", "precision")}
    # The digest tells apart what a relative path meant in another working directory.
    return _load(json.dumps(wanted, sort_keys=True), data.read(config["data"]).digest)


@lru_cache(maxsize=1)
def _load(wanted: str, digest: str) -> Tensors:
    config = json.loads(wanted)
    source, values = data.read(config["data"]), config["data"]
    counts = {name: len(part.labels) for name, part in source.parts.items()}
    sizes = data.sizes(values["name"], counts, values.get("train_size"), values.get("val_size"))
    return to_device(
        data.split(source, sizes),
        len(source.classes),
        values.get("image_size"),
        torch.device(config["device"]),
        DTYPES[config["precision"]],
    )


def now() -> str:
    """Write down the time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
