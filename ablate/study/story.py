"""What a sweep's ledger says, in plain words, for readers of the verdicts.

One line says whether the claims were written before the first run, or what changed after how many
runs had ended; how often results were looked at; and whether the planned end is reached. Further
sentences report what was edited or cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from ablate import record
from ablate.errors import AblateError
from ablate.study import glimpse, ledger, questions, sweep_json
from ablate.study.edits import faults_of, joined, question_now
from ablate.study.glimpse import Glimpse
from ablate.study.ledger import Ledger

NOT_NOTED: Final = "this look could not be noted: the folder of the runs cannot be written to"
OLDER: Final = "this folder is older than its ledger, so it is unknown when its claims were written"
_OUTCOMES = ("finished", "diverged")  # a failed run has none until it is trained again
_MOST = 3  # runs, or numbers of runs, named one by one


@dataclass(frozen=True)
class Story:
    """What the ledger says about the runs that are shown.

    Attributes:
        line: In one line: when the claims were written or changed, the looks, and what is planned.
        faults: What was edited, cut off or lost, one sentence each.
        is_noted: Whether this look is in the ledger.
        looks: For each look so far, in order, including this one if it is new: keys of the runs
            shown that had finished or diverged.
        shown: The same for this look.
        planned: Arm -> the seeds planned when results were first looked at, on which verdicts rest,
            without those of runs given up. Empty for a grid, or if several folders are shown
            together.
        claims: The largest number of claims ever made here, since dropping one must not narrow
            any interval.
        is_interim: Whether planned runs are left: untrained, unfinished, or failed and not given
            up.
        is_extended: Whether seeds beyond the planned ones are shown.
    """

    line: str = ""
    faults: tuple[str, ...] = ()
    is_noted: bool = True
    looks: tuple[frozenset[str], ...] = ()
    shown: frozenset[str] = frozenset()
    planned: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    claims: int = 0
    is_interim: bool = False
    is_extended: bool = False

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentences, the line first."""
        told = (self.line, *self.faults, "" if self.is_noted else NOT_NOTED)
        return tuple(sentence for sentence in told if sentence)


def looked_at(folders: Sequence[Path], known: Mapping[Path, Glimpse] | None = None) -> Story:
    """Note in the ledger that results are shown, and return what it says about these runs.

    Args:
        folders: The folders of all runs that are shown, ended or not.
        known: Folder -> what its record said when it was read to be shown; others are read.

    Returns:
        The story. If the runs come from several sweeps, it tells only what is wrong in each.
    """
    known = known or {}
    sweeps: dict[Path, list[Glimpse]] = {}
    for folder in dict.fromkeys(folders):
        if (found := known.get(folder) or glimpse.at(folder)) is not None:
            sweeps.setdefault(folder.parent, []).append(found)
    stories = {sweep: _of_one(sweep, shown) for sweep, shown in sweeps.items()}
    if len(stories) == 1:
        return next(iter(stories.values()))
    return Story(
        faults=tuple(f"{sweep}: {fault}" for sweep, one in stories.items() for fault in one.faults),
        is_noted=all(one.is_noted for one in stories.values()),
    )


def _of_one(sweep: Path, shown: Sequence[Glimpse]) -> Story:
    before = ledger.read(sweep)
    ended = {one.key: one.digests for one in shown if one.digests is not None}
    wrong = faults_of(before, sweep, shown)  # before this look extends the ledger
    keys = sweep_json.planned_keys(sweep)
    is_noted = ledger.note_look(sweep, ended, None if keys is None else len(keys))
    read = ledger.read(sweep)
    looks = [_outcomes(line["seen"]) for line in read.of_kind("look")]
    looks += [] if is_noted else [_outcomes(ended)]
    gone = [one for one in shown if one.status == "failed" and one.key in read.given_up]
    planned = _without(_planned_seeds(sweep, read), gone)
    if keys is not None:
        keys -= {one.key for one in gone}
    told = _Shown(shown, planned, keys, len(gone))
    faults = tuple(dict.fromkeys([*wrong, *_found(before)]))
    parts = [_question(read, faults), _looks(read, is_noted, len(ended)), *told.sentences()]
    return Story(
        "; ".join(part for part in parts if part),
        faults,
        is_noted,
        tuple(looks),
        _outcomes(ended),
        planned,
        max((len(line["question"]["claims"]) for line in read.of_kind("claims")), default=0),
        told.left > 0,
        told.extended,
    )


def _without(
    planned: Mapping[str, tuple[int, ...]], gone: Sequence[Glimpse]
) -> dict[str, tuple[int, ...]]:
    left_out = {(str(one.arm), one.seed) for one in gone}
    return {
        arm: tuple(seed for seed in seeds if (arm, seed) not in left_out)
        for arm, seeds in planned.items()
    }


def give_up(folders: Sequence[Path]) -> int:
    """Note that failed runs will not be trained again, so that verdicts need not wait for them.

    Args:
        folders: Folders of runs.

    Returns:
        How many runs these are.

    Raises:
        AblateError: Their folder cannot be written to.
    """
    failed: dict[Path, list[str]] = {}
    for folder in folders:
        found = record.read_if_sound(folder)
        if found is not None and found["status"] == "failed":
            failed.setdefault(folder.parent, []).append(found["key"])
    for sweep, keys in failed.items():
        try:
            ledger.note_given_up(sweep, keys)
        except OSError as error:
            raise AblateError(
                f"could not note in {sweep} that runs are given up ({error.strerror})"
            ) from error
    return sum(map(len, failed.values()))


def _outcomes(seen: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(key for key, one in seen.items() if one["status"] in _OUTCOMES)


def _found(read: Ledger) -> Iterator[str]:
    """List what was wrong when a line was written but can no longer be seen."""
    for line in read.lines:
        for fault in line.get("found", ()):
            yield f"{fault} (noted in line {line['number']})"


# -- the line --------------------------------------------------------------------------------------


def _question(read: Ledger, faults: Sequence[str]) -> str:
    """Say when the question was written, and what changed after runs had ended."""
    lines = read.of_kind("claims")
    if not lines:
        return "unknown: no intact line of the ledger holds the claims" if faults else OLDER
    first = lines[0]
    changed = [
        f"after {_runs(new['ended'], old['planned'])} had ended,"
        f" {joined(questions.changes(old['question'], new['question']))}"
        for old, new in pairwise(lines)
        if new["ended"]
    ]
    if first["ended"]:
        begins = f"{OLDER}: it begins after {_runs(first['ended'])} had ended"
        return "; ".join([begins, *changed])
    count = len(first["question"]["claims"])
    claims = f"claim{'' if count == 1 else 's'} written" if count else "nothing was claimed"
    return f"{claims} before the first run{', but ' if changed else ''}{'; '.join(changed)}"


def _looks(read: Ledger, is_noted: bool, now: int) -> str:
    ended = [line["ended"] for line in read.of_kind("look")] + ([] if is_noted else [now])
    if len(ended) == 1:
        return f"this is the first look at results, of {_runs(ended[0])}"
    some = f"{', '.join(map(str, ended[:-1]))} and {ended[-1]}"
    if len(ended) > _MOST + 1:
        some = f"{min(ended)} to {max(ended)}"
    return f"{len(ended)} looks at results, of {some} runs"


def _runs(count: int, planned: int | None = None) -> str:
    of = "" if planned is None or planned < count else f" of {planned}"
    return f"{count}{of} run{'' if count == 1 and not of else 's'}"


# -- the plan --------------------------------------------------------------------------------------


def _planned_seeds(sweep: Path, read: Ledger) -> dict[str, tuple[int, ...]]:
    """Return each arm's seeds as planned when results were first looked at.

    Seeds planned later do not count, or one could add seeds until something is found. An arm added
    later has the seeds it was added with.
    """
    planned: dict[str, tuple[int, ...]] = {}
    was_seen = False
    for line in read.lines:
        was_seen |= line.get("kind") == "look"
        if line.get("kind") == "claims":
            seeds = questions.planned_seeds(line["question"])
            planned = {**seeds, **planned} if was_seen else seeds
    if planned:
        return planned
    return questions.planned_seeds(question_now(sweep) or {})


@dataclass(frozen=True)
class _Shown:
    """The runs that are shown, and those that were planned.

    Attributes:
        runs: These runs.
        planned: Arm -> planned seeds; empty for a grid.
        keys: Keys of the runs that were planned last, or None.
        given_up: How many runs that failed are not to be trained again.
    """

    runs: Sequence[Glimpse]
    planned: Mapping[str, tuple[int, ...]]
    keys: frozenset[str] | None
    given_up: int = 0

    @property
    def total(self) -> int:
        """How many runs are planned."""
        return sum(map(len, self.planned.values())) if self.planned else len(self.keys or ())

    @property
    def left(self) -> int:
        """How many of the planned runs have not ended with a result."""
        done = [one for one in self.runs if one.status in _OUTCOMES and self._is_planned(one)]
        return max(0, self.total - len(done))

    @property
    def extended(self) -> bool:
        """Whether runs with further seeds are shown; a grid has no plan that could tell."""
        arms = self.planned
        return any(
            one.seed not in arms[str(one.arm)]
            for one in self.runs
            if str(one.arm) in arms and one.status in _OUTCOMES
        )

    def _is_planned(self, one: Glimpse) -> bool:
        if self.planned:
            return one.seed in self.planned.get(str(one.arm), ())
        return self.keys is not None and one.key in self.keys

    def sentences(self) -> Iterator[str]:
        """Say how far the plan has come."""
        if self.left:
            failed = sum(one.status == "failed" for one in self.runs if self._is_planned(one))
            told = f"interim: {self.total - self.left} of {self.total} planned runs have ended"
            yield f"{told}, {failed} failed" if failed else told
        if self.given_up:
            were = "was" if self.given_up == 1 else "were"
            yield f"{_runs(self.given_up)} that failed {were} given up"
        if self.extended:
            counts = {len(seeds) for seeds in self.planned.values()}
            first = f"the first {min(counts)}" if len(counts) == 1 else "those planned before"
            when = "before" if self.left else "after"
            yield f"seeds were added {when} the planned end: extended; verdicts rest on {first}"
