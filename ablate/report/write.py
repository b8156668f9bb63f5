"""Writes a report into a folder, all or nothing.

report.html, report.md         the report, for a browser and for a repository
tables/*.csv, tables/*.tex     its tables, for a spreadsheet and for a paper (booktabs)
figures/*.svg, figures/*.png   its figures
frames/*.parquet               runs, history, arms, contrasts: the data behind it all, in fractions
report.files.json a list of these files, by which the next report recognizes them
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablate import record, written
from ablate.analyze.frames import write_frames
from ablate.errors import AblateError, raise_if_full
from ablate.report import escape, pages, tables
from ablate.report.compare import Comparison, Paths, compare
from ablate.report.explore import explore
from ablate.report.figures import draw
from ablate.report.pages import Report
from ablate.report.provenance import origin
from ablate.report.question import Question
from ablate.report.table import latex

FOLDER = "report"
_MOST = 3  # files that are named one by one


def write_report(
    paths: Paths, asked: Question | None = None, out: str | Path | None = None
) -> tuple[Path, Comparison]:
    """Compare runs, and write the report of it.

    Args:
        paths: Folders of runs, of sweeps, or any above; compared together.
        asked: The question of the report.
        out: Where to; by default ``report`` in the first path. A report there is replaced once the
            new one is complete.

    Returns:
        The folder, and what the report says.

    Raises:
        AblateError: There is nothing to report, something that was asked for is missing, or the
            folder holds files that no report wrote. Nothing was written.
    """
    folder = Path(paths[0]) / FOLDER if out is None else Path(out)
    require_room(folder)
    comparison = compare(paths, asked)
    report = _made(comparison)
    try:
        with written.draft_of(folder.resolve()) as draft:
            _write(report, draft)
            written.add_list(draft, FOLDER)
            require_room(folder)  # making it took a while
            _move_in(draft, folder)
    except OSError as error:
        raise_if_full(error)
        why = error.strerror or error
        raise AblateError(
            f"the report cannot be written to {folder} ({why}); name another folder with --out"
        ) from error
    return folder, comparison


def _made(comparison: Comparison) -> Report:
    exploration = explore(comparison)
    return Report(
        comparison,
        exploration,
        origin(comparison),
        tables.tables(comparison),
        draw(comparison, exploration),
    )


def _write(report: Report, folder: Path) -> None:
    (folder / "report.html").write_text(pages.html(report), encoding="utf-8")
    (folder / "report.md").write_text(pages.markdown(report), encoding="utf-8")
    for name in ("tables", "figures"):
        (folder / name).mkdir()
    for table in report.tables.values():
        data = escape.spreadsheet(table.data)
        data.to_csv(folder / "tables" / f"{table.name}.csv", index=False)
        (folder / "tables" / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    for figure in report.figures:
        (folder / "figures" / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
        (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    found = report.comparison
    frames = {"runs": found.runs, "history": found.frames.history}
    frames |= {"arms": found.arms, "contrasts": found.contrasts}
    write_frames(frames, folder / "frames")


def _move_in(draft: Path, folder: Path) -> None:
    """Swap a complete report with an earlier one, which becomes the draft.

    Raises:
        AblateError: Somebody added a file at this very moment; everything stays as it was.
    """
    place = folder.resolve()  # a link stays a link
    if not place.is_dir():
        draft.rename(place)
        return
    written.exchange(draft, place)
    try:
        _require_ours(draft, folder)
    except AblateError:
        written.exchange(draft, place)
        raise


# -- what is not replaced --------------------------------------------------------------------------


def require_room(folder: Path) -> None:
    """Refuse to write where something would be lost.

    Raises:
        AblateError: The folder is a file, lies among runs, holds runs, or holds files that no
            report wrote.
    """
    try:
        is_there = folder.exists() or folder.is_symlink()
    except OSError as error:  # a name that is too long, say
        raise AblateError(f"{folder} cannot be a folder ({error.strerror})") from error
    if is_there and not folder.is_dir():
        raise AblateError(f"{folder} is not a folder: name another with --out")
    place = folder.resolve()
    _require_no_runs(folder, place)
    if place.is_dir():
        _require_ours(place, folder)
    if Path.cwd().is_relative_to(place):
        raise AblateError(
            f"{folder} would be replaced, but this command runs in it: run it elsewhere, or name"
            " another folder with --out"
        )


def _require_no_runs(folder: Path, place: Path) -> None:
    if (place / record.RECORD).exists():
        raise AblateError(f"{folder} is the folder of a run: name another with --out")
    if runs := record.find(place):
        raise AblateError(
            f"{folder} holds runs ({runs[0].relative_to(place)}): name another folder with --out"
        )
    if place.name != FOLDER and (_is_run(place.parent) or any(_runs_in(place.parent))):
        raise AblateError(
            f"{folder} lies among runs, where only {place.parent.name}/{FOLDER} may hold a report:"
            " name a folder elsewhere with --out"
        )


def _runs_in(folder: Path) -> Iterator[Path]:
    return (found.parent for found in folder.glob(f"*/{record.RECORD}") if _is_run(found.parent))


def _is_run(folder: Path) -> bool:
    """Tell whether a folder holds a record of ours: any program may write a record.json."""
    try:
        return record.read(folder) is not None
    except AblateError:
        return False


def _require_ours(place: Path, folder: Path) -> None:
    """Check that all files in a folder are as a report wrote them."""
    others = written.not_ours(place, FOLDER)
    if not others:
        return
    named = ", ".join(others[:_MOST])
    more = f" and {len(others) - _MOST} more" if len(others) > _MOST else ""
    why = ", which no report wrote"
    if written.listed(place, FOLDER) is None and "report.md" in others:
        why = f"; without {written.list_of(FOLDER)} (earlier versions wrote none) nobody can tell"
        why += " whether a report wrote it"
    raise AblateError(
        f"{folder} holds {named}{more}{why}: move or delete it, or name another folder with --out"
    )
