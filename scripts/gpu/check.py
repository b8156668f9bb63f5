"""Part check: what must hold for a stack on a GPU before any of its times count."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablate import rng
from ablate.train.deterministic import deterministic
from ablate.train.training import Training
from gpu.agreement import distance, same
from gpu.apart import Figures
from gpu.bench import Bench
from gpu.jobs import Job

_ROOT = Path(__file__).parents[2]
_STEPS = 20
_NETWORKS = {
    "plain": (),
    "dropout and batch norm": ("dropout=standard", "norm=batch"),
    "all at once": (
        *("norm=batch", "dropout=standard", "augment=flip_crop", "regularize.mixup=0.2"),
        *("regularize.label_smoothing=0.1", "regularize.clip_norm=1", "regularize.ema=0.9"),
        *("optimizer=nesterov", "schedule=one_cycle"),
    ),
    "momentum, layer norm, gelu": ("optimizer=momentum", "norm=layer", "model.activation=gelu"),
}
_AGREE = {"fp64": 1e-9, "fp32": 1e-5, "bf16": 3e-2}  # fused against looped, after 20 steps


def jobs(bench: Bench, all_found: Mapping[str, Figures]) -> Iterator[Job]:
    """List the checks, the project's own tests first."""
    yield Job("the tests marked gpu", marked, (), 420, alone=True)
    yield Job("integers of the streams as on the CPU", streams, ())
    for name, changes in _NETWORKS.items():
        common = (*_size(bench), *changes)
        for precision, most in _AGREE.items():
            if bench.device == "cuda" or precision != "bf16":
                what = f"{name}: fused agrees with looped within {most:g}, {precision}"
                yield Job(what, theorem, ((*common, f"precision={precision}"), most))
        yield from _bits(bench, name, common)
        for width in (2, 3, 4):
            # On a GPU the width of a stack is planned and kept: bits may differ between widths.
            what = f"{name}: at width {width} as at 6 within 1e-5"
            yield Job(what, widths, (common, width))
        if not bench.dry or name == "plain":  # compiling takes long
            yield Job(f"{name}: compiled kernels within 1e-4", compiled, (common,), 240)


def _bits(bench: Bench, name: str, common: tuple[str, ...]) -> Iterator[Job]:
    """List the checks to the bit; on a GPU, only those with deterministic=true give a verdict."""
    for what, compare in _SAME_BITS.items():
        yield Job(f"{name}: {what}", bits, (compare, common, True))
        if bench.device == "cuda" and (not bench.dry or name == "plain"):
            without = f"{name}: {what}, without deterministic=true"
            yield Job(without, bits, (compare, common, False))


def told(name: str, found: Figures, all_found: Mapping[str, Figures]) -> list[str]:
    """Put a verdict into a line."""
    verdict = {True: "holds", False: "FAILS", None: "ran  "}[found["holds"]]
    return [f"  {verdict}  {name}  {found['figure']}"]


def closing(all_found: Mapping[str, Figures]) -> list[str]:
    """Count the verdicts."""
    verdicts = [found.get("holds") for found in all_found.values()]
    line = f"\n{verdicts.count(True)} hold, {verdicts.count(False)} fail"
    ran = verdicts.count(None)
    return [line + (f", {ran} ran without a verdict" if ran else "")]


def _verdict(bench: Bench, holds: bool, figure: object = "") -> Figures:
    """Give a verdict; none in a dry run on a GPU, since it may be a fake that computes nothing."""
    judged = not (bench.dry and bench.device == "cuda")
    return {"holds": bool(holds) if judged else None, "figure": str(figure)}


def _size(bench: Bench) -> tuple[str, ...]:
    if bench.dry:
        return "data.train_size=160", "batch_size=16", "model.channels=[16]", "model.hidden=[16]"
    return "data.train_size=1000", "batch_size=64", "model.channels=[16,32]", "model.hidden=[64]"


def _after(training: Training, steps: int = _STEPS) -> Training:
    while training.step < min(steps, training.steps):
        training.advance()
    return training


def theorem(bench: Bench, common: tuple[str, ...], most: float) -> Figures:
    """Compare a fused stack with runs alone."""
    runs = bench.runs(5, *common)
    fused = _after(bench.training(runs))
    alone = [_after(bench.training([run])) for run in runs]
    far = max(distance(fused, one, r, 0) for r, one in enumerate(alone))
    return _verdict(bench, far < most, f"{far:.1e}")


def widths(bench: Bench, common: tuple[str, ...], width: int) -> Figures:
    """Leave out some runs."""
    runs = bench.runs(6, *common)
    whole, fewer = _after(bench.training(runs)), _after(bench.training(runs[:width]))
    equal = all(same(whole, fewer, r, r) for r in range(width))
    far = max(distance(whole, fewer, r, r) for r in range(width))
    return _verdict(bench, far < 1e-5, "the same bits" if equal else f"{far:.1e}")


@dataclass(frozen=True)
class Compared:
    """Runs that should hold the same bits.

    Attributes:
        pairs: Two trainings, and the slots of the same run in each.
        fault: Why the comparison is void, if it is.
    """

    pairs: list[tuple[Training, Training, int, int]]
    fault: str = ""


def bits(
    bench: Bench, compare: Callable[..., Compared], common: tuple[str, ...], strict: bool
) -> Figures:
    """Compare bits; on a GPU only rounding is promised without deterministic algorithms.

    Args:
        bench: The device and the sizes.
        compare: One of the comparisons below.
        common: Overrides that the runs share.
        strict: Whether to train with ``deterministic=true``, and to give a verdict.
    """
    with deterministic(strict):
        found = compare(bench, (*common, f"deterministic={str(strict).lower()}"))
        equal = all(same(*pair) for pair in found.pairs)
        far = 0.0 if equal else max(distance(*pair) for pair in found.pairs)
    figure = found.fault or ("the same bits" if equal else f"{far:.1e}")
    if not strict:
        return {"holds": None, "figure": figure}
    return _verdict(bench, equal and not found.fault, figure)


def again(bench: Bench, common: tuple[str, ...]) -> Compared:
    """Train the same runs twice."""
    one, other = (_after(bench.training(bench.runs(3, *common))) for _ in range(2))
    return Compared([(one, other, r, r) for r in range(3)])


def slots(bench: Bench, common: tuple[str, ...]) -> Compared:
    """Permute the slots."""
    runs, order = bench.runs(6, *common), [3, 0, 5, 1, 4, 2]
    whole, moved = _after(bench.training(runs)), _after(bench.training([runs[i] for i in order]))
    return Compared([(whole, moved, i, slot) for slot, i in enumerate(order)])


def mates(bench: Bench, common: tuple[str, ...]) -> Compared:
    """Let another run of the stack become NaN."""
    runs = bench.runs(4, *common)
    wild = [runs[0], runs[1] | {"optimizer": runs[1]["optimizer"] | {"lr": 1e38}}, *runs[2:]]
    calm, torn = _after(bench.training(runs)), _after(bench.training(wild))
    gone = not all(t.isfinite().all() for t in torn.stack.slice(1).values())
    pairs = [(calm, torn, r, r) for r in (0, 2, 3)]
    return Compared(pairs, "" if gone else "the mate stayed finite")


def going_on(bench: Bench, common: tuple[str, ...]) -> Compared:
    """Stop in the middle, and resume in a new training."""
    runs = bench.runs(3, *common)
    whole = _after(bench.training(runs))
    first, second = _after(bench.training(runs), _STEPS // 2), bench.training(runs)
    second.restore([first.state(r) for r in range(3)])
    _after(second)
    return Compared([(whole, second, r, r) for r in range(3)])


def graph(bench: Bench, common: tuple[str, ...]) -> Compared:
    """Compare steps launched as a CUDA graph with steps launched as written."""
    whole = _after(bench.training(bench.runs(3, *common)))
    plain = _after(bench.training(bench.runs(3, *common, capture=False)))
    launched = whole.captured or bench.device == "cpu"  # where there is no graph
    pairs = [(whole, plain, r, r) for r in range(3)]
    return Compared(pairs, "" if launched else "no graph was captured")


_SAME_BITS = {
    "the same request twice": again,
    "a run has the same bits in every slot": slots,
    "a run that turns NaN leaves its mates their bits": mates,
    "resumed as undisturbed": going_on,
    "one graph as single launches": graph,
}


def streams(bench: Bench) -> Figures:
    """Draw orders, masks and indices from the random streams on the device and on the CPU."""
    count, width = 1000 if bench.dry else 1 << 20, 16
    seeds_R, keep_R = torch.arange(width), torch.linspace(0.05, 1, width, dtype=torch.float64)

    def drawn(device: str) -> dict[str, Tensor]:
        keys_R = rng.fold(rng.stream(seeds_R.to(device), "check"), 3)
        sizes = torch.Size((count,))
        return {
            "keys": keys_R,
            "bits": torch.vmap(lambda key: rng.bits(key, count))(keys_R),
            "masks": torch.vmap(lambda key, keep: rng.keep_mask(key, keep, sizes))(
                keys_R, keep_R.to(device)
            ),
            "places": torch.vmap(lambda key: (rng.uniform(key, sizes) * 9).long())(keys_R),
            "orders": rng.permutation(keys_R, count // width),
        }

    here, there = drawn("cpu"), drawn(bench.device)
    differ = [name for name, value in there.items() if not torch.equal(value.cpu(), here[name])]
    return _verdict(bench, not differ, ", ".join(differ))


def compiled(bench: Bench, common: tuple[str, ...]) -> Figures:
    """Compare the kernels of torch.compile with torch's own."""
    plain = _after(bench.training(bench.runs(3, *common, capture=False)))
    try:
        fast = _after(bench.training(bench.runs(3, *common, compile=True)))
    finally:
        torch._dynamo.reset()
    far = max(distance(plain, fast, r, r) for r in range(3))
    return _verdict(bench, far < 1e-4, f"{far:.1e}")


def marked(bench: Bench) -> Figures:
    """Run the project's tests that need a GPU; in a dry run, only collect them."""
    if not (_ROOT / "tests").is_dir():
        return {"skipped": "there is no folder of tests here"}
    command: list[Any] = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "gpu",
    ]
    command += ["--collect-only"] if bench.dry else []
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode == 5:
        return {"skipped": "no test is marked gpu"}
    if done.returncode != 0:
        print(done.stdout, done.stderr, file=sys.stderr)
    if done.returncode not in (0, 1):  # no test failed: pytest did
        reasons = [line for line in done.stderr.splitlines() if line.strip()] or lines
        raise RuntimeError(reasons[-1].strip() if reasons else "pytest says nothing")
    return _verdict(bench, done.returncode == 0, lines[-1])
