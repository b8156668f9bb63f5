"""Runs functions and commands on the fake devices, each in a process of its own.

`python -m tests.gpu.fake.running MODULE FUNCTION` is what such a process does: it reads the
arguments from standard input, and writes what the function returns, all as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.gpu.fake import library

ROOT = Path(__file__).parents[3]


def environment(
    gpus: int = 1,
    memory: int | None = None,
    counts: Path | None = None,
    **others: str,
) -> dict[str, str]:
    """Make the environment of a process on fake devices.

    Args:
        gpus: How many devices the machine has.
        memory: Of each, in bytes.
        counts: A folder to which each process leaves what the devices did (`log.counts_left_in`).
        others: Variables to set besides, CUDA_VISIBLE_DEVICES among them.
    """
    built = library.folder()
    compiled = built.with_name(f"{built.name}-compiled")  # by Triton and inductor
    known = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}

    def before_others(name: str, *paths: Path) -> str:
        return os.pathsep.join([*map(str, paths), *filter(None, [known.get(name)])])

    made = {
        "LD_PRELOAD": before_others("LD_PRELOAD", built / library.NAME),
        "LD_LIBRARY_PATH": before_others("LD_LIBRARY_PATH", built),
        "TRITON_LIBCUDA_PATH": str(built),
        "TRITON_CACHE_DIR": str(compiled / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(compiled / "inductor"),
        "PYTHONPATH": before_others("PYTHONPATH", ROOT, ROOT / "ablate/plugins"),
        "OMP_NUM_THREADS": "1",
        "FAKE_GPUS": str(gpus),
    }
    if memory is not None:
        made["FAKE_GPU_BYTES"] = str(memory)
    if counts is not None:
        made["FAKE_GPU_COUNTS"] = str(counts)
    return known | made | others


def on_fake_gpu(function: Callable[..., Any], *arguments: Any, **how: Any) -> Any:
    """Call a function of a module in a process on fake devices; return what it returns.

    Args:
        function: Of the top level of its module. It takes and returns what JSON can tell.
        arguments: Of the function.
        how: As `environment` takes it.

    Raises:
        AssertionError: It raised something, which the message tells.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        done = subprocess.run(
            [sys.executable, "-m", __name__, function.__module__, function.__name__, str(result)],
            input=json.dumps(arguments),
            env=environment(**how),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}{done.stderr}"
        return json.loads(result.read_text(encoding="utf-8"))


def command(*arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the installed `ablate` with some arguments."""
    ablate = Path(sys.executable).parent / "ablate"
    return subprocess.run(
        [ablate, *arguments],
        env=dict(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def _main(module: str, function: str, result: str) -> None:
    returned = getattr(importlib.import_module(module), function)(*json.load(sys.stdin))
    Path(result).write_text(json.dumps(returned), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
