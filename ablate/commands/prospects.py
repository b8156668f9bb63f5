"""Prints what a study can find: how probable each verdict is, and how many seeds it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from ablate import record
from ablate.analyze import frames, naming, power, prospects, verdicts
from ablate.analyze.prospects import Prospect, Terms
from ablate.commands.printing import say, show_table
from ablate.config import schema
from ablate.errors import AblateError, nearest
from ablate.metrics import metric_of
from ablate.report.formatting import written
from ablate.study.claim import Claim
from ablate.study.comparison import StudyPlan
from ablate.study.story import looked_at

RECORDED = "recorded"
_FEW = 10  # with fewer seeds, a standard deviation is too uncertain to plan by


@dataclass(frozen=True)
class Spread:
    """A standard deviation over seeds.

    Attributes:
        value: A standard deviation, in the metric's unit.
        seeds: How many seeds it is based on, if known.
    """

    value: float
    seeds: int | None = None


def show_prospects(
    plan: StudyPlan, told: Sequence[str], told_from: int | None, console: Console
) -> None:
    """Print how the claims of a study can come out, grouping similar ones.

    Args:
        plan: The study.
        told: Standard deviations as on the command line: ``0.004``, ``val/loss=0.01``, or
            ``recorded``.
        told_from: How many seeds gave them.
        console: Where to.

    Raises:
        AblateError: A standard deviation cannot be read, or belongs to no claimed metric.
    """
    claims = plan.study.claims
    each_terms = _terms(plan)
    spreads = _spreads(plan, told, told_from)
    alike: dict[tuple[Terms | None, Spread | None], list[int]] = {}
    for i, (terms, spread) in enumerate(zip(each_terms, spreads, strict=True)):
        alike.setdefault((terms, spread), []).append(i)
    _say(console, "how the claims can come out:")
    for (terms, spread), which in alike.items():
        if terms is None:
            number = ", ".join(str(i + 1) for i in which)
            _say(console, f"\nclaim {number}: about spread over seeds, so nothing is predicted")
        else:
            _show(terms, spread, {i + 1: claims[i] for i in which}, console)
    for note in too_few(plan):
        _say(console, f"note: {note}")
    if not told:
        _say(console, _HOW.format(plan.study.metric))


_HOW = (
    "give --sd NUMBER (the standard deviation of {} over seeds, in the unit of margins) to see how"
    " probable each verdict is; --sd recorded takes it from the runs that have ended, which counts"
    " as a look at them"
)


def too_few(plan: StudyPlan) -> list[str]:
    """Say which claims have too few seeds for a verdict, whatever comes out."""
    notes: dict[str, list[str]] = {}
    for i, terms in enumerate(_terms(plan), 1):
        if terms is not None and terms.is_out_of_reach:
            other = "" if terms.m is None else f" and {terms.m}"
            does = "lies within ±δ" if terms.equivalent else "excludes 0"
            size = "δ" if terms.equivalent else "difference"
            why = (
                f"with {terms.n}{other} seeds, an interval at {_level(terms)} {does} only"
                f" for a {size} of {terms.reach:.0f} standard deviations"
            )
            notes.setdefault(why, []).append(str(i))
    return [
        f"expect no verdict on claim {', '.join(which)}: {why}; take more seeds, or fewer claims"
        for why, which in notes.items()
    ]


# -- what is known ---------------------------------------------------------------------------------


def _terms(plan: StudyPlan) -> list[Terms | None]:
    runs = list({run.key: run for run in plan.reported.runs}.values())
    replicates = naming.replicates([schema.flatten(run.config) for run in runs])
    frame = pd.DataFrame({"arm": [str(run.arm) for run in runs], "replicate": replicates})
    return prospects.terms_of(frame, plan.study.baseline.name, plan.study.claims)


def _spreads(plan: StudyPlan, told: Sequence[str], told_from: int | None) -> list[Spread | None]:
    """Find each claim's standard deviation: as given, or as recorded if that was asked for.

    Raises:
        AblateError: One cannot be read, or nothing is recorded.
    """
    known = _told(plan, [text for text in told if text != RECORDED], told_from)
    rest = _recorded(plan) if RECORDED in told else [None] * len(plan.study.claims)
    return [
        known.get(claim.metric, other) for claim, other in zip(plan.study.claims, rest, strict=True)
    ]


def _told(plan: StudyPlan, told: Sequence[str], told_from: int | None) -> dict[str, Spread]:
    """Read ``METRIC=NUMBER``, or a number of the study's metric."""
    claimed = list(dict.fromkeys(claim.metric for claim in plan.study.claims))
    found, faults = {}, []
    for text in told:
        name, _, number = text.rpartition("=")
        metric = name or plan.study.metric
        if metric not in claimed:
            faults.append(f"--sd {text}: no claim is about {metric}{nearest(metric, claimed)}")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            faults.append(f"--sd {text}: it takes a number > 0, METRIC=NUMBER or {RECORDED}")
        found[metric] = Spread(value, told_from)
    if told_from is not None and not told:
        faults.append("--sd-from says how many seeds --sd is based on: give --sd, too")
    if faults:
        raise AblateError(*faults)
    return found


def _recorded(plan: StudyPlan) -> list[Spread | None]:
    """Compute the standard deviations from the study's own runs that have ended.

    Raises:
        AblateError: None has.
    """
    arms = {run.key: str(run.arm) for run in plan.reported.runs}
    folder = plan.reported.runs[0].sweep
    runs = frames.read([folder]).runs if record.find(folder) else pd.DataFrame({"key": []})
    runs = runs[runs["key"].isin(arms)]
    if runs.empty:
        raise AblateError(f"--sd {RECORDED}: no run of the study is recorded in {folder}")
    looked_at([Path(path) for path in runs["path"]])  # their spread is a result
    mine = runs.assign(arm=runs["key"].map(arms))
    pairs = prospects.claimed_pairs(mine, plan.study.baseline.name, plan.study.claims)
    known = [prospects.spread_of(pair) for pair in pairs]
    return [None if one is None else Spread(*one) for one in known]


# -- what is printed -------------------------------------------------------------------------------


def _show(
    terms: Terms, spread: Spread | None, claims: Mapping[int, Claim], console: Console
) -> None:
    """Print how similar claims can come out."""
    console.print()
    for number, claim in claims.items():
        say(console, f"claim {number}: {claim.words}", "bold", wrap=True)
    _say(console, _compared(terms))
    if spread is None:
        _say(console, _needs(terms))
        return
    found = prospects.prospect(terms, spread.value)
    scatter = f"{_size(terms, spread.value)} over seeds"
    source = f" ({spread.seeds} of them)" if spread.seeds else ""
    _say(console, f"standard deviation {scatter}{source}:")
    show_table(_table(terms, found), console)
    for line in _reach(terms, found, spread):
        _say(console, line)


def _compared(terms: Terms) -> str:
    label = metric_of(terms.metric).label
    size = "no δ" if terms.margin is None else f"δ {_size(terms, terms.margin)}"
    seeds = f"{terms.n} shared seeds"
    if terms.m is not None:
        seeds = f"{terms.n} and {terms.m} seeds, not shared"
    return f"{label}, {size}, {seeds}, interval at {_level(terms)}"


def _table(terms: Terms, found: Prospect) -> Table:
    """Tabulate chances by true difference, without verdicts that are unlikely at all of them."""
    shown = [
        name
        for name in verdicts.VERDICTS
        if any(each[name] >= 0.005 for each in found.chances.values())
    ]
    unit = metric_of(terms.metric).unit
    name_of_unit = f", {unit.difference}" if unit.difference else ""
    table = Table(f"true difference{name_of_unit}", *shown)
    for column in table.columns[1:]:
        column.justify = "right"
    names = ("0", "δ/2", "δ", "2δ") if terms.margin is not None else ("0", "detected")
    for name, (truth, each) in zip(names, found.chances.items(), strict=True):
        size = f" = {written(truth, unit)}" if truth else ""
        table.add_row(f"{name}{size}", *(f"{100 * each[verdict]:.0f} %" for verdict in shown))
    return table


def _reach(terms: Terms, found: Prospect, spread: Spread) -> list[str]:
    """Say what is detected, how many seeds it takes, and how sure that is."""
    reach = _size(terms, found.reach)
    if terms.equivalent:
        told = [f"in 80 % of studies it shows equivalence within {reach} if there is no difference"]
    else:
        told = [f"in 80 % of studies it tells a difference of {reach} from 0"]
    if terms.margin is not None:
        told.append(_seeds(terms, found, spread))
        if spread.seeds is not None and not math.isnan(found.seeds):
            told += _how_sure(terms, int(found.seeds), spread.value, spread.seeds)
    if found.is_hopeless:
        told.append(
            "note: likely to stay open, whatever the truth: take more seeds, a larger margin, or"
            " fewer claims"
        )
    return told


def _seeds(terms: Terms, found: Prospect, spread: Spread) -> str:
    truth = "0" if terms.equivalent else "2δ"
    share = prospects.supported(terms, spread.value)
    needed = "none do" if math.isnan(found.seeds) else f"{found.seeds:.0f} seeds"
    of_each = " of each" if terms.m is not None and not math.isnan(found.seeds) else ""
    return f"supported at {truth} in {100 * share:.0f} %; in 80 % with {needed}{of_each}"


def _how_sure(terms: Terms, seeds: int, spread: float, k: int) -> list[str]:
    """Say what follows if the true standard deviation differs from that of the few seeds."""
    low, high = power.limits_of_spread(spread, k)
    more = prospects.seeds_needed(terms, high)
    needed = "no number of seeds is enough" if math.isnan(more) else f"it takes {more:.0f}"
    told = [f"at its upper 80 % limit, {_size(terms, high)}, {needed}"]
    if k < _FEW:
        ends = [prospects.supported(terms, at, seeds) for at in (high, low)]
        told.append(
            f"{k} seeds say little about it: within its 80 % limits {seeds} seeds give"
            f" {100 * ends[0]:.0f} to {100 * ends[1]:.0f} %"
        )
    return told


def _needs(terms: Terms) -> str:
    """Say how small the standard deviation must be, where none is given."""
    if terms.margin is None:
        reach = f"{terms.reach:.2g} standard deviations"
        return f"in 80 % of studies it tells a difference of {reach} from 0"
    most = _size(terms, terms.margin / terms.reach)
    truth = "0" if terms.equivalent else f"2δ, {_size(terms, 2 * terms.margin)},"
    return f"supported at {truth} in 80 % if seeds scatter by {most} at most"


def _say(console: Console, text: str) -> None:
    say(console, text, wrap=True)


def _size(terms: Terms, value: float) -> str:
    unit = metric_of(terms.metric).unit
    return f"{written(value, unit)} {unit.difference}".rstrip()


def _level(terms: Terms) -> str:
    return f"{100 * (1 - terms.alpha):.4g} %"
