"""Factorial sweeps: how much of a metric's variance each knob and each pair of knobs explains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from ablate.errors import AblateError, listed
from ablate.metrics import PRIMARY

BLOCK = "seed (block)"
RESIDUAL = "residual"
_COLUMNS = {"df": "df", "sum_sq": "sum_sq", "F": "f", "PR(>F)": "p"}


def anova(runs: pd.DataFrame, factors: Sequence[str], metric: str = PRIMARY) -> pd.DataFrame:
    """Analyze the variance of a factorial sweep: main effects, two-way interactions, seed as block.

    Type II sums of squares: each main effect beside all other main effects, each interaction beside
    everything else here; in a balanced sweep the types agree. An interaction that some combination
    of its levels is missing for cannot be told from a main effect: it is left out of the model and
    has no numbers. Three-way interactions are part of the residual. Where each arm has seeds of its
    own they cannot be told from the factors, and there is no block.

    Args:
        runs: The runs frame.
        factors: Its columns of the knobs, two levels or more each.
        metric: What is explained; finished runs that have it enter.

    Returns:
        One row a term: ``term`` (a knob, ``a × b``, ``seed (block)``, ``residual``), ``df``,
        ``sum_sq``, ``mean_sq``, ``f``, ``p`` and ``partial_eta_sq``, the share of variance that the
        term accounts for beside the residual.

    Raises:
        AblateError: A factor does not vary, or too few runs are left to estimate a residual.

    Source: Yates 1934, JASA 29(185), for unbalanced tables; statsmodels' anova_lm with typ=2.
    """
    data = _coded(runs, factors, metric)
    pairs = list(combinations(range(len(factors)), 2))
    whole = [pair for pair in pairs if _is_whole(data, pair)]
    terms = {f"C(f{i})": name for i, name in enumerate(factors)}
    terms |= {f"C(f{a}):C(f{b})": f"{factors[a]} × {factors[b]}" for a, b in whole}
    fit = _fitted(data, terms)
    if fit.df_resid < 1 or not fit.ssr > 0:
        raise AblateError(
            f"{metric} of {len(data)} finished runs leaves no residual beside {len(terms)} terms:"
            " more seeds, or fewer factors"
        )
    table = anova_lm(fit, typ=2).rename(index={**terms, "Residual": RESIDUAL}, columns=_COLUMNS)
    blocked = [BLOCK] if BLOCK in table.index else []
    interactions = [f"{factors[a]} × {factors[b]}" for a, b in pairs]
    return _told(table.reindex([*factors, *interactions, *blocked, RESIDUAL]))


def _fitted(data: pd.DataFrame, terms: dict[str, str]) -> Any:
    """Fit with seeds as blocks; add the block to the terms if the fit can tell it from them.

    Raises:
        AblateError: The factors cannot be told from each other.
    """
    blocked = f"y ~ {' + '.join([*terms, 'C(block)'])}"
    if data["block"].nunique() > 1 and _has_full_rank(model := ols(blocked, data)):
        terms["C(block)"] = BLOCK
        return model.fit()
    model = ols(f"y ~ {' + '.join(terms)}", data)
    if not _has_full_rank(model):
        names = listed([name for name in terms.values() if " × " not in name])
        raise AblateError(f"the effects of {names} cannot be told apart: they vary together")
    return model.fit()


def _has_full_rank(model: Any) -> bool:
    rank = np.linalg.matrix_rank(np.linalg.qr(model.exog, mode="r"))
    return bool(rank == model.exog.shape[1])


def _told(table: pd.DataFrame) -> pd.DataFrame:
    """Add mean squares and shares; a term that was left out keeps its row."""
    squares, df = (table[name].to_numpy(np.float64) for name in ("sum_sq", "df"))
    # The residual stands last; beside itself it has no share.
    share = np.append(squares[:-1] / (squares[:-1] + squares[-1]), np.nan)
    table = table.assign(mean_sq=squares / df, partial_eta_sq=share)
    order = ["df", "sum_sq", "mean_sq", "f", "p", "partial_eta_sq"]
    return table[order].rename_axis("term").reset_index()


def _coded(runs: pd.DataFrame, factors: Sequence[str], metric: str) -> pd.DataFrame:
    """Name columns so that a formula can be written of them, and levels as words."""
    lacking = [name for name in (*factors, metric) if name not in runs]
    if lacking:
        raise AblateError(*(f"no run has {name}, or it does not vary" for name in lacking))
    done = runs[(runs["status"] == "finished") & runs[metric].notna()]
    single = [name for name in factors if done[name].nunique(dropna=False) < 2]
    if single or not factors:
        raise AblateError(
            *(f"{name} does not vary among the finished runs" for name in single),
            *([] if factors else ["an analysis of variance needs a factor"]),
        )
    levels = {f"f{i}": [str(level) for level in done[name]] for i, name in enumerate(factors)}
    return pd.DataFrame(
        {"y": done[metric].to_numpy(float), "block": list(done["replicate"]), **levels}
    )


def _is_whole(data: pd.DataFrame, pair: tuple[int, int]) -> bool:
    a, b = (f"f{i}" for i in pair)
    return bool((pd.crosstab(data[a], data[b]) > 0).all(axis=None))
