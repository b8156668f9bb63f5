"""Where the configuration files are: `conf/` in a checkout, `ablate/conf/` in a wheel."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parents[1]
STUDIES = "study"  # a folder of conf/ that is not a group: a study makes its own settings
CONF = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """List the groups and their shipped options."""
    return {
        folder.name: tuple(sorted(file.stem for file in folder.glob("*.yaml")))
        for folder in sorted(CONF.iterdir())
        if folder.is_dir() and folder.name != STUDIES
    }


@cache
def option(group: str, name: str) -> dict[str, Any]:
    """Read one option's file: its knobs, by their names inside the group, and its defaults."""
    return _read(CONF / group / f"{name}.yaml")


@cache
def top() -> dict[str, Any]:
    """Read the knobs outside the groups, and their defaults."""
    values = _read(CONF / "config.yaml")
    return {key: value for key, value in values.items() if key not in ("defaults", "hydra")}


@cache
def chosen() -> dict[str, str]:
    """Read which option of each group is the default, in the order of conf/config.yaml."""
    values = _read(CONF / "config.yaml")
    entries = [entry for entry in values["defaults"] if isinstance(entry, dict)]
    pairs = [(group, option) for entry in entries for group, option in entry.items()]
    return {group: option for group, option in pairs if not group.startswith("override ")}


def owners(knob: str) -> list[str]:
    """List the options that have a knob, as written on the command line: ``optimizer=adam``."""
    group, _, name = knob.partition(".")
    options = groups().get(group, ())
    return [f"{group}={choice}" for choice in options if name in option(group, choice)]


def _read(file: Path) -> dict[str, Any]:
    # Help only lists options, and importing OmegaConf takes longer than all the rest.
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(values, dict), "a file of conf/ is a mapping"
    return {str(key): value for key, value in values.items()}
