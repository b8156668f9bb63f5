"""Errors on the user's side, and how they are worded.

One class of error for users. Its message names the value, the legal values, the nearest match and
the place. All faults of a request are reported together. Anything else that escapes is a bug and
shows its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class AblateError(Exception):
    """A request that cannot be served, with everything that is wrong with it.

    Args:
        *faults: One sentence each: what is wrong, and what to do.

    Example:
        >>> raise AblateError("epochs is 0, at least 1 is needed")
        Traceback (most recent call last):
        ablate.errors.AblateError: epochs is 0, at least 1 is needed
    """

    status = 2  # exit status: nothing was started

    def __init__(self, *faults: str) -> None:
        self.faults: tuple[str, ...] = tuple(dict.fromkeys(faults))
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type[AblateError], tuple[str, ...]]:
        return type(self), self.faults


class RunError(AblateError):
    """A run that was asked for failed or diverged; its record says why."""

    status = 1


class DiskFullError(AblateError):
    """A record could not be written for want of space; what is recorded stays."""

    status = 1


class DamagedError(AblateError):
    """A file of a run was damaged or edited; only that run is affected."""

    status = 1


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def raise_if_full(error: OSError) -> None:
    """Raise `DiskFullError` in place of a system error that means it."""
    if error.errno in FULL:
        raise DiskFullError(
            f"the disk is full ({error}): what is recorded stays; make space, and the same command"
            " goes on"
        ) from error


def nearest(word: str, legal: Iterable[str], cutoff: float = 0.6) -> str:
    """Name the closest legal word, as the end of a sentence.

    Args:
        word: What was given.
        legal: The legal words.
        cutoff: How similar close words must be, from 0 to 1.

    Returns:
        ``"; did you mean 'relu'?"``, or an empty string if no word is close.
    """
    words = list(legal)
    close = [
        *get_close_matches(word, words, 1, cutoff),
        *get_close_matches(word.lower(), words, 1, cutoff),
    ]
    return f"; did you mean '{close[0]}'?" if close else ""


def listed(words: Sequence[object]) -> str:
    """Join words as ``a, b or c``."""
    texts = [str(word) for word in words]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
