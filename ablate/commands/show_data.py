"""`ablate data PATH`: shows how a folder of images would be read, with a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from rich.console import Console
from rich.table import Table

from ablate import data
from ablate.commands.printing import cell, say
from ablate.config import files, schema
from ablate.data.content_split import contents
from ablate.data.fact_cache import facts_of
from ablate.data.folder import image_sizes
from ablate.data.source import Array
from ablate.errors import AblateError, nearest

if TYPE_CHECKING:
    from PIL import Image

_CLASSES = 40  # in the table
_ROWS, _COLUMNS = 20, 10  # classes, and images of each, on the sheet
_SIDE, _GAP, _LABEL = 64, 4, 120  # pixels
_KNOBS = tuple(f"data.{name}" for name in files.option("data", "folder") if name != "name")


def show_folder(path: str, settings: Sequence[str], sheet: str | None, console: Console) -> int:
    """Print how a folder would be read, and write a sheet of its images.

    Args:
        path: The folder.
        settings: Data knobs, such as ``data.image_size=64``.
        sheet: Path of the sheet, a PNG; by default the folder's name, in the working directory.
        console: Where to print.

    Returns:
        The exit status.

    Raises:
        AblateError: The folder cannot be trained on, or a setting is illegal.
    """
    config = _config(path, settings)
    source = data.read(config)
    facts = facts_of(source)
    by_class = facts.by_class if config["split_by"] == "content" else None
    asked = config["train_size"], config["val_size"]
    wanted = data.sizes("folder", facts.counts, *asked, by_class)
    parts = data.split(source, wanted, by=config["split_by"])
    counts = {
        name: np.bincount(part.labels, minlength=len(source.classes)).tolist()
        for name, part in parts.items()
    }
    said = [f"{path} as data=folder:", _images(source, image_sizes(data.home(path), config))]
    said += [note[0].upper() + note[1:] for note in source.notes]
    say(console, said[0])
    console.print(_table(source.classes, counts))
    for line in said[1:]:
        say(console, line)
    place = Path(sheet or f"{Path(path).expanduser().resolve().name}-images.png")
    try:
        contact_sheet(parts["train"], source.classes).save(place, format="PNG")
    except OSError as error:
        raise AblateError(
            f"the sheet of images cannot be written to {place} ({error.strerror}): name another"
            " file with --sheet"
        ) from error
    say(console, f"Sheet of training images: {place}")
    return 0


def _config(path: str, settings: Sequence[str]) -> dict[str, Any]:
    config = {**files.option("data", "folder"), "root": path}
    faults = []
    for text in settings:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            faults.append(f"'{text}' is not a setting: write data.KNOB=value")
            continue
        name, value = override.key_or_group, override.value()
        if name not in _KNOBS or name == "data.root":
            faults.append(f"there is no setting {name} for a folder{nearest(name, _KNOBS)}")
        elif (fault := schema.BY_NAME[name].fault(value)) is not None:
            faults.append(fault)
        else:
            config[name.removeprefix("data.")] = value
    if faults:
        raise AblateError(*faults)
    return config


def _table(classes: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Table:
    table = Table(show_footer=True)
    table.add_column("class", f"{len(classes):,} classes")
    for part, numbers in counts.items():
        table.add_column(part, f"{sum(numbers):,}", justify="right")
    for label, name in enumerate(classes[:_CLASSES]):
        table.add_row(cell(name), *(f"{numbers[label]:,}" for numbers in counts.values()))
    if len(classes) > _CLASSES:
        rest = [f"{sum(numbers[_CLASSES:]):,}" for numbers in counts.values()]
        table.add_row(f"{len(classes) - _CLASSES:,} more", *rest)
    return table


def _images(source: data.Source, sizes: Sequence[tuple[int, int]]) -> str:
    """Return the size of images in their files, and as they are trained on."""
    channels, height, width = source.shape
    low, high = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
    lie = f"{low[0]} × {low[1]}" + (f" to {high[0]} × {high[1]}" if low != high else "")
    colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    return (
        f"Images of {lie} pixels in {len(set(sizes)):,} size{'s' if len(set(sizes)) > 1 else ''},"
        f" trained on as {width} × {height}, {colours}; digest {source.digest}"
    )


def contact_sheet(part: data.Part, classes: Sequence[str]) -> Image.Image:
    """Draw some images of each class as they are trained on, one row per class.

    Args:
        part: Images, uint8 [N, C, H, W] of 1 or 3 channels.
        classes: Names of the classes.
    """
    from PIL import Image, ImageDraw

    first = np.lexsort(contents(part).T)  # by digest, which is as good as at random
    shown = [label for label in range(len(classes)) if (part.labels == label).any()][:_ROWS]
    step = _SIDE + _GAP
    size = (_LABEL + _COLUMNS * step, len(shown) * step + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(shown):
        top = row * step + _GAP
        draw.text((_GAP, top + _SIDE // 2), _drawable(classes[label]), fill="black", anchor="lm")
        members = first[part.labels[first] == label][:_COLUMNS]
        for column, index in enumerate(members):
            sheet.paste(_thumbnail(part.image(index)), (_LABEL + column * step, top))
    return sheet


def _thumbnail(pixels: Array) -> Image.Image:
    from PIL import Image

    grey = len(pixels) == 1
    image = Image.fromarray(pixels[0] if grey else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    by = Image.Resampling.NEAREST if max(image.size) < _SIDE else Image.Resampling.BILINEAR
    height, width = pixels.shape[1:]
    scale = _SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return image.resize(size, by)


def _drawable(name: str, most: int = 18) -> str:
    """Shorten a class's name, and replace characters that the built-in font lacks."""
    text = name.encode("latin-1", "replace").decode("latin-1")
    return text if len(text) <= most else f"{text[: most - 1]}~"
