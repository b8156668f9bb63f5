"""The planned memory of a stack, against what torch's allocator uses on the fake device.

Workspaces are not covered: cuBLAS's are set small here, and the device has none for cuDNN.
"""

from __future__ import annotations

import pytest

from ablate.train.footprint import UNCERTAINTY
from tests.gpu.memory_on_gpu import OTHERS, STANDARD, planned_and_taken

pytestmark = [pytest.mark.fakegpu, pytest.mark.long]

CASES = [("standard", name) for name in STANDARD] + [("others", name) for name in OTHERS]


@pytest.mark.parametrize(("cases", "name"), CASES)
def test_planned_memory_is_close_to_used_memory(cases, name, told_once):
    few = {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    found = told_once(planned_and_taken, cases, memory=80 * 10**9, **few)[name]
    planned, taken = found["tensors"]
    assert planned == pytest.approx(taken, rel=UNCERTAINTY), found
