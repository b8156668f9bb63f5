"""The outcome of a plan: how each run stands, what stopped the plan, and the exit status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ablate.errors import AblateError, DiskFullError, RunError, raise_if_full
from ablate.launch.interruption import INTERRUPTED
from ablate.plan.run import Run
from ablate.record import ENDED, Standing

Why = Literal["interrupted", "disk full", "first failure", "too many failures", "untuned"]


@dataclass(frozen=True)
class Stop:
    """Why a plan stopped before its end.

    Attributes:
        why: The kind of reason.
        message: A sentence for the user, with what to do next.
    """

    why: Why
    message: str


ASKED = Stop("interrupted", "interrupted: run the same command again to continue")
_FAILURES = ("first failure", "too many failures")
FIRST_FAILURE = Stop("first failure", "stopped at the first failure (fail_fast=true)")


def too_many_failures(count: int, planned: int, allowed: float) -> Stop:
    """Say that more runs failed than `max_failed` allows."""
    many = "run" if planned == 1 else "runs"
    return Stop(
        "too many failures",
        f"{count} of {planned} planned {many} failed, more than max_failed={allowed:g} allows: no"
        " further one was started; rerun=failed trains them again",
    )


def stop_of(error: BaseException) -> Stop | None:
    """Tell whether an error stops a whole sweep, and not just one run.

    Args:
        error: An interruption, or an error of the system or of this project.

    Returns:
        The reason to stop; None if the error concerns one run.
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
    """Catch errors that stop a whole sweep, and collect their reasons.

    Raises:
        AblateError: The block raised one, or an error of the system became one.
    """
    caught: list[Stop] = []
    try:
        yield caught
    except (KeyboardInterrupt, AblateError, OSError) as error:
        stop = stop_of(error)
        if stop is None and isinstance(error, OSError):
            raise RunError(f"files of the sweep cannot be read or written: {error}") from error
        if stop is None:
            raise
        caught.append(stop)


@dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        runs: All runs, in the order of the request.
        standings: Folder -> how its run stands; None if the run was never started.
        stop: Why the whole request stopped early, or None.
        faults: Measurements after training that failed, one sentence each.
        lost: Folder -> why its run could not even be recorded.
    """

    runs: tuple[Run, ...]
    standings: Mapping[Path, Standing | None]
    stop: Stop | None = None
    faults: tuple[str, ...] = ()
    lost: Mapping[Path, str] = field(default_factory=dict)

    def standing(self, run: Run) -> Standing | None:
        """Tell how a run stands. One that has not ended and could not be recorded has failed."""
        found, reason = self.standings[run.directory], self.unrecorded(run)
        return found if reason is None else Standing("failed", reason)

    def unrecorded(self, run: Run) -> str | None:
        """Say why a run could not be recorded; None if it was, or had ended before."""
        found = self.standings[run.directory]
        ended = found is not None and found.status in ENDED
        return None if ended else self.lost.get(run.directory)

    def after(self, earlier: Outcome) -> Outcome:
        """Add the outcome of an earlier plan of the same request."""
        return replace(
            self,
            runs=(*earlier.runs, *self.runs),
            standings={**earlier.standings, **self.standings},
            lost={**earlier.lost, **self.lost},
            stop=self.stop or earlier.stop,
        )

    @property
    def is_cut_short(self) -> bool:
        """Whether runs may be missing for a reason other than a failed run."""
        return self.stop is not None and self.stop.why not in _FAILURES

    @property
    def status(self) -> int:
        """The exit status: 0 if all runs finished, 130 if interrupted, otherwise 1."""
        if self.stop is not None and self.stop.why == "interrupted":
            return INTERRUPTED
        ended = all(_is_well(run, self.standing(run)) for run in self.runs)
        return int(self.stop is not None or bool(self.faults) or not ended)


def _is_well(run: Run, found: Standing | None) -> bool:
    """Tell whether a run ended well. A tuning run may diverge; it is then not chosen."""
    if found is None:
        return False
    return found.status == "finished" or (run.only_tunes and found.status == "diverged")


def failed(standings: Sequence[Standing | None]) -> bool:
    """Tell whether any run failed or diverged."""
    return any(found is not None and found.status in ("failed", "diverged") for found in standings)
