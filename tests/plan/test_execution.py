"""Execution knobs and labels change neither a run's key nor, except by rounding, a number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ablate import record
from ablate.config import schema
from ablate.config.knob import Knob
from ablate.plan.request import Request
from tests.asking import runs_of, train_all
from tests.files import write_mnist

TINY = (
    *("data=mnist", "data.train_size=60", "data.val_size=20", "data.image_size=8"),
    *("model=mlp", "model.hidden=[8]", "batch_size=10", "epochs=2"),
    *("dropout.dense=0.2,0.4", "seed=0,1"),
)
PLAIN = {"data.root": "here", "launch": "inline", "device": "cpu", "deterministic": "false"}
# Another value for each knob that does not affect results.
OTHERS = {
    "data.root": "there",
    "out": "elsewhere",
    "name": "other",
    "deterministic": "true",
    "device": "auto",
    "save": "all",
    "checkpoint.every": "0.001s",
    "rerun": "all",
    "retries": "2",
    "fail_fast": "true",
    "max_failed": "0.5",
    "max_runs": "7",
    "report": "true",
    "launch": "workers",
    "stack.width": "1",
    "stack.capture": "false",
    "stack.compile": "true",
    "design": "one_at_a_time",
}
# Those that need another launcher or a study: planned, but not trained.
ELSEWHERE = {
    "slurm.partition": "fast",
    "slurm.minutes": "5",
    "slurm.cpus": "1",
    "slurm.gpus": "0",
    "slurm.memory": "2",
    "slurm.cluster": "local",
    "slurm.account": "lab",
    "slurm.qos": "high",
    "slurm.constraint": "a100",
    "slurm.flags": "['--exclude=n3']",
    "slurm.at_once": "2",
    "slurm.stacks": "2",
    "slurm.abreast": "2",
    "ray.address": "auto",
    "ray.cpus": "2",
    "ray.gpus": "0.5",
    "scale": "full",
}
STUDY = """
question: Does dropout help?
source: nobody
arms: {plain: [], dropout: [dropout.dense=0.5]}
seeds: 8
margin: 0.01
claims: [{claim: it does, arm: dropout, direction: lower}]
"""
# Networks one by one instead of all at once, or other kernels: sums are rounded in another order.
ROUNDS = {"stack.width", "stack.compile"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the same images in two places."""
    folder = tmp_path_factory.mktemp("files")
    for place in ("here", "there"):
        write_mnist(folder / place, images=100)
    return folder


@pytest.fixture(scope="module")
def trained(files: Path) -> dict[str, dict[str, Any]]:
    """Train a small grid with the defaults."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.chdir(files)
        return train({})


@pytest.fixture(autouse=True)
def _in_its_own_folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    for place in ("here", "there"):
        (tmp_path / place).symlink_to(files / place)


def train(changes: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Train the grid; return its records by their keys."""
    values = [f"{name}={value}" for name, value in (PLAIN | changes).items()]
    runs, stopped = train_all(Request((*TINY, *values), multirun=True))
    assert not stopped
    found = {run.key: record.read(run.directory) for run in runs}
    return {key: r for key, r in found.items() if r is not None and r["status"] == "finished"}


def numbers(of: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers that a record holds about training, flattened."""
    epochs = {f"{e['epoch']} {k}": v for e in of["history"] for k, v in e.items()}
    return {**epochs, **of["metrics"], "parameters": of["parameters"]}


def test_every_knob_that_does_not_affect_results_is_covered() -> None:
    others = {knob.name for knob in schema.KNOBS if knob.role != "result"}
    # data.cache_gb needs image files: tests/data/test_cache.py covers it.
    assert {*OTHERS, *ELSEWHERE, "data.cache_gb"} == others


@pytest.mark.parametrize("name", [name for name in ELSEWHERE if name != "scale"])
def test_a_cluster_knob_changes_no_key(name: str) -> None:
    launch = f"launch={name.partition('.')[0]}"
    request = Request((*TINY, "data.root=here", launch), multirun=True)
    keys = {run.key for run in runs_of(request)}
    several = ["slurm.stacks=3"] if name == "slurm.abreast" else []
    words = (*request.overrides, *several, f"{name}={ELSEWHERE[name]}")
    other = replace(request, overrides=words)
    assert {run.key for run in runs_of(other)} == keys


def test_the_scale_of_a_study_alone_changes_no_key(tmp_path: Path) -> None:
    file = tmp_path / "asked.yaml"
    file.write_text(STUDY)
    keys = [
        {run.key for run in runs_of(Request((f"+study={file}", f"scale={scale}")))}
        for scale in ("quick", ELSEWHERE["scale"])
    ]
    assert keys[0] == keys[1]


MARKS = {"launch": pytest.mark.slow, "stack.compile": pytest.mark.long}


@pytest.mark.parametrize(
    "knob",
    [pytest.param(schema.BY_NAME[n], marks=MARKS.get(n, ()), id=n) for n in OTHERS],
)
def test_a_knob_that_does_not_affect_results_changes_no_key_and_no_number(
    knob: Knob, trained: dict[str, dict[str, Any]]
) -> None:
    if knob.name == "rerun":
        train({})  # otherwise nothing could be trained again
    others = train({knob.name: OTHERS[knob.name]})
    assert len(trained) == 4
    assert others.keys() == trained.keys()
    for key, one in trained.items():
        other = others[key]
        assert other["timing"] != one["timing"], "it was not trained again"
        assert other["active"] == one["active"]
        tolerance = 1e-5 if knob.name in ROUNDS else 0
        assert numbers(other) == pytest.approx(numbers(one), rel=tolerance, abs=0)
