"""Fixtures that tests on the fake devices share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.gpu.fake.running import on_fake_gpu


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of this test session share."""
    own = tmp_path_factory.getbasetemp()
    base = own.parent if own.name.startswith("popen-") else own  # pytest-xdist gives each its own
    found = base / "gpu"
    found.mkdir(exist_ok=True)
    return found


@pytest.fixture(scope="session")
def told_once(shared_folder: Path) -> Callable[..., Any]:
    """Return `on_fake_gpu`, cached over all workers: the same call is made only once."""

    def call(function: Callable[..., Any], *arguments: str, **how: Any) -> Any:
        asked = repr((function.__module__, function.__name__, arguments, sorted(how.items())))
        path = shared_folder / (hashlib.sha256(asked.encode()).hexdigest()[:16] + ".json")
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                told = on_fake_gpu(function, *arguments, **how)
                path.write_text(json.dumps(told), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    return call
