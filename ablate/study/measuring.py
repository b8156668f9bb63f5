"""Measures the runs of a study after training: in parallel on a CPU, one by one on a GPU.

Runs are measured on this machine, wherever they were trained. Each run is measured separately and
recorded at once, so an interrupted study can continue. The number of processes, and of threads in
each, follows from the whole study, not from what is left, since threads can change the last bits.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from joblib.externals.loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError
from tqdm import tqdm

from ablate.environment import cores
from ablate.errors import AblateError, DiskFullError
from ablate.launch.interruption import Interruption
from ablate.launch.workers import begin
from ablate.measure.finished import Wanted, measure_run
from ablate.plan.run import Run
from ablate.streams import visible
from ablate.study import measurement
from ablate.study.study import Measurement

_POLL = 0.1  # seconds between two checks for a requested stop


def measure_all(left: Sequence[Run], count: int, measure: Measurement) -> list[str]:
    """Measure runs.

    Args:
        left: Finished runs whose records lack some of the measurements.
        count: Number of all runs that the study reports, including these.
        measure: What to measure.

    Returns:
        What could not be measured and why, one sentence each; also printed to standard error.

    Raises:
        KeyboardInterrupt: A stop was requested.
        DiskFullError: There is no space left for a record.
    """
    left = [run.settled() for run in left]
    config = left[0].config
    wanted = measurement.wanted(measure, config["device"])
    workers = min(cores(), count)
    alone = workers == 1 or config["device"] == "cuda" or config["launch"] == "inline"
    found = _in_turn(left, wanted) if alone else _by_workers(left, wanted, workers)
    faults: list[str] = []
    with tqdm(total=len(left), desc="measure", unit=" runs", disable=None, leave=False) as bar:
        for number, (run, told) in enumerate(found, start=1):
            how = "could not be measured" if told else "measured"
            line = f"{how} {number}/{len(left)}: {run.arm}, seed {run.config['seed']}"
            # tqdm clears its bar before the line and redraws it after, so the two do not mix.
            tqdm.write(visible("; ".join([line, *told])), file=sys.stderr)
            bar.update()
            faults += told
    return faults


def _in_turn(runs: Sequence[Run], wanted: Wanted) -> Iterator[tuple[Run, Sequence[str]]]:
    for run in runs:
        yield run, _measured(run, wanted)


def _by_workers(
    runs: Sequence[Run], wanted: Wanted, workers: int
) -> Iterator[tuple[Run, Sequence[str]]]:
    env = {"OMP_NUM_THREADS": str(max(1, cores() // workers))}
    pool = ProcessPoolExecutor(
        max_workers=workers, initializer=begin, initargs=(os.getpid(),), env=env
    )
    with Interruption() as stop:
        try:
            left = {pool.submit(_measured, run, wanted): run for run in runs}
            while left and not stop.asked:
                done, _ = wait(left, timeout=_POLL, return_when=FIRST_COMPLETED)
                for future in done:
                    yield left.pop(future), _result(future)
        finally:  # killing is safe: records are written to a draft file, then renamed
            pool.shutdown(wait=True, kill_workers=True)
    if stop.asked:
        raise KeyboardInterrupt


def _result(future: Future[Sequence[str]]) -> Sequence[str]:
    try:
        return future.result()
    except TerminatedWorkerError:
        return ["a worker was killed (was there enough memory?): the same command tries again"]


def _measured(run: Run, wanted: Wanted) -> Sequence[str]:
    """Measure a run in the current process; return what went wrong, one sentence each."""
    try:
        measure_run(run, wanted)
    except DiskFullError:
        raise
    except AblateError as error:
        return error.faults
    # The user's own network may raise any error; it is reported, and the other runs go on.
    except Exception as error:
        _log(run.directory)
        return [f"{run.directory}: {type(error).__name__}: {error}; its run.log has the traceback"]
    return ()


def _log(folder: Path) -> None:
    with (folder / "run.log").open("a", encoding="utf-8") as file:
        file.write(f"not measured after training:\n{traceback.format_exc()}")
