"""The forest plot in a terminal: where its marks are, and when there is no plot."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from ablate.report import text_forest
from ablate.report.compare import compare
from ablate.report.formatting import MINUS
from ablate.report.question import Question
from ablate.report.result import Line
from ablate.report.table import Table, TableCell
from ablate.report.terminal import show_comparison
from ablate.study.claim import Compared
from tests.reports import BASE, LESS, terminal, write_arms

COLUMNS = 41  # with an axis from -1 to 1 point, a column is 0.05 points, and 0 is in column 20


def line(delta, low, high, margin=float("nan"), metric="test/error", statistic="mean"):
    what = Compared("dropout", metric, "plain", metric, statistic)
    found = Line("dropout", 0.05, 0.04, 0.06, 10, {}, 1.0)
    in_points = [value / 100 for value in (delta, low, high, margin)]
    return replace(
        found,
        **dict(zip(("delta", "delta_low", "delta_high", "margin"), in_points, strict=True)),
        what=what,
    )


def drawn(*lines, columns=COLUMNS):
    rows = tuple(tuple(TableCell("") for _ in range(4)) for _ in lines)
    table = Table("", "", ("arm", "mean", "Δ", "difference"), rows, pd.DataFrame())
    return text_forest.with_forest(table, lines, columns)


def marks(*lines):
    return [row[3].text for row in drawn(*lines).rows]


def test_an_interval_is_drawn_where_its_numbers_say():
    (wide, right) = marks(line(0, -1, 1), line(0.75, 0.5, 1))
    assert wide == f"├{'─' * 19}●{'─' * 19}┤"
    assert right == f"{' ' * 20}│{' ' * 9}├────●────┤"


def test_the_margin_is_a_band_and_the_interval_is_drawn_over_it():
    (small,) = marks(line(0.25, -0.25, 0.75, margin=1))
    assert small == f"{'░' * 15}├────┼────●─────────┤{'░' * 5}"


def test_a_baseline_and_an_arm_without_an_interval_show_where_0_is():
    baseline = Line("plain", 0.05, 0.04, 0.06, 10, {}, 1.0)
    found = drawn(baseline, line(0, -1, 1), line(0.5, float("nan"), float("nan")))
    assert [row[3].text for row in found.rows][::2] == [f"{' ' * 20}│{' ' * 20}"] * 2
    assert found.heads[3] == f"{MINUS}1.00{' ' * 15}0{' ' * 15}+1.00"


def test_differences_in_several_metrics_are_scaled_by_their_margins():
    error, loss = line(1, 0.5, 2, margin=0.5), line(-3, -4, -2, margin=1, metric="test/loss")
    found = drawn(error, loss)
    assert found.heads[3].split() == [f"{MINUS}4.0δ", "0", "+4.0δ"]
    assert [row[3].text.index("●") for row in found.rows] == [
        30,
        5,
    ]  # at 2 δ and -3 δ, with 5 columns per δ


@pytest.mark.parametrize(
    "lines",
    [
        [
            line(1, 0.5, 2),
            line(1, 0.5, 2, metric="test/loss"),
        ],  # without margins there is no common scale
        [line(1, 0.5, 2, statistic="spread")],
        [line(1, float("nan"), float("nan"))],
        [line(1, 0.5, float("inf"))],
        [line(0, 0, 0)],
    ],
)
def test_there_is_no_plot_without_a_scale(lines):
    assert drawn(*lines) is None


def test_there_is_no_plot_without_room():
    assert drawn(line(0, -1, 1), columns=text_forest.LEAST - 1) is None
    assert len(drawn(line(0, -1, 1), columns=400).heads[3]) == text_forest.MOST


@pytest.mark.parametrize(("columns", "there"), [(99, False), (100, True)])
def test_a_terminal_needs_100_columns_for_a_plot(columns, there, tmp_path):
    write_arms(tmp_path / "runs", {"plain": BASE, "less": LESS})
    comparison = compare([tmp_path / "runs"], Question(), brief=True)
    assert ("●" in terminal(show_comparison, comparison, width=columns)) == there
