"""Our launcher passes the conformance suite that Hydra ships for launchers."""

from __future__ import annotations

import pytest
from hydra.test_utils.launcher_common_tests import LauncherTestSuite


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Future Hydra versions:UserWarning")
@pytest.mark.parametrize(("launcher_name", "overrides"), [("ablate", [])])
class TestAblateLauncher(LauncherTestSuite):
    """Runs the suite; its tasks are not ours, so the launcher calls them one job after another."""
