"""What a report says in words: the verdict in one sentence, and the legend of its numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ablate.analyze import verdicts
from ablate.analyze.contrasts import CLAIMS
from ablate.analyze.pairs import SEEDS_AND_IMAGES
from ablate.metrics import Unit, metric_of
from ablate.report.compare import Comparison
from ablate.report.formatting import RATIO, interval, p_value, plus_minus, written
from ablate.report.result import Line
from ablate.study.claim import EQUIVALENT, Claim, Compared

_MOST = 3  # arms that the verdict names
_SELECTED = {"last": "the last epoch", "best": "the epoch of the best validation accuracy"}


def verdict(comparison: Comparison) -> str:
    """Say what came out in one sentence, and what it generalizes to in another."""
    return " ".join([_came_out(comparison), *_population(comparison)])


def _came_out(comparison: Comparison) -> str:
    lines = comparison.others
    if not lines:
        return _alone(comparison)
    if comparison.claimed:
        return _of_claims(comparison)
    against = f"from {comparison.baseline} in {metric_of(comparison.metric).label}"
    if not any(map(_is_told, lines)):
        few = all(line.pairs < 2 for line in lines)
        why = "it takes two seeds of each" if few else "there is no spread between seeds"
        return f"Whether an arm differs {against} cannot be told: {why}."
    shown = sorted((line for line in lines if line.description in _DIFFER), key=lambda x: x.p)
    if not shown:
        within = sum(line.description == verdicts.WITHIN for line in lines)
        about = f" {_within(within, len(lines), lines[0])}" if within else ""
        return f"No arm is told apart {against} ({_pairs(lines)}).{about}"
    some = [f"{line.arm} is {described(line)} ({_found(line)})" for line in shown[:_MOST]]
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
    base = comparison.baseline
    to_baseline = all(what(line).against == base != what(line).arm for _, line in claimed)
    some = [
        f"“{claim.words or _stated(claim, line, to_baseline)}”: {judged(line)} ({_found(line)})"
        for claim, line in claimed[:_MOST]
    ]
    left = len(claimed) - _MOST
    more = [f"{left} more {'is' if left == 1 else 'are'} in the table"] if left > 0 else []
    against = f", compared with {base}" if to_baseline else ""
    if len(claimed) == 1:
        return f"The one claim{against}: {some[0]}."
    told = counted([str(line.verdict) for _, line in claimed])
    found = "; ".join([*some, *more])
    return f"{len(claimed)} claims{against}: {told}. {found}."


def counted(judged: Sequence[str], others: Sequence[str] = ()) -> str:
    """Count verdicts in words: ``2 supported; 1 refuted, size open``.

    Args:
        judged: Verdicts.
        others: Words that stand among them and are no verdicts.
    """
    counts = Counter(judged)
    return "; ".join(f"{counts[w]} {w}" for w in (*verdicts.VERDICTS, *others) if counts[w])


_STATED = {
    "lower": ("is lower", "than"),
    "higher": ("is higher", "than"),
    "differs": ("differs", "from"),
    "equivalent": ("is equivalent", "to"),
}


def _stated(claim: Claim, line: Line, to_baseline: bool) -> str:
    """Say a claim without words of its own; and against whom, unless that was said of all."""
    verb, link = _STATED[claim.direction]
    other = compared_with(line, "" if to_baseline else what(line).against)
    return f"{claim.arm} {verb} in {statistic_of(line)}{f' {link} {other}' if other else ''}"


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
    if line.untrained:
        runs = "1 run" if line.untrained == 1 else f"{line.untrained} runs"
        return f"{runs} did not train; by order alone, p = {p_value(line.p)}"
    if line.identical:
        return f"identical losses in {line.pairs} seeds"
    unit = unit_of_change(line)
    name = f" {unit.difference}" if unit.difference else ""
    of = "" if unit.signed else "ratio "
    bounds = interval(line.delta_low, line.delta_high, unit, signed=True)
    within = f", interval {bounds}" if bounds else ""
    return f"{of}{written(line.delta, unit, signed=True)}{name}{within}, n = {line.pairs}"


def _pairs(lines: Sequence[Line]) -> str:
    low, high = min(line.pairs for line in lines), max(line.pairs for line in lines)
    return f"n = {low}" if low == high else f"n from {low} to {high}"


def judged(line: Line) -> str:
    """Write the verdict on a claim as a table shows it.

    Returns:
        One of `verdicts.VERDICTS`. Where a difference is too small to matter, or the arms are
        equivalent, and yet it is known on which side the arm lies, that side is told too.
        Before the planned end of the study it is marked ``interim``.
    """
    told = str(line.verdict) + (" (interim)" if line.look == "interim" else "")
    is_small = line.verdict == verdicts.TOO_SMALL or (
        line.direction == EQUIVALENT and line.verdict == verdicts.SUPPORTED
    )
    if is_small and line.description in _DIFFER:
        return f"{told} (though {_side(line)})"
    return told


def described(line: Line) -> str:
    """Describe the difference of an arm as a table shows it.

    Returns:
        One of `verdicts.DESCRIPTIONS`, with δ as a number, and with ``better`` and ``worse`` where
        the metric has a better side; ``baseline``, ``identical``, or ``no test`` where there is
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
    """Name the side where an arm is known to lie: ``better``, ``worse``, ``lower``, ``higher``."""
    side, _, _ = str(line.description).partition(" ")
    asked = what(line)
    good = metric_of(asked.metric).better if asked.statistic == "mean" else None
    return side if good is None else "better" if side == good else "worse"


def is_claimed(line: Line) -> bool:
    """Tell whether a line is of a claim, or of what nobody claimed."""
    return line.family[0] == CLAIMS


def legend(comparison: Comparison, selects: Sequence[str]) -> list[str]:
    """Explain every number of a report, a sentence or two each."""
    counts = [line.n for line in comparison.lines.values()]
    low, high = min(counts), max(counts)
    over = f"{low}" if low == high else f"{low} to {high}"
    return [
        f"± is half the width of the 95 % t interval of a mean over seeds, here {over} seeds an"
        " arm. It says how far the mean may lie from that of many more seeds, not how far single"
        " runs scatter. It leaves out that other images may be harder, and what pairing by seed"
        " gains, so do not compare arms by it: Δ does that. An arm of one seed has no interval, nor"
        " has one whose seeds agree exactly.",
        *_of_differences(comparison),
        *_of_verdicts(comparison),
        *_of_populations(comparison),
        *_of_the_test_set(comparison, selects),
        *comparison.asked.how,
        "Only runs that finished and trained enter a mean. Runs that failed, diverged, stayed at"
        " chance (validation accuracy not above the largest class's share, by an exact binomial"
        " test at 0.001), are unfinished, or are missing (of seeds that other arms have) are"
        " counted in columns of their own, where there are any.",
        "The cost is seconds of training a run, a mean; runs that were trained together in a stack"
        " share its time.",
    ]


def _of_differences(comparison: Comparison) -> list[str]:
    claims = [line for _, line in comparison.claimed]
    others = comparison.others
    if not others:
        return []
    pairing = []
    if any(line.paired for line in others):
        pairing.append("seed by seed, over the seeds that both have")
    if not all(line.paired for line in others):
        pairing.append("over all runs of each, where arms have seeds of their own")
    levels = {(line.family, line.alpha) for line in (*others, *claims)}
    told = "; ".join(_level(name, size, alpha) for (name, size), alpha in sorted(levels))
    found = [
        f"Δ is the mean of an arm minus that of the baseline, {comparison.baseline}, taken"
        f" {'; '.join(pairing)}; the column pairs counts them. Where the interval in [ ] lies"
        f" decides what is said of an arm. It is {told}."
    ]
    if any(line.untrained for line in (*others, *claims)):
        found.append(_ORDER)
    if any(what(line).statistic == "spread" for line in claims):
        found.append(_SPREAD)
    return found


def _level(family: str, size: int, alpha: float) -> str:
    """Say at which level the intervals of a family are, and why."""
    kind = "claim" if family == CLAIMS else "difference that nobody claimed"
    level = f"a {100 * (1 - alpha):.4g} % interval"
    if size == 1:
        return f"{level} for the one {kind}"
    whom = f"the {size} {kind.replace(' ', 's ', 1) if ' ' in kind else f'{kind}s'}"
    return f"{level} for {whom}, so that all {size} are right at once in 95 % of studies"


_ORDER = (
    "By order only: where some run of either arm diverged or stayed at chance there is no Δ, since"
    " such a run has no number. Whether an arm is better is then told by an exact sign test over"
    " pairs of seeds (an exact rank-sum test where arms have seeds of their own), in which such a"
    " run loses to any that trained; by how much is not told."
)
_SPREAD = (
    "Of a claim about spread, Δ is the ratio of the arms' standard deviations over seeds, and so is"
    " the smallest effect; the interval is Pitman and Morgan's over shared seeds, else that of the"
    " F test. Both take values to be normal: one run far from the others makes them too sure."
)


_MEANING = {
    verdicts.SUPPORTED: "the whole interval lies on the claimed side, beyond the smallest"
    " difference that matters, δ (beyond 0 where the claim has no δ; within ±δ where equivalence"
    " is claimed)",
    verdicts.SUPPORTED_OPEN: "it lies on the claimed side of 0, but reaches below δ, so that the"
    " difference may be too small to matter",
    verdicts.TOO_SMALL: "it lies within ±δ",
    verdicts.REFUTED: "it lies on the opposite side, beyond δ (beyond 0 where the claim has no δ;"
    " on either side where equivalence is claimed)",
    verdicts.REFUTED_OPEN: "it lies on the opposite side of 0, but reaches below δ, so that the"
    " difference may be too small to matter",
    verdicts.OPEN: "anything else, which does not prove that there is no effect",
}


def _of_verdicts(comparison: Comparison) -> list[str]:
    lines = [*comparison.others, *(line for _, line in comparison.claimed)]
    if not lines:
        return []
    found = []
    if claims := [line for _, line in comparison.claimed]:
        shown = {str(line.verdict) for line in claims}
        kept = [f"{word}: {_MEANING[word]}" for word in verdicts.VERDICTS if word in shown]
        found.append(f"A verdict says where the interval of a claim lies. {'; '.join(kept)}.")
        if any("(though" in judged(line) for line in claims):
            found.append(
                "“Though” adds what is known all the same: such a difference exists, on the side"
                " that is named, and is smaller than matters."
            )
    if any(not is_claimed(line) for line in lines):
        found.append(
            "What nobody claimed beforehand is described, not judged: better or worse (lower,"
            " higher) where the interval leaves out 0, with “by more than δ” or “by less than δ”"
            " where that is known too; within ±δ where only that is known; not told apart"
            " otherwise, which does not prove that there is no effect. Confirm what is described so"
            " by a study that claims it."
        )
    return found


def _of_the_test_set(comparison: Comparison, selects: Sequence[str]) -> list[str]:
    rules = " or ".join(_SELECTED.get(rule, rule) for rule in selects)
    return [
        f"The weights are those of {rules}. The test set was measured once, at the end of each run,"
        " and chose nothing."
    ]


def _population(comparison: Comparison) -> list[str]:
    """Say what the intervals generalize to; with one seed an arm, compare the two networks."""
    lines = [line for _, line in comparison.claimed] or comparison.others
    networks = [line for line in lines if not math.isnan(line.p_networks)]
    if networks:
        least = min(networks, key=lambda line: line.p_networks)
        which = "these two networks" if len(lines) == 1 else f"the two networks of {least.arm}"
        return [
            f"Of {which} alone, on such images: p = {p_value(least.p_networks)} (exact McNemar);"
            " it says nothing of other seeds."
        ]
    told = {line.population for line in lines if not math.isnan(line.delta_low)}
    if not told:
        return []
    if told == {SEEDS_AND_IMAGES}:
        return ["Intervals are over new seeds and new images."]
    if SEEDS_AND_IMAGES in told:
        return ["Intervals are over new seeds and, of test error and accuracy, over new images."]
    metrics = {what(line).metric for line in lines}
    fixed = ", on this test set" if all(name.startswith("test/") for name in metrics) else ""
    return [f"Intervals are over new seeds{fixed}."]


def _of_populations(comparison: Comparison) -> list[str]:
    """Explain what the intervals of differences generalize to."""
    lines = [*comparison.others, *(line for _, line in comparison.claimed)]
    told = {line.population for line in lines if not math.isnan(line.delta_low)}
    found = []
    if SEEDS_AND_IMAGES in told:
        found.append(
            "Intervals of test error and accuracy are over new seeds and new test images too: every"
            " run kept which of the same images it got right. Their variance is that over seeds"
            " plus that over images, minus the part that is in both. The images that are trained on"
            " stay the same."
        )
    if told - {SEEDS_AND_IMAGES}:
        rest = "Intervals of other metrics are" if found else "Intervals are"
        found.append(
            f"{rest} over new seeds only: they do not say how far the difference would move with"
            " other images of the kind."
        )
    return found
