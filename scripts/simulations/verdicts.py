"""How often any verdict, or any description, of a study is false, on normal data.

    PYTHONPATH=scripts python -m simulations.verdicts [--studies N] [--out FOLDER]

A word is false if what it states is not true of the true difference of means. All comparisons are
strict, so that at ±δ itself neither "more" nor "less" than δ is true, and at 0 neither sign. With
the difference turned so that the claimed direction is positive, they state:

    supported               more than δ; of ``differs`` beyond ±δ, on the interval's side; of
                            ``equivalent`` within ±δ, and on the interval's side of 0 where this
                            excludes 0
    supported, size open    more than 0; of ``differs`` on the interval's side of 0
    too small to matter     within ±δ, and on the interval's side of 0 where this excludes 0
    refuted                 less than -δ; of ``equivalent`` beyond ±δ, on the interval's side
    refuted, size open      less than 0
    open                    nothing, so it is never false

and descriptions state what they say. The noise of an arm has a standard deviation of 1; δ is 2.
Arms are compared with one baseline, so their differences are correlated. Writes verdicts.csv and
verdicts.md, in three minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.analyze import intervals, verdicts
from ablate.analyze.spread import Array
from simulations.scenarios import PUBLISHED

Said = Callable[[float, float], str]
Bools = NDArray[np.bool_]

DELTA = 2.0
TRUTHS = (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0)  # in δ
DIRECTIONS = ("lower", "higher", "differs", "equivalent")
CLAIMS = (1, 3, 10)
MOST = max(CLAIMS)
# Seeds of arms, which take turns; of the baseline; shared or not; standard deviation of an arm.
DESIGNS: dict[str, tuple[tuple[int, ...], int, bool, float]] = {
    "3 pairs": ((3,), 3, True, 1),
    "5 pairs": ((5,), 5, True, 1),
    "20 pairs": ((20,), 20, True, 1),
    "10 and 5 pairs in turn": ((10, 5), 10, True, 1),
    "arms of 5, baseline of 10": ((5,), 10, False, 1),
    "arms of 10, baseline of 3": ((10,), 3, False, 1),
    "arms of 3, three times as noisy, baseline of 10": ((3,), 10, False, 3),
    "arms of 30 and 4 in turn, baseline of 12": ((30, 4), 12, False, 1),
}


def repeated(design: str, truths: Array, studies: int) -> Iterator[tuple[int, Array, Array]]:
    """Repeat a study.

    Args:
        design: One of `DESIGNS`.
        truths: Differences of the arms [10].
        studies: Number of studies.

    Yields:
        A number of claims, with both ends of the intervals [studies, claims].
    """
    seeds, of_baseline, paired, sd = DESIGNS[design]
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1, (studies, 1, of_baseline))
    found = []
    for arm in range(MOST):
        n = seeds[arm % len(seeds)]
        x = rng.normal(truths[arm], sd, (studies, 1, n))
        found.append(intervals.paired(x, base[..., :n]) if paired else intervals.unpaired(x, base))
    for claims in CLAIMS:
        ends = [one.interval(verdicts.ALPHA / claims) for one in found[:claims]]
        low, high = (np.concatenate([end[side] for end in ends], 1) for side in (0, 1))
        yield claims, low, high


def words(low: Array, high: Array, said: Said) -> NDArray[np.str_]:
    """Describe each interval in words; the shape stays."""
    pairs = zip(low.ravel().tolist(), high.ravel().tolist(), strict=True)
    return np.array([said(*ends) for ends in pairs]).reshape(low.shape)


def false_verdicts(
    word: NDArray[np.str_], direction: str, truth: Array, low: Array, high: Array
) -> Bools:
    """Tell which verdicts are false.

    Args:
        word: Verdicts [studies, claims].
        direction: As claimed.
        truth: [claims].
        low: Lower ends of the intervals, like the verdicts.
        high: Upper ends.
    """
    side = np.where(low > 0, 1, -1)  # of an interval that excludes 0
    turned = truth * {"lower": -1, "higher": 1}.get(direction, side)
    on_its_side = np.where(low > 0, truth > 0, np.where(high < 0, truth < 0, True))
    within = (np.abs(truth) < DELTA) & on_its_side
    beyond = turned > DELTA
    supported = within if direction == "equivalent" else beyond
    refuted = beyond if direction == "equivalent" else turned < -DELTA
    true = {
        verdicts.SUPPORTED: supported,
        verdicts.SUPPORTED_OPEN: turned > 0,
        verdicts.TOO_SMALL: within,
        verdicts.REFUTED: refuted,
        verdicts.REFUTED_OPEN: turned < 0,
        verdicts.OPEN: np.ones_like(within),
    }
    return _false(word, true)


def false_descriptions(word: NDArray[np.str_], truth: Array) -> Bools:
    """Tell which descriptions are false; arguments as for `false_verdicts`."""
    within = np.abs(truth) < DELTA
    true = {
        verdicts.MUCH_LOWER: truth < -DELTA,
        verdicts.LOWER: truth < 0,
        verdicts.SLIGHTLY_LOWER: within & (truth < 0),
        verdicts.WITHIN: within,
        verdicts.SLIGHTLY_HIGHER: within & (truth > 0),
        verdicts.HIGHER: truth > 0,
        verdicts.MUCH_HIGHER: truth > DELTA,
        verdicts.UNKNOWN: np.ones_like(within),
    }
    return _false(word, {said: np.broadcast_to(t, word.shape) for said, t in true.items()})


def _false(word: NDArray[np.str_], true: dict[str, Bools]) -> Bools:
    assert set(np.unique(word)) <= set(true)
    wrong = [(word == said) & ~holds for said, holds in true.items()]
    return np.asarray(np.logical_or.reduce(wrong))


def counted(design: str, truth: float | None, studies: int) -> Iterator[dict[str, Any]]:
    """Count what is false, a row for each number of claims and each direction.

    Args:
        design: One of `DESIGNS`.
        truth: Difference of all arms, in δ; None for all of `TRUTHS` in turn.
        studies: Number of studies.
    """
    turns = TRUTHS if truth is None else (truth,)
    truths = DELTA * np.resize(np.array(turns), MOST)
    for claims, low, high in repeated(design, truths, studies):
        of = truths[:claims]
        told = words(low, high, partial(verdicts.description, margin=DELTA))
        row: dict[str, Any] = {"design": design, "truth": _truth(truth)}
        row |= {"claims": claims, "studies": studies}
        wrong = false_descriptions(told, of)
        yield row | _shares("descriptions", wrong, told != verdicts.UNKNOWN)
        every = np.zeros((len(DIRECTIONS), *low.shape), dtype=bool)
        for i, direction in enumerate(DIRECTIONS):
            word = words(low, high, partial(verdicts.verdict, direction=direction, margin=DELTA))
            every[i] = false_verdicts(word, direction, of, low, high)
            yield row | _shares(direction, every[i], word != verdicts.OPEN)
        mixed = every[np.arange(claims) % len(DIRECTIONS), :, np.arange(claims)].T
        yield row | _shares("all in turn", mixed, None)


def _truth(truth: float | None) -> str:
    return "mixed" if truth is None else f"{truth:g}"


def _shares(what: str, wrong: Bools, said: Bools | None) -> dict[str, Any]:
    """Return the percentage of studies with something false, and of claims that are not open."""
    some = np.nan if said is None else round(100 * float(said.mean()), 2)
    return {"said": what, "false": round(100 * float(wrong.any(-1).mean()), 2), "not_open": some}


def page(found: pd.DataFrame) -> str:
    """Write the page."""
    studies = found["studies"].iloc[0]
    verdict = found["said"] != "descriptions"
    parts = [
        "<!-- Written by scripts/simulations/verdicts.py. -->",
        "# How often a study says something false, on normal data",
        f"The percentage of {studies:,} studies in which some verdict of m claims, or some"
        " description of m arms, is not true of the difference that was drawn from. Every number is"
        " the largest over what was claimed (lower, higher, differs, equivalent, or all in turn)."
        " The promise is 5 %; one standard error is 0.15. δ is twice the noise of an arm. At ±δ"
        " itself neither more nor less than δ is true, and at 0 neither sign.",
        *_tables("verdict", found[verdict]),
        *_tables("description", found[~verdict]),
        "The most is reached where the truth lies on a border, 0 or ±δ, so that whatever misses it"
        " says something false; elsewhere most intervals that miss say nothing false. Verdicts and"
        " descriptions are read from the same intervals, so both tables are much the same.",
    ]
    return "\n\n".join(parts) + "\n"


def _tables(what: str, found: pd.DataFrame) -> Iterator[str]:
    yield f"## Some false {what}: at most {found['false'].max():.1f} %"
    for claims, part in found.groupby("claims"):
        wide = part.pivot_table(
            index="design", columns="truth", values="false", aggfunc="max", sort=False
        )
        lines = [
            f"| m = {claims}; the truth, in δ | {' | '.join(map(str, wide.columns))} |",
            "|---" * (wide.shape[1] + 1) + "|",
            *(
                f"| {d} | " + " | ".join(f"{v:.1f}" for v in row) + " |"
                for d, row in wide.iterrows()
            ),
        ]
        yield "\n".join(lines)


def main() -> None:
    """Simulate, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=PUBLISHED / "simulations")
    asked = parser.parse_args()
    truths = (*TRUTHS, None)
    rows = [row for d in DESIGNS for truth in truths for row in counted(d, truth, asked.studies)]
    found = pd.DataFrame(rows)
    asked.out.mkdir(parents=True, exist_ok=True)
    found.to_csv(asked.out / "verdicts.csv", index=False)
    (asked.out / "verdicts.md").write_text(page(found), encoding="utf-8")
    print(found.loc[found.groupby(["claims", "said"])["false"].idxmax()].to_string())


if __name__ == "__main__":
    main()
