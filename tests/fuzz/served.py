"""Serves a command line in this process, up to where something would be trained.

Each line has its own limits, as a wrong request must be refused quickly and without much memory.
"""

from __future__ import annotations

import contextlib
import copy
import io
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest
from hydra.core.singleton import Singleton

from ablate import cli
from ablate.commands import show
from ablate.launch import execute
from ablate.train.training import Training

BYTES = 2**30  # beyond what the process holds
# After these everything is imported: what a first line would take for that is no work of its own.
_WARM_UP = (
    *("plan -m seed=0,1 model=mlp,resnet", "plan +study=digits", "run optimizer=newton", "studies"),
    *("data mnist", "report a", "show a", "evaluate a", "lr-find", "inspect", "run --cfg job"),
)


class Reached(BaseException):
    """Training would begin now: the request was legal. No handler of ours catches it."""


class TooLong(BaseException):
    """A command line took too long."""


@dataclass(frozen=True)
class Answer:
    """How a command line ended.

    Attributes:
        status: Exit status; None if training would have begun.
        out: Standard output.
        err: Standard error.
        trouble: A traceback that escaped, or where it was when its time was over.
        too_long: Whether its time was over.
    """

    status: int | None
    out: str
    err: str
    trouble: str = ""
    too_long: bool = False

    @property
    def fault(self) -> str:
        """What no command line may ever give, or nothing."""
        if self.trouble:
            return self.trouble
        return "a traceback" if "Traceback (most recent" in self.out + self.err else ""

    @property
    def refusals(self) -> int:
        """How many messages refuse the request."""
        lines = self.err.splitlines()
        ours = ("ablate: ", "Error: ", "ablate run: error: ", "ablate plan: error: ")
        notes = sum(" times; " in line and line.endswith(" holds") for line in lines)
        begun = sum(line.startswith(ours) or ": error: " in line for line in lines)
        return begun - notes


def serve(words: Sequence[str], seconds: float) -> Answer:
    """Serve a command line in the working directory.

    Args:
        words: Its words, ``ablate`` left out.
        seconds: How long it may take, on the processor.
    """
    out, err, trouble = _stream(), _stream(), ""
    status: int | None = 0
    too_long = False
    arguments = sys.argv
    sys.argv = ["ablate", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limits(seconds):
            cli.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Reached:
        status = None
    except TooLong as error:
        too_long, trouble = True, f"more than {seconds} s: {_last_line(error)}"
    except BaseException:
        trouble = traceback.format_exc()
    finally:
        sys.argv = arguments
    return Answer(status, _text(out), _text(err), trouble, too_long)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder, where nothing is trained and nothing is downloaded."""
    of_hydra = copy.deepcopy(Singleton.get_state())  # its version among it, for other tests
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(execute, "_train", _reach)
    monkeypatch.setattr(Training, "__init__", _reach)
    monkeypatch.setattr(show, "watch_state", _reach)  # it would go on for ever
    monkeypatch.setattr(socket, "getaddrinfo", _offline)
    _warm_up()
    yield tmp_path
    Singleton.set_state(of_hydra)


@cache
def _warm_up() -> None:
    for line in _WARM_UP:
        serve(line.split(), seconds=60)


def _reach(*arguments: Any, **keywords: Any) -> NoReturn:
    raise Reached


def _offline(*arguments: Any, **keywords: Any) -> NoReturn:
    raise OSError("no network in tests")


@contextlib.contextmanager
def _limits(seconds: float) -> Iterator[None]:
    """Limit time on the processor, and memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    handler = signal.signal(signal.SIGPROF, _stop)
    terminated = signal.getsignal(signal.SIGTERM)
    resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, before[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGPROF, handler)
        signal.signal(signal.SIGTERM, terminated)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise TooLong


def _last_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/ablate/" in f.filename] or frames
    return f"{ours[-1].filename}:{ours[-1].lineno}"


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    held = stream.buffer
    assert isinstance(held, io.BytesIO), "made here"
    return held.getvalue().decode()
