"""The code that a sweep ran on is kept next to its runs, once, and the report names it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ablate import environment, record
from ablate.analyze import caveats, frames
from ablate.launch import snapshot
from ablate.launch.snapshot import keep_code
from ablate.plan import code
from ablate.plan.planning import plan
from ablate.plan.request import Request
from ablate.plan.reuse import not_reused
from ablate.record.snapshot import snapshots
from ablate.report.provenance import _snapshots
from tests.calls import called
from tests.plan.test_code import NET, put

OWN = ("model._target_=mynets.Net", "data.train_size=64", "epochs=1", "device=cpu", "launch=inline")
SWEEP = Path("results/digits-Net")


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(snapshot, "_TAKEN", {})
    put({"mynets.py": NET.format(imports="import helper"), "helper.py": "x = 1\n", "w.pt": "1"})
    put({".gitignore": "results\nw.pt\n__pycache__\n"})
    forget()
    yield
    forget()


def forget():
    """Start like a new process."""
    environment.tree.cache_clear()
    code.forget()
    for name in ("mynets", "helper"):
        sys.modules.pop(name, None)


def git(*words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit():
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "all")
    return git("rev-parse", "HEAD")


def kept(*overrides):
    """Plan like a new process, keep the code, and read what was kept."""
    forget()
    runs = plan(Request((*OWN, *overrides))).runs
    keep_code(runs)
    return list(snapshots(runs[0].sweep).values())


def content(digest):
    return (SWEEP / "code/files" / digest).read_text(encoding="utf-8")


def test_without_git_sources_are_kept_but_of_weights_only_the_digest():
    (one,) = kept("model.weights=w.pt")
    assert (one["commit"], one["dirty"], one["diff"]) == (None, None, None)
    assert one["kept"] == ["helper.py", "mynets.py"]
    assert set(one["files"]) == {"helper.py", "mynets.py", "w.pt"}
    assert content(one["files"]["helper.py"]) == "x = 1\n"
    assert {file.name for file in (SWEEP / "code/files").iterdir()} == {
        one["files"][name] for name in one["kept"]
    }


def test_of_a_clean_commit_only_untracked_files_are_kept():
    put({".gitignore": "results\nw.pt\n__pycache__\nhelper.py\n"})
    head = commit()
    (one,) = kept()
    assert (one["commit"], one["dirty"], one["diff"]) == (head, False, None)
    assert one["kept"] == ["helper.py"]


def test_the_diff_and_the_sources_of_a_dirty_tree_are_kept():
    head = commit()
    put({"helper.py": "x = 2\n"})
    (one,) = kept()
    assert (one["commit"], one["dirty"]) == (head, True)
    assert one["kept"] == ["helper.py", "mynets.py"]
    assert one["diff"] is not None
    assert "-x = 1\n+x = 2\n" in content(one["diff"])


def test_a_diff_that_is_too_long_is_left_out_and_this_is_noted(monkeypatch):
    commit()
    put({"helper.py": "x = 2\n"})
    monkeypatch.setattr(snapshot, "_MOST", 10)
    (one,) = kept()
    assert one["diff"] is None
    assert one["diff_left_out"] is not None


def test_the_same_code_is_kept_once_and_after_an_edit_only_what_is_new():
    kept()
    assert len(kept()) == 1
    put({"helper.py": "x = 2\n"})
    assert len(kept()) == 2
    assert len(list((SWEEP / "code/files").iterdir())) == 3  # mynets.py once, helper.py twice


def test_within_a_process_a_snapshot_is_taken_again_only_if_code_changed(monkeypatch):
    (run,) = plan(Request(OWN)).runs
    keep_code([run])
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_kept", lambda *arguments: pytest.fail("taken again"))
        keep_code([run])
    put({"helper.py": "x = 2\n"})
    keep_code([replace(run, code=code.code_of(run.config))])
    assert len(snapshots(run.sweep)) == 2
    for file in (run.sweep / "code").glob("*.json"):
        file.unlink()
    keep_code([run])
    assert len(snapshots(run.sweep)) == 1


def test_code_that_cannot_be_kept_is_noted_and_stops_no_run():
    put({"results/digits-Net/code": "a file of the user's"})
    (note,) = keep_code(plan(Request(OWN)).runs)
    assert note.startswith("the code is not kept in ")
    assert note.endswith("digits-Net/code: Not a directory")


def test_a_sweep_without_users_code_keeps_the_commit_and_the_diff():
    head = commit()
    put({"helper.py": "x = 2\n"})
    forget()
    runs = plan(Request(("model=mlp",))).runs
    keep_code(runs)
    (one,) = snapshots(runs[0].sweep).values()
    assert (one["commit"], one["dirty"], one["files"]) == (head, True, {})
    assert one["diff"] is not None


def test_the_source_of_a_data_set_is_kept_although_its_images_identify_it():
    put({"mydata.py": "", "helper.py": ""})
    found = code.sources({"data": {"_target_": "mydata.Data"}})
    assert set(found) == {"mydata.py"}


def test_a_damaged_snapshot_is_left_out():
    kept()
    (whole,) = snapshots(SWEEP).values()
    wrong = [{"files": 1}, whole | {"commit": {}}, whole | {"files": []}, []]
    put({f"results/digits-Net/code/{n}.json": json.dumps(one) for n, one in enumerate(wrong)})
    put({"results/digits-Net/code/torn.json": "{"})
    assert len(snapshots(SWEEP)) == 1


@pytest.mark.parametrize("wrong", [3, [], {}, {"files": 1}, {"files": {"a": {}}, "packages": None}])
def test_invalid_entries_on_code_in_a_record_are_tolerated(wrong):
    found = record.code_in({"code": wrong})
    assert found in (None, {"files": {}, "packages": {}}, {"files": {"a": "{}"}, "packages": {}})


# -- what users see of it --------------------------------------------------------------------------


def test_plan_names_runs_not_reused_and_the_report_arms_on_different_code():
    put({"other.py": "# nothing imports this"})
    both = ("-m", *OWN, "model.weights=null,w.pt", "seed=0")
    assert called("run", *both).returncode == 0
    put({"w.pt": "2", "other.py": "# edited"})
    forget()
    told = called("plan", *both).stdout
    assert "now: 1 finished, 1 missing" in told
    (old,) = [one for one in records() if one["config"]["model"]["weights"] == "w.pt"]
    assert f"note: the earlier run {old['key']} is not used again: w.pt was edited" in told
    put({"helper.py": "x = 2\n"})
    forget()
    told = called("plan", *both).stdout
    assert "is not used again: helper.py was edited\n" in told
    assert "is not used again: helper.py was edited; w.pt was edited\n" in told
    forget()
    assert called("run", *OWN, "model.weights=w.pt").returncode == 0
    read = frames.read(SWEEP)
    (note,) = [note for note in caveats.notes(read) if "helper.py" in note]
    assert note.startswith(
        "runs were trained on different versions of helper.py (arms by version:"
        " model.weights=null, model.weights=w.pt / model.weights=w.pt)"
    )
    named = _snapshots(read.runs)
    assert len(named) == 2
    assert all("(no commit, your files helper.py, mynets.py" in one for one in named)


def records():
    return [json.loads(file.read_text()) for file in SWEEP.glob(f"*/{record.RECORD}")]


def test_a_plan_without_users_code_reads_no_records(monkeypatch):
    made = plan(Request(("model=mlp",)))
    monkeypatch.setattr(record, "find", lambda path: pytest.fail("read"))
    assert not_reused([made]) == {}
