"""The picture that opens a report, and the page for screen readers, dark mode and weak eyes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from ablate.report import forest, pages
from ablate.report.compare import compare
from ablate.report.explore import explore
from ablate.report.provenance import origin
from ablate.report.question import Question
from ablate.report.tables import tables
from tests.reports import BASE, LESS, write_arms

CSS = Path(pages.__file__).parent / "templates" / "report.css"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forest")
    write_arms(folder, {"plain": BASE, "less": LESS, "more": [2 * one for one in BASE]})
    return compare([folder], Question(margin=0.005))


@pytest.fixture(scope="module")
def page(found):
    report = pages.Report(found, explore(found), origin(found), tables(found), ())
    return pages.html(report)


def places(svg, kind, name):
    return [float(x) for x in re.findall(rf'class="{kind}[^>]*? {name}="([\d.]+)%"', svg)]


def test_marks_are_drawn_where_their_numbers_say(found):
    (panel,) = forest.panels(found)
    less, more = panel.rows
    assert (less.name, less.told, less.tone) == ("less", "better by more than 0.50", "good")
    (zero,) = places(less.svg, "zero", "x1")
    (margin,), (width,) = places(less.svg, "margin", "x"), places(less.svg, "margin", "width")
    assert margin + width / 2 == pytest.approx(zero, abs=0.02), "δ lies on both sides of 0"
    (mean,) = places(less.svg, "mean", "cx")
    (low,), (high,) = places(less.svg, "reach", "x1"), places(less.svg, "reach", "x2")
    assert (low + high) / 2 == pytest.approx(mean, abs=0.02), "a t interval is symmetric"
    # δ is 0.5 points, and less is 1.825 points lower than plain.
    assert (zero - mean) / (width / 2) == pytest.approx(1.825 / 0.5, abs=0.02)
    dots = places(less.svg, "seed", "cx")
    assert len(dots) == 4
    assert sum(dots) / 4 == pytest.approx(mean, abs=0.02), "seeds lie around their mean"
    assert places(more.svg, "zero", "x1") == [zero], "the rows share an axis"


def test_numbers_show_on_hover_and_reach_screen_readers(found):
    (panel,) = forest.panels(found)
    for row in panel.rows:
        assert 'role="img" aria-label="' in row.svg
        assert row.numbers in row.svg
        assert row.svg.count("<title>seed ") == 4


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_page_is_structured_for_a_screen_reader(page):
    reader = Reader()
    reader.feed(page)
    names = [tag for tag, _ in reader.tags]
    assert (names.count("main"), names.count("h1")) == (1, 1)
    assert dict(reader.tags)["html"] == {"lang": "en"}
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert all(b <= a + 1 for a, b in pairwise(levels)), levels
    assert all(about.get("scope") in ("col", "row") for tag, about in reader.tags if tag == "th")
    drawings = [about for tag, about in reader.tags if tag == "svg"]
    assert drawings
    for about in drawings:
        named = about.get("aria-label") or about.get("aria-labelledby")
        assert about.get("aria-hidden") == "true" or (about.get("role") == "img" and named)
    ids = {about["id"] for _, about in reader.tags if "id" in about}
    assert {a["aria-labelledby"] for _, a in reader.tags if "aria-labelledby" in a} <= ids


def luminance(colour):
    """Compute relative luminance as WCAG 2.1 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_follows_the_formula_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_is_legible_in_light_and_dark_mode(scheme):
    block = re.findall(r":root \{(.*?)\}", CSS.read_text(), flags=re.S)[scheme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    for ground in ("page", "card"):
        for letters in ("ink", "soft", "link", "good", "bad", "small", "open"):
            assert contrast(colours[letters], colours[ground]) >= 4.5, (letters, ground)
    assert contrast(colours["ink"], colours["alarm"]) >= 4.5
    assert contrast(colours["link"], colours["alarm"]) >= 4.5
    assert contrast(colours["line"], colours["band"]) >= 3, "an interval over ±δ"
