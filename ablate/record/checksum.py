"""Adds a checksum at the end of a file, so that flipped bits and lost pages are noticed.

The last bytes of a file are ``ablate-sha256:`` and 64 hex digits: the SHA-256 of everything before
them. Other readers ignore them: numpy stops where its array ends, and in a zip archive, which torch
writes, they are the comment.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

Soundness = Literal["sound", "damaged", "unsealed"]

_MARK: Final = b"ablate-sha256:"
_LENGTH: Final = len(_MARK) + 64


def tail_of(content: bytes | memoryview) -> bytes:
    """Return what to write after a file's content."""
    return _MARK + hashlib.sha256(content).hexdigest().encode()


def make_room(archive: memoryview) -> None:
    """Declare the tail, in place, as the comment of a zip archive that has none."""
    assert bytes(archive[-2:]) == b"\0\0", "an archive without a comment ends in its length, 0"
    archive[-2:] = _LENGTH.to_bytes(2, "little")


def soundness(content: bytes) -> Soundness:
    """Tell whether a file is as it was written.

    Returns:
        ``unsealed`` for a file without a checksum, as earlier versions wrote.
    """
    body, tail = content[:-_LENGTH], content[-_LENGTH:]
    if tail.startswith(_MARK):
        return "sound" if tail == tail_of(body) else "damaged"
    return "unsealed"


def body_of(content: bytes) -> bytes:
    """Return what comes before the checksum; everything, if there is none."""
    return content[:-_LENGTH] if content[-_LENGTH:].startswith(_MARK) else content


def text_digest(text: str) -> str:
    """Compute the checksum of a text in the form a record holds."""
    # An edited record may hold half of a surrogate pair; ours never do.
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"
