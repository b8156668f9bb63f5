"""What five standard sweeps ask of a GPU is what it was: a change of it is seen, and meant.

The figures kept are our own, so they say nothing about right and wrong. With the version of torch
that they are of, counts hold exactly and bytes nearly; with another one, none is much higher. After
a change that is meant:

    python -m tests.gpu.standard_sweeps
"""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from tests.gpu.standard_sweeps import KEPT, PRECISIONS, SWEEPS, count_apart

pytestmark = [pytest.mark.fakegpu, pytest.mark.slow]

ANEW = "if this is meant, write them anew: python -m tests.gpu.standard_sweeps"
# Bytes held depend a little on when Python collects garbage; those that the allocator took from the
# device, also on where its blocks happened to lie.
NEARLY = {"allocated": 0.05, "device": 0.25}
A_FEW = 5  # fills of memory, say, which one version has kernels do and another the driver

CASES = [
    pytest.param(name, precision, marks=[] if usual else pytest.mark.long)
    for name in SWEEPS
    for precision in PRECISIONS
    for usual in [(name, precision) == ("cnn on digits", "fp32")]
]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_standard_sweep_launches_moves_and_holds_what_it_did(name, precision):
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    found = _flat(count_apart(name, precision))
    expected = _flat(kept["sweeps"][f"{name}, {precision}"])
    if kept["torch"] != version("torch"):
        higher = {figure: n for figure, n in found.items() if n > 1.15 * expected[figure] + A_FEW}
        assert not higher, f"{expected}: {ANEW}"
        return
    for figure in expected:
        if (kind := figure.split()[-1]) in NEARLY:
            expected[figure] = pytest.approx(expected[figure], rel=NEARLY[kind])
    assert found == expected, ANEW


def _flat(found):
    return {f"{part} {name}": n for part, figures in found.items() for name, n in figures.items()}
