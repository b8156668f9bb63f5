"""Runs what the README and the pages of docs/ show, each page in its own folder.

`make readme` runs only these tests. Commands run in the order of the page, on tiny data, with one
epoch and two seeds, in this process, where torch is loaded once. Those that need a cluster, a
download or a shipped study are only planned. Pictures are left blank, and a command that the README
shows too runs only there.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import ablate
from ablate import cli
from tests.files import write_cifar10, write_folder, write_mnist

pytestmark = pytest.mark.usefixtures("blank_pictures")

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
REFUSED = "dropout.dens=0.5"
# Results that a page's commands use, but that another page trains.
FIRST = {
    "results/digits-cnn": "ablate run -m dropout.dense=0,0.5 seed=0,1",
    "results/digits-mlp": "ablate run model=mlp",
    "results/a ": "ablate run -m norm=none,batch seed=0,1 name=a",
    "results/b ": "ablate run -m norm=none,batch seed=2,3 name=b",
}


def blocks(mark, *pages):
    """Find the code blocks below a mark, with the mark's argument."""
    pattern = rf"<!-- {mark}(?:: (\S+))? -->\n```\w+\n(.*?)```"
    text = "".join(page.read_text(encoding="utf-8") for page in pages or PAGES)
    return re.findall(pattern, text, re.DOTALL)


def commands(page):
    """List the commands that a page shows."""
    shown = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [line[2:] for block in shown for line in block.splitlines() if line.startswith("$ ")]


def bare(line):
    """Return a command without its comment."""
    return shlex.join(shlex.split(line, comments=True))


def write_files(place):
    """Write the files that the pages show."""
    for name, text in blocks("file"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def folder_for(page, place):
    """Create everything that a page's commands name in a folder."""
    write_files(place)
    study = README.read_text(encoding="utf-8").split("```yaml\n# mine.yaml\n")[1].split("```")[0]
    (place / "mine.yaml").write_text(study)
    write_folder(place / "photos", images=40)
    write_mnist(place / "data", images=2400)
    write_cifar10(place / "data", images=600)


def small(words):
    """Make a command small enough to run here; a list of words, or None if it is not ours."""
    if words[0] in ("make", "pip"):
        return None
    words = [Path(words[0]).name, *words[1:]]
    if words[1] == "evaluate":  # one run of the sweep
        run = next(Path(words[2]).rglob("record.json")).parent
        return [*words[:2], str(run), *words[3:], "samples=none", "delete=false", "perturb=false"]
    if words[1] not in ("run", "inspect"):
        return words
    text = " ".join(words)
    study = re.search(r"\+study=(\S+)", text)
    if re.search(r"launch=(slurm|ray)|data=(parquet|npz|csv)", text) or (
        study and study[1] != "mine.yaml"
    ):
        return ["ablate", "plan", *words[2:]]
    if "--cfg" in words:
        return words
    if (words[1] == "run" and "-m" in words) or study:
        words = [*words, "launch=inline"]
    if study:
        return words
    words = [re.sub(r"^seed=range\(\d+\)$", "seed=0,1", word) for word in words]
    return [word for word in words if not word.startswith("epochs=")] + ["epochs=1"]


def run(words, monkeypatch):
    """Run a command in this process; return its exit status."""
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


# A separate test runs these, at full size.
METHODS = [line[2:] for line in blocks("run", ROOT / "docs/own-work.md")[1][1].splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_on_a_page_works(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "data"))
    folder_for(page, tmp_path)
    known = set(METHODS) if page == README else {*METHODS, *map(bare, commands(README))}
    shown = [line for line in commands(page) if bare(line) not in known]
    needed = [first for place, first in FIRST.items() if any(place in line for line in shown)]
    for line in [*needed, *shown]:
        words = small(shlex.split(line, comments=True))
        if words is None:
            continue
        status = run(words, monkeypatch)
        said = capfd.readouterr().err
        assert status == (2 if REFUSED in line else 0), f"{line}\n{said}"
        assert "Traceback" not in said, line


def test_make_targets_and_extras_named_on_pages_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [shlex.split(line, comments=True) for page in PAGES for line in commands(page)]
    for words in asked:
        if words[0] == "make":
            assert words[1] in targets
        if words[0] == "pip":
            extra = re.fullmatch(rf"{project['name']}\[(\w+)\]", words[-1])
            assert extra[1] in project["optional-dependencies"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_on_a_page_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#([\w-]+))?\)", text)
    for link, part in links:
        if link.startswith("http"):
            continue
        there = page.parent / link
        assert there.exists(), link
        if part:
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            named = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert part in named, f"{link}#{part}"


# -- what it leads to ------------------------------------------------------------------------------


def test_the_readme_shows_a_refusal_word_for_word(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    shown = re.search(r"^\$ (ablate run dropout\.dens.*?)```", text, re.M | re.S)[1]
    line, _, message = shown.partition("\n")
    assert run(shlex.split(line), monkeypatch) == 2
    assert capfd.readouterr().err == message


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return the record of a run without a user's own method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plain"))
        return ablate.run(["epochs=3"])


@pytest.mark.parametrize("line", METHODS)
def test_each_users_own_method_trains_and_acts(line, plain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    assert run(shlex.split(line), monkeypatch) == 0
    (other,) = (tmp_path / "results").rglob("record.json")
    found = json.loads(other.read_text())
    assert found["metrics"]["test/accuracy"] > 0.5, (
        "too close to chance, which is 10 % with ten classes"
    )
    assert found["key"] != plain["key"]
    assert found["metrics"]["test/loss"] != plain["metrics"]["test/loss"]
    (slot,) = found["active"]["own"]
    assert slot in line


def test_a_users_own_network_learns_the_users_own_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    line = blocks("run", ROOT / "docs/own-work.md")[0][1]
    record = ablate.run(shlex.split(line)[3:])
    assert record["metrics"]["test/accuracy"] > 0.5, (
        "too close to chance, which is 25 % with four classes"
    )


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((_, text),) = blocks("doctest")
    names = {}
    exec(compile(text, "README.md", "exec"), names)
    assert names["record"]["status"] == "finished"
    assert not names["model"].training
