"""Ctrl-C, SIGTERM and SIGHUP ask for a clean stop. A second Ctrl-C or SIGTERM exits at once.

A closing terminal may send SIGHUP more than once, and a logout SIGTERM with it: a SIGHUP never
exits. A signal that was ignored at the start, as SIGHUP under nohup, stays ignored.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130  # exit status
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """A context in which a signal to stop is remembered but raises nothing.

    Attributes:
        asked: Whether a stop was asked for.
        enough: Whether to start no further stack; running ones may end.
        number: The signal that asked, or None.
    """

    def __init__(self) -> None:
        self.asked = self.enough = False
        self.number: int | None = None
        self._is_urgent = False  # whether the next signal exits at once
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            if self._is_urgent:
                os._exit(INTERRUPTED)
            self._is_urgent = True
        self.asked, self.number = True, number


def stop_like_ctrl_c() -> None:
    """From here on, let every signal to stop that is not ignored raise KeyboardInterrupt."""
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
