"""What came of a plan: how each run stands, what stopped the whole, and the exit status of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ablate.errors import AblateError, DiskFullError, raise_if_full
from ablate.launch.interruption import INTERRUPTED
from ablate.plan.run import Run
from ablate.record import Standing

Why = Literal["interrupted", "disk full", "first failure", "untuned"]


@dataclass(frozen=True)
class Stop:
    """What stopped a plan before its end.

    Attributes:
        why: In a word.
        told: In a sentence, with the way on.
    """

    why: Why
    told: str


ASKED = Stop("interrupted", "interrupted: the same command goes on from here")
FIRST_FAILURE = Stop("first failure", "stopped at the first failure (fail_fast=true)")


def stop_of(error: BaseException) -> Stop | None:
    """Tell whether an error stops a whole sweep rather than a run of it, and how that is said.

    Args:
        error: A stop that was asked for, or what the system or the project raised.
    """
    if isinstance(error, KeyboardInterrupt):
        return ASKED
    try:
        if isinstance(error, OSError):
            raise_if_full(error)
    except DiskFullError as full:
        error = full
    return Stop("disk full", error.faults[0]) if isinstance(error, DiskFullError) else None


@contextmanager
def stops() -> Iterator[list[Stop]]:
    """Catch what stops a whole sweep; any other error passes."""
    caught: list[Stop] = []
    try:
        yield caught
    except (KeyboardInterrupt, AblateError, OSError) as error:
        stop = stop_of(error)
        if stop is None:
            raise
        caught.append(stop)


@dataclass(frozen=True)
class Outcome:
    """What came of a request.

    Attributes:
        runs: All that were asked for, in the order of the request.
        standings: How each of them stands, by its folder; None where it was never begun.
        stop: What stopped the whole, or None.
        faults: What else could not be done, a sentence each: measurements after training.
    """

    runs: tuple[Run, ...]
    standings: Mapping[Path, Standing | None]
    stop: Stop | None = None
    faults: tuple[str, ...] = ()

    def standing(self, run: Run) -> Standing | None:
        """Tell how a run stands."""
        return self.standings[run.directory]

    def after(self, earlier: Outcome) -> Outcome:
        """Join what came of an earlier plan of the same request."""
        return replace(
            self,
            runs=(*earlier.runs, *self.runs),
            standings={**earlier.standings, **self.standings},
            stop=self.stop or earlier.stop,
        )

    @property
    def is_cut_short(self) -> bool:
        """Whether runs may be missing for another reason than a failure among them."""
        return self.stop is not None and self.stop.why != "first failure"

    @property
    def status(self) -> int:
        """The exit status: 0 all finished, 1 not all of them, 130 interrupted."""
        if self.stop is not None and self.stop.why == "interrupted":
            return INTERRUPTED
        ended = all(_is_well(run, self.standing(run)) for run in self.runs)
        return int(self.stop is not None or bool(self.faults) or not ended)


def _is_well(run: Run, found: Standing | None) -> bool:
    """Tell whether a run ended as it should; one that only tunes may diverge: it is not chosen."""
    if found is None:
        return False
    return found.status == "finished" or (run.only_tunes and found.status == "diverged")


def failed(standings: Sequence[Standing | None]) -> bool:
    """Tell whether some run failed or diverged."""
    return any(found is not None and found.status in ("failed", "diverged") for found in standings)
