"""Writes a page for each technique: what it does, its knobs, and what studies found about it.

    python scripts/technique_pages.py            writes results/published/techniques/

Cards come from docstrings in `ablate/`, claims from the studies in `conf/study/`, and outcomes from
the published tables of claims. Nothing is recomputed.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import cleandoc, getdoc
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any, Final

import pandas as pd

from ablate import optim
from ablate.analyze.verdicts import VERDICTS
from ablate.config import files, rates
from ablate.config.schema import BY_NAME
from ablate.data import augment, transforms
from ablate.errors import AblateError
from ablate.metrics import metric_of
from ablate.nets import (
    activations,
    cnn,
    dropout,
    init,
    mlp,
    norms,
    pooling,
    recurrent,
    resnet,
    whiten,
)
from ablate.optim import muon, solvers
from ablate.optim.optimizer import RULES
from ablate.report.compare import records
from ablate.report.escape import markdown
from ablate.report.formatting import RATIO, interval, written
from ablate.report.wording import counted
from ablate.study import study
from ablate.study.claim import Claim
from ablate.study.file import read_study
from ablate.study.study import Study
from ablate.train import batches

PUBLISHED: Final = Path(__file__).resolve().parent.parent / "results" / "published"
FOLDER: Final = "techniques"
_WRITTEN = "<!-- Written by scripts/technique_pages.py. -->"
_PARTS: Final = ("When it helps", "Settings", "Source")  # of a card, after its sentence
_LABELLED = re.compile(rf"\n(?=(?:{'|'.join(_PARTS)}):)")
_NO_CARD = re.compile(
    r"(Args|Returns|Raises|Attributes|Shape):\n"
)  # sections of a function's docstring


# -- cards -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A member of a family, such as an optimizer.

    Attributes:
        name: Its name in a configuration.
        told: What it does, and settings that work.
        source: Paper, with equation or section.
    """

    name: str
    told: str
    source: str

    @classmethod
    def of(cls, name: str, docstring: str) -> Member:
        """Read a docstring: the text before its ``Source:``, and the source."""
        kept = [b for b in cleandoc(docstring).split("\n\n") if not _NO_CARD.match(b)]
        told, _, source = " ".join("\n".join(kept).split()).partition(" Source: ")
        return cls(name, told, source)


@dataclass(frozen=True)
class Card:
    """What a docstring says about a technique.

    Attributes:
        title: The text before the first colon.
        sentence: What the technique does.
        paragraphs: The rest; parts in `_PARTS` start with their name.
        members: Members, if it is a family.
    """

    title: str
    sentence: str
    paragraphs: tuple[str, ...]
    members: tuple[Member, ...] = ()

    @classmethod
    def of(cls, docstring: str) -> Card:
        """Read a docstring up to its source, and the list of members that may follow.

        The rest is for readers of the code.
        """
        first, *blocks = cleandoc(docstring).split("\n\n")
        title, _, sentence = " ".join(first.split()).partition(": ")
        ends = [i for i, block in enumerate(blocks, 1) if re.search("^Source:", block, re.M)]
        end = ends[0] if ends else len(blocks)
        listed = [block for block in blocks[end : end + 1] if block.startswith("    ")]
        entries = [e for block in listed for e in re.split(r"\n(?=\S)", dedent(block))]
        return cls(
            title,
            re.sub("^[a-z]", lambda letter: letter[0].upper(), sentence),
            tuple(" ".join(line.split()) for b in blocks[:end] for line in _LABELLED.split(b)),
            tuple(Member.of(name, told) for name, _, told in (e.partition(": ") for e in entries)),
        )

    @property
    def lacks(self) -> list[str]:
        """List the parts that are missing."""
        told = {"a sentence": bool(self.sentence)}
        for part in _PARTS:
            told[part] = any(re.match(rf"{part}: \S", p) for p in self.paragraphs)
        for one in self.members:
            told |= {
                f"what {one.name} does": bool(one.told),
                f"{one.name}'s source": bool(one.source),
            }
        return [part for part, is_there in told.items() if not is_there]


@dataclass(frozen=True)
class Technique:
    """A technique: its card, and the knobs that set it.

    Attributes:
        name: The name of its page.
        card: What it does, when it helps, settings and source.
        knobs: Names of knobs, or prefixes that end in a dot.
        options: Options of the group `model`, if the technique is a network.
    """

    name: str
    card: Card
    knobs: tuple[str, ...]
    options: tuple[str, ...] = ()


def techniques() -> list[Technique]:
    """List the techniques that have their own knob, by title."""
    listed = (_optimizers(), _schedules(), _augmentation())
    found = [*_regularizers(), *_families(), *_networks(), *listed]
    return sorted(found, key=lambda one: one.card.title.casefold())


def _regularizers() -> Iterator[Technique]:
    for knob in BY_NAME:
        group, _, name = knob.partition(".")
        if group == "regularize" and not name.startswith("_"):
            module = importlib.import_module(f"ablate.regularize.{name}")
            yield Technique(name, _card(module), (knob,))


def _families() -> Iterator[Technique]:
    for name, module, knobs in (
        ("dropout", dropout, ("dropout", "dropout.")),
        ("initial_weights", init, ("init", "init.")),
        ("norm", norms, ("norm", "norm.")),
        ("activations", activations, ("model.activation", "model.activation.")),
        ("pooling", pooling, ("model.pool", "model.stride")),
        ("whitening", whiten, ("model.whiten",)),
        ("batch_size", batches, ("batch_size",)),
    ):
        yield Technique(name, _card(module), knobs)


def _networks() -> Iterator[Technique]:
    for name, module, options in (
        ("dense_networks", mlp, ("mlp", "deep_mlp")),
        ("convolutional_networks", cnn, ("cnn", "lenet5", "vgg")),
        ("residual_networks", resnet, ("resnet",)),
        ("recurrent_networks", recurrent, ("rnn", "lstm", "gru")),
    ):
        yield Technique(name, _card(module), ("model", "model.name"), options)


def _optimizers() -> Technique:
    cards: dict[str, Any] = {name: rule.update for name, rule in RULES.items()}
    cards |= {"muon": muon, "lbfgs": solvers.LBFGS, "newton": solvers.Newton}
    return Technique("optimizers", _card(optim, cards), ("optimizer", "optimizer."))


def _schedules() -> Technique:
    return Technique("schedules", _card(rates, rates.FRACTIONS), ("schedule", "schedule."))


def _augmentation() -> Technique:
    names = ("flip", "crop", "shift", "rotate, scale, shear", "cutout", "brightness", "contrast")
    functions = {"rotate, scale, shear": transforms.affine}
    cards = {name: functions.get(name) or getattr(transforms, name) for name in names}
    return Technique("augmentation", _card(augment, cards), ("augment", "augment."))


def _card(module: ModuleType, members: Mapping[str, Any] | None = None) -> Card:
    """Read the card of a module, and those of members with their own docstrings."""
    card = Card.of(getdoc(module) or "")
    if members is None:
        return card
    told = tuple(Member.of(name, getdoc(one) or "") for name, one in members.items())
    return Card(card.title, card.sentence, card.paragraphs, told)


# -- the studies of a technique --------------------------------------------------------------------


def _sets(technique: Technique, overrides: Sequence[str]) -> frozenset[str]:
    """Choose the overrides that set a knob of a technique."""
    return frozenset(word for word in overrides if _is_set_by(technique, word))


def _is_set_by(technique: Technique, override: str) -> bool:
    name, _, value = override.partition("=")
    if technique.options and value not in technique.options:
        return False
    return _has(technique, name.lstrip("+~"))


def _has(technique: Technique, name: str) -> bool:
    return any(name == k or (k.endswith(".") and name.startswith(k)) for k in technique.knobs)


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
    if math.isnan(float(row["delta"])):  # a run that diverged or stayed at chance has no number
        return str(row["verdict"]), f"by order only, n = {int(row['n'])}"
    value = f"{written(float(row['delta']), unit, signed=True)} {unit.difference}".strip()
    bounds = "" if math.isnan(low) else f" {interval(low, high, unit, signed=True)}"
    return str(row["verdict"]), f"{value}{bounds}, n = {int(row['n'])}"


# -- pages -----------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Compose every page, by the name of its file; the index is `README.md`.

    Raises:
        AblateError: A card lacks a part.
    """
    asked = [read_study(name) for name in study.shipped()]
    made, rows, shown = {}, [], techniques()
    if faults := [f"the card of {t.name} lacks {part}" for t in shown for part in t.card.lacks]:
        raise AblateError(*faults)
    for one in shown:
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
    link = f"[{markdown(one.card.title)}]({one.name}.md)"
    return f"| {link} | {_paragraph(one.card.sentence)} | {studies} | {told} |"


def _page(one: Technique, claimed: Sequence[tuple[Study, Sequence[Claim]]]) -> str:
    card = one.card
    parts = [_WRITTEN, f"# {markdown(card.title)}", _paragraph(card.sentence)]
    parts += [_labelled(paragraph) for paragraph in card.paragraphs]
    if card.members:
        rows = [(f"`{m.name}`", _paragraph(m.told), _paragraph(m.source)) for m in card.members]
        parts += ["## One by one", _table(("", "what it does", "source"), rows)]
    knobs = [(f"`{name}`", _paragraph(BY_NAME[name].help)) for name in knobs_of(one)]
    parts += ["## The knobs", _table(("knob", "what it sets"), knobs)]
    parts.append("## What the studies found")
    for asked, claims in claimed:
        parts += _of_study(asked, claims)
    if not claimed:
        parts.append("No shipped study makes a claim about it.")
    parts.append("[All techniques](README.md) · [all studies](../studies.md)")
    return "\n\n".join(parts) + "\n"


def knobs_of(one: Technique) -> list[str]:
    """List the knobs of a technique; for a network, those that its options have."""
    named = {f"model.{key}" for option in one.options for key in files.option("model", option)}
    return [name for name in BY_NAME if _has(one, name) or name in named]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def _labelled(paragraph: str) -> str:
    """Make the name of a part at the start of a paragraph bold."""
    part, colon, told = paragraph.partition(": ")
    return f"**{part}:** {_paragraph(told)}" if colon and part in _PARTS else _paragraph(paragraph)


def _paragraph(text: str) -> str:
    """Escape a paragraph, except for its code."""
    parts = re.split(r"(``.+?``|`.+?`)", text)
    return "".join(p if i % 2 else _inline(p) for i, p in enumerate(parts))


def _inline(text: str) -> str:
    """Escape text within a line, keeping the spaces at its ends."""
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
        rows.append([markdown(cell) for cell in cells])
    yield _table(("claim", "verdict", "Δ \\[interval\\]", "measured", "who claims it"), rows)
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
