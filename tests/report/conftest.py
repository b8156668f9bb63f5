"""Reports that several files of tests read, and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import reports


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the report of a sound sweep."""
    return reports.write_plain(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the report of a sweep with everything wrong."""
    return reports.write_troubled(tmp_path_factory.mktemp("troubled"))
