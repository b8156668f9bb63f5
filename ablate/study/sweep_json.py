"""sweep.json: what was asked of a grid's runs, in their folder, like study.json for a study.

    command   the overrides of the request
    runs      keys of the runs that it planned; empty if a sweeper chooses them
    ledger    number and hash of the last line of the ledger

A folder older than its ledger gets only the last of these.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from ablate import record, written
from ablate.study import study_json

SWEEP: Final = "sweep.json"


def pointer(folder: Path) -> tuple[str, record.LedgerLine] | None:
    """Read which line study.json or sweep.json names as the last: file name and line."""
    found = []
    for name in (study_json.FILE, SWEEP):
        line = (json_in(folder / name) or {}).get("ledger")
        if isinstance(line, dict) and type(line.get("number")) is int and "hash" in line:
            found.append((name, record.LedgerLine(number=line["number"], hash=str(line["hash"]))))
    return max(found, key=lambda one: one[1]["number"], default=None)


def write(folder: Path, **told: Any) -> None:
    """Write sweep.json beside the runs of a grid, with the ledger's last line.

    Args:
        folder: The sweep's folder.
        told: ``command``: the request's overrides; ``runs``: the keys of the planned runs.
    """
    file = folder / SWEEP
    found = json_in(file)
    if os.path.lexists(file) and (found is None or "ledger" not in found):
        written.set_aside(file)
    record.write_json(file, told | {"ledger": record.latest_line(folder)})


def planned_keys(folder: Path) -> frozenset[str] | None:
    """Read the keys of the runs that were planned last; None if neither file says."""
    for name in (study_json.FILE, SWEEP):
        runs = (json_in(folder / name) or {}).get("runs")
        if isinstance(runs, list) and runs:
            return frozenset(map(str, runs))
    return None


def point(folder: Path, line: record.LedgerLine) -> None:
    """Name the ledger's last line in study.json and sweep.json, if they exist and are ours."""
    for name, ours in ((study_json.FILE, {"question", "arms"}), (SWEEP, {"ledger"})):
        found = json_in(folder / name)
        if found is not None and ours <= set(found):
            record.write_json(folder / name, found | {"ledger": line})


def json_in(file: Path) -> dict[str, Any] | None:
    """Read a JSON file that holds a mapping; None if there is none."""
    if not file.is_file():  # opening a named pipe would wait for a writer
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
