"""What the README shows is run as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import ablate
from ablate import cli

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(mark):
    """Find the code blocks below a mark, with the mark's argument."""
    pattern = rf"<!-- {mark}(?:: (\S+))? -->\n```\w+\n(.*?)```"
    return re.findall(pattern, README, re.DOTALL)


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(line, monkeypatch):
    """Run a shown command in this process; return its exit status."""
    words = shlex.split(line.removeprefix("$ "), comments=True)
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_the_own_data_set_and_network_train_as_shown(tmp_path, monkeypatch, capfd):
    for name, text in blocks("file"):
        (tmp_path / name).write_text(text)
    line = blocks("run")[0][1]
    assert run(line.strip(), monkeypatch) == 0
    out = capfd.readouterr().out
    assert "Squares-Net" in out
    accuracy = float(re.search(r"accuracy.*?([\d.]+) % │ +\+?-?[\d.]+ points", out)[1])
    assert accuracy > 50, "four classes, so chance is 25 %"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Give the record of a run without a method of one's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plain"))
        return ablate.run(["epochs=3"])


@pytest.mark.parametrize("line", blocks("run")[1][1].splitlines())
def test_each_method_of_ones_own_trains_and_acts(line, plain, tmp_path, monkeypatch):
    for name, text in blocks("file"):
        (tmp_path / name).write_text(text)
    assert run(line, monkeypatch) == 0
    (other,) = (tmp_path / "results").rglob("record.json")
    found = json.loads(other.read_text())
    assert found["metrics"]["test/accuracy"] > 0.5, "ten classes, so chance is 10 %"
    assert found["key"] != plain["key"]
    assert found["metrics"]["test/loss"] != plain["metrics"]["test/loss"]
    (slot,) = found["active"]["own"]
    assert slot in line


def test_the_python_example_runs():
    ((_, text),) = blocks("doctest")
    names = {}
    exec(compile(text, "README.md", "exec"), names)
    assert names["record"]["status"] == "finished"
    assert not names["model"].training


def test_the_refused_request_is_refused_with_the_words_shown(monkeypatch, capfd):
    shown = re.search(r"```console\n(\$ ablate run dropout\.dens.*?)```", README, re.DOTALL)[1]
    line, _, message = shown.partition("\n")
    assert run(line, monkeypatch) == 2
    assert capfd.readouterr().err == message


def test_every_command_shown_is_legal(monkeypatch, tmp_path):
    """Each is composed and printed (`--cfg job`) rather than trained."""
    (tmp_path / "photos").mkdir()
    lines = re.findall(r"^\$ (?:\.venv/bin/)?(ablate run .*)$", README, re.MULTILINE)
    lines = [x.partition("#")[0] for x in lines if "dens=" not in x and "--cfg" not in x]
    assert len(lines) >= 6
    for line in lines:
        if " -m " not in line and "+study" not in line:
            assert run(f"$ {line} --cfg job", monkeypatch) == 0
