"""The figures of a report, drawn from what was worked out before."""

from __future__ import annotations

from collections.abc import Iterator

from ablate.report.compare import Comparison
from ablate.report.explore import Exploration
from ablate.report.figures import between, courses
from ablate.report.figures.style import Figure, drawing

__all__ = ["Figure", "draw"]


def draw(comparison: Comparison, exploration: Exploration) -> list[Figure]:
    """Draw every figure that these runs give.

    Args:
        comparison: What was compared.
        exploration: What was found beside it.

    Returns:
        The figures, in the order of the report.
    """
    with drawing():
        return list(_figures(comparison, exploration))


def _figures(comparison: Comparison, exploration: Exploration) -> Iterator[Figure]:
    if len(comparison.lines) > 1:
        yield between.differences(comparison)
        if (spreads := between.spreads(comparison)) is not None:
            yield spreads
    yield between.seeds(comparison)
    for metric, frame in exploration.curves.items():
        yield courses.curves(comparison, metric, frame)
    if (gap := between.gap(comparison)) is not None:
        yield gap
    for knob, frame in exploration.doses.items():
        yield courses.dose(comparison, knob, frame)
    for pair, frame in exploration.cells.items():
        yield courses.heat_map(comparison, pair, frame)
    if (outcomes := between.outcomes(comparison)) is not None:
        yield outcomes
