"""Work in a separate process, so that a failure or a hang there harms nothing else."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Figures = dict[str, Any]


class Apart:
    """A process that does one piece of work after another; a new one takes over after a failure.

    An error on a GPU can make its whole process unusable, and running out of memory leaves its
    memory fragmented, so a process that failed once is not used again.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def do(self, work: Callable[..., Figures], *arguments: Any, limit: float) -> Figures:
        """Do some work there.

        Args:
            work: A function of a module, so that the process can import it.
            arguments: What it is called with.
            limit: Seconds it may take.

        Returns:
            What it returns; if it failed, only ``error``, with the reason in one line.
        """
        if self._pipe is None:
            self._start()
        assert self._pipe is not None, "a process was just started"
        try:
            self._pipe.send((work, arguments))
            if not self._pipe.poll(limit):
                self._kill()
                return {"error": f"not done after {limit:.0f} seconds"}
            found: Figures = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join(10)
            found = {"error": f"its process died ({_ending(self._process.exitcode)})"}
        if "error" in found:
            self.stop()
        return found

    def stop(self) -> None:
        """End the process, and those that it started."""
        if self._pipe is not None:
            self._pipe.close()  # it then ends by itself, unless it hangs
            self._process.join(10)
            self._kill()

    def _kill(self) -> None:
        self._process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._process = self._pipe = None

    def _start(self) -> None:
        # Not forked: a fork of a process that has used CUDA cannot use it.
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,))
        self._process.start()
        other.close()


def _serve(pipe: Connection) -> None:
    os.setsid()  # its own process group, which can be ended as a whole
    os.dup2(2, 1)  # compilers' output does not belong on standard output
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        try:
            found = work(*arguments)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            found = {"error": _reason(error)}
        pipe.send(found)
        _tidy()


def _tidy() -> None:
    """Clean up the process for the next piece of work."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _reason(error: Exception) -> str:
    """Say in one line why something failed."""
    name = type(error).__name__
    if name == "OutOfMemoryError":
        return "out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{name}: {lines[0][:200]}" if lines else name


def _ending(code: int | None) -> str:
    if code is None:
        return "it does not end"
    return f"signal {-code}" if code < 0 else f"exit status {code}"
