"""Where data files are: the user's data folder, and this project's folder in the cache."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path


def user_cache() -> Path:
    """Return this project's folder in the user's cache.

    Raises:
        RuntimeError: The user has no home directory.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablate"


def home(root: object) -> Path:
    """Return the data folder: `data.root`, else ABLATE_DATA, else the user's cache folder.

    Args:
        root: The value of `data.root`; a folder called 2024 is given as a number.
    """
    if root is not None:
        return Path(os.path.expanduser(str(root)))
    if os.environ.get("ABLATE_DATA"):
        return Path(os.path.expanduser(os.environ["ABLATE_DATA"]))
    return user_cache()


def unfinished(folder: Path, prefix: str) -> Path:
    """Make a folder for unfinished work, and delete those that killed processes left behind.

    Args:
        folder: The parent folder.
        prefix: The beginning of its name; the machine and the process follow.

    Raises:
        OSError: It cannot be made.
    """
    here = f"{prefix}{platform.node()}-"
    for old in folder.glob(f"{here}*"):
        pid = old.name.removeprefix(here).partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{here}{os.getpid()}-", dir=folder))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
