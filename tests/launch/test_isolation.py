"""What happens to the files or the process of one run affects only that run."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import ablate
from ablate import record
from ablate.commands.requests import trained
from ablate.commands.show import show_state
from ablate.errors import AblateError, RunError
from ablate.launch import attempt, job
from ablate.launch.interruption import Interruption
from ablate.plan.request import Request
from ablate.record import locks
from ablate.train.training import Training
from tests.asking import runs_of
from tests.calls import called

TINY = ("model=mlp", "model.hidden=[8]", "data.train_size=128", "epochs=2", "launch=inline")
SWEEP = (*TINY, "seed=0,1,2,3", "checkpoint.every=0.0001s")
COMMAND = str(Path(sys.executable).parent / "ablate")


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Train the sweep undisturbed."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        trained(Request(SWEEP, multirun=True))
    return numbers(place)


def run(*overrides):
    return trained(Request(overrides, multirun=True))


def records(root="results"):
    return {found["seed"]: found for d in record.find(Path(root)) if (found := record.read(d))}


def numbers(root="results"):
    """Return what must not depend on how a sweep was trained."""
    return {seed: [r["metrics"], r["history"], r["active"]] for seed, r in records(root).items()}


def at_step(step, monkeypatch, do):
    """Call `do` once, before this step of training."""
    real, done = Training.advance, []

    def advance(self):
        if self.step == step and not done:
            done.append(True)
            do()
        return real(self)

    monkeypatch.setattr(Training, "advance", advance)


# -- folders that cannot be used, or are moved -----------------------------------------------------


def test_a_run_whose_folder_is_deleted_is_lost_and_the_others_finish(whole, monkeypatch, capsys):
    gone = runs_of(Request(SWEEP, multirun=True))[1]
    at_step(2, monkeypatch, lambda: shutil.rmtree(gone.directory))
    outcome = run(*SWEEP)
    assert outcome.status == 1
    found = outcome.standing(gone)
    assert (found.status, found.reason) == (
        "failed",
        "its folder was moved or deleted while it was trained",
    )
    assert numbers() == {seed: whole[seed] for seed in (0, 2, 3)}
    assert "Traceback" not in capsys.readouterr().err
    assert run(*SWEEP).status == 0
    assert numbers() == whole


def test_a_sweep_whose_folder_is_moved_explains_itself_and_can_be_completed(whole, monkeypatch):
    narrow = (*SWEEP, "stack.width=2")
    at_step(2, monkeypatch, lambda: Path("results").rename("moved"))
    done = called("run", "-m", *narrow)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stdout.count("moved or deleted") == 2
    assert len(records()) == 2  # the second stack created the folder again
    assert called("run", "-m", *narrow).returncode == 0
    assert numbers() == whole


def test_a_single_run_that_is_lost_says_why(monkeypatch):
    at_step(2, monkeypatch, lambda: shutil.rmtree("results"))
    with pytest.raises(RunError, match="its folder was moved or deleted"):
        ablate.run(TINY[:-1])


def test_a_folder_that_cannot_be_written_is_named_and_the_others_finish(whole, monkeypatch):
    wrong = runs_of(Request(SWEEP, multirun=True))[2]
    real = locks.lock_of

    def lock_of(folder):
        if folder == wrong.directory:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
        return real(folder)

    monkeypatch.setattr(locks, "lock_of", lock_of)
    outcome = run(*SWEEP)
    assert "Read-only file system" in outcome.standing(wrong).reason
    assert str(wrong.directory) in outcome.standing(wrong).reason
    assert numbers() == {seed: whole[seed] for seed in (0, 1, 3)}


def test_a_log_that_cannot_be_opened_fails_only_its_run(whole, monkeypatch):
    wrong = runs_of(Request(SWEEP, multirun=True))[2]
    handler = job.logging.FileHandler

    def opened(path, **how):
        if Path(path).parent == wrong.directory:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return handler(path, **how)

    monkeypatch.setattr(job.logging, "FileHandler", opened)
    outcome = run(*SWEEP)
    assert "Permission denied" in outcome.standing(wrong).reason
    assert numbers()[0] == whole[0]
    assert sum(one["status"] == "finished" for one in records().values()) == 3


def test_with_few_file_handles_a_stack_is_trained_in_parts(whole, monkeypatch):
    real, held = locks.acquired, []

    def acquired(lock, wait):
        open_now = [one for one in held if one.is_locked]
        if len(open_now) >= 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        held.append(lock)
        return real(lock, wait)

    run(*TINY, "seed=9")  # to create the folder of the sweep
    held.clear()
    monkeypatch.setattr(locks, "acquired", acquired)
    monkeypatch.setattr("ablate.study.grids.note_request", lambda plan: None)
    assert run(*SWEEP).status == 0
    assert {seed: numbers()[seed] for seed in whole} == whole


@pytest.mark.long
def test_too_few_file_handles_do_not_end_a_sweep(whole):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = 40
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [COMMAND, "run", "-m", *TINY, "seed=range(16)"],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard)),
    )
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert sum(one["status"] == "finished" for one in records().values()) >= 8


def test_finished_results_are_shown_even_if_nothing_can_be_written(monkeypatch):
    def refuse(folder):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))

    run(*SWEEP)
    Path("results/digits-mlp/ledger.jsonl").unlink()
    before = {p: p.stat().st_mtime_ns for p in Path("results").rglob("*")}
    monkeypatch.setattr(locks, "lock_of", refuse)
    monkeypatch.setattr("ablate.plan.checks.unwritable", lambda config: ["out is not writable"])
    done = called("run", "-m", *SWEEP)
    assert done.returncode == 0, done.stderr
    assert "this look could not be noted" in " ".join(done.stdout.split())
    assert {p: p.stat().st_mtime_ns for p in Path("results").rglob("*")} == before
    missing = called("run", "-m", *SWEEP, "seed=0,1,2,3,4")
    assert (missing.returncode, "out is not writable" in missing.stderr) == (2, True)


READ_ONLY = """
mount --bind results results && mount -o remount,ro,bind results || exit 77
{command}; echo status $?; {command} seed=0,1,2,3,4; echo status $?
"""


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("study", [False, True])
def test_finished_results_on_a_read_only_mount_are_shown(study, tmp_path):
    words = SWEEP
    if study:
        Path("asked.yaml").write_text(
            "question: Does dropout help?\nsource: nobody\nseeds: 3\nmargin: 0.01\n"
            "arms: {plain: [], dropout: [dropout.dense=0.5]}\n"
            "claims: [{claim: it does, arm: dropout, direction: lower}]\n"
        )
        words = (*TINY, "+study=asked.yaml")
        trained(Request(words))
    else:
        run(*words)
    Path("results/digits-mlp/ledger.jsonl").unlink(missing_ok=True)
    command = " ".join([COMMAND, "run", "-m", *words]).replace("[8]", "'[8]'")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", READ_ONLY.format(command=command)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "unshare" in done.stderr or done.returncode == 77:
        pytest.skip("this machine allows no mounts")
    first, second, _ = done.stdout.split("status ")
    assert second.startswith("0"), done.stderr
    assert "this look could not be noted" in " ".join(first.split())
    assert "Traceback" not in done.stderr
    assert "is not writable" in done.stderr or study  # said about the seed that is missing


# -- links -----------------------------------------------------------------------------------------


def test_links_to_sweeps_are_followed_and_loops_are_not(tmp_path):
    def sweep(path, *keys):
        for key in keys:
            (path / key).mkdir(parents=True)
            record.write(path / key, {"schema": 1, "key": key, "status": "finished"})

    sweep(tmp_path / "elsewhere" / "one", "a", "b")
    sweep(tmp_path / "results" / "two", "c")
    results = tmp_path / "results"
    (results / "one").symlink_to(tmp_path / "elsewhere" / "one")
    (results / "again").symlink_to(results / "two")  # listed once, under its own name
    (results / "two" / "up").symlink_to(results)
    (results / "top").symlink_to("/")
    (results / "self").symlink_to("self")
    (tmp_path / "elsewhere" / "one" / "back").symlink_to(results)
    names = [str(folder.relative_to(results)) for folder in record.find(results)]
    assert names == ["one/a", "one/b", "two/c"]
    (tmp_path / "link").symlink_to(results)
    assert len(record.find(tmp_path / "link")) == 3
    assert record.find(tmp_path / "nowhere") == []
    with pytest.raises(AblateError, match="too long"):
        record.find(tmp_path / ("x" * 300))


# -- dead processes --------------------------------------------------------------------------------


def test_a_running_record_of_a_dead_process_is_shown_as_interrupted(capsys):
    from rich.console import Console

    run(*TINY, "seed=0,1")
    first, second = record.find(Path("results"))
    for place in (first, second):
        record.write(place, record.read(place) | {"status": "running"})
    with record.claim(second):
        assert record.standing(first).status == "interrupted"
        assert record.standing(second).status == "running"
        assert sorted(ablate.load("results")["status"]) == ["interrupted", "running"]
        show_state(Path("results"), Console(width=200))
        head = next(line for line in capsys.readouterr().out.splitlines() if "sweep" in line)
        assert "running" in head
        assert "interrupted" in head


def test_slot_and_width_survive_a_resume(whole, monkeypatch):
    real = Training.advance

    def interrupted(self):
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    run(*SWEEP)
    before = {seed: one["environment"]["stack"] for seed, one in records().items()}
    assert sorted(one["slot"] for one in before.values()) == [0, 1, 2, 3]
    for number, place in enumerate(record.find(Path("results"))):
        if number % 2:
            shutil.rmtree(place)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", interrupted)
        run(*SWEEP)
    assert {seed: one["environment"]["stack"] for seed, one in records().items()} == before
    run(*SWEEP)
    assert {seed: one["environment"]["stack"] for seed, one in records().items()} == before
    assert numbers() == whole


def semaphores_of(process):
    return list(Path("/dev/shm").glob(f"sem.loky-{process}-*"))


@pytest.mark.long
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="semaphores lie elsewhere here")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_nothing_of_the_pool_is_left_in_shared_memory(number):
    words = ("run", "-m", *TINY[:-1], "launch=workers", "seed=0,1", "batch_size=32,64")
    epochs = "epochs=2" if number is None else "epochs=3000"
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([COMMAND, *words, epochs], env=env, **quiet) as process:
        while number and process.poll() is None and not list(Path("results").rglob("record.json")):
            time.sleep(0.1)
        if number:
            assert semaphores_of(process.pid)
            process.send_signal(number)
        process.wait(timeout=300)
    deadline = time.monotonic() + 60
    while semaphores_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert semaphores_of(process.pid) == []


# -- tries -----------------------------------------------------------------------------------------


def without_memory(monkeypatch, times, error, seed=1):
    """Make the training of a seed run out of memory at step 2, this many times."""
    real, left = Training.advance, [times]

    def advance(self):
        alone = len({config["seed"] for config in self.configs}) == 1
        if self.step == 2 and any(config["seed"] == seed for config in self.configs):
            left[0] -= alone
            if not alone or left[0] >= 0:
                raise error
        return real(self)

    monkeypatch.setattr(Training, "advance", advance)


CPU = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")


@pytest.mark.parametrize("error", [MemoryError("none"), torch.OutOfMemoryError("none"), CPU])
def test_a_run_without_memory_is_tried_again_and_each_try_is_recorded(error, whole, monkeypatch):
    without_memory(monkeypatch, 2, error)
    outcome = run(*SWEEP, "retries=2")
    assert outcome.status == 0
    assert numbers() == whole
    tries = records()[1]["tries"]
    assert [one["reason"] for one in tries] == [f"{type(error).__name__}: {error}"] * 2
    assert all(one["started"] <= one["ended"] for one in tries)
    assert "tries" not in records()[0]


def test_a_run_that_fails_its_last_try_has_failed(monkeypatch):
    without_memory(monkeypatch, 3, MemoryError("none"))
    assert run(*SWEEP, "retries=2").status == 1
    found = records()[1]
    assert (found["status"], len(found["tries"])) == ("failed", 3)
    monkeypatch.undo()


def test_an_error_in_the_users_code_is_not_tried_again(monkeypatch):
    without_memory(monkeypatch, 1, ValueError("out of memory"))
    run(*SWEEP, "retries=5")
    assert (records()[1]["status"], "tries" in records()[1]) == ("failed", False)


MINE = """
import os, signal, torch
from pathlib import Path
class Net(torch.nn.Linear):
    def __init__(self, fault="none"):
        super().__init__(64, 10)
        self.fault, self.calls = fault, 0
    def forward(self, x):
        self.calls += 1
        if self.training and self.calls > 20 and self.fault == "once" and not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x.flatten(1))
"""


@pytest.mark.long
def test_a_killed_worker_is_tried_again():
    Path("mine.py").write_text(MINE)
    words = ("model._target_=mine.Net", "+model.fault=none,once", "epochs=2", "launch=workers")
    done = subprocess.run(
        [COMMAND, "run", "-m", *words, "retries=1"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    by_fault = {
        found["config"]["model"]["fault"]: found
        for d in record.find(Path("results"))
        if (found := record.read(d))
    }
    assert [one["reason"] for one in by_fault["once"]["tries"]] == [
        "its process was killed (SIGKILL; was there enough memory?)"
    ]
    assert "tries" not in by_fault["none"]


def failing(monkeypatch, *seeds):
    real = Training.advance

    def advance(self):
        if any(config["seed"] in seeds for config in self.configs):
            raise ValueError("my own fault")
        return real(self)

    monkeypatch.setattr(Training, "advance", advance)


ALONE = (*TINY, "stack.width=1")


@pytest.mark.parametrize(
    ("allowed", "seeds", "failed", "started"),
    [
        ("0", [*range(8)], 1, 1),
        ("0.25", [*range(8)], 3, 3),  # two of eight are not more than a quarter
        ("0.25", [0, 1], 2, 8),
    ],
)
def test_after_too_many_failures_no_further_run_starts(
    allowed, seeds, failed, started, monkeypatch
):
    failing(monkeypatch, *seeds)
    words = (*ALONE, "seed=range(8)", f"max_failed={allowed}")
    outcome = run(*words)
    statuses = [outcome.standing(one) for one in outcome.runs]
    assert sum(one is not None for one in statuses) == started
    assert sum(one is not None and one.status == "failed" for one in statuses) == failed
    stopped = outcome.stop is not None
    assert stopped == (started < 8)
    if stopped:
        assert outcome.stop.message.startswith(f"{failed} of 8 planned runs failed, more than max")
        assert run(*words).stop.why == "too many failures"  # the old failures count again
        assert len(records()) == started
        monkeypatch.undo()
        assert run(*words, "rerun=failed").status == 0


# -- stops and checkpoints -------------------------------------------------------------------------


def test_a_hangup_stops_like_ctrl_c_and_never_exits_at_once():
    with Interruption() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)  # as happens at a logout
        assert stop.asked


def test_a_hangup_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_after_a_hangup_the_same_command_continues_from_the_saved_state(whole, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(3, patch, lambda: os.kill(os.getpid(), signal.SIGHUP))
        done = called("run", "-m", *SWEEP, "checkpoint.every=1h")
    assert done.returncode == 130
    assert {one["status"] for one in records().values()} == {"interrupted"}
    assert {record.load_state(d)["step"] for d in record.find(Path("results"))} == {4}
    assert run(*SWEEP).status == 0
    assert numbers() == whole


class Clock:
    """A clock that only training moves, by one second per step."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic


@pytest.mark.parametrize(
    ("every", "steps"),
    # Five steps per epoch. States fall within epochs too, and at times between steps.
    [("3s", [3, 6, 9]), ("2.5s", [3, 5, 8, 10]), ("0.5s", [*range(1, 11)]), ("11s", [])],
)
def test_states_are_written_at_regular_times_from_the_start_of_training(every, steps, monkeypatch):
    clock, saved, real = Clock(), [], Training.advance

    def advance(self):
        clock.now += 1
        return real(self)

    monkeypatch.setattr(Training, "advance", advance)
    monkeypatch.setattr(attempt, "time", clock)
    monkeypatch.setattr(record, "save_state", lambda d, state: saved.append(state["step"]))
    words = ["model=mlp", "model.hidden=[8]", "data.train_size=80", "batch_size=16", "epochs=2"]
    ablate.run([*words, f"checkpoint.every={every}"])
    assert saved == steps
