"""A command imports only what it needs, since imports decide how long it takes to start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calls import called

ASK = """
import json, sys
from ablate.cli import main
sys.argv = ["ablate", *sys.argv[1:]]
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


def imported_by(*words: str) -> set[str]:
    """Run the command in its own process; return the modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, *words], capture_output=True, text=True, check=True
    )
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stderr
    return set(modules)


@pytest.mark.slow
def test_a_looped_run_imports_no_compiler_and_no_statistics() -> None:
    imported = imported_by(*RUN)
    assert "torch" in imported
    unwanted = {"torch._dynamo", "torch._inductor", "sympy", "pandas", "scipy", "sklearn", "PIL"}
    assert not imported & unwanted


@pytest.mark.slow
@pytest.mark.parametrize("words", [RUN, SWEEP, ("run", "+study=mine.yaml")])
def test_a_request_whose_runs_are_all_finished_imports_no_torch(words: tuple[str, ...]) -> None:
    arms = "{plain: [], slow: [optimizer.lr=0.0001]}"
    fixed = ", ".join(f"'{word}'" for word in RUN[1:])
    claim = "{claim: it does, arm: slow, direction: higher, margin: 0.01}"
    Path("mine.yaml").write_text(
        f"question: Does it?\nsource: a test\nfixed: [{fixed}, launch=inline]\n"
        f"arms: {arms}\nseeds: 2\nclaims: [{claim}]\nmeasure: {{evaluate: [perturb=false]}}\n",
        encoding="utf-8",
    )
    assert called(*words).returncode == 0
    unwanted = {"torch", "scipy.stats", "statsmodels", "sklearn", "matplotlib"}
    assert not imported_by(*words) & unwanted
