"""Work spread over processes, and records read that way."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from ablate import environment
from ablate.analyze import frames, read_records
from ablate.analyze.spread_out import spread_out
from tests.analyze.test_frames import write_sweep


def square(number: int) -> int:
    return number * number


def square_at_home(asked: tuple[int, int]) -> int:
    number, home = asked
    if os.getpid() != home:
        os._exit(1)  # like a process that the system kills for its memory
    return number * number


@pytest.mark.parametrize("cores", [1, 2])
def test_results_come_in_the_order_of_the_parts(cores):
    assert spread_out(square, range(20), cores) == [n * n for n in range(20)]


@pytest.mark.slow
def test_the_work_of_a_killed_process_is_done_by_its_parent():
    parts = [(number, os.getpid()) for number in range(20)]
    assert spread_out(square_at_home, parts, 2) == [n * n for n in range(20)]


def test_two_processes_read_the_same_records_as_one(tmp_path, monkeypatch):
    write_sweep(tmp_path, {"dropout.dense": [0.0, 0.5]}, seeds=3)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "record.json").write_text("{")
    alone = frames.read(tmp_path, shown=True)
    monkeypatch.setattr(read_records, "_MANY", 1)
    monkeypatch.setattr(read_records, "_AT_ONCE", 1)
    monkeypatch.setattr(environment, "cores", lambda: 2)
    shared = frames.read(tmp_path, shown=True)
    pd.testing.assert_frame_equal(shared.runs, alone.runs)
    pd.testing.assert_frame_equal(shared.history, alone.history)
    assert shared.unreadable == alone.unreadable
    assert len(shared.unreadable) == 1
    assert shared.glimpses == alone.glimpses
    assert len(shared.glimpses) == 6
