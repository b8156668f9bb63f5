"""What Hydra calls for each job: the task, and the resolvers that give each run its folder.

It works under any of Hydra's launchers, in this process or another: all it needs, it takes from the
job's own configuration. Our own launcher knows it and trains all its jobs as stacks instead.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ablate import record
from ablate.plan.compose import bare
from ablate.plan.request import explicit_names
from ablate.plan.resolve import resolve
from ablate.plan.run import Run

LAUNCHED: list[Run] = []  # what was trained in this process, for a sweeper that chose it itself


def train(cfg: DictConfig) -> float | None:
    """Train one job.

    Args:
        cfg: What Hydra composed for it, without the `hydra` part.

    Returns:
        The validation error where there is one (what Hydra's optimizing sweepers minimize).

    Raises:
        KeyboardInterrupt: A stop was asked for; the run is recorded as interrupted.
    """
    from ablate.launch.job import Work
    from ablate.launch.job import train as train_stack
    from ablate.launch.progress import Progress

    hydra = HydraConfig.get()
    run = run_of(cfg, tuple(hydra.overrides.task))
    LAUNCHED.append(run)
    directory = Path(hydra.runtime.output_dir)
    train_stack(Work((run,), (directory,), fused=False, wait=True), Progress)
    return validation_error(directory)


def validation_error(directory: Path) -> float | None:
    """Read a run's final validation error, or None where it has none."""
    found = record.read(directory)
    error: float | None = None if found is None else found["metrics"].get("val/error")
    return error


def run_of(cfg: DictConfig, overrides: tuple[str, ...]) -> Run:
    """Resolve a job's configuration, once."""
    return _run_of(json.dumps(bare(cfg), sort_keys=True), json.dumps(overrides))


@lru_cache(maxsize=16)
def _run_of(contents: str, overrides: str) -> Run:
    return resolve(json.loads(contents), explicit_names(json.loads(overrides)))


def _here(_root_: DictConfig) -> Run:
    return run_of(_root_, tuple(_root_.hydra.overrides.task))


def _sweep(*, _root_: Any) -> str:
    return str(_here(_root_).sweep)


def _key(*, _root_: Any) -> str:
    return _here(_root_).key


OmegaConf.register_new_resolver("ablate.sweep", _sweep, replace=True)
OmegaConf.register_new_resolver("ablate.key", _key, replace=True)
