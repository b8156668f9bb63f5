"""Summaries of each arm over its seeds; nothing is compared yet.

Every mean comes with its n, its standard deviation and a 95 % t interval over seeds; with one seed,
or no spread among several, the interval is NaN. Only runs that finished and trained count towards a
mean (`ablate.analyze.outcomes`); those that failed, diverged, stayed at chance, are unfinished or
missing are counted separately.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablate.analyze import naming, outcomes
from ablate.analyze.estimates import t_interval
from ablate.analyze.frames import knobs_of
from ablate.analyze.run_measures import metrics_of
from ablate.errors import AblateError, nearest
from ablate.metrics import PRIMARY
from ablate.record import Status

_COUNTED = (
    *("n_runs", "n_finished", "n_failed", "n_diverged", "n_at_chance", "n_unfinished", "n_missing"),
    *("untrained", "untrained_low", "untrained_high"),
)


def arms(runs: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Summarize every arm by every metric.

    Args:
        runs: The runs frame.
        metrics: Which; by default all that any run has.

    Returns:
        One row per arm and metric, arms in the frame's order: ``arm``, each knob on which all runs
        of the arm agree, ``metric``, ``n`` finished runs that have it, ``mean``, ``sd``,
        ``ci_low``, ``ci_high``, ``lowest``, ``highest``; and of the arm ``n_runs``,
        ``n_finished``, ``n_failed``, ``n_diverged``, ``n_at_chance`` (finished ones),
        ``n_unfinished`` and ``n_missing`` (replicates that it lacks, but arms that share others
        with it have); ``untrained``, the share that diverged or stayed at chance among those
        that ended and did not fail, with its exact 95 % interval ``untrained_low`` to
        ``untrained_high``.
    """
    some = metrics_of(runs) or [PRIMARY]  # no run has ended, so there are only counts
    wanted = some if metrics is None else list(metrics)
    if not metrics_of(runs):
        runs = runs.reindex(columns=[*dict.fromkeys([*runs, *wanted])])
    about = counts(runs).join(_knob_values(runs))
    parts = []
    for metric in wanted:
        trained = runs[outcomes.trained(runs, metric)]
        part = summarize(trained, ["arm"], metric).set_index("arm").reindex(about.index)
        part["n"] = part["n"].fillna(0).astype("int64")
        part.insert(0, "metric", metric)
        parts.append(about.join(part))
    table = pd.concat(parts).reset_index()
    place = {arm: i for i, arm in enumerate(about.index)}
    table = table.sort_values("arm", key=lambda arm: arm.map(place), kind="stable")
    first = ["arm", *knobs_of(runs)]
    order = [*first, *(n for n in table if n not in (*first, *_COUNTED)), *_COUNTED]
    return table[order].reset_index(drop=True)


def curves(history: pd.DataFrame, metric: str = "val/error") -> pd.DataFrame:
    """Summarize a metric over seeds at each epoch.

    Args:
        history: The history frame; diverged and failed runs count as far as they got.
        metric: A column of it.

    Returns:
        One row per arm and epoch: ``arm``, ``epoch``, ``n``, ``mean``, ``sd``, ``ci_low``,
        ``ci_high``, ``lowest``, ``highest``.
    """
    return summarize(history, ["arm", "epoch"], metric)


def cells(runs: pd.DataFrame, factors: Sequence[str], metric: str = PRIMARY) -> pd.DataFrame:
    """Summarize a metric for each combination of knobs, over the runs that trained.

    Returns:
        One row per combination that was run: a column for each factor, then as `curves`.
    """
    return summarize(runs[outcomes.trained(runs, metric)], list(factors), metric)


def dose_response(runs: pd.DataFrame, knob: str, metric: str = PRIMARY) -> pd.DataFrame:
    """Summarize a metric at each value of a numeric knob, per setting of the others.

    Args:
        runs: The runs frame.
        knob: Whose values are the doses.
        metric: What responds.

    Returns:
        One row per series and dose: ``series`` (the setting of the other knobs, or empty),
        ``dose``, then as `curves`.

    Raises:
        AblateError: The knob does not vary, or its values are not numbers.
    """
    _require(runs, [knob])
    if not pd.api.types.is_numeric_dtype(runs[knob]) or runs[knob].dtype == bool:
        raise AblateError(f"{knob} has values that are not numbers: it has no dose")
    trained = runs[outcomes.trained(runs, metric) & runs[knob].notna()]
    # Not by to_dict("records"): with no other knobs, pandas 3.0 gives no records, not empty ones.
    others = {name: trained[name].tolist() for name in knobs_of(runs) if name != knob}
    flat = [
        {name: values[place] for name, values in others.items() if not pd.isna(values[place])}
        for place in range(len(trained))
    ]
    series = [name.replace(naming.ONLY_ARM, "") for name in naming.names(flat)]
    known = trained.assign(series=series, dose=trained[knob].astype("float64"))
    return summarize(known, ["series", "dose"], metric)


def summarize(frame: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    """Summarize a column of each group of rows: n, mean, sd, t interval, lowest and highest.

    Raises:
        AblateError: There is no such column; the nearest is named.
    """
    _require(frame, [*by, metric])
    known = frame.assign(**{metric: frame[metric].astype("float64")})  # counts may be missing
    grouped = known.groupby(by, sort=by != ["arm"], observed=True, dropna=False)[metric]
    found = grouped.agg(["count", "mean", "std", "min", "max"])
    interval = t_interval(*(found[name].to_numpy(float) for name in ("mean", "std", "count")))
    columns = {
        "n": found["count"],
        "mean": found["mean"],
        "sd": found["std"],
        "ci_low": interval.low,
        "ci_high": interval.high,
        "lowest": found["min"],
        "highest": found["max"],
    }
    return pd.DataFrame(columns, index=found.index).reset_index()


def _require(frame: pd.DataFrame, names: Sequence[str]) -> None:
    every = [str(name) for name in frame]
    wrong = [name for name in names if name not in every]
    if wrong:
        raise AblateError(
            *(f"no run has {name}, or it does not vary{nearest(name, every)}" for name in wrong)
        )


# -- the arms -------------------------------------------------------------------------------------


_STATES: dict[str, list[Status]] = {
    "n_finished": ["finished"],
    "n_failed": ["failed"],
    "n_diverged": ["diverged"],
    "n_unfinished": ["running", "interrupted"],
}


def counts(runs: pd.DataFrame) -> pd.DataFrame:
    """Count what became of each arm's runs.

    Returns:
        One row per arm, in the frame's order, with the columns of `arms` that start with ``n_`` and
        ``untrained``.
    """
    arms = runs["arm"].unique()
    grouped = runs.groupby("arm", sort=False)
    ended = {
        name: (runs["status"].isin(states)).groupby(runs["arm"], sort=False).sum()
        for name, states in _STATES.items()
    }
    lost = outcomes.untrained(runs)
    at_chance = lost & (runs["status"] == "finished").to_numpy()
    ended["n_at_chance"] = pd.Series(at_chance, runs.index).groupby(runs["arm"], sort=False).sum()
    table = pd.DataFrame({"n_runs": grouped.size(), **ended}).loc[arms]
    return _with_share(table.assign(n_missing=_missing(runs)))


def _with_share(table: pd.DataFrame) -> pd.DataFrame:
    """Add the share of runs that did not train, with its exact interval."""
    count = (table["n_diverged"] + table["n_at_chance"]).to_numpy(np.float64)
    total = (table["n_finished"] + table["n_diverged"]).to_numpy(np.float64)
    some = np.where(total > 0, total, np.nan)
    low, high = outcomes.share_interval(count, some)
    return table.assign(untrained=count / some, untrained_low=low, untrained_high=high)


def _missing(runs: pd.DataFrame) -> pd.Series[int]:
    """Count each arm's missing replicates: those of arms that share others with it."""
    have = runs.groupby("arm", sort=False)["replicate"].agg(frozenset)
    sets = set(have)
    short = {
        mine: len(frozenset().union(*(other for other in sets if other & mine)) - mine)
        for mine in sets
    }
    return have.map(short).astype("int64")


def _knob_values(runs: pd.DataFrame) -> pd.DataFrame:
    """Return each arm's value of each knob, missing if its runs differ."""
    grouped = runs.groupby("arm", sort=False)
    columns = {}
    for name in knobs_of(runs):
        agreed = grouped[name].nunique(dropna=False) == 1
        columns[name] = grouped[name].first().where(agreed)
    return pd.DataFrame(columns, index=runs["arm"].unique())
