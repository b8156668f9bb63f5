"""Turns a request into a plan: checked runs, those already recorded, and the stacks to train.

request ─> cells ─> resolved runs ─> existing records ─> stacks, and who trains them

Nothing is trained here, and torch is loaded only if there is something left to train.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from ablate import record
from ablate.config.knobs.run import CLUSTERS
from ablate.data.fetch import DownloadError
from ablate.errors import AblateError, DamagedError
from ablate.plan import code, designs
from ablate.plan.compose import Composer, Contents
from ablate.plan.execution import Execution, execution, stacks_as_guessed, stacks_of
from ablate.plan.override_checks import Checked, check
from ablate.plan.request import Cell, Overrides, Request, is_seed, merged, name_of
from ablate.plan.resolve import resolve
from ablate.plan.run import Run
from ablate.plan.session import Composed, composing, hydra_session
from ablate.plan.stacks import RunStack
from ablate.plan.trust_checks import ConfigSource, require_trusted, untrusted
from ablate.record import Standing

_MANY = 2000  # planning this many runs takes seconds
_NAME = r"[\w./]*\w"  # a word of a message that may be the name of a knob or group


@dataclass(frozen=True)
class Planned:
    """A resolved run, with what goes into its Hydra files.

    Attributes:
        run: The run.
        overrides: Its overrides.
        contents: The configuration that Hydra composed from them.
        hydra: The `hydra` part, shared by runs with the same options; None if Hydra itself writes
            the files.
        number: Its index among the cells.
    """

    run: Run
    overrides: Overrides
    contents: Contents
    hydra: Mapping[str, Any] | None = field(default=None, repr=False)
    number: int = 0


@dataclass(frozen=True)
class Plan:
    """The runs of a request, and how they will be trained.

    Attributes:
        request: What was asked for.
        cells: Its runs, in the order of the request; a run requested twice is listed twice.
        there: Folder -> how its run stands, for each run that already has a record.
        sound: The overrides of the request, ready for Hydra.
        stacks: Runs that train together, including those that have ended; empty if all have.
        execution: Who trains the stacks, or None if there are none.
        damaged: What is wrong with damaged records, one sentence each; their runs will be trained
            again.
    """

    request: Request
    cells: tuple[Planned, ...]
    there: Mapping[Path, Standing]
    sound: Overrides = ()
    stacks: tuple[RunStack, ...] = ()
    execution: Execution | None = None
    damaged: tuple[str, ...] = ()

    @property
    def runs(self) -> list[Run]:
        """The runs, in the order of the request."""
        return [cell.run for cell in self.cells]

    def has_ended(self, run: Run) -> bool:
        """Tell whether a run has ended and `rerun` does not ask for it again."""
        found = self.there.get(run.directory)
        return found is not None and found.has_ended(run.config["rerun"])

    @property
    def hands_over(self) -> bool:
        """Whether Hydra runs the jobs: for its own launchers, callbacks or job environments."""
        own = [cell.hydra for cell in self.cells[:1] if cell.hydra is not None]
        asked = any(part["callbacks"] or part["job"]["env_set"] for part in own)
        return self.request.hands_over or asked

    @property
    def left(self) -> list[RunStack]:
        """The stacks with at least one run that has not ended."""
        return [s for s in self.stacks if not all(self.has_ended(run) for run in s.runs)]


def plan(request: Request, *, whole: bool = False) -> Plan:
    """Plan a request; train nothing.

    Args:
        request: Any request that does not name a study; `ablate.study` plans those.
        whole: Whether to group runs into stacks even if all of them have ended.

    Raises:
        AblateError: Something is wrong with the request; it lists every fault.
        DownloadError: A data set is missing and could not be downloaded.
    """
    code.forget()
    with hydra_session(request) as hydra:
        composed = composing(hydra, request)
        sound, wanted, count = _wanted(hydra, request, composed)
        composer = Composer(composed)
        if sources := untrusted(request):
            wanted = _trusted(list(wanted), composer, request, sources)
        cells = _resolved(_followed(wanted, count), composer, request)
    return planned(request, cells, sound=sound, whole=whole)


def planned(
    request: Request, cells: Sequence[Planned], *, sound: Overrides = (), whole: bool = False
) -> Plan:
    """Plan runs that are already resolved.

    Args:
        request: The request that they come from.
        cells: The runs.
        sound: The request's overrides, ready for Hydra.
        whole: As in `plan`.

    Raises:
        AblateError: Records cannot be read, or another version of ablate wrote them; it names all.
    """
    there: dict[Path, Standing] = {}
    damaged, unreadable = list[str](), list[str]()
    for directory in dict.fromkeys(cell.run.directory for cell in cells):
        try:
            found = record.standing(directory)
        except DamagedError as error:
            damaged += error.faults
        except AblateError as error:
            unreadable += error.faults
        else:
            there |= {} if found is None else {directory: found}
    if unreadable:
        raise AblateError(*unreadable)
    made = Plan(request, tuple(cells), there, sound, damaged=tuple(damaged))
    nothing_left = all(made.has_ended(run) for run in made.runs)
    return made if nothing_left and not whole else _with_stacks(made)


def _with_stacks(made: Plan) -> Plan:
    """Settle the device, once for all runs; then group them and choose who trains them.

    On a cluster the first job settles it, so the stacks here are a guess.
    """
    if not made.request.is_single and made.runs[0].config["launch"] in CLUSTERS:
        stacks = tuple(stacks_as_guessed(made.runs))
        return replace(made, stacks=stacks, execution=execution(stacks))
    cells = tuple(replace(cell, run=cell.run.settled()) for cell in made.cells)
    stacks = tuple(stacks_of([cell.run for cell in cells]))
    how = Execution("inline", 1, None) if made.request.is_single else execution(stacks)
    return replace(made, cells=cells, stacks=stacks, execution=how)


# -- runs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    """A cell that is not yet resolved to a run.

    Attributes:
        cell: The cell, its overrides ready for Hydra.
        explicit: Names of the knobs that the request itself sets.
        faults: What is wrong with its overrides.
        alike: Whether every cell of the request has these faults.
    """

    cell: Cell
    explicit: set[str]
    faults: Sequence[str]
    alike: bool


def _resolved(wanted: Iterator[_Wanted], composer: Composer, request: Request) -> list[Planned]:
    """Resolve all cells; report each fault once, with the cells that have it."""
    found: list[Planned] = []
    places: dict[str, list[Cell]] = {}
    lines = set[str]()
    for one in wanted:
        lines.add(one.cell.place)
        for fault in one.faults:
            places.setdefault(fault, [])
        try:
            contents = composer.contents(one.cell.overrides)
            run = resolve(contents, one.explicit, one.faults)
        except DownloadError:
            if not places:
                raise
        except AblateError as error:
            for fault in error.faults:
                cells = places.setdefault(fault, [])
                if not request.is_single and not (one.alike and fault in one.faults):
                    cells.append(one.cell)
        else:
            run = replace(run, study=one.cell.study, arm=one.cell.arm)
            hydra = composer.hydra_part(one.cell.overrides)
            found.append(Planned(run, one.cell.overrides, contents, hydra, len(found)))
    if places:
        typed = {name_of(o) for o in request.overrides} if request.cells is not None else set()
        raise AblateError(
            *(
                f"{fault}{_where(some, len(lines), typed & {*re.findall(_NAME, fault)})}"
                for fault, some in places.items()
            )
        )
    return found


def _trusted(
    wanted: Sequence[_Wanted], composer: Composer, request: Request, sources: Sequence[ConfigSource]
) -> Iterator[_Wanted]:
    """Check that the user trusts what the cells would run, before any of it is imported.

    Raises:
        UntrustedError: A file names it, and its folder is not trusted.
    """
    require_trusted([one.cell for one in wanted], composer, request, sources)
    return iter(wanted)


def _followed(wanted: Iterator[_Wanted], count: int) -> Iterator[_Wanted]:
    """Show progress of planning on standard error if it takes more than a moment."""
    if count < _MANY:
        return wanted
    from tqdm import tqdm

    if not sys.stderr.isatty():
        print(f"planning {count:,} runs", file=sys.stderr)
    return iter(tqdm(wanted, "planning", count, leave=False, disable=None, unit=" runs"))


def _where(cells: Sequence[Cell], lines: int, typed: Set[str], most: int = 3) -> str:
    """Say which cells have a fault: by their line in a file, or by their overrides.

    Args:
        cells: The cells.
        lines: How many lines all cells of the request have in the file.
        typed: Names in the fault that the command line sets for all cells.
        most: How many to name.
    """
    if not cells:
        return ""
    every = 1 < lines == len({cell.place for cell in cells})
    if every and typed:
        return ""
    if every:  # so it is no single line's fault
        return f" (in every arm of {cells[0].place.rpartition(', line ')[0]})"
    distinct = list(dict.fromkeys(cell.place or " ".join(cell.overrides) for cell in cells))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    many = "" if len(distinct) == 1 else "s"
    which = "" if cells[0].place else f"in the cell{many} "
    return f" ({which}{'; '.join(distinct[:most])}{more})"


# -- cells -----------------------------------------------------------------------------------------


def _wanted(
    hydra: Hydra, request: Request, composed: Composed
) -> tuple[Overrides, Iterator[_Wanted], int]:
    """Check a request's overrides; return the sound ones, and the cells to resolve, counted."""
    if request.cells is not None:
        return (), _listed(hydra, request, request.cells, composed), len(request.cells)
    checked = check(hydra, request, composed)
    checked.faults += _out_of_place(request, checked)
    if request.design == "factorial":
        combinations = _combinations(hydra, request, checked.overrides)
        return tuple(checked.overrides), _of_grid(combinations, checked), len(combinations)
    if not request.multirun:
        raise AblateError(f"design={request.design} needs a grid: use `ablate run -m`")
    if checked.faults:
        raise AblateError(*checked.faults)
    cells = _of_design(hydra, request, checked)
    return tuple(checked.overrides), _listed(hydra, request, cells, composed), len(cells)


def _out_of_place(request: Request, checked: Checked) -> list[str]:
    """List what a request sets that only works with a study or a grid."""
    faults = []
    if "scale" in checked.explicit:
        faults.append(
            f"scale={request.scale} touches nothing: only studies (+study=NAME) have a scale"
        )
    for launch in (f"launch={cluster}" for cluster in CLUSTERS):
        if launch in checked.overrides and not request.multirun:
            faults.append(f"{launch} submits a sweep: use `ablate run -m`, even for a single run")
    return faults


def _of_grid(combinations: Sequence[Sequence[str]], checked: Checked) -> Iterator[_Wanted]:
    """List the cells of a grid; their overrides were checked once, for all cells."""
    for overrides in combinations:
        yield _Wanted(Cell(tuple(overrides)), checked.explicit, checked.faults, alike=True)


def _combinations(hydra: Hydra, request: Request, overrides: Sequence[str]) -> list[list[str]]:
    if not request.multirun:
        return [list(overrides)]
    parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(
        list(overrides)
    )
    if request.searches:  # fixed overrides are checked now, searched values when launched
        return [[str(o.input_line) for o in parsed if not o.is_sweep_override()]]
    batches = BasicSweeper.split_arguments(parsed, None)
    last = {str(o.get_key_element()): o for o in parsed}
    # A fixed override stays as it was written: Hydra escapes interpolations in a way that it cannot
    # read again if they contain quotes.
    return [
        [
            text if o.is_sweep_override() else str(o.input_line)
            for o, text in zip(last.values(), cell, strict=True)
        ]
        for batch in batches
        for cell in batch
    ]


def _listed(
    hydra: Hydra, request: Request, cells: Sequence[Cell], composed: Composed
) -> Iterator[_Wanted]:
    """Check each cell; cells that differ only in their seeds are checked once."""
    known: dict[Overrides, Checked] = {}
    for cell in cells:
        setting = tuple(o for o in cell.overrides if not is_seed(name_of(o)))
        seeds = [o for o in cell.overrides if is_seed(name_of(o))]
        if setting not in known:
            asked = replace(request, overrides=setting, multirun=True)
            known[setting] = check(hydra, asked, composed)
        checked = known[setting]
        ready = replace(cell, overrides=tuple(merged(checked.overrides, seeds)))
        explicit = checked.explicit | {name_of(seed) for seed in seeds}
        yield _Wanted(ready, explicit, checked.faults, alike=False)


def _of_design(hydra: Hydra, request: Request, checked: Checked) -> list[Cell]:
    """List the cells of a design: each arm with every seed; a knob that sweeps is a factor."""
    # Factors keep the order of the request; the check has moved groups to the front.
    order = {name_of(override): place for place, override in enumerate(request.overrides)}
    overrides = sorted(checked.overrides, key=lambda o: order.get(name_of(o), -1))
    parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(overrides)
    fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    swept = {
        str(o.get_key_element()): list(o.sweep_string_iterator())
        for o in parsed
        if o.is_sweep_override()
    }
    seeds = {name: values for name, values in swept.items() if is_seed(name)}
    factors = {name: values for name, values in swept.items() if name not in seeds}
    if not factors:
        raise AblateError(
            f"design={request.design} needs a factor: a knob or group with several values"
        )
    arms = designs.of_grid(request.design, factors)
    replicates = list(product(*([f"{n}={v}" for v in values] for n, values in seeds.items())))
    return [
        Cell(tuple(merged(fixed, arm, replicate)))
        for replicate in replicates
        for arm in arms.values()
    ]
