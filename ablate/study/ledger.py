"""The ledger of a sweep, ledger.jsonl: what was asked of its runs, and when results were seen.

A line is added, and none is ever changed, when

claims    runs are about to be trained, and the question differs from the last one: it holds the
          question in full (claims, margins, metric, baseline, arms, seeds)
given up  runs that failed are not to be trained again: it holds their keys
look      results are shown of a set of ended runs that was not shown before: it holds that set,
          with a digest of what each record said

Every line has a number, the time in UTC, how many runs had ended and how many were planned, the
hash of the line before, and a hash of its own. The last number and hash also stand in study.json,
or in sweep.json beside the runs of a grid, and in the record of every run that ended since. So
edited lines, edited records and a cut-off end are all noticed, and `ablate.study.story` reports
them. Nothing here stops someone who forges all of these together.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate import record, written
from ablate.launch.describe import now
from ablate.record.ledger import LEDGER, parsed, sweep_lock
from ablate.study import sweep_json

_LABELS = ("study", "arm")  # renaming a study relabels its records
_MEASURED = ("evaluate", "inspect")  # may be measured again, with other settings
_BEGIN = b'{"number": '  # how every line begins
_TORN = "a line that was cut off while it was written was removed before this one"


@dataclass(frozen=True)
class Ledger:
    """A ledger, as read.

    Attributes:
        lines: Its readable lines, in order.
        edited: Numbers of lines that were edited; their content does not count.
        faults: What is wrong with its lines, one sentence each.
        torn: How many bytes at its end belong to a line that was not written whole.
        there: Whether the file exists.
    """

    lines: tuple[dict[str, Any], ...] = ()
    edited: frozenset[int] = frozenset()
    faults: tuple[str, ...] = ()
    torn: int = 0
    there: bool = False

    @property
    def given_up(self) -> frozenset[str]:
        """Keys of failed runs that will not be trained again."""
        return frozenset(key for line in self.of_kind("given up") for key in line["runs"])

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """List its lines of one kind: ``claims``, ``given up`` or ``look``."""
        whole = [line for line in self.lines if line["number"] not in self.edited]
        return [line for line in whole if line.get("kind") == kind]

    @property
    def last(self) -> int:
        """The number of its last line; 0 if it has none."""
        return int(self.lines[-1]["number"]) if self.lines else 0


# -- reading ---------------------------------------------------------------------------------------


def read(folder: Path) -> Ledger:
    """Read the ledger of a sweep, and check that its lines follow one another as written.

    Args:
        folder: The sweep's folder.
    """
    file = folder / LEDGER
    if os.path.lexists(file) and not file.is_file():
        return Ledger(faults=("the ledger cannot be read (it is not a file)",), there=True)
    try:
        *whole, rest = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return Ledger()
    except OSError as error:
        return Ledger(faults=(f"the ledger cannot be read ({error.strerror})",), there=True)
    if not _is_torn(rest):  # an end that lacks only its line break, or an unexpected one
        whole, rest = [*whole, *([rest] if rest else [])], b""
    lines: list[dict[str, Any]] = []
    faults: list[str] = []
    edited = set[int]()
    for place, text in enumerate(whole, start=1):
        line = parsed(text)
        if line is None:
            faults.append(f"line {place} of the ledger cannot be read: it was edited")
            continue
        if line["hash"] != _hash_of(line):
            edited.add(line["number"])
            faults.append(f"line {line['number']} of the ledger was edited: it does not count")
        if gap := _gap(lines[-1] if lines else None, line):
            faults.append(gap)
        lines.append(line)
    return Ledger(tuple(lines), frozenset(edited), tuple(faults), len(rest), there=True)


def _is_torn(rest: bytes) -> bool:
    """Tell whether the bytes after the last line break are a line that was not written whole."""
    return rest[: len(_BEGIN)] == _BEGIN[: len(rest)] and parsed(rest) is None


def _gap(before: Mapping[str, Any] | None, line: Mapping[str, Any]) -> str:
    """Say what is wrong between two lines that should follow each other; empty if nothing."""
    expected = (0, None) if before is None else (before["number"], before["hash"])
    if (line["number"] - 1, line.get("previous")) == expected:
        return ""
    end = line["number"]
    where = (
        f"before line {end}" if before is None else f"between lines {before['number']} and {end}"
    )
    return f"the ledger was edited: something was removed or inserted {where}"


def _hash_of(line: Mapping[str, Any]) -> str:
    return _hashed({name: value for name, value in line.items() if name != "hash"})


def _hashed(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def missing(ledger: Ledger, named: Mapping[str, record.LedgerLine]) -> list[str]:
    """Name lines that something refers to, but that the ledger lacks or holds in another form.

    Args:
        ledger: The ledger.
        named: Who refers to a line -> the line.
    """
    known = {line["number"]: line["hash"] for line in ledger.lines}
    beyond: dict[str, int] = {}
    replaced: dict[int, list[str]] = {}
    for who, line in named.items():
        if line["number"] > ledger.last:
            beyond[who] = line["number"]
        elif known.get(line["number"], line["hash"]) != line["hash"]:
            replaced.setdefault(line["number"], []).append(who)
    faults = []
    if beyond and not ledger.lines:
        faults.append(f"the ledger was removed, but {_names(list(beyond))} a line of it")
    elif beyond:
        what = f"{_names(list(beyond))} line {max(beyond.values())}"
        faults.append(f"the ledger's last lines were cut off after line {ledger.last}: {what}")
    for number, by in replaced.items():
        faults.append(f"line {number} of the ledger is not the one that {_names(by)}")
    return faults


def _names(who: Sequence[str]) -> str:
    first, *others = who
    return f"{first} names" if not others else f"{first} and {len(others)} more name"


# -- records ---------------------------------------------------------------------------------------


def digests(found: record.Record) -> dict[str, Any]:
    """Return what a look keeps of a record: how the run ended, and digests of its content.

    Returns:
        ``status``; ``ended``, the digest of all that training wrote; and ``measured``, that of the
        measurements after training, if there are any.
    """
    measured = {name: found[name] for name in _MEASURED if found.get(name)}  # type: ignore[literal-required]
    left_out = (*_LABELS, *_MEASURED)
    ended = {name: value for name, value in found.items() if name not in left_out}
    digest = {"status": found["status"], "ended": _hashed(ended)[:16]}
    return digest | ({"measured": _hashed(measured)[:16]} if measured else {})


# -- writing ---------------------------------------------------------------------------------------


def note_claims(folder: Path, question: Mapping[str, Any], planned: int | None) -> None:
    """Note what is asked of runs about to train, unless the last question was the same.

    Args:
        folder: The sweep's folder; created if missing.
        question: As `ablate.study.questions` writes it.
        planned: Number of planned runs; None if a sweeper chooses them.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = json.loads(json.dumps(question))
    with sweep_lock(folder):
        ledger = read(folder)
        before = ledger.of_kind("claims")
        if before and before[-1].get("question") == asked:
            return
        _append(
            folder,
            ledger,
            "claims",
            {"ended": _ended(folder), "planned": planned, "question": asked},
        )


def _ended(folder: Path) -> int:
    """Count the runs of a sweep that have ended; unreadable records do not count."""
    found = (record.read_if_sound(place) for place in record.find(folder))
    return sum(one is not None and one["status"] in record.ENDED for one in found)


def note_given_up(folder: Path, keys: Sequence[str]) -> None:
    """Note that failed runs will not be trained again, unless that is already noted.

    Args:
        folder: The sweep's folder.
        keys: Their keys.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    with sweep_lock(folder):
        ledger = read(folder)
        new = sorted(set(keys) - ledger.given_up)
        if new:
            _append(
                folder, ledger, "given up", {"ended": _ended(folder), "planned": None, "runs": new}
            )
            if sweep_json.pointer(folder) is None:
                sweep_json.write(folder)


def note_look(folder: Path, seen: Mapping[str, Mapping[str, Any]], planned: int | None) -> bool:
    """Note that results are shown, unless the same runs were shown before in the same state.

    Args:
        folder: The sweep's folder.
        seen: Key -> digests, for every run that is shown and has ended.
        planned: Number of planned runs, or None if that is not known.

    Returns:
        Whether it is noted, now or earlier; False if the folder cannot be written to.
    """
    if _was_shown(read(folder), seen):
        return True
    try:
        with sweep_lock(folder):
            ledger = read(folder)
            if not _was_shown(ledger, seen):
                told = {"ended": len(seen), "planned": planned, "seen": dict(seen)}
                _append(folder, ledger, "look", told)
                if sweep_json.pointer(folder) is None:
                    sweep_json.write(folder)
    except OSError:
        return False
    return True


def _was_shown(ledger: Ledger, seen: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether an earlier look showed this set; measuring a run again does not make it new."""

    def ends(some: Mapping[str, Any]) -> dict[str, str]:
        return {key: one["ended"] for key, one in some.items()}

    return any(ends(line["seen"]) == ends(seen) for line in ledger.of_kind("look"))


def _append(folder: Path, ledger: Ledger, kind: str, told: Mapping[str, Any]) -> None:
    """Add a line and wait until it is on disk; the caller holds the folder's lock.

    A line also records what was wrong before it: once the ledger goes on, it no longer shows that
    its end was cut off.
    """
    named = sweep_json.pointer(folder)
    wrong = [*missing(ledger, dict([named] if named else [])), *([_TORN] if ledger.torn else [])]
    line = {
        "number": ledger.last + 1,
        "time": now(),
        "kind": kind,
        **told,
        **({"found": wrong} if wrong else {}),
        "previous": ledger.lines[-1]["hash"] if ledger.lines else None,
    }
    line["hash"] = _hash_of(line)
    file = folder / LEDGER
    if ledger.there and not ledger.lines and not ledger.torn:
        written.set_aside(file)  # the user's own file of this name
    _write(file, json.dumps(line, ensure_ascii=False).encode(), ledger.torn)
    sweep_json.point(folder, {"number": line["number"], "hash": line["hash"]})


def _write(file: Path, line: bytes, torn: int) -> None:
    is_new = not file.exists()
    with file.open("ab+") as opened:
        end = opened.seek(0, os.SEEK_END)
        if torn:
            end = opened.truncate(end - torn)
        opened.seek(max(0, end - 1))
        breaks = b"\n" if opened.read(1) not in (b"", b"\n") else b""
        opened.write(breaks + line + b"\n")
        opened.flush()
        os.fsync(opened.fileno())
    if is_new:
        _sync(file.parent)


def _sync(folder: Path) -> None:
    """Make sure that a new file's name is on disk too."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
