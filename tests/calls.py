"""A command line in this process: in one of its own, importing torch takes most of the time.

That the installed command is the same is tested where it is called.
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
    """Serve a command line in the working directory.

    Args:
        words: Its words, ``ablate`` left out.

    Returns:
        Its exit status and what it printed, as a process of its own would.
    """
    out, err = _Stream(), _Stream()
    of_hydra = copy.deepcopy(Singleton.get_state())  # its version among it, for other tests
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
    """Text with bytes below it, as the streams of a process have."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        held = self.buffer
        assert isinstance(held, io.BytesIO), "made here"
        return held.getvalue().decode()
