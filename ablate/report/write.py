"""Writes a report into a folder: all of it or nothing.

report.html, report.md         the report, for a browser and for a repository
tables/*.csv, tables/*.tex     its tables, for a spreadsheet and for a paper (booktabs)
figures/*.svg, figures/*.png   its figures
frames/*.parquet               runs, history, arms, contrasts: the data behind it all, in fractions
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ablate.analyze.frames import write_frames
from ablate.errors import AblateError, raise_if_full
from ablate.report import pages, tables
from ablate.report.compare import Comparison, Paths, compare
from ablate.report.explore import explore
from ablate.report.figures import draw
from ablate.report.pages import Report
from ablate.report.provenance import origin
from ablate.report.question import Asked
from ablate.report.table import latex

FOLDER = "report"
_PARTS = {"report.html", "report.md", "tables", "figures", "frames"}


def write_report(
    paths: Paths, asked: Asked | None = None, out: str | Path | None = None
) -> tuple[Path, Comparison]:
    """Compare runs, and write the report of it.

    Args:
        paths: Folders of runs, of sweeps, or any above; compared together.
        asked: What the report is to answer.
        out: Where to; ``report`` in the first of the paths by default. An older report there is
            replaced.

    Returns:
        The folder, and what the report says.

    Raises:
        AblateError: There is nothing to report, what was asked for is not there, or the folder
            holds what is no report; nothing was written.
    """
    folder = Path(paths[0]) / FOLDER if out is None else Path(out)
    _require_room(folder)
    comparison = compare(paths, asked)
    report = _made(comparison)
    try:
        with _replacing(folder) as draft:
            _write(report, draft)
    except OSError as error:
        raise_if_full(error)
        raise AblateError(f"the report cannot be written to {folder}: {error}") from error
    return folder, comparison


def _made(comparison: Comparison) -> Report:
    exploration = explore(comparison)
    return Report(
        comparison,
        exploration,
        origin(comparison),
        tables.tables(comparison, exploration.anova),
        draw(comparison, exploration),
    )


def _write(report: Report, folder: Path) -> None:
    (folder / "report.html").write_text(pages.html(report), encoding="utf-8")
    (folder / "report.md").write_text(pages.markdown(report), encoding="utf-8")
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    for table in report.tables.values():
        table.data.to_csv(folder / "tables" / f"{table.name}.csv", index=False)
        (folder / "tables" / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    for figure in report.figures:
        (folder / "figures" / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
        (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    found = report.comparison
    frames = {"runs": found.runs, "history": found.frames.history}
    frames |= {"arms": found.arms, "contrasts": found.contrasts}
    write_frames(frames, folder / "frames")


def _require_room(folder: Path) -> None:
    """Refuse to replace what is no report: nobody's own files are to vanish.

    Raises:
        AblateError: The folder is a file, or holds something else.
    """
    if folder.is_dir():
        foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in _PARTS)
        if foreign:
            raise AblateError(
                f"{folder} holds {foreign[0]}, which is no part of a report: name a folder of its"
                " own with --out"
            )
    elif folder.exists() or folder.is_symlink():
        raise AblateError(f"{folder} is no folder: name another with --out")


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Let a folder be made beside its place, and move it there when it is whole."""
    beside = folder.absolute()
    draft, old = (beside.with_name(f".{beside.name}.{os.getpid()}.{n}") for n in ("part", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if folder.is_dir():
            folder.rename(old)
        draft.rename(folder)
    finally:
        for rest in (draft, old):
            if old.exists() and not folder.exists():
                old.rename(folder)
            shutil.rmtree(rest, ignore_errors=True)
