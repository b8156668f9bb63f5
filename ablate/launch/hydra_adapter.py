"""Adapts Hydra's sweepers and launchers: turns jobs into a plan, and its outcome into job returns.

Our own launcher trains all jobs of a batch as stacks, whichever sweeper chose them. Any other
launcher calls `train` once per job, perhaps in another process, so `train` takes everything from
the job's configuration.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from ablate import record
from ablate.errors import AblateError
from ablate.launch.execute import execute, outcome_of, standing_of
from ablate.launch.outcome import ASKED, Outcome, Stop
from ablate.plan.compose import Composer, bare
from ablate.plan.override_checks import explicit_name
from ablate.plan.planning import Plan, Planned, planned
from ablate.plan.request import Request
from ablate.plan.resolve import resolve
from ablate.plan.run import Run
from ablate.plan.session import first_lines, hydra_session

_SEARCHED: list[
    Run
] = []  # launched in this process; a sweeper that searches does not list its runs beforehand


class Stopped(KeyboardInterrupt):
    """Ends a whole sweep. Hydra's launchers treat any other error as the failure of one job."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop

    def __reduce__(self) -> tuple[type[Stopped], tuple[Stop]]:
        return type(self), (self.stop,)


def hand_over(plan: Plan) -> Outcome:
    """Let Hydra run a plan's jobs, with the sweeper and the launcher that its request names.

    Raises:
        AblateError: Hydra cannot create the sweeper, the launcher or a callback.
    """
    request, stop = plan.request, None
    _SEARCHED.clear()
    _run_of.cache_clear()  # data and keys may have changed since an earlier request
    with hydra_session(request) as hydra:
        start = hydra.multirun if request.multirun else hydra.run
        try:
            start(request.config_name, train, list(plan.sound), with_log_configuration=False)
        except KeyboardInterrupt as error:
            stop = error.stop if isinstance(error, Stopped) else ASKED
        except (HydraException, ImportError) as error:  # from plugins; a run records its own
            raise AblateError(f"Hydra cannot start: {first_lines(error, 1)}") from error
    if not request.searches:
        return outcome_of(plan, stop)
    standings = {run.directory: standing_of(run) for run in _SEARCHED}
    return Outcome(tuple(_SEARCHED), standings, stop)


# -- under any launcher: a job ---------------------------------------------------------------------


def train(cfg: DictConfig) -> float | None:
    """Train one job.

    Args:
        cfg: The job's configuration, without the `hydra` part.

    Returns:
        The validation error, which Hydra's optimizing sweepers minimize; None if there is none.

    Raises:
        Stopped: The whole sweep must end: a stop was requested, the disk is full, or the run failed
            or diverged and `fail_fast` is set.
    """
    hydra = HydraConfig.get()
    overrides = tuple(hydra.overrides.task)
    run = run_of(cfg, overrides)
    _SEARCHED.append(run)
    outcome = execute(planned(Request(overrides), [Planned(run, overrides, bare(cfg))]))
    if outcome.stop is not None:
        raise Stopped(outcome.stop)
    return validation_error(run.directory)


def validation_error(directory: Path) -> float | None:
    """Read a run's final validation error, or None if it has none."""
    found = record.read_if_sound(directory)
    error: float | None = None if found is None else found["metrics"].get("val/error")
    return error


def run_of(cfg: DictConfig, overrides: tuple[str, ...]) -> Run:
    """Resolve a job's configuration; the last few are cached."""
    return _run_of(json.dumps(bare(cfg), sort_keys=True), json.dumps(overrides))


@lru_cache(maxsize=16)
def _run_of(contents: str, overrides: str) -> Run:
    return resolve(json.loads(contents), _explicit(json.loads(overrides)))


def _explicit(overrides: Sequence[str]) -> set[str]:
    parser = OverridesParser.create()
    return {explicit_name(parser.parse_override(text).key_or_group) for text in overrides}


def _here(_root_: DictConfig) -> Run:
    return run_of(_root_, tuple(_root_.hydra.overrides.task))


def _sweep(*, _root_: Any) -> str:
    return str(_here(_root_).sweep)


def _key(*, _root_: Any) -> str:
    return _here(_root_).key


OmegaConf.register_new_resolver("ablate.sweep", _sweep, replace=True)
OmegaConf.register_new_resolver("ablate.key", _key, replace=True)


# -- our launcher, under any sweeper: a batch of jobs ----------------------------------------------


def launch(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    jobs: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Launch jobs of a sweep.

    Args:
        context: Hydra's.
        function: The task. Jobs of `train` are stacked; any other task is called job by job.
        config: The sweep's configuration.
        jobs: The overrides of each job.
        first: Number of the first job.

    Returns:
        Hydra's return value of each job.

    Raises:
        Stopped: The whole sweep must end.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    if function is train:
        return _stacked(context, config, jobs, first)
    return [
        _one(context, function, config, overrides, number)
        for number, overrides in enumerate(jobs, start=first)
    ]


def _one(
    context: HydraContext,
    function: TaskFunction,
    config: DictConfig,
    overrides: Sequence[str],
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
    context: HydraContext, config: DictConfig, jobs: Sequence[Sequence[str]], first: int
) -> list[JobReturn]:
    composer = Composer(
        lambda overrides: context.config_loader.load_sweep_config(config, list(overrides))
    )
    cells = []
    for number, overrides in enumerate(jobs, start=first):
        contents, part = composer.contents(overrides), composer.hydra_part(overrides)
        run = resolve(contents, _explicit(overrides))
        cells.append(Planned(run, tuple(overrides), contents, part, number))
    plan = planned(Request(multirun=True), cells)
    _SEARCHED.extend(plan.runs)
    outcome = execute(plan)
    if outcome.stop is not None:
        raise Stopped(outcome.stop)
    return [_job_return(cell) for cell in cells]


def _job_return(cell: Planned) -> JobReturn:
    done = JobReturn()
    done.overrides = list(cell.overrides)
    done.cfg = OmegaConf.create(cell.contents)
    done.working_dir = str(Path.cwd())
    done.task_name = "run"
    done.status = JobStatus.COMPLETED
    done.return_value = validation_error(cell.run.directory)
    return done
