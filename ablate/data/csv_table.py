"""`csv`: a table of file names and labels.

    file,label              photos/labels.csv: names are relative to the table's folder
    a/0001.jpg,cat
    a/0002.jpg,dog

`data.root` names the table, or a folder that holds one, or that holds train.csv and test.csv, with
val.csv if there is one. Columns are recognized by their contents and names, or named by
`data.image_column` and `data.label_column`. A column `split` says which rows are train, val and
test; without it, all rows are split 60/20/20 by content. File names may lack their ending, as ids
do.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.data.dataset import Dataset
from ablate.data.decode_many import Place
from ablate.data.image_cache import Room
from ablate.data.listed_images import SETTINGS, decoded
from ablate.data.source import Source
from ablate.errors import AblateError, listed, nearest

_LABELS = ("label", "labels", "class", "class_name", "classname", "target", "category", "y")
_SPLITS = ("split", "set", "subset", "partition")
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_ENDINGS = ("", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif")
_BESIDE = ("", "images", "train", "test", "val")
_TRIED, _TOLD = 20, 3
_WANTED = "data=csv takes a table with a header, a column of file names and one of labels"


@dataclass(frozen=True)
class _Rows:
    """The rows of all tables: part, path of the image, label."""

    parts: Sequence[str]
    paths: Sequence[Path]
    labels: Sequence[str]


def _tables(root: Path) -> dict[str, Path]:
    """Find the tables: by part, or one for all under an empty name."""
    if not root.is_dir():
        if not root.is_file():
            raise AblateError(f"data.root={root} is not there: {_WANTED}")
        return {"": root}
    found = sorted(path for path in root.glob("*.csv") if not path.name.startswith("."))
    parts = {_PARTS[path.stem.lower()]: path for path in found if path.stem.lower() in _PARTS}
    if "train" in parts and len(parts) > 1:
        return parts
    if len(found) != 1:
        what = ", ".join(path.name for path in found[:5]) or "no .csv file"
        raise AblateError(f"data.root={root} holds {what}: data.root names the one table")
    return {"": found[0]}


def _rows(root: Path, settings: Mapping[str, Any]) -> _Rows:
    parts: list[str] = []
    paths: list[Path] = []
    labels: list[str] = []
    for part, table in _tables(root).items():
        names, rows = _parsed(table)
        image, label, split = _columns(table, names, rows, settings)
        where = _places(table, [row[image] for row in rows])
        paths += [_resolved(row[image], where) for row in rows]
        labels += [row[label] for row in rows]
        parts += [part or _part_of(table, n, row, split) for n, row in enumerate(rows, start=2)]
    return _Rows(parts, paths, labels)


def _parsed(table: Path) -> tuple[list[str], list[list[str]]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AblateError(f"{table} is not UTF-8 ({error.reason}): save it as UTF-8") from error
    except OSError as error:
        raise AblateError(
            f"{table} cannot be read ({error.strerror}); check its permissions"
        ) from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    lines = list(csv.reader(text.splitlines(), delimiter=delimiter))
    rows = [[value.strip() for value in line] for line in lines if any(map(str.strip, line))]
    if len(rows) < 2 or len(rows[0]) < 2:
        raise AblateError(f"{table} holds {max(len(rows) - 1, 0)} rows of two columns: {_WANTED}")
    names = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise AblateError(
                f"{table}: row {number} has {len(row)} values, but the header has {len(names)}"
            )
    return names, rows[1:]


def _columns(
    table: Path, names: Sequence[str], rows: Sequence[Sequence[str]], settings: Mapping[str, Any]
) -> tuple[int, int, int | None]:
    """Find the columns of image names, labels and splits."""
    lower = [name.lower() for name in names]
    some = rows[:_TRIED]
    split = next((lower.index(name) for name in _SPLITS if name in lower), None)
    if split is not None and not all(row[split].lower() in _PARTS for row in some):
        split = None
    image = _asked(table, names, settings.get("image_column"), "image")
    if image is None:
        likely = [n for n in range(len(names)) if _are_files(table, [row[n] for row in some])]
        if len(likely) != 1:
            what = "none names files" if not likely else "several name files"
            raise AblateError(
                f"{table}: it is not clear which of the columns {listed(names)} names the images"
                f" ({what} that exist below {table.parent}): choose it with data.image_column=NAME"
                f" (the first row is {', '.join(rows[0])})"
            )
        image = likely[0]
    label = _asked(table, names, settings.get("label_column"), "label")
    if label is None:
        rest = [n for n in range(len(names)) if n not in (image, split)]
        known = [n for n in rest if lower[n] in _LABELS] or rest
        if len(known) != 1:
            raise AblateError(
                f"{table}: it is not clear which column holds the labels"
                f" ({listed([names[n] for n in known]) if known else 'there is none'}):"
                " choose it with data.label_column=NAME"
            )
        label = known[0]
    return image, label, split


def _asked(table: Path, names: Sequence[str], asked: Any, kind: str) -> int | None:
    if asked is None:
        return None
    if str(asked) not in names:
        raise AblateError(
            f"data.{kind}_column={asked}: {table} has the columns {listed(names)}"
            f"{nearest(str(asked), names)}"
        )
    return list(names).index(str(asked))


def _are_files(table: Path, values: Sequence[str]) -> bool:
    """Tell whether most values name files that exist."""
    where = _places(table, values)
    found = sum(_resolved(value, where).is_file() for value in values)
    return 2 * found > len(values)


def _places(table: Path, values: Sequence[str]) -> tuple[Path, str]:
    """Find the folder of images, and the ending that the table's names lack."""
    for value in values[:_TRIED]:
        for folder in _BESIDE:
            for ending in _ENDINGS:
                if value and (table.parent / folder / f"{value}{ending}").is_file():
                    return table.parent / folder, ending
    return table.parent, ""


def _resolved(value: str, where: tuple[Path, str]) -> Path:
    folder, ending = where
    return folder / f"{value}{ending}"


def _part_of(table: Path, number: int, row: Sequence[str], split: int | None) -> str:
    if split is None:
        return "train"
    word = row[split].lower()
    if word not in _PARTS:
        raise AblateError(
            f"{table}: row {number} has the split '{row[split]}': use train, val or test"
        )
    return _PARTS[word]


def _listed(root: Path, settings: Mapping[str, Any]) -> list[Path]:
    there = [path for path in _rows(root, settings).paths if path.is_file()]
    return [*_tables(root).values(), *there]


def _files(root: Path) -> list[Path]:
    return list(_tables(root).values())


def _read(root: Path, settings: Mapping[str, Any], room: Room) -> Source:
    rows = _rows(root, settings)
    missing = [path for path in rows.paths if not path.is_file()]
    skip = settings.get("on_bad") == "skip"
    if missing and not skip:
        some = ", ".join(str(path) for path in missing[:_TOLD])
        raise AblateError(
            f"{len(missing):,} of {len(rows.paths):,} images named in the table do not exist:"
            f" {some}; data.on_bad=skip leaves them out"
        )
    places: dict[str, list[Place]] = {}
    labels: dict[str, list[Any]] = {}
    gone = set(missing)
    for part, path, label in zip(rows.parts, rows.paths, rows.labels, strict=True):
        if path not in gone:
            places.setdefault(part, []).append(os.fspath(path))
            labels.setdefault(part, []).append(label)
    if "train" not in places:
        raise AblateError(f"data.root={root} names no training images: {_WANTED}")
    source = decoded(places, labels, (), settings, room, root if root.is_dir() else root.parent)
    gaps = [f"{len(missing):,} images named in the table do not exist"] if missing else []
    return replace(source, notes=(*gaps, *source.notes))


CSV = Dataset(
    "csv",
    _read,
    _files,
    settings=SETTINGS,
    unpublished="it is your own data set",
    listed=_listed,
    kept=True,
)
