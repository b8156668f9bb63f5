"""The table of knobs, the shipped configurations and conf/README.md agree."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.config import files, schema
from ablate.config.schema import BY_NAME, KNOBS, Knob
from ablate.config.types import Choice, Flag, ListOf, Real, Text, Type, Whole

ROOT = Path(__file__).parents[2]
GROUPS = sorted(files.groups())
OPTIONS = [(group, option) for group in GROUPS for option in files.groups()[group]]
# Knobs without a default, which the user must give.
GIVEN = {
    *(("data", name, "root") for name in ("folder", "parquet", "npz", "csv")),
    ("data", "custom", "_target_"),
    ("model", "custom", "_target_"),
    ("norm", "custom", "_target_"),
}


def shipped() -> list[tuple[str, Any, str]]:
    """List every knob in every file of conf/: its name, its default, and where it is."""
    found = [(name, value, "config") for name, value in schema.flatten(files.top()).items()]
    for group, option in OPTIONS:
        values = schema.flatten(files.option(group, option), f"{group}.")
        found += [(name, value, f"{group}={option}") for name, value in values.items()]
    return found


# -- the page --------------------------------------------------------------------------------------


def test_the_page_of_knobs_matches_the_schema() -> None:
    script = [sys.executable, str(ROOT / "scripts/write_conf_readme.py"), "--print"]
    printed = subprocess.run(script, capture_output=True, check=True, cwd=ROOT).stdout.decode()
    assert printed == (ROOT / "conf/README.md").read_text(encoding="utf-8"), (
        "run scripts/write_conf_readme.py"
    )


def test_the_page_names_every_knob_and_every_option() -> None:
    text = (ROOT / "conf/README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`]+)`", text))
    assert set(BY_NAME) <= named
    assert {option for _, option in OPTIONS} <= named


# -- the files in conf/ ----------------------------------------------------------------------------


def test_every_key_in_the_files_is_a_knob() -> None:
    assert [(name, where) for name, _, where in shipped() if name not in BY_NAME] == []


def test_every_knob_is_in_some_file() -> None:
    # A user's own activation replaces a word; no file has it.
    own = {"model.activation._target_"}
    assert set(BY_NAME) - {name for name, _, _ in shipped()} == own


def test_every_default_is_legal() -> None:
    faults = [
        (where, fault)
        for name, value, where in shipped()
        if value != "???" and (fault := BY_NAME[name].fault(value))
    ]
    assert faults == []


def test_only_knobs_that_cannot_have_a_default_lack_one() -> None:
    left = {
        (group, option, name)
        for group, option in OPTIONS
        for name, value in files.option(group, option).items()
        if value == "???"
    }
    assert left == GIVEN


@pytest.mark.parametrize("group", GROUPS)
def test_the_files_of_a_group_are_its_options(group: str) -> None:
    options = files.groups()[group]
    assert set(options) == set(schema.OPTIONS.get(group, options))
    for option in options:
        assert files.option(group, option).get("name", option) == option


def test_a_group_that_affects_results_has_a_knob_for_its_choice() -> None:
    for group, options in schema.OPTIONS.items():
        assert BY_NAME[f"{group}.name"].type == Choice(options)


# -- names and roles, as designed ------------------------------------------------------------------

DESIGNED = {
    "data": "root train_size val_size image_size",
    "model": "channels hidden kernel_size activation pool",
    "dropout": "input conv dense output kind scaling",
    "norm": "position affine eval",
    "init": "std gain bias",
    "optimizer": "lr weight_decay",
    "schedule": "warmup_epochs",
    "regularize": "l1 l2 max_norm label_smoothing mixup cutmix input_noise stochastic_depth"
    " clip_norm clip_value early_stopping ema swa sam",
    "seeds": "init order dropout augment",
    "checkpoint": "every",
    "": "seed epochs batch_size precision deterministic select device out name save rerun",
}
DESIGNED_WORDS = {
    "model.pool": ("max", "avg", "none"),
    "norm.name": ("none", "batch", "layer", "group", "instance", "custom"),
    "norm.position": ("before", "after"),
    "dropout.scaling": ("inverted", "test", "none"),
    "norm.eval": ("running", "batch"),
    "precision": ("auto", "fp32", "bf16", "fp64"),
    "select": ("last", "best"),
    "device": ("auto", "cpu", "cuda"),
    "save": ("none", "weights", "all"),
    "rerun": ("none", "failed", "diverged", "all"),
}


def test_the_designed_names_exist() -> None:
    names = {
        f"{group}.{name}" if group else name
        for group, some in DESIGNED.items()
        for name in some.split()
    }
    assert names - set(BY_NAME) == set()


def test_choices_have_the_designed_words() -> None:
    assert {name: BY_NAME[name].type for name in DESIGNED_WORDS} == {
        name: Choice(words) for name, words in DESIGNED_WORDS.items()
    }


def test_names_are_unique_lower_case_and_at_most_two_deep() -> None:
    assert len(BY_NAME) == len(KNOBS)
    for name in set(BY_NAME) - {"model.activation._target_"}:
        assert re.fullmatch(r"([a-z]+\.)?(_target_|[a-z][a-z0-9_]*)", name)


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_a_knob_has_a_known_role_and_place_and_a_legal_off_value(knob: Knob) -> None:
    assert knob.role in ("result", "execution", "label")
    assert knob.place in ("axis", "graph")
    assert knob.help
    assert not knob.help.endswith(".")
    if knob.off is not schema.UNSET:
        assert knob.fault(knob.off) is None
    assert knob.role == "result" or knob.off is schema.UNSET


def test_knobs_that_only_place_or_execute_a_run_do_not_affect_results() -> None:
    roles = {role: {k.name for k in KNOBS if k.role == role} for role in ("execution", "label")}
    assert roles == {
        "execution": {
            *("device", "deterministic", "save", "checkpoint.every", "rerun", "fail_fast"),
            *("data.cache_gb", "retries", "max_failed"),
            *(
                "launch",
                "stack.width",
                "stack.capture",
                "stack.compile",
                "slurm.cluster",
                "slurm.partition",
                "slurm.minutes",
            ),
            *("slurm.cpus", "slurm.gpus", "slurm.memory", "design", "max_runs", "scale", "report"),
            *("slurm.account", "slurm.qos", "slurm.constraint", "slurm.flags", "slurm.at_once"),
            *("slurm.stacks", "slurm.abreast", "ray.address", "ray.cpus", "ray.gpus"),
        },
        "label": {"out", "name", "data.root"},
    }


# -- types admit what they say ---------------------------------------------------------------------

ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(),
    st.lists(st.floats(-2, 2), max_size=3),
)
BOUNDS = st.floats(-100, 100).map(lambda x: round(x, 3))


@st.composite
def reals(draw: st.DrawFn) -> Real:
    low, high = sorted((draw(BOUNDS), draw(BOUNDS)))
    return Real(low, high + 1, draw(st.booleans()), draw(st.booleans()))


@given(reals())
def test_a_bound_belongs_to_the_range_if_and_only_if_its_bracket_is_square(type_: Real) -> None:
    text = str(type_).removeprefix("a number in ")
    assert type_.admits(type_.low) == text.startswith("[")
    assert type_.admits(type_.high) == text.endswith("]")
    assert not type_.admits(math.nextafter(type_.low, -math.inf))
    assert not type_.admits(math.nextafter(type_.high, math.inf))
    assert type_.admits((type_.low + type_.high) / 2)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Real(), "a number"),
        (Real(0), "a number ≥ 0"),
        (Real(0, open_low=True), "a number > 0"),
        (Real(0, 1, open_high=True), "a number in [0, 1)"),
        (Whole(1), "a whole number ≥ 1"),
        (Whole(1, 9), "a whole number from 1 to 9"),
        (Flag(), "true or false"),
        (Choice(("a", "b", "c")), "a, b or c"),
        (ListOf(Whole(1)), "a list, each a whole number ≥ 1"),
        (ListOf(Whole(1), at_least=1), "a list of at least 1, each a whole number ≥ 1"),
        (ListOf(Real(0), or_one=True), "a number ≥ 0, or a list with one for each layer"),
        (Text(example="a directory"), "a directory"),
    ],
)
def test_a_type_reads_as_words(type_: Type, text: str) -> None:
    assert str(type_) == text


@given(ANY)
def test_a_number_is_not_a_truth_value_and_neither_too_large_nor_too_small(value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    assert Real().admits(value) == (number and (value == 0 or 1e-30 <= abs(value) <= 1e30))


@pytest.mark.parametrize("value", [1e308, -1e308, 10**400, math.inf, math.nan, 5e-324, -1e-40])
def test_a_number_outside_single_precision_is_not_legal(value: float) -> None:
    assert not Real().admits(value)


def test_a_number_is_rounded_to_single_precision_before_comparing_with_an_open_bound() -> None:
    rate = Real(0, 1, open_high=True)
    assert np.float32(0.99999999) == 1
    assert not rate.admits(0.99999999)
    assert rate.admits(0.9999999) == (np.float32(0.9999999) < 1)


@given(st.integers(-5, 15), st.integers(0, 5), st.integers(5, 10))
def test_a_whole_number_is_between_its_bounds(value: int, low: int, high: int) -> None:
    assert Whole(low, high).admits(value) == (low <= value <= high)


@given(ANY)
def test_a_whole_number_is_neither_a_float_nor_a_truth_value(value: Any) -> None:
    type_ = Whole(-(2**200), 2**200)
    assert type_.admits(value) == (isinstance(value, int) and not isinstance(value, bool))


@given(st.lists(st.integers(-1, 3), max_size=4), st.integers(0, 3), st.booleans())
def test_a_list_has_its_stated_length_and_legal_elements(
    values: list[int], least: int, or_one: bool
) -> None:
    type_ = ListOf(Whole(0), at_least=least, or_one=or_one)
    assert type_.admits(values) == (len(values) >= least and min(values, default=0) >= 0)
    assert type_.admits(1) == or_one
    assert not type_.admits(-1)


@given(st.text(max_size=8))
def test_a_choice_admits_only_its_words(word: str) -> None:
    type_ = Choice(("on", "off"))
    assert type_.admits(word) == (word in ("on", "off"))


@given(st.sampled_from(KNOBS), ANY)
def test_a_fault_names_the_knob_and_the_legal_values(knob: Knob, value: Any) -> None:
    fault = knob.fault(value)
    legal = (
        knob.type.admits(value)
        or (value is None and bool(knob.null))
        or (isinstance(value, str) and value in knob.words)
    )
    assert (fault is None) == legal
    if fault is not None:
        assert fault.startswith(f"{knob.name}=")
        assert f"it takes {knob.legal}" in fault


@pytest.mark.parametrize("name", ["a/b", "..", ".x", "published", "", "a\0b", "a\\b"])
def test_a_folder_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    assert BY_NAME["name"].fault(name) is not None


@pytest.mark.parametrize("name", ["published2", "a b", "a.b", "é", 5, None])
def test_any_other_folder_name_is_accepted(name: Any) -> None:
    assert BY_NAME["name"].fault(name) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("0.5h", 1800), ("7", 7), (2.5, 2.5)]
)
def test_a_time_is_converted_to_seconds(text: str | float, seconds: float) -> None:
    assert BY_NAME["checkpoint.every"].fault(text) is None
    assert schema.seconds(text) == seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ([0.1, [2]], "[0.1,[2]]"),
        ("relu", "relu"),
        ("0.1", "'0.1'"),
        ("[8]", "'[8]'"),
        ("null", "'null'"),
        ("8pm", "8pm"),
    ],
)
def test_a_value_is_shown_as_the_command_line_takes_it(value: Any, text: str) -> None:
    assert schema.shown(value) == text


@given(
    st.recursive(
        st.integers(),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2),
        max_leaves=6,
    ).filter(lambda tree: isinstance(tree, dict))
)
def test_a_flat_name_reads_the_nested_value(tree: dict[str, Any]) -> None:
    flat = schema.flatten(tree)
    assert all(schema.get(tree, name) == value for name, value in flat.items())
    assert schema.get(tree, "nowhere.at.all", "default") == "default"
