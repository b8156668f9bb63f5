"""A command imports only what it needs, since imports decide how long it takes to start."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calls import called

ASK = """
import json, shlex, sys
from ablate.cli import main
for line in sys.argv[1:]:
    sys.argv = ["ablate", *shlex.split(line)]
    try:
        main()
    except SystemExit as end:
        print(json.dumps([end.code, sorted(sys.modules)]))
"""
RUN = ("run", "model=mlp", "model.hidden=[8]", "data.train_size=64", "epochs=1")
SWEEP = ("run", "-m", *RUN[1:], "seed=0,1", "launch=inline")


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def imported_by(*commands: tuple[str, ...]) -> list[set[str]]:
    """Run commands in one new process; return the modules that there are after each."""
    lines = [shlex.join(words) for words in commands]
    done = subprocess.run(
        [sys.executable, "-c", ASK, *lines], capture_output=True, text=True, check=True
    )
    ended = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[0, [")]
    assert len(ended) == len(commands), done.stdout + done.stderr
    return [set(modules) for _, modules in ended]


@pytest.mark.slow
def test_a_looped_run_imports_no_compiler_and_no_statistics() -> None:
    (imported,) = imported_by(RUN)
    assert "torch" in imported
    unwanted = {"torch._dynamo", "torch._inductor", "sympy", "pandas", "scipy", "sklearn", "PIL"}
    assert not imported & unwanted


@pytest.mark.slow
@pytest.mark.usefixtures("blank_pictures")
def test_a_request_whose_runs_are_all_finished_imports_no_torch() -> None:
    arms = "{plain: [], slow: [optimizer.lr=0.0001]}"
    fixed = ", ".join(f"'{word}'" for word in RUN[1:])
    claim = "{claim: it does, arm: slow, direction: higher, margin: 0.01}"
    Path("mine.yaml").write_text(
        f"question: Does it?\nsource: a test\nfixed: [{fixed}, launch=inline]\n"
        f"arms: {arms}\nseeds: 2\nclaims: [{claim}]\nmeasure: {{evaluate: [perturb=false]}}\n",
        encoding="utf-8",
    )
    requests = {"a run": RUN, "a sweep": SWEEP, "a study": ("run", "+study=mine.yaml")}
    for words in requests.values():
        assert called(*words).returncode == 0
    unwanted = {"torch", "scipy.stats", "statsmodels", "sklearn", "matplotlib"}
    for asked, modules in zip(requests, imported_by(*requests.values()), strict=True):
        assert not modules & unwanted, asked
