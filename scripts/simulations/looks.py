"""How often looks at a growing study find an effect that is not there.

    PYTHONPATH=scripts python -m simulations.looks [--studies N] [--out FOLDER]

Draws studies whose arms do not differ: normal differences, a value for each seed. Each study is
looked at repeatedly while its seeds end, and errs if at any look the interval of any claim excludes
0. With `nominal`, every look has a 95 % interval (with m claims 1 - 0.05 / m), as if it were the
only one; with `spent`, it has the level of `ablate.analyze.spending`, as in the report. Writes
looks.csv: the share of studies that err, in %, and its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from ablate.analyze.spending import levels_of
from ablate.analyze.spread import Array
from simulations.publish import percent, publish

SEED = 17
ALPHA = 0.05
PLANS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("at the end alone", (30,)),
    ("halfway and at the end", (15, 30)),
    ("at 5, 10, ..., 30 seeds", tuple(range(5, 31, 5))),
    ("after every seed, 2 to 30", tuple(range(2, 31))),
    ("after every seed, 2 to 10", tuple(range(2, 11))),
    ("at 3 of 6 seeds and at the end", (3, 6)),
)
CLAIMS = (1, 3, 10)
_AT_ONCE = 2000  # studies in memory


def p_values(studies: Array, looks: Sequence[int]) -> Array:
    """Test at each look that the mean of the seeds so far is 0.

    Args:
        studies: Differences [..., seeds].
        looks: Numbers of seeds, at least 2 each.

    Returns:
        Two-sided p of one-sample t tests [..., looks].
    """
    n = np.asarray(looks)
    mean = studies.cumsum(-1)[..., n - 1] / n
    variance = ((studies**2).cumsum(-1)[..., n - 1] - n * mean**2) / (n - 1)
    return np.asarray(2 * special.stdtr(n - 1, -np.abs(mean) / np.sqrt(variance / n)))


def false(looks: Sequence[int], claims: int, studies: int) -> dict[str, float]:
    """Return the share of studies that err at some look on some claim, by how levels are chosen."""
    rng = np.random.default_rng([SEED, claims, len(looks), looks[-1]])
    alpha = ALPHA / claims
    spent = levels_of(tuple(n / looks[-1] for n in looks), alpha)
    errs = {"nominal": 0, "spent": 0}
    for begin in range(0, studies, _AT_ONCE):
        drawn = rng.normal(size=(min(_AT_ONCE, studies - begin), claims, looks[-1]))
        p = p_values(drawn, looks)
        errs["nominal"] += int((p < alpha).any((-2, -1)).sum())
        errs["spent"] += int((p < np.asarray(spent)).any((-2, -1)).sum())
    return {name: count / studies for name, count in errs.items()}


def table(studies: int) -> pd.DataFrame:
    """Simulate every schedule of looks with every number of claims."""
    rows = []
    for name, looks in PLANS:
        for claims in CLAIMS:
            for how, share in false(looks, claims, studies).items():
                found = dict(zip(("false, %", "se"), percent(share, studies), strict=True))
                rows.append({"looks": name, "claims": claims, "level": how} | found)
    return pd.DataFrame(rows).assign(studies=studies)


if __name__ == "__main__":
    publish(__doc__, table, "looks.csv")
