"""A page per technique: up to date, with working links, and listing the claims about it."""

from __future__ import annotations

import re

import pytest
import technique_pages
from technique_pages import FOLDER, PUBLISHED, Card, Member, claims_of, knobs_of, techniques

from ablate.config.knobs.network import ACTIVATIONS, DROPOUTS, INITS, MODELS, NORMS
from ablate.config.knobs.training import OPTIMIZERS, SCHEDULES
from ablate.config.schema import BY_NAME
from ablate.errors import AblateError
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


def test_a_claim_is_on_the_pages_of_the_techniques_its_arms_differ_in():
    by_name = {one.name: one for one in techniques()}
    asked = read_study("digits")
    arms = {
        name: {claim.arm for claim in claims_of(by_name[name], asked)}
        for name in ("dropout", "norm", "l2")
    }
    assert arms == {"dropout": {"dropout"}, "norm": {"batch norm"}, "l2": set()}


def test_a_page_shows_the_knob_the_card_and_the_findings(made):
    text = made["l2.md"]
    assert "| `regularize.l2` |" in text
    assert "**When it helps:** nearly always a little" in text
    assert "ablate run +study=l1_l2" in text
    assert "Krogh" in text


def test_a_claim_about_networks_is_on_the_pages_of_both():
    asked = read_study("conv_vs_dense")
    on = {one.name for one in techniques() if claims_of(one, asked)}
    assert on == {"convolutional_networks", "dense_networks"}


# -- cards -----------------------------------------------------------------------------------------


def test_every_page_has_a_sentence_when_it_helps_settings_and_source(made):
    for name in made.keys() - {"README.md"}:
        opening, _, rest = made[name].partition("\n**When it helps:** ")
        assert re.search(r"^# .+\n\n.+\.$", opening, re.M), name
        assert re.search(r"^\*\*Settings:\*\* .*\d", rest, re.M), name
        assert re.search(r"^\*\*Source:\*\* .*(19|20)\d\d", rest, re.M), name


CARD = """Idle: nothing is done.

When it helps: never.
Settings: 0.
Source: Nobody 2020, equation 1.

    one: Does one thing, at 0.1
        or more. Source: Somebody 2021, section 2.
    two: Does another.

How it is written.
"""


def test_a_card_is_read_up_to_its_members():
    card = Card.of(CARD)
    assert (card.title, card.sentence) == ("Idle", "Nothing is done.")
    assert card.paragraphs == (
        "When it helps: never.",
        "Settings: 0.",
        "Source: Nobody 2020, equation 1.",
    )
    one = Member("one", "Does one thing, at 0.1 or more.", "Somebody 2021, section 2.")
    assert card.members == (one, Member("two", "Does another.", ""))


def test_the_parts_that_a_card_lacks_are_named():
    assert Card.of(CARD).lacks == ["two's source"]
    assert Card.of("Idle: nothing is done.").lacks == ["When it helps", "Settings", "Source"]
    mute = CARD.replace("Idle: nothing is done.", "Idle.").replace("When it helps: ", "")
    assert Card.of(mute).lacks == ["a sentence", "When it helps", "two's source"]


def test_no_page_is_written_while_a_card_lacks_its_source(monkeypatch):
    monkeypatch.setattr("ablate.nets.pooling.__doc__", CARD.replace("Source: Nobody", "By Nobody"))
    with pytest.raises(AblateError, match="the card of pooling lacks Source"):
        technique_pages.pages()


def test_a_family_lists_every_member():
    members = {one.name: [m.name for m in one.card.members] for one in techniques()}
    assert members["optimizers"] == list(OPTIMIZERS)
    assert members["schedules"] == list(SCHEDULES)
    assert members["pooling"] == ["max", "avg", "none"]
    assert set(members["activations"]) == set(ACTIVATIONS)
    assert set(members["dropout"]) == set(DROPOUTS)
    assert set(members["initial_weights"]) == set(INITS) - {"own"}
    assert set(members["norm"]) == set(NORMS) - {"none", "custom"}
    changes = {f"augment.{name}" for told in members["augmentation"] for name in told.split(", ")}
    other = {"augment.test_views", "augment._target_"}
    assert changes == {name for name in BY_NAME if name.startswith("augment.")} - other


def test_every_network_is_on_a_page():
    networks = [one for one in techniques() if one.options]
    shown = sorted(option for one in networks for option in one.options)
    assert shown == sorted(set(MODELS) - {"custom"})
    for one in networks:
        assert len(one.options) == 1 or [m.name for m in one.card.members] == list(one.options)


def test_every_knob_of_a_technique_is_on_a_page():
    groups = ("model", "dropout", "norm", "init", "optimizer", "schedule", "regularize", "augment")
    shown = {name for one in techniques() for name in knobs_of(one)}
    left = {name for name in BY_NAME if name.partition(".")[0] in groups} - shown
    assert left == {"model._target_", "regularize._target_"}  # users' own code has no card
