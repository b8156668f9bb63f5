"""The card, its clocks and the software that figures were measured with."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ablate import environment
from gpu.bench import Bench

_OTHERS = ("triton", "jax", "jaxlib", "airbench")
_CLOCKS = {"sm": "clocks.sm", "memory": "clocks.mem", "sm at most": "clocks.max.sm"}


def about(bench: Bench) -> dict[str, Any]:
    """Describe what a part's figures were measured with.

    Returns:
        ``card`` (the processor's name on a CPU), ``versions``, ``clocks`` (MHz, None where they
        cannot be known), ``date``, ``dry``, ``batch``, ``commit``.
    """
    found = environment.describe(bench.device)
    return {
        "card": found["device"],
        "versions": {**found["versions"], **_more_versions()},
        "clocks": clocks(bench),
        "date": datetime.now(UTC).date().isoformat(),
        "dry": bench.dry,
        "batch": bench.batch,
        "commit": found["commit"],
    }


def clocks(bench: Bench) -> dict[str, int | None]:
    """Read the clocks while the card works, since an idle card's say nothing."""
    if bench.device == "cpu":
        return dict.fromkeys(_CLOCKS)
    if not bench.dry:
        source = torch.rand(2**28, device="cuda")
        target = torch.empty_like(source)
        for _ in range(2000):  # launched and not waited for: a second or two of work
            target.copy_(source)
    asked = _nvidia_smi(*_CLOCKS.values())
    found = {name: _number(value) for name, value in zip(_CLOCKS, asked, strict=True)}
    try:
        found["sm"] = torch.cuda.clock_rate()
    except (ImportError, RuntimeError, OSError):  # it asks pynvml, which is rarely installed
        return found
    return found


def _more_versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"cuda": torch.version.cuda}
    cuda = torch.cuda.is_available()
    cudnn = torch.backends.cudnn.version() if cuda else None  # type: ignore[no-untyped-call]
    found["cudnn"] = str(cudnn) if cuda else None
    found["driver"] = _nvidia_smi("driver_version")[0] if cuda else None
    for package in _OTHERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _nvidia_smi(*names: str) -> list[str | None]:
    """Ask nvidia-smi about the card in use; None for what it does not know."""
    card = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    command = ["nvidia-smi", "-i", card, "--query-gpu=" + ",".join(names)]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return [None] * len(names)
    values = [value.strip() for value in done.stdout.strip().split(",")]
    return list(values) if len(values) == len(names) else [None] * len(names)


def _number(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None
