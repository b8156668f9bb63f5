"""Runs a command line in this process: a new one would spend most of its time importing torch.

Tests that call the installed command check that it does the same.
"""

from __future__ import annotations

import contextlib
import copy
import io
import signal
import subprocess
import sys
import warnings

from hydra.core.singleton import Singleton

from ablate import cli
from ablate.launch.interruption import STOPS


def called(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in the working directory.

    Args:
        words: Its words, without ``ablate``.

    Returns:
        Its exit status and what it printed, as from a separate process.
    """
    out, err = _Stream(), _Stream()
    of_hydra = copy.deepcopy(
        Singleton.get_state()
    )  # restored for other tests; it holds the version base
    handlers = {number: signal.getsignal(number) for number in STOPS}
    arguments, sys.argv = sys.argv, ["ablate", *words]
    status = 0
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            cli.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = arguments
        for number, handler in handlers.items():
            signal.signal(number, handler)
        Singleton.set_state(of_hydra)
    return subprocess.CompletedProcess(["ablate", *words], status, out.text, err.text)


class _Stream(io.TextIOWrapper):
    """A text stream with a byte buffer, like the standard streams of a process."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        held = self.buffer
        assert isinstance(held, io.BytesIO), "the buffer was replaced"
        return held.getvalue().decode()
