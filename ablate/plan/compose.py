"""Composes the cells of a grid: Hydra composes each choice of groups once, and we set the values.

A composition by Hydra takes about 60 ms; a copy and a few assignments take a thousandth of that. A
test checks that the result equals Hydra's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate.config import files
from ablate.errors import AblateError

Contents = dict[str, Any]  # nested and plain, with unresolved interpolations


class Composer:
    """Composes many cells.

    Args:
        compose: Lets Hydra compose a list of overrides.
    """

    def __init__(self, compose: Callable[[Sequence[str]], DictConfig]) -> None:
        self._compose = compose
        self._bases: dict[tuple[str, ...], tuple[Contents, Contents]] = {}

    def contents(self, overrides: Sequence[str]) -> Contents:
        """Compose one cell, without its `hydra` part.

        Raises:
            AblateError: Hydra cannot compose it.
        """
        groups = tuple(text for text in overrides if is_group(_parsed(text)))
        values = [_parsed(text) for text in overrides if not is_group(_parsed(text))]
        if not all(_is_plain(value) for value in values):
            return bare(self._compose(list(overrides)))
        made: Contents = _copied(self._base(groups)[0])
        for override in values:
            if not override.is_hydra_override():
                _set(made, override.key_or_group, _copied(override.value()))
        return made

    def hydra_part(self, overrides: Sequence[str]) -> Contents:
        """Return a cell's `hydra` part, shared by all cells with the same choice of options."""
        groups = tuple(text for text in overrides if is_group(_parsed(text)))
        return self._base(groups)[1]

    def _base(self, groups: tuple[str, ...]) -> tuple[Contents, Contents]:
        if groups not in self._bases:
            cfg = self._compose(list(groups))
            part = OmegaConf.to_container(cfg.hydra, enum_to_str=True)
            assert isinstance(part, dict), "Hydra's own part is a mapping"
            part["runtime"]["cwd"] = os.getcwd()  # compositions survive a change of directory
            self._bases[groups] = (bare(cfg), {str(k): v for k, v in part.items()})
        return self._bases[groups]


def resolved(contents: Contents) -> Contents:
    """Resolve interpolations; missing values (???) become None.

    The result may share its groups with the argument.

    Raises:
        AblateError: An interpolation refers to nothing.
    """
    if not _mentions(contents, "${") and not _mentions(contents, "???"):
        return dict(contents)
    try:
        cfg = OmegaConf.create(contents)
        for name in OmegaConf.missing_keys(cfg):
            OmegaConf.update(cfg, name, None)
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise AblateError(f"the configuration cannot be resolved: {reason}") from error
    assert isinstance(plain, dict), "a configuration is a mapping"
    return {str(k): v for k, v in plain.items()}


def bare(cfg: DictConfig) -> Contents:
    """Convert a configuration to plain dictionaries, without its `hydra` part."""
    return {
        str(name): OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for name, value in cfg.items_ex(resolve=False)
        if name != "hydra"
    }


@lru_cache(maxsize=65536)
def _parsed(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:  # in a sweep, in text that Hydra wrote itself
        raise AblateError(
            f"{text} is a value that Hydra made from a sweep and cannot read again: use no quotes"
            " inside an interpolation"
        ) from error


def is_group(override: Override) -> bool:
    """Tell whether an override chooses an option of one of our groups or Hydra's."""
    return override.key_or_group in files.groups() or override.key_or_group.startswith("hydra/")


def _is_plain(override: Override) -> bool:
    return not override.is_delete() and not isinstance(override.value(), dict)


def _copied(value: Any) -> Any:
    """Copy plain contents, of which a plan makes thousands: deepcopy takes ten times as long."""
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _set(contents: Contents, name: str, value: Any) -> None:
    *path, leaf = name.split(".")
    node = contents
    for part in path:
        if not isinstance(node.get(part), dict):  # for example model.activation=relu, or nothing
            node[part] = {}
        node = node[part]
    node[leaf] = value


def _mentions(value: Any, text: str) -> bool:
    if isinstance(value, dict):
        return any(_mentions(v, text) for v in value.values())
    if isinstance(value, list):
        return any(_mentions(v, text) for v in value)
    return isinstance(value, str) and text in value
