"""`ablate data NAME`: fetch a data set and verify it."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ablate import data
from ablate.data import fetch
from ablate.data.fact_cache import facts_of
from ablate.data.registry import DATASETS
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
            f"there is nothing to fetch for '{name}': {reason}; what can be fetched is"
            f" {listed(fetched)}{nearest(name, fetched)}"
        )
    home = data.home(root)
    source = data.read({"name": name, "root": root})
    checked = fetch.checksums(DATASETS[name], home)
    wrong = [path for path, sound in checked.items() if not sound]
    if wrong:
        raise AblateError(
            *(f"{path} does not have the published file's checksum" for path in wrong)
        )
    facts = facts_of(source)
    split = data.sizes(name, facts.counts)
    table = Table(title=escape(f"{name} in {home}"), title_justify="left", show_header=False)
    table.add_row("images", " × ".join(str(n) for n in source.shape))
    table.add_row("classes", str(len(source.classes)))
    table.add_row("split", f"{split.train:,} train, {split.val:,} val, {split.test:,} test")
    table.add_row("verified", f"{len(checked)} files by checksum, all by reading")
    table.add_row("digest", source.digest)
    Console().print(table)
    return 0
