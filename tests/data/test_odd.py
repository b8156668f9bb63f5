"""Folders as people have them: each is read right, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from ablate import data
from ablate.config import files
from ablate.errors import AblateError
from tests.files import listing
from tests.odd_images import CASES


def names():
    seen = {}
    for case in CASES:
        seen[case.what] = seen.get(case.what, 0) + 1
        yield case.what if seen[case.what] == 1 else f"{case.what} {seen[case.what]}"


def config(root, **settings):
    return files.option("data", "folder") | {"root": str(root), "image_size": 8} | settings


def test_there_are_many_odd_folders():
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=list(names()))
def test_an_odd_folder_is_read_right_or_refused_with_the_reason(case, tmp_path):
    root = tmp_path / "photos"
    case.make(root)
    before = listing(tmp_path) if "link" not in case.what else None
    if case.gives is None:
        with pytest.raises(AblateError) as caught:
            data.read(config(root, **case.settings))
        said = str(caught.value)
    else:
        source = data.read(config(root, **case.settings))
        assert {name: len(part.labels) for name, part in source.parts.items()} == case.gives
        said = "\n".join(source.notes)
        assert bool(case.words) or not said
        if case.classes is not None:
            assert source.classes == case.classes
        if case.first is not None:
            found = source.parts["train"].images[0].astype(int)
            np.testing.assert_allclose(found, case.first, atol=case.within)
    assert [word for word in case.words if word not in said] == [], said
    if before is not None:
        assert listing(tmp_path) == before
