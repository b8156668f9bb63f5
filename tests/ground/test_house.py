"""The house: few doors at its root, and a name of its own for every class.

That a room imports only rooms below it, `lint-imports` holds (pyproject.toml, `make lint`).
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import ablate

ROOT = Path(ablate.__file__).parent


def test_no_class_name_stands_twice() -> None:
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in ROOT.rglob("*.py")]
    names = [node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(names) > 100
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_the_root_holds_at_most_eleven_modules() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 11


def test_every_room_says_what_it_holds() -> None:
    rooms = [folder for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()]
    assert len(rooms) >= 14
    told = {
        room.name: ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        for room in rooms
    }
    assert [name for name, words in told.items() if not words] == []
