"""`ablate audit`: retrained runs are bit-identical, or it says how they differ."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from ablate import record
from ablate.commands.audit import again, page, serve
from ablate.commands.audit.compare import compare
from ablate.errors import AblateError
from ablate.launch.outcome import ASKED
from ablate.train.training import Training
from tests.calls import called

GRID = (
    *("-m", "model=mlp", "model.hidden=[8]", "data.train_size=64", "epochs=2"),
    *("dropout.dense=0,0.5,0.9", "seed=0,1", "launch=inline", "device=cpu"),
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Train a small sweep, once."""
    folder = tmp_path_factory.mktemp("swept")
    assert called("run", *GRID, f"out={folder}", "name=sweep").returncode == 0
    return folder / "sweep"


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sweep(swept, tmp_path):
    """Copy the sweep, so that a test may edit it."""
    return Path(shutil.copytree(swept, tmp_path / "results" / "sweep"))


def edit(folder, change):
    path = folder / record.RECORD
    found = json.loads(path.read_text(encoding="utf-8"))
    change(found)
    path.write_text(json.dumps(found), encoding="utf-8")


# -- the command -----------------------------------------------------------------------------------


def test_runs_of_different_arms_are_retrained_bit_identically(sweep):
    before = {file: file.read_bytes() for file in sweep.rglob("*") if file.is_file()}
    done = called("audit", "results/sweep")
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "results/sweep: 3 of 6 finished runs are trained again, in audit"
    same = [line for line in lines if line.startswith("results/sweep/")]
    assert len(same) == 3
    for line, rate in zip(same, ("0.0", "0.5", "0.9"), strict=True):
        assert f"(dropout.dense={rate}, seed 0)" in line
        assert line.endswith(": the same to the last bit, in 2 epochs, metrics and weights")
    assert len(record.find(Path("audit/sweep"))) == 3
    # Nothing was written among the recorded runs.
    assert {file: file.read_bytes() for file in sweep.rglob("*") if file.is_file()} == before


def test_a_run_that_differs_is_reported_with_its_first_epoch_and_by_how_much(sweep):
    first, *_ = record.find(sweep)

    def change(found):
        found["history"][1]["train/loss"] += 0.5
        found["metrics"]["test/loss"] += 0.25
        found["environment"]["versions"]["torch"] = "1.0"

    edit(first, change)
    done = called("audit", str(first))
    assert done.returncode == 1
    told, environment = done.stdout.splitlines()[1:3]
    assert "differs from epoch 2 of 2 on: train/loss by up to 0.5; at the end test/loss" in told
    assert told.endswith("test/loss by up to 0.25")
    assert f"torch 1.0 → {version('torch')}" in environment


@pytest.mark.parametrize("out", ["results/sweep", "results/sweep/again", "results", "."])
def test_new_runs_may_not_be_written_among_those_they_are_compared_with(sweep, out):
    done = called("audit", "results/sweep", "--out", out)
    assert done.returncode == 2
    assert f"--out {out}: the new runs would lie among those" in done.stderr
    assert "Nothing was started." in done.stderr


def test_a_folder_without_finished_runs_is_refused_before_anything_starts(sweep):
    assert "is not there" in called("audit", "results/swept").stderr
    for folder in record.find(sweep):
        edit(folder, lambda found: found.update(status="failed", reason="it did"))
    done = called("audit", "results/sweep")
    assert done.returncode == 2
    assert "holds no finished run" in done.stderr


def test_an_interrupted_audit_says_so(sweep, monkeypatch):
    real = again.execute
    monkeypatch.setattr(again, "execute", lambda plan: replace(real(plan), stop=ASKED))
    done = called("audit", "results/sweep", "--runs", "1")
    assert done.returncode == 130
    assert "interrupted" in done.stderr


def test_a_run_that_fails_this_time_is_named(sweep, monkeypatch):
    def fails(*arguments, **named):
        raise ValueError("not today")

    monkeypatch.setattr(Training, "advance", fails)
    done = called("audit", "results/sweep", "--runs", "1")
    assert done.returncode == 1
    assert "is failed: ValueError: not today" in done.stderr


def test_runs_are_chosen_across_arms_first_then_across_seeds(swept):
    def arms(count):
        return [(one.arm, one.found["seed"]) for one in again.chosen(swept, count)[0]]

    none, half, most = (f"dropout.dense={rate}" for rate in ("0.0", "0.5", "0.9"))
    assert arms(1) == [(none, 0)]
    assert arms(2) == [(none, 0), (most, 0)]
    assert arms(4) == [(none, 0), (half, 0), (most, 0), (none, 1)]
    assert len(arms(100)) == 6


def test_runs_are_retrained_fused_or_looped_as_before_with_as_many_threads(
    swept, monkeypatch, tmp_path
):
    seen = []

    def looks(plan):
        seen.append((plan.execution.threads, [(s.fused, len(s.runs)) for s in plan.stacks]))

    monkeypatch.setattr(again, "execute", looks)
    one, two, three = again.chosen(swept, 3)[0]
    environment = two.found["environment"] | {"threads": 7}
    environment |= {"stack": {"width": 1, "slot": 0, "fused": False}}
    two = replace(two, found=two.found | {"environment": environment})
    list(again.train_again([one, two, three], tmp_path / "audit"))
    threads = one.found["environment"]["threads"]
    assert seen == [(threads, [(True, 1), (True, 1)]), (7, [(False, 1)])]


# -- the comparison --------------------------------------------------------------------------------


PLAIN = {
    "schema": 1,
    "key": "k",
    "seed": 0,
    "status": "finished",
    "config": {"save": "weights"},
    "active": {},
    "evaluate": {},
    "timing": {},
    "environment": {"threads": 2},
}


def put(folder, history, metrics, weights=None, code=None):
    folder.mkdir(parents=True)
    entry = PLAIN | {"history": history, "metrics": metrics} | ({"code": code} if code else {})
    record.finish(folder, entry, weights)
    return folder


def epochs(*losses):
    return [{"epoch": n, "train/loss": loss} for n, loss in enumerate(losses, start=1)]


def test_numbers_are_compared_exactly_and_the_largest_difference_is_kept(tmp_path):
    before = put(tmp_path / "a", epochs(1.0, 0.5, 0.25), {"test/loss": None, "test/error": 0.5})
    now = put(
        tmp_path / "b",
        epochs(1.0, math.nextafter(0.5, 1), 0.75),
        {"test/loss": 1.0, "test/error": 0.5, "test/ece": 0.1},
    )
    found = compare(before, now)
    assert (found.epochs, found.first, found.same) == (3, 2, False)
    assert found.history == {"train/loss": 0.5}
    assert found.metrics == {"test/loss": math.inf}
    assert found.weights is None
    assert found.lacking[0].startswith("weights: ")


def test_weights_are_compared_bit_by_bit(tmp_path):
    strange = torch.tensor([math.nan, 0.0, 1.0])
    before = put(tmp_path / "a", [], {}, {"w": strange})
    assert compare(before, put(tmp_path / "b", [], {}, {"w": strange.clone()})).same
    signed = compare(before, put(tmp_path / "c", [], {}, {"w": torch.tensor([math.nan, -0.0, 1])}))
    assert not signed.same
    far = put(tmp_path / "d", [], {}, {"w": torch.tensor([0.0, 1.0])})
    further = put(tmp_path / "e", [], {}, {"w": torch.tensor([0.0, 1.5])})
    assert compare(far, further).weights == 0.5
    assert compare(before, far).lacking == ("weights: they belong to another network",)


def test_edits_since_training_are_reported(tmp_path):
    one, other = (
        put(tmp_path / name, [], {}, None, {"files": {"a.py": name}, "packages": {}})
        for name in ("1", "2")
    )
    assert compare(one, other).environment == ("a.py was edited",)


def test_the_verdict_says_from_where_and_by_how_much(tmp_path):
    before = put(tmp_path / "a", epochs(1.0, 0.5), {"test/loss": 1.0}, {"w": torch.zeros(1)})
    now = put(tmp_path / "b", epochs(1.0, 0.5), {"test/loss": 1.5}, {"w": torch.ones(1)})
    assert page.verdict(compare(before, now)) == (
        "differs after 2 identical epochs; at the end test/loss by up to 0.5; weights by up to 1"
    )


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(AblateError, match="is not there"):
        serve.serve(str(tmp_path / "nowhere"), 3, None)
