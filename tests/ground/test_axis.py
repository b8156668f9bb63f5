"""The run axis: sums that no mate can change, and boxes in images."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate import axis
from tests import reference

UNIT = st.floats(1e-9, 1 - 1e-9)
SIDES = st.integers(1, 12)


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_sum_is_that_of_exact_arithmetic():
    for count in (1, 2, 3, 64, 1000, 4097):
        x = randn(3, count, seed=count, dtype=torch.float64)
        expected = [math.fsum(row) for row in x.tolist()]
        assert axis.pairwise(x).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_large_sum_has_the_same_bits_with_any_mates_and_threads():
    x = randn(3, 200_003)
    alone = axis.total([x[:1]])
    torch.set_num_threads(2)
    try:
        assert torch.equal(axis.total([x])[:1], alone)
        assert torch.equal(axis.total([x[:1]]), alone)
    finally:
        torch.set_num_threads(1)


def test_a_row_is_found_by_a_number_and_by_a_counter_on_the_device():
    table = randn(5, 3)
    assert torch.equal(axis.row(table, 3), table[3])
    assert torch.equal(axis.row(table, torch.tensor(3)), table[3])


@given(
    st.lists(st.tuples(UNIT, UNIT, st.integers(0, 14), st.integers(0, 14)), min_size=1),
    SIDES,
    SIDES,
)
def test_a_box_is_centred_and_clipped(boxes, height, width):
    u, v, high, wide = (torch.tensor(column) for column in zip(*boxes, strict=True))
    masks = axis.box_mask(u.double(), v.double(), high, wide, height, width)
    for mask, (a, b, c, d) in zip(masks, boxes, strict=True):
        a, b = float(torch.tensor(a)), float(torch.tensor(b))
        assert torch.equal(mask, reference.box(a, b, c, d, height, width))
