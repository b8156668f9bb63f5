"""Trains one run with each technique, and writes results/published/methods/digits.md.

python scripts/run_methods.py              on the digits that ship inside scikit-learn
python scripts/run_methods.py --epochs 2   shorter, to try the script (writes nothing)

Every row is a command that anyone can repeat. A technique passes if its test accuracy is five
standard errors above chance; `init=zeros` must end at chance, as it is there to show.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import ablate
from ablate import environment
from ablate.config.knobs import network, training
from ablate.errors import AblateError

PAGE = Path(__file__).parent.parent / "results" / "published" / "methods" / "digits.md"
CHANCE, IMAGES = 0.1, 359  # ten classes; the size of the test split
SMALL = ["model.channels=[4,8]", "model.hidden=[]"]  # newton's Hessian has one row per parameter

INTRO = """\
<!-- Written by scripts/run_methods.py. -->

# Every technique, once

Real scanned digits, one run each, seed 0, the network and settings that `ablate run` has by
default unless the row says otherwise. This is no comparison: one seed says little (that is what
sweeps are for). It shows that each technique trains, and that none is a name without a deed.
"""


@dataclass(frozen=True)
class Row:
    """A technique and how it is turned on."""

    group: str
    overrides: tuple[str, ...]


def rows() -> Iterator[Row]:
    """List every technique of the schema."""
    for name in network.MODELS:
        if name != "custom":
            yield Row("network", (f"model={name}",))
    yield Row("network", ("model=resnet", "model.depth=9"))
    yield Row("network", ("model.pool=none", "model.stride=2"))
    yield Row("network", ("model.pool=avg",))
    yield Row("network", ("model.whiten=2",))
    for name in network.ACTIVATIONS:
        yield Row("activation", (f"model.activation={name}", "init.gain=auto"))
    for name in network.DROPOUTS:
        yield Row("dropout", ("dropout=standard", f"dropout.kind={name}"))
    for name in ("test", "none"):
        yield Row("dropout", ("dropout=standard", f"dropout.scaling={name}"))
    for name in network.NORMS:
        if name not in ("none", "custom"):
            yield Row("norm", (f"norm={name}",))
    yield Row("norm", ("norm=batch", "norm.position=after"))
    yield Row("norm", ("norm=batch", "norm.eval=batch"))
    for name in network.INITS:
        if name != "own":
            yield Row("init", (f"init={name}",))
    yield Row("init", ("init.layers=[he_normal,he_normal,normal:0.01,zeros]",))
    for name in training.OPTIMIZERS:
        yield Row("optimizer", (f"optimizer={name}", *(SMALL if name == "newton" else ())))
    for name in training.SCHEDULES:
        yield Row("schedule", (f"schedule={name}",))
    yield Row("schedule", ("schedule=cosine", "schedule.warmup_epochs=3"))
    strengths = {
        "l1": "1e-4",
        "l2": "1e-3",
        "max_norm": "2",
        "label_smoothing": "0.1",
        "mixup": "0.2",
        "cutmix": "1",
        "input_noise": "0.2",
        "clip_norm": "1",
        "clip_value": "0.1",
        "early_stopping": "5",
        "ema": "0.99",
        "swa": "0.75",
        "sam": "0.05",
    }
    for name, strength in strengths.items():
        yield Row("regularizer", (f"regularize.{name}={strength}",))
    yield Row("regularizer", ("model=resnet", "regularize.stochastic_depth=0.2"))
    for name in ("shift", "flip_crop", "cutout", "affine", "light", "airbench"):
        yield Row("augmentation", (f"augment={name}",))
    yield Row("augmentation", ("augment=shift", "augment.test_views=4"))


def main(arguments: Sequence[str]) -> int:
    """Run them all; the exit status is 1 if any fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--only", default="", help="a part of the rows' text")
    asked = parser.parse_args(arguments)
    more = [] if asked.epochs is None else [f"epochs={asked.epochs}"]
    lines, wrong = [], 0
    with tempfile.TemporaryDirectory() as out:
        for row in rows():
            if asked.only in f"{row.group} {' '.join(row.overrides)}":
                line, passed = _line(row, [*row.overrides, *more, f"out={out}"])
                print(line, flush=True)
                lines.append(line)
                wrong += not passed
    print(f"{len(lines)} techniques, {wrong} of them fail", flush=True)
    if asked.epochs is None and not asked.only:
        _write(lines)
    return 1 if wrong else 0


def _line(row: Row, overrides: list[str]) -> tuple[str, bool]:
    command = f"`ablate run {' '.join(_quoted(o) for o in row.overrides)}`"
    try:
        found = ablate.run(overrides)
    except AblateError as error:
        return f"| {row.group} | {command} | refused: {error} | | **fails** |", False
    if found["status"] != "finished":
        why = f"{found['status']}: {found['reason']}"
        return f"| {row.group} | {command} | {why} | | **fails** |", False
    accuracy = found["metrics"]["test/accuracy"]
    assert accuracy is not None, "the digits have test images"
    margin = 5 * math.sqrt(CHANCE * (1 - CHANCE) / IMAGES)
    at_chance = "init=zeros" in row.overrides
    passed = abs(accuracy - CHANCE) <= margin if at_chance else accuracy > CHANCE + margin
    verdict = ("at chance, as it must be" if at_chance else "learns") if passed else "**fails**"
    cells = (
        f"{100 * accuracy:.1f} %",
        f"{found['parameters']:,}",
        verdict,
    )
    return f"| {row.group} | {command} | {' | '.join(cells)} |", passed


def _quoted(override: str) -> str:
    return f"'{override}'" if set(override) & set("[]() ") else override


def _write(lines: Sequence[str]) -> None:
    head = ["| what | command | test accuracy | parameters | |", "|---|---|---|---|---|"]
    about = environment.describe("cpu")
    note = f"\ntorch {torch.__version__}, {about['device']}; n = 1 each, {IMAGES} test images.\n"
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join([INTRO, *head, *lines, note]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
