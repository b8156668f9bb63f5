"""The built wheel holds everything that a run needs, including the configurations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import ablate

ROOT = Path(__file__).parents[2]

# Like `python -m ablate`, after printing which ablate it is. `-I` keeps the working directory off
# the path, and the site's paths (with an editable install) behind the folder of the wheel.
START = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import ablate
from ablate.config import files
print(ablate.__file__, files.CONF, file=sys.stderr)
from ablate.cli import main
main()
"""

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, without its dependencies, into a separate folder."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index"]
    call(*pip, "--no-deps", "--target", folder, wheel, cwd=folder)
    return folder


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n## ")[2]
    assert ablate.__version__ == project["version"] == cited["version"]
    assert newest.startswith((f"{ablate.__version__} ", "Unreleased"))


def test_the_wheel_holds_the_package_and_every_configuration(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    others = (ROOT / "ablate/py.typed", ROOT / "ablate/record.schema.json")
    files = [*(ROOT / "ablate").rglob("*.py"), *others]
    names = {str(file.relative_to(ROOT)) for file in files}
    # Hydra finds plugins only at the top level.
    assert {name.removeprefix("ablate/plugins/") for name in names} <= held
    configurations = [file.relative_to(ROOT) for file in (ROOT / "conf").rglob("*.yaml")]
    assert len(configurations) > 30
    assert {f"ablate/{file}" for file in configurations} <= held
    assert {name.split("/")[0].split("-")[0] for name in held} == {
        *("ablate", "ablate_runner", "hydra_plugins")
    }


def test_an_installed_wheel_trains_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    start = [sys.executable, "-I", "-c", START, installed]
    done = call(*start, "run", "model=mlp", "epochs=1", cwd=tmp_path)
    first = done.stderr.splitlines()[0]
    assert first == f"{installed / 'ablate/__init__.py'} {installed / 'ablate/conf'}"
    (path,) = tmp_path.rglob("record.json")
    assert path.parent.parent == tmp_path / "results/digits-mlp"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["status"] == "finished"
    assert record["key"] == path.parent.name
    assert 0 <= record["metrics"]["test/error"] <= 1


def test_the_wheel_installs_the_command(installed: Path) -> None:
    (entries,) = installed.glob("ablate_runner-*.dist-info/entry_points.txt")
    assert "ablate = ablate.cli:main" in entries.read_text(encoding="utf-8")
    assert (installed / "bin/ablate").is_file()


@pytest.mark.long
def test_an_installed_wheel_trains_a_sweep(installed: Path, tmp_path: Path) -> None:
    start = [sys.executable, "-I", "-c", START, installed]
    words = ("model=mlp", "model.hidden=[8]", "epochs=1", "seed=0,1", "launch=inline")
    call(*start, "run", "-m", *words, cwd=tmp_path)
    assert len(list(tmp_path.rglob("record.json"))) == 2
