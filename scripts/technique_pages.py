"""Writes a page for each technique: what it does, its knobs, and what the studies found of it.

    python scripts/technique_pages.py            writes results/published/techniques/

Cards come from docstrings in `ablate/`, claims from the studies in `conf/study/`, and outcomes from
the published tables of claims. Nothing is recomputed.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import cleandoc, getdoc
from pathlib import Path
from typing import Any, Final

import pandas as pd

from ablate import regularize
from ablate.analyze.verdicts import VERDICTS
from ablate.config.schema import BY_NAME
from ablate.metrics import metric_of
from ablate.optim.optimizer import RULES
from ablate.report.compare import records
from ablate.report.escape import markdown
from ablate.report.formatting import RATIO, interval, written
from ablate.report.wording import counted
from ablate.study import study
from ablate.study.claim import Claim
from ablate.study.file import read_study
from ablate.study.study import Study

PUBLISHED: Final = Path(__file__).resolve().parent.parent / "results" / "published"
FOLDER: Final = "techniques"
_CARD = "When it helps:"  # marks a module's docstring as a card
_WRITTEN = "<!-- Written by scripts/technique_pages.py. -->"


@dataclass(frozen=True)
class Technique:
    """A technique: the knobs that set it, and its card.

    Attributes:
        name: Of its page.
        title: Of the page, in words.
        knobs: Names of knobs, or beginnings of them that end in a dot.
        card: What it does, when it helps, settings and source.
    """

    name: str
    title: str
    knobs: tuple[str, ...]
    card: str

    @property
    def sentence(self) -> str:
        """What it does."""
        return self.card.partition("\n\n")[0].replace("\n", " ")


def techniques() -> list[Technique]:
    """List the techniques that have a card or a knob of their own, by name."""
    found = [*_regularizers(), *_others()]
    return sorted(found, key=lambda one: one.name)


def _regularizers() -> Iterator[Technique]:
    for module in pkgutil.iter_modules(regularize.__path__):
        card = getdoc(importlib.import_module(f"ablate.regularize.{module.name}")) or ""
        knob = f"regularize.{module.name}"
        if _CARD in card and any(name == knob or name.startswith(f"{knob}.") for name in BY_NAME):
            yield Technique(module.name, _title(card), (knob, f"{knob}."), card)


def _others() -> Iterator[Technique]:
    for name, title, module, group in (
        ("dropout", "Dropout", "ablate.nets.dropout", "dropout"),
        ("initial_weights", "Initial weights", "ablate.nets.init", "init"),
    ):
        card = getdoc(importlib.import_module(module)) or ""
        yield Technique(name, title, (group, f"{group}."), card)
    for name, title, knob, knobs in (
        ("norm", "Batch norm and other normalizations", "norm.name", ("norm", "norm.")),
        ("schedules", "Schedules of the learning rate", "schedule.name", ("schedule", "schedule.")),
        ("activations", "Activations", "model.activation", ("model.activation",)),
        ("pooling", "Pooling", "model.pool", ("model.pool", "model.stride")),
        ("batch_size", "Batch size", "batch_size", ("batch_size",)),
        ("networks", "Networks", "model.name", ("model",)),
        ("augmentation", "Augmentation", "augment.flip", ("augment", "augment.")),
    ):
        yield Technique(name, title, knobs, _of_knob(knob))
    rules = [f"**{name}**: {_first(getdoc(rule.update) or '')}" for name, rule in RULES.items()]
    card = "\n\n".join([_of_knob("optimizer.name"), *rules[:-1]])
    yield Technique("optimizers", "Optimizers", ("optimizer", "optimizer."), card)


def _of_knob(name: str) -> str:
    knob = BY_NAME[name]
    source = f"\n\nSource: {knob.source}." if knob.source else ""
    return f"{knob.help[:1].upper()}{knob.help[1:]}.{source}"


def _title(card: str) -> str:
    return re.split(r":\s", card, maxsplit=1)[0]


def _first(card: str) -> str:
    return card.partition("\n\n")[0].replace("\n", " ")


# -- the studies of a technique --------------------------------------------------------------------


def _sets(technique: Technique, overrides: Sequence[str]) -> frozenset[str]:
    """Choose the overrides that set a knob of a technique."""
    return frozenset(
        word
        for word in overrides
        for name in [word.partition("=")[0].lstrip("+~")]
        if any(name == k or (k.endswith(".") and name.startswith(k)) for k in technique.knobs)
    )


def claims_of(technique: Technique, asked: Study) -> list[Claim]:
    """Choose the claims of a study that compare two settings of a technique."""
    sets = {arm.name: _sets(technique, arm.overrides) for arm in asked.arms}
    found = []
    for claim in asked.claims:
        what = claim.compared(asked.baseline.name)
        if sets[what.arm] != sets[what.against] or (what.arm == what.against and sets[what.arm]):
            found.append(claim)
    return found


def _published(name: str) -> pd.DataFrame | None:
    file = PUBLISHED / name / "tables" / "claims.csv"
    return pd.read_csv(file) if file.is_file() else None


def _row(asked: Study, claim: Claim, table: pd.DataFrame) -> Mapping[str, Any] | None:
    """Find what was published about a claim."""
    what = claim.compared(asked.baseline.name)
    mine = table[
        (table["arm"] == what.arm)
        & (table["metric"] == what.metric)
        & (table["baseline"] == what.against)
        & (table["against_metric"] == what.against_metric)
        & (table["statistic"] == what.statistic)
    ]
    if mine.empty:
        return None
    return records(mine)[0]


def _found(claim: Claim, row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return the verdict, and the difference with its interval."""
    if row is None:
        return "not judged", ""
    unit = RATIO if claim.statistic == "spread" else metric_of(claim.metric).unit
    ends = ("low", "high") if "low" in row else ("ci_low", "ci_high")
    low, high = (float(row[end]) for end in ends)
    value = f"{written(float(row['delta']), unit, signed=True)} {unit.difference}".strip()
    bounds = "" if math.isnan(low) else f" {interval(low, high, unit, signed=True)}"
    return str(row["verdict"]), f"{value}{bounds}, n = {int(row['n'])}"


# -- pages -----------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Compose every page, by the name of its file; the index is `README.md`."""
    asked = [read_study(name) for name in study.shipped()]
    made, rows = {}, []
    for one in techniques():
        claimed = [(s, found) for s in asked if (found := claims_of(one, s))]
        made[f"{one.name}.md"] = _page(one, claimed)
        rows.append(_summary(one, claimed))
    head = "| technique | what it does | studies | claims |\n| --- | --- | --- | --- |"
    made["README.md"] = "\n".join(
        [
            f"{_WRITTEN}\n\n# Techniques\n",
            "What each does, the knob that sets it, and what the studies found of it;"
            " [all studies](../studies.md).\n",
            head,
            *rows,
            "",
        ]
    )
    return made


def _summary(one: Technique, claimed: Sequence[tuple[Study, Sequence[Claim]]]) -> str:
    words: list[str] = []
    for asked, claims in claimed:
        table = _published(asked.name)
        for claim in claims:
            row = None if table is None else _row(asked, claim, table)
            words.append("not published" if table is None else _found(claim, row)[0])
    others = sorted(set(words) - set(VERDICTS))
    told = counted(words, others) or "none yet"
    studies = ", ".join(markdown(asked.name) for asked, _ in claimed) or "none yet"
    link = f"[{markdown(one.title)}]({one.name}.md)"
    return f"| {link} | {markdown(one.sentence)} | {studies} | {told} |"


def _page(one: Technique, claimed: Sequence[tuple[Study, Sequence[Claim]]]) -> str:
    parts = [_WRITTEN, f"# {markdown(one.title)}", markdown(one.sentence), "## The knob"]
    names = [name for name in BY_NAME if _sets(one, [f"{name}=x"])]
    rows = [f"| `{name}` | {markdown(BY_NAME[name].help)} |" for name in names]
    parts.append("\n".join(["| knob | what it sets |", "| --- | --- |", *rows]))
    parts += ["## The card", _card(one)]
    parts.append("## What the studies found")
    for asked, claims in claimed:
        parts += _of_study(asked, claims)
    if not claimed:
        parts.append("No shipped study makes a claim about it.")
    parts.append("[All techniques](README.md) · [all studies](../studies.md)")
    return "\n\n".join(parts) + "\n"


def _card(one: Technique) -> str:
    """Write a card as paragraphs; a table in the docstring stays a code block."""
    blocks = []
    for block in cleandoc(one.card).split("\n\n"):
        if block.startswith(" "):
            blocks.append(f"```text\n{block}\n```")
            continue
        lines = re.split(r"\n(?=(?:When it helps|Settings|Source):)", block)
        blocks += [_paragraph(" ".join(line.split())) for line in lines]
    return "\n\n".join(blocks)


def _paragraph(text: str) -> str:
    """Escape a paragraph outside of its code and its bold words."""
    parts = re.split(r"(``.+?``|`.+?`|\*\*\w+\*\*)", text)
    return "".join(p if i % 2 else _inline(p) for i, p in enumerate(parts))


def _inline(text: str) -> str:
    """Escape text within a line, and keep the spaces at its ends."""
    inner = markdown(text)
    lead, trail = text[:1].isspace(), text[-1:].isspace() and bool(text.strip())
    return f"{' ' if lead else ''}{inner}{' ' if trail else ''}" if text else ""


def _of_study(asked: Study, claims: Sequence[Claim]) -> Iterator[str]:
    table = _published(asked.name)
    where = f" ([its report](../{asked.name}/report.md))" if table is not None else ""
    yield f"### {markdown(asked.name)}{where}"
    yield f"{markdown(asked.question)} Run it: `ablate run +study={asked.name}`."
    rows = []
    for claim in claims:
        row = None if table is None else _row(asked, claim, table)
        verdict, found = ("not published", "") if table is None else _found(claim, row)
        metric = metric_of(claim.metric).label
        cells = (claim.words, verdict, found, metric, claim.source)
        rows.append(f"| {' | '.join(markdown(cell) for cell in cells)} |")
    heads = ("claim", "verdict", "Δ [interval]", "measured", "who claims it")
    yield "\n".join([f"| {' | '.join(map(markdown, heads))} |", "|" + " --- |" * len(heads), *rows])
    if table is not None and "low" not in table:
        yield (
            "Published before verdicts came from a single interval: the words are those of its"
            " report, and the intervals are at 95 % each, uncorrected."
        )


def write(folder: Path = PUBLISHED / FOLDER) -> None:
    """Write all pages, and delete those of techniques that no longer exist."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for file in folder.glob("*.md"):
        if file.name not in made:
            file.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.exit()
