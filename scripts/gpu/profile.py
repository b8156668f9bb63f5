"""Part profile: where a step's time goes, against the time that its bytes take to copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from ablate.data import load
from ablate.train.training import Training
from gpu.apart import Figures
from gpu.bench import Bench, copy_rate, least_bytes
from gpu.jobs import Job
from gpu.step import FEW, NETWORK
from gpu.traffic import Traffic

_WIDTHS = (64, 16, 1, 256)
_KINDS = (("bf16", False), ("fp32", False), ("bf16", True))  # precision, compiled
_PROFILED = 5  # steps
_SHOWN = 20  # kernels, the longest; all are in the figures


def jobs(bench: Bench, all_found: Mapping[str, Figures]) -> Iterator[Job]:
    """List the widths of each kind of step."""
    yield Job("copy", copy_rate, ours=False)
    for width in (1, 2) if bench.dry else _WIDTHS:
        for precision, compiled in _KINDS:
            if not (bench.dry and compiled and width > 1):  # compiling takes long
                name = f"{precision}{', compiled' if compiled else ''}, {width} runs"
                yield Job(name, profile, (width, precision, compiled), 240)


def profile(bench: Bench, width: int, precision: str, compiled: bool) -> Figures:
    """Count the bytes a step moves; time each kernel, and the step as launched."""
    few = FEW if bench.dry else ()
    common = (*NETWORK, *few, f"precision={precision}")
    fused = width > 1 or compiled
    runs = bench.runs(width, *common, compile=compiled, capture=False)
    training = bench.training(runs, fused=fused)
    for _ in range(2):
        training.launch()  # compiles
    with Traffic() as traffic:
        training.launch()
    kernels = _kernels(bench, training)
    least = width * least_bytes(runs[0], load(runs[0]), 2 if precision == "bf16" else 4)
    del training
    bench.forget()
    runs = bench.runs(width, *common, compile=compiled, capture=True)
    ms = bench.milliseconds(bench.training(runs, fused=fused).launch, 1.0)
    return {
        "runs": width,
        "ms": ms,
        "bytes": traffic.bytes,
        "launches": traffic.calls,
        "least bytes": least,
        "kernels": kernels,
        "operators": [{"name": n, "calls": c, "bytes": b} for n, c, b in traffic.table()],
    }


def _kernels(bench: Bench, training: Training) -> list[dict[str, Any]] | None:
    """Time each kernel in a step, in µs; None if no profiler sees them."""
    if bench.dry or bench.device == "cpu":
        return None
    both = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=both) as profiler:
        for _ in range(_PROFILED):
            training.launch()
        bench.wait()
    return kernel_times(profiler.events() or (), _PROFILED)


def kernel_times(events: Iterable[Any], steps: int) -> list[dict[str, Any]] | None:
    """Sum up the kernels of some profiled steps: calls and µs per step, the longest first."""
    times: dict[str, list[float]] = {}
    for event in events:
        # Operators of the host and annotations span kernels that are listed anyway.
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
            times.setdefault(event.name, []).append(event.time_range.elapsed_us())
    rows = [
        {"name": name, "calls": len(each) / steps, "us": sum(each) / steps}
        for name, each in times.items()
    ]
    return sorted(rows, key=lambda row: -float(row["us"])) or None


def told(name: str, found: Figures, all_found: Mapping[str, Figures]) -> list[str]:
    """Put a step into a table of its kernels and a line in total."""
    if name == "copy":
        return [f"copy: {found['bytes a second'] / 1e9:,.0f} GB/s, read and written"]
    lines = [f"\n{name}"]
    if found["kernels"] is None:
        lines.append("  no kernel is seen here: operators, calls, bytes")
        lines += [
            f"  {row['name'][:70]:70s} {row['calls']:6.0f} {row['bytes']:15,d}"
            for row in found["operators"]
        ]
    else:
        whole = sum(row["us"] for row in found["kernels"])
        lines.append(f"  {'kernel':70s} {'calls':>6s} {'us':>9s}  share")
        lines += [
            f"  {row['name'][:70]:70s} {row['calls']:6.1f} {row['us']:9.1f}"
            f"  {row['us'] / whole:5.1%}"
            for row in found["kernels"][:_SHOWN]
        ]
        lines.append(f"  all {len(found['kernels'])} kernels: {whole / 1000:.3f} ms")
    return [*lines, _in_total(found, all_found.get("copy", {}).get("bytes a second"))]


def _in_total(found: Figures, rate: float | None) -> str:
    line = (
        f"  step {found['ms']:.3f} ms, {found['launches']} operators that move"
        f" {found['bytes'] / 1e9:.3f} GB"
    )
    if rate is None:
        return line
    floor, least = (1000 * found[key] / rate for key in ("bytes", "least bytes"))
    return (
        f"{line}, floor {floor:.3f} ms, ratio {found['ms'] / floor:.2f};"
        f" with the least bytes {least:.3f} ms, ratio {found['ms'] / least:.2f}"
    )


def closing(all_found: Mapping[str, Figures]) -> list[str]:
    """List step, floor and ratio of every kind."""
    rate = all_found.get("copy", {}).get("bytes a second")
    whole = {name: found for name, found in all_found.items() if "ms" in found}
    return ["\nin total", *(f"  {n:24s}{_in_total(found, rate)}" for n, found in whole.items())]
