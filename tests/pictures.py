"""Leaves pictures blank for tests that do not look at them.

Laying out a figure and rendering it twice takes a second: most of the time of a report, an
evaluation or an inspection. Figures are still drawn, just not rendered.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1pt" height="1pt" viewBox="0 0 1 1"></svg>'
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)


def leave_blank(patch: pytest.MonkeyPatch) -> None:
    """Save every figure from now on as a blank one, of one point or pixel."""
    patch.setattr(Figure, "savefig", _save_blank)


def _save_blank(figure: Figure, where: Any, **how: Any) -> None:
    kind = how["format"] if "format" in how else Path(where).suffix.removeprefix(".")
    drawn = {"svg": SVG, "png": PNG}[kind]
    if hasattr(where, "write"):
        where.write(drawn)
    else:
        Path(where).write_bytes(drawn)
