"""The index of published studies: every claim with its verdict, as the reports judge it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from ablate import record
from ablate.report.compare import Comparison
from ablate.report.escape import markdown
from ablate.report.formatting import interval, p_value, written
from ablate.report.result import Line
from ablate.report.wording import compared_with, counted, statistic_of, unit_of_change, what
from ablate.study import study
from study_runs import Found

NOT_JUDGED = "not judged"  # no finished run has the claimed metric
PILOT = "a pilot with smaller ones was seen before the claims were final"  # as the YAML says it


def index(reported: Sequence[tuple[Found, Comparison]], cores: int) -> str:
    """Compose the page that lists every claim of some studies, with its verdict."""
    every = [one for found, comparison in reported for one in verdicts(found, comparison)]
    absent = sorted(set(study.shipped()) - {found.asked.name for found, _ in reported})
    parts = [
        "<!-- Written by scripts/publish_studies.py. -->",
        "# What the studies found",
        f"**{len(reported)} studies, {len(every)} claims: {counted(every, [NOT_JUDGED])}.**",
        "A verdict is on what was claimed beforehand, not on whether a method is good. It says"
        " where the interval in [ ] lies, which is wide enough that all claims of a study hold"
        " together in 95 % of studies: *supported* on the claimed side, beyond the smallest"
        " difference that matters, δ (within ±δ where equivalence is claimed); *supported, size"
        " open* on that side of 0; *too small to matter* within ±δ; *refuted* and *refuted, size"
        " open* the same on the other side; *open* is anything else, and no proof of no effect. The"
        " reports tell the rest.",
        *_how([found for found, _ in reported], cores),
        _overview(reported),
    ]
    if absent:
        parts.append(f"Shipped, and not run or not whole yet: {markdown(', '.join(absent))}.")
    parts += [part for found, comparison in reported for part in _section(found, comparison)]
    return "\n\n".join(parts) + "\n"


def _how(every: Sequence[Found], cores: int) -> Iterator[str]:
    """Say what was fixed before the runs, and what they ran on."""
    scales = {scale: [f.asked.name for f in every if f.scale == scale] for scale in study.SCALES}
    ran = " and ".join(
        f"{'all' if len(names) == len(every) else ', '.join(names)} ran at scale={scale}"
        for scale, names in scales.items()
        if names
    )
    piloted = [n for n in study.shipped() if PILOT in study.find(n).read_text(encoding="utf-8")]
    yield (
        "Each study is one YAML file, committed before its runs: at the commit that a run's record"
        " names, with nothing uncommitted, the file says what it says today, and the script that"
        f" writes this page refuses any other. Of these studies {ran}. Neither seeds nor scale were"
        " chosen after the outcome was seen. Seeds from 100 on have"
        f" {markdown(', '.join(piloted))}, since {PILOT}."
    )
    devices = sorted({str(one["environment"]["device"]) for f in every for one in f.records})
    yield (
        f"Minutes are those in which runs of a study trained, tuning runs among them, on {cores}"
        f" cores of {' and '.join(devices)} that did other work beside: what it took, no benchmark."
    )


def _overview(reported: Sequence[tuple[Found, Comparison]]) -> str:
    rows = [
        [
            f"[{markdown(found.asked.name)}](#{found.asked.name})",
            markdown(found.asked.question),
            counted(verdicts(found, comparison), [NOT_JUDGED]),
            str(len(found.records)),
            _minutes(found),
        ]
        for found, comparison in reported
    ]
    return _table(("study", "question", "claims", "runs", "minutes"), rows, numbers=2)


_HEADS = (
    *("claim", "verdict", "effect", "measured", "arm", "against"),
    *("δ", "n", "p adjusted", "source"),
)


def _section(found: Found, comparison: Comparison) -> Iterator[str]:
    name, asked = found.asked.name, found.asked
    yield f"## {markdown(name)}"
    yield f"{markdown(asked.question)} {markdown(asked.source)}."
    yield _table(_HEADS, list(_rows(found, comparison)))
    ended = Counter(str(one["status"]) for one in found.records)
    lost = "".join(f", {ended[word]} {word}" for word in ("failed", "diverged") if ended[word])
    yield (
        f"`{comparison.asked.command}`: {len(found.records)} runs{lost}, in"
        f" {_minutes(found)} minutes; [the report]({name}/report.md)."
    )


def _rows(found: Found, comparison: Comparison) -> Iterator[list[str]]:
    judged = {claim.words: line for claim, line in comparison.claimed}
    for claim in found.asked.claims:
        line = judged.get(claim.words)
        told = [NOT_JUDGED, *[""] * 7] if line is None else _judged(line)
        yield [markdown(text) for text in (claim.words, *told, claim.source)]


def _judged(line: Line) -> list[str]:
    unit = unit_of_change(line)
    name = unit.difference if unit.signed else "(ratio)"
    bounds = interval(line.delta_low, line.delta_high, unit, signed=True)
    return [
        str(line.verdict),
        " ".join(one for one in (written(line.delta, unit, signed=True), name, bounds) if one),
        statistic_of(line),
        line.arm,
        compared_with(line, what(line).against),
        written(line.margin, unit),
        f"{line.pairs}{'' if line.paired else ' (unpaired)'}",
        p_value(line.p_adjusted),
    ]


def verdicts(found: Found, comparison: Comparison) -> list[str]:
    """List a study's verdicts, one per claim, in the order of its file."""
    return [row[1] for row in _rows(found, comparison)]


def _minutes(found: Found) -> str:
    took = minutes(found.records)
    return f"{took:.0f}" if took >= 10 else f"{took:.1f}"


def minutes(records: Sequence[record.Record]) -> float:
    """Add up the wall minutes in which at least one of some runs trained."""
    times = sorted(
        (datetime.fromisoformat(one["timing"]["started"]), datetime.fromisoformat(end))
        for one in records
        if (end := one["timing"].get("finished"))
    )
    total, last = 0.0, times[0][0]
    for began, ended in times:
        total += max(0.0, (ended - max(began, last)).total_seconds())
        last = max(last, ended)
    return total / 60


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> str:
    """Write a table from cells of Markdown; the last columns hold numbers."""
    rules = ["---"] * (len(heads) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rules, *rows))
