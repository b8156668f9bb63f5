"""Replaces files atomically: a reader finds the old version or the new one, never a part."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a draft beside a file, and rename it to the file once it is complete and on disk.

    Args:
        path: The file; it stays as it is if the block raises.

    Yields:
        A binary file to write to.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; non-finite numbers become null.

    The layout is for human readers: each name has a line, and below it each group of knobs, each
    epoch and each metric has a line.

    Raises:
        TypeError: JSON cannot hold a value; the old file stays.
    """
    text = laid_out(value)
    with replacing(path) as file:
        file.write(text.encode())


def laid_out(value: Any) -> str:
    """Lay out a value as the text of a JSON file; non-finite numbers become null.

    Raises:
        TypeError: JSON cannot hold a value.
    """
    try:
        return _laid_out(value)
    except ValueError:
        return _laid_out(_finite(value))


_DEEPEST = 2  # the last level whose entries have lines of their own


def _laid_out(value: Any, level: int = 1) -> str:
    """Format a value; below the deepest level on one line, with json's own fast encoder.

    Raises:
        ValueError: A number is not finite.
    """
    if level > _DEEPEST or not value or not isinstance(value, dict | list):
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    if isinstance(value, dict):
        entries = [f"{json.dumps(str(k))}: {_laid_out(v, level + 1)}" for k, v in value.items()]
    else:
        entries = [_laid_out(entry, level + 1) for entry in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    inner = "\n" + " " * level
    return f"{first}{inner}{f',{inner}'.join(entries)}{inner[:-1]}{last}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
