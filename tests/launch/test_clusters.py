"""Sweeps on a real SLURM and a real Ray, each of two nodes on this machine, and dying nodes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablate import record

pytestmark = pytest.mark.long

SCRIPTS = Path(__file__).parents[2] / "scripts/cluster"
COMMAND = str(Path(sys.executable).parent / "ablate")
SWEEP = (
    *("run", "-m", "model=mlp", "model.hidden=[16]", "epochs=150", "seed=range(4)"),
    *("stack.width=1", "checkpoint.every=1s"),
)
LIMIT = 540  # seconds that a test may wait for something


def lacking(*programs):
    """Say why a cluster cannot be started here, or return None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "it takes root"
    missing = [name for name in programs if shutil.which(name, path=path()) is None]
    return f"there is no {', '.join(missing)} here" if missing else None


def path():
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin"


def called(*words, **variables):
    env = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path()} | variables
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=LIMIT)


def until(what):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.3)
    pytest.fail("waited in vain")


def numbers(root):
    found = [record.read(folder) for folder in record.find(Path(root))]
    assert {one["environment"]["threads"] for one in found} == {1}
    return {one["seed"]: [one["status"], one["metrics"], one["history"]] for one in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Train the sweep here, undisturbed, with as many threads per run."""
    out = tmp_path_factory.mktemp("whole")
    done = called(COMMAND, *SWEEP, "launch=inline", f"out={out}")
    assert done.returncode == 0, done.stderr
    return numbers(out)


@pytest.fixture
def cluster(tmp_path_factory):
    """Start SLURM with two nodes; return its folder."""
    if reason := lacking("slurmctld", "slurmd", "munged"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    env = os.environ | {"PATH": path(), "SLURM_PORT": "28817"}
    script = str(SCRIPTS / "slurm.sh")
    # A pipe would never close: the daemons inherit it and keep it open.
    with (folder / "start.log").open("w") as log:
        subprocess.run([script, "start", str(folder)], env=env, stdout=log, stderr=log, check=True)
    yield folder
    called("scancel", "--me", SLURM_CONF=str(folder / "slurm.conf"))
    subprocess.run([script, "stop", str(folder)], env=env, check=True)


def test_a_sweep_on_slurm_survives_the_loss_of_launcher_node_and_jobs(
    cluster, whole, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_CONF", str(cluster / "slurm.conf"))
    monkeypatch.setenv("PATH", path())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = (*SWEEP, "launch=slurm", "slurm.gpus=0", "slurm.cpus=1", "slurm.memory=1")

    def launched():
        return subprocess.Popen(
            [COMMAND, *words, "slurm.minutes=2"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def training():
        told = called("squeue", "--noheader", "--array", "--states=R", "--format=%i").stdout
        return told.split()

    first = launched()
    until(lambda: list(Path("results").glob("*/*/checkpoint.pt")))
    first.kill()
    first.wait()
    assert training()  # the jobs go on
    second = launched()
    called("scontrol", "requeue", training()[0])
    os.kill(int((cluster / "n1.pid").read_text()), signal.SIGKILL)
    until(lambda: "down" in called("sinfo", "--noheader", "--format=%T").stdout)
    subprocess.run([SCRIPTS / "slurm.sh", "node", cluster, "n1"], check=True)
    waiting = called("squeue", "--noheader", "--array", "--format=%i").stdout.split()
    called("scancel", *waiting[::2])
    second.wait(timeout=LIMIT)
    if second.returncode != 0:  # some were cancelled
        assert launched().wait(timeout=LIMIT) == 0
    assert numbers("results") == whole
    until(lambda: called("squeue", "--noheader").stdout == "")


def test_a_refusal_of_a_real_queue_is_reported(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = (*SWEEP, "launch=slurm", "slurm.cpus=1")
    for knobs, told in (
        (("slurm.partition=nope", "slurm.gpus=0", "slurm.memory=1"), "invalid partition"),
        (("slurm.gpus=1", "slurm.memory=1"), "generic resource"),
        (("slurm.gpus=0", "slurm.memory=999"), "node configuration is not available"),
    ):
        done = called(COMMAND, *words, *knobs, SLURM_CONF=str(cluster / "slurm.conf"))
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    assert not Path("results").exists()


KILLS = """
$COMMAND > log 2>&1 & sweep=$!
until ls results/*/*/checkpoint.pt > /dev/null 2>&1; do sleep 0.3; done
kill -9 $(cat ray/second.pid)
wait $sweep
"""


@pytest.mark.parametrize("hidden", [False, True])
def test_a_sweep_on_ray_survives_a_lost_node_and_one_without_the_shared_folder(
    hidden, whole, tmp_path, monkeypatch
):
    if reason := lacking("ray", "unshare", "ip"):
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    command = [COMMAND, *SWEEP, "launch=ray", "ray.address=127.0.0.1:26379"]
    (tmp_path / "results").mkdir()
    script = f"{' '.join(map(_quoted, command))}" if hidden else KILLS
    done = called(
        *(str(SCRIPTS / "ray.sh"), "ray", "bash", "-c", script),
        COMMAND=" ".join(command),
        **({"HIDE": str(tmp_path / "results")} if hidden else {}),
    )
    assert done.returncode == 0, done.stderr
    assert numbers("results") == whole


def _quoted(word):
    return f"'{word}'"
