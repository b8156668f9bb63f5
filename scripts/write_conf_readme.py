"""Writes conf/README.md, the page of every knob, from ablate/config/ and the files in conf/.

python scripts/write_conf_readme.py            writes it
python scripts/write_conf_readme.py --print    prints it
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from ablate.config import files, schema
from ablate.config.knobs.looking import EVALUATE, INSPECT, LR_FIND
from ablate.config.schema import BY_NAME, KNOBS, Knob, shown
from ablate.config.settings import Settings
from ablate.config.types import Choice

INTRO = """\
<!-- Written by scripts/write_conf_readme.py. -->

# Every knob

Set any of them on the command line: `ablate run model=mlp optimizer.lr=0.01 seed=1`. A group
(`optimizer=adam`) chooses an option, and an option sets defaults only: an explicit value wins, in
whatever order (`dropout=none dropout.dense=0.5` drops). `ablate run ... --cfg job` shows the whole
configuration without training.

A list is written `model.channels=[32,64]`, nothing at all `null`. With `-m`, commas make a grid:
`ablate run -m seed=0,1,2 dropout.dense=0,0.5` trains six runs.

A wrong name or value is refused before anything starts, and so is a knob that would touch nothing:
`dropout.conv=0.2` on a network without convolutions, `norm.position=after` with `norm=none`.

Your own values can go into a file: `ablate run --config-dir mine -cn first` reads
`mine/first.yaml`, whose `defaults` list begins with `- config`.

In the tables, options in parentheses are those that have the knob, or that value of it. *Kind* says
what a knob may change:

- **axis** and **graph**: the numbers, so they are part of the run's key (left out at their *off*
  value, where they do nothing). Runs that differ only in axis knobs can be trained in one stack.
- **execution**: where and how a run is computed. **label**: names and places. Neither changes the
  key.
"""


def page() -> str:
    """Compose the page."""
    chosen = files.chosen()
    rest = [knob for knob in KNOBS if knob.group not in chosen]
    run = [knob for knob in rest if knob.role == "result"]
    around = [knob for knob in rest if knob.role != "result"]
    parts = [INTRO]
    parts += [_group(group, default) for group, default in chosen.items()]
    parts.append("\n".join(["## The run\n", *_table(run), ""]))
    parts.append("\n".join(["## Execution and labels\n", *_table(around), ""]))
    parts += [_settings(settings) for settings in (EVALUATE, INSPECT, LR_FIND)]
    return "\n".join(parts)


def _options(group: str) -> tuple[str, ...]:
    """List a group's options, in the schema's order if it has one."""
    return schema.OPTIONS.get(group, files.groups()[group])


def _group(group: str, default: str) -> str:
    named = BY_NAME.get(f"{group}.name")
    knobs = [knob for knob in KNOBS if knob.group == group and knob is not named]
    words = (f"**`{o}`** (default)" if o == default else f"`{o}`" for o in _options(group))
    lines = [
        f"## {group}",
        "",
        f"`{group}=` {', '.join(words)}",
        "",
        _about(named),
        "",
        *_table(knobs),
    ]
    return "\n".join([*lines, *_sources([named, *knobs] if named else knobs), ""])


def _about(named: Knob | None) -> str:
    if named is None:
        return "Presets of the values below."
    off = "" if named.off is schema.UNSET else f", off: `{shown(named.off)}`"
    sentence = f"{named.help[0].upper()}{named.help[1:]}."
    return f"{sentence} (`{named.name}` in the record; {named.place}{off})"


def _table(knobs: Sequence[Knob]) -> Iterator[str]:
    yield "| knob | what it does | takes | default | off | kind |"
    yield "|---|---|---|---|---|---|"
    for knob in knobs:
        off = "" if knob.off is schema.UNSET else f"`{shown(knob.off)}`"
        kind = knob.place if knob.role == "result" else knob.role
        cells = (f"`{knob.name}`", _help(knob), _takes(knob), _defaults(knob), off, kind)
        yield f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _settings(settings: Settings) -> str:
    lines = [
        f"## Settings of `ablate {settings.command}`",
        "",
        "| setting | what it does | takes | default |",
        "|---|---|---|---|",
    ]
    for setting in settings.each:
        knob, default = setting.knob, setting.default
        # An illegal default means that the setting must be given.
        shown_default = "" if knob.fault(default) else f"`{shown(default)}`"
        cells = (f"`{knob.name}`", _help(knob), _takes(knob), shown_default)
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join([*lines, ""])


def _help(knob: Knob) -> str:
    return knob.help.replace("<", "&lt;").replace("|", "\\|")


def _takes(knob: Knob) -> str:
    words = [*getattr(knob.type, "words", ()), *knob.words]
    parts = [] if isinstance(knob.type, Choice) else [str(knob.type)]
    if knob.unit:
        parts[0] += f" ({knob.unit})"
    parts += [f"`{word}`" for word in words]
    if knob.null:
        parts.append(f"`null`: {knob.null}".replace("<", "&lt;"))
    return "; ".join(parts) if knob.null or knob.unit else ", ".join(parts)


def _defaults(knob: Knob) -> str:
    group, _, leaf = knob.name.partition(".")
    if group not in files.groups():
        return f"`{shown(schema.get(files.top(), knob.name))}`"
    having: dict[str, list[str]] = {}
    for option in _options(group):
        values = files.option(group, option)
        if leaf in values:
            value = shown(values[leaf])
            having.setdefault("to be given" if value == "???" else f"`{value}`", []).append(option)
    return "; ".join(f"{value}{_which(group, options)}" for value, options in having.items())


def _which(group: str, having: Sequence[str]) -> str:
    others = [option for option in _options(group) if option not in having]
    if not others:
        return ""
    few = f"all but {', '.join(others)}" if len(others) < len(having) else ", ".join(having)
    return f" ({few})"


def _sources(knobs: Iterable[Knob]) -> list[str]:
    found: dict[str, list[str]] = {}
    for knob in knobs:
        if knob.source:
            found.setdefault(knob.source, []).append(f"`{knob.name}`")
    lines = [f"- {', '.join(names)}: {source}" for source, names in found.items()]
    return ["", "Sources:", "", *lines] if lines else []


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(page(), end="")
    else:
        (files.CONF / "README.md").write_text(page(), encoding="utf-8")
