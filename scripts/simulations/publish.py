"""The command line of simulations that publish one table, and the rounding of their shares."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from simulations.scenarios import PUBLISHED


def percent(share: float, studies: int) -> tuple[float, float]:
    """Return a share of studies and its standard error, in %, rounded for publication."""
    error = math.sqrt(share * (1 - share) / studies)
    return round(100 * share, 2), round(100 * error, 2)


def publish(doc: str | None, table: Callable[[int], pd.DataFrame], name: str) -> None:
    """Serve a simulation's command line: simulate, print the table, and write it.

    Args:
        doc: The script's docstring; its first line describes the command.
        table: Makes the table, given how many studies to draw for each row.
        name: Name of the CSV file.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=20_000, help="to draw for each row")
    parser.add_argument("--out", type=Path, default=PUBLISHED / "simulations")
    asked = parser.parse_args()
    found = table(asked.studies)
    print(found.to_string(index=False))
    asked.out.mkdir(parents=True, exist_ok=True)
    found.to_csv(asked.out / name, index=False)
