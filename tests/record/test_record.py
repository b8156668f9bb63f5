"""The record: atomic, resumable, claimed; and runs that are interrupted or fail."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import ablate
from ablate import record
from ablate.errors import AblateError
from ablate.record.content import json_schema

ROOT = Path(__file__).parents[2]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
ABLATE = [str(Path(sys.executable).parent / "ablate"), "run"]
SMALL = ["model=mlp", "model.hidden=[8]", "epochs=2", "data.train_size=128"]
# Long enough to be killed midway, and with every kind of state: momenta, running statistics,
# dropout streams, a schedule, the best weights so far.
LONG = [
    *("model.channels=[4]", "model.hidden=[16]", "epochs=40", "dropout.dense=0.3", "norm=batch"),
    *("select=best", "checkpoint.every=0.05s", "optimizer=adamw"),
]


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def folder(results="results"):
    return next(iter(record.find(Path(results))))


def numbers(found):
    """Return the parts of a record that must not depend on how the run was trained."""
    return {name: found[name] for name in ("key", "status", "metrics", "history", "active")}


# -- record.json -----------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_become_null(tmp_path):
    record.write(tmp_path, {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -0.0}})
    strict = json.loads((tmp_path / "record.json").read_text(), parse_constant=pytest.fail)
    del strict["checksum"]
    assert strict == {"a": None, "b": [None, 1.5], "c": {"d": 0.0}}


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path):
    record.write(tmp_path, {"schema": 1, "key": "k", "status": "running"})
    with pytest.raises(TypeError):
        record.write(tmp_path, {"schema": object()})
    assert record.read(tmp_path)["status"] == "running"
    assert os.listdir(tmp_path) == ["record.json"]


def _cut_off(path):
    with record.replacing(path) as file:
        file.write(b'{"a"')
        raise OSError("the disk is full")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "study.json"
    record.write_json(path, {"a": 1})
    with pytest.raises(OSError, match="full"):
        _cut_off(path)
    assert json.loads(path.read_text()) == {"a": 1}
    with record.replacing(path) as file:
        file.write(b"[2]")
        assert json.loads(path.read_text()) == {"a": 1}
    assert json.loads(path.read_text()) == [2]
    assert os.listdir(tmp_path) == ["study.json"]


@pytest.mark.parametrize(
    "text",
    [
        *("", '{"schema": 1', "[]", '{"a": 1}', '{"schema": 99, "key": "", "status": "failed"}'),
        '{"schema": 1, "key": "", "status": "done"}',
    ],
)
def test_a_foreign_or_broken_record_is_named(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(AblateError, match=r"record\.json"):
        record.read(tmp_path)


def test_a_run_is_claimed_by_one_process_and_freed_when_it_dies(tmp_path):
    code = (
        "import sys, pathlib, time; from ablate import record\n"
        "with record.claim(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert record.claimed_elsewhere(tmp_path)
        with record.claim(tmp_path, wait=False) as held:
            assert not held
        holder.kill()
    assert not record.claimed_elsewhere(tmp_path)


def test_a_damaged_resume_state_counts_as_none(tmp_path):
    record.save_state(tmp_path, {"step": 3, "x": torch.ones(2)})
    assert record.load_state(tmp_path)["step"] == 3
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    assert record.load_state(tmp_path) is None


def test_a_kill_between_writing_the_record_and_the_weights_loses_nothing(tmp_path, monkeypatch):
    record.save_state(tmp_path, {"step": 3})
    monkeypatch.setattr("ablate.record.checkpoint.settle", lambda *a, **k: None)
    record.finish(tmp_path, {"schema": 1, "key": "", "status": "finished"}, {"w": torch.ones(1)})
    monkeypatch.undo()
    assert record.load_weights(tmp_path) == {"w": torch.ones(1)}
    plain = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(plain) == {"w"}


# -- the schema ------------------------------------------------------------------------------------

SCHEMA = Path(ablate.__file__).with_name("record.schema.json")
KINDS = {"string": str, "boolean": bool, "null": type(None), "object": dict, "array": list}


def faults(value, schema, place="record"):
    """Check a value against the parts of JSON Schema that we use; every key must be named."""
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [place]
    kinds = schema.get("type", [])
    if not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return [f"{place} is no {kinds}"] if kinds else []
    if isinstance(value, list):
        return [f for i, v in enumerate(value) for f in faults(v, schema["items"], f"{place}/{i}")]
    if not isinstance(value, dict):
        return []
    known, others = schema.get("properties"), schema.get("additionalProperties", {})
    lacking = [f"{place} lacks {name}" for name in schema.get("required", []) if name not in value]
    if known is not None:
        lacking += [f"{place}/{name} is unnamed" for name in value if name not in known]
    parts = {name: (known or {}).get(name, others) for name in value}
    return lacking + [f for n, s in parts.items() for f in faults(value[n], s, f"{place}/{n}")]


def _is(value, kind):
    if kind in ("integer", "number"):
        kinds = int if kind == "integer" else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


def test_the_published_schema_matches_the_types():
    anew = (
        'python -c "import json; from ablate.record.content import json_schema; '
        f'print(json.dumps(json_schema(), indent=1, ensure_ascii=False))" > {SCHEMA} rewrites it'
    )
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json_schema(), anew


@pytest.mark.parametrize(
    "more",
    [
        ["regularize.l2=1e-3", "regularize.clip_norm=1", "dropout.dense=0.5", "norm=batch"],
        ["optimizer=sgd", "optimizer.lr=1e30"],
        ["data.val_size=0", "select=last"],
    ],
    ids=["finished", "diverged", "nothing held out"],
)
def test_the_record_of_a_run_follows_the_published_schema(monkeypatch, more):
    written = []

    def write(directory, entry, before=record.write):
        before(directory, entry)
        written.append(json.loads((directory / "record.json").read_text()))

    monkeypatch.setattr(record, "write", write)  # to see the first record too
    ablate.run([*SMALL, *more], check=False)
    written.append(json.loads((folder() / "record.json").read_text()))
    assert written[0]["status"] == "running"
    assert [fault for one in written for fault in faults(one, json_schema())] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"status": "done"}, "record/status"),
        ({"seed": "3"}, "record/seed is no integer"),
        ({"metrics": {"val/loss": "low"}}, "record/metrics/val/loss is no ['number', 'null']"),
        ({"history": [{"epoch": 1}]}, "record/history/0 lacks step"),
    ],
)
def test_the_schema_rejects_invalid_records(change, fault):
    ablate.run(SMALL)
    found = json.loads((folder() / "record.json").read_text())
    assert fault in faults(found | change, json_schema())


# -- a run from Python -----------------------------------------------------------------------------


def test_a_run_writes_the_record_that_it_returns():
    found = ablate.run([*SMALL, "seed=3", "norm=batch", "dropout.dense=0.25"])
    place = folder()
    assert place == Path("results/digits-mlp") / found["key"]
    assert record.read(place) == json.loads(json.dumps(found))
    assert {p.name for p in place.iterdir()} >= {
        "record.json",
        "run.log",
        "checkpoint.pt",
        ".hydra",
    }
    assert found["status"] == "finished"
    assert found["seed"] == found["config"]["seed"] == 3
    assert set(found["metrics"]) == {
        *(
            f"{s}/{m}"
            for s in ("train", "val", "test")
            for m in ("loss", "accuracy", "error", "ece", "brier")
        ),
        *("gap/accuracy", "gap/loss", "epochs_to_best"),
    }
    assert [h["epoch"] for h in found["history"]] == [1, 2]
    assert [h["step"] for h in found["history"]] == [2, 4]
    assert found["parameters"] == 64 * 8 + 2 * 8 + 8 * 10 + 10
    assert found["active"]["dropout/dense.layers.0.dropout"] == 0.25
    assert found["active"]["norm"] == {"kind": "batch", "layers": 1}
    assert len(found["timing"]["seconds"]) == 2


def test_the_metrics_belong_to_the_saved_weights():
    found = ablate.run([*SMALL, "select=best"])
    model = ablate.load_model(folder())
    from ablate.data import load

    data = load(found["config"])
    for name in ("train", "val", "test"):
        split = getattr(data, name)
        logits = model(data.normalized(split.images))
        loss = torch.nn.functional.cross_entropy(logits, split.labels).item()
        accuracy = (logits.argmax(-1) == split.labels).double().mean().item()
        assert found["metrics"][f"{name}/loss"] == pytest.approx(loss, rel=1e-5)
        assert found["metrics"][f"{name}/accuracy"] == pytest.approx(accuracy)
        assert found["metrics"][f"{name}/error"] == pytest.approx(1 - accuracy)
    gap = found["metrics"]["train/accuracy"] - found["metrics"]["test/accuracy"]
    assert found["metrics"]["gap/accuracy"] == pytest.approx(gap)


def test_the_same_request_again_trains_nothing_and_touches_nothing():
    first = ablate.run(SMALL)
    before = {p: p.stat().st_mtime_ns for p in folder().rglob("*") if p.is_file()}
    assert ablate.run(SMALL) == json.loads(json.dumps(first))
    assert {p: p.stat().st_mtime_ns for p in folder().rglob("*") if p.is_file()} == before


def test_rerun_trains_again_and_keeps_the_old_record():
    first = ablate.run(SMALL)
    again = ablate.run([*SMALL, "rerun=all"])
    assert numbers(again) == numbers(first)
    kept = json.loads((folder() / "record.1.json").read_text())
    assert kept["timing"] == json.loads(json.dumps(first["timing"]))


@pytest.mark.parametrize("save", ["none", "weights", "all"])
def test_save_says_what_is_kept(save):
    ablate.run([*SMALL, f"save={save}"])
    kept = {p.name for p in folder().glob("*.pt")}
    expected = {"none": set(), "weights": {"checkpoint.pt"}, "all": {"checkpoint.pt", "state.pt"}}
    assert kept == expected[save]
    if save == "none":
        with pytest.raises(AblateError, match="save=none"):
            ablate.load_model(folder())


def test_a_run_that_diverges_says_so_and_has_no_metrics():
    wild = [*SMALL, "optimizer=sgd", "optimizer.lr=1e30"]
    found = ablate.run(wild, check=False)
    assert found["status"] == "diverged"
    assert "step" in found["reason"]
    assert found["metrics"] == {}
    assert ablate.run(wild, check=False)["timing"] == found["timing"]


def test_a_run_that_raises_is_recorded_with_its_traceback(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(64, 10); self.calls = 0\n"
        "    def forward(self, x):\n"
        "        self.calls += 1\n"
        "        if self.training and self.calls > 3: raise RuntimeError('my own fault')\n"
        "        return super().forward(x.flatten(1))\n"
    )
    found = ablate.run(["model._target_=mine.Net", "epochs=2"], check=False)
    assert found["status"] == "failed"
    assert found["reason"] == "RuntimeError: my own fault"
    log = (folder() / "run.log").read_text()
    assert "Traceback" in log
    assert "my own fault" in log


def test_records_load_as_a_frame_with_the_knobs_that_vary():
    for seed in (0, 1):
        for lr in (0.1, 0.01):
            ablate.run([*SMALL, f"seed={seed}", f"optimizer.lr={lr}"])
    frame = ablate.load("results")
    assert len(frame) == 4
    assert sorted(frame["optimizer.lr"].unique()) == [0.01, 0.1]
    assert "optimizer.beta1" not in frame
    assert "optimizer.beta1" in ablate.load("results", all_knobs=True)
    found = record.read(Path(frame.loc[0, "path"]))
    assert frame.loc[0, "test/error"] == found["metrics"]["test/error"]


def test_a_path_without_records_is_named():
    with pytest.raises(AblateError, match="nowhere"):
        ablate.load("nowhere")


# -- a run from the shell --------------------------------------------------------------------------


def start(arguments):
    """Start the command with one thread, like this process: sums depend on the thread count."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*ABLATE, *arguments], env=ONE_THREAD, **pipes)


def wait_for(condition, process, seconds=300):
    """Poll until a condition holds or the process has ended, yielding the processor to it."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_an_interrupted_run_exits_130_and_resumes_to_the_same_numbers(number):
    undisturbed = ablate.run([*LONG, "out=whole"])
    with start(LONG) as process:
        wait_for(lambda: list(Path("results").rglob("checkpoint.pt")), process)
        process.send_signal(number)
        _, told = process.communicate(timeout=300)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    stopped = record.read(folder())
    assert stopped["status"] == "interrupted"
    assert len(stopped["history"]) < 40
    assert numbers(ablate.run(LONG)) == numbers(undisturbed)


@pytest.mark.long
def test_a_sweep_killed_a_hundred_times_ends_bit_identical_to_an_undisturbed_one():
    words = [*LONG, "-m", "seed=0,1,2", "stack.width=2", "launch=inline"]
    assert subprocess.run([*ABLATE, *words, "out=whole"], env=ONE_THREAD).returncode == 0
    told = subprocess.run(
        [sys.executable, "-m", "tests.killed", "0", "100", "run", *words],
        env=ONE_THREAD | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) >= 50, "too few kills hit a sweep that had something to lose"
    with start(words) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    ended, whole = ([numbers(record.read(place)) for place in found] for found in both())
    assert len(ended) == 3
    assert ended == whole
    assert not list(Path("results").rglob(".*.part")), "drafts of killed processes are left"


def both():
    """Return the folders of a sweep and of the undisturbed one, in the same order."""
    return [
        sorted(record.find(Path(results)), key=lambda place: place.name)
        for results in ("results", "whole")
    ]


@pytest.mark.long
def test_two_processes_on_one_run_train_it_once():
    with start(LONG) as one, start(LONG) as other:
        ends = [p.communicate(timeout=120) for p in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], ends
    assert len(list(Path("results").rglob("record*.json"))) == 1
    lines = (folder() / "run.log").read_text().splitlines()
    assert sum("finished after" in line for line in lines) == 1


@pytest.mark.parametrize("content", [b"", b"no zip at all", pickle.dumps({"w": print}, protocol=2)])
def test_a_damaged_checkpoint_is_named_and_never_run_as_code(tmp_path, content):
    (tmp_path / record.CHECKPOINT).write_bytes(content)
    with pytest.raises(AblateError, match=r"checkpoint\.pt is damaged, or holds more than tensors"):
        record.load_weights(tmp_path)
