"""Builds the library of the fake devices, once for all processes, into the cache of this user."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

SOURCE = Path(__file__).parent / "source"
NAME = "libcuda.so.1"
ALIAS = "libnvidia-ml.so.1"
# Two declare what the headers of the others declare otherwise. All others are compiled as one
# text: to read the headers takes most of the time, and this way they are read once.
APART = ("dnn_calls.cpp", "nvml.cpp")


class UnavailableError(Exception):
    """The library cannot be built here; the message says why."""


@functools.cache
def folder() -> Path:
    """Give the folder that holds the library alone, built first if need be.

    Raises:
        UnavailableError: There is no compiler or no header, or torch is built for something else.
    """
    compiler, headers = _compiler(), _headers()
    files = sorted(path for path in SOURCE.iterdir() if path.suffix in (".h", ".cpp"))
    sources = [path for path in files if path.suffix == ".cpp"]
    command = [
        *(compiler, "-shared", "-fPIC", "-O1", "-std=c++17", "-fvisibility=hidden"),
        "-Wno-deprecated-declarations",
        "-D__CUDA_API_VERSION_INTERNAL",  # no names of functions with versions
        *(f"-isystem{path}" for path in headers),
        f"-Wl,-soname,{NAME}",
        *(f"-I{SOURCE}", *(str(path) for path in sources if path.name in APART)),
        *("-x", "c++", "-", "-x", "none", "-ldl"),
    ]
    together = "".join(f'#include "{path.name}"\n' for path in sources if path.name not in APART)
    versions = " ".join(map(version, ("torch", "triton", "nvidia-cudnn-cu13")))
    known = [" ".join(command).encode(), versions.encode()]
    known += [path.read_bytes() for path in files]
    key = hashlib.sha256(b"\0".join(known)).hexdigest()[:16]
    built = _cache() / key
    with FileLock(_cache() / f"{key}.lock"):
        if not (built / ALIAS).exists():
            _build(command, together, built)
    return built


@functools.cache
def missing() -> str | None:
    """Say why the library cannot be built here, or None."""
    try:
        folder()
    except UnavailableError as error:
        return str(error)
    return None


def _build(command: list[str], together: str, built: Path) -> None:
    built.mkdir(exist_ok=True)
    done = subprocess.run(
        [*command, "-o", str(built / NAME)],
        input=together,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the fake CUDA library does not compile:\n{done.stderr}")
    (built / ALIAS).unlink(missing_ok=True)
    (built / ALIAS).symlink_to(NAME)  # last, since it says that the library is whole


def _cache() -> Path:
    # Not below XDG_CACHE_HOME, which is new for each test session.
    found = Path(tempfile.gettempdir()) / f"fake-cuda-{os.getuid()}"
    found.mkdir(mode=0o700, exist_ok=True)
    return found


def _compiler() -> str:
    if platform.system() != "Linux":
        raise UnavailableError("the fake CUDA devices are for Linux")
    found = shutil.which("g++")
    if found is None:
        raise UnavailableError("building the fake CUDA devices takes g++")
    return found


def _headers() -> list[Path]:
    """Find the headers that torch's own wheels bring: Triton's has CUDA's, NVIDIA's has cuDNN's."""
    import torch

    if torch.version.cuda is None or not torch.version.cuda.startswith("13."):
        raise UnavailableError(f"the fake devices know CUDA 13, and torch has {torch.version.cuda}")
    cuda = [place / "backends/nvidia/include" for place in _places("triton")]
    cudnn = [place / "cudnn/include" for place in _places("nvidia")]
    wanted = [("cuda_runtime_api.h", cuda), ("cudnn.h", cudnn)]
    found = []
    for header, folders in wanted:
        held = [path for path in folders if (path / header).is_file()]
        if not held:
            raise UnavailableError(
                f"building the fake CUDA devices takes {header}, from torch's wheels"
            )
        found.append(held[0])
    told = (found[0] / "cuda.h").read_text(encoding="utf-8")
    of = re.search(r"#define CUDA_VERSION (\d+)", told)
    if of is None or int(of[1]) < 13000:
        raise UnavailableError("the fake devices know CUDA 13, and triton's headers are older")
    return found


def _places(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [] if spec is None else [Path(p) for p in spec.submodule_search_locations or []]
