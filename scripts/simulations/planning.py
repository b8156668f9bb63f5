"""Whether the seeds that a plan asks for are enough, and one fewer too few.

    PYTHONPATH=scripts python -m simulations.planning [--studies N] [--out FOLDER]

Draws normal studies with a true difference of 2δ (0 for equivalence), with the n that `ablate plan`
gives for a stated standard deviation, and with n - 1; judges one claim of each by the intervals and
verdicts of a report; and counts how many are supported. The `planned` columns are the plan's own
figures, without drawing. Writes planning.csv; shares in %, with standard errors.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablate.analyze import intervals, verdicts
from ablate.analyze.prospects import Terms, seeds_needed, supported
from ablate.analyze.verdicts import ALPHA
from simulations.publish import percent, publish

SEED = 7
# Name, standard deviation in δ, claims, whether arms share seeds, whether they are equivalent
SETTINGS = (
    ("3 claims, shared seeds", 1.3, 3, True, False),
    ("1 claim, shared seeds", 0.5, 1, True, False),
    ("10 claims, shared seeds", 3.0, 10, True, False),
    ("1 claim, seeds of their own", 1.0, 1, False, False),
    ("3 claims of equivalence, shared seeds", 1.0, 3, True, True),
    ("1 claim of equivalence, seeds of their own", 2.7, 1, False, True),
)
_AT_ONCE = 4000  # studies in memory


def share(terms: Terms, spread: float, seeds: int, studies: int) -> float:
    """Count the studies that support a claim, as a share."""
    rng = np.random.default_rng([SEED, round(100 * spread), seeds])
    truth = 0.0 if terms.equivalent else 2.0
    found = 0
    for begin in range(0, studies, _AT_ONCE):
        size = (min(_AT_ONCE, studies - begin), seeds)
        if terms.m is None:
            d = rng.normal(truth, spread, size)
            estimate = intervals.paired(d, np.zeros(size))
        else:
            arms = rng.normal(truth, spread, size), rng.normal(0, spread, size)
            estimate = intervals.unpaired(*arms)
        ends = zip(*estimate.interval(terms.alpha), strict=True)
        told = [verdicts.verdict(*each, terms.direction, terms.margin) for each in ends]
        found += told.count(verdicts.SUPPORTED)
    return found / studies


def table(studies: int) -> pd.DataFrame:
    """Plan and simulate every setting."""
    rows = []
    for name, spread, claims, paired, equivalent in SETTINGS:
        m = None if paired else 2
        asked = Terms("test/error", equivalent, False, 1.0, 2, m, ALPHA / claims)
        n = int(seeds_needed(asked, spread))
        row: dict[str, object] = {"setting": name, "SD, δ": spread, "n": n}
        for seeds, place in ((n, "n"), (n - 1, "n - 1")):
            found, error = percent(share(asked, spread, seeds, studies), studies)
            row[f"planned at {place}, %"] = round(100 * supported(asked, spread, seeds), 2)
            row[f"found at {place}, %"], row[f"se at {place}"] = found, error
        rows.append(row)
    return pd.DataFrame(rows).assign(studies=studies)


if __name__ == "__main__":
    publish(__doc__, table, "planning.csv")
