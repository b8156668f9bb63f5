"""How often a factor without effect is said to have one.

    PYTHONPATH=scripts python -m simulations.factors [--studies SWEEPS] [--out FOLDER]

Draws factorial sweeps of two factors with normal errors; neither has an effect on average. Each
seed shifts all of its runs; if the second factor is `its own in each seed`, the seed also shifts
that factor's effect, as with real networks. A sweep errs if any effect of the second factor (its
levels, its interactions) is reported. `effects` decides as a report does: seed by seed, with
intervals that hold together for all effects and all arms. `alone` does so with the second factor's
effects as the only family, the worst case. `anova` is an analysis of variance of runs with seeds as
blocks, each term at 0.05, as reports had before. `any` is the share of sweeps in which some
description of the whole family errs. Writes factors.csv; shares in %, with standard errors.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
from scipy import special

from ablate.analyze import intervals
from ablate.analyze.effects import by_seed
from ablate.analyze.factors import Effect, Factorial, factorial
from ablate.analyze.spread import Array
from ablate.analyze.verdicts import ALPHA
from simulations.publish import percent, publish

SEED = 12
DESIGNS = ((2, 2), (3, 2), (3, 4))  # levels of the factor that acts, and of the one that does not
SEEDS = (3, 5, 10, 20)
ITS_OWN = (0.0, 1.0)  # standard deviation of what the null factor does, in those of the noise
FACTORS = ("dropout.dense", "norm.name")
_AT_ONCE = 2000  # sweeps in memory


def design(levels: tuple[int, int]) -> Factorial:
    """List the effects of a sweep of these numbers of levels, as a report does."""
    rows = [
        {"status": "finished", "test/error": 0.1, FACTORS[0]: a / 8, FACTORS[1]: f"norm {b}"}
        for a, b in product(*map(range, levels))
    ]
    return factorial(pd.DataFrame(rows))


def drawn(
    rng: np.random.Generator, levels: tuple[int, int], seeds: int, own: float, size: int
) -> Array:
    """Draw errors of runs [a, b, sweeps, seeds] on which neither factor has an effect."""
    a, b = levels
    noise = rng.normal(size=(a, b, size, seeds))
    return noise + own * rng.normal(size=(1, b, size, seeds)) + rng.normal(size=(size, seeds))


def p_of(effect: Effect, errors: Array) -> Array:
    """Test an effect in each sweep; p [sweeps]."""
    cells = [(round(cell[0] * 8), int(cell[1][5:])) for cell in (*effect.plus, *effect.minus)]
    return by_seed(np.stack([errors[cell] for cell in cells]), effect.combinations).p()


def p_of_arms(errors: Array) -> Array:
    """Compare all arms with the first; p [arms, sweeps]."""
    first, *others = errors.reshape(-1, *errors.shape[2:])
    return np.stack([intervals.paired(other, first).p() for other in others])


def p_of_anova(errors: Array) -> Array:
    """Test the second factor and the interaction beside the residual; p [2, sweeps]."""
    a, b, _, n = errors.shape
    grand = errors.mean((0, 1, 3))
    of_a, of_b = errors.mean((1, 3)) - grand, errors.mean((0, 3)) - grand
    both = errors.mean(3) - grand - of_a[:, None] - of_b[None]
    blocks = errors.mean((0, 1)) - grand[:, None]
    squares = {
        "b": a * n * (of_b**2).sum(0),
        "ab": n * (both**2).sum((0, 1)),
        "other": b * n * (of_a**2).sum(0) + a * b * (blocks**2).sum(-1),
    }
    total = ((errors - grand[:, None]) ** 2).sum((0, 1, 3))
    rest = total - sum(squares.values())
    free = (a * b - 1) * (n - 1)
    terms = (("b", b - 1), ("ab", (a - 1) * (b - 1)))
    f = [squares[name] / df / (rest / free) for name, df in terms]
    return np.stack([special.fdtrc(df, free, x) for (_, df), x in zip(terms, f, strict=True)])


def shares(levels: tuple[int, int], seeds: int, own: float, sweeps: int) -> dict[str, float]:
    """Return the share of sweeps that err, by how effects are called."""
    rng = np.random.default_rng([SEED, *levels, seeds, round(10 * own)])
    asked = design(levels)
    null = [FACTORS[1] in effect.factors for effect in asked.effects]
    m = len(null) + math.prod(levels) - 1
    errs = dict.fromkeys(("effects", "alone", "anova", "any"), 0)
    for begin in range(0, sweeps, _AT_ONCE):
        errors = drawn(rng, levels, seeds, own, min(_AT_ONCE, sweeps - begin))
        p = np.stack([p_of(effect, errors) for effect in asked.effects])
        errs["effects"] += int((p[null] < ALPHA / m).any(0).sum())
        errs["alone"] += int((p[null] < ALPHA / sum(null)).any(0).sum())
        errs["anova"] += int((p_of_anova(errors) < ALPHA).any(0).sum())
        errs["any"] += int((np.concatenate([p, p_of_arms(errors)]) < ALPHA / m).any(0).sum())
    return {name: count / sweeps for name, count in errs.items()}


def table(sweeps: int) -> pd.DataFrame:
    """Simulate every design."""
    rows = []
    for levels, own, seeds in product(DESIGNS, ITS_OWN, SEEDS):
        about = {
            "design": f"{levels[0]} × {levels[1]}",
            "null factor": "its own in each seed" if own else "nothing in any seed",
            "seeds": seeds,
        }
        found = {}
        for name, share in shares(levels, seeds, own, sweeps).items():
            found[f"{name}, %"], found[f"{name}, se"] = percent(share, sweeps)
        rows.append(about | found)
    return pd.DataFrame(rows).assign(sweeps=sweeps)


if __name__ == "__main__":
    publish(__doc__, table, "factors.csv")
