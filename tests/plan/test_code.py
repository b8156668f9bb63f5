"""The user's code behind a run: editing it trains the run again; nothing else changes its key."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import ablate
from ablate import record
from ablate.errors import AblateError
from ablate.measure.saved import _check_own_code
from ablate.plan import code, imports, own_code
from ablate.plan.planning import plan
from ablate.plan.request import Request
from ablate.plan.run import key

QUICK = ("data.train_size=64", "epochs=1", "device=cpu")
NET = """
from torch import nn
{imports}

class Net(nn.Module):
    def __init__(self, num_classes, weights=None):
        super().__init__()
        self.layer = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.layer(x.flatten(1))
"""


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:  # the next test defines other modules with these names
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    code.forget()


def put(files):
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")


def files_of(*targets):
    code.forget()
    walk = imports.Walk()
    walk.add(*targets)
    return set(walk.files)


def key_of(*overrides):
    (run,) = plan(Request(("model._target_=mynets.Net", *QUICK, *overrides))).runs
    return run.key


# -- following imports -----------------------------------------------------------------------------

FOLLOWED = {
    "a plain one": ({"mynets.py": "import helper"}, {"helper.py"}),
    "two away": (
        {"mynets.py": "import helper", "helper.py": "from deep import x", "deep.py": ""},
        {"helper.py", "deep.py"},
    ),
    "in a function": ({"mynets.py": "def f():\n    import helper"}, {"helper.py"}),
    "in a branch, and in its other": (
        {"mynets.py": "if 1:\n    import helper\nelse:\n    import other", "other.py": ""},
        {"helper.py", "other.py"},
    ),
    "in a try, where the other is not installed": (
        {"mynets.py": "try:\n    import nowhere\nexcept ImportError:\n    import helper"},
        {"helper.py"},
    ),
    "by its name": (
        {"mynets.py": "from importlib import import_module\nimport_module('helper')"},
        {"helper.py"},
    ),
    "a package with its __init__": (
        {"mynets.py": "import lib.part", "lib/__init__.py": "", "lib/part.py": ""},
        {"lib/__init__.py", "lib/part.py"},
    ),
    "a name that is a module of a package": (
        {"mynets.py": "from lib import part, x", "lib/__init__.py": "x = 1", "lib/part.py": ""},
        {"lib/__init__.py", "lib/part.py"},
    ),
    "what a star takes in": (
        {
            "mynets.py": "from lib import *",
            "lib/__init__.py": "__all__ = ['part']",
            "lib/part.py": "",
            "lib/other.py": "",
        },
        {"lib/__init__.py", "lib/part.py"},
    ),
    "relative ones": (
        {
            "mynets.py": "import lib.inner.leaf",
            "lib/__init__.py": "from . import near",
            "lib/near.py": "",
            "lib/far.py": "",
            "lib/inner/__init__.py": "",
            "lib/inner/leaf.py": "from ..far import x",
        },
        {"lib/__init__.py", "lib/near.py", "lib/far.py", "lib/inner/__init__.py"}
        | {"lib/inner/leaf.py"},
    ),
    "namespace packages": (
        {"mynets.py": "from space.inner import part", "space/inner/part.py": ""},
        {"space/inner/part.py"},
    ),
    "a circle": ({"mynets.py": "import helper", "helper.py": "import mynets"}, {"helper.py"}),
    "all of a package that imports by names worked out at run time": (
        {
            "mynets.py": "import lib",
            "lib/__init__.py": "from pkgutil import iter_modules\nfor _ in iter_modules(): pass",
            "lib/one.py": "",
            "lib/two/three.py": "",
        },
        {"lib/__init__.py", "lib/one.py", "lib/two/three.py"},
    ),
    "nothing for a type checker alone": (
        {"mynets.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import helper"},
        set(),
    ),
    "nothing that is not imported": ({"mynets.py": "x = 'import helper'"}, set()),
    "nothing of Python's own": ({"mynets.py": "import json, os.path, ablate.axis"}, set()),
    "nothing of a file that does not parse": ({"mynets.py": "import helper\nprint 'old'"}, set()),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_the_walk_over_imports_follows(what):
    files, expected = FOLLOWED[what]
    put({"helper.py": "", "unrelated.py": "import helper"} | files)
    assert files_of("mynets") == {"mynets.py"} | expected


def test_the_walk_imports_nothing():
    put({"mynets.py": "import helper", "helper.py": "raise SystemExit('imported')"})
    assert files_of("mynets.Net") == {"mynets.py", "helper.py"}
    assert "helper" not in sys.modules


def test_a_chain_of_a_thousand_imports_is_followed():
    put({f"m{n}.py": f"import m{n + 1}" for n in range(1000)} | {"m1000.py": ""})
    assert len(files_of("m0")) == 1001


def test_a_module_elsewhere_on_the_path_counts_like_an_editable_install(tmp_path):
    outside = tmp_path / "outside"
    put({"mynets.py": "import lib.part", f"{outside}/src/lib/__init__.py": ""})
    put({f"{outside}/src/lib/part.py": ""})
    sys.path.append(str(outside / "src"))
    assert files_of("mynets") == {"mynets.py", "lib/__init__.py", "lib/part.py"}


def test_a_package_with_its_own_finder_is_found(tmp_path, monkeypatch):
    hidden = tmp_path / "hidden" / "sources"
    put({"mynets.py": "import lib.part", f"{hidden}/__init__.py": "", f"{hidden}/part.py": ""})

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "lib":
                return None
            file = hidden / "__init__.py"
            return importlib.util.spec_from_file_location(name, file)

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert files_of("mynets") == {"mynets.py", "lib/__init__.py", "lib/part.py"}


def test_installed_packages_count_by_version_and_are_not_followed():
    put({"mynets.py": "import torch.nn, yaml\nfrom sklearn import svm"})
    found = code.code_of({"model": {"_target_": "mynets.Net"}})
    assert found is not None
    assert set(found["files"]) == {"mynets.py"}
    assert found["packages"] == {
        "torch": version("torch"),
        "yaml": f"PyYAML {version('PyYAML')}",
        "sklearn": f"scikit-learn {version('scikit-learn')}",
    }


def test_installed_packages_below_the_working_directory_are_not_users_code():
    site = "venv/lib/python3/site-packages"
    put({"mynets.py": "import other", f"{site}/other/__init__.py": "import inner"})
    put(
        {
            f"{site}/inner.py": "",
            f"{site}/other-1.2.dist-info/METADATA": "Name: other\nVersion: 1.2",
        }
    )
    sys.path.append(str(Path(site).resolve()))
    code.forget()
    imports._version.cache_clear()
    found = code.code_of({"model": {"_target_": "mynets.Net"}})
    assert found is not None
    assert (set(found["files"]), found["packages"]) == ({"mynets.py"}, {"other": "1.2"})


# -- the key ---------------------------------------------------------------------------------------


def test_runs_without_users_code_keep_their_keys():
    # From before keys depended on code.
    known = {
        (): "ad106751e6d2479b",
        ("model=mlp", "dropout.dense=0.5", "seed=3"): "abcffe166d61c291",
        ("norm=batch", "optimizer=sgd", "augment.flip=0.5"): "d3b2ee6f64cdaa50",
    }
    assert {o: plan(Request(o)).runs[0].key for o in known} == known


def test_only_code_and_files_that_a_run_uses_change_its_key():
    put({"mynets.py": NET.format(imports="from lib import part"), "lib/__init__.py": ""})
    put({"lib/part.py": "import deep", "deep.py": "x = 1", "unrelated.py": "", "w.pt": "1"})
    first, named = key_of(), key_of("model.weights=w.pt")
    put({"unrelated.py": "# a comment", "w.pt": "2"})
    assert key_of() == first
    assert key_of("model.weights=w.pt") != named
    put({"w.pt": "1"})
    assert key_of("model.weights=w.pt") == named
    put({"deep.py": "x = 2"})
    importlib.reload(sys.modules["deep"])
    assert key_of() != first


def test_files_of_weights_count_by_content_in_any_argument():
    put({"mynets.py": "", "a.pt": "1", "b.pt": "2"})
    deep = {"encoder": {"_target_": "mynets.Part", "files": ["a.pt", {"more": "b.pt"}]}}
    found = code.code_of({"model": {"_target_": "mynets.Net", **deep}})
    penalty = code.code_of({"regularize": {"_target_": "mynets.penalty", "table": "a.pt"}})
    assert found is not None
    assert penalty is not None
    assert set(found["files"]) == {"mynets.py", "a.pt", "b.pt"}
    assert set(penalty["files"]) == {"mynets.py", "a.pt"}
    # SHA-256 of the text "1".
    assert found["files"]["a.pt"].startswith("6b86b273ff34fce1")


def test_a_key_does_not_depend_on_where_the_code_is(tmp_path, monkeypatch):
    keys = []
    for place in ("one", "two"):
        put({f"{place}/mynets.py": NET.format(imports="import helper"), f"{place}/helper.py": ""})
        monkeypatch.chdir(tmp_path / place)
        monkeypatch.setattr(sys, "path", [str(tmp_path / place), *sys.path[1:]])
        for name in ("mynets", "helper"):
            sys.modules.pop(name, None)
        keys.append(key_of())
        monkeypatch.chdir(tmp_path)
    assert keys[0] == keys[1]


def test_planning_refuses_a_module_edited_after_it_was_imported():
    put({"mynets.py": NET.format(imports="import helper"), "helper.py": "x = 1"})
    first = key_of()
    put({"helper.py": "x = 2  # edited"})
    with pytest.raises(AblateError, match=r"^helper\.py was edited, but this process still runs"):
        key_of()
    importlib.reload(sys.modules["helper"])
    assert key_of() != first


def test_a_run_whose_code_was_edited_after_planning_does_not_train(monkeypatch):
    put({"mynets.py": NET.format(imports="import helper"), "helper.py": "x = 1", "w.pt": "1"})
    (run,) = plan(Request(("model._target_=mynets.Net", "model.weights=w.pt", *QUICK))).runs
    put({"helper.py": "x = 2"})
    code.require_as_planned(run.config, run.code)  # fine: this process imported it as planned
    monkeypatch.setattr(code, "_CHECKED", set())  # unlike another process: a worker, or a node
    late = "that was after this run was planned"
    with pytest.raises(AblateError, match=rf"^helper\.py was edited: {late}"):
        code.require_as_planned(run.config, run.code)
    put({"helper.py": "x = 1"})
    code.require_as_planned(run.config, run.code)
    put({"w.pt": "of another size"})
    with pytest.raises(AblateError, match=rf"^w\.pt was edited: {late}"):
        code.require_as_planned(run.config, run.code)


def test_differences_name_edited_removed_and_new_files_and_other_versions():
    before = {"files": {"a.py": "1", "b.py": "1"}, "packages": {"timm": "1.0"}}
    now = {"files": {"a.py": "2", "c.py": "1"}, "packages": {"timm": "1.1"}}
    told = ["a.py was edited", "b.py is no longer used", "c.py is new", "timm 1.0 → 1.1"]
    assert code.differences(before, now) == told
    assert code.differences(before, before) == []


# -- training --------------------------------------------------------------------------------------


def test_editing_a_helper_two_imports_away_trains_again_and_undoing_it_does_not():
    put({"mynets.py": NET.format(imports="import helper"), "helper.py": "import deep"})
    put({"deep.py": "x = 1"})
    ask = ["model._target_=mynets.Net", *QUICK]
    first = ablate.run(ask)
    assert ablate.run(ask) == first
    assert set(first["code"]["files"]) == {"mynets.py", "helper.py", "deep.py"}
    put({"deep.py": "x = 2"})
    importlib.reload(sys.modules["deep"])
    second = ablate.run(ask)
    assert second["key"] != first["key"]
    assert second["timing"]["finished"]
    put({"deep.py": "x = 1"})
    importlib.reload(sys.modules["deep"])
    assert ablate.run(ask) == first


def test_evaluation_refuses_an_edited_helper_but_accepts_another_package_version():
    put({"mynets.py": NET.format(imports="import helper"), "helper.py": "x = 1"})
    found = ablate.run(["model._target_=mynets.Net", *QUICK])
    folder = Path("results/digits-Net") / found["key"]
    _check_own_code(folder, found)
    newer = found | {"code": found["code"] | {"packages": {"torch": "1.0"}}}
    _check_own_code(folder, newer)
    put({"helper.py": "x = 2"})
    with pytest.raises(AblateError, match=r"helper\.py was edited since it was trained"):
        _check_own_code(folder, found)


def test_evaluation_accepts_records_whose_key_covers_only_the_file_of_the_class():
    put({"mynets.py": NET.format(imports="import helper"), "helper.py": "x = 1"})
    (run,) = plan(Request(("model._target_=mynets.Net", *QUICK))).runs
    importlib.import_module("mynets")  # as happens when the network is built
    old_key = key(run.config, run.digest, own_code.digests(run.config))
    found = {"key": old_key, "config": run.config, "environment": {"data": {"digest": run.digest}}}
    _check_own_code(Path("results"), found)
    put({"mynets.py": NET.format(imports="") + "# edited"})
    with pytest.raises(AblateError, match=r"code of model\._target_=mynets\.Net has changed since"):
        _check_own_code(Path("results"), found)


def test_a_missing_record_is_not_taken_for_an_interruption(monkeypatch):
    monkeypatch.setattr(record, "read", lambda directory: None)
    monkeypatch.setattr("ablate.launch.execute._train", lambda plan, todo, lost: None)
    with pytest.raises(AblateError, match="holds no record any more: was it moved or deleted"):
        ablate.run(["model=mlp", *QUICK])


# -- notebooks -------------------------------------------------------------------------------------


class Notebook:
    """Runs cells like a notebook's kernel: in `__main__`, with their sources in `linecache`."""

    def __init__(self, monkeypatch):
        self.space = ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", self.space)

    def run(self, text):
        name = f"/tmp/ipykernel/{hash(text)}.py"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        exec(compile(text, name, "exec"), self.space.__dict__)

    def key(self):
        code.forget()
        found = code.code_of({"model": {"_target_": "__main__.Net"}})
        assert found is not None
        return found


@pytest.fixture
def notebook(monkeypatch):
    return Notebook(monkeypatch)


CELL = NET.format(imports="") + "\n    def width(self):\n        return WIDTH + block(x=1)\n"
BLOCK = "def block(x):\n    return x\n"


def test_a_notebook_class_counts_by_its_source_and_everything_it_names(notebook):
    put({"helper.py": "import deep", "deep.py": ""})
    notebook.run(f"import helper\nWIDTH = 8\nunrelated = 1\nx = 5\n{BLOCK}")
    notebook.run(CELL)
    first = notebook.key()
    assert set(first["files"]) == {"__main__.Net", "__main__.WIDTH", "__main__.block"}
    for same in (CELL, f"print(1)\n\n{CELL}", "unrelated = 2; x = 6", BLOCK, "WIDTH = 8"):
        notebook.run(same)
        assert notebook.key() == first
    notebook.run("WIDTH = 16")
    wider = notebook.key()
    notebook.run(BLOCK.replace("return x", "return x + helper.y"))
    helped = notebook.key()
    notebook.run(CELL.replace("flatten(1)", "flatten(1) * 2"))
    assert len({str(one) for one in (first, wider, helped, notebook.key())}) == 4
    assert {"helper.py", "deep.py"} <= set(helped["files"])


def test_a_class_without_source_counts_by_its_bytecode(notebook):
    found = []
    for text in (CELL, f"\n\n{CELL}", CELL.replace("64", "65")):
        exec(compile(text, "<stdin>", "exec"), notebook.space.__dict__)
        found.append(notebook.key())
    assert found[0] == found[1] != found[2]


def test_a_changed_cell_trains_again_and_the_same_cell_does_not(notebook):
    ask = ["model._target_=__main__.Net", *QUICK]
    notebook.run(CELL)
    first = ablate.run(ask)
    notebook.run(CELL)
    assert ablate.run(ask) == first
    notebook.run(CELL.replace("flatten(1)", "flatten(1) * 2"))
    second = ablate.run(ask)
    assert second["key"] != first["key"]
    assert second["metrics"] != first["metrics"]
    notebook.run(CELL.replace("flatten(1)", "flatten(2)"))  # the trial run is repeated
    with pytest.raises(AblateError, match=r"gives \[2, 1, 10\] for 2 images"):
        ablate.run(ask)
    notebook.run(CELL)
    assert ablate.run(ask) == first


def test_a_sweep_over_a_notebook_class_trains_only_in_this_process(notebook):
    notebook.run(CELL)
    ask = ["model._target_=__main__.Net", *QUICK]
    sweep = Request((*ask, "seed=0,1", "stack.width=1"), multirun=True)
    assert plan(sweep).execution.launch == "inline"
    for launch in ("workers", "slurm", "ray"):
        with pytest.raises(AblateError, match=rf"^launch={launch}: __main__\.Net is defined in"):
            plan(replace(sweep, overrides=(*sweep.overrides, f"launch={launch}")))


def test_files_named_by_a_knob_are_not_read_again_while_unchanged(monkeypatch):
    put({"mynets.py": "", "w.pt": "1"})
    config = {"model": {"_target_": "mynets.Net", "weights": "w.pt"}}
    code.forget()
    first = code.code_of(config)
    monkeypatch.setattr(imports, "digest_of_file", lambda path: os.abort())
    assert code.code_of(config) == first
