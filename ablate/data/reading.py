"""Reads data sets, each once; missing files of a published one are downloaded first."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.config import schema
from ablate.data import fetch
from ablate.data.dataset import Dataset
from ablate.data.file_state import FileState, file_state
from ablate.data.registry import DATASETS
from ablate.data.source import Source
from ablate.errors import AblateError


@dataclass(frozen=True)
class Selection:
    """The part of a configuration that decides which images are read.

    Attributes:
        name: The data set's name.
        root: The directory of its files.
        place: The absolute path of `root`, since a relative one depends on the working directory.
        settings: The values of `Dataset.settings`, and the arguments of a user's own class, as
            JSON.
    """

    name: str
    root: Path
    place: Path
    settings: str

    @property
    def dataset(self) -> Dataset:
        """The data set."""
        return DATASETS[self.name]

    def state(self) -> FileState | None:
        """Return the state of the files; None if they are not known, or some are missing.

        Raises:
            AblateError: The files are not arranged as the data set needs.
        """
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


def user_cache() -> Path:
    """Return this project's folder in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablate"


def home(root: str | None) -> Path:
    """Return the folder of data: `data.root`, else ABLATE_DATA, else the user's cache folder."""
    if root is not None:
        return Path(os.path.expanduser(root))
    if os.environ.get("ABLATE_DATA"):
        return Path(os.path.expanduser(os.environ["ABLATE_DATA"]))
    return user_cache()


def selection(config: Mapping[str, Any]) -> Selection:
    """Select the part of a configuration that decides which images are read.

    Args:
        config: The `data` part of a configuration.
    """
    name, root = config["name"], home(config.get("root"))
    settings = {setting: config.get(setting) for setting in DATASETS[name].settings}
    settings |= schema.arguments({"data": config}, "data")
    return Selection(name, root, root.absolute(), json.dumps(settings, sort_keys=True))


def read(config: Mapping[str, Any]) -> Source:
    """Read a data set; if files of a published set are missing, download them first.

    Args:
        config: The `data` part of a configuration.

    Raises:
        AblateError: Files are damaged, or are not what the data set needs.
        DownloadError: Files are missing and could not be downloaded.
    """
    return reading(selection(config)).source


@lru_cache(maxsize=4)
def reading(wanted: Selection) -> Reading:
    """Read a selection, as `read` does, and keep it."""
    dataset, root = wanted.dataset, wanted.root
    if dataset.published is not None and root.exists() and not root.is_dir():
        raise AblateError(f"data.root={root} is a file, but must be the directory of the data")
    if dataset.missing(root):
        fetch.download(dataset, root)
    # Take the state before reading: if a file changes meanwhile, the state is then out of date.
    state = wanted.state()
    return Reading(dataset.read(root, json.loads(wanted.settings)), state)


def is_at_hand(config: Mapping[str, Any]) -> bool:
    """Tell whether a data set can be read without downloading.

    Args:
        config: The `data` part of a configuration.
    """
    return not DATASETS[config["name"]].missing(home(config.get("root")))
