"""A checksum at the end of a file, so that flipped bits and lost pages show.

The last bytes of a file are ``ablate-sha256:`` and 64 hex digits: SHA-256 of all that stands before
them. Whoever reads the file without knowing them is not disturbed: numpy stops where its array
ends, and to a zip archive, as torch writes it, they are the archive's comment.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

Soundness = Literal["sound", "damaged", "unsealed"]

_MARK: Final = b"ablate-sha256:"
_LENGTH: Final = len(_MARK) + 64


def tail_of(content: bytes | memoryview) -> bytes:
    """Return what is to be written after the content of a file."""
    return _MARK + hashlib.sha256(content).hexdigest().encode()


def make_room(archive: memoryview) -> None:
    """Announce the tail as the comment of a zip archive that has none, in place."""
    assert bytes(archive[-2:]) == b"\0\0", "an archive without a comment ends in its length, 0"
    archive[-2:] = _LENGTH.to_bytes(2, "little")


def soundness(content: bytes) -> Soundness:
    """Tell whether a file is as it was written.

    Returns:
        ``unsealed`` of a file without a checksum, as earlier versions wrote them.
    """
    body, tail = content[:-_LENGTH], content[-_LENGTH:]
    if tail.startswith(_MARK):
        return "sound" if tail == tail_of(body) else "damaged"
    return "unsealed"


def body_of(content: bytes) -> bytes:
    """Return what stands before the checksum; all, if there is none."""
    return content[:-_LENGTH] if content[-_LENGTH:].startswith(_MARK) else content


def text_digest(text: str) -> str:
    """Work out the checksum of a text, as a record holds it."""
    # Half of a surrogate pair is what an edited record may hold, and ours never do.
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"
