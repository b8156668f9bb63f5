"""`parquet`: encoded images and labels in parquet files, in the layout of Hugging Face's data sets.

    root/data/train-00000-of-00002.parquet, ..., root/data/test-00000-of-00001.parquet

`data.root` names the folder, or one file. A file's name says which split it belongs to; without
such names, all rows are split 60/20/20. The column of images holds structs of `bytes` and `path`,
or bytes. The column of labels holds texts, or whole numbers that the files' metadata may name.

Source: Hugging Face, "Create an image dataset" (the layout of `Image` and `ClassLabel` features).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.data.dataset import Dataset
from ablate.data.decode_many import Place
from ablate.data.image_cache import Room
from ablate.data.listed_images import SETTINGS, decoded
from ablate.data.source import Source
from ablate.errors import AblateError, listed, nearest

_LABELS = ("label", "labels", "class", "target", "category")
_PART = re.compile(r"(?:^|[-_./])(train|test|val|valid|validation|dev)(?=[-_.0-9/]|$)")
_PARTS = {"valid": "val", "validation": "val", "dev": "val"}
_WANTED = "data=parquet takes a folder of .parquet files, or one such file"


def _files(root: Path) -> list[Path]:
    """List the files.

    Raises:
        AblateError: There are none.
    """
    if root.is_file():
        return [root]
    hidden = (".", "_")
    found = [
        path
        for path in (root.rglob("*.parquet") if root.is_dir() else ())
        if not any(part.startswith(hidden) for part in path.relative_to(root).parts)
    ]
    if not found:
        what = "holds no .parquet file" if root.exists() else "is not there"
        raise AblateError(f"data.root={root} {what}: {_WANTED}")
    return sorted(found)


def _read(root: Path, settings: Mapping[str, Any], room: Room) -> Source:
    places: dict[str, list[Place]] = {}
    labels: dict[str, list[Any]] = {}
    names: tuple[str, ...] = ()
    for path in _files(root):
        table = _opened(path, settings)
        part = _part(path, root)
        places.setdefault(part, []).extend(table.places())
        labels.setdefault(part, []).extend(table.labels())
        names = names or table.names
    if "train" not in places:
        raise AblateError(
            f"data.root={root} holds {listed(sorted(places))} but no training images: {_WANTED},"
            " whose names say train, val or test"
        )
    notes = []
    for part in [part for part in places if part != "train" and _is_bare(labels[part])]:
        del places[part], labels[part]
        notes.append(f"the images of {part} have no labels, and are left out")
    source = decoded(places, labels, names, settings, room, root)
    return replace(source, notes=(*notes, *source.notes))


def _part(path: Path, root: Path) -> str:
    """Tell a file's part from its name or else its folder's; a single file holds everything."""
    names = () if path == root else path.relative_to(root).parts
    for name in reversed(names):
        if (found := _PART.search(name.lower())) is not None:
            return _PARTS.get(found[1], found[1])
    return "train"


def _is_bare(labels: Sequence[Any]) -> bool:
    return all(label is None or label == -1 for label in labels)


# -- one file --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """A file, and its columns of images and labels."""

    path: Path
    image: str
    label: str
    names: tuple[str, ...]

    def places(self) -> Iterator[Place]:
        import pyarrow.parquet as pq  # slow to import

        with pq.ParquetFile(self.path) as file:
            counts = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        for group, count in enumerate(counts):
            for row in range(count):
                yield str(self.path), self.image, group, row

    def labels(self) -> list[Any]:
        import pyarrow.parquet as pq

        found: list[Any] = pq.read_table(self.path, columns=[self.label]).column(0).to_pylist()
        return found


def _opened(path: Path, settings: Mapping[str, Any]) -> _Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise AblateError(f"{path} is a damaged parquet file ({reason}): get it again") from error
    features = _features(schema.metadata)
    images = [field.name for field in schema if _holds_images(field, features)]
    image = _column(path, schema.names, images, settings.get("image_column"), "image")
    known = [name for name, one in features.items() if one.get("_type") == "ClassLabel"]
    known = known or [name for name in schema.names if name.lower() in _LABELS]
    rest = [name for name in schema.names if name != image]
    label = _column(path, schema.names, known or rest, settings.get("label_column"), "label")
    names = features.get(label, {}).get("names") or ()
    return _Table(path, image, label, tuple(map(str, names)))


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Read what Hugging Face's library has written about the columns."""
    try:
        found = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: one for name, one in found.items() if isinstance(one, dict)}


def _holds_images(field: Any, features: Mapping[str, Any]) -> bool:
    import pyarrow.types as types

    if features.get(field.name, {}).get("_type") == "Image":
        return True
    if types.is_struct(field.type):
        return "bytes" in [field.type.field(n).name for n in range(field.type.num_fields)]
    return bool(types.is_binary(field.type) or types.is_large_binary(field.type))


def _column(
    path: Path, names: Sequence[str], likely: Sequence[str], asked: str | None, kind: str
) -> str:
    if asked is not None:
        if asked not in names:
            raise AblateError(
                f"data.{kind}_column={asked}: {path} has the columns {listed(names)}"
                f"{nearest(asked, names)}"
            )
        return asked
    if len(likely) != 1:
        which = f"several: {listed(likely)}" if likely else f"none among {listed(names)}"
        raise AblateError(
            f"{path}: it is not clear which column holds the {kind}s ({which}):"
            f" choose it with data.{kind}_column=NAME"
        )
    return likely[0]


PARQUET = Dataset(
    "parquet", _read, _files, settings=SETTINGS, unpublished="it is your own data set", kept=True
)
