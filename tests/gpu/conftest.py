"""Where tests on the fake devices keep what they share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that all workers of this test session share."""
    own = tmp_path_factory.getbasetemp()
    base = own.parent if own.name.startswith("popen-") else own  # pytest-xdist gives each its own
    found = base / "gpu"
    found.mkdir(exist_ok=True)
    return found
