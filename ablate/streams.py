"""Keeps standard output and standard error working when their reader is gone.

Printing must never end a run: if the reader goes away (`2>&1 | head -3`, a closed terminal,
`2>&-`), training goes on. Inside `outliving`, ``sys.stdout`` and ``sys.stderr`` are replaced, so
everything that prints goes through here: lines, bars, logs, and the user's own code.
"""

from __future__ import annotations

import errno
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_NAMES = ("stdout", "stderr")


# Replacements for our characters that a stream cannot encode; others are escaped.
_PLAIN = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "±": "+/-",
    "…": "...",
    "×": "x",
    "·": "-",
    "Δ": "delta",
    "δ": "delta",
    "α": "alpha",
    "λ": "lambda",
    "σ": "sigma",
    "ρ": "rho",
    "≥": ">=",
    "≤": "<=",
    "²": "^2",
    "η": "eta",
    "√": "sqrt",
    "→": "->",
    "←": "<-",
}


def encodable(text: str, encoding: str | None) -> str:
    """Write a text with the characters of an encoding.

    Args:
        text: The text.
        encoding: Its name; None counts as UTF-8.

    Returns:
        The text itself if it can be encoded, else with plain forms such as ``+/-`` for ``±``.
    """
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = "".join(_form(character, encoding) for character in text)
        return plain.encode(encoding, "backslashreplace").decode(encoding)
    return text


def visible(text: str) -> str:
    """Write � for control characters other than line breaks and tabs.

    Otherwise a name from a file could move the cursor, clear the terminal, or reverse text.
    """
    if text.isprintable():
        return text
    return "".join(
        "�" if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" else c
        for c in text
    )


def _form(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _PLAIN.get(character, character)
    return character


class Outliving:
    """A text stream whose writes never fail; everything else is passed to the real stream.

    Args:
        stream: The real stream.
        name: Its name in the message that it cannot be written; None prints no message.
    """

    def __init__(self, stream: Any, name: str | None = None) -> None:
        self._stream, self._name = stream, name
        self.gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write if possible; characters that the stream cannot encode get plain forms."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self.write(encodable(text, error.encoding))
        except (OSError, ValueError) as error:
            self._fail(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write the lines one by one."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, if there is still a reader."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def isatty(self) -> bool:
        """Tell whether this is a terminal that is still open."""
        closed = self.gone or getattr(self._stream, "closed", False)
        return not closed and bool(self._stream.isatty())

    def _fail(self, error: OSError | ValueError) -> None:
        """Note that the reader is gone; discard the buffer, or flushing it at exit would fail."""
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
    """Keep printing from failing inside this context, even without a reader."""
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
    """Keep printing from failing in this process from now on, even without a reader."""
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
    """Open those of the descriptors 0 to 2 that the caller closed.

    Otherwise the next file to be opened would take such a number: error messages, which go to
    descriptor 2, could then end up inside a record.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
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
