"""Where files of data lie: the user's folder of data, and this project's folder in the cache."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Return this project's folder in the user's cache.

    Raises:
        RuntimeError: The user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablate"


def home(root: object) -> Path:
    """Return the folder of data: `data.root`, else ABLATE_DATA, else the user's cache folder.

    Args:
        root: The value of `data.root`; a folder called 2024 is given as a number.
    """
    if root is not None:
        return Path(os.path.expanduser(str(root)))
    if os.environ.get("ABLATE_DATA"):
        return Path(os.path.expanduser(os.environ["ABLATE_DATA"]))
    return user_cache()
