"""The way of a request: check everything, then train, then say what came out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from ablate import record
from ablate.data.fetch import DownloadError
from ablate.errors import AblateError
from ablate.launch import task
from ablate.launch.signals import INTERRUPTED
from ablate.plan import Request, Run
from ablate.plan.request import check, compose, hydra_session
from ablate.plan.resolve import resolve

_STATUS = {"finished": 0, "interrupted": INTERRUPTED}  # of the command; any other end is 1


def run(request: Request) -> list[tuple[Run, record.Record]]:
    """Train all runs of a request.

    Returns:
        The runs with their records, in the order of the request.

    Raises:
        AblateError: The request is wrong; nothing was started.
    """
    with hydra_session(request) as hydra:
        checked = check(hydra, request)
        runs = _plan(hydra, request, checked.overrides, checked.explicit, checked.faults)
        with suppress(KeyboardInterrupt):  # each run's record says how far it came
            _train(hydra, request, checked.overrides, runs)
    return [(run, found) for run in runs if (found := record.read(run.directory)) is not None]


def status(records: Sequence[record.Record]) -> int:
    """Work out the exit status from how all requested runs ended."""
    ends = [_STATUS.get(r["status"], 1) for r in records]
    if INTERRUPTED in ends:
        return INTERRUPTED
    return max(ends, default=0)


def _plan(
    hydra: Hydra,
    request: Request,
    overrides: Sequence[str],
    explicit: set[str],
    earlier: Sequence[str],
) -> list[Run]:
    """Resolve every cell of the request; raise with all faults, those of the overrides included."""
    runs: list[Run] = []
    places: dict[str, list[str]] = {fault: [] for fault in earlier}
    cells = _cells(hydra, overrides) if request.multirun else [list(overrides)]
    for cell in cells:
        try:
            runs.append(resolve(compose(hydra, request, cell), explicit, earlier))
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


def _cells(hydra: Hydra, overrides: Sequence[str]) -> list[list[str]]:
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    batches = BasicSweeper.split_arguments(parser.parse_overrides(list(overrides)), None)
    return [list(cell) for batch in batches for cell in batch]


def _train(hydra: Hydra, request: Request, overrides: Sequence[str], runs: Sequence[Run]) -> None:
    if request.multirun:
        hydra.multirun(request.config_name, task.train, list(overrides))
        return
    run = runs[0]
    if _has_ended(run):
        return
    hydra.run(request.config_name, task.train, list(overrides))


def _has_ended(run: Run) -> bool:
    """Tell whether a run needs nothing; then not even its log is touched."""
    from ablate.launch.inline import has_ended

    if not Path(run.directory).is_dir():
        return False
    old = record.read(run.directory)
    if old is None or not has_ended(old, run.config["rerun"]):
        return False
    record.settle(run.directory, keeps_weights=run.config["save"] != "none")
    return True
