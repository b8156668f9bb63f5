"""The page that tells which interval was taken, and what it does where data are not normal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from simulations.methods import AFTERWARDS

_OVER = 5.5  # percent
_CASES = ["kind", "paired", "n", "n_baseline"]
_TOLD = {
    "t, Banerjee": "Student's t of pairs; of arms without shared seeds Banerjee 1960",
    "t, Welch": "Student's t of pairs; of arms Welch 1947",
    "Johnson": "the same, shifted by the skewness (Johnson 1978)",
    "Hall": "the same, through a cubic that takes the skewness away (Hall 1992)",
    "Hall outside t": "Hall's of Banerjee's, and never inside it",
    "flips": "all shifts that a sign-flip test (of arms: a permutation test) does not reject",
    "bootstrap-t": "quantiles of t from 999 resamples (Efron 1979)",
}


def page(found: pd.DataFrame, table: pd.DataFrame, name: str, alone: pd.DataFrame) -> str:
    """Write it.

    Args:
        found: All methods in all scenarios.
        table: The methods, summed up.
        name: The one that is taken.
        alone: That one, with the warnings.
    """
    laws, published = alone[~alone["published"]], alone[alone["published"]]
    parts = [
        "<!-- Written by scripts/simulations/which_interval.py. -->",
        "# How often intervals miss, and verdicts with them",
        "A verdict can be false only where its interval misses the true difference. Here the truth"
        " is known: seeds are drawn from laws, or anew from the runs of published studies. An"
        " interval is at 1 - 0.05/m, for m claims against one baseline; *false* is the percentage"
        " of studies in which some interval of the m misses. One standard error of 5 %: 0.5 points"
        " in 2,000 studies, 0.15 in 20,000.",
        "## Which interval",
        "The rule was fixed beforehand: of those that miss in at most 5.5 % on normal data (one"
        " claim, unequal seeds and unequal noise too) and are finite from three seeds, the one with"
        " the best worst case; ties, within two standard errors, go to the shorter."
        f" **Taken: {name}.**",
        "\n".join(_methods(table)),
        "*Length* is the mean over scenarios, in that of the first. *Hall outside t* was added when"
        " the others had been seen. It halves what skewness does from seven seeds on, and costs: on"
        " normal data, for pairs, its length is " + _cost(found) + ". So it was not taken.",
        "The largest percentage of false ones over all numbers of seeds, at one claim"
        " (which_interval.csv has each):",
        "\n".join(_by_kind(found[found["claims"] == 1])),
        f"## {name}: false ones in 20,000 studies a row",
        "*Warned* is the percentage of intervals beside which the report says that they may miss more"
        " often: below ten seeds always, from ten on where the values are skewed. *Of missed* is that"
        " among intervals that miss. Rows in bold miss in more than 5.5 % at one claim.",
        "\n".join(_laws(laws)),
        "Warnings come late: the samples that mislead are those in which no seed of the long tail"
        " happens to be, and these look like any other. Where one seed in twenty is far off and none"
        " of n is seen, nothing in the numbers tells. Runs that stay at chance do not enter means in"
        " the report: they are counted, with an exact interval for their share.",
        "## Published runs, drawn again",
        "\n\n".join(_published(published)),
    ]
    return "\n\n".join(parts) + "\n"


def _methods(table: pd.DataFrame) -> Iterator[str]:
    yield "| | interval | normal data, worst | all data, worst | finite | length | may be taken |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in table.iterrows():
        allowed = "added afterwards" if name in AFTERWARDS else _yes(row["allowed"])
        length = f"{row['length']:.2f}" if np.isfinite(row["length"]) else "∞"
        yield (
            f"| {name} | {_TOLD[str(name)]} | {row['normal']:.1f} | {row['worst']:.1f}"
            f" | {_yes(row['finite'])} | {length} | {allowed} |"
        )


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _cost(found: pd.DataFrame) -> str:
    """Tell how much longer the union is, for pairs of normal data."""
    normal = found[(found["kind"] == "normal") & found["paired"]]
    normal = normal[normal["method"].isin(["t, Banerjee", "Hall outside t"])]
    wide = normal.pivot_table(index=["claims", "n"], columns="method", values="length")
    ratio = wide["Hall outside t"] / wide["t, Banerjee"]
    return " and ".join(
        f"{ratio[1, n]:.2f} times as large at {n} seeds and one claim"
        f" ({ratio[3, n]:.2f} at three)"
        for n in (5, 10, 20)
    )


def _by_kind(found: pd.DataFrame) -> Iterator[str]:
    found = found.assign(kind=found["kind"].where(~found["published"], "published runs"))
    names = list(dict.fromkeys(found["method"]))
    worst = found.pivot_table(
        index=["kind", "paired"], columns="method", values="false", aggfunc="max", sort=False
    )[names]
    yield f"| | | {' | '.join(names)} |"
    yield "|---" * (len(names) + 2) + "|"
    for (kind, paired), row in worst.iterrows():
        yield f"| {kind} | {_pairing(paired)} | " + " | ".join(f"{v:.1f}" for v in row) + " |"


def _pairing(paired: object) -> str:
    return "paired" if paired else "unpaired"


def _laws(alone: pd.DataFrame) -> Iterator[str]:
    wide = _wide(alone)
    yield "| | seeds | m = 1 | m = 3 | m = 10 | misses above, below | warned | of missed |"
    yield "|---|---|---|---|---|---|---|---|"
    for (kind, paired, n, m), row in wide.iterrows():
        seeds = f"{n} pairs" if paired else f"{n}, {m}"
        first = f"{row['false', 1]:.1f}"
        first = f"**{first}**" if row["false", 1] > _OVER else first
        sides = f"{row['above', 1]:.1f}, {row['missed', 1] - row['above', 1]:.1f}"
        yield (
            f"| {kind} | {seeds} | {first} | {row['false', 3]:.1f} | {row['false', 10]:.1f}"
            f" | {sides} | {row['warned', 1]:.0f} % | {row['warned_missed', 1]:.0f} % |"
        )


def _wide(alone: pd.DataFrame) -> pd.DataFrame:
    columns = ["false", "missed", "above", "warned", "warned_missed"]
    return alone.pivot_table(index=_CASES, columns="claims", values=columns, sort=False)


def _published(alone: pd.DataFrame) -> Iterator[str]:
    wide = _wide(alone)
    pairs = wide.index.get_level_values("kind").nunique()
    yield (
        f"{pairs} pairs of arms (every difference of means that a study claims, and each arm's on"
        " the study's metric) of at least ten shared seeds, drawn with replacement: pair by pair, or"
        " each arm by itself. What a few seeds showed stands for the law; it has no tail beyond"
        " them."
    )
    yield "\n".join(_sizes(wide))
    over = wide[(wide["false", 1] > _OVER)]
    yield (
        f"Those that miss in more than {_OVER} % of studies at one claim, {len(over)} of"
        f" {len(wide)}; the worst twenty (interval.csv has each):"
    )
    worst = over.sort_values(("false", 1), ascending=False).head(20)
    yield "\n".join(_laws_of(alone, worst.index.tolist()))


def _laws_of(alone: pd.DataFrame, cases: Sequence[tuple[object, ...]]) -> Iterator[str]:
    ordered = pd.concat(
        [alone[(alone[_CASES] == list(case)).all(axis=1)] for case in cases] or [alone[:0]]
    )
    return _laws(ordered)


def _sizes(wide: pd.DataFrame) -> Iterator[str]:
    yield (
        "| seeds | median, m = 1 | 90 % of pairs below | worst | over 5.5 %"
        " | warned, of those over | warned, of the others |"
    )
    yield "|---|---|---|---|---|---|---|"
    for (paired, n, m), part in wide.groupby(level=["paired", "n", "n_baseline"], sort=False):
        false, warned = part["false", 1], part["warned", 1]
        over = false > _OVER
        seeds = f"{n} pairs" if paired else f"{n}, {m}"
        yield (
            f"| {seeds} | {false.median():.1f} | {false.quantile(0.9):.1f} | {false.max():.1f}"
            f" | {over.sum()} of {len(part)} | {_share(warned[over])} | {_share(warned[~over])} |"
        )


def _share(percent: pd.Series) -> str:
    return f"{percent.mean():.0f} %" if len(percent) else "–"
