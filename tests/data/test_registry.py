"""The registry of data sets against the files of the configuration and the tests' own copies."""

from __future__ import annotations

import pytest

from ablate.config import files, schema
from ablate.data.registry import DATASETS
from tests.data.test_fetch import WRITERS


def test_every_data_set_has_its_file_of_knobs_and_every_file_its_data_set():
    assert set(DATASETS) == set(files.groups()["data"]) == set(schema.OPTIONS["data"])
    assert all(files.option("data", name)["name"] == name for name in DATASETS)


def test_every_data_set_is_found_under_its_own_name():
    assert all(dataset.name == name for name, dataset in DATASETS.items())


def test_settings_are_knobs_of_the_data_set():
    for name, dataset in DATASETS.items():
        assert set(dataset.settings) <= set(files.option("data", name))


def test_what_cannot_be_downloaded_says_why():
    assert all(bool(d.unpublished) == (d.published is None) for d in DATASETS.values())


@pytest.mark.parametrize("name", WRITERS)
def test_a_published_set_misses_its_downloads_until_they_are_there(name, tmp_path):
    dataset = DATASETS[name]
    addressed = {tmp_path / file.place for file in dataset.published() if file.urls}
    assert set(dataset.missing(tmp_path)) == addressed
    WRITERS[name](tmp_path)
    assert dataset.missing(tmp_path) == []


def test_the_tests_write_a_copy_of_every_published_set():
    assert set(WRITERS) == {d.name for d in DATASETS.values() if d.published is not None}
