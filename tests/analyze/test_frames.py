"""Frames of records: their columns, names of arms, measures, and records that cannot be read."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate import record
from ablate.analyze import frames, naming, run_measures
from ablate.config import schema
from ablate.data import Sizes
from ablate.errors import AblateError
from ablate.launch.describe import first_record
from ablate.metrics import metric_of
from ablate.plan.run import Run
from tests.configs import config

DIGEST = "0123456789abcdef"
ABOUT = {"digest": DIGEST, "sizes": {"train": 1000, "val": 100, "test": 400}}


def write_run(
    folder: Path,
    changes: Mapping[str, Any],
    *,
    seconds: list[float] | None = None,
    digest: str = DIGEST,
    norm: str | None = None,
    **parts: Any,
) -> Path:
    """Write the record of a finished run into `<folder>/<key>/`.

    Args:
        folder: The sweep's folder.
        changes: Changes to the default configuration, as `tests.configs.config` takes them.
        seconds: The seconds of each epoch.
        digest: The digest of the data.
        norm: The option of `norm`, if `changes` sets one of its knobs.
        parts: Parts of the record to replace.

    Returns:
        The run's folder.
    """
    resolved = config(**({} if norm is None else {"norm": norm}), **changes)
    text = json.dumps([resolved, digest], sort_keys=True)
    run = Run(
        resolved,
        digest,
        hashlib.sha256(text.encode()).hexdigest()[:16],
        (1, 8, 8),
        10,
        Sizes(1000, 300, 497),
    )
    number = int(run.key, 16) % 1000 / 10_000  # an error that differs from run to run
    history = [
        {
            "epoch": e,
            "step": 10 * e,
            "lr": 0.1 / e,
            "train/loss": number + 1 / e,
            "train/accuracy": 0.9 - 0.1 / e,
            "val/loss": number + 2 / e,
            "val/accuracy": 0.9 - 0.2 / e - number,
        }
        for e in (1, 2, 3)
    ]
    made = first_record(run) | {
        "status": "finished",
        "metrics": {"test/error": number, "test/loss": 2 * number, "test/accuracy": 1 - number},
        "history": history,
        "parameters": 100,
        "timing": {"started": "2026-01-01T00:00:00+00:00", "seconds": seconds or [1.0] * 3},
        "environment": {
            "commit": "c0ffee",
            "dirty": False,
            "device": "a processor",
            "data": ABOUT | {"digest": digest},
        },
    }
    place = folder / run.key
    place.mkdir(parents=True, exist_ok=True)
    record.write(place, made | parts)
    return place


def write_sweep(folder: Path, grid: Mapping[str, list[Any]], seeds: int, **parts: Any) -> None:
    """Write a finished run for each cell of a grid and each seed."""
    for values in itertools.product(*grid.values()):
        for seed in range(seeds):
            write_run(folder, {"seed": seed, **dict(zip(grid, values, strict=True))}, **parts)


ERROR = [0.5, 0.3, 0.1, 0.2, 0.15, 0.25, 0.2, 0.3]


def entries(errors):
    return [
        {"epoch": i + 1, "step": 10 * (i + 1), "val/accuracy": None if e is None else 1 - e}
        for i, e in enumerate(errors)
    ]


# -- runs ------------------------------------------------------------------------------------------


def test_runs_have_a_row_each_and_a_column_per_knob_that_varies(tmp_path):
    write_sweep(tmp_path, {"dropout.dense": [0.0, 0.5], "norm": ["none", "batch"]}, seeds=3)
    runs = frames.load(tmp_path)
    assert len(runs) == 12
    assert runs["test/error"].dtype == np.float64
    assert {"dropout.dense", "norm.name", "norm.position"} <= set(runs)
    assert "optimizer.lr" not in runs
    assert "optimizer.lr" in frames.load(tmp_path, all_knobs=True)
    found = record.read(Path(runs.loc[5, "path"]))
    assert runs.loc[5, "test/error"] == found["metrics"]["test/error"]
    assert runs.loc[5, "seconds"] == sum(found["timing"]["seconds"])
    assert runs.loc[5, "parameters"] == found["parameters"]


def test_each_column_has_one_type_whatever_the_knobs(tmp_path):
    for i, rate in enumerate((0.0, 0.5, [0.1, 0.2])):
        size = {"data.train_size": None if i else 100}
        write_run(tmp_path, {"dropout.dense": rate, "norm.affine": bool(i), **size}, norm="batch")
    runs = frames.load(tmp_path)
    kinds = {name: str(kind) for name, kind in runs.dtypes.items()}
    assert "object" not in kinds.values()
    assert sorted(runs["dropout.dense"]) == ["0.0", "0.5", "[0.1,0.2]"]
    assert kinds["data.train_size"] == "Int64"
    assert kinds["norm.affine"] == "bool"
    assert kinds["seed"] == "int64"


def test_arms_start_with_everything_off_and_follow_in_numeric_order(tmp_path):
    write_sweep(tmp_path, {"dropout.dense": [0.5, 0.25, 0.0], "norm": ["layer", "none"]}, seeds=2)
    assert list(frames.load(tmp_path)["arm"].unique()) == [
        "dropout.dense=0.0 norm=none",
        "dropout.dense=0.0 norm=layer",
        "dropout.dense=0.25 norm=none",
        "dropout.dense=0.25 norm=layer",
        "dropout.dense=0.5 norm=none",
        "dropout.dense=0.5 norm=layer",
    ]


def test_the_default_comes_first_if_a_knob_has_no_off_value(tmp_path):
    write_sweep(tmp_path, {"optimizer": ["adamw", "sgd", "adam"]}, seeds=1)
    assert frames.load(tmp_path)["arm"].iloc[0] == "optimizer=adam"


def write_arms(tmp_path, *arms, **shared):
    for arm in arms:
        for seed in range(2):
            write_run(tmp_path, {"dropout.dense": arm[0], "seed": seed, **shared}, norm=arm[1])


def test_the_baseline_of_a_leave_one_out_is_the_whole_recipe(tmp_path):
    write_arms(tmp_path, (0.0, "batch"), (0.5, "batch"), (0.5, "none"))
    assert list(frames.load(tmp_path)["arm"].unique()) == [
        "dropout.dense=0.5 norm=batch",
        "dropout.dense=0.0 norm=batch",
        "dropout.dense=0.5 norm=none",
    ]


def test_the_baseline_of_one_at_a_time_is_the_arm_the_others_depart_from(tmp_path):
    write_arms(tmp_path, (0.0, "batch"), (0.25, "batch"), (0.5, "batch"), (0.25, "layer"))
    assert frames.load(tmp_path)["arm"].iloc[0] == "dropout.dense=0.25 norm=batch"


@pytest.mark.parametrize(("design", "first"), [("leave_one_out", 0.5), ("factorial", 0.0)])
def test_the_recorded_design_decides_the_baseline_of_a_single_ingredient(tmp_path, design, first):
    write_arms(tmp_path, (0.0, "none"), (0.5, "none"), design=design)
    assert frames.load(tmp_path)["arm"].iloc[0] == f"dropout.dense={first}"


def test_recorded_arms_keep_their_names_with_the_study_if_there_are_several(tmp_path):
    for arm, rate in (("wet", 0.0), ("dry", 0.5)):
        write_run(tmp_path / "a", {"dropout.dense": rate}, study="one", arm=arm)
    assert list(frames.load(tmp_path)["arm"]) == ["wet", "dry"]
    write_run(tmp_path / "b", {"dropout.dense": 0.7}, study="two", arm="dry")
    write_run(tmp_path / "c", {"dropout.dense": 0.9})
    assert set(frames.load(tmp_path)["arm"]) == {"one: wet", "one: dry", "two: dry", "all runs"}


def test_several_paths_are_read_together_and_no_folder_twice(tmp_path):
    write_sweep(tmp_path / "a", {"seed": [0, 1]}, seeds=1)
    write_sweep(tmp_path / "b", {"epochs": [3]}, seeds=2)
    assert len(frames.load([tmp_path / "a", tmp_path / "b"])) == 4
    assert len(frames.load([tmp_path, tmp_path / "a"])) == 4


def test_a_run_in_two_folders_counts_once_as_finished(tmp_path):
    write_run(tmp_path / "a", {}, status="failed")
    write_run(tmp_path / "b", {})
    read = frames.read(tmp_path)
    assert list(read.runs["status"]) == ["finished"]
    assert len(read.copies) == 1
    assert "/a/" in read.copies[0]
    assert len(read.history["key"].unique()) == 1
    assert len(frames.load(tmp_path)) == 2


def test_a_record_older_than_a_knob_belongs_to_the_arm_with_the_knob_off(tmp_path):
    for seed in range(2):
        write_run(tmp_path, {"dropout.dense": 0.0, "seed": seed})
        write_run(tmp_path, {"dropout.dense": 0.5, "seed": seed})
    old = write_run(tmp_path, {"dropout.dense": 0.0, "seed": 2})
    found = record.read(old)
    del found["config"]["dropout"]["dense"]
    record.write(old, found)
    runs = frames.load(tmp_path)
    assert list(runs["arm"].value_counts()) == [3, 2]
    assert list(runs["dropout.dense"]) == [0, 0, 0, 0.5, 0.5]


def test_the_largest_seed_keeps_its_digits(tmp_path):
    largest = 2**63 - 1
    write_run(tmp_path, {"seed": largest, "seeds.init": largest - 1})
    write_run(tmp_path, {"seed": 0})
    runs = frames.load(tmp_path)
    assert list(runs["seed"]) == [0, largest]
    assert runs["seeds.init"].max() == largest - 1
    assert list(runs["replicate"]) == ["0", f"{largest} init={largest - 1}"]


# -- arms, from configs alone ----------------------------------------------------------------------


def flat(*changes):
    base = {"norm.name": "none", "dropout.dense": 0.0, "seed": 0, "device": "cpu"}
    return [{**base, **change} for change in changes]


def test_knobs_that_come_with_an_option_are_not_named():
    batch = {"norm.name": "batch", "norm.position": "before"}
    assert naming.names(flat({}, batch)) == ["norm=none", "norm=batch"]
    after = batch | {"norm.position": "after"}
    assert naming.names(flat({}, batch, after)) == [
        "norm=none",
        "norm=batch norm.position=before",
        "norm=batch norm.position=after",
    ]


def test_seeds_labels_and_execution_do_not_define_an_arm():
    changes = {"seed": 3, "seeds.init": 4, "device": "cuda", "name": "other", "launch": "inline"}
    assert naming.names(flat({}, changes)) == [naming.ONLY_ARM] * 2


def test_arguments_of_a_users_own_class_define_an_arm():
    assert naming.names(flat({"model.width": 8}, {"model.width": 16})) == [
        "model.width=8",
        "model.width=16",
    ]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5)), min_size=1))
def test_runs_share_an_arm_if_and_only_if_they_differ_only_in_seeds(cells):
    configs = flat(
        *({"dropout.dense": d / 4, "optimizer.lr": 10.0**-r, "seed": s} for d, r, s in cells)
    )
    names = naming.names(configs)
    for (d, r, _), name in zip(cells, names, strict=True):
        alike = [(d, r) == (e, q) for e, q, _ in cells]
        assert alike == [name == other for other in names]


def test_a_pinned_source_is_part_of_the_replicate():
    configs = flat({"seeds.init": None}, {"seeds.init": 7, "seeds.order": 2, "seed": 1})
    assert naming.replicates(configs) == ["0", "1 init=7 order=2"]


def test_an_absent_knob_is_off_unless_its_option_lacks_it():
    configs = [{"dropout.dense": 0.5, "norm.groups": 2}, {"optimizer.momentum": 0.9}, {}]
    assert schema.BY_NAME["optimizer.momentum"].off == 0
    filled = naming.completed(configs)
    assert [one.get("dropout.dense") for one in filled] == [0.5, 0.0, 0.0]
    assert "optimizer.momentum" not in filled[2]


# -- history ---------------------------------------------------------------------------------------


def test_history_has_one_row_per_epoch_in_the_order_of_the_runs(tmp_path):
    write_sweep(tmp_path, {"dropout.dense": [0.5, 0.0]}, seeds=2)
    found, runs = frames.history(tmp_path), frames.load(tmp_path)
    assert list(found["key"].unique()) == list(runs["key"])
    assert list(found["arm"].cat.categories) == ["dropout.dense=0.0", "dropout.dense=0.5"]
    one = record.read(Path(runs.loc[3, "path"]))
    rows = found[found["key"] == one["key"]]
    assert rows["val/accuracy"].tolist() == [e["val/accuracy"] for e in one["history"]]
    assert rows["val/error"].tolist() == [1 - e["val/accuracy"] for e in one["history"]]
    assert rows["epoch"].tolist() == [1, 2, 3]
    assert set(rows["seed"]) == {one["seed"]}


def test_runs_of_unequal_length_and_with_unequal_entries_share_a_frame(tmp_path):
    write_run(tmp_path, {"seed": 0}, history=[{"epoch": 1, "step": 4, "lr": 0.1, "grad": 2.0}])
    write_run(tmp_path, {"seed": 1}, status="failed", history=[])
    write_run(tmp_path, {"seed": 2}, history=entries([0.5, None]))
    found = frames.history(tmp_path)
    assert found["seed"].tolist() == [0, 2, 2]
    assert found["val/error"].tolist() == pytest.approx([np.nan, 0.5, np.nan], nan_ok=True)
    assert found["grad"].tolist() == pytest.approx([2.0, np.nan, np.nan], nan_ok=True)
    assert found["epoch"].dtype == np.int64


def test_a_sweep_that_recorded_no_epoch_has_an_empty_history(tmp_path):
    write_run(tmp_path, {}, status="failed", history=[])
    found = frames.history(tmp_path)
    assert len(found) == 0
    assert {"key", "arm", "seed", "epoch", "step", "lr"} <= set(found)


# -- records that cannot be read -------------------------------------------------------------------

BROKEN = {
    "truncated": '{"schema": 1, "key":',
    "foreign": '{"name": "a package", "version": 3}',
    "newer": '{"schema": 99, "key": "k", "status": "finished"}',
    "bare": '{"schema": 1, "key": "k", "status": "finished"}',
    "hollow": json.dumps(
        {
            "schema": 1,
            "key": "k",
            "status": "finished",
            "seed": 0,
            "config": {"a": 1},
            "metrics": {},
            "history": [3],
            "timing": {"seconds": []},
            "environment": {},
        }
    ),
    "untimed": json.dumps(
        {
            "schema": 1,
            "key": "k",
            "status": "finished",
            "seed": 0,
            "config": {"seed": 0},
            "metrics": {},
            "history": [],
            "timing": {},
            "environment": {},
        }
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_is_named_and_the_rest_is_read(tmp_path, kind):
    write_run(tmp_path, {})
    (tmp_path / kind).mkdir()
    (tmp_path / kind / "record.json").write_text(BROKEN[kind])
    read = frames.read(tmp_path)
    assert len(read.runs) == 1
    (fault,) = read.unreadable
    assert f"{kind}/record.json" in fault
    for reading in (frames.load, frames.history):
        with pytest.warns(UserWarning, match=f"left out: .*{kind}/record.json"):
            assert len(reading(tmp_path)["key"].unique()) == 1


def test_a_folder_of_broken_records_alone_is_an_error_that_names_each(tmp_path):
    for kind, text in BROKEN.items():
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "record.json").write_text(text)
    with pytest.raises(AblateError) as caught:
        frames.read(tmp_path)
    assert len(caught.value.faults) == len(BROKEN)


@pytest.mark.parametrize("reading", [frames.load, frames.read, frames.history])
def test_a_path_without_records_is_named(tmp_path, reading):
    with pytest.raises(AblateError, match="nowhere"):
        reading(tmp_path / "nowhere")
    with pytest.raises(AblateError, match="empty"):
        reading([])


@pytest.mark.parametrize("status", ["failed", "diverged", "running", "interrupted"])
def test_a_sweep_without_finished_runs_still_gives_a_frame(tmp_path, status):
    write_run(tmp_path, {}, status=status, metrics={}, parameters=None, environment={})
    runs = frames.load(tmp_path)
    # The record says "running", but no process holds the run.
    assert list(runs["status"]) == ["interrupted" if status == "running" else status]
    assert runs["parameters"].isna().all()


# -- files -----------------------------------------------------------------------------------------


def test_frames_survive_a_round_trip_through_parquet(tmp_path):
    write_sweep(tmp_path / "runs", {"dropout.dense": [0.0, 0.5, [0.1, 0.2]]}, seeds=2)
    write_run(tmp_path / "runs", {"seed": 9, "data.train_size": 70}, status="failed", metrics={})
    read = frames.read(tmp_path / "runs")
    files = frames.write_frames({"runs": read.runs, "history": read.history}, tmp_path / "frames")
    assert [file.name for file in files] == ["runs.parquet", "history.parquet"]
    for file, frame in zip(files, (read.runs, read.history), strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(file), frame, check_categorical=False)


# -- measures --------------------------------------------------------------------------------------


def test_measures_of_a_curve_by_hand():
    history = entries(ERROR)
    assert run_measures.best_epoch(history) == 3
    assert run_measures.lowest(history) == pytest.approx(0.1)
    assert run_measures.epochs_to(history, 0.2) == 3
    assert run_measures.epochs_to(history, 0.31) == 2
    # Trapezoids: half of the first and the last, all of the others, over seven epochs.
    assert run_measures.area(history) == pytest.approx((0.25 + 1.2 + 0.15) / 7)
    # The last two of eight epochs: 0.2 and 0.3, each 0.05 from their mean, over n - 1 = 1.
    assert run_measures.spread(history) == pytest.approx(math.sqrt(2 * 0.05**2))


@given(st.lists(st.floats(0, 1), min_size=5, max_size=40))
def test_measures_keep_their_bounds(errors):
    history = entries(errors)
    best = run_measures.best_epoch(history)
    assert 1 - history[best - 1]["val/accuracy"] == run_measures.lowest(history)
    assert run_measures.epochs_to(history, run_measures.lowest(history)) == best
    assert min(errors) - 1e-9 <= run_measures.area(history) <= max(errors) + 1e-9
    last = errors[-math.ceil(len(errors) / 4) :]
    assert run_measures.spread(history) == pytest.approx(np.std(last, ddof=1), abs=1e-12)


def test_a_target_that_is_never_reached_has_no_epoch():
    assert math.isnan(run_measures.epochs_to(entries(ERROR), 0.05))


@pytest.mark.parametrize("history", [[], entries([None, None])])
def test_a_run_without_validation_has_no_measures_of_a_curve(history):
    assert run_measures.best_epoch(history) is None
    for measure in (run_measures.lowest, run_measures.area, run_measures.spread):
        assert math.isnan(measure(history))


def test_four_epochs_are_too_few_for_a_spread_over_the_last_quarter():
    assert math.isnan(run_measures.spread(entries([0.5, 0.4, 0.3, 0.2])))


def test_a_frame_holds_cost_and_epochs_to_a_target(tmp_path):
    write_run(tmp_path, {"batch_size": 32}, history=entries(ERROR), seconds=[0.5] * 8)
    (row,) = frames.read(tmp_path, target=0.2).runs.to_dict("records")
    assert row["seconds"] == 4
    assert row["images_per_second"] == 80 * 32 / 4
    assert row["epochs_to_target"] == 3
    assert row["val/error_lowest"] == pytest.approx(0.1)
    assert row["epochs_done"] == 8


def test_metrics_are_listed_if_any_run_has_them(tmp_path):
    write_run(tmp_path, {"seed": 0}, metrics={"test/error": 0.1, "val/error": None})
    write_run(tmp_path, {"seed": 1}, metrics={"test/error": None})
    listed = run_measures.metrics_of(frames.load(tmp_path))
    assert "test/error" in listed
    assert "val/error" not in listed
    assert not {"seed", "epochs_done", "status"} & set(listed)


@pytest.mark.parametrize(
    ("metric", "side"),
    [
        ("test/error", "lower"),
        ("train/loss", "lower"),
        ("val/ece", "lower"),
        ("test/brier", "lower"),
        ("val/error_area", "lower"),
        ("seconds", "lower"),
        ("test/accuracy", "higher"),
        ("images_per_second", "higher"),
        ("gap/loss", None),
        ("gap/accuracy", None),
        ("epochs_to_best", None),
    ],
)
def test_the_better_side_of_a_metric(metric, side):
    assert metric_of(metric).better == side


def test_epochs_to_a_target_are_the_same_whether_added_later_or_read_at_once(tmp_path):
    for seed, accuracies in enumerate(([0.5, 0.9, 0.8], [0.1, 0.2, 0.3], [0.9, 0.1, 0.1])):
        history = [
            {"epoch": i, "step": i, "train/loss": 1.0, "val/accuracy": accuracy}
            for i, accuracy in enumerate(accuracies, start=1)
        ]
        write_run(tmp_path, {"seed": seed}, history=history, metrics={"test/error": 0.1})
    added = frames.with_target(frames.read(tmp_path), 0.2).runs["epochs_to_target"]
    read = frames.read(tmp_path, target=0.2).runs["epochs_to_target"]
    pd.testing.assert_series_equal(added, read)
    assert added.tolist()[::2] == [2, 1]
    assert pd.isna(added[1])
