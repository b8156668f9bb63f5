"""What Hydra calls for each job: the task, and the resolvers that give each run its folder.

It works under any of Hydra's launchers, in this process or another: all it needs, it takes from the
job's own configuration.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ablate.plan.request import explicit_names
from ablate.plan.resolve import resolve
from ablate.plan.run import Run


def train(cfg: DictConfig) -> float | None:
    """Train one job.

    Args:
        cfg: What Hydra composed for it, without the `hydra` part.

    Returns:
        The validation error where there is one (what Hydra's optimizing sweepers minimize).
    """
    from ablate.launch.inline import perform

    hydra = HydraConfig.get()
    run = run_of(cfg, tuple(hydra.overrides.task))
    record = perform(run, Path(hydra.runtime.output_dir))
    error: float | None = record["metrics"].get("val/error")
    return error


def run_of(cfg: DictConfig, overrides: tuple[str, ...]) -> Run:
    """Resolve a job's configuration, once."""
    bare = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return _run_of(OmegaConf.to_yaml(bare), json.dumps(overrides))


@lru_cache(maxsize=16)
def _run_of(text: str, overrides: str) -> Run:
    cfg = OmegaConf.create(text)
    assert isinstance(cfg, DictConfig), "a configuration is a mapping"
    return resolve(cfg, explicit_names(json.loads(overrides)))


def _here(_root_: DictConfig) -> Run:
    return run_of(_root_, tuple(_root_.hydra.overrides.task))


def _sweep(*, _root_: Any) -> str:
    return str(_here(_root_).sweep)


def _key(*, _root_: Any) -> str:
    return _here(_root_).key


OmegaConf.register_new_resolver("ablate.sweep", _sweep, replace=True)
OmegaConf.register_new_resolver("ablate.key", _key, replace=True)
