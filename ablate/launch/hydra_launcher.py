"""Hydra's jobs on our executors: each keeps its folder and `.hydra/`, as if it had run alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from ablate.launch import execute, hydra_task
from ablate.plan.compose import Composer, Contents
from ablate.plan.request import explicit_names
from ablate.plan.resolve import resolve
from ablate.plan.run import Run

Overrides = Sequence[str]


def launch(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    jobs: Sequence[Overrides],
    first: int,
) -> list[JobReturn]:
    """Launch jobs of a sweep.

    Args:
        context: Hydra's.
        function: The task. Ours is trained as stacks; any other is called job after job.
        config: The sweep's configuration.
        jobs: Overrides of each job.
        first: Number of the first job.

    Returns:
        What Hydra wants to know of each job.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    if function is hydra_task.train:
        return _stacked(context, config, jobs, first)
    return [
        _one(context, function, config, overrides, number)
        for number, overrides in enumerate(jobs, start=first)
    ]


def _one(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    overrides: Overrides,
    number: int,
) -> JobReturn:
    cfg = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.job.id, cfg.hydra.job.num = str(number), number
    done = run_job(
        hydra_context=context,
        task_function=function,
        config=cfg,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    return done


def _stacked(
    context: HydraContext, config: DictConfig, jobs: Sequence[Overrides], first: int
) -> list[JobReturn]:
    composer = Composer(
        lambda overrides: context.config_loader.load_sweep_config(config, list(overrides))
    )
    contents = [composer.contents(overrides) for overrides in jobs]
    runs = [
        resolve(cell, explicit_names(overrides))
        for cell, overrides in zip(contents, jobs, strict=True)
    ]
    hydra_task.LAUNCHED.extend(runs)
    train_all(composer, runs, jobs, contents, first)
    return [
        _job_return(run, overrides, cell)
        for run, overrides, cell in zip(runs, jobs, contents, strict=True)
    ]


def train_all(
    composer: Composer,
    runs: Sequence[Run],
    jobs: Sequence[Overrides],
    contents: Sequence[Contents],
    first: int = 0,
) -> None:
    """Train runs as stacks, each with Hydra's files beside it.

    Args:
        composer: What composed them.
        runs: The runs.
        jobs: Overrides of each.
        contents: What was composed of them.
        first: Number of the first.

    Raises:
        KeyboardInterrupt: A stop was asked for.
        DiskFullError: The disk is full.
    """
    cards: dict[Path, tuple[int, Overrides, Contents]] = {}
    for number, (run, overrides, cell) in enumerate(zip(runs, jobs, contents, strict=True)):
        cards.setdefault(run.directory, (first + number, overrides, cell))

    def before(run: Run) -> None:
        number, overrides, cell = cards[run.directory]
        _leave_hydra_files(composer, run, number, overrides, cell)

    execute.execute(runs, before)


def _leave_hydra_files(
    composer: Composer, run: Run, number: int, overrides: Overrides, cell: Contents
) -> None:
    """Write what Hydra's run_job writes into a run's `.hydra/`."""
    part = composer.hydra_part(overrides)
    own = OmegaConf.to_container(part, enum_to_str=True)
    assert isinstance(own, dict), "Hydra's own part is a mapping"
    own["overrides"]["task"] = list(overrides)
    own["job"] |= {"id": str(number), "num": number, "override_dirname": ",".join(overrides)}
    own["runtime"]["output_dir"] = str(run.directory.absolute())
    folder = run.directory / ".hydra"
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (
        ("config.yaml", cell),
        ("hydra.yaml", {"hydra": own}),
        ("overrides.yaml", list(overrides)),
    ):
        text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        (folder / name).write_text(text, encoding="utf-8")


# libyaml's emitter is ten times as fast as the one in Python, and there are three files a run.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _job_return(run: Run, overrides: Overrides, cell: Contents) -> JobReturn:
    done = JobReturn()
    done.overrides = list(overrides)
    done.cfg = OmegaConf.create(copy.deepcopy(cell))
    done.working_dir = str(Path.cwd())
    done.task_name = "run"
    done.status = JobStatus.COMPLETED
    done.return_value = hydra_task.validation_error(run.directory)
    return done
