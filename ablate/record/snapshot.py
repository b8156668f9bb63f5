"""The code that a sweep's runs were trained on: the folder code/ beside the runs.

code/<id>.json         a snapshot: commit, what was not committed, sources, packages
code/files/<SHA-256>   a source or a diff, by its content: each is kept once

A snapshot is taken before training, and only if it differs from all earlier ones. Contents of a
clean commit are left to git.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypedDict

from ablate.record.writing import write_json

FOLDER: Final = "code"
FILES: Final = "files"  # in that folder


class Snapshot(TypedDict):
    """The code at one time.

    `commit` and `dirty` describe the working directory's repository, and are null without one.
    `diff` is the SHA-256 of the changes since the commit; null without changes, or if
    `diff_left_out` gives a reason. `files` and `packages` are those of `Code`; `kept` names the
    files whose content is kept.
    """

    commit: str | None
    dirty: bool | None
    diff: str | None
    diff_left_out: str | None
    files: dict[str, str]
    packages: dict[str, str]
    kept: list[str]


def keep_snapshot(sweep: Path, snapshot: Snapshot, contents: Mapping[str, bytes]) -> Path:
    """Write a snapshot into a sweep's folder, unless it is already there.

    Args:
        sweep: The sweep's folder; created if missing.
        snapshot: The snapshot.
        contents: Contents to keep, by their SHA-256.

    Returns:
        Its file.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    text = json.dumps(snapshot, sort_keys=True)
    file = sweep / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if file.is_file():
        return file
    (sweep / FOLDER / FILES).mkdir(parents=True, exist_ok=True)
    for digest, content in contents.items():
        _put(sweep / FOLDER / FILES / digest, content)
    write_json(file, snapshot)
    return file


def snapshots(sweep: Path) -> dict[Path, Snapshot]:
    """Read the snapshots in a sweep's folder, by file; unreadable ones are left out."""
    # Opening a named pipe would wait for a writer.
    files = sorted(file for file in (sweep / FOLDER).glob("*.json") if file.is_file())
    found = {file: _read(file) for file in files}
    return {file: one for file, one in found.items() if one is not None}


def _read(file: Path) -> Snapshot | None:
    """Read a snapshot; None if the file is not one, as in a folder from elsewhere."""
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or not Snapshot.__required_keys__ <= set(found):
        return None
    texts = (found["commit"], found["diff"], found["diff_left_out"])
    is_one = all(text is None or isinstance(text, str) for text in texts)
    return found if is_one and isinstance(found["files"], dict) else None  # type: ignore[return-value]


def _put(file: Path, content: bytes) -> None:
    """Write a content whole. One of another length was torn by a crash."""
    if file.is_file() and file.stat().st_size == len(content):
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    draft.write_bytes(content)
    draft.replace(file)
