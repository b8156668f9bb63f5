"""The legend at the end of a report: what its numbers mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ablate.analyze import verdicts
from ablate.analyze.contrasts import CLAIMS
from ablate.analyze.pairs import SEEDS_AND_IMAGES
from ablate.report.compare import Comparison
from ablate.report.wording import is_claimed, judged, what

_SELECTED = {"last": "the last epoch", "best": "the epoch of the best validation accuracy"}


def legend(comparison: Comparison, selects: Sequence[str]) -> list[str]:
    """Explain every number of a report, in a sentence or two each."""
    counts = [line.n for line in comparison.lines.values()]
    low, high = min(counts), max(counts)
    over = f"{low}" if low == high else f"{low} to {high}"
    return [
        f"± is half the width of the 95 % t interval of a mean over seeds, here {over} seeds per"
        " arm. It says how far the mean may lie from that of many more seeds, not how far single"
        " runs scatter. It ignores that other images may be harder, and that arms are paired by"
        " seed, so do not compare arms by it: Δ does that. An arm with one seed has no interval,"
        " nor has one whose seeds agree exactly.",
        *_of_differences(comparison),
        *_of_verdicts(comparison),
        *_of_populations(comparison),
        *_of_the_test_set(comparison, selects),
        *comparison.asked.how,
        "Means are over runs that finished and trained. Runs that failed, diverged, stayed at"
        " chance (validation accuracy not above the largest class's share, by an exact binomial"
        " test at 0.001), did not finish, or are missing (for seeds that other arms have) are"
        " counted in columns of their own.",
        "The cost is the mean training time of a run in seconds; runs trained together in a stack"
        " share its time.",
    ]


def _of_differences(comparison: Comparison) -> list[str]:
    claims = [line for _, line in comparison.claimed]
    others = comparison.others
    if not others:
        return []
    pairing = []
    if any(line.paired for line in others):
        pairing.append("seed by seed, over the seeds they share")
    if not all(line.paired for line in others):
        pairing.append("over all runs of each, where arms share no seeds")
    levels = {(line.family, line.alpha) for line in (*others, *claims)}
    told = "; ".join(_level(name, size, alpha) for (name, size), alpha in sorted(levels))
    found = [
        f"Δ is the mean of an arm minus that of the baseline, {comparison.baseline}, taken"
        f" {'; '.join(pairing)}; these are n, unless a column pairs counts them. What is said about"
        f" an arm depends on where the interval in [ ] lies. It is {told}."
    ]
    if any(line.untrained for line in (*others, *claims)):
        found.append(_ORDER)
    if any(what(line).statistic == "spread" for line in claims):
        found.append(_SPREAD)
    return found


def _level(family: str, size: int, alpha: float) -> str:
    """Say at which level a family's intervals are, and why."""
    kind = "claim" if family == CLAIMS else "difference that nobody claimed"
    level = f"a {100 * (1 - alpha):.4g} % interval"
    if size == 1:
        return f"{level} for the one {kind}"
    whom = f"the {size} {kind.replace(' ', 's ', 1) if ' ' in kind else f'{kind}s'}"
    return f"{level} for {whom}, so that all {size} are right at once in 95 % of studies"


_ORDER = (
    "By order only: if a run of either arm diverged or stayed at chance, there is no Δ, since such"
    " a run has no meaningful number. An exact sign test over pairs of seeds (an exact rank-sum"
    " test where arms share no seeds) then says which arm is better, but not by how much; a run"
    " that did not train loses to any that did."
)
_SPREAD = (
    "For a claim about spread, Δ and δ are ratios of the arms' standard deviations over seeds. The"
    " interval is Pitman and Morgan's over shared seeds, otherwise that of the F test. Both assume"
    " normal values: one run far from the others makes them too confident."
)


_MEANING = {
    verdicts.SUPPORTED: "the whole interval lies on the claimed side, beyond the smallest"
    " difference that matters, δ (beyond 0 if the claim has no δ; within ±δ if equivalence"
    " is claimed)",
    verdicts.SUPPORTED_OPEN: "it lies on the claimed side of 0, but reaches below δ, so the"
    " difference may be too small to matter",
    verdicts.TOO_SMALL: "it lies within ±δ",
    verdicts.REFUTED: "it lies on the opposite side, beyond δ (beyond 0 if the claim has no δ;"
    " on either side if equivalence is claimed)",
    verdicts.REFUTED_OPEN: "it lies on the opposite side of 0, but reaches below δ, so the"
    " difference may be too small to matter",
    verdicts.OPEN: "anything else; that does not prove that there is no effect",
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
                "“Though” adds which side is known: there is a difference, but it is too small to"
                " matter."
            )
    if any(not is_claimed(line) for line in lines):
        found.append(
            "What nobody claimed beforehand is described, not judged: better or worse (lower,"
            " higher) if the interval excludes 0, with “by more than δ” or “by less than δ” if that"
            " is known too; within ±δ if only that is known; otherwise not told apart, which does"
            " not prove that there is no effect. To confirm such a difference, run a study that"
            " claims it."
        )
    return found


def _of_the_test_set(comparison: Comparison, selects: Sequence[str]) -> list[str]:
    rules = " or ".join(_SELECTED.get(rule, rule) for rule in selects)
    return [
        f"The weights are those of {rules}. The test set was measured once, at the end of each run,"
        " and nothing was chosen by it."
    ]


def _of_populations(comparison: Comparison) -> list[str]:
    """Explain what the intervals of differences generalize to."""
    lines = [*comparison.others, *(line for _, line in comparison.claimed)]
    told = {line.population for line in lines if not math.isnan(line.delta_low)}
    found = []
    if SEEDS_AND_IMAGES in told:
        found.append(
            "Intervals of test error and accuracy are over new seeds and new test images: each run"
            " recorded which of the shared images it got right. Their variance is that over seeds"
            " plus that over images, minus what both count. The training images stay the same."
        )
    if told - {SEEDS_AND_IMAGES}:
        rest = "Intervals of other metrics are" if found else "Intervals are"
        found.append(
            f"{rest} over new seeds only: they do not say how far the difference would move on"
            " other images of the same kind."
        )
    return found
