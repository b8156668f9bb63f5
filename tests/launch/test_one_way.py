"""Stops are reported in the same words and lose nothing, whatever kind of request was made."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ablate
from ablate import record
from ablate.commands import run
from ablate.errors import AblateError
from ablate.train.training import Training

TINY = ("model=mlp", "model.hidden=[]", "data.train_size=60", "epochs=4", "launch=inline")
STUDY = """
question: Does it?
source: a test
fixed: [model=mlp, 'model.hidden=[]', data.train_size=60, launch=inline]
arms: {plain: [], slow: [optimizer.lr=0.0001]}
seeds: 2
TUNE
claims: [{claim: it does, arm: slow, direction: higher}]
"""
WAYS = {
    "a single run": TINY,
    "a grid": ("-m", *TINY, "optimizer.lr=0.001,0.002", "seed=0,1"),
    "a grid, run by run": ("-m", *TINY, "stack.width=1", "seed=0,1,2"),
    "a design": ("-m", *TINY, "design=one_at_a_time", "optimizer.lr=0.001,0.002", "seed=0,1"),
    "a study": ("+study=mine.yaml", "epochs=4"),
    "a study that tunes": ("+study=tuned.yaml", "epochs=4"),
    "hydra's basic launcher": ("-m", *TINY, "hydra/launcher=basic", "seed=0,1"),
}

LONG = {"a grid, run by run", "a study"}  # the other ways cover these
EACH = [pytest.param(way, marks=pytest.mark.long) if way in LONG else way for way in WAYS]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(STUDY.replace("TUNE", ""), encoding="utf-8")
    tune = "tune: {knobs: {optimizer.momentum: [0.1, 0.9]}, seeds: 1}"
    tuned = STUDY.replace("TUNE", tune).replace("model=mlp", "model=mlp, optimizer=momentum")
    Path("tuned.yaml").write_text(tuned, encoding="utf-8")
    before = signal.getsignal(signal.SIGTERM)  # the command replaces this handler
    yield
    signal.signal(signal.SIGTERM, before)


def at_step(
    number: int, happens: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """Call a function before one step of training; steps are counted over all runs."""
    advance, steps = Training.advance, iter(range(10**9))

    def noisy(self: Training) -> bool:
        if next(steps) == number:
            happens()
        return advance(self)

    monkeypatch.setattr(Training, "advance", noisy)
    return monkeypatch


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def statuses() -> set[str]:
    found = [record.read(folder) for folder in record.find(Path("results"))]
    return {one["status"] for one in found if one is not None}


def everything_ends(words: tuple[str, ...]) -> None:
    """Run the same command again, and check that every run finishes."""
    assert run.serve(list(words)) == 0
    assert statuses() == {"finished"}


@pytest.mark.parametrize("way", EACH)
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_stop_is_reported_in_the_same_words_and_the_same_command_goes_on(
    way: str, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        at_step(1, lambda: signal.raise_signal(number), patch)
        assert run.serve(list(WAYS[way])) == 130
    assert (
        "ablate: interrupted: run the same command again to continue\n" in capsys.readouterr().err
    )
    assert "interrupted" in statuses()
    assert "failed" not in statuses()
    everything_ends(WAYS[way])


@pytest.mark.parametrize("way", EACH)
def test_a_full_disk_is_reported_in_the_same_words_and_the_same_command_goes_on(
    way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        at_step(1, full, patch)
        assert run.serve(list(WAYS[way])) == 1
    said = capsys.readouterr().err
    assert "ablate: the disk is full (" in said
    assert "make space, and the same command goes on\n" in said
    assert "Traceback" not in said
    assert "failed" not in statuses()
    everything_ends(WAYS[way])


@pytest.mark.parametrize("way", EACH[1:])
def test_fail_fast_stops_every_kind_of_request_at_the_first_failure(
    way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = (*WAYS[way], "fail_fast=true", "stack.width=1")

    def breaks() -> None:
        raise ZeroDivisionError("by nought")

    with monkeypatch.context() as patch:
        at_step(1, breaks, patch)
        assert run.serve(list(alone)) == 1
    assert "ablate: stopped at the first failure (fail_fast=true)\n" in capsys.readouterr().err
    assert statuses() == {"failed"}
    everything_ends((*alone, "rerun=failed"))


def test_the_python_interface_raises_what_the_command_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        at_step(1, lambda: signal.raise_signal(signal.SIGINT), patch)
        with pytest.raises(KeyboardInterrupt):
            ablate.run(TINY)
    assert statuses() == {"interrupted"}
    with monkeypatch.context() as patch:
        at_step(1, full, patch)
        with pytest.raises(AblateError, match="the disk is full"):
            ablate.run(TINY)
    assert ablate.run(TINY)["status"] == "finished"


def test_the_python_interface_trains_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AblateError, match=r"\+study=mine.yaml is many runs"):
        ablate.run(["+study=mine.yaml"])
    assert not Path("results").exists()


CALLBACK = """
from hydra.experimental.callback import Callback

class Listens(Callback):
    def on_run_start(self, config, **kwargs): print("a run starts")
    def on_multirun_start(self, config, **kwargs): print("a sweep starts")
"""


@pytest.mark.parametrize(
    ("words", "said"), [(TINY, "a run starts"), (("-m", *TINY, "seed=0,1"), "a sweep starts")]
)
def test_hydras_callbacks_are_called(
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("listening.py").write_text(CALLBACK, encoding="utf-8")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert run.serve([*words, "+hydra.callbacks.mine._target_=listening.Listens"]) == 0
    assert capsys.readouterr().out.count(said) == 1
    assert statuses() == {"finished"}


def test_the_python_interface_raises_if_a_run_diverged_unless_check_is_false(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = ["model=mlp", "model.hidden=[4]", "data.train_size=64", "epochs=3", "batch_size=16"]
    request = [*tiny, "init=normal", "init.std=1e30"]
    with pytest.raises(AblateError, match="the run diverged: the loss was not finite") as caught:
        ablate.run(request)
    assert caught.value.status == 1
    assert ablate.run(request, check=False)["status"] == "diverged"
