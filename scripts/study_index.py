"""The index of published studies, by technique: a line and a picture per claim."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import yaml
from study_pictures import picture

from ablate import record
from ablate.analyze import verdicts as words
from ablate.report.compare import Comparison
from ablate.report.escape import markdown
from ablate.report.formatting import interval, written
from ablate.report.result import Line
from ablate.report.wording import counted, statistic_of, unit_of_change
from ablate.study import study
from study_runs import REPOSITORY, Found

PUBLISHED: Final = REPOSITORY / "results" / "published"
PICTURES: Final = "studies"  # the folder of pictures, next to the page
NOT_JUDGED: Final = "not judged"  # no finished run has the metric of the claim
TECHNIQUES: Final[Mapping[str, Sequence[str]]] = {
    "Dropout": (
        *("digits", "dropout_generalization", "dropout_rate", "dropout_where", "dropout_scaling"),
        *("dropout_convergence", "dropout_coadaptation", "dropout_ensemble"),
    ),
    "Batch norm": (
        *("batchnorm_speed_and_lr", "batchnorm_regularizes", "batchnorm_position"),
        *("batchnorm_init", "batchnorm_dropout"),
    ),
    "Initial weights": ("init_depth", "init_depth_relu", "init_zero"),
    "Penalties on weights": ("l1_l2",),
    "Optimizers and schedules": ("optimizers", "schedules", "second_order", "second_order_cnn"),
    "Batch size": ("batch_size", "batch_size_epochs"),
    "Augmentation": ("augmentation", "augmentation_test"),
    "Networks": ("activations", "pooling", "conv_vs_dense", "recurrent"),
    "Whole recipes": ("recipe_leave_one_out", "recipe_add_one_in"),
    "Chance": ("seed_noise", "aa"),
}
_AGAINST_SOURCE: Final = {
    words.SUPPORTED: "agrees",
    words.SUPPORTED_OPEN: "agrees, size open",
    words.TOO_SMALL: "differs: too small here",
    words.REFUTED: "differs",
    words.REFUTED_OPEN: "differs, size open",
}
_READ = """A line is a claim that was written down before the first run, with what came out of it. A
verdict is on that claim, not on whether a method is good. It says where the interval in [ ] lies,
which is wide enough that all claims of a study hold together in 95 % of studies: *supported* on the
claimed side, beyond the smallest difference that matters, δ (within ±δ where equivalence is
claimed); *supported, size open* on that side of 0; *too small to matter* within ±δ; *refuted* and
*refuted, size open* the same on the other side; *open* is anything else, and no proof of no effect.
In the pictures, the line is 0 and the band ±δ, four δ to either side; what lies beyond ends in an
arrow. Without a δ there is no band, and the interval fills the width."""
_SOURCES = """**Compared with the source** says whether ours agrees, differs or cannot tell. The
studies ran at quick scale, minutes on two cores, and nearly all sources measured on more images and
larger networks, which are named. Where ours differs, the effect was not there at this size; that
does not refute the source at its own."""
_FIRST = """**At first** is what was found when a study was first published, in November 2026, with
other seeds. Its words were others then: *equivalent* is *too small to matter* (of a claim of
equivalence, *supported*), *inconclusive* is *open*, and the interval is that of one comparison by
itself."""


def index(reported: Sequence[tuple[Found, Comparison]], cores: int) -> str:
    """Compose the page that lists every claim of some studies, with its verdict."""
    told = {found.asked.name: (found, comparison) for found, comparison in reported}
    every = [one for found, comparison in reported for one in verdicts(found, comparison)]
    parts = [
        "<!-- Written by scripts/publish_studies.py. -->",
        "# What the studies found",
        f"**{len(reported)} studies, {len(every)} claims: {counted(every, [NOT_JUDGED])}.**",
        *(text.replace("\n", " ") for text in (_READ, _SOURCES, _FIRST)),
        *_how([found for found, _ in reported], cores),
    ]
    for technique, names in TECHNIQUES.items():
        some = [told[name] for name in names if name in told]
        if some:
            parts.append(f"## {technique}")
            parts += [part for found, comparison in some for part in _section(found, comparison)]
    if absent := sorted(set(study.shipped()) - set(told)):
        parts.append(f"Shipped, and not run or not whole yet: {markdown(', '.join(absent))}.")
    return "\n\n".join(parts) + "\n"


def draw(reported: Sequence[tuple[Found, Comparison]], folder: Path) -> None:
    """Draw the pictures of the page into a separate folder."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for found, comparison in reported:
        for number, line in enumerate(_lines(found, comparison), 1):
            if line is not None:
                name = f"{found.asked.name}-{number}.svg"
                (folder / name).write_text(picture(line), encoding="utf-8")


def verdicts(found: Found, comparison: Comparison) -> list[str]:
    """List the verdicts of a study, one per claim, in the order of its file."""
    return [NOT_JUDGED if line is None else str(line.verdict) for line in _lines(found, comparison)]


def _lines(found: Found, comparison: Comparison) -> list[Line | None]:
    judged = {claim.words: line for claim, line in comparison.claimed}
    return [judged.get(claim.words) for claim in found.asked.claims]


def _how(every: Sequence[Found], cores: int) -> Iterator[str]:
    """Say what was fixed before the runs, and what they ran on."""
    scales = {scale: [f.asked.name for f in every if f.scale == scale] for scale in study.SCALES}
    ran = " and ".join(
        f"{'all' if len(names) == len(every) else ', '.join(names)} ran at scale={scale}"
        for scale, names in scales.items()
        if names
    )
    commits = sorted({str(one["environment"]["commit"])[:7] for f in every for one in f.records})
    yield (
        "Each study is one YAML file, committed before its runs: at the commit that a run's record"
        " names, with nothing uncommitted, the file says what it says today, and the script that"
        f" writes this page refuses any other. Of these studies {ran}, from commit"
        f" {', '.join(commits)}. Neither seeds nor scale were chosen after the outcome was seen:"
        " studies that were published before have seeds here that were never trained then."
    )
    devices = sorted({str(one["environment"]["device"]) for f in every for one in f.records})
    yield (
        f"Minutes are those in which runs of a study trained, tuning runs among them, on {cores}"
        f" cores of {' and '.join(devices)} that did other work beside: what it took, no benchmark."
    )


# -- a study ---------------------------------------------------------------------------------------


_HEADS = ("claimed", "", "found", "compared with the source", "at first")


def _section(found: Found, comparison: Comparison) -> Iterator[str]:
    name, asked = found.asked.name, found.asked
    yield f"### {markdown(name)}"
    yield f"{markdown(asked.question)} [The report]({name}/report.md)."
    yield _table(_HEADS, list(_rows(found, comparison)))
    ended = Counter(str(one["status"]) for one in found.records)
    lost = "".join(f", {ended[word]} {word}" for word in ("failed", "diverged") if ended[word])
    fixed = ", ".join(part for part in map(str, asked.fixed) if not part.startswith("launch"))
    yield (
        f"`{comparison.asked.command}`: {len(found.records)} runs{lost}, in"
        f" {_minutes(found)} minutes, with `{fixed}`."
    )


def _rows(found: Found, comparison: Comparison) -> Iterator[tuple[str, ...]]:
    name = found.asked.name
    first, sources = _at_first(), _measured_on()
    for number, (claim, line) in enumerate(
        zip(found.asked.claims, _lines(found, comparison), strict=True), 1
    ):
        before = first.get((name, claim.words), "–")
        source = f"{claim.source}; there: {sources[claim.source]}"
        if line is None:
            yield markdown(claim.words), "", NOT_JUDGED, markdown(source), markdown(before)
            continue
        against = _AGAINST_SOURCE.get(str(line.verdict), "cannot tell")
        yield (
            markdown(claim.words),
            f"![{markdown(_numbers(line))}]({PICTURES}/{name}-{number}.svg)",
            f"**{line.verdict}**: {markdown(_told(line))}",
            f"{against}: {markdown(source)}",
            markdown(before),
        )


def _told(line: Line) -> str:
    """Describe a result: the metric and its difference, the number of seeds, and the δ."""
    unit = unit_of_change(line)
    margin = written(line.margin, unit)
    size = "" if margin == "–" else f"; δ {margin}"
    seeds = f"{line.pairs} seeds{'' if line.paired else ' an arm'}"
    return f"{statistic_of(line)} {_numbers(line)}, {seeds}{size}"


def _numbers(line: Line) -> str:
    if line.untrained:  # a run that diverged or stayed at chance has an order, but no number
        return "by order only"
    unit = unit_of_change(line)
    name = unit.difference if unit.signed else "(ratio)"
    bounds = interval(line.delta_low, line.delta_high, unit, signed=True)
    return " ".join(one for one in (written(line.delta, unit, signed=True), name, bounds) if one)


def _at_first() -> dict[tuple[str, str], str]:
    """Read what studies found when first published: (study, claim) -> result in words."""
    with (PUBLISHED / "first.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["study"], row["claim"]): f"{row['verdict']}: {row['effect']}, {row['seeds']} seeds"
            for row in csv.DictReader(file)
        }


def _measured_on() -> dict[str, str]:
    """Read what each source measured on: source -> data and networks."""
    found: dict[str, str] = yaml.safe_load((PUBLISHED / "sources.yaml").read_text(encoding="utf-8"))
    return found


def _minutes(found: Found) -> str:
    took = minutes(found.records)
    return f"{took:.0f}" if took >= 10 else f"{took:.1f}"


def minutes(records: Sequence[record.Record]) -> float:
    """Count the wall-clock minutes in which at least one of the runs trained."""
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


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table from cells that are already Markdown."""
    rules = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rules, *rows))
