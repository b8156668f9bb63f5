"""`ablate data NAME`: fetch a data set and verify it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ablate import data
from ablate.commands.printing import cell, say
from ablate.data import fetch, image_cache
from ablate.data.fact_cache import facts_of
from ablate.data.registry import DATASETS
from ablate.data.source import rights_told
from ablate.errors import AblateError, listed, nearest


def is_folder(name: str) -> bool:
    """Tell whether a name is that of a folder rather than of a data set."""
    return name not in DATASETS and (os.sep in name or Path(name).expanduser().is_dir())


def fetch_and_verify(name: str, root: str | None) -> int:
    """Download a data set if it is missing, compare checksums, read it, and print what it holds.

    Args:
        name: A data set that can be downloaded.
        root: The folder of its files; None for the default one.

    Returns:
        The exit status.

    Raises:
        AblateError: There is no such data set, or a file is damaged.
        DownloadError: A file could not be downloaded.
    """
    fetched = [each.name for each in DATASETS.values() if each.published is not None]
    if name not in fetched:
        known = DATASETS.get(name)
        reason = "there is no such data set" if known is None else known.unpublished
        raise AblateError(
            f"there is nothing to fetch for '{name}': {reason}; you can fetch"
            f" {listed(fetched)}{nearest(name, fetched)}"
        )
    home = data.home(root)
    source = data.read({"name": name, "root": root})
    with rights_told():
        checked = fetch.checksums(DATASETS[name], home)
        bare = [path for path in fetch.unverified(DATASETS[name], home) if path not in checked]
    wrong = [path for path, sound in checked.items() if not sound]
    if wrong:
        raise AblateError(*map(_wrong, wrong))
    facts = facts_of(source)
    split = data.sizes(name, facts.counts)
    table = Table(title=cell(f"{name} in {home}"), title_justify="left", show_header=False)
    table.add_row("images", " × ".join(str(n) for n in source.shape))
    table.add_row("classes", str(len(source.classes)))
    table.add_row("split", f"{split.train:,} train, {split.val:,} val, {split.test:,} test")
    table.add_row("verified", f"{len(checked)} files by checksum, all by reading")
    if bare:
        table.add_row(
            "not verified",
            cell(", ".join(path.name for path in bare)) + ": unpacked files have no published"
            " checksum, and no packed file is beside them",
        )
    table.add_row("digest", source.digest)
    Console().print(table)
    return 0


def _wrong(path: Path) -> str:
    packed = path.with_name(f"{path.name}.gz")
    if packed.is_file():
        return (
            f"{path} differs from the published {packed.name} beside it, but is read instead:"
            " delete it"
        )
    return f"{path} does not have the published file's checksum"


def root_of(settings: Sequence[str], root: str | None) -> str | None:
    """Find the folder of a named data set in the settings of the command.

    Args:
        settings: ``data.root=DIR``, or nothing.
        root: The value of ``--root``.

    Raises:
        AblateError: There are others, or both name one.
    """
    foreign = [text for text in settings if not text.startswith("data.root=")]
    if foreign:
        raise AblateError(
            f"{' '.join(foreign)}: for a data set that is fetched, only data.root can be set"
        )
    named = [text.removeprefix("data.root=") for text in settings] + [root] * (root is not None)
    if len(named) > 1:
        raise AblateError(f"data.root is given {len(named)} times: {listed(named)}")
    return named[0] if named else None


def clear_cache() -> int:
    """Delete all decoded images in the user's cache folder, and say how much that was."""
    try:
        place, size = image_cache.clear()
    except OSError as error:
        raise AblateError(
            f"{error.filename} cannot be deleted ({error.strerror}): check its permissions"
        ) from error
    except RuntimeError as error:
        raise AblateError(f"there is no cache folder ({error})") from error
    say(Console(), f"{place}: deleted {size / image_cache.GB:,.2f} GB of decoded images")
    return 0
