"""Data sets: where they lie, how they are read, and how they are split."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.config import schema
from ablate.config.targets import locate
from ablate.data import cifar, digits, fetch, folder, idx, own, svhn
from ablate.data.source import Part, Source
from ablate.data.splits import Sizes, sizes, split
from ablate.errors import AblateError

__all__ = [
    "Part",
    "Sizes",
    "Source",
    "arguments",
    "forget",
    "home",
    "present",
    "read",
    "sizes",
    "split",
]

FETCHED = (*idx.FOLDERS, *cifar.LAYOUTS, "svhn")


def home(root: str | None) -> Path:
    """Find where data lie: `data.root`, else ABLATE_DATA, else the user's cache folder."""
    if root is not None:
        return Path(os.path.expanduser(root))
    if os.environ.get("ABLATE_DATA"):
        return Path(os.path.expanduser(os.environ["ABLATE_DATA"]))
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ablate"


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the values that a user's own class gets: those that are no knob of this project."""
    return {key: value for key, value in config.items() if f"data.{key}" not in schema.BY_NAME}


def read(config: Mapping[str, Any]) -> Source:
    """Read a data set; a shipped one that is not there is downloaded first.

    Args:
        config: The `data` part of a configuration.

    Raises:
        AblateError: Files are damaged or are not what is needed.
        DownloadError: Files are missing and could not be fetched.
    """
    root = home(config.get("root"))
    wanted = {
        "name": config["name"],
        "root": str(root),
        "place": str(root.absolute()),  # the same name is another place in another directory
        "image_size": config.get("image_size") if config["name"] == "folder" else None,
        "_target_": config.get("_target_"),
        "arguments": arguments(config),
    }
    return _read(json.dumps(wanted, sort_keys=True))


@lru_cache(maxsize=4)
def _read(wanted: str) -> Source:
    values = json.loads(wanted)
    name, root = values["name"], Path(values["root"])
    if name == "digits":
        return digits.read()
    if name == "folder":
        return folder.read(root, values["image_size"])
    if name == "custom":
        return own.read(locate(values["_target_"], "data._target_"), values["arguments"], root)
    if root.exists() and not root.is_dir():
        raise AblateError(f"data.root={root} is a file: the directory of the data is needed")
    if not present(name, root):
        fetch.download(name, root)
    if name in idx.FOLDERS:
        return idx.read(name, root)
    return cifar.read(name, root) if name in cifar.LAYOUTS else svhn.read(root)


def forget() -> None:
    """Forget what was read: files may have changed since the last request."""
    _read.cache_clear()


def present(name: str, root: Path) -> bool:
    """Tell whether a downloadable data set is there."""
    if name in idx.FOLDERS:
        return idx.present(name, root)
    return cifar.present(name, root) if name in cifar.LAYOUTS else svhn.present(root)
