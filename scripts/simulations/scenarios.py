"""Scenarios with a known truth: arms and baselines drawn from laws, or from published runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ablate.analyze.spread import Array, has_spread

Draw = Callable[[tuple[int, ...], np.random.Generator], Array]
CONTROL = "normal values in place of "
PUBLISHED = Path(__file__).parents[2] / "results" / "published"
SIZES = (3, 5, 7, 10, 20, 30)
UNEQUAL = ((3, 3), (3, 10), (10, 3), (5, 10), (10, 5), (10, 10), (10, 30), (30, 10))


@dataclass(frozen=True)
class Scenario:
    """A study to repeat: arms of n seeds against one baseline of m.

    Attributes:
        kind: What is drawn, for the table.
        paired: Whether seeds are shared.
        n: Seeds of an arm.
        m: Seeds of the baseline.
        truth: The difference of means.
        draw: Shape of studies and arms, generator -> x [..., n] and y [..., m].
        published: Whether published runs are drawn, rather than a law.
    """

    kind: str
    paired: bool
    n: int
    m: int
    truth: float
    draw: Callable[[tuple[int, int], np.random.Generator], tuple[Array, Array]]
    published: bool = False

    @property
    def normal(self) -> bool:
        """Whether it counts as normal data."""
        return self.kind.startswith("normal") and not self.published


# Laws of an error, about the mean of an ordinary arm and in units of its noise.


def normal(shape: tuple[int, ...], rng: np.random.Generator, sd: float = 1) -> Array:
    """Draw normal values."""
    return rng.normal(0, sd, shape)


def exponential(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw values of skewness 2."""
    return rng.exponential(1, shape)


def lognormal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw values of skewness 6.2: most seeds alike, a few far worse."""
    return rng.lognormal(0, 1, shape)


def with_outliers(shape: tuple[int, ...], rng: np.random.Generator, far: float) -> Array:
    """Draw normal values, one in twenty far off."""
    return rng.normal(0, 1, shape) + far * (rng.random(shape) < 0.05)


def set_aside(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw the same, one in twenty at chance; where an arm has one, it has no mean."""
    values = rng.normal(0, 1, shape)
    values[(rng.random(shape) < 0.05).any(-1)] = np.nan
    return values


def in_steps(shape: tuple[int, ...], rng: np.random.Generator, images: int) -> Array:
    """Draw errors near 5 %, sd 0.15 points, as measured on a test set of that many images."""
    return np.asarray(np.round(rng.normal(0.05, 0.0015, shape) * images) / images)


# For each kind: the law of an arm, that of the baseline, and the difference of their means.
LAWS: dict[str, tuple[Draw, Draw, float]] = {
    "normal": (normal, normal, 0),
    "normal, arm 3 times as noisy": (partial(normal, sd=3), normal, 0),
    "normal, baseline 3 times as noisy": (normal, partial(normal, sd=3), 0),
    "exponential arm, stable baseline": (exponential, partial(normal, sd=0.1), 1),
    "lognormal arm, stable baseline": (lognormal, partial(normal, sd=0.1), math.exp(0.5)),
    "both arms lognormal": (lognormal, lognormal, 0),
    "5 % of an arm's seeds 10 sd off": (partial(with_outliers, far=10), normal, 0.5),
    "5 % of an arm's seeds at chance": (partial(with_outliers, far=170), normal, 8.5),
    "5 % at chance, these set aside": (set_aside, normal, 0),
    "5 % of all seeds 10 sd off": (partial(with_outliers, far=10),) * 2 + (0,),
    "steps of 1/10000": (partial(in_steps, images=10_000),) * 2 + (0,),
    "steps of 1/500": (partial(in_steps, images=500),) * 2 + (0,),
}


def of_laws() -> Iterator[Scenario]:
    """List all kinds, paired and unpaired, in all sizes."""
    for kind, (law, base, truth) in LAWS.items():
        for paired, n, m in [*((True, n, n) for n in SIZES), *((False, *both) for both in UNEQUAL)]:
            if paired and "times as noisy" in kind:
                continue  # the differences are as normal as any
            draw = partial(_draw, law=law, base=base, n=n, m=m)
            yield Scenario(kind, paired, n, m, truth, draw)


def _draw(
    shape: tuple[int, int], rng: np.random.Generator, *, law: Draw, base: Draw, n: int, m: int
) -> tuple[Array, Array]:
    return law((*shape, n), rng), base((shape[0], 1, m), rng)


# -- published runs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Values of two arms over seeds that they share, as a study published them.

    Attributes:
        name: Study, arms and metric.
        x: [n].
        y: [n].
    """

    name: str
    x: Array
    y: Array


def published(folder: Path = PUBLISHED) -> list[Measured]:
    """Read all pairs of arms that published studies compare, in a claim or their metric."""
    found = {}
    for path in sorted(folder.glob("*/frames/contrasts.parquet")):
        runs = pd.read_parquet(path.with_name("runs.parquet"))
        runs = runs[runs["status"] == "finished"].drop_duplicates(["arm", "replicate"])
        values = {arm: part.set_index("replicate") for arm, part in runs.groupby("arm")}
        table = pd.read_parquet(path)
        if "statistic" in table:
            table = table[table["statistic"] == "mean"]
        for row in table[(table["family"] == "claims") | table["primary"]].to_dict("records"):
            of_y = row.get("against_metric") or row["metric"]
            x, y = values[row["arm"]][row["metric"]], values[row["baseline"]][of_y]
            both = pd.concat([x, y], axis=1, join="inner").dropna().to_numpy(float).T
            name = f"{path.parts[-3]}: {row['arm']} against {row['baseline']}, {row['metric']}"
            if row["metric"] != "seconds" and both.shape[1] >= 10 and has_spread(*both):
                found[name] = Measured(name, *both)
    return list(found.values())


def of_published() -> Iterator[Scenario]:
    """Draw seeds of published pairs with replacement: together, or each arm separately."""
    yield from _drawn_again(published())


def of_controls() -> Iterator[Scenario]:
    """Do the same with as many normal values instead of each published pair."""
    rng = np.random.default_rng(1)
    yield from _drawn_again(
        Measured(f"{CONTROL}{pair.name}", *rng.normal(size=(2, len(pair.x))))
        for pair in published()
    )


def _drawn_again(pairs: Iterable[Measured]) -> Iterator[Scenario]:
    for pair in pairs:
        truth = float(pair.x.mean() - pair.y.mean())
        for paired, n, m in ((True, 5, 5), (True, 10, 10), (True, 20, 20), (False, 5, 10)):
            draw = partial(_again, pair=pair, paired=paired, n=n, m=m)
            yield Scenario(pair.name, paired, n, m, truth, draw, published=True)


def _again(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    pair: Measured,
    paired: bool,
    n: int,
    m: int,
) -> tuple[Array, Array]:
    places = rng.integers(len(pair.x), size=(*shape, n))
    others = places if paired else rng.integers(len(pair.y), size=(shape[0], 1, m))
    return pair.x[places], pair.y[others]
