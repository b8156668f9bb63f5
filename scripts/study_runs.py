"""Finds the shipped studies that have been run, and says why one is not complete.

A study is complete if every planned run has ended, all its measurements were made, and its YAML was
committed before its runs with the same words as today, at the commit that each record names.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import yaml

from ablate import record
from ablate.config import schema
from ablate.errors import AblateError
from ablate.plan.request import name_of
from ablate.study import study, study_json
from ablate.study.claim import Claim
from ablate.study.file import read_study
from ablate.study.study import Study
from ablate.study.study_json import WrittenStudy

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Found:
    """A shipped study, and its runs in some folder.

    Attributes:
        asked: The study, at the scale of its runs.
        root: The folder that holds the folder of its runs.
        scale: ``quick`` or ``full``.
        records: Records of all its runs, including tuning.
    """

    asked: Study
    root: Path
    scale: str
    records: tuple[record.Record, ...]


class NotWholeError(AblateError):
    """A study lacks a run, or differs from its committed YAML."""


def found_below(roots: Sequence[Path]) -> tuple[list[Found], list[str]]:
    """Find the shipped studies with runs below some folders.

    Returns:
        The complete ones, by name, and why each of the others is not.

    Raises:
        AblateError: A folder has no run of any study, or two have the same complete study.
    """
    whole: dict[str, Found] = {}
    faults = []
    for root in roots:
        names = [name for name in study.shipped() if (root / name).is_dir()]
        if not names:
            raise AblateError(f"{root} holds no folder of a shipped study: see `ablate studies`")
        for name in names:
            try:
                found = read_runs(root, name)
            except NotWholeError as error:
                faults.append(f"{root / name} is not whole: {'; '.join(error.faults)}")
                continue
            if name in whole:
                raise AblateError(
                    f"{name} lies whole in {whole[name].root} and in {root}: name one"
                )
            whole[name] = found
    return [whole[name] for name in sorted(whole)], faults


def read_runs(root: Path, name: str) -> Found:
    """Read the runs of a study.

    Raises:
        NotWholeError: It is not complete; gives each reason.
    """
    told = _told(root / name)
    reported, tuning = _records(root / name), _records(root / f"{name}-tuning")
    scales = {one["config"]["scale"] for one in reported}
    if len(scales) != 1:
        raise NotWholeError(f"its runs are of {len(scales)} scales")
    (scale,) = scales
    asked = read_study(name, scale)
    every = (*reported, *tuning)
    faults = [
        *_changed(asked, told),
        *_left("run", _planned(asked), reported),
        *_left("tuning run", _tuning(asked), tuning),
        *_not_measured(asked, told, reported),
        *_uncommitted(name, every),
    ]
    if faults:
        raise NotWholeError(*faults)
    return Found(asked, root.resolve(), scale, every)


def _told(folder: Path) -> WrittenStudy:
    found = study_json.read(folder)
    if found is None:
        raise NotWholeError(f"there is no {study_json.FILE}: its arms have not begun")
    return found


def _records(folder: Path) -> list[record.Record]:
    found = [record.read(place) for place in (record.find(folder) if folder.is_dir() else ())]
    return [one for one in found if one is not None]


def _changed(asked: Study, told: WrittenStudy) -> Iterator[str]:
    """List how the study of the runs differs from the YAML."""
    for key in ("question", "fixed", "metric", "margin", "target", "equal", "tuning"):
        if getattr(told, key) != getattr(asked, key):
            yield f"its YAML asks for another {key} today"
    if told.baseline != asked.baseline.name:
        yield "its YAML asks for another baseline today"
    was = {name: (arm.overrides, arm.seeds) for name, arm in told.arms.items()}
    has = {arm.name: (arm.overrides, asked.seeds_of(arm)) for arm in asked.arms}
    if was != has:
        yield "its YAML gives arms other overrides or seeds today"
    if _words(asked.claims) != _words(told.claims):
        yield "its YAML claims something else today"
    for override in told.command:
        knob = schema.BY_NAME.get(name_of(override))
        if knob is None or knob.role == "result":
            yield f"it was run with {override}, which its YAML does not say"


def _words(claims: Sequence[Claim]) -> list[tuple[Any, ...]]:
    return [(one.words, one.arm, one.metric, one.direction, one.margin) for one in claims]


def _planned(asked: Study) -> Counter[tuple[str, int]]:
    return Counter((arm.name, seed) for arm in asked.arms for seed in asked.seeds_of(arm))


def _tuning(asked: Study) -> Counter[tuple[str, int]]:
    if asked.tuning is None:
        return Counter()
    settings = {arm.name: prod(map(len, asked.grid_of(arm).values())) for arm in asked.arms}
    return Counter({(a, s): n for a, n in settings.items() for s in asked.tuning.seeds})


def _left(
    kind: str, planned: Counter[tuple[str, int]], records: Sequence[record.Record]
) -> Iterator[str]:
    ends = [one for one in records if one["status"] in record.ENDED]
    ended = Counter((str(one["arm"]), one["seed"]) for one in ends)
    if lacking := (planned - ended).total():
        yield f"{lacking} of {planned.total()} {kind}s have not ended"
    if more := (ended - planned).total():
        yield f"{more} {kind}s are of no arm or seed that is planned"


def _not_measured(
    asked: Study, told: WrittenStudy, records: Sequence[record.Record]
) -> Iterator[str]:
    """List runs not measured yet; for those that cannot be, study.json has the reason."""
    if asked.measure is None or told.unmeasured:
        return
    wanted = [n for n in ("evaluate", "inspect") if getattr(asked.measure, n) is not None]
    done = [one for one in records if one["status"] == "finished"]
    if lacking := sum(not all(one.get(name) for name in wanted) for one in done):
        yield f"{lacking} of {len(done)} finished runs have not been measured"


def _uncommitted(name: str, records: Sequence[record.Record]) -> Iterator[str]:
    """List commits of the runs that do not have the study's YAML as it is today."""
    if any(one["environment"].get("dirty") for one in records):
        yield "some runs were trained with uncommitted changes"
    today = yaml.safe_load(study.find(name).read_text(encoding="utf-8"))
    for commit in sorted({str(one["environment"].get("commit")) for one in records}):
        place = f"{commit}:conf/study/{name}.yaml"
        git = ["git", "-C", str(REPOSITORY), "show", place]
        shown = subprocess.run(git, capture_output=True, text=True, check=False)
        if shown.returncode or yaml.safe_load(shown.stdout) != today:
            yield f"at {commit[:7]}, where it ran, its YAML was not as it is today"
