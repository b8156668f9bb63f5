"""Says in words what came out of each comparison, and of all of them together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ablate.analyze import verdicts
from ablate.analyze.contrasts import CLAIMS
from ablate.analyze.pairs import SEEDS_AND_IMAGES
from ablate.metrics import Unit, metric_of
from ablate.report.compare import Comparison
from ablate.report.formatting import NONE, RATIO, p_in_words, plus_minus, written
from ablate.report.result import Line
from ablate.study.claim import EQUIVALENT, Claim, Compared

_MOST = 3  # arms that a verdict names


def verdict(comparison: Comparison) -> str:
    """Say what came out in a few sentences; the last says what it generalizes to."""
    return " ".join([_came_out(comparison), *_population(comparison)])


def headline(comparison: Comparison) -> str:
    """Like `verdict`, but only count the claims by verdict."""
    if len(comparison.claimed) < 2:
        return verdict(comparison)
    return " ".join([_counted(comparison), *_population(comparison)])


def findings(comparison: Comparison) -> list[str]:
    """Say what came out of each claim or, without claims, of each arm: one sentence each."""
    if comparison.claimed:
        return [finding(line, claim, comparison.baseline) for claim, line in comparison.claimed]
    baseline = comparison.labels[comparison.baseline]
    return [finding(comparison.labelled(line), None, baseline) for line in comparison.others]


def _came_out(comparison: Comparison) -> str:
    lines = [comparison.labelled(line) for line in comparison.others]
    if not lines:
        return _alone(comparison)
    if comparison.claimed:
        return _of_claims(comparison)
    baseline = comparison.labels[comparison.baseline]
    against = f"from {baseline} in {metric_of(comparison.metric).label}"
    if not any(map(_is_told, lines)):
        few = all(line.pairs < 2 for line in lines)
        why = "each arm needs two seeds" if few else "there is no spread between seeds"
        return f"Whether an arm differs {against} cannot be told: {why}."
    shown = sorted((line for line in lines if line.description in _DIFFER), key=lambda x: x.p)
    if not shown:
        within = sum(line.description == verdicts.WITHIN for line in lines)
        about = f" {_within(within, len(lines), lines[0])}" if within else ""
        return f"No arm is told apart {against} ({_pairs(lines)}).{about}"
    some = [_change(line, baseline) for line in shown[:_MOST]]
    more = [f"{len(shown) - _MOST} more differ"] if len(shown) > _MOST else []
    rest = len(lines) - len(shown)
    others = ["the other is not" if rest == 1 else f"the other {rest} are not"] if rest else []
    subject = f"{len(shown)} of {len(lines)} arms" if len(lines) > 1 else "The other arm"
    verb = "are" if len(shown) > 1 else "is"
    return f"{subject} {verb} told apart {against}: {'; '.join([*some, *more, *others])}."


_DIFFER = frozenset(verdicts.DESCRIPTIONS) - {verdicts.WITHIN, verdicts.UNKNOWN}


def _is_told(line: Line) -> bool:
    """Tell whether an arm can be judged: by an interval or by order."""
    return line.untrained > 0 or not math.isnan(line.delta_low)


def _within(count: int, total: int, line: Line) -> str:
    which = "All" if count == total else f"{count} of {total}"
    verb, of = ("lie", " of it") if total > 1 else ("lies", "")
    return f"{which if total > 1 else 'It'} {verb} within {_size(line)}{of}."


def _size(line: Line) -> str:
    """Write the smallest difference that matters: ``±0.5 points``."""
    unit = unit_of_change(line)
    name = f" {unit.difference}" if unit.difference else ""
    return f"±{written(line.margin, unit)}{name}"


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
    some = [finding(line, claim, comparison.baseline) for claim, line in claimed[:_MOST]]
    left = len(claimed) - _MOST
    more = [f"{left} more {'is' if left == 1 else 'are'} in the table."] if left > 0 else []
    return " ".join([_counted(comparison), *some, *more])


def _counted(comparison: Comparison) -> str:
    claimed, base = comparison.claimed, comparison.baseline
    to_baseline = all(what(line).against == base != what(line).arm for _, line in claimed)
    against = f", compared with {base}" if to_baseline else ""
    if len(claimed) == 1:
        return f"The one claim{against}:"
    return f"{len(claimed)} claims{against}: {counted([str(line.verdict) for _, line in claimed])}."


def counted(judged: Sequence[str], others: Sequence[str] = ()) -> str:
    """Count verdicts in words: ``2 supported; 1 refuted, size open``.

    Args:
        judged: Verdicts.
        others: Words among them that are not verdicts.
    """
    counts = Counter(judged)
    return "; ".join(f"{counts[w]} {w}" for w in (*verdicts.VERDICTS, *others) if counts[w])


def statistic_of(line: Line) -> str:
    """Name what is compared: ``test error``, ``the spread of test error``."""
    spread = "the spread of " if what(line).statistic == "spread" else ""
    return f"{spread}{metric_of(what(line).metric).label}"


def compared_with(line: Line, name: str) -> str:
    """Say what an arm is compared with: another arm, another metric, or both.

    Args:
        line: The arm's line.
        name: What to call the other arm; empty where it goes without saying.
    """
    asked = what(line)
    if asked.metric == asked.against_metric:
        return name
    other = metric_of(asked.against_metric).label
    return f"its {other}" if asked.arm == asked.against else f"{asked.against} in {other}"


def what(line: Line) -> Compared:
    """Return what is compared, for any line but the baseline's."""
    assert line.what is not None, "an arm that is compared"
    return line.what


def unit_of_change(line: Line) -> Unit:
    """Return the unit of an arm's difference; for spread, a ratio."""
    return RATIO if what(line).statistic == "spread" else metric_of(what(line).metric).unit


# -- one finding -----------------------------------------------------------------------------------

_CLAIMED = {"lower": "lower it", "higher": "raise it", "differs": "change it"}


def finding(line: Line, claim: Claim | None = None, baseline: str = "") -> str:
    """Say what came out of one comparison, as a person would say it.

    Args:
        line: Any but the baseline's.
        claim: What was claimed, or None.
        baseline: The arm that goes without saying, since all others are compared with it.

    Returns:
        ``Dropout raised the test error by 1.70 points (0.90 to 2.50, 20 seeds); it was claimed to
        lower it: refuted.`` Numbers in ( ) are the interval that decides.
    """
    told = _change(line, baseline)
    first = told if any(sign in told.split()[0] for sign in ".=") else told[:1].upper() + told[1:]
    return f"{first}{_against(line, claim)}."


def _against(line: Line, claim: Claim | None) -> str:
    """Set what came out against what was claimed."""
    if claim is None:
        return ""
    if line.verdict in (verdicts.SUPPORTED, verdicts.SUPPORTED_OPEN):
        same = line.direction == EQUIVALENT
        return f", as claimed{' to be equivalent' if same else ''}: {judged(line)}"
    if claim.direction == EQUIVALENT:
        return f"; it was claimed to be equivalent: {judged(line)}"
    if what(line).arm == what(line).against:
        how = {"differs": "differ"}.get(claim.direction, f"be {claim.direction}")
        return f"; it was claimed to {how}: {judged(line)}"
    return f"; it was claimed to {_CLAIMED[claim.direction]}: {judged(line)}"


def _change(line: Line, baseline: str) -> str:
    """Say how an arm changed a metric."""
    asked, arm = what(line), line.arm
    other = compared_with(line, asked.against)
    if line.untrained:
        runs = "1 run" if line.untrained == 1 else f"{line.untrained} runs"
        order = f"by order alone {arm} is {described(line)} ({p_in_words(line.p)})"
        return f"{arm} and {other}: {runs} did not train; {order}"
    if line.identical:
        return f"{arm} and {other} gave identical losses in {line.pairs} seeds"
    if asked.statistic == "spread":
        return _change_of_spread(line, other)
    if math.isnan(line.delta_low):
        known = f"; the one difference is {_sized(line.delta, line, signed=True)}"
        one = known if not math.isnan(line.delta) else ""
        return f"whether {arm} changed the {statistic_of(line)} cannot be told{one}"
    return _change_of_mean(line, other, baseline)


def _change_of_mean(line: Line, other: str, baseline: str) -> str:
    asked, arm, label = what(line), line.arm, statistic_of(line)
    beside = "" if asked.is_to(baseline) else f", compared with {other},"
    if line.delta_low <= 0 <= line.delta_high:
        found = _numbers(line, 1, signed=True)
        if line.description == verdicts.WITHIN:
            most = _sized(line.margin, line)
            return f"{arm} changed the {label}{beside} by less than {most}, if at all: {found}"
        return f"{arm} was not told apart from {other} in {label}: {found}"
    sign = 1 if line.delta_low > 0 else -1
    found = f"{_sized(sign * line.delta, line)} ({_bounds(line, sign)}, {_seeds(line)})"
    small = ""
    if line.description in (verdicts.SLIGHTLY_LOWER, verdicts.SLIGHTLY_HIGHER):
        small = f", less than the {_sized(line.margin, line)} that matter"
    elif not math.isnan(line.margin) and line.description in (verdicts.LOWER, verdicts.HIGHER):
        small = f", perhaps less than the {_sized(line.margin, line)} that matter"
    if asked.metric != asked.against_metric:
        side = "higher" if sign > 0 else "lower"
        return f"the {label} of {arm} was {side} than {other} by {found}{small}"
    return f"{arm} {'raised' if sign > 0 else 'lowered'} the {label}{beside} by {found}{small}"


def _change_of_spread(line: Line, other: str) -> str:
    label = metric_of(what(line).metric).label
    if math.isnan(line.delta):
        return f"whether {line.arm} changed the spread of {label} cannot be told"
    times = written(line.delta, RATIO)
    bounds = "" if math.isnan(line.delta_low) else f"{_bounds(line, 1)}, "
    return (
        f"the spread of {label} with {line.arm} was {times} times that of {other}"
        f" ({bounds}{_seeds(line)})"
    )


def _numbers(line: Line, sign: int, signed: bool = False) -> str:
    return f"{_sized(sign * line.delta, line, signed)} ({_bounds(line, sign)}, {_seeds(line)})"


def _sized(value: float, line: Line, signed: bool = False) -> str:
    unit = unit_of_change(line)
    return f"{written(value, unit, signed)}{f' {unit.difference}' if unit.difference else ''}"


def _bounds(line: Line, sign: int) -> str:
    """Write the interval that decides as ``0.90 to 2.50``, with the sentence's sign."""
    unit = unit_of_change(line)
    low, high = sorted((sign * line.delta_low, sign * line.delta_high))
    crosses = low <= 0 <= high
    if math.isnan(low):
        return NONE
    return f"{written(low, unit, crosses)} to {written(high, unit, crosses)}"


def _seeds(line: Line) -> str:
    if not line.paired:
        return f"{line.pairs} runs"
    return "1 seed" if line.pairs == 1 else f"{line.pairs} seeds"


def lost(comparison: Comparison) -> str:
    """Say how many runs are in no mean, and why; empty if there are none."""
    counts: Counter[str] = Counter()
    for line in comparison.lines.values():
        counts.update(line.lost)
    every = sum(line.n for line in comparison.lines.values()) + counts.total()
    if not counts.total():
        return ""
    why = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    verb = "is" if counts.total() == 1 else "are"
    return f"{counts.total()} of {every} runs {verb} left out of the means: {why}."


def tone(line: Line) -> str:
    """Choose the tone of a verdict or a description: good, bad, small or open."""
    if line.verdict is not None:
        return {
            verdicts.SUPPORTED: "good",
            verdicts.SUPPORTED_OPEN: "good",
            verdicts.REFUTED: "bad",
            verdicts.REFUTED_OPEN: "bad",
            verdicts.TOO_SMALL: "small",
        }.get(line.verdict, "open")
    if line.description == verdicts.WITHIN:
        return "small"
    if line.description not in _DIFFER:
        return "open"
    return {"better": "good", "worse": "bad"}.get(_side(line), "small")


def _pairs(lines: Sequence[Line]) -> str:
    low, high = min(line.pairs for line in lines), max(line.pairs for line in lines)
    return f"n = {low}" if low == high else f"n from {low} to {high}"


def judged(line: Line) -> str:
    """Write the verdict on a claim as a table shows it.

    Returns:
        One of `verdicts.VERDICTS`. If a difference is too small to matter, or the arms are
        equivalent, but its sign is known, the sign is given too. Before the planned end of the
        study it is marked ``interim``.
    """
    told = str(line.verdict) + (" (interim)" if line.look == "interim" else "")
    is_small = line.verdict == verdicts.TOO_SMALL or (
        line.direction == EQUIVALENT and line.verdict == verdicts.SUPPORTED
    )
    if is_small and line.description in _DIFFER:
        return f"{told} (though {_side(line)})"
    return told


def described(line: Line) -> str:
    """Describe an arm's difference as a table shows it.

    Returns:
        One of `verdicts.DESCRIPTIONS`, with δ as a number, and with ``better`` and ``worse`` where
        the metric has a better side; ``baseline``, ``identical``, or ``no test`` if there is
        neither interval nor order.
    """
    if line.description is None:
        return "baseline"
    if line.identical:
        return "identical"
    if not _is_told(line):
        return "no test"
    told = line.description.replace("δ", written(line.margin, unit_of_change(line)))
    if line.description not in _DIFFER:
        return told
    _, _, size = told.partition(" ")
    return f"{_side(line)} {size}".rstrip()


def _side(line: Line) -> str:
    """Name an arm's known side: ``better``, ``worse``, ``lower`` or ``higher``."""
    side, _, _ = str(line.description).partition(" ")
    asked = what(line)
    good = metric_of(asked.metric).better if asked.statistic == "mean" else None
    return side if good is None else "better" if side == good else "worse"


def is_claimed(line: Line) -> bool:
    """Tell whether a line is about a claim."""
    return line.family[0] == CLAIMS


def _population(comparison: Comparison) -> list[str]:
    """Say what the intervals generalize to; with one seed per arm, compare the two networks."""
    lines = [line for _, line in comparison.claimed] or comparison.others
    networks = [comparison.labelled(line) for line in lines if not math.isnan(line.p_networks)]
    if networks:
        least = min(networks, key=lambda line: line.p_networks)
        which = "these two networks" if len(lines) == 1 else f"the two networks of {least.arm}"
        return [
            f"For {which} alone, on such images: {p_in_words(least.p_networks)} (exact McNemar);"
            " that says nothing about other seeds."
        ]
    told = {line.population for line in lines if not math.isnan(line.delta_low)}
    if not told:
        return []
    if told == {SEEDS_AND_IMAGES}:
        return ["Intervals are over new seeds and new images."]
    if SEEDS_AND_IMAGES in told:
        return ["Intervals are over new seeds and, for test error and accuracy, over new images."]
    metrics = {what(line).metric for line in lines}
    fixed = ", on this test set" if all(name.startswith("test/") for name in metrics) else ""
    return [f"Intervals are over new seeds{fixed}."]
