"""The way of a request: check everything, then train, then say what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from ablate import data, record
from ablate.data.fetch import DownloadError
from ablate.errors import AblateError, raise_if_full
from ablate.launch import hydra_task
from ablate.launch.hydra_launcher import train_all
from ablate.launch.interruption import INTERRUPTED
from ablate.plan import Request, Run
from ablate.plan.arms import Planned, Resolver, name_of, of_design
from ablate.plan.compose import Composer
from ablate.plan.request import Checked, check, compose, hydra_session
from ablate.plan.resolve import resolve
from ablate.study import study
from ablate.study.comparison import Comparison


def run(request: Request) -> tuple[list[Run], bool]:
    """Train all runs of a request.

    Returns:
        The runs, in the order of the request, and whether a stop was asked for; how each run ended
        is in its record.

    Raises:
        AblateError: The request is wrong, and nothing was started; or the disk is full.
    """
    data.forget()
    hydra_task.LAUNCHED.clear()
    if request.study is not None or request.design != "factorial":
        return _compare(request)
    with hydra_session(request) as hydra:
        checked = _without_study(hydra, request)
        runs = _plan(hydra, request, checked)
        interrupted = False
        try:
            _train(hydra, request, checked.overrides, runs)
        except KeyboardInterrupt:
            interrupted = True
        except OSError as error:
            raise_if_full(error)
            raise
    return list(hydra_task.LAUNCHED) if request.searches else runs, interrupted


def plan(request: Request) -> list[Run]:
    """Plan all runs of a request, and train nothing.

    Raises:
        AblateError: The request is wrong.
    """
    with hydra_session(request) as hydra:
        if request.study is not None:
            found = comparison(hydra, request)
            return [planned.run for planned in (*found.tuning, *found.reported)]
        if request.design != "factorial":
            return [planned.run for planned in designed(hydra, request)[1]]
        return _plan(hydra, request, _without_study(hydra, request))


def comparison(hydra: Hydra, request: Request) -> Comparison:
    """Check and plan a study.

    Raises:
        AblateError: Something is wrong with it.
    """
    assert request.study is not None, "a study is asked for"
    rest = request.without_study
    swept = [o for o in check(hydra, rest).overrides if _sweeps(hydra, o)]
    if swept:
        raise AblateError(f"{swept[0]} names several values: a study's arms are in its file")
    return Comparison(hydra, rest, study.read(request.study, request.scale))


def designed(hydra: Hydra, request: Request) -> tuple[Resolver, list[Planned]]:
    """Check and plan a design of the command line.

    Raises:
        AblateError: Something is wrong with the request.
    """
    if not request.multirun:
        raise AblateError(f"design={request.design} is of a grid: `ablate run -m` trains one")
    checked = _without_study(hydra, request)
    if checked.faults:
        raise AblateError(*checked.faults)
    # Factors in the order of the request; a check puts groups first.
    order = {name_of(override): place for place, override in enumerate(request.overrides)}
    overrides = sorted(checked.overrides, key=lambda o: order.get(name_of(o), -1))
    resolver = Resolver(hydra, request)
    return resolver, resolver.planned(of_design(hydra, request.design, overrides))


def _without_study(hydra: Hydra, request: Request) -> Checked:
    """Look at the overrides of a request that names no study."""
    checked = check(hydra, request)
    if "scale" in checked.explicit:
        checked.faults.append(
            f"scale={request.scale} touches nothing: it is of a study (+study=NAME)"
        )
    if "launch=slurm" in checked.overrides and not request.multirun:
        checked.faults.append(
            "launch=slurm submits a sweep: `ablate run -m`, also where it is of a single run"
        )
    return checked


def _sweeps(hydra: Hydra, override: str) -> bool:
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    return bool(parser.parse_override(override).is_sweep_override())


def _compare(request: Request) -> tuple[list[Run], bool]:
    """Train a study, or a design of the command line."""
    with hydra_session(request) as hydra:
        if request.study is not None:
            found = comparison(hydra, request)
            try:
                return found.train(), False
            except KeyboardInterrupt:
                return [planned.run for planned in (*found.tuning, *found.reported)], True
        resolver, cells = designed(hydra, request)
        runs = [cell.run for cell in cells]
        try:
            train_all(
                resolver.composer, runs, [c.overrides for c in cells], [c.contents for c in cells]
            )
        except KeyboardInterrupt:
            return runs, True
        return runs, False


def to_judge(
    runs: Sequence[Run], records: Mapping[str, record.Record | None]
) -> list[record.Record | None]:
    """Leave out runs that only tuned and diverged: their setting is not chosen, and that is all.

    Args:
        runs: All runs of a request.
        records: Their records, by key.
    """
    diverged = {key for key, r in records.items() if r is not None and r["status"] == "diverged"}
    return [records[run.key] for run in runs if not (run.only_tunes and run.key in diverged)]


def status(records: Sequence[record.Record | None], interrupted: bool) -> int:
    """Work out the exit status from how all requested runs ended; None is one never started."""
    ended = all(r is not None and r["status"] == "finished" for r in records)
    return INTERRUPTED if interrupted else int(not ended)


def _plan(hydra: Hydra, request: Request, checked: Checked) -> list[Run]:
    """Resolve every cell of the request; raise with all faults, those of the overrides included."""
    overrides, explicit, earlier = checked.overrides, checked.explicit, checked.faults
    runs: list[Run] = []
    places: dict[str, list[str]] = {fault: [] for fault in earlier}
    composer = Composer(lambda cell: compose(hydra, request, cell))
    for cell in _cells(hydra, request, overrides):
        try:
            runs.append(resolve(composer.contents(cell), explicit, earlier))
        except DownloadError:
            if not places:
                raise
        except AblateError as error:
            for fault in error.faults:
                places.setdefault(fault, [])
                if request.multirun and fault not in earlier:
                    places[fault].append(" ".join(cell))
    if places:
        raise AblateError(*(f"{fault}{_where(found)}" for fault, found in places.items()))
    return runs


def _where(cells: Sequence[str], most: int = 3) -> str:
    if not cells:
        return ""
    some = "; ".join(cells[:most])
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return f" (in the cell{'' if len(cells) == 1 else 's'} {some}{more})"


def _cells(hydra: Hydra, request: Request, overrides: Sequence[str]) -> list[list[str]]:
    if not request.multirun:
        return [list(overrides)]
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    if request.searches:  # what stands still is checked; what is searched, when it is launched
        parsed = parser.parse_overrides(list(overrides))
        return [[str(o.input_line) for o in parsed if not o.is_sweep_override()]]
    batches = BasicSweeper.split_arguments(parser.parse_overrides(list(overrides)), None)
    return [list(cell) for batch in batches for cell in batch]


def _train(hydra: Hydra, request: Request, overrides: Sequence[str], runs: Sequence[Run]) -> None:
    if request.multirun:
        hydra.multirun(
            request.config_name, hydra_task.train, list(overrides), with_log_configuration=False
        )
        return
    run = runs[0]
    old = record.read(run.directory)
    if old is not None and record.has_ended(old, run.config["rerun"]):
        record.settle(run.directory, keeps_weights=old["config"]["save"] != "none")
        return  # it needs nothing: not even its log is touched
    # Logging stays the caller's; run.log hears what it should while the run trains.
    hydra.run(request.config_name, hydra_task.train, list(overrides), with_log_configuration=False)
