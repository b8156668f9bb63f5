"""Where the numbers of a report come from: what was asked of each run, and what it ran on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ablate import record
from ablate.analyze.factors import factors_of
from ablate.config import schema
from ablate.record.snapshot import FILES, Snapshot, snapshots
from ablate.report.command_lines import commands
from ablate.report.compare import Comparison
from ablate.report.formatting import knob, level, ranges

_MOST = 8  # values of a knob named in a sentence


@dataclass(frozen=True)
class Origin:
    """Where the runs come from.

    Attributes:
        commands: Lines for a shell that train them again.
        environment: What the runs were trained with, as names and values.
        differs: What differs between the runs, in words.
        selects: The rules by which weights were selected: ``last``, ``best``.
    """

    commands: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    differs: str
    selects: tuple[str, ...]


def origin(comparison: Comparison) -> Origin:
    """Find out where the runs come from, by one record of each setting."""
    runs = comparison.runs
    settings = _settings(runs)
    found = [(record.read(Path(path)), seeds) for path, seeds in settings]
    records = [(one, seeds) for one, seeds in found if one is not None]
    asked = [(one["config"], seeds) for one, seeds in records]
    command = comparison.asked.command
    return Origin(
        (command,) if command else tuple(commands(asked)),
        tuple(_environment(runs, [one for one, _ in records])),
        _differs(runs, [one["config"] for one, _ in records]),
        tuple(dict.fromkeys(str(one["config"].get("select", "last")) for one, _ in records)),
    )


def _settings(runs: pd.DataFrame) -> list[tuple[str, list[int]]]:
    """Return the first record of each setting (all knobs but the seed) and the setting's seeds."""
    varied = [str(name) for name in runs if "." in str(name) or name in schema.BY_NAME]
    result = [n for n in varied if n != "seed" and _is_result(n)]
    grouped = runs.groupby(["arm", *result], sort=False, dropna=False)
    return [(str(part["path"].iloc[0]), part["seed"].tolist()) for _, part in grouped]


def _is_result(name: str) -> bool:
    knob = schema.BY_NAME.get(name)
    return knob is None or knob.role == "result"


def _environment(runs: pd.DataFrame, records: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """List machines and versions; versions are those of one run per setting."""
    told: dict[str, dict[str, None]] = {}
    for one in records:
        about = one["environment"]
        data = about.get("data", {})
        sizes = data.get("sizes", {})
        facts = {
            **{str(name): version for name, version in about.get("versions", {}).items()},
            "platform": about.get("platform"),
            "data set": schema.get(one["config"], "data.name"),
            "split drawn by": _split_by(one["config"]),
            "images": ", ".join(f"{count} {split}" for split, count in sizes.items()) or None,
        }
        for name, value in facts.items():
            if value is not None:
                told.setdefault(name, {})[str(value)] = None
    for name, column in (
        ("device", "hardware"),
        ("data digest", "data_digest"),
        ("commit of the working directory", "commit"),
    ):
        values = dict.fromkeys(map(str, runs[column].dropna().unique()))
        if values:
            told[name] = values
    if runs["dirty"].fillna(False).any():
        told.setdefault("commit of the working directory", {})["with uncommitted changes"] = None
    if codes := _snapshots(runs):
        told["kept code"] = dict.fromkeys(codes)
    return [(name, "; ".join(values)) for name, values in told.items()]


def _snapshots(runs: pd.DataFrame) -> list[str]:
    """Name the code snapshots that some runs were trained on."""
    commits: dict[Path, set[str | None]] = {}
    for path, commit in zip(runs["path"], runs["commit"], strict=True):
        commits.setdefault(Path(path).parent, set()).add(None if pd.isna(commit) else str(commit))
    return [
        _told(file, one)
        for sweep, known in commits.items()
        for file, one in snapshots(sweep).items()
        if one["commit"] in known
    ]


def _told(file: Path, one: Snapshot) -> str:
    parts = ["no commit" if one["commit"] is None else f"commit {one['commit'][:12]}"]
    if one["diff"] is not None:
        parts.append(f"changes since in {FILES}/{one['diff'][:12]}")
    if one["diff_left_out"] is not None:
        parts.append(f"changes since are left out: {one['diff_left_out']}")
    if one["files"]:
        more = f" and {len(one['files']) - _MOST} more" if len(one["files"]) > _MOST else ""
        parts.append(f"your files {', '.join(list(one['files'])[:_MOST])}{more}")
    return f"{file.parents[1].name}/code/{file.name} ({', '.join(parts)})"


def _split_by(config: Mapping[str, Any]) -> str | None:
    """Tell how a folder was split; older records do not say, since there was no choice."""
    older = "order" if schema.get(config, "data.name") == "folder" else None
    found: str | None = schema.get(config, "data.split_by", older)
    return found


def _differs(runs: pd.DataFrame, configs: list[Mapping[str, Any]]) -> str:
    parts = []
    for name in factors_of(runs):
        values = [v for v in runs[name].unique() if not pd.isna(v)]
        numeric = pd.api.types.is_numeric_dtype(runs[name])
        texts = [level(v) for v in values]
        texts = [t for _, t in sorted(zip(values, texts, strict=True))] if numeric else texts
        more = f" and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
        parts.append(f"{knob(name)} ({', '.join(texts[:_MOST])}{more})")
    seeds = sorted({int(seed) for seed in runs["seed"]})
    told = f"{'seeds' if len(seeds) > 1 else 'seed'} {ranges(seeds)}"
    where = dict.fromkeys(f"{c['model']['name']} on {c['data']['name']}" for c in configs)
    what = _joined(parts) if parts else "nothing but the seed"
    return f"What differs: {what}; {told}; {', '.join(where)}."


def _joined(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
