"""The user's own code that a run uses, as digests: sources, named files, installed packages.

It is part of the run's key, so that a run whose class, helper module or weights file was edited is
trained again. A run that uses none of the user's code has none. A user's data set counts by its
images instead.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate import record
from ablate.config import schema
from ablate.errors import AblateError
from ablate.plan import imports, notebook


def forget() -> None:
    """Forget what this process has read: files may have appeared, gone or changed since."""
    imports.forget()
    _sources.cache_clear()
    _KNOWN.clear()


def code_of(config: Mapping[str, Any]) -> record.Code | None:
    """Digest the user's own code that a run uses; None if there is none.

    Names do not depend on where files lie: ``package/module.py`` for sources, ``__main__.name`` for
    what a notebook defines, and for files that a knob names, the name it gives.

    Args:
        config: A resolved configuration.
    """
    targets, named = _named(config)
    if not targets:
        return None
    found = _sources(targets)
    files = {label: _digest(path) for label, path in found.files.items()}
    files |= {label: imports.digest_of(text.encode()) for label, text in found.cells.items()}
    files |= {text: _digest(path) for text, path in named.items()}
    return {"files": dict(sorted(files.items())), "packages": dict(sorted(found.packages.items()))}


def sources(config: Mapping[str, Any]) -> dict[str, Path | str]:
    """Find the user's own sources that a run uses, by name, including those of its data set.

    Files that a knob names are left out: weights are large, and their digest identifies them.

    Returns:
        Name -> the file; for what a notebook defines, the source itself.
    """
    targets = (*_named(config)[0], *filter(None, [schema.targets(config).get("data")]))
    if not targets:
        return {}
    found = _sources(targets)
    return {**found.files, **found.cells}


def require_loaded(config: Mapping[str, Any], planned: record.Code | None) -> None:
    """Check that this process has imported what is now in the files.

    In a notebook, an edited module stays as it was imported.

    Args:
        config: A resolved configuration; what it names is imported.
        planned: As `code_of` returned it.

    Raises:
        AblateError: A module was edited since this process first trained with it.
    """
    if planned is None:
        return
    found, stale = _sources(_named(config)[0]), []
    for label, name in found.modules.items():
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is None:  # not imported yet, or a script
            continue
        loaded, before = _LOADED.setdefault(name, (spec, planned["files"][label]))
        if loaded is not spec:  # importlib.reload gives a new one
            _LOADED[name] = (spec, planned["files"][label])
        elif before != planned["files"][label]:
            stale.append((label, name))
    if stale:
        raise AblateError(
            *(
                f"{label} was edited, but this process still runs it as it was imported: restart it"
                f" (a notebook's kernel), or importlib.reload({name})"
                for label, name in stale
            )
        )
    _CHECKED.add(json.dumps(planned))


def require_as_planned(config: Mapping[str, Any], planned: record.Code | None) -> None:
    """Check that a run is about to train on the code that its key was computed from.

    Sources are compared before a process imports them, and may be edited while it trains. Files
    that knobs name are compared for each run, since each reads them.

    Raises:
        AblateError: A file was edited, or a package changed, after the run was planned.
    """
    if planned is None:
        return
    written = json.dumps(planned)
    if written in _CHECKED:
        named = {text: _digest(path) for text, path in _named(config)[1].items()}
        now: record.Code | None = {**planned, "files": {**planned["files"], **named}}
    else:
        now = code_of(config)
    if changes := differences(planned, now):
        raise AblateError(
            f"{'; '.join(changes)}: that was after this run was planned, so it would be recorded"
            " under a wrong key; run the command again"
        )
    _CHECKED.add(written)


def differences(before: record.Code | None, now: record.Code | None) -> list[str]:
    """Say what differs in the user's own code: edited files, versions of packages, ...

    Args:
        before: As `code_of` returned it.
        now: The same, later or elsewhere.
    """
    old, new = before or _NOTHING, now or _NOTHING
    files = [
        f"{name} {_change(name, old['files'], new['files'])}"
        for name in dict.fromkeys([*old["files"], *new["files"]])
        if old["files"].get(name) != new["files"].get(name)
    ]
    packages = [
        f"{name} {old['packages'].get(name, 'none')} → {new['packages'].get(name, 'none')}"
        for name in dict.fromkeys([*old["packages"], *new["packages"]])
        if old["packages"].get(name) != new["packages"].get(name)
    ]
    return files + packages


def _change(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    if name in old and name in new:
        return "was edited"
    return "is new" if name in new else "is no longer used"


_NOTHING: record.Code = {"files": {}, "packages": {}}

# Module -> its spec when it was first used in training, and its file's digest at that time.
_LOADED: dict[str, tuple[Any, str]] = {}

# What this process has imported, in its planned form.
_CHECKED = set[str]()


# -- what a configuration names --------------------------------------------------------------------


def _named(config: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, Path]]:
    """List the targets and files that a configuration names, except its data set."""
    own = {slot: target for slot, target in schema.targets(config).items() if slot != "data"}
    targets, files = list(own.values()), dict[str, Path]()
    for slot in own:
        for name, text in _texts(schema.arguments(config, slot)):
            if name == "_target_":
                targets.append(text)
            elif (path := _file(text)) is not None:
                files[text] = path
    return tuple(dict.fromkeys(targets)), files


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """List the texts in a value at any depth, each with its name there."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, name)
    elif isinstance(value, str):
        yield name, value


def _file(text: str) -> Path | None:
    """Find the file that a text names, if it names one."""
    try:
        path = Path(text).expanduser()
        return path if text and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long; no such user; a zero byte
        return None


# -- sources ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OwnSources:
    """What targets use.

    Attributes:
        files: Name -> the file.
        cells: Name -> source, for what a notebook defines.
        packages: Installed packages, with their versions.
        modules: Name of a file -> its module.
    """

    files: Mapping[str, Path]
    cells: Mapping[str, str]
    packages: Mapping[str, str]
    modules: Mapping[str, str]


@lru_cache(maxsize=1024)
def _sources(targets: tuple[str, ...]) -> _OwnSources:
    walk, cells = imports.Walk(), dict[str, str]()
    for target in targets:
        if notebook.is_in_a_notebook(target):
            found, modules = notebook.sources(target.split(".")[1])
            cells |= found
            walk.add(*modules)
        else:
            walk.add(target)
    return _OwnSources(walk.files, cells, walk.packages, walk.modules)


_KNOWN: dict[Path, tuple[tuple[int, ...], str]] = {}  # file -> its state, its digest


def _digest(path: Path) -> str:
    """Digest a file; read it again only if its state has changed."""
    found = os.stat(path)
    state = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    known = _KNOWN.get(path)
    if known is None or known[0] != state:
        known = _KNOWN[path] = (state, imports.digest_of_file(path))
    return known[1]
