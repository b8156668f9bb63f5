"""What a report says about claims: against other arms and metrics, on spread, on equivalence."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.analyze import caveats
from ablate.report import write
from ablate.report.compare import compare
from ablate.report.formatting import MINUS
from ablate.report.wording import verdict
from ablate.study.file import read_study
from ablate.study.study_json import described
from tests.reports import brief, page, write_arms

ARMS = ("plain", "less", "alike", "wide")


def claim(words, arm, direction, margin=None, metric="test/error", **more):
    asked = {"claim": words, "arm": arm, "direction": direction, "margin": margin}
    return asked | {"metric": metric, "source": "Someone 2014"} | more


CLAIMS = (
    claim("Less is lower", "less", "lower", 0.002),
    claim("Less is lower than wide", "less", "lower", 0.002, against="wide"),
    claim("Alike is the same", "alike", "equivalent", 0.01),
    claim("Wide spreads as much", "wide", "equivalent", 2.0, statistic="spread"),
    claim("Plain fits", "plain", "lower", 0.002, "train/error", against_metric="test/error"),
    claim("Across", "less", "higher", 0.002, against="wide", against_metric="train/error"),
)

UNSAID = {"claim": ""}  # then the report describes it by arm, direction and metric


def write_study(folder, *claims, **more):
    told = described(read_study("dropout_rate"), {}) | {"command": []}
    arms = {name: {"tuned": {}, "on the grid's edge": []} for name in ARMS}
    folder.mkdir(parents=True, exist_ok=True)
    told |= {"baseline": "plain", "arms": arms, "claims": claims} | more
    (folder / "study.json").write_text(json.dumps(told))
    noise = np.random.default_rng(0)
    base = 0.11 + noise.normal(0, 0.01, 8)
    errors = {
        "plain": base,
        "less": base - 0.02 + noise.normal(0, 0.003, 8),
        "alike": base + noise.normal(0, 0.002, 8),
        "wide": 0.11 + noise.normal(0, 0.04, 8),
    }
    write_arms(folder, {arm: values.tolist() for arm, values in errors.items()})


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    write_study(folder, *CLAIMS)
    return write.write_report([folder])[0]


def row(text, words):
    """Return the cells of the first row with this name."""
    line, *_ = (line for line in text.splitlines() if line.startswith(f"| {words} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_says_what_each_claim_compares(told):
    text = (told / "report.md").read_text(encoding="utf-8").replace("\\", "")
    for words, *cells in (
        ("Less is lower", "less", "lower", "plain", "test error, points", "0.20"),
        ("Less is lower than wide", "less", "lower", "wide", "test error, points", "0.20"),
        ("Wide spreads as much", "wide", "equivalent", "plain", "the spread of test error, ratio"),
        ("Plain fits", "plain", "lower", "its test error", "train error, points"),
        ("Across", "less", "higher", "wide in train error", "test error, points"),
    ):
        assert row(text, words)[1 : 1 + len(cells)] == cells
    assert row(text, "Wide spreads as much")[5] == "2.00"
    assert row(text, "Wide spreads as much")[6].startswith("4.39 [1.34, 14.38]"), (
        "a ratio has no sign"
    )
    verdicts = [row(text, one["claim"])[8] for one in CLAIMS]
    assert verdicts == [*("supported", "open", "supported"), "open", *["supported"] * 2]


def test_the_interval_next_to_a_verdict_is_the_one_that_decides_it(told):
    every = pd.read_csv(told / "tables" / "claims.csv").set_index(["arm", "baseline", "metric"])
    every = every[(every["statistic"] == "mean") & (every["against_metric"] == "test/error")]
    runs = compare([told.parent]).runs.pivot(index="seed", columns="arm", values="test/error")
    for arm, against in (("less", "plain"), ("less", "wide"), ("alike", "plain")):
        found = every.loc[(arm, against, "test/error")]
        test = stats.ttest_rel(runs[arm], runs[against])
        ends = test.confidence_interval(1 - 0.05 / 6)  # of six claims
        assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high))
        assert found["p_adjusted"] == pytest.approx(min(1, 6 * test.pvalue))
        alone = test.confidence_interval(0.95)
        assert (found["ci_low"], found["ci_high"]) == pytest.approx((alone.low, alone.high))


def test_an_arms_difference_is_described_and_gets_no_verdict(told):
    text = (told / "report.md").read_text(encoding="utf-8")
    arms = text[text.index("## Comparison") :]
    assert row(arms, "alike")[3] == "within ±1.00"
    assert row(arms, "less")[3] == "better by more than 0.20"
    assert row(arms, "wide")[3] == "not told apart"
    assert row(arms, "plain")[3] == "baseline"


def test_the_verdict_says_how_each_claim_fared(told):
    text = (told / "report.md").read_text(encoding="utf-8").replace("\\", "")
    assert "**6 claims: 4 supported; 2 open. Intervals are over new seeds" in text
    assert "- Less lowered the test error" in text
    assert "it was claimed to lower it: open.\n" in text
    assert "as claimed to be equivalent: supported.\n" in text
    for one in CLAIMS:
        assert one["claim"] in text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            CLAIMS[1] | UNSAID,
            f"Less was not told apart from wide in test error: {MINUS}0.85 points (",
        ),
        (
            CLAIMS[1] | UNSAID,
            "; it was claimed to lower it: open.",
        ),
        (
            CLAIMS[2] | UNSAID,
            "Alike changed the test error by less than 1.00 points, if at all: +0.04 points (",
        ),
        (
            CLAIMS[3] | UNSAID,
            "The spread of test error with wide was 4.39 times that of plain (",
        ),
        (CLAIMS[3] | UNSAID, "; it was claimed to be equivalent: open."),
        (
            CLAIMS[4] | UNSAID,
            "The one claim: The train error of plain was lower than its test error by",
        ),
        (
            CLAIMS[5] | UNSAID,
            "The test error of less was higher than wide in train error by",
        ),
        (
            claim("", "wide", "differs", 2, statistic="spread"),
            "8 seeds), as claimed: supported, size open.",
        ),
        (
            claim("", "alike", "lower", 0.01),
            "8 seeds); it was claimed to lower it: too small to matter.",
        ),
        (
            claim("", "less", "lower", 0.1),
            "less than the 10.00 points that matter; it was claimed to lower it: too small to"
            " matter (though better).",
        ),
        (
            claim("", "less", "equivalent", 0.1),
            ", as claimed to be equivalent: supported (though better).",
        ),
        (
            claim("", "less", "higher", 0.002),
            "8 seeds); it was claimed to raise it: refuted.",
        ),
        (
            claim("", "less", "higher", 0.022),
            "perhaps less than the 2.20 points that matter; it was claimed to raise it: refuted,"
            " size open.",
        ),
        (
            claim("", "less", "lower", 0.002, against="alike"),
            "Less lowered the test error, compared with alike, by",
        ),
    ],
)
def test_a_single_claim_is_answered_in_a_sentence(tmp_path, asked, said):
    write_study(tmp_path, asked)
    assert said in verdict(compare([tmp_path], brief=True))


def test_the_terminal_shows_every_claim_within_its_width(told):
    text = brief(told.parent)
    assert max(map(len, text.splitlines())) <= 80
    for one in CLAIMS:
        assert one["claim"] in text
    assert "4.39 ratio" in text
    assert f"{MINUS}0.85 points" in text
    assert "wide enough that all claims, and all else, are right in 95 % of studies" in text
    assert " 3 more are in the table." in " ".join(text.split())


def test_figures_show_claims_against_other_arms_and_on_spread(told):
    differences = (told / "figures" / "differences.svg").read_text(encoding="utf-8")
    assert "less against wide" in differences
    assert "plain against" not in differences, "that claim compares two metrics"
    spreads = (told / "figures" / "spreads.svg").read_text(encoding="utf-8")
    assert "wide against plain" in spreads


@pytest.mark.usefixtures("blank_pictures")
def test_without_a_claim_on_spread_there_is_no_figure_of_spreads(tmp_path):
    write_study(tmp_path, CLAIMS[0])
    report, _ = write.write_report([tmp_path])
    assert not (report / "figures" / "spreads.svg").exists()


def test_the_legend_explains_only_the_verdicts_that_occur(told, tmp_path):
    text = (told / "report.md").read_text(encoding="utf-8").replace("\\", "")
    assert "The interval is Pitman and Morgan's over shared seeds" in text
    assert "a 99.17 % interval for the 6 claims, so that all 6 are right at once" in text
    assert "open: anything else; that does not prove that there is no effect" in text
    assert "refuted:" not in text
    assert "“Though” adds" not in text
    write_study(tmp_path, CLAIMS[0])
    plain = page(tmp_path)
    assert "a 95 % interval for the one claim; a 97.5 % interval for the 2 differences" in plain
    assert "Pitman" not in plain
    assert "open: anything" not in plain
    write_study(tmp_path, claim("", "less", "lower", 0.1))
    assert "“Though” adds" in page(tmp_path)


def test_a_claim_that_an_arm_differs_is_supported_and_not_called_a_finding(tmp_path):
    write_study(tmp_path, *(claim(arm, arm, "differs", 0.002) for arm in ARMS[1:]))
    text = page(tmp_path)
    assert row(text, "less")[7] == "supported"
    assert "nobody claimed" not in text


def test_a_claim_without_runs_or_values_is_noted_and_the_others_are_judged(tmp_path):
    lost = claim("", "less", "lower", against="gone")
    unmeasured = claim("", "less", "lower", metric="evaluate/plain/error")
    write_study(tmp_path, lost, unmeasured, CLAIMS[0])
    found = compare([tmp_path])
    assert [line.verdict for _, line in found.claimed] == ["supported"]
    assert [line.family for _, line in found.claimed] == [("claims", 3)], "all three were claimed"
    assert "a claim about less is not judged: gone has no run" in found.notes
    assert (
        "a claim about less is not judged: no finished run has evaluate/plain/error" in found.notes
    )


def test_an_older_study_file_without_a_target_is_still_read(tmp_path):
    old = claim("It is lower", "less", "lower", 0.002)
    write_study(tmp_path, old)
    found = json.loads((tmp_path / "study.json").read_text())
    del found["target"]
    (tmp_path / "study.json").write_text(json.dumps(found))
    text = page(tmp_path)
    assert row(text, "It is lower")[1:4] == ["less", "lower", "test error, points"]


def test_finished_runs_that_never_reached_the_target_are_counted(tmp_path):
    ends = ["finished", "finished", "failed", "finished"]
    epochs = [math.nan, 3, math.nan, math.nan]
    runs = {"arm": ["a", "a", "a", "b"], "status": ends, "epochs_to_target": epochs}
    (note,) = caveats.short_of_target(pd.DataFrame(runs), 0.25)
    assert note.endswith(
        "a validation error of 25 %, are left out of the mean epochs to it: a (1), b (1)"
    )
    write_study(tmp_path, target=1e-9)
    notes = " ".join(compare([tmp_path]).notes)
    assert "plain (8), less (8), alike (8), wide (8)" in notes
    assert caveats.short_of_target(pd.DataFrame(runs).assign(epochs_to_target=1), 0.25) == []
