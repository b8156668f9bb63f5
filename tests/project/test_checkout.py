"""A checkout runs without being installed, with only PYTHONPATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOKED_BEFORE = """
from hydra.core.plugins import Plugins
Plugins.instance()
from ablate.cli import main
main()
"""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("program", [("-m", "ablate"), ("-c", LOOKED_BEFORE)])
def test_hydra_finds_our_sweeper_in_a_checkout_that_is_not_installed(
    program: tuple[str, str], tmp_path: Path
) -> None:
    # -S skips the site's .pth files, and with them an editable installation.
    installed = [path for path in sys.path if "plugins" not in path and Path(path) != ROOT]
    done = subprocess.run(
        [sys.executable, "-S", *program, "plan", "-m", "seed=0,1", "model=mlp"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *installed])},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert "now: 2 missing" in done.stdout
