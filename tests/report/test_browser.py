"""The report in a real browser: tables sort, it fits a phone, and no error is logged."""

from __future__ import annotations

import pytest

from tests.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
HEADS = ["arm", "test error, %", "Δ, points [interval]", "difference", "n", "pairs"]


@pytest.fixture(scope="module")
def pages(plain, troubled):
    return {"plain": plain / "report.html", "troubled": troubled / "report.html"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def column(browser, number):
    """Read a column of the comparison in its present order: its sorting keys, or else its text."""
    return browser.run(
        "[...document.querySelectorAll('#table-comparison tbody tr')]"
        f".map(r => r.cells[{number}]).map(c => c.dataset.sort ?? c.textContent)"
    )


def head(number):
    return f"#table-comparison thead th:nth-child({number + 1}) button"


def sorting(browser):
    return browser.run(
        "[...document.querySelectorAll('#table-comparison thead th')]"
        ".map(h => h.getAttribute('aria-sort'))"
    )


def test_a_click_on_a_header_sorts_and_a_second_click_reverses_the_order(browser, pages):
    browser.open(pages["plain"], 1280)
    means, places = column(browser, 1), column(browser, 0)
    browser.click(head(1))
    assert column(browser, 1) == sorted(means, key=float)
    assert column(browser, 0) != places
    assert sorting(browser)[:3] == [None, "ascending", None]
    browser.click(head(1))
    assert column(browser, 1) == sorted(means, key=float, reverse=True)
    assert sorting(browser)[:3] == [None, "descending", None]
    browser.click(head(0))
    assert column(browser, 0) == places
    assert sorting(browser)[:3] == ["ascending", None, None]


def test_rows_stay_whole_and_those_without_a_number_stay_at_the_bottom(browser, pages):
    browser.open(pages["troubled"], 1280)
    arms, means = column(browser, 0), column(browser, 1)
    pairs = dict(zip(arms, means, strict=True))
    for _ in range(2):
        browser.click(head(1))
        assert column(browser, 1)[-1] == ""
        assert dict(zip(column(browser, 0), column(browser, 1), strict=True)) == pairs


def test_the_keyboard_reaches_a_header_and_sorts_by_it(browser, pages):
    browser.open(pages["plain"], 1280)
    for _ in range(3):  # the table's box, its first header, its second
        browser.press("Tab", 9)
    assert browser.run("document.activeElement.textContent").strip() == HEADS[1]
    browser.press("Enter", 13)
    assert column(browser, 1) == sorted(column(browser, 1), key=float)


@pytest.mark.parametrize("name", ["plain", "troubled"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_tables_read_as_cards_on_a_phone(browser, pages, name, width):
    browser.open(pages[name], width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    boxes = browser.run(
        "[...document.querySelectorAll('.wide')].map(b => [b.clientWidth, b.scrollWidth])"
    )
    assert all(inside <= width for inside, _ in boxes)
    assert all(whole <= inside for inside, whole in boxes), "something scrolls sideways"
    row = browser.run("getComputedStyle(document.querySelector('#table-comparison td')).display")
    assert row == ("grid" if width == 390 else "table-cell")
    figures = browser.run("[...document.querySelectorAll('figure svg')].map(f => f.clientWidth)")
    assert len(figures) >= 5
    assert all(300 < drawn <= width for drawn in figures)


def test_no_error_is_logged_and_nothing_is_fetched(browser, pages):
    for page in pages.values():
        for width in (390, 1280):
            browser.open(page, width)
            browser.click(head(1))
    assert browser.complaints == []
    assert {address.partition(":")[0] for address in browser.requests} <= {"file", "data"}
    assert browser.run("document.querySelectorAll('script').length") == 1
