"""What `ablate plan` says about what a study can find."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ablate.analyze import power
from ablate.commands import prospects
from ablate.errors import AblateError
from ablate.plan.request import Request
from ablate.study import ledger
from ablate.study.comparison import StudyPlan, plan_study
from tests.analyze.test_frames import ABOUT, write_run
from tests.reports import run, terminal

CLAIMS = [
    {"claim": "It helps", "arm": "half", "direction": "lower"},
    {"claim": "All of it hurts", "arm": "most", "direction": "higher"},
    {"claim": "Neither matters to the loss", "arm": "half", "direction": "equivalent",
     "metric": "test/loss", "margin": 0.02},
]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(claims=CLAIMS, seeds=12, **more):
    study = {
        "question": "Does dropout help?",
        "source": "a test",
        "fixed": ["model=mlp", "model.hidden=[8]", "epochs=1"],
        "arms": {"plain": [], "half": ["dropout.dense=0.5"], "most": ["dropout.dense=0.9"]},
        "seeds": seeds,
        "margin": 0.01,
        "claims": claims,
    }
    Path("mine.yaml").write_text(yaml.safe_dump(study | more, sort_keys=False), encoding="utf-8")
    return "mine.yaml"


def planned(*overrides, **changes) -> StudyPlan:
    return plan_study(Request((f"+study={written(**changes)}", *overrides)), whole=True)


def told(*sd, k=None, plan=None, **changes):
    plan = planned(**changes) if plan is None else plan
    return terminal(lambda console: prospects.show_prospects(plan, sd, k, console))


def test_similar_claims_are_shown_together_with_chances_and_seeds_needed():
    text = told("0.01")
    first, second = text.split("claim 3:")
    assert "claim 1: It helps\nclaim 2: All of it hurts\n" in first
    assert "test error, δ 1.00 points, 12 shared seeds, interval at 98.33 %" in first
    rows = {row[0]: row[1:] for row in map(cells, first.split("\n")) if "=" in row[0]}
    assert list(rows) == ["δ/2 = 0.50", "δ = 1.00", "2δ = 2.00"]
    # 12 seeds, and an effect one standard deviation beyond δ: the noncentral t gives 73 %.
    assert rows["2δ = 2.00"][0] == "73 %"
    assert "supported at 2δ in 73 %; in 80 % with 14 seeds" in first
    assert "if seeds scatter by" in second, "the spread of the loss is not given"
    assert max(map(len, text.split("\n"))) <= 80


def cells(line):
    return [cell.strip() for cell in re.split("[│┃]", line)[1:-1]] or [""]


def test_a_deviation_from_few_seeds_is_called_uncertain():
    text = told("0.01", k=5)
    _, high = power.limits_of_spread(0.01, 5)
    assert "over seeds (5 of them)" in text
    assert f"at its upper 80 % limit, {100 * high:.2f} points, it takes 29" in text
    assert "5 seeds say little about it: within its 80 % limits 14 seeds give" in text
    assert "say little" not in told("0.01", k=30)


def test_each_metric_has_its_own_deviation():
    text = told("0.01", "test/loss=0.01")
    assert "supported at 0 in" in text
    assert "if seeds scatter" not in text
    assert "--sd NUMBER" not in text
    assert "--sd NUMBER" in told()


@pytest.mark.parametrize(
    ("sd", "k", "fault"),
    [
        (["much"], None, "--sd much: it takes a number > 0"),
        (["-1"], None, "a number > 0"),
        (["test/los=1"], None, "no claim is about test/los; did you mean 'test/loss'"),
        ([], 5, "give --sd, too"),
        (["recorded"], None, "no run of the study is recorded"),
    ],
)
def test_deviations_that_cannot_be_read_are_refused(sd, k, fault):
    with pytest.raises(AblateError, match=re.escape(fault)):
        told(*sd, k=k)


def test_two_claims_with_two_seeds_cannot_reach_a_verdict():
    (note,) = prospects.too_few(planned(seeds=2, claims=CLAIMS[:2]))
    assert note.startswith("expect no verdict on claim 1, 2: with 2 seeds, an interval")
    # By hand: t = 25.5 with one degree of freedom at 97.5 %, over √2, is 18; 80 % power takes more.
    assert "at 97.5 % excludes 0 only for a difference of 23 standard deviations" in note
    assert prospects.too_few(planned()) == []
    assert note in " ".join(told(seeds=2, claims=CLAIMS[:2]).split())


def test_a_study_that_stays_open_whatever_the_truth_says_so():
    assert "likely to stay open, whatever the truth" in told("0.05")
    assert "likely to stay open" not in told("0.01")


def test_the_spread_of_recorded_runs_is_used_and_counts_as_a_look():
    plan = planned("out=here")
    # Four seeds with differences of 1, 2, 3 and 2 points: the standard deviation is 0.82.
    errors = {"plain": [0.1] * 4, "half": [0.11, 0.12, 0.13, 0.12]}
    for one in plan.reported.runs:
        seed = one.config["seed"]
        if one.arm in errors and seed < 4:
            parts = {"key": one.key, "study": "mine", "arm": one.arm, "config": one.config}
            metrics = {"test/error": errors[one.arm][seed]}
            parts |= {"environment": {"data": ABOUT}}
            made = write_run(one.sweep, {"seed": seed}, metrics=metrics, **parts)
            made.rename(one.directory)
    text = told("recorded", plan=plan)
    assert "standard deviation 0.82 points over seeds (4 of them)" in text
    (look,) = ledger.read(plan.reported.runs[0].sweep).of_kind("look")
    assert look["ended"] == 8
    assert "claim 2: All of it hurts\ntest error, δ 1.00 points, 12 shared seeds" in text


def test_deviations_are_refused_for_a_grid_which_has_no_claims(monkeypatch, capsys):
    asked = ("plan", "-m", "seed=0,1", "--sd", "0.01")
    assert run(*asked, monkeypatch=monkeypatch) == 2
    assert "they need a study" in capsys.readouterr().err


def test_the_command_shows_what_a_study_can_find(monkeypatch, capsys):
    assert run("plan", f"+study={written()}", "--sd", "0.01", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "36 runs in" in out
    assert "how the claims can come out:" in out
