"""What was edited, cut off or lost in a sweep: in its ledger, study.json or records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ablate.study import glimpse, ledger, questions, study_json, sweep_json
from ablate.study.glimpse import Glimpse
from ablate.study.ledger import Ledger

_MOST = 3  # runs named one by one


def faults_of(read: Ledger, sweep: Path, shown: Sequence[Glimpse]) -> list[str]:
    """List what was edited, cut off or lost, one sentence each.

    Args:
        read: The ledger.
        sweep: Its folder.
        shown: The runs that are shown; the records of others in the ledger are read.
    """
    named = {f"the record of {_name(one)}": one.line for one in shown if one.line is not None}
    if (pointed := sweep_json.pointer(sweep)) is not None:
        named = {pointed[0]: pointed[1], **named}
    return [
        *read.faults,
        *(["the ledger's last line was cut off while it was written"] if read.torn else []),
        *ledger.missing(read, named),
        *_of_the_study(read, sweep),
        *_of_records(read, sweep, shown),
        *_unsound(read, shown),
    ]


def joined(clauses: Sequence[str]) -> str:
    """Join clauses as ``a, b and c``."""
    *first, last = clauses
    return f"{', '.join(first)} and {last}" if first else last


def question_now(sweep: Path) -> dict[str, Any] | None:
    """Read the question in study.json; None if it is missing or cannot be read."""
    told = sweep_json.json_in(sweep / study_json.FILE)
    try:
        return None if told is None else questions.as_written(told)
    except (KeyError, TypeError, AttributeError):
        return None


def _of_the_study(read: Ledger, sweep: Path) -> Iterator[str]:
    """Tell whether study.json asks something that no line of the ledger asks."""
    asked = [line["question"] for line in read.of_kind("claims") if "arms" in line["question"]]
    now = question_now(sweep)
    if asked and now is not None and now not in asked:
        changed = joined(questions.changes(asked[-1], now))
        yield f"study.json was edited and differs from the ledger: {changed}"


def _of_records(read: Ledger, sweep: Path, shown: Sequence[Glimpse]) -> Iterator[str]:
    """Name records that have changed since a look saw them."""
    now = {one.key: one for one in shown}
    told: dict[tuple[str, int], list[str]] = {}
    done = set[str]()
    for line in read.of_kind("look"):
        for key, then in line["seen"].items():
            if key in done:
                continue
            found = now[key] if key in now else glimpse.at(sweep / key)
            if what := _differs(then, found, line["number"]):
                done.add(key)
                name = f"run {key}" if found is None else _name(found)
                told.setdefault((what, line["number"]), []).append(name)
    for (what, number), names in told.items():
        yield _SAID[what].format(runs=_some(names), line=number)


def _unsound(read: Ledger, shown: Sequence[Glimpse]) -> Iterator[str]:
    """Name records that do not match their checksums and that no look has seen."""
    seen = {key for line in read.of_kind("look") for key in line["seen"]}
    names = [_name(one) for one in shown if one.key not in seen and not one.is_as_written]
    if names:
        what = "has changed since it was" if len(names) == 1 else "have changed since they were"
        yield f"the record of {_some(names)} {what} written: edited, or damaged on the disk"


_SAID: Final = {
    "gone": "the record of {runs}, shown in line {line} of the ledger, is gone",
    "again": "{runs} was trained again after the look in line {line} of the ledger",
    "edited": "the record of {runs} was edited after the look in line {line} of the ledger",
    "measured": "{runs} was measured again after the look in line {line} of the ledger",
}


def _differs(then: Mapping[str, Any], found: Glimpse | None, line: int) -> str:
    """Say how a record differs from what a line saw, by a word of `_SAID`; empty if it does not."""
    if found is None:
        return "gone"
    later = found.line is not None and found.line["number"] >= line
    if later or found.digests is None:
        return "" if then["status"] == "failed" else "again"
    seen = found.digests
    if seen["ended"] != then["ended"]:
        return "edited"
    measured = then.get("measured")
    return "measured" if measured is not None and seen.get("measured") != measured else ""


def _name(one: Glimpse) -> str:
    arm = f"{one.arm}, " if one.arm else ""
    return f"run {one.key} ({arm}seed {one.seed})"


def _some(names: Sequence[str]) -> str:
    if len(names) <= _MOST:
        return joined(names)
    return f"{', '.join(names[:_MOST])} and {len(names) - _MOST} more"
