"""Reports hide nothing: lost runs, identical arms, open questions, and whatever users wrote."""

from __future__ import annotations

import json
import math
import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.commands.show import show_state
from ablate.errors import AblateError
from ablate.metrics import FRACTION
from ablate.report import escape, formatting, write
from ablate.report.compare import compare
from ablate.report.question import Question
from ablate.study.file import read_study
from ablate.study.study_json import described
from tests.analyze.test_frames import write_run
from tests.reports import ALIKE, BASE, LESS, NASTY, brief, metrics, page, terminal, write_arms


def table_of(folder, name):
    return pd.read_csv(folder / "tables" / f"{name}.csv").set_index("arm")


# -- honesty ---------------------------------------------------------------------------------------


def test_lost_runs_have_their_own_columns_and_a_note(troubled):
    arms = table_of(troubled, "comparison")
    lost = ["n", "n_missing", "n_failed", "n_diverged", "n_at_chance", "n_unfinished"]
    assert arms.loc["plain", lost].tolist() == [4, 0, 0, 0, 0, 0]
    assert arms.loc[NASTY, lost].tolist() == [1, 1, 1, 1, 0, 0]
    assert arms.loc["begun", lost].tolist() == [0, 3, 0, 0, 0, 1]
    for name in ("report.html", "report.md"):
        text = (troubled / name).read_text(encoding="utf-8")
        for word in ("missing", "failed", "diverged", "at chance", "unfinished"):
            found = re.search(rf"(\| |>){word}( \||<)", text)
            assert bool(found) == (word != "at chance"), (name, word)  # no run stayed at chance
        assert "13 of 24 runs are left out of the means: 10 missing, 1 failed, 1 diverged" in text
        assert "1 diverged, 1 unfinished" in text
        for note in (
            *("failed runs are left out", "runs are missing", "say which side is better"),
            "runs that diverged or stayed at chance are left out of the means",
            *("unfinished runs are left out of the means", "unequal n\\: from 0 to 4"),
        ):
            assert note.replace("\\", "") in text.replace("\\", ""), (name, note)
    assert "4 of 4" not in brief(troubled.parent)
    assert "1 of 4" in brief(troubled.parent)


def test_failed_and_diverged_runs_are_listed_with_their_reasons(troubled):
    failures = pd.read_csv(troubled / "tables" / "failures.csv")
    assert sorted(failures["status"]) == ["diverged", "failed", "interrupted"]
    assert failures.set_index("status").loc["diverged", "reason"] == NASTY
    assert (troubled / "figures" / "outcomes.svg").is_file()


def test_a_failed_run_counts_in_no_mean(tmp_path):
    write_arms(tmp_path, {"plain": [0.1, 0.2], "b": [0.3, 0.5]})
    # A failed run is left out even if it measured something before its end.
    late = {"metrics": metrics(0.9), "status": "failed"}
    write_run(tmp_path, {"dropout.dense": 1 / 8, "seed": 2}, study="s", arm="b", **late)
    assert compare([tmp_path]).lines["b"].mean == pytest.approx(0.4)


def test_identical_arms_are_flagged_on_the_page_and_in_the_terminal(tmp_path):
    same = [{"epoch": 1, "step": 1, "train/loss": 0.5, "val/accuracy": 0.5}]
    for rate in (0.0, 0.25):
        for seed in range(2):
            knobs = {"dropout.dense": rate, "seed": seed}
            write_run(tmp_path, knobs, history=same, metrics=metrics(0.1 + seed / 100))
    found = compare([tmp_path])
    assert found.identical == (("dropout.dense=0.0", "dropout.dense=0.25"),)
    assert page(tmp_path).count("(identical: 1)") == 2
    assert "bit-identical" in brief(tmp_path)
    assert "bit-identical" in terminal(show_state, tmp_path)


def test_an_arm_with_one_seed_has_no_interval_and_the_report_says_so(troubled):
    line = compare([troubled.parent]).lines["one"]
    assert line.n == 1
    assert math.isnan(line.low)
    assert math.isnan(line.p)
    text = (troubled / "report.md").read_text(encoding="utf-8")
    assert "| one | 20.00 (one seed) | +10.00 (one pair) | no test | 1 | 1 |" in text
    assert "only one seed, so no interval and no test" in text.replace("\\", "")
    assert "An arm with one seed has no interval" in text


def test_the_interval_shown_is_wide_enough_for_the_number_of_arms(tmp_path):
    write_arms(tmp_path, {"plain": BASE, "less": LESS, "alike": ALIKE})
    lines = compare([tmp_path]).others
    text = brief(tmp_path)
    for line, values in zip(lines, (LESS, ALIKE), strict=True):
        test = stats.ttest_rel(values, BASE)
        ends = test.confidence_interval(1 - 0.05 / 2)
        assert (line.delta_low, line.delta_high) == pytest.approx((ends.low, ends.high))
        assert line.p_adjusted == pytest.approx(min(1, 2 * test.pvalue))
        shown = ", ".join(f"{100 * end:+.2f}".replace("-", "\u2212") for end in ends)
        assert f"[{shown}]" in text
    assert "all that is said is right in 95 % of studies" in text


def test_with_an_untrained_run_arms_are_compared_by_order_only(tmp_path):
    lost = ValueError("the loss is nan")
    write_arms(
        tmp_path, {"plain": [*BASE, 0.12, 0.11], "less": [*LESS, 0.1, lost], "bad": [lost] * 6}
    )
    found = compare([tmp_path])
    assert [line.untrained for line in found.others] == [1, 6]
    assert all(math.isnan(line.delta) for line in found.others)
    text, told = brief(tmp_path), page(tmp_path)
    assert "| less | 9.74 ± 1.70 | by order only | not told apart | 5 | 6 |" in told
    assert "| bad | – | by order only | not told apart | 0 | 6 |" in told  # 0.031 is above 0.025
    assert "less (1 of 6: 17 %, 95 % interval 0 to 64), bad (6 of 6: 100 %, 95 % interval" in told
    assert "An exact sign test over pairs of seeds" in told
    assert re.search(r"less .* by order only not told apart 5 of 6", text)
    assert compare([tmp_path], Question(baseline="bad")).lines["plain"].untrained == 6


def test_a_report_on_runs_that_all_stayed_at_chance_is_written_in_full(tmp_path):
    data = {"digest": "d", "sizes": {"train": 1000, "val": 300, "test": 400}, "largest_class": 0.1}
    about = {"device": "a processor", "commit": "c", "dirty": False, "data": data}
    for arm, rate in (("plain", 0.0), ("dropped", 0.5)):
        for seed in range(2):
            knobs = {"dropout.dense": rate, "seed": seed}
            measured = metrics(0.9 + seed / 100) | {"val/accuracy": 0.1}
            write_run(tmp_path, knobs, study="s", arm=arm, metrics=measured, environment=about)
    folder, found = write.write_report([tmp_path])
    assert {line.lost["at chance"] for line in found.lines.values()} == {2}
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "plain (2 of 2: 100 %, 95 % interval 16 to 100)" in text.replace("\\", "")
    assert not (folder / "figures" / "gap.svg").exists()


def test_an_arm_that_never_trains_is_called_worse(tmp_path):
    lost = ValueError("the loss is nan")
    write_arms(tmp_path, {"plain": [*BASE, 0.12, 0.11], "bad": [lost] * 6})
    text = " ".join(brief(tmp_path).split())
    assert "bad and plain: 6 runs did not train; by order alone bad is worse (p = 0.031)" in text


def test_arms_with_one_seed_each_get_no_verdict(tmp_path):
    write_arms(tmp_path, {"plain": [0.1], "less": [0.05]})
    text = " ".join(brief(tmp_path).split())
    assert "cannot be told: each arm needs two seeds" in text
    assert "better" not in text


def test_seeds_that_agree_exactly_have_no_interval_either(tmp_path):
    write_arms(tmp_path, {"plain": [0.1, 0.1], "less": [0.05, 0.05]})
    text = brief(tmp_path)
    assert "(no spread)" in text
    assert "there is no spread between seeds" in " ".join(text.split())


def test_more_than_one_data_set_or_commit_is_pointed_out(troubled, tmp_path):
    assert "2 data sets" in (troubled / "report.html").read_text(encoding="utf-8")
    about = {"device": "a processor", "dirty": True, "data": {"digest": "d"}}
    for seed, commit in enumerate(("aaa", "bbb")):
        write_run(tmp_path, {"seed": seed}, environment=about | {"commit": commit})
    notes = " ".join(compare([tmp_path]).notes)
    assert "2 commits" in notes
    assert "uncommitted" in notes


def test_a_damaged_record_is_named_and_the_rest_is_reported(troubled):
    for name in ("report.html", "report.md"):
        text = (troubled / name).read_text(encoding="utf-8").replace("\\", "")
        assert "broken/record.json" in text


def test_the_legend_says_what_the_numbers_are(plain):
    text = (plain / "report.md").read_text(encoding="utf-8").replace("\\", "")
    legend = text[text.index("What the numbers mean") :]
    assert "half the width of the 95 % t interval of a mean over seeds, here 4 seeds" in legend
    assert "The weights are those of the last epoch. The test set was measured once" in legend
    # 5 arms; 3 levels against the first of their factor, and 2 interactions: 0.05 / 10.
    assert "a 99.5 % interval for the 10 differences that nobody claimed" in legend
    assert "are right at once in 95 % of studies" in legend
    assert "taken seed by seed, over the seeds they share" in legend
    assert "described, not judged" in legend
    assert "does not prove that there is no effect" in legend


def test_arms_that_share_no_seeds_are_called_unpaired(tmp_path):
    write_arms(tmp_path, {"plain": BASE})
    for seed, error in enumerate(LESS, start=100):
        knobs = {"dropout.dense": 0.5, "seed": seed}
        write_run(tmp_path, knobs, study="s", arm="less", metrics=metrics(error))
    text = brief(tmp_path)
    assert "unpaired" in text
    assert "over all runs of each, where arms share no seeds" in page(tmp_path)


def test_an_arm_without_a_finished_run_is_not_the_default_baseline(tmp_path):
    write_arms(tmp_path, {"plain": [None, None], "b": [0.1, 0.2], "c": [0.2, 0.4]})
    found = compare([tmp_path])
    assert found.baseline == "b"
    assert "plain has no finished run" in found.notes[0]
    with pytest.raises(AblateError, match="no finished run has the metric"):
        compare([tmp_path], Question(metric="other"))
    assert compare([tmp_path], Question(baseline="plain")).baseline == "plain"


def test_a_single_run_is_reported_without_a_comparison(tmp_path):
    place = write_run(tmp_path, {}, metrics=metrics(0.25))
    text = page(place)
    assert "There is one arm, so nothing is compared" in text
    assert "25.00 % over one seed, so without an interval" in text


def test_arms_left_out_of_a_figure_are_mentioned(tmp_path):
    write_arms(tmp_path, {f"arm {i}": [0.5 - i / 100, 0.51 - i / 100] for i in range(6)})
    found = compare([tmp_path])
    assert found.foremost(3) == ["arm 0", "arm 4", "arm 5"]
    assert "Of 6 arms, the baseline and the 2 best are shown" in found.choice(3)
    assert found.foremost(6) == list(found.lines)
    assert found.choice(6) == ""


def test_an_analysis_that_was_skipped_is_named_with_its_reason(tmp_path):
    for rate in range(13):
        for norm in ("none", "batch"):
            knobs = {"dropout.dense": rate / 20, "norm": norm}
            write_run(tmp_path, knobs, metrics=metrics(0.1 + rate / 100))
    assert "no effects of factors" not in page(tmp_path)
    write_run(tmp_path, {"dropout.dense": 0.0, "optimizer.lr": 0.1}, metrics=metrics(0.3))
    write_run(tmp_path, {"dropout.dense": 0.5, "optimizer.lr": 0.1}, metrics=metrics(0.2))
    write_run(tmp_path, {"norm": "batch", "optimizer.lr": 0.1}, metrics=metrics(0.2))
    assert "no effects of factors: too many values of dropout.dense" in page(tmp_path)


# -- the user's text -------------------------------------------------------------------------------


def test_names_and_reasons_show_verbatim_in_html(troubled):
    text = (troubled / "report.html").read_text(encoding="utf-8")
    shown = NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert shown.replace('"', "&#34;") in text
    assert "<b>" not in text


def test_figures_are_well_formed_xml_whatever_the_names(troubled):
    figures = list((troubled / "figures").glob("*.svg"))
    assert len(figures) >= 2
    for file in figures:
        assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_markdown_tables_keep_their_columns_whatever_the_names(troubled):
    text = (troubled / "report.md").read_text(encoding="utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) >= 2
    for rows in map(str.splitlines, tables):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, rows[0]
    assert "<b>" not in text.replace("\\<", "")


def test_the_terminal_shows_names_verbatim_within_its_width(troubled):
    text = brief(troubled.parent)
    assert max(map(len, text.splitlines())) <= 80
    name = "".join(line[:20] for line in text.splitlines())
    assert "[bold]" in name.replace(" ", "")


@given(st.text(max_size=30))
def test_no_text_breaks_a_line_or_leaves_its_cell(text):
    for shown in (escape.plain(text), escape.markdown(text), escape.latex(text)):
        assert not set(shown) & set("\n\r\x1b\x00\t")
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<`]", escape.markdown(text))
    assert not re.search(r"(?<!\\)[&%#_]", escape.latex(text))


# -- numbers ---------------------------------------------------------------------------------------


@given(st.floats(-1, 1))
def test_a_printed_number_is_exact_to_its_last_digit(value):
    text = formatting.written(value, FRACTION, signed=True)
    assert float(text.replace(formatting.MINUS, "-")) == pytest.approx(100 * value, abs=0.00501)


@given(st.floats(0, 1))
def test_no_p_value_is_printed_as_zero(p):
    assert float(formatting.p_value(p).removeprefix("< ")) > 0 or p == 0
    assert formatting.p_value(p) != "0.000"


def test_zero_has_no_sign_and_a_missing_value_is_a_dash():
    unit = FRACTION
    assert formatting.written(-1e-9, unit, signed=True) == "0.00"
    assert formatting.written(float("nan"), unit) == "–"
    assert formatting.ranges([0, 1, 2, 5]) == "0 to 2, 5"


# -- studies ---------------------------------------------------------------------------------------


def write_study(folder, **changes):
    told = described(read_study("dropout_rate"), {}) | {"command": ["scale=full"]}
    arms = {name: {"tuned": {}, "on the grid's edge": []} for name in ("plain", "less", "alike")}
    claim = {"claim": "It lowers the error", "source": "Someone 2014", "metric": "test/error"}
    claims = [claim | {"arm": "less", "direction": "lower", "margin": 0.002}]
    told |= {"baseline": "plain", "arms": arms, "claims": claims}
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps(told | changes))
    write_arms(folder, {"plain": BASE, "less": LESS, "alike": ALIKE})


def test_a_study_report_opens_with_its_question_and_judges_its_claims(tmp_path):
    write_study(tmp_path)
    text, found = page(tmp_path), compare([tmp_path])
    head = text[: text.index("## Comparison")]
    question = read_study("dropout_rate").question
    assert question in head
    assert brief(tmp_path).startswith(question)
    assert "The one claim, compared with plain: Less lowered the test error by 1.83 points" in head
    assert "| It lowers the error | less | lower |" in head
    assert "Someone 2014" in head
    assert found.lines["less"].family == ("claims", 1)
    assert found.lines["alike"].family == ("descriptions of test/error", 1)
    assert "ablate run +study=dropout_rate scale=full" in text
    assert "equal epochs" in text


def test_the_report_says_how_an_arm_was_tuned(tmp_path):
    tuned = {"tuned": {"optimizer.lr": "0.01"}, "on the grid's edge": ["optimizer.lr"]}
    arms = dict.fromkeys(("plain", "less", "alike"), tuned)
    tuning = {"knobs": {"optimizer.lr": ["0.01", "0.1"]}, "seeds": [1000], "metric": "val/error"}
    write_study(tmp_path, arms=arms, tuning=tuning)
    text = page(tmp_path)
    assert "optimizer.lr=0.01 (edge of its grid)" in text
    assert "optimizer.lr among 0.01, 0.1, by the mean val/error over the seeds 1000" in text


def test_a_baseline_on_the_command_line_wins_and_the_note_says_what_that_costs(tmp_path):
    write_study(tmp_path)
    found = compare([tmp_path], Question(baseline="alike"))
    assert found.baseline == "alike"
    assert found.asked.claims == ()
    assert "claims are against plain" in found.notes[0]


def test_a_claim_about_an_arm_without_runs_is_not_judged(tmp_path):
    claim = {"claim": "c", "source": "", "metric": "test/error", "direction": "lower"}
    write_study(tmp_path, claims=[claim | {"arm": "absent", "margin": None}])
    assert "absent" in compare([tmp_path]).notes[0]


@pytest.mark.parametrize(
    ("p", "told"), [(0.031, "p = 0.031"), (1.0, "p = 1.000"), (1e-9, "p < 0.001")]
)
def test_a_p_value_in_a_sentence_has_one_sign(p, told):
    assert formatting.p_in_words(p) == told
