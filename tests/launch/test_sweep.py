"""Sweeps: planned as a whole, trained in stacks, no run lost, none trained twice."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import ablate
from ablate import environment, record
from ablate.commands.requests import trained
from ablate.commands.show import show_state
from ablate.config.knobs.run import EXECUTORS
from ablate.data import Sizes
from ablate.errors import AblateError
from ablate.launch.executor import executor
from ablate.launch.outcome import FIRST_FAILURE, Outcome
from ablate.plan import execution
from ablate.plan.compose import Composer, bare
from ablate.plan.request import Request
from ablate.plan.run import Run, key
from ablate.plan.session import compose, hydra_session
from ablate.plan.stacks import graph_of, group
from tests.asking import runs_of, train_all
from tests.calls import called
from tests.configs import config

ABLATE = str(Path(sys.executable).parent / "ablate")
TINY = ["model=mlp", "model.hidden=[8]", "data.train_size=128", "epochs=2"]
# Two kinds of stacks: norm=batch and norm=none; small enough to be fused on a CPU.
GRID = [
    *("dropout.dense=0,0.3", "norm=none,batch", "seed=range(4)", "epochs=25"),
    *("model.channels=[4]", "model.hidden=[16]", "checkpoint.every=0.05s", "stack.width=4"),
]


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shell(*arguments, env=None):
    """Start the installed command, with one thread per process."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [ABLATE, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}), **pipes
    )


def done(*arguments):
    """Run the installed command to its end."""
    with shell(*arguments) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def records(root="results"):
    """Read all records below a folder, by key."""
    return {found["key"]: found for d in record.find(Path(root)) if (found := record.read(d))}


def numbers(root="results"):
    """Return what must not depend on how a sweep was trained."""
    names = ("status", "metrics", "history", "active", "config")
    return {
        k: {n: r[n] if n != "config" else r[n]["seed"] for n in names}
        for k, r in records(root).items()
    }


# -- planning --------------------------------------------------------------------------------------

CELLS = st.lists(
    st.tuples(
        st.sampled_from(["optimizer=sgd", "optimizer=adam", "optimizer=adamw"]),
        st.sampled_from(["norm=none", "norm=batch"]),
        st.lists(
            st.sampled_from(
                [
                    *("seed=3", "dropout.dense=0.5", "dropout.conv=[0.1,0.2]", "epochs=7"),
                    *("optimizer.lr=1e-2", "seeds.init=1", "name='a b'", "data.train_size=null"),
                    *(
                        "batch_size=full",
                        "model.hidden=[]",
                        "optimizer.weight_decay=${optimizer.lr}",
                    ),
                ]
            ),
            unique=True,
        ),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.long
@given(CELLS)
def test_cells_are_composed_as_by_hydra(cells):
    request = Request()
    with hydra_session(request) as hydra:
        composer = Composer(lambda overrides: compose(hydra, request, overrides))
        for optimizer, norm, values in cells:
            overrides = [*values, optimizer, norm]
            assert composer.contents(overrides) == bare(compose(hydra, request, overrides))


def planned(seed=0, device="cpu", **changes):
    """Make a planned run without reading data."""
    made = config(
        seed=seed, **{"device": device, "stack": {"width": "auto", "capture": True}, **changes}
    )
    return Run(made, "digest", key(made, "digest"), (1, 8, 8), 10, Sizes(1000, 300, 497))


def varied(device):
    """Draw the runs of one request, which all train on one device."""
    return st.lists(
        st.builds(
            planned,
            seed=st.integers(0, 5),
            device=st.just(device),
            optimizer=st.sampled_from(["adam", "sgd"]),
            norm=st.sampled_from(["none", "batch"]),
            **{
                "dropout.dense": st.sampled_from([0.0, 0.5]),
                "model.hidden": st.sampled_from([[8], [16]]),
                "epochs": st.sampled_from([1, 2]),
            },
        ),
        max_size=40,
    )


RUNS = st.sampled_from(["cpu", "cuda"]).flatmap(varied)


@given(RUNS)
def test_every_run_is_in_exactly_one_stack_of_runs_with_the_same_graph(runs):
    stacks = group(runs)
    keys = [run.key for stack in stacks for run in stack.runs]
    assert sorted(keys) == sorted({run.key for run in runs})
    for stack in stacks:
        assert len({graph_of(run) for run in stack.runs}) == 1
        assert len(stack.runs) == 1 or stack.fused
        assert len(stack.runs) <= {"cpu": 16, "cuda": 32}[stack.runs[0].config["device"]]


@given(RUNS, st.randoms())
def test_neither_order_nor_repetition_changes_the_stacks(runs, chance):
    other = [*runs, *runs[:3]]
    chance.shuffle(other)
    assert group(other) == group(runs)


def test_axis_knobs_share_a_stack_and_graph_knobs_split_it():
    base = planned()
    for name, value in {
        "dropout.dense": 0.5,
        "optimizer.lr": 0.1,
        "optimizer.weight_decay": 0.1,
        "init.gain": 2.0,
        "schedule.final": 0.5,
    }.items():
        assert graph_of(planned(**{name: value})) == graph_of(base)
    others = {"epochs": 2, "batch_size": 8, "model.hidden": [3], "seeds.split": 1}
    for name, value in others.items():
        assert graph_of(planned(**{name: value})) != graph_of(base)


@pytest.mark.parametrize(
    ("hidden", "channels", "fused"), [([32], [8, 16], True), ([128], [32, 64], False)]
)
def test_small_networks_are_fused_and_large_ones_looped_on_a_cpu(hidden, channels, fused):
    runs = [planned(s, **{"model.hidden": hidden, "model.channels": channels}) for s in range(4)]
    stacks = group(runs)
    assert [s.fused for s in stacks] == ([True] if fused else [False] * 4)


def widths(count, gibibytes, **changes):
    runs = [planned(s, device="cuda", **changes) for s in range(count)]
    return [len(stack.runs) for stack in group(runs, int(gibibytes * 2**30))]


def test_on_a_gpu_a_stack_is_as_wide_as_fits_in_memory():
    large = {"model": "resnet", "model.width": 128, "batch_size": 4096}
    assert widths(40, 80, batch_size=128) == [20, 20]
    assert (
        widths(40, 0.1, batch_size=128) == [1] * 40
    )  # less than the fixed allowance: each run is tried alone
    narrow, middle, wide = (max(widths(40, gib, **large)) for gib in (20, 40, 80))
    assert 2 <= narrow < middle < wide


def test_a_run_that_cannot_fit_on_the_gpu_is_refused_with_its_estimate():
    huge = planned(device="cuda", model="resnet", batch_size=4096, **{"model.width": 1024})
    with pytest.raises(
        AblateError, match=r"needs about \d.* GiB .*activations.*batch_size"
    ) as told:
        group([huge], 16 * 2**30)
    assert "the GPU has 16.0" in str(told.value)


def test_a_single_run_is_looped_even_on_a_gpu():
    (stack,) = group([planned(device="cuda")])
    assert not stack.fused


@pytest.mark.parametrize(("cores", "stacks", "expected"), [(2, 8, (2, 1)), (8, 2, (2, 4))])
def test_cores_are_divided_and_never_oversubscribed(monkeypatch, cores, stacks, expected):
    monkeypatch.setattr(environment, "cores", lambda: cores)
    runs = [planned(s, launch="auto", **{"model.hidden": [128]}) for s in range(stacks)]
    how = execution.execution(group(runs))
    assert (how.workers, how.threads) == expected


# -- training, in this process ---------------------------------------------------------------------


def run(*overrides):
    """Train a sweep in this process."""
    return train_all(Request((*overrides, "launch=inline"), multirun=True))


def test_a_sweep_leaves_the_same_files_for_every_run_as_a_single_run():
    runs, interrupted = run(*TINY, "seed=0,1,2", "dropout.dense=0,0.5")
    assert not interrupted
    assert len({r.key for r in runs}) == 6
    for one in runs:
        names = {p.name for p in one.directory.iterdir()}
        assert names >= {"record.json", "run.log", "checkpoint.pt", ".hydra"}
        found = record.read(one.directory)
        assert found["status"] == "finished"
        assert found["environment"]["stack"]["width"] == 6
        assert {p.name for p in (one.directory / ".hydra").iterdir()} == {
            *("config.yaml", "hydra.yaml", "overrides.yaml")
        }
    assert len({r["metrics"]["test/loss"] for r in records().values()}) == 6


def test_hydras_files_describe_the_run():
    from omegaconf import OmegaConf

    runs, _ = run(*TINY, "seed=4,5")
    kept = OmegaConf.load(runs[1].directory / ".hydra" / "config.yaml")
    assert (kept.seed, kept.model.name, kept.epochs) == (5, "mlp", 2)
    asked = OmegaConf.load(runs[1].directory / ".hydra" / "overrides.yaml")
    assert "seed=5" in asked
    own = OmegaConf.load(runs[1].directory / ".hydra" / "hydra.yaml")
    assert own.hydra.job.num == 1
    assert own.hydra.runtime.output_dir == str(runs[1].directory.absolute())


def test_running_a_sweep_again_trains_only_what_is_new():
    run(*TINY, "seed=0,1")
    first = {k: r["timing"] for k, r in records().items()}
    run(*TINY, "seed=0,1,2")
    again = records()
    assert len(again) == 3
    assert all(again[k]["timing"] == timing for k, timing in first.items())


def test_missing_runs_of_a_stack_get_the_same_numbers_as_in_the_whole_stack():
    run(*TINY, "seed=range(5)", "out=whole")
    run(*TINY, "seed=range(5)")
    for place in record.find(Path("results"))[1:4]:
        shutil.rmtree(place)
    run(*TINY, "seed=range(5)")
    assert numbers() == numbers("whole")


def test_a_diverged_run_is_an_outcome_and_the_others_finish():
    runs, _ = run(*TINY, "optimizer=sgd", "seed=0,1", "optimizer.lr=0.1,1e30")
    ends = [record.read(r.directory)["status"] for r in runs]
    assert sorted(ends) == ["diverged", "diverged", "finished", "finished"]
    standings = {run.directory: record.standing(run.directory) for run in runs}
    assert Outcome(tuple(runs), standings).status == 1


MINE = """
import os, signal, torch
class Net(torch.nn.Module):
    def __init__(self, fault="none"):
        super().__init__()
        self.out, self.fault, self.steps = torch.nn.Linear(64, 10), fault, 0
    def forward(self, x):
        if self.training:
            self.steps += 1
            if self.steps > 20 and self.fault == "raise":
                raise RuntimeError("my own fault")
            if self.steps > 20 and self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "diverge":
                return self.out(x.flatten(1)) * 1e38 * 1e38
        return self.out(x.flatten(1))
"""


def test_a_failing_stack_is_halved_until_one_run_is_left(monkeypatch):
    from ablate.train.training import Training

    advance = Training.advance

    def fails_with_seed_2(self):
        if any(c["seed"] == 2 for c in self.configs):
            raise MemoryError("too wide")
        return advance(self)

    run(*TINY, "seed=range(5)", "out=whole")
    monkeypatch.setattr(Training, "advance", fails_with_seed_2)
    run(*TINY, "seed=range(5)")
    by_seed = {r["seed"]: r for r in records().values()}
    assert by_seed[2]["status"] == "failed"
    assert by_seed[2]["reason"] == "MemoryError: too wide"
    whole = {r["seed"]: r for r in records("whole").values()}
    for seed in (0, 1, 3, 4):
        assert by_seed[seed]["metrics"] == whole[seed]["metrics"]


def test_rerun_trains_again_only_runs_of_the_named_status(monkeypatch):
    run(*TINY, "optimizer=sgd", "seed=0,1", "optimizer.lr=1e30")
    before = {k: r["timing"]["started"] for k, r in records().items()}
    run(*TINY, "optimizer=sgd", "seed=0,1", "optimizer.lr=1e30", "rerun=failed")
    assert {k: r["timing"]["started"] for k, r in records().items()} == before
    run(*TINY, "optimizer=sgd", "seed=0,1", "optimizer.lr=1e30", "rerun=diverged")
    assert len(list(Path("results").rglob("record.1.json"))) == 2


def test_fail_fast_stops_at_the_first_failure():
    words = (*TINY, "optimizer=sgd", "optimizer.lr=1e30", "batch_size=32,64", "fail_fast=true")
    outcome = trained(Request((*words, "launch=inline"), multirun=True))
    assert list(outcome.standings.values()).count(None) == 1
    assert outcome.stop == FIRST_FAILURE
    assert outcome.status == 1


def test_the_python_interface_and_a_sweep_agree_on_keys():
    run(*TINY, "seed=7,8")
    alone = ablate.run([*TINY, "seed=7", "out=alone"])
    assert alone["key"] in records()


# -- from the shell --------------------------------------------------------------------------------


@pytest.mark.long
def test_one_raises_one_diverges_one_is_killed_and_all_others_finish(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    status, out, err = done(
        *("run", "-m", "model._target_=mine.Net", "+model.fault=none,raise,diverge,kill"),
        *("seed=0,1", "epochs=3"),
    )
    ends = sorted((r["config"]["model"]["fault"], r["status"]) for r in records().values())
    assert ends == [
        *(("diverge", "diverged"), ("diverge", "diverged")),
        *(("kill", "failed"), ("kill", "failed")),
        *(("none", "finished"), ("none", "finished")),
        *(("raise", "failed"), ("raise", "failed")),
    ], err
    assert status == 1
    for reason in ("RuntimeError: my own fault", "was killed", "was not finite"):
        assert reason in " ".join(out.split()) or any(
            reason in str(r["reason"]) for r in records().values()
        )
    raised = [r for r in records().values() if r["config"]["model"]["fault"] == "raise"]
    log = Path("results/digits-Net") / raised[0]["key"] / "run.log"
    assert "Traceback" in log.read_text()


@pytest.mark.long
def test_a_sweep_killed_repeatedly_ends_bit_identical_to_an_undisturbed_one():
    assert done("run", "-m", *GRID, "out=whole")[0] == 0
    chance = random.Random(1)
    for _ in range(8):
        with shell("run", "-m", *GRID) as process:
            try:
                process.wait(timeout=chance.uniform(1, 9))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
    status, _, err = done("run", "-m", *GRID)
    assert status == 0, err
    assert numbers() == numbers("whole")
    assert len(records()) == 16
    assert not list(Path("results").rglob("record.1.json")), "some run was trained twice"


@pytest.mark.long
def test_two_launchers_share_a_sweep():
    assert done("run", "-m", *GRID, "out=whole")[0] == 0
    with shell("run", "-m", *GRID) as one, shell("run", "-m", *GRID) as other:
        ends = [p.communicate(timeout=300) for p in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], ends
    assert numbers() == numbers("whole")
    assert len(records()) == 16
    assert not list(Path("results").rglob("record.1.json")), "some run was trained twice"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_sweep_exits_130_and_goes_on(number):
    slow = [*GRID[:-2], "checkpoint.every=30s", "stack.width=4", "epochs=200"]
    with shell("run", "-m", *slow) as process:
        deadline = time.monotonic() + 300
        while not records() and process.poll() is None and time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert {r["status"] for r in records().values()} <= {"interrupted", "finished"}
    assert any(r["status"] == "interrupted" for r in records().values())


@pytest.mark.slow
def test_plan_and_show_report_the_state_of_a_sweep():
    sweep = ("-m", *TINY, "seed=range(3)", "dropout.dense=0,0.5", "launch=inline")
    plan = called("plan", *sweep)
    assert plan.returncode == 0
    assert "6 missing" in plan.stdout
    assert "fused" in plan.stdout
    assert not Path("results").exists(), "planning left files"
    assert called("run", *sweep).returncode == 0
    assert "6 finished" in called("plan", *sweep).stdout
    shown = called("show", "results")
    assert (shown.returncode, "finished" in shown.stdout) == (0, True)
    place = record.find(Path("results"))[0]
    found = json.loads((place / "record.json").read_text()) | {"status": "running"}
    (place / "record.json").write_text(json.dumps(found))
    shown = called("show", "results")
    assert (shown.returncode, "interrupted" in shown.stdout) == (1, True)


def test_show_counts_finished_runs_that_have_lost_their_weights():
    kept, gone, _ = (
        ablate.run([*TINY, f"seed={seed}", f"save={save}"])
        for seed, save in enumerate(("weights", "weights", "none"))
    )
    assert kept["status"] == gone["status"] == "finished"

    def shown():
        console = Console(width=500)
        with console.capture() as told:
            status = show_state(Path("results"), console)
        return status, told.get()

    status, page = shown()
    assert (status, "checkpoint.pt" in page) == (0, False)
    (place,) = (d for d in record.find(Path("results")) if d.name == gone["key"])
    (place / "checkpoint.pt").unlink()
    status, page = shown()
    assert (status, "1 finished without a checkpoint.pt" in page) == (0, True)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_hydras_own_launchers_work_with_the_same_task(launcher):
    status, _, err = done("run", "-m", *TINY, "seed=0,1", f"hydra/launcher={launcher}")
    assert status == 0, err
    assert [r["status"] for r in records().values()] == ["finished", "finished"]


@pytest.mark.long
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a file system takes root"
)
def test_a_full_disk_is_reported_and_the_sweep_resumes_when_there_is_space(tmp_path):
    Path("results").mkdir()
    sweep_ = shlex.join([ABLATE, "run", "-m", *TINY, "seed=range(6)", "launch=inline"])
    script = (
        "mount -t tmpfs -o size=600k tmpfs results && dd if=/dev/zero of=results/filler bs=1k"
        f" count=490 2>/dev/null; {sweep_}; echo status $?; {ABLATE} show results; rm"
        f" results/filler; {sweep_} && cp -r results kept"
    )
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, err = process.communicate(timeout=300)
    if "unshare" in err:
        pytest.skip("this machine allows no mounts")
    assert "status 1" in out
    assert "disk is full" in err
    assert "unreadable" not in out
    assert process.returncode == 0, err
    assert {r["status"] for r in records("kept").values()} == {"finished"}
    assert len(records("kept")) == 6


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_hydras_optuna_sweeper_minimizes_the_validation_error():
    status, _, err = done(
        *("run", "-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"),
        *("hydra.sweeper.n_jobs=1", "optimizer.lr=interval(0.001,0.01)"),
    )
    assert status == 0, err
    assert len(records()) == 3


def test_a_single_run_is_submitted_to_a_cluster_only_as_a_sweep():
    with pytest.raises(AblateError, match=r"launch=slurm submits a sweep: use `ablate run -m`"):
        runs_of(Request(("launch=slurm",)))
    assert len(runs_of(Request(("launch=slurm",), multirun=True))) == 1


def test_every_value_of_launch_names_its_executor():
    how = execution.Execution("inline", 1, None)
    made = {word: executor(replace(how, launch=word)) for word in EXECUTORS}
    assert {word: one.name for word, one in made.items()} == {word: word for word in EXECUTORS}
