"""From a study, or a design of the command line, to runs: every arm with every seed, checked.

Runs come seed-major: any prefix of them is already a balanced comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from ablate import data
from ablate.errors import AblateError
from ablate.plan import data_checks, designs
from ablate.plan.compose import Composer, Contents
from ablate.plan.designs import Overrides
from ablate.plan.request import Checked, Request, check, compose
from ablate.plan.resolve import resolve
from ablate.plan.run import Run
from ablate.study.study import Arm, Study

Choice = dict[str, str]  # a tuned knob -> the value that was chosen


@dataclass(frozen=True)
class Cell:
    """A run to be resolved.

    Attributes:
        overrides: All that it sets, each knob once.
        arm: Its arm.
        study: Its study, or None.
        place: Where it stands in a file, for messages.
    """

    overrides: Overrides
    arm: str | None = None
    study: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Planned:
    """A resolved run, with what Hydra's files say of it."""

    run: Run
    overrides: Overrides
    contents: Contents


# -- cells -----------------------------------------------------------------------------------------


def of_study(
    study: Study, own: Sequence[str], choices: Mapping[str, Choice] | None = None
) -> list[Cell]:
    """List the runs that a study reports.

    Args:
        study: The study.
        own: Overrides of the request, which win over the study's.
        choices: Arm -> what was tuned for it.
    """
    seeds = {arm.name: study.seeds_of(arm) for arm in study.arms}
    longest = max(len(some) for some in seeds.values())
    return [
        _cell(study, arm, _given((choices or {}).get(arm.name, {})), seeds[arm.name][number], own)
        for number in range(longest)
        for arm in study.arms
        if number < len(seeds[arm.name])
    ]


def of_tuning(study: Study, own: Sequence[str]) -> list[Cell]:
    """List the runs that tune a study's nuisance knobs, for each arm alike."""
    assert study.tuning is not None, "it is asked for where something is tuned"
    return [
        replace(cell, study=None)
        for seed in study.tuning.seeds
        for arm in study.arms
        for choice in grid(study, arm)
        if (cell := _cell(study, arm, _given(choice), seed, own, f"{study.name}-tuning"))
    ]


def grid(study: Study, arm: Arm) -> list[Choice]:
    """List the settings of the knobs that are tuned for an arm, in the order of the file."""
    knobs = study.grid_of(arm)
    return [dict(zip(knobs, values, strict=True)) for values in product(*knobs.values())]


def _given(choice: Choice) -> list[str]:
    return [f"{name}={value}" for name, value in choice.items()]


def _cell(
    study: Study,
    arm: Arm,
    tuned: Sequence[str],
    seed: int,
    own: Sequence[str],
    name: str | None = None,
) -> Cell:
    last = [f"name={name}"] if name else []
    overrides = merged(
        [f"name={study.name}"], study.fixed, arm.overrides, tuned, own, [f"seed={seed}"], last
    )
    return Cell(tuple(overrides), arm.name, study.name, f"{study.file}, line {arm.line}")


def merged(*parts: Sequence[str]) -> list[str]:
    """Join overrides; of those that set the same knob, the last wins."""
    last = {name_of(override): override for part in parts for override in part}
    return list(last.values())


def name_of(override: str) -> str:
    """Name what an override sets."""
    return override.partition("=")[0].lstrip("+")


def of_design(hydra: Hydra, design: str, overrides: Sequence[str]) -> list[Cell]:
    """List the runs of a design of the command line: its arms, each with every seed.

    Args:
        hydra: Whose grammar the overrides are in.
        design: A value of the knob `design`.
        overrides: Of the request; what sweeps is a factor, but for seeds.
    """
    parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(
        list(overrides)
    )
    fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    swept = {
        str(o.get_key_element()): list(o.sweep_string_iterator())
        for o in parsed
        if (o.is_sweep_override())
    }
    seeds = {name: values for name, values in swept.items() if _is_seed(name)}
    factors = {name: values for name, values in swept.items() if name not in seeds}
    if not factors:
        raise AblateError(f"design={design} needs a factor: a knob or group with several values")
    arms = designs.of_grid(design, factors)
    replicates = list(product(*([f"{n}={v}" for v in values] for n, values in seeds.items())))
    return [
        Cell(tuple(merged(fixed, arm, replicate)))
        for replicate in replicates
        for arm in arms.values()
    ]


def _is_seed(name: str) -> bool:
    return name == "seed" or name.startswith("seeds.")


# -- runs ------------------------------------------------------------------------------------------


class Resolver:
    """Resolves cells: each choice of overrides is checked once, each run for itself."""

    def __init__(self, hydra: Hydra, request: Request) -> None:
        self._hydra = hydra
        self._request = replace(request, multirun=True)
        self.composer = Composer(lambda cell: compose(hydra, self._request, cell))
        self._checked: dict[Overrides, Checked] = {}
        self._composed: dict[Overrides, DictConfig] = {}

    def planned(self, cells: Sequence[Cell]) -> list[Planned]:
        """Resolve all cells.

        Raises:
            AblateError: Something is wrong in some of them; every fault is told once, with the
                arms that have it.
        """
        found, places = [], dict[str, list[str]]()
        for cell in cells:
            try:
                found.append(self._planned(cell))
            except AblateError as error:
                for fault in error.faults:
                    places.setdefault(fault, []).append(cell.place or " ".join(cell.overrides))
        if places:
            raise AblateError(*(f"{f} ({_some(where)})" for f, where in places.items()))
        return found

    def _planned(self, cell: Cell) -> Planned:
        checked = self._check(cell)
        seed = [o for o in cell.overrides if _is_seed(name_of(o))]
        overrides = tuple(merged(checked.overrides, seed))
        contents = self.composer.contents(overrides)
        run = resolve(contents, checked.explicit | {name_of(o) for o in seed}, checked.faults)
        return Planned(replace(run, study=cell.study, arm=cell.arm), overrides, contents)

    def _check(self, cell: Cell) -> Checked:
        """Check what a cell sets; its seed makes no difference to that."""
        setting = tuple(o for o in cell.overrides if not _is_seed(name_of(o)))
        if setting not in self._checked:
            request = replace(self._request, overrides=setting)
            self._checked[setting] = check(self._hydra, request, self._base)
        return self._checked[setting]

    def _base(self, options: Sequence[str]) -> DictConfig:
        """Compose a choice of options, once: arms share most of them."""
        chosen = tuple(options)
        if chosen not in self._composed:
            self._composed[chosen] = compose(self._hydra, self._request, options)
        return self._composed[chosen]


def _some(places: Sequence[str], most: int = 3) -> str:
    distinct = list(dict.fromkeys(places))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return "; ".join(distinct[:most]) + more


def equalized(study: Study, cells: Sequence[Cell], resolver: Resolver) -> list[Cell]:
    """Give arms whose epochs have fewer or more steps such epochs that all train as many steps.

    The nearest whole number of epochs; how many steps an arm trained is in its record.
    """
    if study.equal != "steps":
        return list(cells)
    first = {cell.arm: cell for cell in reversed(cells)}  # the first cell of each arm
    each = {arm: _steps(resolver.planned([cell])[0].run) for arm, cell in first.items()}
    epochs, per_epoch = each[study.baseline.name]
    wanted = epochs * per_epoch
    return [
        replace(cell, overrides=tuple(merged(cell.overrides, [f"epochs={number}"])))
        for cell in cells
        for number in [max(1, round(wanted / each[cell.arm][1]))]
    ]


def _steps(run: Run) -> tuple[int, int]:
    """Give a run's epochs, and the steps of one."""
    sizes = data_checks.sizes(run.config, data.read(run.config["data"]))
    return run.config["epochs"], sizes.train // run.config["batch_size"]


def check_arms(study: Study, planned: Sequence[Planned]) -> None:
    """Check that the arms of a study differ, and that what is to be equal is.

    Raises:
        AblateError: Two arms are the same run, or an arm trains longer than the baseline.
    """
    faults = []
    lines = {arm.name: arm.line for arm in study.arms}
    owner: dict[str, str] = {}
    for plan in planned:
        other = owner.setdefault(plan.run.key, str(plan.run.arm))
        if other != plan.run.arm:
            faults.append(
                f"{study.file}, line {lines[str(plan.run.arm)]}: the arm {plan.run.arm} changes"
                f" nothing: it is the same as {other}"
            )
    epochs = {plan.run.arm: plan.run.config["epochs"] for plan in planned}
    if study.equal == "epochs":
        faults += [
            f"{study.file}, line {lines[arm.name]}: {arm.name} trains {epochs[arm.name]} epochs,"
            f" the baseline {epochs[study.baseline.name]}: equal is epochs (equal: steps, if that"
            " is meant)"
            for arm in study.arms
            if epochs[arm.name] != epochs[study.baseline.name]
        ]
    if faults:
        raise AblateError(*dict.fromkeys(faults))
