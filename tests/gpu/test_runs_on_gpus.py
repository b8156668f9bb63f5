"""Runs on fake GPUs by the installed command: where they train, and what happens without memory.

Numbers are garbage, so a run may diverge; what matters is that none fails.
"""

from __future__ import annotations

import gc
import os
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from ablate import record
from ablate.data import load
from ablate.train.training import Training
from tests.gpu.fake.log import Counts, counts, counts_left_in, live_graph_pools
from tests.gpu.fake.running import command, environment
from tests.gpu.garbage import accept_garbage
from tests.techniques import runs

pytestmark = [pytest.mark.fakegpu, pytest.mark.slow]

SMALL = ["data.train_size=100", "data.val_size=60", "batch_size=10", "epochs=2", "save=none"]
# Apart from cuBLAS's workspaces, this network needs memory mostly for weights and their training.
LARGE = [*SMALL, "model=mlp", "model.hidden=[2048,1024]", "launch=inline"]


def sweep(
    tmp_path: Path, *overrides: str, **how: Any
) -> tuple[list[record.Record], dict[int, Counts], str]:
    """Run a sweep; return its records, what each device did, and what the logs say."""
    left = tmp_path / "counts"
    left.mkdir(parents=True)
    env = environment(counts=left, XDG_CACHE_HOME=str(tmp_path / "cache"), **how)
    done = command("run", "-m", "device=cuda", *overrides, cwd=tmp_path, env=env)
    assert done.returncode in (0, 1), done.stderr  # 1: some run diverged
    folders = list(record.find(tmp_path / "results"))
    logs = "".join((folder / "run.log").read_text(encoding="utf-8") for folder in folders)
    found = [kept for folder in folders if (kept := record.read(folder))]
    return found, counts_left_in(left), logs + done.stderr


def assert_none_failed(records: list[record.Record], count: int) -> None:
    ended = Counter(kept["status"] for kept in records)
    assert ended.total() == count
    assert set(ended) <= {"finished", "diverged"}, [kept.get("reason") for kept in records]


# -- several devices -------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("gpus", [2, 8])
def test_runs_use_all_devices(gpus, tmp_path):
    widths = ",".join(f"[{8 + i}]" for i in range(gpus))  # one stack per width
    records, found, _ = sweep(
        *(tmp_path, *SMALL, "model=mlp", f"model.hidden={widths}", "seed=0,1", "launch=workers"),
        gpus=gpus,
    )
    assert_none_failed(records, 2 * gpus)
    assert sorted(found) == list(range(gpus))
    assert all(one.kernels > 100 for one in found.values())


@pytest.mark.long
def test_runs_use_only_visible_devices(tmp_path):
    records, found, _ = sweep(
        *(tmp_path, *SMALL, "model=mlp", "model.hidden=[8],[9]", "launch=workers"),
        gpus=4,
        CUDA_VISIBLE_DEVICES="3,1",
    )
    assert_none_failed(records, 2)
    assert sorted(found) == [1, 3]


# -- too little memory -----------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("fits", [4, 2])
def test_a_stack_that_runs_out_of_memory_is_halved_until_it_fits(fits, tmp_path):
    narrow = [*LARGE, f"stack.width={fits}", f"seed=range({fits})"]
    _, found, _ = sweep(tmp_path / "narrow", *narrow)
    room = found[0].peak * 5 // 4  # a failed attempt leaves some of it in use
    wide = [*LARGE, "stack.width=8", "seed=range(8)"]
    records, found, said = sweep(tmp_path / "wide", *wide, memory=room)
    assert_none_failed(records, 8)
    assert found[0].peak <= room
    halved = set(re.findall(r"a stack of (\d) runs failed \(OutOfMemoryError", said))
    assert halved == {4: {"8"}, 2: {"8", "4"}}[fits]


# -- stacks in one process -------------------------------------------------------------------------


def one_after_another() -> dict[str, Any]:
    """Train stacks, some unable to capture a step; return how it went and what memory is left."""
    accept_garbage()
    told: dict[str, Any] = {"left": []}
    for _ in range(3):
        _train()
        gc.collect()
        torch.cuda.empty_cache()
        told["left"].append((counts().used, counts().graphs, live_graph_pools()))
    for where in ("begin", "end", "instantiate"):
        os.environ["FAKE_GPU_NO_CAPTURE"] = where
        try:
            told[where] = _train()
        except RuntimeError as error:
            told[where] = {"raised": str(error).partition("\n")[0]}
    return told


def _train() -> dict[str, Any]:
    configs = [config | {"device": "cuda"} for config in runs("network: mlp")]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        training = Training(configs, load(configs[0]), fused=True)
        while not training.done:
            training.advance()
        training.finish()
    words = [str(w.message) for w in said if "prototype" not in str(w.message)]
    return {"steps": training.step, "captured": training.captured, "said": words}


def test_a_training_leaves_nothing_on_the_device(told_once):
    first, *others = told_once(one_after_another)["left"]
    assert first[1:] == [0, 0]  # no graphs and no pools
    assert others == [first, first]


@pytest.mark.parametrize("where", ["begin", "end", "instantiate"])
def test_steps_are_launched_one_by_one_if_a_capture_fails(where, told_once):
    found = told_once(one_after_another)[where]
    assert "raised" not in found, found["raised"]
    assert (found["steps"], found["captured"]) == (6, False)
    (warning,) = found["said"]
    assert warning.startswith("steps are launched one")


@pytest.mark.long
def test_a_failed_capture_does_not_halve_a_stack(tmp_path):
    overrides = (*SMALL, "model=mlp", "seed=range(4)", "launch=inline")
    records, found, said = sweep(tmp_path, *overrides, FAKE_GPU_NO_CAPTURE="end")
    assert_none_failed(records, 4)
    assert "in halves" not in said
    assert found[0].graphs == 0
