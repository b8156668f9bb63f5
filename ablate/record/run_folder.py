"""The record in a run's folder: read, checked and written."""

from __future__ import annotations

import errno
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ablate.errors import AblateError, DamagedError, listed
from ablate.record.checksum import text_digest
from ablate.record.claims import status_now
from ablate.record.content import ENDED, SCHEMA, STATUSES, Record, Status
from ablate.record.names import RECORD
from ablate.record.writing import laid_out, replacing

_PARTS = {
    **dict.fromkeys(("config", "active", "metrics", "evaluate", "timing", "environment"), dict),
    "history": list,
    "seed": int,
}
_CHECKSUM: Final = "checksum"
_LAST: Final = f',\n "{_CHECKSUM}": '  # start of a record's last line
_NONE: Final = (errno.ENOENT, errno.ENOTDIR)
ANEW: Final = "`ablate run` sets the file aside and trains the run again"


def write(directory: Path, record: Record) -> None:
    """Replace a record atomically, with a checksum; non-finite numbers become null."""
    text = _without_checksum(record)
    whole = f'{text[:-2]}{_LAST}"{text_digest(text)}"\n}}'
    with replacing(directory / RECORD) as file:
        file.write(whole.encode())


def _without_checksum(found: Any) -> str:
    return laid_out({name: value for name, value in found.items() if name != _CHECKSUM})


def read(directory: Path, *, checked: bool = False) -> Record | None:
    """Read a record, or None if there is none.

    Args:
        directory: The run's folder.
        checked: Whether a record that does not match its checksum counts as damaged. Earlier
            versions wrote no checksums.

    Raises:
        DamagedError: The file is not a record, or no longer one; the message names it.
        AblateError: It cannot be read, or another version of ablate wrote it.
    """
    path = directory / RECORD
    text = _text(path)
    if text is None:
        return None
    found = _parsed(path, text)
    if checked and not _is_as_written(text, found):
        raise DamagedError(f"{path} was damaged or edited since it was written; {ANEW}")
    return _known(path, found)


def read_and_check(directory: Path) -> tuple[Record, bool] | None:
    """Read a record, and tell whether it is as it was written; None if there is none.

    A record that was changed is no error here: a report shows what it says, and notes that.

    Raises:
        AblateError: As `read`.
    """
    path = directory / RECORD
    text = _text(path)
    if text is None:
        return None
    found = _parsed(path, text)
    return _known(path, found), _is_as_written(text, found)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} cannot be read as a record: {error}; {ANEW}") from error
    if not isinstance(found, dict) or not {"schema", "key", "status"} <= set(found):
        raise DamagedError(f"{path} is not a record: it lacks schema, key or status; {ANEW}")
    return found


def _known(path: Path, found: dict[str, Any]) -> Record:
    """Check that this version of ablate can read a record."""
    if found["schema"] != SCHEMA:
        raise AblateError(
            f"{path} has schema {found['schema']}, this version of ablate reads {SCHEMA}"
        )
    if found["status"] not in STATUSES:
        raise DamagedError(
            f"{path} is not a record of ablate: its status is {found['status']!r}, not one of"
            f" {listed(STATUSES)}; {ANEW}"
        )
    record: Record = found  # type: ignore[assignment]
    return record


def read_if_sound(directory: Path) -> Record | None:
    """Read a record; None if it is missing or cannot be read."""
    try:
        return read(directory)
    except AblateError:
        return None


def _text(path: Path) -> str | None:
    """Read a file as text; None if it is missing."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for a writer
            raise DamagedError(f"{path} is not a file; {ANEW}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path} cannot be read as a record: {error}; {ANEW}") from error
    except OSError as error:
        if error.errno in _NONE:
            return None
        if error.errno == errno.ELOOP:
            raise DamagedError(f"{path} is a link to itself; {ANEW}") from error
        raise AblateError(f"{path} cannot be read ({error.strerror})") from error


def _is_as_written(text: str, found: Any) -> bool:
    """Tell whether a record matches its checksum; changing only its layout is fine."""
    told = found.get(_CHECKSUM)
    if told is None:
        return True
    body = f"{text.rpartition(_LAST)[0]}\n}}"
    return bool(told == text_digest(body) or told == text_digest(_without_checksum(found)))


def read_whole(directory: Path, *, checked: bool = False) -> Record | None:
    """Read a record with all the parts that evaluation and analysis need; None if missing.

    Args:
        directory: The run's folder.
        checked: As in `read`.

    Raises:
        AblateError: The file is not a record, or lacks a part; the message names it.
    """
    found = read(directory, checked=checked)
    return None if found is None else whole(directory, found)


def whole(directory: Path, found: Record) -> Record:
    """Check that a record has all the parts that evaluation and analysis need, and return it.

    Raises:
        AblateError: It lacks a part; the message names the file.
    """
    lacking = [name for name, kind in _PARTS.items() if type(found.get(name)) is not kind]
    if lacking:
        raise AblateError(
            f"{directory / RECORD} is not a complete record: it lacks {', '.join(lacking)}"
        )
    return found


DIED: Final = "its process was killed, or its machine went down"


@dataclass(frozen=True)
class Standing:
    """How a run stands, according to its record.

    Attributes:
        status: As in the record.
        reason: Why it failed, diverged or was interrupted, or None.
    """

    status: Status
    reason: str | None = None

    def has_ended(self, rerun: str) -> bool:
        """Tell whether the run has ended and `rerun` does not ask for it again."""
        return self.status in ENDED and rerun not in ("all", self.status)


def standing(directory: Path) -> Standing | None:
    """Read how a run stands, or None if it has no record.

    Raises:
        DamagedError: Its record is not as it was written.
        AblateError: Its record cannot be read, or another version of ablate wrote it.
    """
    found = read(directory, checked=True)
    if found is None:
        return None
    now = status_now(directory, found["status"])
    return Standing(now, found.get("reason") or (DIED if now == "interrupted" else None))


def has_ended(record: Record, rerun: str) -> bool:
    """Tell whether a recorded run has ended and `rerun` does not ask for it again."""
    return Standing(record["status"]).has_ended(rerun)
