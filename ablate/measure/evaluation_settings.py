"""What `ablate evaluate` can be told: `name=value` words, checked before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ablate.config import files, schema
from ablate.config.knob import Knob, shown
from ablate.config.types import Choice, Whole
from ablate.errors import AblateError, listed, nearest

SETTINGS: Final = {
    knob.name: knob
    for knob in (
        Knob("split", Choice(("test", "val")), "images that are evaluated"),
        Knob("views", Whole(2), "views of each image that are averaged", words=("none",)),
        Knob("samples", Whole(2), "sub-networks that dropout samples", words=("none",)),
        Knob("delete", Choice(("true", "false", "scaled")), "delete hidden units"),
        Knob("draws", Whole(1), "choices of the units that are deleted"),
        Knob("perturb", Choice(("true", "false")), "shift, rotate and blur with noise"),
        Knob("worst", Whole(1, 100), "images in the picture of the worst", words=("none",)),
        Knob("device", Choice(("auto", "cpu", "cuda")), "where it is computed"),
    )
}
_DEFAULTS: Final[dict[str, Any]] = {
    "split": "test",
    "views": 4,
    "samples": 10,
    "delete": "true",
    "draws": 3,
    "perturb": "true",
    "worst": 24,
    "device": "auto",
}
_KINDS = "augment."  # strengths of single transformations
_NOT_HERE = ("augment.test_views", "augment._target_")


@dataclass(frozen=True)
class Settings:
    """What to evaluate, and how.

    Attributes:
        split: ``test`` or ``val``.
        views: Views of each image; None leaves test-time augmentation out.
        samples: Sub-networks that dropout samples; None leaves them out.
        delete: Whether hidden units are deleted.
        scaled: Whether those that are left make up for those that are deleted.
        draws: How many times the units to delete are chosen.
        perturb: Whether images are shifted, rotated and given noise.
        worst: Images in the picture of the worst; None leaves it out.
        device: ``cpu`` or ``cuda``.
        augment: A whole augmentation in place of the runs' own, or None.
        strengths: Single transformations on top of it: name -> strength.
        explicit: Settings that were asked for, rather than left at their defaults.
    """

    split: str
    views: int | None
    samples: int | None
    delete: bool
    scaled: bool
    draws: int
    perturb: bool
    worst: int | None
    device: str
    augment: Mapping[str, Any] | None = None
    strengths: Mapping[str, Any] = field(default_factory=dict)
    explicit: frozenset[str] = frozenset()

    def augmentation(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Give the `augment` part of a run's configuration that its views are made by."""
        own = config["augment"] if self.augment is None else self.augment
        return {**own, **self.strengths, "test_views": self.views or 1}


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Read `name=value` words.

    Raises:
        AblateError: A word is not of that form, or a name stands twice; every fault is told.
    """
    values: dict[str, Any] = {}
    faults = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            faults.append(f"{word} is no setting: name=value is needed, as in views=8")
        elif name in values:
            faults.append(f"{name} is set twice")
        else:
            values[name] = None
            try:
                values[name] = OmegaConf.from_dotlist([f"value={text}"])["value"]
            except (YAMLError, OmegaConfBaseException):
                faults.append(f"{word} does not read: {text} is no value")
    if faults:
        # What reads is checked all the same, so that all faults are told together.
        raise AblateError(*faults, *_faults(values))
    return values


def settings(values: Mapping[str, Any]) -> Settings:
    """Check what was asked for and complete it by the defaults.

    Args:
        values: By name: those of `SETTINGS`, ``augment`` and ``augment.<transformation>``.

    Raises:
        AblateError: Something is wrong; every fault is told.
    """
    check(values)
    chosen = _DEFAULTS | {n: _word(n, v) for n, v in values.items() if n in SETTINGS}
    whole = None if "augment" not in values else files.option("augment", values["augment"])
    return Settings(
        split=chosen["split"],
        views=_number(chosen["views"]),
        samples=_number(chosen["samples"]),
        delete=chosen["delete"] != "false",
        scaled=chosen["delete"] == "scaled",
        draws=chosen["draws"],
        perturb=chosen["perturb"] == "true",
        worst=_number(chosen["worst"]),
        device=_device(chosen["device"]),
        augment=whole,
        strengths={n.removeprefix(_KINDS): v for n, v in values.items() if n.startswith(_KINDS)},
        explicit=frozenset(values),
    )


# -- faults ----------------------------------------------------------------------------------------


def check(values: Mapping[str, Any]) -> None:
    """Check what was asked for, but for whether its device is here.

    Raises:
        AblateError: Something is wrong; every fault is told.
    """
    faults = _faults(values)
    if faults:
        raise AblateError(*faults)


def _faults(values: Mapping[str, Any]) -> list[str]:
    faults = [fault for name, value in values.items() if (fault := _fault(name, value))]
    words = {name: _word(name, values[name]) for name in values}
    if words.get("delete") == "false" and "draws" in words:
        faults.append(f"draws={words['draws']} touches nothing: delete=false")
    augmented = [n for n in values if n == "augment" or n.startswith(_KINDS)]
    if words.get("views") == "none" and augmented:
        faults.append(f"{augmented[0]}={shown(values[augmented[0]])} touches nothing: views=none")
    if not faults and values.get("augment") == "none" and not _any_on(values):
        faults.append("augment=none leaves one view of each image: views=none leaves them out")
    return faults


def _fault(name: str, value: Any) -> str | None:
    if name in SETTINGS:
        return SETTINGS[name].fault(_word(name, value))
    if name == "augment":
        options = files.groups()["augment"]
        if value in options:
            return None
        hint = nearest(str(value), options)
        return f"augment={shown(value)} is not legal: it takes {listed(options)}{hint}"
    if name in _kinds():
        return schema.BY_NAME[name].fault(value)
    if name == "augment.test_views":
        return "augment.test_views is not set here: views=K says how many"
    legal = [*SETTINGS, "augment", *_kinds()]
    return f"there is no setting {name}{nearest(name, legal)}{_all_of(name)}"


def _all_of(name: str) -> str:
    """List the names among which an unknown one may be meant."""
    if name.startswith(_KINDS):
        return f" (there are {listed(sorted(_kinds()))})"
    return f" (there are {', '.join(SETTINGS)} and augment)"


def _kinds() -> set[str]:
    names = {name for name in schema.BY_NAME if name.startswith(_KINDS)}
    return names - set(_NOT_HERE)


def _any_on(values: Mapping[str, Any]) -> bool:
    return any(
        n.startswith(_KINDS) and not schema.is_off(schema.BY_NAME[n], v) for n, v in values.items()
    )


def _word(name: str, value: Any) -> Any:
    """Write a truth value as the word that it is on the command line; None as ``none``."""
    if value is None and name in SETTINGS and "none" in SETTINGS[name].words:
        return "none"
    return shown(value) if isinstance(value, bool) else value


def _number(word: Any) -> int | None:
    return None if word == "none" else int(word)


def _device(name: str) -> str:
    """Resolve `device=auto`.

    Raises:
        AblateError: There is no such device.
    """
    if name == "cpu":
        return name
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise AblateError("device=cuda: torch finds no CUDA device here; device=auto does without")
    return ("cuda" if there else "cpu") if name == "auto" else name


def applies(wanted: Settings, found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say what was asked for and touches none of the runs.

    Args:
        wanted: What was asked for.
        found: The runs' records.
    """
    records = list(found)
    faults = []
    if "samples" in wanted.explicit and wanted.samples and not any(map(has_dropout, records)):
        faults.append(
            f"samples={wanted.samples} touches nothing: no dropout and no stochastic depth acted"
            " in training"
        )
    if (
        {"views"} & wanted.explicit
        and wanted.views
        and not any(transformations(wanted.augmentation(found["config"])) for found in records)
    ):
        faults.append(
            f"views={wanted.views} touches nothing: training did not augment; say by what, as in"
            " augment=shift or augment.flip=0.5"
        )
    return faults


def has_dropout(record: Mapping[str, Any]) -> bool:
    """Tell from a record whether its network drew sub-networks in training."""
    acted = record["active"]
    return any(n == "dropout" or n.startswith("dropout/") for n in acted) or (
        "regularize/stochastic_depth" in acted
    )


def may_drop(config: Mapping[str, Any]) -> bool:
    """Tell from a configuration whether its network may draw sub-networks in training.

    A network of the user's own may hold dropout of its own.
    """
    named = [knob for knob in schema.BY_NAME.values() if knob.group == "dropout" and knob.off == 0]
    named.append(schema.BY_NAME["regularize.stochastic_depth"])
    on = [n for k in named if not schema.is_off(k, schema.get(config, n := k.name, k.off))]
    own = schema.get(config, "model._target_") or schema.get(config, "dropout._target_")
    return bool(on or own)


def transformations(augment: Mapping[str, Any]) -> dict[str, Any]:
    """List the transformations of an augmentation that are on, with their strengths."""
    knobs = {name: schema.BY_NAME.get(f"augment.{name}") for name in augment}
    return {
        name: augment[name]
        for name, knob in knobs.items()
        if knob is not None and name != "test_views" and not schema.is_off(knob, augment[name])
    }
