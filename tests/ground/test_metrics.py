"""The registry of metrics: what it says of each, and that whatever names a metric asks it alone."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from ablate import metrics, record
from ablate.analyze import frames
from ablate.analyze.contrasts import contrasts
from ablate.analyze.run_measures import metrics_of
from ablate.commands.run import serve
from ablate.commands.run_table import show_run
from ablate.errors import AblateError
from ablate.metrics import FRACTION, LOSS, METRICS, OF_A_SPLIT, PLAIN, Metric, find, metric_of
from ablate.plan.request import Request
from ablate.report import tables
from ablate.report.compare import compare
from ablate.report.formatting import written
from ablate.study.file import read_study
from ablate.train.quality import measure
from tests import reports
from tests.analyze.test_frames import write_run
from tests.asking import runs_of, train_all

TOP5 = Metric("test/top5", "higher", FRACTION)
ENERGY = Metric("joules", "lower", PLAIN, label="energy")


# -- the table -------------------------------------------------------------------------------------


def test_no_name_has_a_dot_and_each_stands_under_its_own():
    assert all("." not in name and metric.name == name for name, metric in METRICS.items())


@pytest.mark.parametrize(
    ("name", "place", "path", "group"),
    [
        ("test/error", "test", "error", "error"),
        ("val/error_area", "val", "error_area", "error_area"),
        ("seconds", "", "seconds", "seconds"),
        ("gap/loss", "", "gap/loss", "gap"),
        ("evaluate/plain/error", "test", "plain/error", "plain"),
        ("evaluate/val/dropout/entropy", "val", "dropout/entropy", "dropout"),
        ("inspect/start/dead/mean", "start", "dead/mean", "dead"),
    ],
)
def test_a_name_says_what_it_is_measured_of(name, place, path, group):
    metric = metric_of(name)
    assert (metric.place, metric.path, metric.group) == (place, path, group)


def test_any_number_stands_for_a_layer_and_nothing_else():
    third = metric_of("inspect/end/gradient_norm/3")
    assert third == Metric("inspect/end/gradient_norm/3", None, metrics.TINY, "inspect")
    assert third.label == "inspect end gradient norm 3"
    assert third.is_of_a_layer
    assert third.pattern in METRICS
    for wrong in ("0", "03", "-1", "x", "", "<layer>", "1/2"):
        assert find(f"inspect/end/gradient_norm/{wrong}") is None
    assert not metric_of("inspect/end/gradient_norm/last").is_of_a_layer
    assert not metric_of("evaluate/deletion/50/error").is_of_a_layer


def test_an_unknown_name_is_refused_with_the_nearest():
    assert metrics.why_unknown("test/eror") == "no run records it; did you mean 'test/error'?"
    wrong = metrics.why_unknown("inspect/start/gradient_nrm/1")
    assert wrong == "no run records it; did you mean 'inspect/start/gradient_norm/1'?"
    assert metrics.why_unknown("inspect/start/gradient_norm/12") is None
    far = str(metrics.why_unknown("zzz"))
    assert far.startswith("no run records it: it is one of train/loss, train/accuracy, train/er")
    assert far.endswith("val/error_spread or what `ablate evaluate` and `ablate inspect` measure")


def test_what_the_table_lacks_is_a_plain_number():
    assert metric_of("own/score") == Metric("own/score", None, PLAIN, label="own score")


def test_what_is_measured_of_a_split_is_what_the_table_lists():
    found = measure(torch.zeros(1, 2, 3), torch.tensor([0, 1]))
    assert list(found) == list(OF_A_SPLIT)


def test_the_table_imports_nothing_heavy():
    code = (
        "import sys, ablate.metrics, ablate.study.claim, ablate.measure.after_training\n"
        "print({'torch', 'numpy', 'pandas', 'scipy', 'statsmodels'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


# -- whoever asks it -------------------------------------------------------------------------------


@pytest.fixture
def more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register two metrics that no version records."""
    for metric in (TOP5, ENERGY):
        monkeypatch.setitem(METRICS, metric.name, metric)


def write_top5(folder: Path) -> None:
    for arm, base in (("plain", 0.90), ("wide", 0.95)):
        for seed in range(4):
            numbers = {"test/error": 0.1, "test/top5": base + seed / 100, "joules": 9.0 + seed}
            rate = {"dropout.dense": 0.5 * (arm == "wide"), "seed": seed}
            write_run(folder, rate, study="s", arm=arm, metrics=numbers)


@pytest.mark.usefixtures("more")
def test_a_metric_with_a_line_in_the_table_is_framed_compared_and_shown(tmp_path):
    write_top5(tmp_path)
    runs = frames.load(tmp_path)
    assert {"test/top5", "joules"} <= set(metrics_of(runs))
    found = contrasts(runs, np.random.default_rng(0), primary="test/top5").set_index("metric")
    assert found.loc["test/top5", "delta"] == pytest.approx(0.05)
    assert found.loc["test/top5", "change"] == "better"
    table = tables.compared(compare([tmp_path], reports.Question(metric="test/top5")))
    assert table.heads[1:3] == ("test top5, %", "Δ, points [interval]")
    assert table.rows[1][2].text.startswith("+5.00")
    every = tables.tables(compare([tmp_path]))["metrics"]
    assert {"test top5, %", "energy"} <= {row[0].text for row in every.rows}


@pytest.mark.usefixtures("more")
def test_a_metric_with_a_line_in_the_table_can_be_claimed_by(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    claim = {"claim": "x", "arm": "dropped", "direction": "higher", "metric": "test/top5"}
    asked: dict[str, Any] = {
        "question": "Is it?",
        "source": "a test",
        "fixed": ["model=mlp"],
        "arms": {"plain": [], "dropped": ["dropout.dense=0.5"]},
        "seeds": 2,
        "metric": "joules",
        "claims": [claim],
    }
    Path("mine.yaml").write_text(yaml.safe_dump(asked, sort_keys=False), encoding="utf-8")
    (found,) = read_study("mine.yaml").claims
    assert (found.metric, found.against) == ("test/top5", "plain")


@pytest.mark.usefixtures("more")
def test_a_report_by_a_metric_with_a_line_in_the_table_is_written(tmp_path, monkeypatch, capsys):
    write_top5(tmp_path)
    assert reports.run("report", tmp_path, "--metric", "test/top5", monkeypatch=monkeypatch) == 0
    assert "test top5, %" in capsys.readouterr().out


def test_a_report_by_an_unknown_metric_is_refused_before_anything_is_read(
    tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "absent"
    assert reports.run("report", folder, "--metric", "test/eror", monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert "--metric test/eror: no run records it; did you mean 'test/error'?" in said


def test_a_metric_that_runs_lack_is_refused_with_those_that_they_have(tmp_path):
    write_run(tmp_path, {"seed": 0}, metrics={"test/error": 0.1})
    with pytest.raises(AblateError, match=r"no finished run has the metric test/loss: it is"):
        compare([tmp_path], reports.Question(metric="test/loss"))


def test_a_run_is_shown_in_the_units_of_its_metrics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (run,) = runs_of(Request(("model=mlp",)))
    of_splits = {f"{split}/{name}": 0.25 for split in metrics.SPLITS for name in OF_A_SPLIT}
    gaps = {"gap/loss": -0.5, "gap/accuracy": 0.125}
    found = {
        "status": "finished",
        "seed": 3,
        "config": {"name": "mine"},
        "history": [{}],
        "parameters": 1234,
        "timing": {"seconds": [1.5]},
        "metrics": of_splits | gaps | {"val/loss": None},
    }
    console = Console(file=io.StringIO(), width=100)
    show_run(run, found, console)
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    cells = {row[1]: [cell for cell in row[2:] if cell != "│"] for row in rows if len(row) > 2}
    assert cells["loss"] == ["0.2500", "–", "0.2500", "\u22120.5000"]
    assert cells["accuracy"] == [*["25.00", "%"] * 3, "+12.50", "points"]
    assert cells["error"] == ["25.00", "%"] * 3


def test_a_finished_run_whose_numbers_are_all_unknown_is_shown_with_dashes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (run,) = runs_of(Request(("model=mlp",)))
    names = [f"{split}/{name}" for split in metrics.SPLITS for name in OF_A_SPLIT]
    found = {
        "status": "finished",
        "seed": 3,
        "config": {"name": "mine"},
        "history": [{}],
        "parameters": 1234,
        "timing": {"seconds": [1.5]},
        "metrics": dict.fromkeys([*names, "gap/loss", "gap/accuracy", "acted/clip_norm"]),
    }
    console = Console(file=io.StringIO(), width=100)
    show_run(run, found, console)
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    cells = {row[1]: [cell for cell in row[2:] if cell != "│"] for row in rows if len(row) > 2}
    assert cells["loss"] == cells["accuracy"] == ["–"] * 4
    assert cells["error"] == ["–"] * 3


def test_a_sweep_without_a_number_to_compare_has_trained_all_the_same(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    overrides = ("model=mlp", "model.hidden=[4]", "data.train_size=64", "epochs=1", "device=cpu")
    request = Request((*overrides, "seed=0,1", "launch=inline"), multirun=True)
    runs, _ = train_all(request)
    for run in runs:
        found = record.read(run.directory)
        record.write(run.directory, found | {"metrics": dict.fromkeys(found["metrics"])})
    assert serve(["-m", *request.overrides]) == 0
    out = capsys.readouterr().out
    assert "no comparison: no finished run has the metric test/error" in out
    assert "the full report: ablate report" in out


@pytest.mark.parametrize(
    ("value", "text"), [(float("inf"), "+inf"), (float("-inf"), "\u2212inf"), (-0.00001, "0.0000")]
)
def test_an_infinite_number_keeps_its_sign_and_a_zero_has_none(value, text):
    assert written(value, LOSS, signed=True) == text


def test_a_loss_and_its_gap_are_written_alike():
    assert metric_of("gap/loss").unit == metric_of("test/loss").unit == LOSS
    assert metric_of("gap/loss").better is None
