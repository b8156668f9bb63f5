"""One attempt to train some slots of a stack together, from their states to their records."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ablate import data, record
from ablate.config import schema
from ablate.errors import AblateError, raise_if_full
from ablate.launch.describe import environment_of, first_record, now, tries_of
from ablate.launch.interruption import Interruption
from ablate.plan.code import require_as_planned
from ablate.plan.run import Run
from ablate.train.deterministic import deterministic
from ablate.train.proof import acting, prove
from ablate.train.training import Training

log = logging.getLogger(__name__)

_WRITE_EVERY = 1.0  # at least this many seconds between two writes of record.json

Follow = Callable[[Training, Sequence[Run]], "Follower"]


class Follower:
    """Follows a training: called after every step, inside its context. This one does nothing."""

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
        threads: Torch threads in this process; None leaves the number unchanged.
        wait: Whether to wait for runs that another process holds.
    """

    runs: tuple[Run, ...]
    directories: tuple[Path, ...]
    fused: bool
    threads: int | None = None
    wait: bool = False


class Owner(Protocol):
    """What asks for slots of a stack to be trained.

    Attributes:
        work: The stack.
        follow: Makes what follows its steps.
        stop: Says whether a stop was requested.
    """

    work: Work
    follow: Follow
    stop: Interruption

    def is_lost(self, slot: int) -> bool:
        """Tell whether another process has taken over a run, which is then left to it."""
        ...

    def fail(self, slot: int, reason: str) -> bool:
        """Record a run as failed."""
        ...


class NobodyLeftError(Exception):
    """Every run of an attempt was dropped."""


def cause(error: OSError | AblateError, directory: Path) -> str:
    """Say in one sentence why a run's folder cannot be used."""
    if isinstance(error, AblateError):
        return error.faults[0]
    if isinstance(error, FileNotFoundError) and not directory.exists():
        return "its folder was moved or deleted while it was trained"
    where = "" if error.filename is None else f" ({error.filename})"
    return f"its files cannot be written: {error.strerror or error}{where}"


@dataclass(frozen=True)
class _Member:
    """A run of an attempt.

    Attributes:
        slot: Its slot in the planned stack.
        place: Its slot in the stack that is trained.
        run: The run.
        directory: Its folder.
        record: Its record, as it grows.
    """

    slot: int
    place: int
    run: Run
    directory: Path
    record: record.Record


class Attempt:
    """Some slots of a stack, trained together from the same step.

    Args:
        owner: What asks for them to be trained.
        slots: The slots.
        halved: Whether the stack turned out too wide; then it is as narrow as these slots allow.
    """

    def __init__(self, owner: Owner, slots: list[int], halved: bool) -> None:
        self.owner, work = owner, owner.work
        # Stand-ins keep the other runs in their slots and keep the width; a fused stack needs two.
        planned = [*range(len(work.runs))] if work.fused and not halved else slots
        self.standing = [slot if slot in slots else slots[0] for slot in planned]
        if work.fused and len(self.standing) == 1:
            self.standing *= 2
        self.members = [
            _Member(
                slot,
                planned.index(slot),
                work.runs[slot],
                work.directories[slot],
                first_record(work.runs[slot], tries_of(work.directories[slot])),
            )
            for slot in slots
        ]

    def train(self) -> None:
        """Train to the end."""
        began = time.perf_counter()
        work, first = self.owner.work, self.members[0].run
        for slot in self.standing:
            require_as_planned(work.runs[slot].config, work.runs[slot].code)
        with deterministic(bool(first.config["deterministic"])):
            tensors = data.load(first.config, first.digest)
            configs = [work.runs[slot].config for slot in self.standing]
            self.training = Training(configs, tensors, fused=work.fused)
            self._restore()
            self._describe()
            runs = [member.run for member in self.members]
            with self.owner.follow(self.training, runs) as follower:
                self._advance(follower)
            self._end(time.perf_counter() - began)

    def _restore(self) -> None:
        states = {m.slot: record.load_state(m.directory) for m in self.members}
        if all(state is not None for state in states.values()):
            self.training.restore([states[slot] or {} for slot in self.standing])
            log.info("continuing from step %d of %d", self.training.step, self.training.steps)

    def _advance(self, follower: Follower) -> None:
        training = self.training
        every = schema.seconds(self.members[0].run.config["checkpoint"]["every"])
        written = time.monotonic()
        due = written + every
        while not training.done:
            ended = training.advance()
            follower.step(ended)
            now_ = time.monotonic()
            if self.owner.stop.asked:
                self._interrupt()
            if now_ >= due:
                self._each(self._save_state)
                # At regular times from the start, however long saving takes; with 0s, after every
                # step.
                due += every * max(1, math.ceil((time.monotonic() - due) / every)) if every else 0
            if ended and now_ - written >= _WRITE_EVERY:
                self._each(self._write)
                written = now_

    def _each(self, write: Callable[[_Member], None]) -> None:
        """Write something for each run; a run whose files cannot be written is dropped.

        Raises:
            NobodyLeftError: No run is left.
        """
        for member in list(self.members):
            if self.owner.is_lost(member.slot):
                self.members.remove(member)
                continue
            try:
                write(member)
            except OSError as error:
                raise_if_full(error)
                self.members.remove(member)
                log.info("%s is dropped", member.directory, exc_info=error)
                self.owner.fail(member.slot, cause(error, member.directory))
        if not self.members:
            raise NobodyLeftError

    def _save_state(self, member: _Member) -> None:
        record.save_state(member.directory, self.training.state(member.place))

    def _interrupt(self) -> None:
        self._each(self._save_state)
        step = self.training.step
        for member in self.members:
            member.record.update({"status": "interrupted", "reason": f"stopped at step {step}"})
        self._each(self._write)
        log.info("interrupted at step %d of %d", step, self.training.steps)
        raise KeyboardInterrupt

    def _end(self, seconds: float) -> None:
        training, save = self.training, self.members[0].run.config["save"]
        states = {m.slot: training.state(m.place) for m in self.members} if save == "all" else {}
        metrics = training.finish()

        def finish(member: _Member) -> None:
            entry, diverged = member.record, training.courses[member.place].diverged
            entry |= (
                {"status": "finished", "metrics": metrics[member.place]}
                if diverged is None
                else {
                    "status": "diverged",
                    "reason": f"the loss was not finite at step {diverged}",
                }
            )
            self._fill(member)
            entry["timing"] |= {"total": seconds, "finished": now()}
            weights = None if save == "none" else training.stack.state_dict(member.place)
            whole = record.with_line(entry, member.directory)
            state, correct = states.get(member.slot), self._correct(member.place)
            record.finish(member.directory, whole, weights, state, correct)

        self._each(finish)
        ends = ", ".join(member.record["status"] for member in self.members)
        log.info("%s after %.1f s", ends, seconds)

    def _correct(self, place: int) -> NDArray[np.bool_] | None:
        """Return which test images a run got right; a diverged run has no answers."""
        right_RN = self.training.right_RN
        if right_RN is None or self.training.courses[place].diverged is not None:
            return None
        return right_RN[place].numpy()

    def _describe(self) -> None:
        """Prove that every active knob has an effect, and record what acts."""
        training, stack = self.training, self.training.stack
        prove(training.configs[0], stack.layers(0), training.update.objective, training.data)
        for member in self.members:
            member.record.update(
                {
                    "active": acting(member.run.config, stack.layers(member.place)),
                    "parameters": stack.sizes,
                    "environment": environment_of(member.run, training, member.place),
                }
            )
        self._each(self._write)

    def _write(self, member: _Member) -> None:
        self._fill(member)
        record.write(member.directory, member.record)

    def _fill(self, member: _Member) -> None:
        entry = member.record
        entry["history"] = self.training.courses[member.place].history
        count = len(self.members)  # each run gets an equal share of its stack's time
        entry["timing"]["seconds"] = [second / count for second in self.training.seconds]
