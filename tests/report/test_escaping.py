"""Text from files (names of arms and classes, reasons, questions) stays text in every output."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt
from rich.console import Console

from ablate import cli
from ablate.commands.evaluate import pictures
from ablate.commands.requests import trained
from ablate.commands.show import show_state
from ablate.plan.request import Request
from ablate.report import escape
from ablate.report.terminal import show_comparison
from ablate.report.write import write_report

HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
TERMINAL = "\x1b[2J\x1b]0;owned\x07\u202e[red]red[/red][link=http://evil.example]x[/link]"
MARKDOWN = "[a](http://evil.example) **b** `c` | d ![e](http://evil.example/e.png)"
LATEX = r"\input{/etc/passwd} $x^2$ 5% & _ # ~"
HOSTILE = f'=HYPERLINK("http://evil.example") {HTML} {TERMINAL} {MARKDOWN} {LATEX}'
OURS = ("figures/", "tables/")  # all that a page links to


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a study whose every word is hostile, and mark a run as failed for such a reason."""
    place = tmp_path_factory.mktemp("hostile")
    study = {
        "question": f"- {HOSTILE}",
        "source": HOSTILE,
        "fixed": [
            *("data.train_size=300", "model=mlp", "model.hidden=[16]", "epochs=5"),
            *(f"out={place}", "launch=inline"),
        ],
        "arms": {HOSTILE: ["optimizer.lr=0.02"], f"@{HOSTILE}": ["optimizer.lr=0.04"]},
        "seeds": 3,
        "claims": [{"claim": HOSTILE, "arm": f"@{HOSTILE}", "direction": "lower"}],
    }
    (place / "words.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    outcome = trained(Request((f"+study={place / 'words.yaml'}",)))
    file = outcome.runs[-1].directory / "record.json"
    found = json.loads(file.read_text())
    found |= {"status": "failed", "reason": f"+{HOSTILE}"}
    found["environment"]["device"] = HOSTILE
    found["config"]["model"] |= {"name": "custom", "_target_": "hostile_of_nobody.Net"}
    file.write_text(json.dumps(found))
    return outcome.runs[0].sweep


@pytest.fixture(scope="module")
def report(sweep: Path) -> Iterator[Path]:
    """Write the report."""
    folder, _ = write_report([sweep], out=sweep.parent / "report")
    yield folder
    assert "hostile_of_nobody" not in sys.modules


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_an_html_page_shows_it_and_runs_nothing(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = _Tags()
    page.feed(text)
    tags = [tag for tag, _ in page.found]
    assert tags.count("script") == 1  # ours, to sort tables
    assert "img" not in tags
    links = [a.get("href") or "" for tag, a in page.found if tag == "a"]
    assert all(link.startswith(("#", "data:text/csv")) for link in links)
    assert not any(name.startswith("on") for _, attributes in page.found for name in attributes)
    assert HTML in "".join(page.texts)
    assert not {*text} & {"\x1b", "\x07", "\u202e", "\r"}


def test_a_markdown_page_shows_it_and_links_to_nothing_outside(report: Path) -> None:
    text = (report / "report.md").read_text()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    every = [inner for token in tokens for inner in (token, *(token.children or ()))]
    assert not [t for t in every if t.type in ("html_block", "html_inline", "code_inline")]
    places = [str(t.attrs.get("href") or t.attrs.get("src")) for t in every if t.attrs]
    assert all(place.startswith((*OURS, "text-align")) or place == "None" for place in places)
    shown = "".join(t.content for t in every if t.type == "text")
    assert "[a](http://evil.example) **b** `c` | d ![e](http://evil.example/e.png)" in shown
    first = next(i for i, t in enumerate(tokens) if t.type == "paragraph_open")
    assert tokens[first + 1].content.startswith("\\- ")  # unescaped, it would begin a list
    assert not {*text} & {"\x1b", "\x07", "\u202e", "\r"}


def test_a_latex_table_shows_it_and_does_nothing(report: Path) -> None:
    tables = [file.read_text() for file in (report / "tables").glob("*.tex")]
    assert any(r"\textbackslash{}input\{/etc/passwd\}" in text for text in tables)
    for text in tables:
        assert r"\input" not in text
        assert not re.search(r"(?<!\\)\$x", text)
        rows = text.partition("\\toprule\n")[2].partition("\\bottomrule")[0].splitlines()
        assert all(row.endswith(r" \\") or row == "\\midrule" for row in rows)
        body = [row for row in rows if row != "\\midrule"]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in body}) == 1
        assert not [row for row in body if re.search(r"(?<!\\)[%#_]", row)]


def test_csv_files_hold_no_formula_and_numbers_stay_numbers(report: Path) -> None:
    files = [*(report / "tables").glob("*.csv")]
    assert {"comparison", "claims", "failures"} <= {file.stem for file in files}
    cells = [
        cell for file in files for row in csv.reader(io.StringIO(file.read_text())) for cell in row
    ]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert any(cell.startswith("'@=HYPERLINK") for cell in cells)
    assert any(cell.startswith("'+=HYPERLINK") for cell in cells)
    signed = [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t")]
    assert [float(cell) for cell in signed]  # differences below 0, among others
    assert not {*"".join(cells)} & {"\x1b", "\x07", "\u202e"}


def test_what_a_spreadsheet_would_run_gets_an_apostrophe() -> None:
    frame = pd.DataFrame(
        {
            "=name": ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", " =1", "\uff1d1", "a=1", None],
            "text": ["-1.5", "+3", "-2e-3", "-4 %", "-", "--1", "x", "", "\u22121"],
            "number": [-1.5, 2, 3, 4, 5, 6, 7, 8, float("nan")],
        }
    )
    safe = escape.spreadsheet(frame)
    assert list(safe) == ["'=name", "text", "number"]
    assert list(safe["'=name"])[:8] == [
        *("'=1+1", "'+1+1", "'-1+1", "'@SUM(A1)", "'\t=1", "' =1", "'\uff1d1", "a=1")
    ]
    assert list(safe["text"]) == ["-1.5", "+3", "-2e-3", "-4 %", "'-", "'--1", "x", "", "\u22121"]
    assert safe["number"].equals(frame["number"])
    assert list(frame) == ["=name", "text", "number"]  # unchanged


def shown(draw: object, *given: object) -> str:
    """Draw to a terminal, and return what was written without our own colours."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=300, color_system="standard")
    draw(*given, console)  # type: ignore[operator]
    return re.sub(r"\x1b\[[\d;]*m", "", written.getvalue())


def test_a_terminal_shows_it_and_obeys_nothing(sweep: Path) -> None:
    from ablate.report.compare import compare

    for text in (shown(show_comparison, compare([sweep])), shown(show_state, sweep)):
        assert not {*text} & {"\x1b", "\x07", "\u202e", "\r"}
        flat = " ".join(re.sub(r"[│┃]", " ", text).split())
        assert "[red]red[/red]" in flat.replace(" ", "")


def test_an_error_message_obeys_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = {"question": "?", "source": "?", "arms": {"a": [], "b": ["seed.x=1"]}, "seeds": 2}
    claims = [{"claim": "?", "arm": HOSTILE, "direction": "lower"}]
    (tmp_path / "words.yaml").write_text(yaml.safe_dump(study | {"claims": claims}))
    monkeypatch.setattr(sys, "argv", ["ablate", "plan", f"+study={tmp_path / 'words.yaml'}"])
    with pytest.raises(SystemExit):
        cli.main()
    told = capsys.readouterr().err
    assert "[red]red[/red]" in told
    assert not {*told} & {"\x1b", "\x07", "\u202e", "\r"}


def test_names_of_classes_are_drawn_as_plain_text(tmp_path: Path) -> None:
    names = [r"$\frac$", "<script>\x1b\u202e", "=1+1"]
    frame = pd.DataFrame({"true": names, **dict(zip(names, np.eye(3, dtype=int), strict=True))})
    pictures._confusion(frame, names).savefig(tmp_path / "confusion.svg")
    drawn = (tmp_path / "confusion.svg").read_text()
    assert "<script" not in drawn
    assert not {*drawn} & {"\x1b", "\x07", "\u202e"}
    pictures._worst(
        pd.DataFrame({"true": names, "given": names, "right": False, "loss": 1.0}),
        np.zeros((3, 1, 2, 2), np.uint8),
    ).savefig(tmp_path / "worst.png")
