"""Settings of `ablate evaluate`, `ablate inspect` and `ablate lr-find`, and their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ablate.config import files
from ablate.config.knob import Knob
from ablate.config.knobs.training import AUGMENT
from ablate.config.settings import Setting, Settings
from ablate.config.types import MANY, Choice, Flag, Real, Whole

Values = Mapping[str, Any]  # name -> value, for all settings of a command


# -- when a setting has no effect ------------------------------------------------------------------


def _nothing_deleted(values: Values) -> str | None:
    return None if values["delete"] else "delete=false deletes no unit"


def _no_views(values: Values) -> str | None:
    return "views=none leaves views out" if values["views"] is None else None


def _one_view(values: Values) -> str | None:
    beside = any(values[knob.name] for knob in _STRENGTHS)
    if values["augment"] == "none" and values["views"] is not None and not beside:
        return "without augmentation all views are the same; views=none leaves them out"
    return _no_views(values)


def _only_the_start(values: Values) -> str | None:
    return None if values["train"] else "train=false looks only at the initial weights"


def _not_a_grid(values: Values) -> str | None:
    return None if values["mode"] == "grid" else "mode=sweep has a new rate at each step"


def _not_a_sweep(values: Values) -> str | None:
    return None if values["mode"] == "sweep" else "mode=grid smooths nothing"


# -- the settings ----------------------------------------------------------------------------------

_STRENGTHS: Final = tuple(replace(k, idle=_no_views) for k in AUGMENT if k.off == 0)


def _count(name: str, type_: Whole, help_: str) -> Knob:
    """Declare a number of things, or ``none`` to leave them out."""
    return Knob(name, type_, help_, words=("none",), null="left out", off=None)


EVALUATE: Final = Settings(
    "evaluate",
    (
        Setting(Knob("split", Choice(("test", "val")), "split to evaluate"), "test"),
        Setting(_count("views", Whole(2, MANY), "views of each image to average"), 4),
        Setting(
            _count("samples", Whole(2, MANY), "sub-networks that Monte-Carlo dropout averages"), 10
        ),
        Setting(
            Knob(
                "delete",
                Flag(),
                "accuracy as hidden units are deleted, and how alike units are; scaled: the"
                " remaining units are scaled up",
                words=("scaled",),
            ),
            True,
        ),
        Setting(
            Knob(
                "draws",
                Whole(1, MANY),
                "how many times the units to delete are chosen",
                idle=_nothing_deleted,
            ),
            3,
        ),
        Setting(Knob("perturb", Flag(), "accuracy on shifted, rotated and noisy images"), True),
        Setting(_count("worst", Whole(1, 100), "images of highest loss to draw"), 24),
        Setting(
            Knob(
                "device",
                Choice(("auto", "cpu", "cuda")),
                "where to compute; auto is cuda if there is a GPU",
            ),
            "auto",
        ),
        Setting(
            Knob(
                "augment",
                Choice(files.groups()["augment"]),
                "augmentation that makes the views",
                null="the run's own",
                off=None,
                idle=_one_view,
            ),
            None,
        ),
        *(Setting(knob, None) for knob in _STRENGTHS),
    ),
    instead={"augment.test_views": "views=K says how many"},
)

INSPECT: Final = Settings(
    "inspect",
    (
        Setting(
            Knob(
                "every",
                Whole(1),
                "also look every N steps; then no run is recorded",
                words=("none",),
                null="never",
                off=None,
                idle=_only_the_start,
            ),
            None,
        ),
        Setting(Knob("images", Whole(2), "training images to look at"), 256),
        Setting(Knob("train", Flag(), "whether to look after training too"), True),
    ),
)

_RATE: Final = Real(0, open_low=True)

LR_FIND: Final = Settings(
    "lr-find",
    (
        Setting(
            Knob(
                "mode",
                Choice(("sweep", "grid")),
                "one run whose rate rises step by step, or one run at each of several rates",
            ),
            "sweep",
        ),
        Setting(Knob("low", _RATE, "lowest rate"), 1e-6),
        Setting(Knob("high", _RATE, "highest rate"), 10.0),
        Setting(
            Knob("steps", Whole(2, MANY), "steps of the sweep, or of each run of the grid"), 100
        ),
        Setting(Knob("points", Whole(2, MANY), "rates of the grid", idle=_not_a_grid), 25),
        Setting(
            Knob(
                "smoothing",
                Real(0, 1, open_high=True),
                "share of the average loss to keep at each step of a sweep",
                idle=_not_a_sweep,
            ),
            0.9,
        ),
    ),
)
