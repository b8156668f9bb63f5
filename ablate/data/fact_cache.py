"""What planning needs to know of a data set, kept from one command to the next.

A plan is made of the data's digest, the shape of the images, the classes and how many images there
are. To learn these from the files takes seconds where there are many, so they are kept in
`facts.json` in the user's cache folder, with the state of the files that they were read from. While
that state is the same, no image is read until a run trains; `ablate.data.load` then compares the
digest of what it really reads.

The cache may be deleted at any time. What is damaged in it, or cannot be written, costs a reading.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.data.file_state import FileState
from ablate.data.reading import Selection, reading, selection, user_cache
from ablate.data.source import Source

_MOST = 200  # entries that are kept, the latest


@dataclass(frozen=True)
class Facts:
    """What is known of a data set without its images.

    Attributes:
        digest: `Source.digest`.
        shape: Channels, height and width of an image.
        classes: Names of the classes, in the order of their labels.
        counts: Number of images in each part that the files fix.
    """

    digest: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    counts: Mapping[str, int]


def facts_of(source: Source) -> Facts:
    """Take the facts from a data set that was read."""
    counts = {name: len(part.labels) for name, part in source.parts.items()}
    return Facts(source.digest, source.shape, source.classes, counts)


def facts(config: Mapping[str, Any]) -> Facts:
    """Look up what is known of a data set; read it where nothing is, or its files have changed.

    A data set of the user's own class is always read: nobody knows what it is made from.

    Args:
        config: The `data` part of a configuration.

    Raises:
        AblateError: Files are damaged or are not what is needed.
        DownloadError: Files are missing and could not be fetched.
    """
    return _facts(selection(config))


@lru_cache(maxsize=64)
def _facts(wanted: Selection) -> Facts:
    state = wanted.state()
    if state is not None and (known := _known(wanted, state)) is not None:
        return known
    found = reading(wanted)
    facts = facts_of(found.source)
    if found.state is not None:
        _keep(_name(wanted, found.state), found.state, facts)
    return facts


def drop(config: Mapping[str, Any]) -> None:
    """Drop what is known of a data set, which has turned out to be wrong.

    Args:
        config: The `data` part of a configuration.
    """
    wanted = selection(config)
    state, entries = wanted.state(), _entries()
    _facts.cache_clear()
    if reading(wanted).state != state:
        reading.cache_clear()  # it was read before the files changed
    if state is not None and entries.pop(_name(wanted, state), None) is not None:
        _write(entries)


def forget() -> None:
    """Forget what this process has read: files may have changed since the last request."""
    reading.cache_clear()
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
    """Put facts in the place of outdated ones, unless their files may yet change unnoticed."""
    entries = _entries()
    outdated = entries.pop(name, None) is not None
    if state.settled:
        entries[name] = {"place": state.place, "state": state.digest, "facts": asdict(facts)}
    if state.settled or outdated:
        _write(entries)


def _checked(digest: object, shape: Any, classes: object, counts: Any) -> Facts:
    """Make facts of what a file says, whatever it says."""
    channels, height, width = (int(size) for size in shape)
    sizes = {str(part): int(count) for part, count in dict(counts).items()}
    if not isinstance(digest, str) or not isinstance(classes, list) or "train" not in sizes:
        raise ValueError("the entry is damaged")
    return Facts(digest, (channels, height, width), tuple(map(str, classes)), sizes)


def _entries() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError):  # RuntimeError: the user has no home
        return {}
    return found if isinstance(found, dict) else {}


def _write(entries: Mapping[str, Any]) -> None:
    """Replace the file, leaving out entries whose files are gone.

    Where two processes write at once, the entry of one may be lost, and is read anew another time.
    """
    from ablate.record import write_json  # a lookup, which starts most commands, does without

    kept = {name: entry for name, entry in entries.items() if _is_there(entry)}
    with suppress(OSError, RuntimeError, UnicodeError):  # a name of a file may be no text
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(list(kept.items())[-_MOST:]))


def _is_there(entry: Any) -> bool:
    place = entry.get("place") if isinstance(entry, dict) else None
    return isinstance(place, str) and os.path.exists(place)


def _file() -> Path:
    return user_cache() / "facts.json"
