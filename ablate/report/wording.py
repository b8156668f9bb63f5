"""What a report says in words: the verdict in one sentence, and the legend of its numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ablate.analyze.verdicts import ALPHA, VERDICTS
from ablate.metrics import POINTS, Unit, metric_of
from ablate.report.compare import Comparison
from ablate.report.formatting import RATIO, interval, p_value, plus_minus, written
from ablate.report.result import Line
from ablate.study.claim import EQUIVALENT, Claim, Compared

_MOST = 3  # arms that the verdict names
_SELECTED = {"last": "those of the last epoch", "best": "those of the best validation accuracy"}


def verdict(comparison: Comparison) -> str:
    """Say in one sentence what came out."""
    lines = comparison.others
    if not lines:
        return _alone(comparison)
    if comparison.claimed:
        return _of_claims(comparison)
    against = f"from {comparison.baseline} in {metric_of(comparison.metric).label}"
    tested = [line for line in lines if not math.isnan(line.p_holm)]
    if not tested:
        few = all(line.pairs < 2 for line in lines)
        why = "it takes two seeds of each" if few else "there is no spread between seeds"
        return f"Whether an arm differs {against} cannot be told: {why}."
    shown = sorted((line for line in tested if line.verdict == "supported"), key=lambda x: x.p)
    if not shown:
        smallest = p_value(min(line.p_holm for line in tested)).replace("< ", "below ")
        return (
            f"No arm differs {against} by more than seeds do (smallest Holm-corrected p {smallest};"
            f" {_pairs(lines)})."
        )
    some = [f"{line.arm} is {line.change} ({_found(line)})" for line in shown[:_MOST]]
    more = [f"{len(shown) - _MOST} more differ"] if len(shown) > _MOST else []
    rest = len(lines) - len(shown)
    others = [f"of the other{f' {rest}' if rest > 1 else ''} it cannot be told"] if rest else []
    subject = f"{len(shown)} of {len(lines)} arms" if len(lines) > 1 else "The other arm"
    verb = "differ" if len(shown) > 1 else "differs"
    return f"{subject} {verb} {against}: {'; '.join([*some, *more, *others])}."


def _alone(comparison: Comparison) -> str:
    line, metric = comparison.lines[comparison.baseline], metric_of(comparison.metric)
    unit = metric.unit
    mean = plus_minus(line.mean, line.low, line.high, unit)
    over = f"{line.n} seeds" if line.n != 1 else "one seed, so without an interval"
    return (
        f"There is one arm, so nothing is compared: its {metric.label} is"
        f" {mean}{f' {unit.name}' if unit.name else ''} over {over}."
    )


def _of_claims(comparison: Comparison) -> str:
    claimed = comparison.claimed
    counts = Counter(str(line.verdict) for _, line in claimed)
    told = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])
    base = comparison.baseline
    to_baseline = all(what(line).against == base != what(line).arm for _, line in claimed)
    some = [
        f"that {claim.arm} {_stated(claim, line, to_baseline)} is {line.verdict} ({_found(line)})"
        for claim, line in claimed[:_MOST]
    ]
    left = len(claimed) - _MOST
    more = [f"{left} more {'is' if left == 1 else 'are'} in the table"] if left > 0 else []
    subject = "The one claim" if len(claimed) == 1 else f"Of {len(claimed)} claims"
    against = f" against {base}" if to_baseline else ""
    counted = "" if len(claimed) == 1 else f", {told}"
    return f"{subject}{against}{counted}: {'; '.join([*some, *more])}."


_STATED = {
    "lower": ("lies lower", "than"),
    "higher": ("lies higher", "than"),
    "differs": ("differs", "from"),
    "equivalent": ("is equivalent", "to"),
}


def _stated(claim: Claim, line: Line, to_baseline: bool) -> str:
    """Say what is claimed of an arm; with whom it is compared, unless that was said of all."""
    verb, link = _STATED[claim.direction]
    other = compared_with(line, "" if to_baseline else what(line).against)
    return f"{verb} in {statistic_of(line)}{f' {link} {other}' if other else ''}"


def statistic_of(line: Line) -> str:
    """Name what is compared: ``test error``, ``the spread of test error``."""
    spread = "the spread of " if what(line).statistic == "spread" else ""
    return f"{spread}{metric_of(what(line).metric).label}"


def compared_with(line: Line, name: str) -> str:
    """Name what an arm is compared with: another arm, another metric, or both.

    Args:
        line: Of the arm.
        name: How the other arm is called; nothing where it goes without saying.
    """
    asked = what(line)
    if asked.metric == asked.against_metric:
        return name
    other = metric_of(asked.against_metric).label
    return f"its {other}" if asked.arm == asked.against else f"{asked.against} in {other}"


def what(line: Line) -> Compared:
    """Give what is compared; the baseline itself is not."""
    assert line.what is not None, "an arm that is compared"
    return line.what


def unit_of_change(line: Line) -> Unit:
    """Tell how the difference of an arm is written; of spread it is a ratio."""
    return RATIO if what(line).statistic == "spread" else metric_of(what(line).metric).unit


def _found(line: Line) -> str:
    unit = unit_of_change(line)
    name = f" {unit.difference}" if unit.difference else ""
    of = "" if unit.signed else "ratio "
    bounds = interval(line.delta_low, line.delta_high, unit, signed=True)
    within = f", 95 % interval {bounds}" if bounds else ""
    return f"{of}{written(line.delta, unit, signed=True)}{name}{within}, n = {line.pairs}"


def _pairs(lines: Sequence[Line]) -> str:
    low, high = min(line.pairs for line in lines), max(line.pairs for line in lines)
    return f"n = {low}" if low == high else f"n from {low} to {high}"


def judged(line: Line) -> str:
    """Write a verdict as a table shows it.

    Returns:
        Of a claim ``supported``, ``refuted``, ``equivalent`` or ``inconclusive``; where nothing was
        claimed, in place of the first which side it is: ``better``, ``worse``, ``lower``.
    """
    if line.verdict is None:
        return "baseline"
    if math.isnan(line.p):
        return "no test"
    if line.verdict == "supported" and not is_claimed(line):
        return str(line.change)
    return line.verdict


def judged_arm(line: Line) -> str:
    """Write the same beside the difference of an arm, where it does not stand what is claimed."""
    words = {"supported": "equivalent", "refuted": "not equivalent"}
    return words.get(judged(line), judged(line)) if line.direction == EQUIVALENT else judged(line)


def is_claimed(line: Line) -> bool:
    """Tell whether a line is of a claim, or of what nobody claimed."""
    return line.family[0] == "claims"


def legend(comparison: Comparison, selects: Sequence[str]) -> list[str]:
    """Explain every number of a report, a sentence or two each."""
    counts = [line.n for line in comparison.lines.values()]
    low, high = min(counts), max(counts)
    over = f"{low}" if low == high else f"{low} to {high}"
    return [
        f"± is half the width of the 95 % t interval of a mean over seeds, here {over} seeds an"
        " arm. It says how far the mean may lie from that of many more seeds, not how far single"
        " runs scatter. An arm of one seed has no interval, nor has one whose seeds agree exactly.",
        *_of_differences(comparison),
        *_of_verdicts([*comparison.others, *(line for _, line in comparison.claimed)]),
        *_of_the_test_set(comparison, selects),
        *comparison.asked.how,
        "Only finished runs enter a mean. What failed, diverged, is unfinished or missing (of seeds"
        " that other arms have) is counted in its own column.",
        "The cost is seconds of training a run, a mean; runs that were trained together in a stack"
        " share its time.",
    ]


def _of_differences(comparison: Comparison) -> list[str]:
    claims = [line for _, line in comparison.claimed]
    others = comparison.others
    if not others:
        return []
    tests = []
    if any(line.paired for line in others):
        tests.append("over the seeds that both have, with the paired t test and its 95 % interval")
    if not all(line.paired for line in others):
        tests.append("of arms with seeds of their own, with Welch's t test and its 95 % interval")
    families = dict.fromkeys(line.family for line in (*others, *claims))
    told = " and ".join(f"“{name}” ({_comparisons(size)})" for name, size in families)
    found = [
        f"Δ is the mean of an arm less that of the baseline, {comparison.baseline}:"
        f" {'; '.join(tests)}. The column pairs counts what it was worked out from. The interval"
        " is of that arm by itself, uncorrected: it may leave out 0 where p Holm finds nothing.",
        f"p is two-sided; p Holm is corrected by Holm's method within its family, {told}.",
    ]
    if any(what(line).statistic == "spread" for line in claims):
        found.append(_SPREAD)
    return found


_SPREAD = (
    "Of a claim about spread, Δ is the ratio of the arms' standard deviations over seeds, and so is"
    " the smallest effect; the test is Pitman and Morgan's over shared seeds, else the F test. Both"
    " take values to be normal: one run far from the others makes them too sure."
)


def _comparisons(size: int) -> str:
    return f"{size} comparison{'' if size == 1 else 's'}"


def _of_verdicts(lines: Sequence[Line]) -> list[str]:
    if not lines:
        return []
    claims = [line for line in lines if is_claimed(line)]
    words = []
    if len(claims) < len(lines):
        words.append(
            f"better, worse (lower, higher): p Holm below {ALPHA}, so the arm differs, on that"
            " side; nobody claimed it beforehand, so it is a finding to be tried again"
        )
    if any(line.direction != EQUIVALENT for line in claims):
        words.append(
            f"supported: p Holm below {ALPHA} in the claimed direction, by at least the smallest"
            " effect that matters; refuted: the same, opposite"
        )
    if any(line.direction != EQUIVALENT and not math.isnan(line.margin) for line in lines):
        words.append("equivalent: two one-sided tests place Δ within that smallest effect")
    if any(line.direction == EQUIVALENT for line in claims):
        words.append(
            "of a claim of equivalence, supported (equivalent): p Holm, there that of two one-sided"
            f" tests which place Δ within the smallest effect, below {ALPHA}; refuted (not"
            " equivalent): Δ is at least that effect, and p Holm, there that of a difference, below"
            f" {ALPHA}"
        )
    words.append("inconclusive: anything else, which is no proof of no effect")
    return [f"Verdicts. {'; '.join(words)}."]


def _of_the_test_set(comparison: Comparison, selects: Sequence[str]) -> list[str]:
    rules = " or ".join(_SELECTED.get(rule, rule) for rule in selects)
    found = [
        f"Weights were selected on the validation split alone ({rules}), and the test set was"
        " measured once, at the end of each run. So the numbers of the test set chose nothing."
    ]
    error = comparison.lines[comparison.baseline].sampling_error
    images = sorted(comparison.runs["test_images"].dropna().unique().tolist())
    if not math.isnan(error) and images:
        of = " or ".join(f"{count:,}" for count in images)
        points = written(error, POINTS)
        found.append(
            f"Intervals are over seeds, on this split and this test set of {of} images. The test"
            f" set's own sampling error, √(e(1 - e)/n), is {points} points at the baseline's mean:"
            " all arms share it, and no number of seeds makes it smaller."
        )
    return found
