"""Where another process must import from to find the same modules."""

from __future__ import annotations

import os
import sys


def python_path() -> str:
    """List where this process imports from besides its installation, as PYTHONPATH."""
    own = (sys.prefix, os.path.join(sys.base_prefix, "lib"))
    paths = [os.path.abspath(path) for path in sys.path if path]
    return os.pathsep.join(dict.fromkeys(path for path in paths if not path.startswith(own)))
