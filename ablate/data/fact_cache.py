"""Caches the facts about a data set that planning needs, from one command to the next.

Planning needs the data's digest, the shape of the images, the classes and the number of images.
Reading these from many files takes seconds, so they are kept in `facts.json` in the user's cache
folder, with the state of the files. While that state is the same, no image is read until a run
trains; `ablate.data.load` then checks the digest of the images that it reads.

The cache may be deleted at any time. If it is damaged or cannot be written, the files are read.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.data import image_cache
from ablate.data.content_split import ClassCount, class_counts
from ablate.data.file_state import FileState
from ablate.data.places import user_cache
from ablate.data.reading import Selection, reading, selection
from ablate.data.reading import forget as forget_read
from ablate.data.source import Source

_MOST = 200  # entries to keep; the oldest are dropped
_NAMED = 20  # up to so many files, each one's state is kept too, to name those that change


@dataclass(frozen=True)
class Facts:
    """The facts about a data set that planning needs.

    Attributes:
        digest: `Source.digest`.
        shape: Channels, height and width of an image.
        classes: Names of the classes, in the order of their labels.
        counts: Part -> number of its images, for the parts that the files define.
        by_class: Images of each class in ``train``; empty if splits do not go by content.
        notes: `Source.notes`.
    """

    digest: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    by_class: tuple[ClassCount, ...] = ()
    notes: tuple[str, ...] = ()


def facts_of(source: Source) -> Facts:
    """Return the facts about a data set that was read."""
    counts = {name: len(part.labels) for name, part in source.parts.items()}
    whole = source.parts["train"]
    by_class = () if whole.content is None else class_counts(whole, len(source.classes))
    return Facts(source.digest, source.shape, source.classes, counts, by_class, source.notes)


def facts(config: Mapping[str, Any]) -> Facts:
    """Look up the facts about a data set; read it if they are unknown, or if its files changed.

    A data set of the user's own class is always read, since its files are not known. Notes on how
    it was read are printed on standard error, once per process.

    Args:
        config: The `data` part of a configuration.

    Raises:
        AblateError: Files are damaged, or are not what the data set needs.
        DownloadError: Files are missing and could not be downloaded.
    """
    return _facts(selection(config))


@lru_cache(maxsize=64)
def _facts(wanted: Selection) -> Facts:
    found = _looked_up(wanted)
    for note in found.notes:
        print(f"ablate: {note}", file=sys.stderr)
    return found


def _looked_up(wanted: Selection) -> Facts:
    state = wanted.state()
    if state is not None and (known := _known(wanted, state)) is not None:
        return known
    found = reading(wanted)
    facts = facts_of(found.source)
    if found.state is not None:
        _keep(_name(wanted, found.state), found.state, facts)
    return facts


def planned_state(wanted: Selection) -> FileState | None:
    """Look up the files' state when a selection was last planned; None if not known."""
    if wanted.dataset.kept:
        found = image_cache.noted(wanted.short)
        return None if found is None else found.state
    now = wanted.state()
    entry = None if now is None else _entries().get(_name(wanted, now))
    files = entry.get("files") if isinstance(entry, dict) else None
    return replace(now, files=files) if now is not None and isinstance(files, dict) else None


def drop(config: Mapping[str, Any]) -> None:
    """Drop facts about a data set that turned out to be wrong.

    Args:
        config: The `data` part of a configuration.
    """
    wanted = selection(config)
    state, entries = wanted.state(), _entries()
    _facts.cache_clear()
    if reading(wanted).state != state:
        forget_read(wanted)  # it was read before the files changed
    if state is not None and entries.pop(_name(wanted, state), None) is not None:
        _write(entries)


def forget() -> None:
    """Forget everything that this process has read: files may have changed since."""
    forget_read()
    _facts.cache_clear()


# -- the file --------------------------------------------------------------------------------------


def _name(wanted: Selection, state: FileState) -> str:
    return " ".join([wanted.name, wanted.settings, state.place])


def _known(wanted: Selection, state: FileState) -> Facts | None:
    entry = _entries().get(_name(wanted, state))
    if not isinstance(entry, dict) or entry.get("state") != state.digest:
        return None
    try:
        return _checked(**entry["facts"])
    except (KeyError, TypeError, ValueError):
        return None


def _keep(name: str, state: FileState, facts: Facts) -> None:
    """Replace outdated facts; store new ones only if later changes of the files will be seen."""
    entries = _entries()
    outdated = entries.pop(name, None) is not None
    if state.settled:
        entries[name] = {"place": state.place, "state": state.digest, "facts": asdict(facts)}
        if len(state.files) <= _NAMED:
            entries[name]["files"] = dict(state.files)
    if state.settled or outdated:
        _write(entries)


def _checked(
    digest: object, shape: Any, classes: object, counts: Any, by_class: Any, notes: Any
) -> Facts:
    """Convert an entry of the file, which may hold anything, to facts.

    Raises:
        TypeError: The entry is damaged.
        ValueError: The entry is damaged.
    """
    channels, height, width = (int(size) for size in shape)
    sizes = {str(part): int(count) for part, count in dict(counts).items()}
    if not isinstance(digest, str) or not isinstance(classes, list) or "train" not in sizes:
        raise ValueError("the entry is damaged")
    each = tuple(ClassCount(int(c["images"]), int(c["single"])) for c in by_class)
    told = tuple(map(str, notes))
    return Facts(digest, (channels, height, width), tuple(map(str, classes)), sizes, each, told)


def _entries() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError):  # RuntimeError: the user has no home
        return {}
    return found if isinstance(found, dict) else {}


def _write(entries: Mapping[str, Any]) -> None:
    """Replace the file, dropping entries whose files are gone.

    If two processes write at once, one entry may be lost; those facts are then read again later.
    """
    from ablate.record import write_json  # here, since most commands only look facts up

    kept = {name: entry for name, entry in entries.items() if _is_there(entry)}
    with suppress(OSError, RuntimeError, UnicodeError):  # a file's name may not be valid Unicode
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(list(kept.items())[-_MOST:]))


def _is_there(entry: Any) -> bool:
    place = entry.get("place") if isinstance(entry, dict) else None
    return isinstance(place, str) and os.path.exists(place)


def _file() -> Path:
    return user_cache() / "facts.json"
