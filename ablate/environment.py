"""The machine and the software: devices, versions, threads, commit."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ablate.errors import AblateError
from ablate.record import Environment

_PACKAGES = ("ablate-runner", "torch", "torchvision", "numpy", "hydra-core")


@dataclass(frozen=True)
class Cuda:
    """The CUDA devices of this machine.

    Attributes:
        count: How many torch finds.
        memory: Memory of the smallest one in bytes, or None.
    """

    count: int
    memory: int | None


@cache
def cuda() -> Cuda:
    """Ask torch for CUDA devices, once per process; without a driver torch is not even imported."""
    if not _has_driver():
        return Cuda(0, None)
    # cuBLAS chooses algorithms by the size of its workspace, which torch reads once, at the first
    # product: so set it before, for all runs alike. With deterministic=true some versions of torch
    # refuse to go without.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    if not torch.cuda.is_available():
        return Cuda(0, None)
    count = torch.cuda.device_count()
    return Cuda(count, min(torch.cuda.get_device_properties(n).total_memory for n in range(count)))


def _has_driver() -> bool:
    """Tell whether a GPU driver is installed, without the seconds it takes to import torch."""
    if Path("/dev/kfd").exists():  # AMD's driver, for ROCm builds of torch
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return sys.platform != "win32" and hasattr(ctypes.CDLL(None), "cuInit")  # preloaded
    return True


@cache
def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Tell how much memory this machine has, or this process's container, in bytes.

    If it is unknown, no limit is assumed.
    """
    if not hasattr(os, "sysconf"):  # Windows
        return sys.maxsize
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    # Control groups, versions 2 and 1; a container sees its own at the root.
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", file).read_text(encoding="ascii")))
    return min(limits)


def may_have_cuda(asked: str) -> bool:
    """Tell whether a `device` may resolve to a GPU, without asking torch."""
    return asked != "cpu" and _has_driver()


def lacks_cuda() -> list[str]:
    """Say why `device=cuda` is impossible; empty if torch finds such a device."""
    if cuda().count:
        return []
    return ["device=cuda: torch finds no CUDA device here; use device=auto or device=cpu"]


def resolved_device(asked: str) -> str:
    """Resolve `device=auto` to ``cuda`` if there is such a device, otherwise to ``cpu``.

    Raises:
        AblateError: A CUDA device is requested, but there is none.
    """
    if asked == "cuda" and (faults := lacks_cuda()):
        raise AblateError(*faults)
    return ("cuda" if cuda().count else "cpu") if asked == "auto" else asked


def variables_for(number: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that let a process see just one of our CUDA devices.

    Args:
        number: Which one, counted as torch counts them here.
        environ: The environment of this process.

    Returns:
        ``CUDA_VISIBLE_DEVICES``, and ``HIP_VISIBLE_DEVICES`` if it is set, since AMD's runtime
        reads that first. The value is the device's entry in the list, unchanged. An entry is an
        index, a UUID (perhaps cut short), or a part of a device (MIG). Devices are counted in the
        order of the list, up to the first entry that names none.

    Source: CUDA C++ Programming Guide, section "Environment variables".
    """
    names = ["CUDA_VISIBLE_DEVICES", *(n for n in ("HIP_VISIBLE_DEVICES",) if n in environ)]
    lists = {name: environ.get(name, "").split(",") for name in names}
    return {
        name: entries[number].strip() if any(entries) else str(number)
        for name, entries in lists.items()
    }


def settle_arithmetic() -> None:
    """Make torch compute the same way, whatever settings the calling program made.

    It multiplies float32 as float32: by default cuDNN rounds the inputs of convolutions to tf32, 10
    bits of mantissa, and a program may have asked for the same, or for bf16, in products of
    matrices. And cuDNN chooses algorithms by rule, not by timing them.
    """
    import torch

    # Torch has older and newer settings, and reading one (its compiler does) fails where the others
    # disagree. In this order they agree, whatever a program has set before.
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.fp32_precision = "ieee"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    # Some versions of torch.compile advise to use tf32 after all.
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores .* available but not enabled")


def describe(device: str) -> Environment:
    """Describe the machine and the software.

    Args:
        device: ``cpu`` or ``cuda``.

    Returns:
        ``versions``, ``platform``, ``device`` (its name), ``threads``, ``tf32``, and ``commit`` and
        ``dirty`` of the working directory's git repository (None outside of one).
    """
    import torch

    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        "commit": tree().commit,
        "dirty": tree().dirty,
    }


@cache
def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


@cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Tree:
    """The git repository that the working directory is in.

    Attributes:
        commit: Its commit, or None without a repository.
        dirty: Whether anything is not committed, new files too; None without a repository.
        changed: Whether a committed file was changed.
    """

    commit: str | None = None
    dirty: bool | None = None
    changed: bool = False


@cache
def tree() -> Tree:
    """Ask git about the working directory, once per process."""
    head = git("rev-parse", "HEAD")
    if head is None:
        return Tree()
    status = (git("status", "--porcelain") or b"").splitlines()
    changed = any(not line.startswith(b"??") for line in status)
    return Tree(head.decode().strip(), bool(status), changed)


def git(*arguments: str) -> bytes | None:
    """Ask git; None without an answer."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
