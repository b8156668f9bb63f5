"""What Hydra's own launchers leave beside a run: `.hydra/`, with what was composed from what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ablate.plan.planning import Plan, Planned

# libyaml's emitter is ten times as fast as the one in Python, and there are three files a run.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def leave_hydra_files(plan: Plan) -> None:
    """Write `.hydra/` for every run that is going to be trained, before any is.

    Raises:
        OSError: The disk is full, or refuses.
    """
    first: dict[Path, Planned] = {}
    for cell in plan.cells:
        if not plan.has_ended(cell.run):
            first.setdefault(cell.run.directory, cell)
    templates: dict[int, str] = {}
    for cell in first.values():
        if cell.hydra is None:
            continue
        shared = id(cell.hydra)  # by its options, of which there are few
        if shared not in templates:
            templates[shared] = _template(cell.hydra)
        _leave(cell, _filled(templates[shared], cell))


def _leave(cell: Planned, hydra: str) -> None:
    folder = cell.run.directory / ".hydra"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("config.yaml", "".join(_section(n, json.dumps(v)) for n, v in cell.contents.items())),
        ("hydra.yaml", hydra),
        ("overrides.yaml", _yaml(list(cell.overrides))),
    ):
        (folder / name).write_text(text, encoding="utf-8")


_OF_A_RUN = ("task", "id", "num", "override_dirname", "output_dir")


def _template(part: Mapping[str, Any]) -> str:
    """Write Hydra's own part once for all runs of the same options, with marks for what differs."""
    task, number, numeral, dirname, output = (f"@{name}@" for name in _OF_A_RUN)
    job = {"id": number, "num": numeral, "override_dirname": dirname}
    marked = {
        **part,
        "overrides": {**part["overrides"], "task": task},
        "job": {**part["job"], **job},
        "runtime": {**part["runtime"], "output_dir": output},
    }
    return _yaml({"hydra": marked})


def _filled(template: str, cell: Planned) -> str:
    """Put a run's values in place of the marks, as JSON, which YAML reads too."""
    values = (
        list(cell.overrides),
        str(cell.number),
        cell.number,
        ",".join(cell.overrides),
        str(cell.run.directory.absolute()),
    )
    for name, value in zip(_OF_A_RUN, values, strict=True):
        template = template.replace(f"'@{name}@'", json.dumps(value))
    return template


@lru_cache(maxsize=1024)
def _section(name: str, value: str) -> str:
    """Write a part of a configuration, given as JSON; most runs of a sweep share most parts."""
    return _yaml({name: json.loads(value)})


def _yaml(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text
