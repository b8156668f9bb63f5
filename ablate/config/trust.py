"""Which files may name something to run: those in trusted folders, and the user's own records.

A `_target_` is imported and called, so whoever writes one can run anything. Typed on the command
line or in Python, it is the user's own. From a file (a study, a configuration, a record) it runs
only

- if the file lies in a folder that was trusted once, with `--trust`; or
- if it is a record, and this user has trained exactly that on this machine: the same classes, with
  the same arguments, defined in the same places.

Both are kept in the user's configuration folder, not beside results, so whatever is copied,
unpacked or pulled can neither bring them along nor imitate them.
"""

from __future__ import annotations

import hashlib
import json
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from ablate.config import files
from ablate.config.targets import origins
from ablate.errors import AblateError, listed
from ablate.streams import visible

_TRUSTED: Final = "trusted.jsonl"  # folders, one per line
_TRAINED: Final = "trained.txt"  # digests of what was trained, one per line
_LIBRARIES: Final = ("site-packages", "dist-packages")  # where packages are installed
_NESTED: Final = (dict, list, tuple)
_MOST: Final = 3  # names listed in a message

_now: set[Folder] = set()  # trusted in this process if the file cannot be written


class UntrustedError(AblateError):
    """A file names something to run, and nothing says that the user trusts it."""


@dataclass(frozen=True)
class Folder:
    """A folder whose files may name what is run.

    Attributes:
        path: Its real path.
        below: Whether that includes everything below it, as for records, or only files directly in
            it.
    """

    path: str
    below: bool

    def holds(self, file: str) -> bool:
        """Tell whether a file lies in it; its path is the real one."""
        parent = os.path.dirname(file)
        inside = parent == self.path or parent.startswith(os.path.join(self.path, ""))
        return inside if self.below else parent == self.path

    @property
    def file(self) -> Path:
        """Any file directly in it."""
        return Path(self.path, "any.yaml")

    def __str__(self) -> str:
        what = "records" if self.below else "studies and configurations"
        return f"{what} in {self.path}"


def folder_of(path: Path | str, *, below: bool) -> Folder:
    """Make a folder from a path, following links."""
    return Folder(os.path.realpath(path), below)


def user_folder() -> Path:
    """Return this project's folder in the user's configuration."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".config") / "ablate"


# -- what is named ---------------------------------------------------------------------------------


def named(value: Any, path: str = "") -> dict[str, str]:
    """List what a configuration names to run, at any depth: dotted name -> import path.

    Args:
        value: Plain dictionaries and lists; a plan has thousands, so nothing else is looked into.
        path: What the names begin with.
    """
    found: dict[str, str] = {}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        if key == "_target_" and inner is not None:
            found[f"{path}{key}"] = str(inner)
        if isinstance(inner, _NESTED):
            found |= named(inner, f"{path}{key}.")
    return found


def told(names: Mapping[str, str]) -> str:
    """Say what is named: ``mynets.Net (model._target_)``."""
    texts = [f"{target} ({name})" for name, target in list(names.items())[:_MOST]]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(texts) + more


# -- folders ---------------------------------------------------------------------------------------


def is_trusted(file: Path) -> bool:
    """Tell whether a file may name what is run: it is shipped, or its folder was trusted."""
    real = os.path.realpath(file)
    shipped = folder_of(files.CONF, below=True)
    return any(folder.holds(real) for folder in (shipped, *_now, *_trusted()))


def remember(folders: Iterable[Folder]) -> None:
    """Trust folders from now on, and say so on standard error."""
    new = [folder for folder in dict.fromkeys(folders) if folder not in {*_now, *_trusted()}]
    if not new:
        return
    _now.update(new)
    where = f"(noted in {_shown(_TRUSTED)})"
    try:
        _append(_TRUSTED, [json.dumps(asdict(folder)) for folder in new])
    except (OSError, RuntimeError) as error:
        where = f"(this time only, since it cannot be noted: {error})"
    for folder in new:
        print(visible(f"ablate: trusted from now on: {folder} {where}"), file=sys.stderr)


def refusal(file: object, what: str, folders: Sequence[Folder]) -> str:
    """Say that a file is not trusted, and how to trust it.

    Args:
        file: The file, with its line if that is known.
        what: What it does: ``names mynets.Net (model._target_) to run``.
        folders: What would be trusted.
    """
    return (
        f"{file} {what}, and it is not known to be yours: if you trust it, run the same command"
        f" once with --trust (in Python trust=True), which is remembered for"
        f" {listed([str(folder) for folder in folders])}"
    )


def _trusted() -> tuple[Folder, ...]:
    return _folders(*_state(_TRUSTED))


@lru_cache(maxsize=4)
def _folders(file: str, *state: int) -> tuple[Folder, ...]:
    found = []
    for line in _lines(file):
        try:
            entry = json.loads(line)
            found.append(Folder(str(entry["path"]), entry["below"] is True))
        except (ValueError, TypeError, KeyError) as error:
            raise AblateError(f"{file} cannot be read ({error}): fix or delete it") from error
    return tuple(found)


# -- what was trained here -------------------------------------------------------------------------


def require_record(
    folder: Path,
    config: Mapping[str, Any],
    *,
    like: Mapping[str, Any] | None = None,
    above: Path | None = None,
) -> None:
    """Check that what a record names may be run; import nothing.

    Args:
        folder: The folder of the record.
        config: Its configuration.
        like: A configuration checked before; the record may name what it names.
        above: The folder that would be trusted, with all below it; by default the record's.

    Raises:
        UntrustedError: It may not.
    """
    names, file = named(config), folder / "record.json"
    if not names or is_trusted(file):
        return
    if like is not None and _parts(like) == _parts(config):
        return
    parts, places = _digest(_parts(config)), _places(config)
    known = _known(*_state(_TRAINED))
    if f"{parts} {_digest(places)}" in known:
        return
    what = f"names {told(names)} to run"
    if any(line.startswith(f"{parts} ") for line in known):
        if not any(places.values()):  # the import will say that there is no such module
            return
        here = listed([place or "nowhere" for place in places.values()])
        what += f" (you trained it with code from elsewhere; from here it would be {here})"
    raise UntrustedError(refusal(file, what, [folder_of(above or folder, below=True)]))


def note_trained(configs: Iterable[Mapping[str, Any]]) -> None:
    """Note what is about to be trained, so that its records may name it."""
    wanted = dict.fromkeys(
        f"{_digest(_parts(config))} {_digest(_places(config))}"
        for config in configs
        if named(config)
    )
    if not wanted:
        return
    known = _known(*_state(_TRAINED))
    try:
        _append(_TRAINED, [line for line in wanted if line not in known])
    except (OSError, RuntimeError) as error:
        print(
            f"ablate: note: {_shown(_TRAINED)} cannot be written ({error}), so `ablate evaluate`"
            " will ask for --trust",
            file=sys.stderr,
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Select the groups that name something: what is made there, with which arguments."""
    groups = {name.partition(".")[0] for name in named(config)}
    # In a record's form, where a tuple is a list.
    parts: dict[str, Any] = json.loads(json.dumps({g: config[g] for g in groups}, sort_keys=True))
    return parts


def _places(config: Mapping[str, Any]) -> dict[str, str | None]:
    return {target: _place(target) for target in named(config).values()}


def _place(target: str) -> str | None:
    """Find where a target would be imported from, without importing it; None if nowhere.

    A user's record may be copied next to another module of that name, which must not run.
    Everything installed counts as one place, since environments are rebuilt.
    """
    found = [os.path.realpath(path) for path in origins(target.partition(".")[0])]
    if not found:
        return None
    return "installed" if all(map(_is_installed, found)) else os.pathsep.join(found)


def _is_installed(file: str) -> bool:
    return any(file.startswith(os.path.join(folder, "")) for folder in _installed())


@cache
def _installed() -> tuple[str, ...]:
    """List the folders of this Python's own modules and packages."""
    folders = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    kept = {os.path.realpath(f) for f in folders if {*_LIBRARIES} & {*Path(f).parts}}
    return (*kept, *(os.path.realpath(sysconfig.get_path(n)) for n in ("stdlib", "platstdlib")))


@lru_cache(maxsize=4)
def _known(file: str, *state: int) -> frozenset[str]:
    return frozenset(_lines(file))


# -- the user's configuration folder ---------------------------------------------------------------


def _state(name: str) -> tuple[str, int, int]:
    """Return a file's name, with what changes when it is written; all zero if it is missing."""
    try:
        file = user_folder() / name
        found = file.stat()
    except (OSError, RuntimeError):  # for example, there is no home
        return name, 0, 0
    return str(file), found.st_mtime_ns, found.st_size


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines() if os.path.isabs(file) else []
    except (OSError, UnicodeError) as error:
        raise AblateError(f"{file} cannot be read ({error}): fix or delete it") from error


def _append(name: str, lines: Sequence[str]) -> None:
    """Append lines in a single write, so that those of two processes do not mix."""
    if not lines:
        return
    folder = user_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(number, "".join(f"{line}\n" for line in lines).encode())
    finally:
        os.close(number)


def _shown(name: str) -> str:
    try:
        return str(user_folder() / name)
    except RuntimeError:
        return name
