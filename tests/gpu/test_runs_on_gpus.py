"""Runs on fake GPUs by the installed command: where they land, and what is done without room.

Numbers are garbage, so a run may diverge; what counts is that none fails.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ablate import record
from ablate.data import load
from ablate.train.training import Training
from tests.gpu.fake.log import Counts, counts_left_in
from tests.gpu.fake.running import command, environment
from tests.gpu.garbage import accept_garbage
from tests.techniques import runs

pytestmark = [pytest.mark.fakegpu, pytest.mark.slow]

SMALL = ["data.train_size=100", "data.val_size=60", "batch_size=10", "epochs=2", "save=none"]
# Weights and what trains them are most of what this network needs, beside cuBLAS's workspaces.
LARGE = [*SMALL, "model=mlp", "model.hidden=[2048,1024]", "launch=inline"]


def sweep(
    tmp_path: Path, *overrides: str, **how: Any
) -> tuple[list[record.Record], dict[int, Counts], str]:
    """Run a sweep; return its records, what each device did, and what the logs say."""
    counts = tmp_path / "counts"
    counts.mkdir(parents=True)
    env = environment(counts=counts, XDG_CACHE_HOME=str(tmp_path / "cache"), **how)
    done = command("run", "-m", "device=cuda", *overrides, cwd=tmp_path, env=env)
    assert done.returncode in (0, 1), done.stderr  # 1: some run diverged
    folders = list(record.find(tmp_path / "results"))
    logs = "".join((folder / "run.log").read_text(encoding="utf-8") for folder in folders)
    found = [kept for folder in folders if (kept := record.read(folder))]
    return found, counts_left_in(counts), logs + done.stderr


def assert_none_failed(records: list[record.Record], count: int) -> None:
    ended = Counter(kept["status"] for kept in records)
    assert ended.total() == count
    assert set(ended) <= {"finished", "diverged"}, [kept.get("reason") for kept in records]


# -- several devices -------------------------------------------------------------------------------


@pytest.mark.parametrize("gpus", [2, pytest.param(8, marks=pytest.mark.long)])
def test_runs_land_on_all_devices(gpus, tmp_path):
    widths = ",".join(f"[{8 + i}]" for i in range(gpus))  # a stack each
    records, counts, _ = sweep(
        *(tmp_path, *SMALL, "model=mlp", f"model.hidden={widths}", "seed=0,1", "launch=workers"),
        gpus=gpus,
    )
    assert_none_failed(records, 2 * gpus)
    assert sorted(counts) == list(range(gpus))
    assert all(found.kernels > 100 for found in counts.values())


@pytest.mark.long
def test_runs_land_on_visible_devices_alone(tmp_path):
    records, counts, _ = sweep(
        *(tmp_path, *SMALL, "model=mlp", "model.hidden=[8],[9]", "launch=workers"),
        gpus=4,
        CUDA_VISIBLE_DEVICES="3,1",
    )
    assert_none_failed(records, 2)
    assert sorted(counts) == [1, 3]


# -- too little memory -----------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("fits", [4, 2])
def test_a_stack_that_finds_no_memory_is_halved_until_it_fits(fits, tmp_path):
    narrow = [*LARGE, f"stack.width={fits}", f"seed=range({fits})"]
    _, counts, _ = sweep(tmp_path / "narrow", *narrow)
    room = counts[0].peak * 5 // 4  # what a failed attempt leaves behind takes some of it
    wide = [*LARGE, "stack.width=8", "seed=range(8)"]
    records, counts, said = sweep(tmp_path / "wide", *wide, memory=room)
    assert_none_failed(records, 8)
    assert counts[0].peak <= room
    halved = set(re.findall(r"a stack of (\d) runs failed \(OutOfMemoryError", said))
    assert halved == {4: {"8"}, 2: {"8", "4"}}[fits]


# -- captures that fail ----------------------------------------------------------------------------


def uncaptured() -> dict[str, Any]:
    """Train stacks where no capture succeeds; tell how it went."""
    accept_garbage()
    told = {}
    configs = [config | {"device": "cuda"} for config in runs("network: mlp")]
    for where in ("begin", "end", "instantiate"):
        os.environ["FAKE_GPU_NO_CAPTURE"] = where
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                training = Training(configs, load(configs[0]), fused=True)
                while not training.done:
                    training.advance()
                training.finish()
        except RuntimeError as error:
            told[where] = {"raised": str(error).partition("\n")[0]}
            continue
        words = [str(w.message) for w in said if "prototype" not in str(w.message)]
        told[where] = {"steps": training.step, "captured": training.captured, "said": words}
    return told


@pytest.mark.parametrize("where", ["begin", "end", "instantiate"])
def test_steps_are_launched_one_by_one_where_a_capture_fails(where, told_once):
    found = told_once(uncaptured)[where]
    assert "raised" not in found, found["raised"]
    assert (found["steps"], found["captured"]) == (10, False)
    (warning,) = found["said"]
    assert warning.startswith("steps are launched one")


@pytest.mark.long
def test_a_failed_capture_halves_no_stack(tmp_path):
    overrides = (*SMALL, "model=mlp", "seed=range(4)", "launch=inline")
    records, counts, said = sweep(tmp_path, *overrides, FAKE_GPU_NO_CAPTURE="end")
    assert_none_failed(records, 4)
    assert "in halves" not in said
    assert counts[0].graphs == 0
