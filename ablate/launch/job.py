"""Trains a stack in this process and keeps its runs' records, through failures and stops.

Only the runs that have not ended are trained. The stack keeps its planned width and slots (a
stand-in takes the slot of a run that has ended), so a resumed sweep gives the same numbers. A stack
that fails is halved until a single run fails; that run is recorded as failed, with the traceback in
its run.log.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ablate import data, record, streams
from ablate.config import schema
from ablate.errors import raise_if_full
from ablate.launch.describe import environment_of, first_record, now, record_failure
from ablate.launch.interruption import Interruption
from ablate.plan.code import require_as_planned
from ablate.plan.run import Run
from ablate.train.deterministic import deterministic
from ablate.train.memory import keep_freed_memory
from ablate.train.proof import acting, prove
from ablate.train.training import Training

log = logging.getLogger(__name__)

_WRITE_EVERY = 1.0  # seconds between two writes of record.json, at least

Follow = Callable[[Training, Sequence[Run]], "Follower"]


class Follower:
    """Called after every step of a training, inside its own context; this one does nothing."""

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def step(self, ended: bool) -> None:
        """Follow one step.

        Args:
            ended: Whether it ended an epoch.
        """


def unfollowed(training: Training, runs: Sequence[Run]) -> Follower:
    """Make a follower that does nothing."""
    return Follower()


@dataclass(frozen=True)
class Work:
    """A stack to train.

    Attributes:
        runs: All runs of the stack.
        directories: Their folders.
        fused: Whether it is applied under vmap.
        threads: Torch threads in this process; None leaves the number as it is.
        wait: Whether to wait for runs that another process holds.
    """

    runs: tuple[Run, ...]
    directories: tuple[Path, ...]
    fused: bool
    threads: int | None = None
    wait: bool = False


def train(work: Work, follow: Follow = unfollowed) -> list[str]:
    """Train the runs of a stack that have not ended.

    Returns:
        Keys of runs that were skipped because another process holds them.

    Raises:
        KeyboardInterrupt: A stop was requested; unfinished runs are recorded as interrupted.
        DiskFullError: There is no space left for the records.
    """
    keep_freed_memory()
    if work.threads is not None:
        torch.set_num_threads(work.threads)
    elsewhere: list[str] = []
    with streams.outliving(), ExitStack() as held, Interruption() as stop:
        slots: list[int] = []
        for slot, (run, directory) in enumerate(zip(work.runs, work.directories, strict=True)):
            if _is_done(run, directory):
                continue
            directory.mkdir(parents=True, exist_ok=True)
            if work.wait and record.claimed_elsewhere(directory):
                log.warning("%s is trained by another process; waiting for it", directory)
            if held.enter_context(record.claim(directory, wait=work.wait)):
                slots.append(slot)
            else:
                elsewhere.append(run.key)
        # A run may have ended while this process waited for its lock.
        left = [s for s in slots if not _is_done(work.runs[s], work.directories[s])]
        for slot in left:
            record.set_aside_if_ended(work.directories[slot], work.runs[slot].config["rerun"])
        for members in _by_step(work, left):
            _attempt(work, members, stop, follow)
    return elsewhere


def _is_done(run: Run, directory: Path) -> bool:
    old = record.read(directory)
    if old is None or not record.has_ended(old, run.config["rerun"]):
        return False
    record.settle_if_measured(directory, old)
    return True


def _by_step(work: Work, slots: list[int]) -> list[list[int]]:
    """Group slots by the step that they resume from: a kill may fall between two saved states."""
    if not work.fused:
        return [[slot] for slot in slots]
    steps: dict[int, list[int]] = {}
    for slot in slots:
        state = record.load_state(work.directories[slot])
        steps.setdefault(0 if state is None else state["step"], []).append(slot)
    return list(steps.values())


def _attempt(
    work: Work, slots: list[int], stop: Interruption, follow: Follow, halved: bool = False
) -> None:
    """Train some slots of a stack; on failure halve them, until the failing run is found."""
    directories = [work.directories[slot] for slot in slots]
    with _logs(directories):
        try:
            with torch.enable_grad():
                _Attempt(work, slots, stop, halved).train(follow)
            return
        except OSError as error:
            raise_if_full(error)
            _record_failure(work, slots, error)
        # A run may fail with any error; it is recorded, and the sweep goes on.
        except Exception as error:
            _record_failure(work, slots, error)
    if len(slots) > 1:
        if work.runs[0].config["device"] == "cuda":
            gc.collect()  # a traceback may hold memory that should be freed
            torch.cuda.empty_cache()
        middle = len(slots) // 2
        for half in (slots[:middle], slots[middle:]):
            for members in _by_step(work, half):
                _attempt(work, members, stop, follow, halved=True)


def _record_failure(work: Work, slots: list[int], error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}"
    if len(slots) > 1:
        log.warning("a stack of %d runs failed (%s); trained in halves", len(slots), reason)
        return
    run, directory = work.runs[slots[0]], work.directories[slots[0]]
    log.info("the run failed: %s", reason, exc_info=error)
    record_failure(run, directory, reason)


class _Attempt:
    """Some slots of a stack, trained together from the same step."""

    def __init__(self, work: Work, slots: list[int], stop: Interruption, halved: bool) -> None:
        self.work, self.slots, self.stop = work, slots, stop
        self.runs = [work.runs[slot] for slot in slots]
        self.directories = [work.directories[slot] for slot in slots]
        self.every = schema.seconds(self.runs[0].config["checkpoint"]["every"])
        self.records = [first_record(run) for run in self.runs]
        # Stand-ins keep the other runs in their slots, and the width; a fused stack needs two.
        planned = range(len(work.runs)) if work.fused and not halved else slots
        self.standing = [slot if slot in slots else slots[0] for slot in planned]
        if work.fused and len(self.standing) == 1:
            self.standing *= 2
        self.place = [self.standing.index(slot) for slot in slots]  # in the stack that is trained

    def train(self, follow: Follow) -> None:
        """Train to the end."""
        began = time.perf_counter()
        config = self.runs[0].config
        for run in self.runs:
            require_as_planned(run.config, run.code)
        with deterministic(bool(config["deterministic"])):
            tensors = data.load(config, self.runs[0].digest)
            configs = [self.work.runs[slot].config for slot in self.standing]
            self.training = Training(configs, tensors, fused=self.work.fused)
            self._restore()
            self._describe()
            with follow(self.training, self.runs) as follower:
                self._advance(follower)
            self._end(time.perf_counter() - began)

    def _restore(self) -> None:
        states = {
            slot: record.load_state(directory)
            for slot, directory in zip(self.slots, self.directories, strict=True)
        }
        if all(state is not None for state in states.values()):
            self.training.restore([states[slot] or {} for slot in self.standing])
            log.info("going on from step %d of %d", self.training.step, self.training.steps)

    def _advance(self, follower: Follower) -> None:
        training = self.training
        saved = written = time.monotonic()
        while not training.done:
            ended = training.advance()
            follower.step(ended)
            now_ = time.monotonic()
            if self.stop.asked:
                self._interrupt()
            if now_ - saved >= self.every:
                self._save_states()
                saved = now_
            if ended and now_ - written >= _WRITE_EVERY:
                self._write()
                written = now_

    def _save_states(self) -> None:
        for place, directory in zip(self.place, self.directories, strict=True):
            record.save_state(directory, self.training.state(place))

    def _interrupt(self) -> None:
        self._save_states()
        step = self.training.step
        for entry in self.records:
            entry |= {"status": "interrupted", "reason": f"stopped at step {step}"}
        self._write()
        log.info("interrupted at step %d of %d", step, self.training.steps)
        raise KeyboardInterrupt

    def _end(self, seconds: float) -> None:
        training, save = self.training, self.runs[0].config["save"]
        states = [training.state(place) if save == "all" else None for place in self.place]
        metrics = training.finish()
        for entry, place, directory, state in zip(
            self.records, self.place, self.directories, states, strict=True
        ):
            diverged = training.courses[place].diverged
            entry |= (
                {"status": "finished", "metrics": metrics[place]}
                if diverged is None
                else {
                    "status": "diverged",
                    "reason": f"the loss was not finite at step {diverged}",
                }
            )
            self._fill(entry, place)
            entry["timing"] |= {"total": seconds, "finished": now()}
            weights = None if save == "none" else training.stack.state_dict(place)
            whole = record.with_line(entry, directory)
            record.finish(directory, whole, weights, state, self._correct(place))
        log.info("%s after %.1f s", ", ".join(e["status"] for e in self.records), seconds)

    def _correct(self, place: int) -> NDArray[np.bool_] | None:
        """Give the test images that a run got right; one that diverged has no answers."""
        right_RN = self.training.right_RN
        if right_RN is None or self.training.courses[place].diverged is not None:
            return None
        return right_RN[place].numpy()

    def _describe(self) -> None:
        """Prove that every knob that is on acts, and record what acts."""
        training, stack = self.training, self.training.stack
        prove(training.configs[0], stack.layers(0), training.update.objective, training.data)
        for slot, place, entry in zip(self.slots, self.place, self.records, strict=True):
            run = self.work.runs[slot]
            entry |= {
                "active": acting(run.config, stack.layers(place)),
                "parameters": stack.sizes,
                "environment": environment_of(run, training, place),
            }
        self._write()

    def _write(self) -> None:
        for entry, place, directory in zip(self.records, self.place, self.directories, strict=True):
            self._fill(entry, place)
            record.write(directory, entry)

    def _fill(self, entry: record.Record, place: int) -> None:
        entry["history"] = self.training.courses[place].history
        count = len(self.slots)  # each run is given an equal share of its stack's time
        entry["timing"]["seconds"] = [second / count for second in self.training.seconds]


@contextmanager
def _logs(directories: Sequence[Path]) -> Iterator[None]:
    """Write everything that is logged here, by this project or the user's code, to each run.log."""
    root, level = logging.getLogger(), logging.getLogger("ablate").level
    handlers = [logging.FileHandler(d / "run.log", encoding="utf-8") for d in directories]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(handler)
    logging.getLogger("ablate").setLevel(logging.INFO)
    try:
        yield
    finally:
        logging.getLogger("ablate").setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
