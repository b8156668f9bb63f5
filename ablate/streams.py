"""Standard output and standard error that outlive their readers.

What is printed never decides about a run: a reader may go away (`2>&1 | head -3`, a terminal that
is closed, `2>&-`), and training goes on. While `outliving` is entered, whatever prints goes through
here, by way of ``sys.stdout`` and ``sys.stderr``: lines, bars, logs, and the user's own code.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_NAMES = ("stdout", "stderr")


class Outliving:
    """A text stream to which writing never fails; all else is the stream's own.

    Args:
        stream: What is written to.
        name: What it is called when it cannot be written to; None where nobody is to be told.
    """

    def __init__(self, stream: Any, name: str | None = None) -> None:
        self._stream, self._name = stream, name
        self.gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written; a sign that the stream cannot encode is escaped."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError) as error:
            self._fail(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what is buffered, if anyone takes it."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def isatty(self) -> bool:
        """Tell whether somebody is watching."""
        closed = self.gone or getattr(self._stream, "closed", False)
        return not closed and bool(self._stream.isatty())

    def _fail(self, error: OSError | ValueError) -> None:
        """Take note that there is no reader; what is buffered still must go nowhere at exit."""
        if isinstance(error, ValueError) and not getattr(self._stream, "closed", False):
            raise error
        if isinstance(error, BlockingIOError) or self.gone:
            return
        self.gone = True
        _point_nowhere(self._stream)
        if self._name is not None and getattr(error, "errno", None) != errno.EPIPE:
            print(f"ablate: {self._name} cannot be written: {error}", file=sys.stderr)


@contextmanager
def outliving() -> Iterator[None]:
    """Let nothing fail for want of a reader, here and in what is called."""
    before = {name: getattr(sys, name) for name in _NAMES}
    outlive()
    try:
        yield
    finally:
        for name, stream in before.items():
            if not isinstance(stream, Outliving):
                (getattr(sys, name).close if stream is None else getattr(sys, name).flush)()
                setattr(sys, name, stream)


def outlive() -> None:
    """Let nothing fail for want of a reader in this process, from now on."""
    _open_the_three()
    for name in _NAMES:
        stream = getattr(sys, name)
        if not isinstance(stream, Outliving):
            told = "standard output" if name == "stdout" else None
            setattr(sys, name, Outliving(_nowhere() if stream is None else stream, told))


def is_heard() -> bool:
    """Tell whether standard output still has a reader, as far as is known."""
    return not getattr(sys.stdout, "gone", False)


def _open_the_three() -> None:
    """Open what the caller closed of descriptors 0 to 2: else the next file would take its place.

    A record that was descriptor 2 would be written into by whatever complains there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)


def _nowhere() -> Any:
    return open(os.devnull, "w", encoding="utf-8")


def _point_nowhere(stream: Any) -> None:
    """Point a stream's descriptor at /dev/null, so that nothing is left to fail at exit."""
    with suppress(OSError, ValueError, AttributeError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
