"""Publishes the shipped studies that have been run: a report of each, and an index of all claims.

    python scripts/publish_studies.py results [MORE ...]    folders that hold the studies' runs

Writes results/published/<study>/, as `ablate report` does but without derivable files (LaTeX
tables, tables that the frames hold, the larger of a figure's two formats) and with the ledger of
its runs; then results/published/studies.md with its pictures, and what the README says of them. A
study that is not whole (`study_runs`) is named and skipped.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import pandas as pd
import technique_pages

import readme_findings
from ablate import record
from ablate.errors import AblateError
from ablate.report.compare import Comparison
from ablate.report.wording import counted
from ablate.report.write import write_report
from ablate.study import study
from ablate.written import list_of
from study_index import NOT_JUDGED, PICTURES, PUBLISHED, draw, index, verdicts
from study_runs import Found, found_below

INDEX = "studies.md"
_IN_FRAMES = {
    "metrics": "arms",
    "contrasts": "contrasts",
}  # tables, and the frames that hold the same data
_PLACE = re.compile(r"(?<![\w.~])/(?:tmp|home|root|work|Users|var|mnt|srv|opt)/[\w.-]+")


def main(arguments: Sequence[str]) -> int:
    """Publish the complete studies; the exit status is 2 if nothing was published."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", nargs="+", type=Path, help="folders that hold studies' runs")
    parser.add_argument(
        "--cores", type=int, default=os.cpu_count(), help="of the machine that the studies ran on"
    )
    asked = parser.parse_args(arguments)
    try:
        whole, faults = found_below(asked.results)
        for fault in faults:
            print(f"skipped: {fault}", file=sys.stderr)
        _require_all(whole)
        reported = []
        for found in whole:
            reported.append((found, publish(found, PUBLISHED)))
            told = counted(verdicts(*reported[-1]), [NOT_JUDGED])
            print(f"{found.asked.name}: {told}", flush=True)
    except AblateError as error:
        print(f"publish_studies: {'; '.join(error.faults)}", file=sys.stderr)
        return 2
    draw(reported, PUBLISHED / PICTURES)
    (PUBLISHED / INDEX).write_text(index(reported, asked.cores), encoding="utf-8")
    technique_pages.write(PUBLISHED / technique_pages.FOLDER)
    readme_findings.write()
    return 0


def _require_all(whole: Sequence[Found]) -> None:
    """Refuse to leave a published report out of the index.

    Raises:
        AblateError: No study is complete, or one that was published is not among them.
    """
    names = {found.asked.name for found in whole}
    if not names:
        raise AblateError("no study is whole: there is nothing to publish")
    there = {name for name in study.shipped() if (PUBLISHED / name).is_dir()}
    if lost := sorted(there - names):
        raise AblateError(
            f"{', '.join(lost)} was published before and is not whole in these folders: name the"
            " folder of its runs too, or delete its report"
        )


def publish(found: Found, published: Path) -> Comparison:
    """Write the report of a study, replacing an existing one.

    Raises:
        AblateError: It would contain a path of this machine; nothing was written.
    """
    name = found.asked.name
    with tempfile.TemporaryDirectory(dir=published) as draft:
        folder = Path(draft) / name
        with chdir(found.root):  # the report names runs by their path below it
            _, comparison = write_report([name], out=folder)
        _prune(folder)
        if (kept := found.root / name / record.LEDGER).is_file():
            shutil.copyfile(kept, folder / record.LEDGER)
        _require_no_place(folder)
        shutil.rmtree(published / name, ignore_errors=True)
        shutil.move(folder, published / name)
    return comparison


def _prune(folder: Path) -> None:
    """Remove derivable files, and make the page link to the remaining ones."""
    page = (folder / "report.md").read_text(encoding="utf-8")
    (folder / list_of("report")).unlink()  # it lists a whole report, which this no longer is
    (folder / "report.html").unlink()  # the same page, with all figures inside
    for file in (folder / "tables").glob("*.tex"):
        file.unlink()
    for name, frame in _IN_FRAMES.items():
        (folder / "tables" / f"{name}.csv").unlink(missing_ok=True)
        held = f"frames/{frame}.parquet"
        page = page.replace(f"[tables/{name}.csv](tables/{name}.csv)", f"[{held}]({held})")
    for svg in (folder / "figures").glob("*.svg"):
        smaller, larger = sorted((svg, svg.with_suffix(".png")), key=lambda one: one.stat().st_size)
        page = page.replace(f"(figures/{svg.name})", f"(figures/{smaller.name})")
        larger.unlink()
    (folder / "report.md").write_text(page, encoding="utf-8")


def _require_no_place(folder: Path) -> None:
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".parquet":
            text = pd.read_parquet(file).to_csv(index=False)
        elif file.suffix in (".html", ".md", ".csv", ".svg", ".jsonl"):
            text = file.read_text(encoding="utf-8")
        else:
            continue
        text = re.sub(r"base64,[\w+/=]+", "", text)
        if (place := _PLACE.search(text)) is not None:
            raise AblateError(f"{folder.name}/{file.relative_to(folder)} tells {place[0]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
