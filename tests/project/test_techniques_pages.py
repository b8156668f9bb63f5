"""A page for each technique: current, linked, and of the claims that are about it."""

from __future__ import annotations

import re

import pytest
import technique_pages
from technique_pages import FOLDER, PUBLISHED, claims_of, techniques

from ablate.study.file import read_study

if not PUBLISHED.is_dir():
    pytest.skip("nothing is published in this copy", allow_module_level=True)


@pytest.fixture(scope="module")
def made():
    return technique_pages.pages()


def test_the_pages_are_current(made):
    there = {file.name: file.read_text(encoding="utf-8") for file in (PUBLISHED / FOLDER).iterdir()}
    assert there == made, "run scripts/technique_pages.py"


def test_every_link_leads_somewhere(made):
    for name, text in made.items():
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (PUBLISHED / FOLDER / link).exists(), (name, link)


def test_a_claim_stands_on_the_pages_of_what_its_arms_differ_in():
    by_name = {one.name: one for one in techniques()}
    asked = read_study("digits")
    arms = {
        name: {claim.arm for claim in claims_of(by_name[name], asked)}
        for name in ("dropout", "norm", "l2")
    }
    assert arms == {"dropout": {"dropout"}, "norm": {"batch norm"}, "l2": set()}


def test_a_page_tells_the_knob_the_card_and_what_was_found(made):
    text = made["l2.md"]
    assert "| `regularize.l2` |" in text
    assert "When it helps: nearly always a little" in text
    assert "ablate run +study=l1_l2" in text
    assert "Krogh" in text
