"""Trains a stack in this process and keeps its runs' records, through failures and stops.

Only the runs that have not ended are trained. The stack keeps its planned width and slots (a
stand-in takes the slot of an ended run), so a resumed sweep gives the same numbers. A stack that
fails is halved until a single run fails; that run is recorded as failed, with the traceback in its
run.log. Problems with a run's files affect that run only: damaged files are set aside, and a run
whose folder cannot be written is lost, while the others go on.
"""

from __future__ import annotations

import errno
import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from ablate import record, streams
from ablate.errors import AblateError, DamagedError, raise_if_full
from ablate.launch.attempt import Attempt, Follow, NobodyLeftError, Work, cause, unfollowed
from ablate.launch.describe import note_accident, record_failure
from ablate.launch.interruption import Interruption
from ablate.train.memory import keep_freed_memory

log = logging.getLogger(__name__)


class Job:
    """Trains the runs of a stack that have not ended.

    Args:
        work: The stack.
        follow: Makes what follows its steps.

    Attributes:
        work: The stack.
        follow: Makes what follows its steps.
        stop: Says whether a stop was requested.
        held: Keys of runs that were skipped because another process holds them.
        notes: What the user should know, one sentence each.
        lost: Folder -> why its run could not even be recorded.
    """

    def __init__(self, work: Work, follow: Follow = unfollowed) -> None:
        self.work, self.follow, self.stop = work, follow, Interruption()
        self.held: list[str] = []
        self.notes: list[str] = []
        self.lost: dict[Path, str] = {}
        self._claims: dict[int, record.RunClaim] = {}

    def train(self) -> None:
        """Train.

        Raises:
            KeyboardInterrupt: A stop was requested; unfinished runs are recorded as interrupted.
            DiskFullError: There is no space left for the records.
        """
        keep_freed_memory()
        if self.work.threads is not None:
            torch.set_num_threads(self.work.threads)
        with streams.outliving(), self.stop:
            self._train([*range(len(self.work.runs))])

    def _train(self, slots: list[int]) -> None:
        """Claim runs and train them; with too few file handles for all, one half first."""
        with ExitStack() as claims:
            try:
                claimed = self._kept(slots, lambda slot: self._claim(slot, claims), splits=True)
                # A run may have ended while this process waited for its lock.
                left = self._kept(claimed, self._prepare)
                for members in self._by_step(left):
                    self._attempt(members)
                return
            except _TooFewHandlesError:
                self._claims.clear()
        middle = len(slots) // 2
        self._train(slots[:middle])
        self._train(slots[middle:])

    def _kept(
        self, slots: list[int], keeps: Callable[[int], bool], splits: bool = False
    ) -> list[int]:
        """Keep the slots that pass a test; a run whose files cannot be used is lost.

        Raises:
            _TooFewHandlesError: No file handles are left, and `splits` is set.
        """
        kept = []
        for slot in slots:
            try:
                if keeps(slot):
                    kept.append(slot)
            except (OSError, AblateError) as error:
                if splits and len(slots) > 1 and _lacks_handles(error):
                    raise _TooFewHandlesError from error
                self._lose(slot, error)
        return kept

    def _claim(self, slot: int, claims: ExitStack) -> bool:
        """Claim an unfinished run; tell whether this process holds it now."""
        run, directory = self.work.runs[slot], self.work.directories[slot]
        if self._is_done(slot):
            return False
        self.notes += record.set_aside_wrong_kinds(directory)
        directory.mkdir(parents=True, exist_ok=True)
        if self.work.wait and record.claimed_elsewhere(directory):
            log.warning("%s is trained by another process; waiting for it", directory)
        claim = claims.enter_context(record.claim(directory, wait=self.work.wait))
        self._claims[slot] = claim
        if not claim:
            self.held.append(run.key)
        return claim.held

    def _prepare(self, slot: int) -> bool:
        """Set aside what is damaged or will be trained again; tell whether the run should train."""
        if self._is_done(slot):
            return False
        run, directory = self.work.runs[slot], self.work.directories[slot]
        self.notes += record.mend(directory)
        record.set_aside_if_ended(directory, run.config["rerun"])
        return True

    def _is_done(self, slot: int) -> bool:
        run, directory = self.work.runs[slot], self.work.directories[slot]
        try:
            old = record.read(directory, checked=True)
        except DamagedError:
            return False
        if old is None or not record.has_ended(old, run.config["rerun"]):
            return False
        record.settle_if_measured(directory, old)
        return True

    def _by_step(self, slots: list[int]) -> list[list[int]]:
        """Group slots by the step they resume from: a kill may fall between two saved states."""
        if not self.work.fused:
            return [[slot] for slot in slots]
        steps: dict[int, list[int]] = {}
        for slot in slots:
            state = record.load_state(self.work.directories[slot])
            steps.setdefault(0 if state is None else state["step"], []).append(slot)
        return list(steps.values())

    def _attempt(self, slots: list[int], halved: bool = False) -> None:
        """Train some slots; on failure halve them, until the failing run is found."""
        again = False
        try:
            with _logs([self.work.directories[slot] for slot in slots]):
                again = self._tried(slots, halved)
        except OSError as error:  # a run.log cannot be opened
            again = self._failed(slots, error)
        if not again:
            return
        if self.work.runs[0].config["device"] == "cuda":
            gc.collect()  # a traceback may keep memory alive
            torch.cuda.empty_cache()
        middle = len(slots) // 2
        for half in (slots[:middle], slots[middle:]) if middle else (slots,):
            for members in self._by_step(half):
                self._attempt(members, halved=middle > 0 or halved)

    def _tried(self, slots: list[int], halved: bool) -> bool:
        """Train some slots once; tell whether to try them again."""
        try:
            with torch.enable_grad():
                Attempt(self, slots, halved).train()
        except NobodyLeftError:
            return False
        # A run may raise any error, which is recorded, and the sweep goes on.
        except Exception as error:
            return self._failed(slots, error)
        return False

    def _failed(self, slots: list[int], error: Exception) -> bool:
        """Handle slots whose training failed; tell whether to try them again."""
        if isinstance(error, OSError):
            raise_if_full(error)
        reason = f"{type(error).__name__}: {error}"
        if len(slots) > 1:
            log.warning("a stack of %d runs failed (%s); trained in halves", len(slots), reason)
            return True
        log.info("the run failed: %s", reason, exc_info=error)
        return self.fail(slots[0], reason, is_accident=_lacks_memory(error))

    def is_lost(self, slot: int) -> bool:
        """Tell whether another process has taken over a run, and remember it as held."""
        if not self._claims[slot].is_lost:
            return False
        self.held.append(self.work.runs[slot].key)
        return True

    def fail(self, slot: int, reason: str, is_accident: bool = False) -> bool:
        """Record a run as failed; after an accident, tell whether to try it again."""
        run, directory = self.work.runs[slot], self.work.directories[slot]
        try:
            if is_accident and note_accident(run, directory, reason):
                log.info("tried again, as retries=%d allows", run.config["retries"])
                return True
            record_failure(run, directory, reason)
        except (OSError, AblateError) as error:
            self._lose(slot, error)
        return False

    def _lose(self, slot: int, error: OSError | AblateError) -> None:
        """Remember why a run cannot be recorded."""
        if isinstance(error, OSError):
            raise_if_full(error)
        self.lost[self.work.directories[slot]] = cause(error, self.work.directories[slot])


class _TooFewHandlesError(Exception):
    """This process has too few file handles for all runs of a stack at once."""


def _lacks_handles(error: OSError | AblateError) -> bool:
    found = error if isinstance(error, OSError) else error.__cause__
    return isinstance(found, OSError) and found.errno in (errno.EMFILE, errno.ENFILE)


def _lacks_memory(error: Exception) -> bool:
    """Tell whether memory ran out, on a GPU or for torch on a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)


@contextmanager
def _logs(directories: Sequence[Path]) -> Iterator[None]:
    """Write everything logged here, by this project or the user's code, to each run.log."""
    root, ours = logging.getLogger(), logging.getLogger("ablate")
    level = ours.level
    with ExitStack() as opened:
        for directory in directories:
            handler = logging.FileHandler(directory / record.LOG, encoding="utf-8")
            opened.callback(handler.close)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            root.addHandler(handler)
            opened.callback(root.removeHandler, handler)
        ours.setLevel(logging.INFO)
        opened.callback(ours.setLevel, level)
        yield
