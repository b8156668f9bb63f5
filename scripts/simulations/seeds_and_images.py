"""How often the interval over new seeds and new images contains the true difference.

Each data set draws new seeds and new images. Two arms of n networks each answer I test images,
right or wrong: a network is right if its own level, the image's ease and chance add up to more than
0. An image's ease has a part that both arms share, and one for each arm. Both arms follow the same
law, so the true difference is 0. The spread of seeds is scaled to make the wanted share of the
squared error, from a tenth to nearly all of it.

For each setting the table has the seeds' share; the root mean square of the standard error over the
standard deviation of the differences (1 is right); how often the 95 % interval contains the true
difference, with shared seeds and with separate ones; and how often Student's interval, over seeds
alone, would.

    PYTHONPATH=scripts python -m simulations.seeds_and_images  # writes the table; some minutes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablate.analyze import crossed, intervals
from ablate.analyze.intervals import Component, Estimate

TABLE = Path(__file__).parents[2] / "results/published/simulations/seeds_and_images.md"
SEEDS = (3, 5, 12, 20)
SPREADS = (0.028, 0.055, 0.08, 0.115, 0.2, 0.35)  # of networks' levels, over √n
IMAGES, DATA_SETS = 400, 5000
EASE, OWN_EASE, CHANCE = 1.0, 1.0, 0.1  # standard deviations
MEAN = 1.5  # about 1 in 7 images is wrong

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """The results of a setting.

    Attributes:
        n: Seeds per arm.
        share: The seeds' share of the squared error, a fraction.
        paired: The standard error over the spread, and the coverage, with shared seeds.
        unpaired: The same with separate seeds.
        seeds_alone: Coverage of Student's interval over seeds.
    """

    n: int
    share: float
    paired: tuple[float, float]
    unpaired: tuple[float, float]
    seeds_alone: float


def simulate(n: int, spread: float, images: int, data_sets: int, seed: int) -> Found:
    """Simulate one setting.

    Args:
        n: Seeds per arm.
        spread: Standard deviation of the networks' levels over √n.
        images: Images in the test set.
        data_sets: Number of data sets to draw.
        seed: Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    drawn = [_draw(rng, n, spread * np.sqrt(n), images) for _ in range(data_sets)]
    x, y = (np.array([pair[side].mean(1) for pair in drawn]) for side in (0, 1))
    seeds = intervals.paired(x, y)
    both = _with_images(seeds, [crossed.paired(*pair) for pair in drawn], paired=True)
    apart = [crossed.unpaired(*pair) for pair in drawn]
    either = _with_images(intervals.unpaired(x, y), apart, paired=False)
    share = float(np.nanmean(seeds.error**2) / np.nanmean(both.error**2))
    kept = (_kept(both), _kept(either))
    return Found(n, share, *kept, _covers(seeds))


def _draw(rng: np.random.Generator, n: int, spread: float, images: int) -> tuple[crossed.Bits, ...]:
    """Draw which images the networks of two arms get right, bool [n, I] each."""
    ease = MEAN + EASE * rng.standard_normal(images)
    arms = []
    for _ in range(2):
        own = ease + OWN_EASE * rng.standard_normal(images)
        level = spread * rng.standard_normal((n, 1))
        chance = CHANCE * rng.standard_normal((n, images), dtype=np.float32)
        arms.append(own + level + chance > 0)
    return tuple(arms)


def _with_images(
    estimate: Estimate, over: Sequence[crossed.OverImages], *, paired: bool
) -> Estimate:
    added = np.array([one.added(paired=paired) for one in over])
    return intervals.with_component(estimate, Component(added, over[0].images - 1))


def _kept(estimate: Estimate) -> tuple[float, float]:
    """Return the standard error over the spread, and the coverage of 0."""
    error = np.sqrt(np.nanmean(estimate.error**2))
    return float(error / estimate.centre.std()), _covers(estimate)


def _covers(estimate: Estimate) -> float:
    """Return the share of 95 % intervals that contain 0; tied seeds have no interval."""
    low, high = estimate.interval(0.05)
    known = ~np.isnan(low)
    return float(((low <= 0) & (high >= 0))[known].mean())


def table(found: Sequence[Found]) -> str:
    """Write what was found as a page."""
    lines = [
        "<!-- Written by scripts/simulations/seeds_and_images.py. -->",
        "# New seeds and new images",
        f"{DATA_SETS:,} data sets a line, {IMAGES} test images, intervals at 95 %; how they are"
        " drawn is told in the script. SE / spread is the root of the mean squared standard error"
        " over the standard deviation of the differences. Coverage below 95 % means too many false"
        " verdicts; above it, wider intervals than needed, as is known of sums of components"
        " with few degrees of freedom (Banerjee 1960). Data sets in which all seeds agree to the"
        " image, which have no interval, are left out.",
        "| seeds n | seeds' share of SE² | shared seeds: SE / spread | coverage"
        " | own seeds: SE / spread | coverage | Student's t over seeds alone: coverage |\n"
        "|---|---|---|---|---|---|---|\n" + "\n".join(map(_line, found)),
    ]
    return "\n\n".join(lines) + "\n"


def _line(one: Found) -> str:
    shares = (one.paired[1], one.unpaired[1], one.seeds_alone)
    shared, own, alone = (f"{100 * share:.1f} %" for share in shares)
    return (
        f"| {one.n} | {100 * one.share:.0f} % | {one.paired[0]:.3f} | {shared}"
        f" | {one.unpaired[0]:.3f} | {own} | {alone} |"
    )


def main() -> None:
    """Simulate every setting and write the table."""
    settings = [(n, spread) for n in SEEDS for spread in SPREADS]
    found = [
        simulate(n, spread, IMAGES, DATA_SETS, seed) for seed, (n, spread) in enumerate(settings)
    ]
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(table(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
