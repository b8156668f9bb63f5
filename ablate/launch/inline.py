"""Trains a stack in this process and keeps its runs' records."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ablate import data, environment, record, schema
from ablate.data.tensors import Tensors, to_device
from ablate.launch.memory import keep_freed_memory
from ablate.launch.progress import Progress
from ablate.launch.signals import Interruption
from ablate.nets.layers import Dropout
from ablate.plan.run import Run
from ablate.train import DTYPES, Training

log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between two writings of record.json while training


def perform(run: Run, directory: Path) -> record.Record:
    """Bring one run to its end: train it, go on with it, or leave it if it has ended.

    Args:
        run: The run.
        directory: Its folder, which exists.

    Returns:
        Its record.

    Raises:
        KeyboardInterrupt: A stop was asked for; the run is recorded as interrupted.
    """
    if record.claimed_elsewhere(directory):
        log.warning("%s is being trained by another process; waiting for it", directory)
    with record.claim(directory), Interruption() as stop:
        old = record.read(directory)
        if old is not None and has_ended(old, run.config["rerun"]):
            record.settle(directory, keeps_weights=run.config["save"] != "none")
            return old
        state = None
        if old is not None and old["status"] in ("running", "interrupted"):
            state = record.load_state(directory)
        elif old is not None:
            record.set_aside(directory)
        return _Job(run, directory, state, stop).train()


def has_ended(old: Mapping[str, Any], rerun: str) -> bool:
    """Tell whether a recorded run is to be left alone."""
    status = old["status"]
    if status in ("running", "interrupted"):
        return False
    return rerun not in ("all", status)


class _Job:
    """One training, its folder and its record."""

    def __init__(
        self, run: Run, directory: Path, state: Mapping[str, Any] | None, stop: Interruption
    ) -> None:
        self.run, self.directory, self.state, self.stop = run, directory, state, stop
        config = run.config
        self.every = schema.seconds(config["checkpoint"]["every"])
        self.record: record.Record = {
            "schema": record.SCHEMA,
            "key": run.key,
            "study": None,
            "arm": None,
            "seed": config["seed"],
            "config": config,
            "status": "running",
            "reason": None,
            "active": {},
            "metrics": {},
            "history": [],
            "evaluate": {},
            "parameters": None,
            "timing": {"started": _now(), "seconds": []},
            "environment": {},
        }

    def train(self) -> record.Record:
        """Train to the end, and say how it ended."""
        keep_freed_memory()
        torch.use_deterministic_algorithms(bool(self.run.config["deterministic"]))
        try:
            self._train()
        except KeyboardInterrupt:
            raise
        # Anything may go wrong in a run; it is recorded, and the sweep goes on.
        except Exception as error:
            log.exception("the run failed")
            self._put(status="failed", reason=f"{type(error).__name__}: {error}")
            record.write(self.directory, self.record)
        finally:
            torch.use_deterministic_algorithms(False)
        return self.record

    def _train(self) -> None:
        config = self.run.config
        began = time.perf_counter()
        tensors = load(config)
        training = Training([config], tensors, fused=False)
        if training.alone:
            log.info("the network cannot be fused, it is looped: %s", training.alone)
        if self.state is not None:
            training.restore([self.state])
            log.info("going on from step %d of %d", training.step, training.steps)
        self._describe(training, tensors)
        self._write_progress(training)
        title = f"{config['name']} seed {config['seed']}"
        with Progress(training, title) as progress:
            self._advance(training, progress)
        self._end(training, time.perf_counter() - began)

    def _advance(self, training: Training, progress: Progress) -> None:
        saved = written = time.monotonic()
        while not training.done:
            ended = training.advance()
            progress.step(ended)
            now = time.monotonic()
            if self.stop.asked:
                self._interrupt(training)
            if now - saved >= self.every:
                record.save_state(self.directory, training.state(0))
                saved = now
            if ended and now - written >= _LOOK:
                self._write_progress(training)
                written = now

    def _interrupt(self, training: Training) -> None:
        record.save_state(self.directory, training.state(0))
        self._put(status="interrupted", reason=f"stopped at step {training.step}")
        self._write_progress(training)
        log.info("interrupted at step %d of %d", training.step, training.steps)
        raise KeyboardInterrupt

    def _end(self, training: Training, seconds: float) -> None:
        keeps = self.run.config["save"]
        state = training.state(0) if keeps == "all" else None
        metrics = training.finish()[0]
        diverged = training.diverged[0]
        if diverged is None:
            self._put(status="finished", metrics=metrics)
        else:
            self._put(status="diverged", reason=f"the loss was not finite at step {diverged}")
        self._put(history=training.history[0])
        self.record["timing"] |= {
            "seconds": training.seconds,
            "total": seconds,
            "finished": _now(),
        }
        weights = None if keeps == "none" else training.stack.state_dict(0)
        record.finish(self.directory, self.record, weights, state)
        log.info("%s after %.1f s", self.record["status"], seconds)

    # -- the record --------------------------------------------------------------------------------

    def _put(self, **fields: Any) -> None:
        self.record |= fields

    def _write_progress(self, training: Training) -> None:
        self._put(history=training.history[0])
        self.record["timing"]["seconds"] = training.seconds
        record.write(self.directory, self.record)

    def _describe(self, training: Training, tensors: Tensors) -> None:
        source = data.read(self.run.config["data"])
        self._put(
            active=active(self.run.config, training),
            parameters=training.stack.sizes,
            environment=environment.describe(self.run.config["device"])
            | {
                "data": {
                    "digest": self.run.digest,
                    "shape": list(tensors.shape),
                    "classes": list(source.classes),
                    "sizes": {n: len(getattr(tensors, n)) for n in ("train", "val", "test")},
                    "mean": tensors.mean.flatten().tolist(),
                    "std": tensors.std.flatten().tolist(),
                },
                "stack": {"width": training.stack.width, "slot": 0, "fused": training.stack.fused},
            },
        )


def load(config: Mapping[str, Any]) -> Tensors:
    """Bring a configuration's data set onto its device, split and ready."""
    source = data.read(config["data"])
    counts = {name: len(part.labels) for name, part in source.parts.items()}
    values = config["data"]
    sizes = data.sizes(values["name"], counts, values.get("train_size"), values.get("val_size"))
    return to_device(
        data.split(source, sizes),
        len(source.classes),
        values.get("image_size"),
        torch.device(config["device"]),
        DTYPES[config["precision"]],
    )


def active(config: Mapping[str, Any], training: Training) -> dict[str, Any]:
    """Say what acts in a run and how strongly, as found in the network that was built."""
    module = training.stack.layers(0)
    layers = {
        f"dropout/{name}": float(layer.rate)
        for name, layer in module.named_modules()
        if isinstance(layer, Dropout) and layer.active
    }
    norms: Sequence[type] = (torch.nn.modules.batchnorm._NormBase, torch.nn.GroupNorm)
    found = [type(m).__name__ for m in module.modules() if isinstance(m, tuple(norms))]
    optimizer, schedule = config["optimizer"], config["schedule"]
    return {
        **layers,
        **({"norm": {"kind": config["norm"]["name"], "layers": len(found)}} if found else {}),
        **({"weight_decay": w} if (w := optimizer["weight_decay"]) else {}),
        **({"schedule": schedule["name"]} if schedule["name"] != "constant" else {}),
        **({"warmup_epochs": w} if (w := schedule["warmup_epochs"]) else {}),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
