"""Folders in a request: odd paths, notes while planning, and what a report says about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ablate
from ablate import data
from ablate.errors import AblateError
from ablate.plan.planning import plan
from ablate.plan.request import Request
from ablate.report.compare import Question, compare
from ablate.report.provenance import origin
from tests.files import write_folder

ODD = ("my[photos]", "it's {x}", 'a="b"', "back\\slash#", "a b")


def planned(*overrides):
    (run,) = plan(Request(("data=folder", "data.image_size=8", "epochs=1", *overrides))).runs
    return run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    for name in (*ODD, "a,b", "[ab]"):
        write_folder(root / name, images=12)
    return root


@pytest.mark.parametrize("name", ODD)
def test_a_path_that_is_no_grammar_of_hydras_is_taken_as_it_stands(name, folders):
    assert planned(f"data.root={folders / name}").config["data"]["root"] == str(folders / name)


@pytest.mark.parametrize("name", ["a,b", "[ab]"])
def test_a_path_that_hydra_reads_otherwise_is_told_with_how_to_quote_it(name, folders, monkeypatch):
    monkeypatch.chdir(folders)
    with pytest.raises(AblateError) as caught:
        planned(f"data.root={name}")
    quoted = f'data.root="{name}"'
    assert f"if it is a path, quote it twice: '{quoted}'" in str(caught.value)
    assert planned(quoted).config["data"]["root"] == name


def test_a_home_directory_is_expanded(folders, monkeypatch):
    monkeypatch.setenv("HOME", str(folders))
    run = planned("data.root=~/a b")
    assert run.digest == planned(f"data.root={folders / 'a b'}").digest
    assert run.config["data"]["root"] == "~/a b"


def test_splits_are_named_in_a_request_and_told_once(tmp_path, capsys):
    write_folder(tmp_path / "photos", parts=("Training", "Testing"))
    data.forget()
    root = f"data.root={tmp_path / 'photos'}"
    found = [planned(root), planned(root, "seed=1")]
    assert capsys.readouterr().err.count("splits: train is Training, test is Testing") == 1
    named = planned(root, "data.splits=[train:Training,test:Testing]")
    assert named.digest == found[0].digest
    assert planned(root, "data.splits=none").classes == 2


def test_values_that_are_not_legal_are_refused_together(folders):
    wrong = {
        "data.background=grey": "data.background=grey is not legal: it takes white or black",
        "data.levels=[5]": "data.levels=[5] is not legal: it takes a list of at least 2",
        "data.splits=[Training]": "each PART:FOLDER, as train:Training, auto or none",
        "data.on_bad=ignore": "data.on_bad=ignore is not legal: it takes error or skip",
        "data.split_by=name": "data.split_by=name is not legal: it takes order or content",
    }
    with pytest.raises(AblateError) as caught:
        planned(f"data.root={folders / 'a b'}", *wrong)
    assert [word for word in wrong.values() if word not in str(caught.value)] == [], caught.value


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    settings = ["data=folder", f"data.root={folders / 'a b'}", "data.image_size=8", "model=mlp"]
    settings += ["model.hidden=[]", "epochs=1", "batch_size=4", f"out={out}"]
    for seed in (0, 1):
        ablate.run([*settings, f"seed={seed}"])
    return out


def test_the_record_says_how_transparency_and_the_split_were_treated(trained):
    (one, _) = [json.loads(path.read_text()) for path in trained.rglob("record.json")]
    told = one["config"]["data"]
    assert (told["background"], told["split_by"], told["on_bad"]) == ("white", "content", "error")


def test_a_report_says_how_a_split_was_drawn_of_older_records_too(trained):
    def told():
        comparison = compare([trained], Question())
        return dict(origin(comparison).environment)["split drawn by"]

    assert told() == "content"
    for path in trained.rglob("record.json"):
        record = json.loads(path.read_text())
        del record["config"]["data"]["split_by"]
        Path(path).write_text(json.dumps(record))
    assert told() == "order"
