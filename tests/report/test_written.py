"""Reports: what is written, the commands to reproduce it, and that none is left half written."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.table import Table
from scipy import stats

from ablate import streams
from ablate.commands import printing
from ablate.errors import AblateError
from ablate.plan.request import Request
from ablate.report import command_lines, escape, pages, write
from ablate.report.compare import compare
from ablate.report.figures import style
from ablate.report.terminal import show_comparison
from tests import reports
from tests.analyze.test_frames import write_run
from tests.asking import runs_of
from tests.reports import ALIKE, BASE, LESS, brief, run, write_arms

# -- what is written -------------------------------------------------------------------------------


def test_the_folder_holds_pages_tables_figures_and_frames(plain):
    assert {p.name for p in plain.iterdir()} == {
        *("report.html", "report.md", "report.files.json", "tables", "figures", "frames")
    }
    assert {p.stem for p in (plain / "frames").iterdir()} == {
        "runs",
        "history",
        "arms",
        "contrasts",
    }
    for kind, ending in (("tables", ".tex"), ("figures", ".png")):
        names = {p.stem for p in (plain / kind).iterdir()}
        assert {p.stem for p in (plain / kind).glob(f"*{ending}")} == names
    assert {p.stem for p in (plain / "figures").iterdir()} == {
        *("seeds", "differences", "curves-val-error", "curves-train-loss", "gap"),
        *("dose-dropout-dense", "heat-dropout-dense-norm-name"),
    }
    for file in (plain / "figures").glob("*.png"):
        with Image.open(file) as image:
            image.verify()


def test_the_contrasts_are_in_fractions_under_their_agreed_names(plain):
    found = pd.read_parquet(plain / "frames" / "contrasts.parquet")
    agreed = ["arm", "baseline", "metric", "n", "delta", "low", "high", "p", "p_adjusted"]
    assert {*agreed, "ci_low", "ci_high", "verdict", "description"} <= set(found)
    mine = found[found["metric"] == "test/error"]
    assert len(mine) == 5
    assert mine["delta"].abs().max() < 0.1


def test_the_table_agrees_with_scipy(tmp_path):
    write_arms(tmp_path, {"plain": BASE, "less": LESS})
    found = compare([tmp_path])
    line = found.lines["less"]
    test = stats.ttest_rel(LESS, BASE)
    low, high = test.confidence_interval()
    assert line.p == pytest.approx(test.pvalue)
    assert (line.delta_low, line.delta_high) == pytest.approx((low, high))
    half = stats.t.ppf(0.975, 3) * np.std(LESS, ddof=1) / 2
    text = brief(tmp_path)
    assert f"{100 * np.mean(LESS):.2f} ± {100 * half:.2f}" in text
    delta, *bounds = (f"{100 * x:+.2f}".replace("-", "\u2212") for x in (line.delta, low, high))
    assert delta in text
    assert f"[{', '.join(bounds)}]" in text
    assert line.p_adjusted == line.p
    description = "better" if high < 0 else "not told apart"
    assert re.search(rf"{re.escape(delta)} {description}", text)


def test_the_page_opens_with_what_differs_and_the_verdict(plain):
    for name in ("report.html", "report.md"):
        text = (plain / name).read_text(encoding="utf-8")
        head = text[: text.index("Comparison")]
        differs = (
            "dropout.dense (0.0, 0.25, 0.5) and norm (none, batch); seeds 0 to 3; cnn on digits"
        )
        assert differs in head
        assert "5 of 5 arms are told apart from dropout.dense=0.0 norm=none in test error: " in head


def test_the_page_needs_no_other_file_and_its_ids_are_unique(plain):
    text = (plain / "report.html").read_text(encoding="utf-8")
    outside = re.findall(r'(?:src|href|url)\s*[=(]\s*"?(?!#|data:)([^">\s)]+)', text)
    assert outside == []
    assert "@import" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:xlink:)?href="#([^"]+)"', text)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert 'name="viewport"' in text


def test_the_page_holds_the_data_of_every_figure(plain):
    text = (plain / "report.html").read_text(encoding="utf-8")
    data = dict(re.findall(r'download="([\w-]+)\.csv" href="[^"]*base64,([^"]+)"', text))
    assert set(data) == {p.stem for p in (plain / "figures").iterdir()}
    seeds = pd.read_csv(io.BytesIO(base64.b64decode(data["seeds"])))
    assert len(seeds) == 24


def test_every_link_of_the_markdown_page_leads_to_a_file(plain):
    text = (plain / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) >= 9
    assert all((plain / link).is_file() for link in links)


def test_the_same_runs_give_the_same_bytes(tmp_path):
    write_arms(tmp_path / "runs", {"plain": BASE, "less": LESS})
    one, two = (write.write_report([tmp_path / "runs"], out=tmp_path / n)[0] for n in "ab")
    files = [p.relative_to(one) for p in one.rglob("*") if p.is_file()]
    assert len(files) > 15
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


def test_several_paths_are_compared_together(tmp_path):
    for rate, name in ((0.0, "a"), (0.5, "b")):
        for seed in range(2):
            write_run(tmp_path / name, {"dropout.dense": rate, "seed": seed})
    assert list(compare([tmp_path / "a", tmp_path / "b"]).lines) == [
        "dropout.dense=0.0",
        "dropout.dense=0.5",
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles_whatever_the_names(plain, troubled, tmp_path):
    files = [*plain.glob("tables/*.tex"), *troubled.glob("tables/*.tex")]
    signs = tmp_path / "signs.tex"
    signs.write_text(escape.latex("ä î é ñ ç ß å š Δ±×≥λ²– “q” 中文 \u202e\x1b µ €") + "\n")
    inputs = "\n\n".join(f"\\input{{{file}}}" for file in [*files, signs])
    paper = "\\usepackage[paperwidth=200cm]{geometry}"
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}{paper}\\begin{{document}}"
    (tmp_path / "all.tex").write_text(f"{document}\n{inputs}\n\\end{{document}}\n")
    halt = ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(["pdflatex", *halt, "all.tex"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-1000:]


# -- the commands to reproduce it ------------------------------------------------------------------

REQUESTS = {
    "grid": ["dropout.dense=0,0.5", "norm=none,batch", "seed=range(3)", "epochs=3"],
    "lists": ["model=mlp", "model.hidden=[8,4],[4,4]", "dropout.dense=0.1,[0.1,0.2]", "seed=1,4"],
    "options": [
        *("optimizer=nesterov,adamw", "optimizer.lr=0.01", "schedule=step", "init=orthogonal"),
        *("regularize.l2=0.001", "augment=light", "batch_size=32", "name='a b'", "select=best"),
    ],
    "ladder": ["norm=none,batch", "regularize.label_smoothing=0,0.1", "seeds.init=5", "seed=2,3"],
    "full": ["optimizer=lbfgs,adam", "model=mlp", "data.train_size=100", "precision=bf16"],
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_printed_commands_plan_the_same_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = runs_of(Request(tuple(REQUESTS[name]), multirun=True))
    arms = {}
    for one in runs:
        config = {**one.config, "seed": None}
        arms.setdefault(json.dumps(config), (one.config, []))[1].append(one.config["seed"])
    lines = command_lines.commands(list(arms.values()))
    assert len(lines) == 1 or name not in ("grid", "ladder")
    again = set()
    for line in lines:
        program, verb, *rest = shlex.split(line)
        assert (program, verb) == ("ablate", "run")
        many = "-m" in rest
        overrides = tuple(word for word in rest if word != "-m")
        again |= {one.key for one in runs_of(Request(overrides, multirun=many))}
    assert again == {one.key for one in runs}


def test_commands_leave_out_default_values(plain):
    text = (plain / "report.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("$ ablate run"))
    words = set(shlex.split(line.removeprefix("$ ")))
    assert words == {
        *("ablate", "run", "-m", "dropout.dense=0.0,0.25,0.5", "norm=none,batch", "seed=range(4)")
    }


# -- never half written ----------------------------------------------------------------------------


@pytest.mark.usefixtures("blank_pictures")
def test_an_interrupted_report_leaves_the_old_one_and_no_draft(tmp_path, monkeypatch):
    write_arms(tmp_path / "runs", {"plain": BASE[:2], "less": LESS[:2]})
    folder, _ = write.write_report([tmp_path / "runs"], out=tmp_path / "out" / "report")
    old = (folder / "report.html").read_bytes()
    write_arms(tmp_path / "runs", {"more": ALIKE[:2], "other": LESS[:2], "third": BASE[:2]})

    def stop(report):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pages, "markdown", stop)
        with pytest.raises(KeyboardInterrupt):
            write.write_report([tmp_path / "runs"], out=folder)
    assert [p.name for p in folder.parent.iterdir()] == ["report"]
    assert (folder / "report.html").read_bytes() == old
    killed, another = (folder.parent / f".report.{n}-0123abcd.part" for n in (7, 8))
    for draft, age in ((killed, 7200), (another, 60)):
        (draft / "figures").mkdir(parents=True)
        os.utime(draft, (time.time() - age,) * 2)
    write.write_report([tmp_path / "runs"], out=folder)
    assert (folder / "report.html").read_bytes() != old
    assert {p.name for p in folder.parent.iterdir()} == {"report", another.name}


def test_a_folder_of_other_files_is_not_replaced(tmp_path):
    write_run(tmp_path / "runs", {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    for out in ("mine", "file"):
        with pytest.raises(AblateError, match="with --out"):
            write.write_report([tmp_path / "runs"], out=tmp_path / out)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("blank_pictures")
def test_the_command_writes_where_it_says_and_prints_the_short_version(
    tmp_path, monkeypatch, capsys
):
    write_arms(tmp_path / "runs", {"plain": BASE, "less": LESS})
    monkeypatch.chdir(tmp_path)
    assert run("report", "runs", "--baseline", "less", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "report: runs/report/report.html" in out
    assert re.search(r"less .* baseline", out)
    assert (tmp_path / "runs/report/report.html").is_file()


WRONG = {
    "--metric=test/eror": ["--metric test/eror", "did you mean 'test/error'"],
    "--metric=top5": ["--metric top5", "it is one of", "test/accuracy"],
    "--baseline=plane": ["plane", "less", "did you mean 'plain'"],
}


@pytest.mark.parametrize("option", WRONG)
def test_a_wrong_request_gets_one_message_and_nothing_is_written(
    option, tmp_path, monkeypatch, capsys
):
    write_arms(tmp_path, {"plain": BASE[:2], "less": LESS[:2]})
    assert run("report", tmp_path, option, monkeypatch=monkeypatch) == 2
    err = capsys.readouterr().err
    assert all(word in err for word in WRONG[option])
    assert "Traceback" not in err
    assert not (tmp_path / "report").exists()


def test_nothing_to_report_names_the_path_and_why(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    assert run("report", tmp_path / "empty", monkeypatch=monkeypatch) == 2
    assert "empty holds no record" in capsys.readouterr().err
    write_arms(tmp_path / "failed", {"plain": [None, ValueError("a reason")]})
    assert run("report", tmp_path / "failed", monkeypatch=monkeypatch) == 2
    err = capsys.readouterr().err
    assert "failed has finished (1 failed, 1 diverged)" in err
    assert not (tmp_path / "failed" / "report").exists()
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "record.json").write_text("{")
    assert run("report", tmp_path / "b", monkeypatch=monkeypatch) == 2
    assert "b/c/record.json" in capsys.readouterr().err


@pytest.mark.usefixtures("blank_pictures")
def test_a_sweep_ends_with_its_comparison_and_writes_a_report_if_asked(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    tiny = ["model=mlp", "model.hidden=[8]", "data.train_size=128", "epochs=1", "launch=inline"]
    swept = ["run", "-m", *tiny, "dropout.dense=0,0.5", "seed=0,1"]
    assert run(*swept, monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "Δ, points" in out
    assert "[interval]" in out
    assert "wide enough that all that is said is right in 95 % of studies" in out
    assert "ablate report results/digits-mlp" in out
    assert not (tmp_path / "results/digits-mlp/report").exists()
    assert run(*swept, "report=true", monkeypatch=monkeypatch) == 0
    assert "report: results/digits-mlp/report/report.html" in capsys.readouterr().out
    assert (tmp_path / "results/digits-mlp/report/report.html").is_file()


def test_importing_the_command_line_imports_no_statistics():
    heavy = "{'scipy', 'pandas', 'matplotlib', 'jinja2', 'torch'}"
    code = f"import sys, ablate.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("others", [(), ("uniform",)])
def test_a_knob_that_some_options_lack_is_not_crossed_with_them(tmp_path, others):
    options = [("xavier_normal", {})]
    options += [(name, {"init.std": std}) for name in ("normal", *others) for std in (0.01, 1.0)]
    for init, knobs in options:
        for seed in range(2):
            write_run(tmp_path, {"init": init, "seed": seed, **knobs})
    folder, _ = write.write_report([tmp_path])
    drawn = (folder / "figures" / "heat-init-name-init-std.svg").is_file()
    assert drawn == bool(others), "a heat map needs crossed knobs"


@pytest.mark.usefixtures("blank_pictures")
def test_knobs_varied_one_at_a_time_are_not_crossed(tmp_path):
    arms = [{}, {"dropout.dense": 0.5}, {"dropout.dense": 0.25}, {"dropout.output": 0.5}]
    for knobs in arms:
        for seed in range(2):
            write_run(tmp_path, {"seed": seed, **knobs})
    folder, _ = write.write_report([tmp_path])
    assert not list((folder / "figures").glob("heat-*"))
    assert not (folder / "tables" / "effects.csv").exists()


def test_effects_of_a_factorial_form_one_family_with_its_arms(plain):
    text = (plain / "report.md").read_text()
    table = text[text.index("## Effects of factors") :].split("\n")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table if row[:2] == "| "][
        2:7
    ]
    assert [row[0] for row in rows] == [
        *("dropout.dense=0.25", "dropout.dense=0.5", "norm=batch"),
        *(f"interaction: dropout.dense={rate} × norm=batch" for rate in (0.25, 0.5)),
    ]
    # 5 arms and 5 effects are described; dropout costs 0.04 of its rate, batch norm saves 5 points.
    assert [row[3] for row in rows] == ["worse", "worse", "better", *["not told apart"] * 2]
    assert "Intervals are at 99.5 %, so that all 10 descriptions, of arms and of effects" in text
    data = pd.read_csv(plain / "tables" / "effects.csv")
    assert data["family_size"].tolist() == [10] * 5
    assert data["delta"].tolist()[:3] == pytest.approx([0.01, 0.02, -0.05], abs=0.003)
    arms = pd.read_parquet(plain / "frames" / "contrasts.parquet")
    assert set(arms.loc[arms["primary"], "family_size"]) == {10}


def test_a_rate_next_to_lists_of_rates_is_printed_without_quotes(tmp_path):
    for rates in (0.0, [0.2, 0.6]):
        for seed in range(2):
            write_run(tmp_path, {"seed": seed, "dropout.dense": rates})
    told = reports.page(tmp_path)
    assert "What differs: dropout.dense (0.0, [0.2,0.6]); seeds 0 to 1" in told


@pytest.mark.parametrize(
    ("values", "scale"),
    [([0.05, 0.06, 0.59], "log"), ([0.05, 0.06, 0.3], "linear"), ([0.0, 0.5], "linear")],
)
def test_one_far_value_makes_an_axis_logarithmic_unless_some_are_zero(values, scale):
    _, axes = style.blank(2)
    axes.plot(values, values)
    style.logarithmic_if_wide(axes.set_xscale, axes.xaxis, [*values, float("nan")])
    assert axes.get_xscale() == scale


@pytest.mark.parametrize("highest", [0.5, 1e7])
def test_numbers_on_a_logarithmic_axis_are_well_spaced(highest):
    _, axes = style.blank(2)
    axes.plot([0, 1], [0.01, highest])
    style.logarithmic(axes.set_yscale, axes.yaxis)
    shown = [tick for tick in axes.get_yticks() if 0.0099 < tick < 1.01 * highest]
    assert 4 <= len(shown) <= 10
    steps = {round(b / a, 6) for a, b in pairwise(shown)}
    # Which powers a long axis shows, the even or the odd ones, depends on matplotlib's version.
    assert steps == ({2, 2.5} if highest == 0.5 else {100})


# -- narrow and plain terminals --------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 30, 40, 50])
def test_a_narrow_terminal_keeps_arms_and_whole_numbers(tmp_path, width):
    write_arms(tmp_path, {"plain": BASE, "with less": LESS})
    told = reports.terminal(show_comparison, compare([tmp_path], brief=True), width=width)
    # (0.1 + 0.12 + 0.11 + 0.13) / 4 = 0.115, and (0.08 + 0.104 + 0.088 + 0.115) / 4 = 0.09675.
    for text in ("plain", "with less", "11.50 ±", "9.68 ±", "\u22121.8", "n: 4"):
        assert told.count(text) >= 1, text


def test_a_narrow_table_of_a_command_cuts_no_word_either():
    def made():
        table = Table("arm", "test", title="a sweep")
        table.add_row("dropout.dense=0.125", "12.25 %")
        return table

    assert "\u2502" in reports.terminal(printing.show_table, made(), width=40)
    told = reports.terminal(printing.show_table, made(), width=20)
    assert told == "a sweep\narm: dropout.dense=0.125\n  test: 12.25 %\n"


def test_a_wide_terminal_keeps_the_table(tmp_path):
    write_arms(tmp_path, {"plain": BASE, "less": LESS})
    told = reports.terminal(show_comparison, compare([tmp_path], brief=True), width=80)
    assert max(map(len, told.splitlines())) <= 80
    assert "n: 4" not in told


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", "delta +/-1.5 -0.2 ..."),
        ("latin-1", "delta ±1.5 -0.2 ..."),
        ("utf-8", "Δ ±1.5 \u22120.2 …"),
    ],
)
def test_a_sign_that_an_encoding_lacks_gets_a_plain_form(encoding, written):
    signs = "Δ ±1.5 \u22120.2 …"
    assert streams.encodable(signs, encoding) == written
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    outliving = streams.Outliving(stream)
    outliving.write(signs + "\n")
    outliving.flush()
    assert stream.buffer.getvalue().decode(encoding) == written + "\n"
    assert streams.encodable("猫", encoding).encode(encoding)


# -- several folders -------------------------------------------------------------------------------


def test_comparing_two_studies_notes_that_their_claims_are_not_judged(tmp_path):
    for rate, name in enumerate(("one", "two")):
        for seed, error in enumerate(BASE):
            made = {"metrics": reports.metrics(error), "study": name, "arm": "plain"}
            write_run(tmp_path / name, {"seed": seed, "dropout.dense": rate / 2}, **made)
    asked = compare([tmp_path / "one", tmp_path / "two"])
    (note,) = (note for note in asked.notes if "judged" in note)
    assert note.startswith("runs from several folders are compared: the claims of one, two are")
    assert "arms are compared by test/error" in note


def test_a_missing_path_is_an_error_that_suggests_one_that_exists(tmp_path):
    write_arms(tmp_path / "sweep", {"plain": BASE, "less": LESS})
    with pytest.raises(AblateError, match=r"sweeq is not there: .* did you mean .*/sweep\?"):
        compare([tmp_path / "sweep", tmp_path / "sweeq"])
