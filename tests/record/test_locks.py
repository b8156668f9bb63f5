"""Claims on runs: by kernel locks, and by lease files if those do not work."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
from filelock import SoftFileLease

from ablate import record
from ablate.commands.requests import trained
from ablate.plan.request import Request
from ablate.record import locks
from ablate.train.training import Training

TINY = ("model=mlp", "model.hidden=[8]", "data.train_size=128", "epochs=2", "launch=inline")


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locks, "_works", {})
    monkeypatch.delenv("ABLATE_LOCKS", raising=False)


def refuses(number):
    def flock(file, how):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture
def without_locks(monkeypatch):
    """Make a file system without locks, and leases short enough for tests."""
    monkeypatch.setattr(fcntl, "flock", refuses(errno.ENOSYS))
    monkeypatch.setattr(locks, "DURATION", 0.6)
    monkeypatch.setattr(locks, "_LOOK", 0.1)


@pytest.fixture
def other_host(monkeypatch):
    """Hold a lease as a process on another host; calling the fixture kills that host."""
    lease = SoftFileLease(".lease", lease_duration=0.6)
    monkeypatch.setattr(socket, "gethostname", lambda: "other")
    lease.acquire()
    monkeypatch.setattr(socket, "gethostname", lambda: "this")
    yield lease._stop_heartbeat
    lease.release()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
def test_whether_locks_work_is_found_out_by_trying(number, tmp_path, monkeypatch):
    assert record.flock_works(tmp_path)
    monkeypatch.setattr(locks, "_works", {})
    monkeypatch.setattr(fcntl, "flock", refuses(number))
    assert not record.flock_works(tmp_path)
    assert os.listdir(tmp_path) == []


def test_locks_that_exclude_nobody_count_as_not_working(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)
    assert not record.flock_works(tmp_path)


def test_leases_can_be_requested(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_LOCKS", "lease")
    with record.claim(tmp_path) as claim:
        assert claim
        assert (tmp_path / ".lease").exists()
        assert not (tmp_path / ".lock").exists()


def test_a_lease_names_host_and_process_and_is_removed_at_the_end(without_locks, tmp_path):
    with record.claim(tmp_path, wait=False) as claim:
        told = (tmp_path / ".lease").read_text()
        assert f"pid={os.getpid()}\n" in told
        assert "host=" in told
        before = (tmp_path / ".lease").stat().st_mtime_ns
        assert record.claimed_elsewhere(tmp_path)
        with record.claim(tmp_path, wait=False) as second:
            assert not second
        time.sleep(0.5)  # time for a heartbeat, which comes every third of the duration
        assert (tmp_path / ".lease").stat().st_mtime_ns > before
        assert not claim.is_lost
    assert not record.claimed_elsewhere(tmp_path)
    assert not (tmp_path / ".lease").exists()


def test_a_lease_of_a_living_host_is_waited_for(without_locks, other_host, tmp_path):
    assert record.claimed_elsewhere(tmp_path)
    for _ in range(3):
        with record.claim(tmp_path, wait=False) as claim:
            assert not claim
        time.sleep(0.3)


def test_a_lease_of_a_dead_host_is_taken_over(without_locks, other_host, tmp_path):
    other_host()
    with record.claim(tmp_path, wait=True) as claim:
        assert claim
        assert f"pid={os.getpid()}\n" in (tmp_path / ".lease").read_text()


def test_an_old_damaged_lease_is_removed(without_locks, tmp_path):
    (tmp_path / ".lease").write_bytes(b"")
    os.utime(tmp_path / ".lease", (0, 0))
    assert not record.claimed_elsewhere(tmp_path)
    with record.claim(tmp_path, wait=False) as claim:
        assert claim


def test_a_lock_is_seen_in_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    with record.claim(tmp_path):
        monkeypatch.setattr(locks, "lock_of", None)  # reading needs no lock
        assert record.claimed_elsewhere(tmp_path)
    assert not record.claimed_elsewhere(tmp_path)


def test_a_run_whose_lease_is_lost_is_left_to_the_new_holder(without_locks, monkeypatch):
    real, taken = Training.advance, []

    def take(lease):
        with SoftFileLease(lease, lease_duration=0.6):
            time.sleep(1.2)

    def taken_over(self):
        if not taken:
            (lease,) = Path("results").rglob(".lease")
            lease.unlink()
            taken.append(Thread(target=take, args=[lease]))
            taken[0].start()
            time.sleep(1.0)  # as if this process were suspended
        return real(self)

    monkeypatch.setattr(Training, "advance", taken_over)
    outcome = trained(Request((*TINY, "checkpoint.every=0.0001s", "seed=0"), multirun=True))
    assert outcome.status == 0
    (folder,) = record.find(Path("results"))
    log = (folder / "run.log").read_text()
    assert log.count("finished after") == 1
    assert len(taken) == 1
    taken[0].join()


def test_without_locks_a_sweep_says_so_and_gives_the_same_numbers(
    without_locks, monkeypatch, capsys
):
    sweep, here = (*TINY, "seed=0,1"), Path.cwd()
    trained(Request((*sweep, "out=leased"), multirun=True))
    told = capsys.readouterr().err
    assert told.count("file locks do not work in leased/digits-mlp") == 1
    monkeypatch.undo()
    trained(Request((*sweep, f"out={here}/locked"), multirun=True))
    numbers = [
        {found["key"]: found["metrics"] for d in record.find(root) if (found := record.read(d))}
        for root in (here / "leased", here / "locked")
    ]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 2
    assert list((here / "leased").rglob(".lease")) == []


# Simulates another host: its own name, no locks, and a short lease.
HOST = """
import errno, fcntl, os, socket, sys
name = sys.argv.pop(1)
def flock(file, how): raise OSError(errno.ENOSYS, "no locks")
fcntl.flock, socket.gethostname = flock, lambda: name
from ablate.record import locks
locks.DURATION = 2.0
from ablate.cli import main
main()
"""


def on_host(name, *arguments):
    """Start the command as if on a host of this name."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-c", HOST, name, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **pipes,
    )


SWEEP = (
    *("run", "-m", "model.channels=[4]", "model.hidden=[16]", "seed=range(4)", "epochs=8"),
    *("stack.width=1", "launch=inline", "checkpoint.every=0.05s"),
)


@pytest.mark.long
def test_two_hosts_without_locks_train_each_run_once():
    with on_host("one", *SWEEP) as one, on_host("two", *SWEEP) as two:
        ends = [process.communicate(timeout=300) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], ends
    logs = [path.read_text() for path in Path("results").rglob("run.log")]
    assert [log.count("finished after") for log in logs] == [1] * 4


@pytest.mark.long
def test_a_host_continues_what_a_dead_one_left():
    with on_host("one", *SWEEP, "out=whole") as whole:
        assert whole.wait(timeout=300) == 0
    with on_host("one", *SWEEP) as one:
        while not list(Path("results").rglob("checkpoint.pt")) and one.poll() is None:
            time.sleep(0.05)
        one.send_signal(signal.SIGKILL)
    assert len(list(Path("results").rglob(".lease"))) == 1
    with on_host("two", *SWEEP) as two:
        _, told = two.communicate(timeout=300)
    assert two.returncode == 0, told
    numbers = [
        {found["key"]: found["metrics"] for d in record.find(root) if (found := record.read(d))}
        for root in (Path("whole"), Path("results"))
    ]
    assert numbers[0] == numbers[1]
