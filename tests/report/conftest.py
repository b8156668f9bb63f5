"""Reports that several test files read, and that no test changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import reports


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report on a healthy sweep."""
    return reports.write_plain(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report on a sweep in which everything went wrong."""
    return reports.write_troubled(tmp_path_factory.mktemp("troubled"))
