"""Reads data sets, each once; missing files of a published one are downloaded first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.config import schema
from ablate.data import fetch, image_cache
from ablate.data.dataset import Dataset
from ablate.data.file_state import FileState, file_state
from ablate.data.places import home
from ablate.data.registry import DATASETS
from ablate.data.source import Source, rights_told
from ablate.errors import AblateError

DEFAULT_GB = 50  # for callers without a whole configuration


@dataclass(frozen=True)
class Selection:
    """The part of a configuration that decides which images are read.

    Attributes:
        name: The data set's name.
        root: The directory of its files.
        place: The absolute path of `root`, since a relative one depends on the working directory.
        settings: The values of `Dataset.settings`, and the arguments of a user's own class, as
            JSON.
        limit: The most bytes that the cache of decoded images may take.
    """

    name: str
    root: Path
    place: Path
    settings: str
    limit: int = field(default=0, compare=False)

    @property
    def short(self) -> str:
        """A name that is safe as a file name."""
        text = "\0".join((self.name, str(self.place), self.settings))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def dataset(self) -> Dataset:
        """The data set."""
        return DATASETS[self.name]

    def state(self) -> FileState | None:
        """Return the state of the files; None if they are not known, or some are missing.

        Raises:
            AblateError: The files are not laid out as the data set needs.
        """
        with rights_told():
            if self.dataset.listed is not None:
                return file_state(self.dataset.listed(self.root, json.loads(self.settings)))
            files = self.dataset.files
            return None if files is None else file_state(files(self.root))


@dataclass(frozen=True)
class Reading:
    """A data set that was read.

    Attributes:
        source: The images and labels.
        state: The state of the files just before reading; None if it is not known.
    """

    source: Source
    state: FileState | None


def selection(config: Mapping[str, Any]) -> Selection:
    """Select the part of a configuration that decides which images are read.

    Args:
        config: The `data` part of a configuration.
    """
    name, root = config["name"], home(config.get("root"))
    settings = {setting: config.get(setting) for setting in DATASETS[name].settings}
    settings |= schema.arguments({"data": config}, "data")
    limit = image_cache.GB * int(config.get("cache_gb", DEFAULT_GB))
    text = json.dumps(settings, sort_keys=True)
    return Selection(name, root, root.absolute(), text, limit)


def read(config: Mapping[str, Any]) -> Source:
    """Read a data set; if files of a published set are missing, download them first.

    Args:
        config: The `data` part of a configuration.

    Raises:
        AblateError: Files are damaged, or are not what the data set needs.
        DownloadError: Files are missing and could not be downloaded.
    """
    return reading(selection(config)).source


_READ: dict[Selection, Reading] = {}  # the most recently used
_MOST = 4


def reading(wanted: Selection, digest: str | None = None) -> Reading:
    """Read a selection, as `read` does, and remember it.

    Args:
        wanted: The selection.
        digest: The digest of the images, if known: if the cache has them, the user's files are not
            read.
    """
    with rights_told():
        found = _READ.pop(wanted, None) or _found(wanted, digest)
    _READ[wanted] = found
    for oldest in list(_READ)[:-_MOST]:
        del _READ[oldest]
    return found


def forget(wanted: Selection | None = None) -> None:
    """Forget what this process has read: one selection, or everything."""
    for known in [wanted] if wanted is not None else list(_READ):
        _READ.pop(known, None)


def _found(wanted: Selection, digest: str | None) -> Reading:
    dataset, root = wanted.dataset, wanted.root
    if dataset.published is not None and root.exists() and not root.is_dir():
        raise AblateError(f"data.root={root} is a file, but must be the directory of the data")
    if dataset.missing(root):
        fetch.download(dataset, root)
    if not dataset.kept or not wanted.limit:
        # Take the state before reading, so that it is out of date if a file changes meanwhile.
        state = wanted.state()
        room = (image_cache.Room(0),) if dataset.kept else ()
        return Reading(dataset.read(root, json.loads(wanted.settings), *room), state)
    known = None if digest is None else image_cache.noted(wanted.short)
    if known is not None and known.digest == digest and (source := known.source) is not None:
        return Reading(source, known.state)
    noted, state = image_cache.noted(wanted.short), wanted.state()
    if (kept := _kept(wanted, state)) is not None:
        return kept
    with image_cache.held(wanted.short):
        if image_cache.noted(wanted.short) != noted:  # another process has decoded them meanwhile
            state = wanted.state()
            if (kept := _kept(wanted, state)) is not None:
                return kept
        return _decoded(wanted, state)


def _kept(wanted: Selection, state: FileState | None) -> Reading | None:
    """Look up a selection in the cache; None if its files have changed."""
    known = image_cache.noted(wanted.short)
    same = known is not None and state is not None and state.settled and state == known.state
    if known is not None and same and (source := known.source) is not None:
        return Reading(source, state)
    return None


def _decoded(wanted: Selection, state: FileState | None) -> Reading:
    with image_cache.room(wanted.limit) as room:
        source = room.keep(wanted.dataset.read(wanted.root, json.loads(wanted.settings), room))
    image_cache.note(wanted.short, source, state)
    return Reading(source, state)


def is_at_hand(config: Mapping[str, Any]) -> bool:
    """Tell whether a data set can be read without downloading.

    Args:
        config: The `data` part of a configuration.
    """
    with rights_told():
        return not DATASETS[config["name"]].missing(home(config.get("root")))
