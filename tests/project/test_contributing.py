"""The recipes of CONTRIBUTING.md do what they say, in a copy of the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ablate

ROOT = Path(ablate.__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
BLOCK = re.compile(r"<!-- (file|change|run): (.+?) -->\n```\w+\n(.*?)```", re.DOTALL)
if not PAGE.is_file():  # a built distribution
    pytest.skip("this copy has no CONTRIBUTING.md", allow_module_level=True)
BLOCKS = BLOCK.findall(PAGE.read_text(encoding="utf-8"))

# One process for all commands: importing torch takes most of the time of each.
SERVED = """
import json, runpy, shlex, sys
import pytest, torch
from tests import pictures
from tests.calls import called

torch.set_num_threads(1)
pictures.leave_blank(pytest.MonkeyPatch())
for line in sys.argv[1:]:
    program, *words = shlex.split(line.removeprefix("$ "))
    if program == ".venv/bin/python":
        runpy.run_path(words[0], run_name="__main__")
        continue
    assert program == ".venv/bin/ablate", line
    if "-m" in words and "launch" not in line:
        words.append("launch=inline")  # workers would import torch as well
    done = called(*words)
    assert done.returncode == 0, (line, done.stderr)

from ablate import load
from ablate.regularize import elimination

weights = {"w": torch.tensor([[1.0, -3.0]], dtype=torch.float64)}
strength_R = torch.tensor([0.1], dtype=torch.float64)
gradients = elimination.add_gradient({"w": torch.zeros(1, 2).double()}, weights, strength_R)
firsts = load("results/first").set_index("key")["val/error_first"]
print(json.dumps({
    "penalty": elimination.penalty(weights, strength_R).tolist(),
    "gradient": gradients["w"].tolist(),
    "first": firsts.to_dict(),
}))
"""


def changed(text: str, diff: str) -> str:
    """Apply a diff without line numbers; the lines it does not add must occur exactly once."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(before) == 1, (
        f"CONTRIBUTING.md shows lines that are not there, or twice:\n{before}"
    )
    return text.replace(before, after)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Copy the code, with all recipes applied."""
    folder = tmp_path_factory.mktemp("contributed")
    for name in ("ablate", "conf", "scripts", "tests"):  # including any bytecode
        shutil.copytree(ROOT / name, folder / name)
    for what, names, text in BLOCKS:
        for name in names.split() if what != "run" else ():
            path = folder / name
            if what == "file":
                assert not path.exists(), f"{name} already exists"
                path.write_text(text, encoding="utf-8")
            else:
                new = changed(path.read_text(encoding="utf-8"), text)
                path.write_text(new, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shown(copy):
    """Run every command that the recipes show; return the values that `SERVED` prints."""
    lines = [line for what, _, text in BLOCKS if what == "run" for line in text.splitlines()]
    assert len(lines) == 8
    done = subprocess.run(
        [sys.executable, "-c", SERVED, *lines],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": f"{copy}{os.pathsep}{copy / 'ablate' / 'plugins'}"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def records(copy, pattern):
    return [json.loads(file.read_text()) for file in copy.glob(f"results/{pattern}/record.json")]


@pytest.mark.slow
def test_the_regularizer_is_the_penalty_and_its_gradient_and_trains(copy, shown):
    assert shown["penalty"] == pytest.approx([0.1 * (1 / 2 + 9 / 10)])
    assert shown["gradient"][0] == pytest.approx([0.2 * 1 / 4, 0.2 * -3 / 100])
    (found,) = records(copy, "digits-cnn/*")
    assert found["config"]["regularize"]["elimination"] == 0.001
    assert found["status"] == "finished"
    assert "| `regularize.elimination` |" in (copy / "conf" / "README.md").read_text()


@pytest.mark.slow
def test_the_metric_is_in_frames_and_reports(copy, shown):
    found = records(copy, "first/*")
    firsts = {one["key"]: 1 - one["history"][0]["val/accuracy"] for one in found}
    assert len(firsts) == 4
    assert shown["first"] == pytest.approx(firsts)
    assert "first val error" in (copy / "results" / "first" / "report" / "report.md").read_text()


@pytest.mark.slow
def test_the_data_set_is_learned(copy, shown):
    (found,) = records(copy, "parity-cnn/*")
    assert found["metrics"]["test/accuracy"] > 0.8, (
        "too close to chance, which is 50 % with two classes"
    )


@pytest.mark.slow
def test_the_executor_trains(copy, shown):
    found = records(copy, "fresh/*")
    assert [one["status"] for one in found] == ["finished"] * 2
    assert {one["config"]["launch"] for one in found} == {"fresh"}


def test_a_diff_is_applied_exactly_where_its_lines_are():
    assert changed("a\nb\nc\n", " a\n-b\n+B\n c\n") == "a\nB\nc\n"
    with pytest.raises(AssertionError, match="not there, or twice"):
        changed("a\na\n", " a\n+b\n")
