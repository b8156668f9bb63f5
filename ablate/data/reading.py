"""Reads data sets, each once; what is missing of a published one is downloaded first."""

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
    """What of a configuration decides which images are read.

    Attributes:
        name: The data set's name.
        root: The directory of its files.
        place: The same, absolute: a relative path is another place in another working directory.
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
        """Give the state of the files; None where they are not known, or not all there.

        Raises:
            AblateError: They do not lie as the data set needs them.
        """
        files = self.dataset.files
        return None if files is None else file_state(files(self.root))


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        source: The images and labels.
        state: The state of their files just before; None where it is not known.
    """

    source: Source
    state: FileState | None


def user_cache() -> Path:
    """Find this project's folder in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablate"


def home(root: str | None) -> Path:
    """Find where data lie: `data.root`, else ABLATE_DATA, else the user's cache folder."""
    if root is not None:
        return Path(os.path.expanduser(root))
    if os.environ.get("ABLATE_DATA"):
        return Path(os.path.expanduser(os.environ["ABLATE_DATA"]))
    return user_cache()


def selection(config: Mapping[str, Any]) -> Selection:
    """Pick what decides which images are read.

    Args:
        config: The `data` part of a configuration.
    """
    name, root = config["name"], home(config.get("root"))
    settings = {setting: config.get(setting) for setting in DATASETS[name].settings}
    settings |= schema.arguments({"data": config}, "data")
    return Selection(name, root, root.absolute(), json.dumps(settings, sort_keys=True))


def read(config: Mapping[str, Any]) -> Source:
    """Read a data set; a published one that is not there is downloaded first.

    Args:
        config: The `data` part of a configuration.

    Raises:
        AblateError: Files are damaged or are not what is needed.
        DownloadError: Files are missing and could not be fetched.
    """
    return reading(selection(config)).source


@lru_cache(maxsize=4)
def reading(wanted: Selection) -> Reading:
    """Read what is selected, as `read` does."""
    dataset, root = wanted.dataset, wanted.root
    if dataset.published is not None and root.exists() and not root.is_dir():
        raise AblateError(f"data.root={root} is a file: the directory of the data is needed")
    if dataset.missing(root):
        fetch.download(dataset, root)
    # Asked for before the files are read: of a file that changes meanwhile it is then out of date.
    state = wanted.state()
    return Reading(dataset.read(root, json.loads(wanted.settings)), state)


def is_at_hand(config: Mapping[str, Any]) -> bool:
    """Tell whether reading a data set downloads nothing.

    Args:
        config: The `data` part of a configuration.
    """
    return not DATASETS[config["name"]].missing(home(config.get("root")))
