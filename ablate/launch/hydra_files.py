"""Writes `.hydra/`, the composed configuration and its overrides, as Hydra's own launchers do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ablate import record
from ablate.errors import raise_if_full
from ablate.plan.planning import Plan, Planned

# libyaml's emitter is ten times as fast as Python's, and each run has three files.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_NAMES = ("config.yaml", "hydra.yaml", "overrides.yaml")


def leave_hydra_files(plan: Plan) -> list[str]:
    """Write `.hydra/` for every run that is about to be trained, before training starts.

    Returns:
        What was set aside because it was in the way, or could not be written, one sentence each.

    Raises:
        DiskFullError: There is no space left.
    """
    notes: list[str] = []
    first: dict[Path, Planned] = {}
    for cell in plan.cells:
        if not plan.has_ended(cell.run):
            first.setdefault(cell.run.directory, cell)
    templates: dict[int, str] = {}
    for cell in first.values():
        if cell.hydra is None:
            continue
        shared = id(cell.hydra)  # one object shared by all cells with the same options
        if shared not in templates:
            templates[shared] = _template(cell.hydra)
        folder = cell.run.directory / record.HYDRA
        try:
            notes += record.set_aside_wrong_kinds(cell.run.directory)
            notes += record.set_aside_wrong_kinds(folder, _NAMES)
            _leave(folder, cell, _filled(templates[shared], cell))
        except OSError as error:
            raise_if_full(error)
            notes.append(f"{folder} cannot be written ({error.strerror})")
    return notes


def _leave(folder: Path, cell: Planned, hydra: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = "".join(_section(n, json.dumps(v)) for n, v in cell.contents.items())
    texts = (config, hydra, _yaml(list(cell.overrides)))
    for name, text in zip(_NAMES, texts, strict=True):
        (folder / name).write_text(text, encoding="utf-8")


_OF_A_RUN = ("task", "id", "num", "override_dirname", "output_dir")


def _template(part: Mapping[str, Any]) -> str:
    """Write the `hydra` part for all runs with the same options, with marks where they differ."""
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
    """Replace the marks with a run's values, as JSON, which is also valid YAML."""
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
    """Write one section of a configuration, given as JSON; runs of a sweep share most sections."""
    return _yaml({name: json.loads(value)})


def _yaml(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text
