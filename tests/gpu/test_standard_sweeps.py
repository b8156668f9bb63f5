"""Five standard sweeps ask of a GPU what they used to, so that no change goes unnoticed.

The figures are our own, so they do not say what is right. With the version of torch that they come
from, counts must match exactly and bytes nearly; with another one, none may be much higher. After
an intended change:

    python -m tests.gpu.standard_sweeps
"""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from tests.gpu.standard_sweeps import KEPT, PRECISIONS, SWEEPS, count_apart

pytestmark = [pytest.mark.fakegpu, pytest.mark.slow]

ANEW = "if this is intended, write them again: python -m tests.gpu.standard_sweeps"
# Allocated bytes depend a little on when Python collects garbage; those taken from the device, also
# on where the allocator's blocks happened to be.
NEARLY = {"allocated": 0.05, "device": 0.25}
A_FEW = 5  # such as fills, which some versions do with kernels and others through the driver

CASES = [
    pytest.param(name, precision, marks=[] if usual else pytest.mark.long)
    for name in SWEEPS
    for precision in PRECISIONS
    for usual in [(name, precision) == ("cnn on digits", "fp32")]
]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_standard_sweep_launches_moves_and_allocates_what_it_used_to(name, precision):
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
