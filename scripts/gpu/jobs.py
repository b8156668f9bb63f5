"""Does the jobs of a part: those not measured yet, within the time there is."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from gpu.about import about
from gpu.apart import Apart, Figures
from gpu.bench import Bench
from gpu.results import Results

MEASURED, FAILED, CUT = 0, 1, 3  # exit statuses; 2 is a wrong command line


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    Attributes:
        name: Its key among the figures.
        work: A function of a module; it is called with the bench and the arguments, in a separate
            process, and returns the figures, or only ``skipped`` with a reason.
        arguments: Its further arguments.
        limit: Seconds after which it counts as hung.
        alone: Whether it needs a process that no other job has used.
        ours: Whether it measures ablate, so that its figures are valid until the code changes.
    """

    name: str
    work: Callable[..., Figures]
    arguments: tuple[Any, ...] = ()
    limit: float = 120
    alone: bool = False
    ours: bool = True


class Part(Protocol):
    """What a module of `gpu` must have to be a part."""

    def jobs(self, bench: Bench, all_found: Mapping[str, Figures]) -> Iterable[Job]:
        """List what to measure, the most important first.

        A job is asked for when the earlier ones have their figures.
        """

    def told(self, name: str, found: Figures, all_found: Mapping[str, Figures]) -> list[str]:
        """Word the figures of one job, in lines."""

    def closing(self, all_found: Mapping[str, Figures]) -> list[str]:
        """Word what follows from all figures, in lines."""


def run(part: str, bench: Bench, folder: Path, minutes: float, again: bool) -> int:
    """Do the jobs of a part, and return the exit status.

    Args:
        part: Its name.
        bench: The device and the sizes.
        folder: Where ``gpu_<part>.txt`` and ``gpu_<part>.json`` go.
        minutes: No job starts that might not end within this time.
        again: Whether to repeat known measurements.
    """
    end = time.monotonic() + 60 * minutes
    module = cast(Part, importlib.import_module(f"gpu.{part}"))
    with Apart() as apart:
        here = apart.do(about, bench, limit=240)
        if "error" in here:
            sys.exit(f"this machine cannot be described: {here['error']}")
        results = Results(folder, _called(part, bench), here, again)
        results.say_heading()
        left = [
            job
            for job in module.jobs(bench, results.figures)
            if not _done(job, module, bench, results, apart, end)
        ]
    for line in module.closing(results.figures):
        results.say(line)
    return _status(results, left)


def _called(part: str, bench: Bench) -> str:
    """Name a part's files; another batch size has its own files."""
    return part if bench.batch == Bench.batch else f"{part}_{bench.batch}"


def _done(job: Job, part: Part, bench: Bench, results: Results, apart: Apart, end: float) -> bool:
    """Do one job, unless it is known or there is no time; return whether it is done."""
    found = results.known(job.name, job.ours)
    if found is None:
        # Something is measured at every call, however short.
        if results.measured and time.monotonic() + job.limit > end:
            return False
        if job.alone:
            apart.stop()
        found = apart.do(job.work, bench, *job.arguments, limit=job.limit)
        if job.alone:
            apart.stop()
        results.note(job.name, found, job.ours)
    reason = found.get("error") or found.get("skipped")
    lines = [f"  {job.name}: {reason}"] if reason else part.told(job.name, found, results.figures)
    for line in lines:
        results.say(line)
    return True


def _status(results: Results, left: list[Job]) -> int:
    """Name the jobs without figures, and return the exit status."""
    failed = [name for name, found in results.figures.items() if "error" in found]
    failed += [name for name, found in results.figures.items() if found.get("holds") is False]
    if failed:
        results.say(f"\n{len(failed)} failed: " + "; ".join(failed))
    if left:
        results.say(f"\n{len(left)} are left for lack of time; the same command goes on with them")
        return CUT
    return FAILED if failed else MEASURED
