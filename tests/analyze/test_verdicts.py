"""Every line of the table of verdicts at its boundaries; descriptions; both by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.analyze import intervals, verdicts
from ablate.analyze.verdicts import DESCRIPTIONS, VERDICTS, description, verdict
from ablate.study.claim import DIRECTIONS

NAN, INF = math.nan, math.inf
# δ is 1 below, so an interval is compared with -1, 0 and 1.
ABOVE, BELOW = math.nextafter(1, 2), math.nextafter(1, 0)
TINY = math.ulp(0.0)

# Intervals, with the claimed direction positive, and the verdict on the claim.
TURNED = [
    ((ABOVE, 3), "supported"),
    ((1, 3), "supported, size open"),  # at δ, not beyond it
    ((BELOW, 3), "supported, size open"),
    ((TINY, 1), "supported, size open"),  # at δ, so not within it
    ((TINY, BELOW), "too small to matter"),
    ((0.2, 0.7), "too small to matter"),
    ((0, 1), "open"),
    ((0, BELOW), "too small to matter"),
    ((0, 0), "too small to matter"),
    ((-TINY, 3), "open"),
    ((0, 3), "open"),
    ((-BELOW, BELOW), "too small to matter"),
    ((-BELOW, 1), "open"),
    ((-1, BELOW), "open"),
    ((-2, 2), "open"),
    ((-BELOW, -TINY), "too small to matter"),
    ((-1, -TINY), "refuted, size open"),
    ((-3, -TINY), "refuted, size open"),
    ((-3, 0), "open"),
    ((-3, TINY), "open"),
    ((-3, -BELOW), "refuted, size open"),
    ((-3, -1), "refuted, size open"),
    ((-3, -ABOVE), "refuted"),
    ((ABOVE, INF), "supported"),
    ((-INF, -TINY), "refuted, size open"),
    ((-INF, INF), "open"),
    ((NAN, NAN), "open"),
]


@pytest.mark.parametrize(("interval", "expected"), TURNED)
def test_a_claimed_side_is_judged_by_where_the_interval_lies(interval, expected):
    low, high = interval
    assert verdict(low, high, "higher", 1) == expected
    assert verdict(-high, -low, "lower", 1) == expected


@pytest.mark.parametrize(("interval", "expected"), TURNED)
def test_a_claimed_difference_is_supported_on_either_side(interval, expected):
    low, high = interval
    expected = expected.replace("refuted", "supported")
    assert verdict(low, high, "differs", 1) == expected
    assert verdict(-high, -low, "differs", 1) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((-BELOW, BELOW), "supported"),
        ((-1, BELOW), "open"),
        ((-BELOW, 1), "open"),
        ((TINY, BELOW), "supported"),  # a difference that exists but does not matter
        ((0, 0), "supported"),
        ((BELOW, 3), "open"),
        ((1, 3), "open"),
        ((ABOVE, 3), "refuted"),
        ((TINY, 3), "open"),
        ((-2, 2), "open"),
        ((TINY, INF), "open"),
        ((NAN, NAN), "open"),
    ],
)
def test_a_claimed_equivalence_is_supported_within_and_refuted_beyond(interval, expected):
    low, high = interval
    assert verdict(low, high, "equivalent", 1) == expected
    assert verdict(-high, -low, "equivalent", 1) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((TINY, 3), "supported"),
        ((0, 3), "open"),
        ((0, 0), "open"),
        ((-3, 3), "open"),
        ((-3, 0), "open"),
        ((-3, -TINY), "refuted"),
        ((TINY, INF), "supported"),
        ((NAN, NAN), "open"),
    ],
)
def test_without_a_smallest_difference_only_the_side_is_judged(interval, expected):
    low, high = interval
    assert verdict(low, high, "higher") == expected
    assert verdict(-high, -low, "lower") == expected
    assert verdict(low, high, "differs") == expected.replace("refuted", "supported")
    assert verdict(-high, -low, "differs") == expected.replace("refuted", "supported")


@pytest.mark.parametrize(
    ("interval", "expected", "without"),
    [
        ((ABOVE, 3), "higher by more than δ", "higher"),
        ((1, 3), "higher", "higher"),
        ((TINY, 1), "higher", "higher"),
        ((TINY, BELOW), "higher by less than δ", "higher"),
        ((0, BELOW), "within ±δ", "not told apart"),
        ((0, 0), "within ±δ", "not told apart"),
        ((-BELOW, BELOW), "within ±δ", "not told apart"),
        ((-1, BELOW), "not told apart", "not told apart"),
        ((-3, 3), "not told apart", "not told apart"),
        ((0, 3), "not told apart", "not told apart"),
        ((TINY, INF), "higher", "higher"),
        ((NAN, NAN), "not told apart", "not told apart"),
    ],
)
def test_differences_that_nobody_claimed_are_described_by_sign_and_size(
    interval, expected, without
):
    low, high = interval
    mirrored = {"higher": "lower", "lower": "higher"}
    for margin, told in ((1, expected), (None, without)):
        assert description(low, high, margin) == told
        first, *rest = told.split(" ")
        turned = " ".join([mirrored.get(first, first), *rest])
        assert description(-high, -low, margin) == turned


ENDS = st.floats(-3, 3)


@given(ENDS, ENDS, st.none() | st.floats(0.01, 2))
def test_verdict_and_description_never_contradict_each_other(a, b, margin):
    low, high = min(a, b), max(a, b)
    told = description(low, high, margin)
    assert told in DESCRIPTIONS
    assert told not in VERDICTS
    for direction in DIRECTIONS[: None if margin else 3]:
        judged = verdict(low, high, direction, margin)
        assert judged in VERDICTS
        small = "less than δ" in told or told == "within ±δ"
        if direction == "equivalent":
            assert (judged == "supported") == small
            assert (judged == "refuted") == ("more than δ" in told)
            continue
        assert (judged == "too small to matter") == small
        if direction == "differs":
            assert "refuted" not in judged
        elif not small:
            side = told.partition(" ")[0]
            expected = {direction: "supported", "not": "open"}.get(side, "refuted")
            assert judged.partition(",")[0] == expected
        if margin and judged in ("supported", "refuted"):
            assert "more than δ" in told
    if margin is None:
        assert verdict(low, high, "lower") == verdict(-high, -low, "higher")


# -- by simulation: the two promises ---------------------------------------------------------------

STUDIES = 4000  # one standard error of a share of 5 % is 0.35 points


def of_studies(truths, n, alpha, draw=0):
    """Simulate studies of a baseline and one arm per true difference; return their intervals."""
    rng = np.random.default_rng(draw)
    base = rng.normal(size=(STUDIES, 1, n))
    arms = base + np.asarray(truths)[:, None] + rng.normal(size=(STUDIES, len(truths), n))
    return intervals.paired(arms, np.broadcast_to(base, arms.shape)).interval(alpha)


def is_false(judged, direction, truth, margin):
    """Return whether a verdict is false, given the true difference."""
    turned = truth if direction == "higher" else -truth
    apart, within = abs(truth) > margin, abs(truth) < margin
    if direction == "equivalent":
        return {"supported": not within, "refuted": not apart}.get(judged, False)
    if direction == "differs":
        supported = {"supported": not apart, "supported, size open": truth == 0}
        return (supported | {"too small to matter": not within}).get(judged, False)
    return {
        "supported": not turned > margin,
        "supported, size open": not turned > 0,
        "too small to matter": not within,
        "refuted, size open": not turned < 0,
        "refuted": not turned < -margin,
    }.get(judged, False)


@pytest.mark.parametrize("truth", [0, 0.5, 1, 2])
@pytest.mark.parametrize("m", [1, 4])
def test_at_most_one_study_in_twenty_has_a_false_verdict(m, truth):
    margin, n = 1.0, 8
    directions = list(itertools.islice(itertools.cycle(DIRECTIONS), m))
    if m == 1:
        directions = ["equivalent"] if truth else ["differs"]
    truths = [truth * (-1) ** i for i in range(m)]
    low, high = of_studies(truths, n, verdicts.ALPHA / m)
    asked = list(zip(directions, truths, strict=True))
    false = sum(
        any(
            is_false(verdict(*ends, direction, margin), direction, true, margin)
            for ends, (direction, true) in zip(row, asked, strict=True)
        )
        for row in np.stack([low, high], -1).tolist()
    )
    assert false / STUDIES <= 0.05 + 3 * 0.0035


@pytest.mark.parametrize("truth", [0, 0.5, 1])
def test_at_most_one_sweep_in_twenty_has_a_false_description(truth):
    margin, m = 1.0, 5
    low, high = of_studies([truth] * m, 6, verdicts.ALPHA / m, draw=1)
    false = {
        "not told apart": False,
        "within ±δ": not truth < margin,
        "lower": True,
        "higher": not truth > 0,
        "higher by more than δ": not truth > margin,
        "higher by less than δ": not 0 < truth < margin,
    }
    told = [[description(*ends, margin) for ends in row] for row in np.stack([low, high], -1)]
    wrong = [any(false[word if word in false else "lower"] for word in row) for row in told]
    assert np.mean(wrong) <= 0.05 + 3 * 0.0035
