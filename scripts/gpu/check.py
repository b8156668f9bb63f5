"""Part check: what must hold of a stack on a GPU, before any of its times counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ablate.train.training import Training
from gpu.tools import Bench, distance, same

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


def run(bench: Bench) -> bool:
    """Try everything; return whether all of it holds."""
    sound = True

    def verdict(what: str, holds: bool, figure: Any = "") -> None:
        nonlocal sound
        sound &= holds
        bench.say(f"  {'holds' if holds else 'FAILS'}  {what}  {figure}")
        bench.note(what, {"holds": holds, "figure": figure})

    for name, changes in _NETWORKS.items():
        bench.say(f"\n{name}")
        for precision, most in _AGREE.items():
            if bench.device == "cpu" and precision == "bf16":
                continue
            common = (*_size(bench), *changes, f"precision={precision}")
            theorem(bench, name, common, most, verdict)
        common = (*_size(bench), *changes)
        slots(bench, name, common, verdict)
        mates(bench, name, common, verdict)
        going_on(bench, name, common, verdict)
        launches(bench, name, common, verdict)
    return sound


Verdict = Callable[..., None]


def _size(bench: Bench) -> tuple[str, ...]:
    if bench.small:
        return "data.train_size=160", "batch_size=16", "model.channels=[16]", "model.hidden=[16]"
    return "data.train_size=1000", "batch_size=64", "model.channels=[16,32]", "model.hidden=[64]"


def _after(training: Training, steps: int = _STEPS) -> Training:
    while training.step < min(steps, training.steps):
        training.advance()
    return training


def theorem(
    bench: Bench, name: str, common: tuple[str, ...], most: float, verdict: Verdict
) -> None:
    """Compare a fused stack with runs alone."""
    runs = bench.runs(5, *common)
    fused = _after(bench.training(runs))
    alone = [_after(bench.training([run])) for run in runs]
    far = max(distance(fused, one, r, 0) for r, one in enumerate(alone))
    verdict(f"{name}: fused agrees with looped within {most:g}", far < most, f"{far:.1e}")


def slots(bench: Bench, name: str, common: tuple[str, ...], verdict: Verdict) -> None:
    """Permute the slots, and change the width."""
    runs = bench.runs(6, *common)
    whole = _after(bench.training(runs))
    order = [3, 0, 5, 1, 4, 2]
    moved = _after(bench.training([runs[i] for i in order]))
    equal = all(same(whole, moved, i, slot) for slot, i in enumerate(order))
    verdict(f"{name}: a run has the same bits in every slot", equal)
    for width in (2, 3, 4):
        fewer = _after(bench.training(runs[:width]))
        equal = all(same(whole, fewer, r, r) for r in range(width))
        far = max(distance(whole, fewer, r, r) for r in range(width))
        # On a GPU the width of a stack is planned and kept: bits may differ from width to width.
        verdict(
            f"{name}: at width {width} as at 6 within 1e-5",
            far < 1e-5,
            "the same bits" if equal else f"{far:.1e}",
        )


def mates(bench: Bench, name: str, common: tuple[str, ...], verdict: Verdict) -> None:
    """Let a mate become NaN."""
    runs = bench.runs(4, *common)
    wild = [runs[0], runs[1] | {"optimizer": runs[1]["optimizer"] | {"lr": 1e38}}, *runs[2:]]
    calm, torn = _after(bench.training(runs)), _after(bench.training(wild))
    gone = not all(t.isfinite().all() for t in torn.stack.slice(1).values())
    equal = all(same(calm, torn, r, r) for r in (0, 2, 3))
    verdict(f"{name}: a run that turns NaN leaves its mates their bits", gone and equal)


def going_on(bench: Bench, name: str, common: tuple[str, ...], verdict: Verdict) -> None:
    """Stop in the middle, and go on in another process's place."""
    runs = bench.runs(3, *common)
    whole = _after(bench.training(runs))
    first, second = _after(bench.training(runs), _STEPS // 2), bench.training(runs)
    second.restore([first.state(r) for r in range(3)])
    _after(second)
    verdict(f"{name}: resumed as undisturbed", all(same(whole, second, r, r) for r in range(3)))


def launches(bench: Bench, name: str, common: tuple[str, ...], verdict: Verdict) -> None:
    """Compare a recorded step with single launches, and compiled kernels with written ones."""
    runs = bench.runs(3, *common)
    whole = bench.training(runs)
    plain = bench.training([run | {"stack": run["stack"] | {"capture": False}} for run in runs])
    _after(whole), _after(plain)
    equal = all(same(whole, plain, r, r) for r in range(3))
    cpu = bench.device == "cpu"
    verdict(
        f"{name}: one graph as single launches",
        equal and (whole.captured or cpu),
        "" if whole.captured else "no graph here" if cpu else "no graph was captured",
    )
    if bench.small and name != next(iter(_NETWORKS)):
        return  # compiling takes long
    fast = [run | {"stack": run["stack"] | {"compile": True}} for run in runs]
    try:
        compiled = _after(bench.training(fast))
    except Exception as error:
        verdict(f"{name}: compiled kernels", False, str(error).split("\n")[0])
        return
    finally:
        torch._dynamo.reset()
    far = max(distance(plain, compiled, r, r) for r in range(3))
    verdict(f"{name}: compiled kernels within 1e-4", far < 1e-4, f"{far:.1e}")
