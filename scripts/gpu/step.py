"""Part step: milliseconds per step against the stack's width, and memory per run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ablate.data import load
from ablate.train.footprint import IN_PIECES, WORKSPACES, Images, footprint
from gpu.apart import Figures
from gpu.bench import Bench, copy_rate, least_bytes
from gpu.jobs import Job

# So many epochs that no step is timed beyond the last one.
NETWORK = ("data=mnist", "dropout.dense=0.5", "batch_size=128", "epochs=1000")
FEW = ("data.train_size=300", "batch_size=32")  # for a dry run
_WIDTHS = (1, 2, 4, 8, 16, 32, 64)
_KINDS = (  # precision, launched as a graph, compiled
    *(("bf16", True, False), ("fp32", True, False), ("bf16", True, True), ("fp32", True, True)),
    *(("bf16", False, False), ("fp32", False, False)),
)


def jobs(bench: Bench, all_found: Mapping[str, Figures]) -> Iterator[Job]:
    """List the widths of each kind of step."""
    yield Job("copy", copy_rate, ours=False)
    for precision, graph, compiled in _KINDS:
        for width in (1, 2) if bench.dry else _WIDTHS:
            if not (bench.dry and compiled and width > 1):  # compiling takes long
                name = f"{kind(precision, graph, compiled)}, {width} runs"
                yield Job(name, step, (width, precision, graph, compiled), 180)


def kind(precision: str, graph: bool, compiled: bool) -> str:
    """Name a kind of step."""
    launched = "one graph" if graph else "single launches"
    return f"{precision}, {launched}{', compiled' if compiled else ''}"


def step(bench: Bench, width: int, precision: str, graph: bool, compiled: bool) -> Figures:
    """Time a step of a stack, and measure its memory."""
    few = FEW if bench.dry else ()
    runs = bench.runs(
        width, *NETWORK, *few, f"precision={precision}", compile=compiled, capture=graph
    )
    data, run, fused = load(runs[0]), runs[0], width > 1 or compiled
    held = bench.forget()
    training = bench.training(runs, fused=fused)
    ms = bench.milliseconds(training.launch, 1.0)
    if training.captured != (graph and bench.device == "cuda"):
        raise RuntimeError("it is not launched as it is labelled")
    memory = (bench.peak() - held) / width
    plan = footprint(runs, Images.of(data), width, fused=fused, at_once=width)
    # The peak counts what the allocator holds, the graph's own memory and workspaces among it.
    planned = (plan.resident - plan.data + plan.step * (1 + IN_PIECES) + WORKSPACES) / width
    least = width * least_bytes(run, data, 2 if precision == "bf16" else 4)
    return {
        "runs": width,
        "ms": ms,
        "least bytes": least,
        "MiB a run": memory / 2**20,
        "of plan": memory / planned,
    }


def told(name: str, found: Figures, all_found: Mapping[str, Figures]) -> list[str]:
    """Put a step into a line."""
    if name == "copy":
        return [
            f"copy: {found['bytes a second'] / 1e9:,.0f} GB/s, read and written",
            "\nconv 32, conv 64, dense 128 on MNIST, batch 128: milliseconds a step of the stack,",
            "ms a run's step / times the floor / MiB a run at peak (share of what is planned)",
        ]
    rate = all_found.get("copy", {}).get("bytes a second")
    floors = found["ms"] / 1000 * rate / found["least bytes"] if rate else float("nan")
    return [
        f"  {name:36s} {found['ms']:9.3f}   {found['ms'] / found['runs']:8.3f} /"
        f" {floors:5.2f} / {found['MiB a run']:6.1f} ({found['of plan']:.2f})"
    ]


def closing(all_found: Mapping[str, Figures]) -> list[str]:
    """Name the width with the shortest step per run, for each kind."""
    best: dict[str, tuple[float, int]] = {}
    for name, found in all_found.items():
        if "ms" in found:
            each = (found["ms"] / found["runs"], found["runs"])
            what = name.rpartition(", ")[0]
            best[what] = min(best.get(what, each), each)
    lines = [f"  {what}: {runs} runs, {ms:.3f} ms a run" for what, (ms, runs) in best.items()]
    return ["\nbest width", *lines]
