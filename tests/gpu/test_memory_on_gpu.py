"""What is planned for a stack's memory, against what torch's allocator gives on the fake device.

Workspaces are left out: those of cuBLAS are set small here, and the device has none for cuDNN.
"""

from __future__ import annotations

import pytest

from ablate.train.footprint import UNCERTAINTY
from tests.gpu.memory_on_gpu import OTHERS, STANDARD, planned_and_taken

pytestmark = [pytest.mark.fakegpu, pytest.mark.long]

CASES = [("standard", name) for name in STANDARD] + [("others", name) for name in OTHERS]


@pytest.mark.parametrize(("cases", "name"), CASES)
def test_what_is_planned_is_what_is_taken(cases, name, told_once):
    few = {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    found = told_once(planned_and_taken, cases, memory=80 * 10**9, **few)[name]
    planned, taken = found["tensors"]
    assert planned == pytest.approx(taken, rel=UNCERTAINTY), found
