"""Writes findings of some studies into the README, from the index of published claims.

    python scripts/readme_findings.py

`scripts/publish_studies.py` does so at its end. The claims were chosen when the first studies were
published, to show every kind of outcome; they stay, whatever other seeds find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ablate.report.escape import markdown
from ablate.study.file import read_study
from study_runs import REPOSITORY

README: Final = REPOSITORY / "README.md"
INDEX: Final = "results/published/studies.md"
CHOSEN: Final = {
    "dropout_generalization": ["Dropout in the dense layer lowers the error"],
    "dropout_where": ["Dropping most in the large layer lowers the error"],
    "batchnorm_position": ["After the activation, the error is higher"],
    "batchnorm_init": ["With batch norm, weights far too large end at the same error"],
    "recipe_leave_one_out": [
        "Without batch norm, the error is higher",
        "Without the cycle of the rate, the error is higher",
    ],
}
BEGIN: Final = "<!-- Written by scripts/readme_findings.py. -->\n"
END: Final = "<!-- The end of what it writes. -->\n"


def findings(index: str) -> str:
    """Compose the README's part from the text of the index: counts, and a row per claim."""
    (counted,) = re.findall(r"^\*\*(\d+ studies, .*)\.\*\*$", index, re.M)
    return "\n".join(
        [
            f"{counted}. [Every claim]({INDEX}) is listed with its report.",
            "Six of them, chosen to show each kind of outcome:",
            "",
            "| asked | claimed | found |",
            "|---|---|---|",
            *_rows(index),
            "",
        ]
    )


def _rows(index: str) -> Iterator[str]:
    for study, claims in CHOSEN.items():
        section = index.partition(f"\n### {markdown(study)}\n")[2].partition("\n## ")[0]
        section = section.partition("\n### ")[0]
        cells = [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("| ")]
        rows = {row[0]: row for row in cells}
        for claim in claims:
            row = rows.get(markdown(claim))
            if row is not None:  # it has been published
                asked = f"[{markdown(read_study(study).question)}]({INDEX}#{study})"
                yield f"| {asked} | {row[0]} | {row[2]} |"


def write() -> None:
    """Replace the README's part with what the index says."""
    before, written = README.read_text(encoding="utf-8").split(BEGIN)
    _, after = written.split(END)
    told = findings((REPOSITORY / INDEX).read_text(encoding="utf-8"))
    README.write_text(f"{before}{BEGIN}{told}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write()
