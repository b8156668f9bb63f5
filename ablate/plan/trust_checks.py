"""Checks that the user trusts what a request would run, before any of it is imported.

What is typed on the command line is trusted. But a study, or a configuration in `--config-dir`, may
also name classes (`_target_`), and a configuration can make Hydra create and call more: launchers,
callbacks, log handlers, packages in its search path. All of that waits until its folder is trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ablate.config import files, trust
from ablate.errors import AblateError
from ablate.plan.compose import Composer, resolved
from ablate.plan.overrides import values_of
from ablate.plan.request import Cell, Request

# Parts of Hydra's configuration that it creates or calls by name, or passes to processes it starts.
_RUNS = ("launcher", "sweeper", "callbacks", "job_logging", "hydra_logging", "env_set")
_LARGEST = 1_000_000  # characters of a file that are searched for a name

Names = Mapping[str, str]  # dotted name -> import path


@dataclass(frozen=True)
class ConfigSource:
    """A file or folder that a request reads and that is not trusted.

    Attributes:
        path: As the user gave it.
        folder: What would be trusted.
    """

    path: Path
    folder: trust.Folder

    def naming(self, names: Names) -> str:
        """Find the file that contains one of some names, with the line; else name the source."""
        inside = [*self.path.glob("*.yaml"), *self.path.glob("*/*.yaml")]  # not a file
        for file in sorted(inside) or [self.path]:
            for number, line in enumerate(_text(file).splitlines(), start=1):
                if any(target in line for target in names.values()):
                    return f"{file}, line {number}"
        return str(self.path)


def untrusted(request: Request) -> list[ConfigSource]:
    """List what a request reads from folders that are not trusted."""
    folders = [] if request.config_dir is None else [request.config_dir]
    configured = {
        Path(folder): Path(folder) for folder in (*folders, *_searched(request.overrides))
    }
    studies = {file: file.parent for file in request.files if not trust.is_trusted(file)}
    return [
        ConfigSource(path, folder)
        for path, place in (configured | studies).items()
        if not trust.is_trusted((folder := trust.folder_of(place, below=False)).file)
    ]


def require_before_composing(hydra: Hydra, request: Request) -> None:
    """Check what may run as soon as Hydra composes, since it imports packages to search them.

    Raises:
        UntrustedError: An untrusted study sets one of Hydra's settings, or an untrusted
            configuration or request makes it search a place.
    """
    sources = {source.path: source for source in untrusted(request)}
    told: dict[ConfigSource, list[str]] = {}
    if settings := _settings(request):
        what = f"sets {', '.join(settings)}, which can run anything"
        told |= {sources[file]: [what] for file in request.files if file in sources}
    for folder in _searched(request.overrides):
        if (source := sources.get(Path(folder))) is not None:
            told[source] = ["would be searched for configurations (hydra.searchpath)"]
    own = None if request.config_dir is None else sources.get(Path(request.config_dir))
    if own is not None and _search_path(hydra, request):
        told[own] = [f"sets hydra.searchpath in {request.config_name}"]
    if told:
        _settle(told, request)


def _settings(request: Request) -> list[str]:
    """List the Hydra settings that a request's cells make, apart from typed ones."""
    typed = _set_by(request.overrides)
    every = dict.fromkeys(o for cell in request.cells or () for o in cell.overrides)
    found = _set_by(override for override in every if _is_hydras(override))
    return [name for name, values in found.items() if values - typed.get(name, set())]


def require_trusted(
    cells: Sequence[Cell], composer: Composer, request: Request, sources: Sequence[ConfigSource]
) -> None:
    """Check what cells would run.

    Args:
        cells: The cells, their overrides ready for Hydra.
        composer: Composes them.
        request: The request.
        sources: What it reads from folders that are not trusted.

    Raises:
        UntrustedError: A file names something to run; all such files are listed.
    """
    typed = _set_by(request.overrides)
    names: dict[str, str] = {}
    settings: dict[str, None] = {}
    for cell in cells:
        try:
            contents = resolved(composer.contents(cell.overrides))
            part = composer.hydra_part(cell.overrides)
        except AblateError:  # resolving will report it
            continue
        found = trust.named(contents)
        names |= {n: target for n, target in found.items() if target not in typed.get(n, ())}
        own = tuple(o for o in request.overrides if o.startswith("hydra/"))
        settings |= dict.fromkeys(f"hydra.{name}" for name in _foreign(part, own))
    what = [f"names {trust.told(names)} to run"] if names else []
    what += [f"sets {', '.join(settings)}, which can run anything"] if settings else []
    if what:
        told = {s: what for s in sources if s.naming(names) != str(s.path)} if names else {}
        _settle(told or dict.fromkeys(sources, what), request, sources, names)


def _settle(
    told: Mapping[ConfigSource, Sequence[str]],
    request: Request,
    sources: Iterable[ConfigSource] = (),
    names: Names | None = None,
) -> None:
    """Trust sources from now on if the request says so; otherwise refuse them."""
    every = list(dict.fromkeys([*told, *sources]))
    if request.trust:
        trust.remember(source.folder for source in every)
        return
    folders = [source.folder for source in every]
    raise trust.UntrustedError(
        *(
            trust.refusal(source.naming(names or {}), " and ".join(what), folders)
            for source, what in told.items()
        )
    )


# -- what is typed ---------------------------------------------------------------------------------


def _set_by(overrides: Iterable[str]) -> dict[str, set[str]]:
    """List what overrides set to something that may be run: name -> values."""
    found: dict[str, set[str]] = {}
    for text in overrides:
        if "_target_" not in text and not _is_hydras(text):
            continue
        try:
            override = OverridesParser.create().parse_override(text)
            values = [_plain(value) for value in values_of(override)]
        except (HydraException, ValueError, RecursionError):  # the check will report it
            continue
        name = override.key_or_group
        for value in values:
            inside = trust.named({name: value})
            for key, target in inside.items() or [(name, str(value))]:
                found.setdefault(key, set()).add(target)
    return found


def _plain(value: Any) -> Any:
    """Undo the quotes of Hydra's grammar, inside dictionaries too."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _is_hydras(override: str) -> bool:
    """Tell whether an override sets, or may add to, Hydra's own part."""
    return "hydra" in override.partition("=")[0]


def _searched(overrides: Iterable[str]) -> list[str]:
    """List the folders that overrides make Hydra search. A typed package is trusted."""
    folders = []
    for text in overrides:
        if "hydra.searchpath" in text:
            try:
                value = _plain(OverridesParser.create().parse_override(text).value())
            except HydraException:  # the check will report it
                continue
            entries = [str(entry) for entry in value] if isinstance(value, list) else []
            plain = [entry.removeprefix("file://") for entry in entries]
            folders += [entry for entry in plain if "://" not in entry]
    return folders


# -- what a configuration sets of Hydra's ----------------------------------------------------------


def _search_path(hydra: Hydra, request: Request) -> bool:
    """Tell whether the primary configuration makes Hydra search more; it is read, not composed."""
    try:
        found = hydra.config_loader.repository.load_config(request.config_name)  # type: ignore[attr-defined]
        return found is not None and bool(OmegaConf.select(found.config, "hydra.searchpath"))
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeError):
        # composing will report it
        return False


def _foreign(part: Mapping[str, Any], overrides: tuple[str, ...]) -> list[str]:
    """List what in Hydra's part is neither ours nor Hydra's default."""
    mine = _running(part)
    usual = [_shipped(name, overrides) for name in ("config", None)]
    return [name for name in _RUNS if all(mine[name] != other.get(name, ()) for other in usual)]


@cache
def _shipped(config: str | None, overrides: tuple[str, ...]) -> Mapping[str, Any]:
    """Compose Hydra's part only from what is shipped and what is typed."""
    loader = ConfigLoaderImpl(config_search_path=create_config_search_path(str(files.CONF)))
    try:
        cfg = loader.load_configuration(config, list(overrides), RunMode.RUN)
    except (HydraException, OmegaConfBaseException):  # an option that is not shipped
        return {}
    part = OmegaConf.to_container(cfg.hydra, enum_to_str=True)
    assert isinstance(part, dict), "Hydra's own part is a mapping"
    return _running({str(name): value for name, value in part.items()})


def _running(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part["job"][name] if name == "env_set" else part[name] for name in _RUNS}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:_LARGEST]
    except OSError:
        return ""
