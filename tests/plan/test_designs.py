"""Designs: the arms that given factors lead to, counted and named by hand."""

from __future__ import annotations

from math import prod

from hypothesis import given
from hypothesis import strategies as st

from ablate.plan import designs

TWO = {"dropout.dense": ["0", "0.5"], "norm": ["none", "batch", "layer"]}
INGREDIENTS = {"dropout": ["dropout.dense=0.5"], "norm": ["norm=batch"], "decay": ["a=1", "b=2"]}
FACTORS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.integers(0, 9).map(str), min_size=2, max_size=4, unique=True),
    min_size=1,
    max_size=4,
)


def test_a_factorial_has_every_combination() -> None:
    arms = designs.factorial(TWO)
    assert list(arms) == [
        f"dropout.dense={rate} norm={norm}"
        for rate in ("0", "0.5")
        for norm in ("none", "batch", "layer")
    ]
    assert arms["dropout.dense=0.5 norm=layer"] == ("dropout.dense=0.5", "norm=layer")


def test_one_at_a_time_changes_one_factor_at_a_time_from_the_first_values() -> None:
    assert designs.one_at_a_time(TWO) == {
        "dropout.dense=0 norm=none": ("dropout.dense=0", "norm=none"),
        "dropout.dense=0.5": ("dropout.dense=0.5", "norm=none"),
        "norm=batch": ("dropout.dense=0", "norm=batch"),
        "norm=layer": ("dropout.dense=0", "norm=layer"),
    }


def test_leave_one_out_removes_each_ingredient_from_the_full_recipe() -> None:
    assert designs.leave_one_out(INGREDIENTS) == {
        "full": ("dropout.dense=0.5", "norm=batch", "a=1", "b=2"),
        "without dropout": ("norm=batch", "a=1", "b=2"),
        "without norm": ("dropout.dense=0.5", "a=1", "b=2"),
        "without decay": ("dropout.dense=0.5", "norm=batch"),
    }


def test_add_one_in_adds_each_ingredient_to_the_plain_recipe() -> None:
    assert designs.add_one_in(INGREDIENTS) == {
        "plain": (),
        "with dropout": ("dropout.dense=0.5",),
        "with norm": ("norm=batch",),
        "with decay": ("a=1", "b=2"),
    }


def test_in_a_grid_the_first_value_is_off_and_the_last_is_on() -> None:
    assert designs.of_grid("leave_one_out", TWO) == {
        "full": ("dropout.dense=0.5", "norm=layer"),
        "without dropout.dense": ("dropout.dense=0", "norm=layer"),
        "without norm": ("dropout.dense=0.5", "norm=none"),
    }
    assert designs.of_grid("add_one_in", TWO) == {
        "plain": ("dropout.dense=0", "norm=none"),
        "with dropout.dense": ("dropout.dense=0.5", "norm=none"),
        "with norm": ("dropout.dense=0", "norm=layer"),
    }


@given(FACTORS)
def test_a_design_has_the_expected_number_of_distinct_arms(
    factors: dict[str, list[str]],
) -> None:
    counts = {
        "factorial": prod(len(values) for values in factors.values()),
        "one_at_a_time": 1 + sum(len(values) - 1 for values in factors.values()),
        "leave_one_out": 1 + len(factors),
        "add_one_in": 1 + len(factors),
    }
    for design, count in counts.items():
        arms = designs.of_grid(design, factors)
        assert len(arms) == len(set(arms.values())) == count
        assert all(len(setting) == len(factors) for setting in arms.values())
