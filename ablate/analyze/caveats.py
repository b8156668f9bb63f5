"""What to know before trusting a comparison: gaps, mixtures, arms that are the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from ablate.analyze import outcomes, shape
from ablate.analyze.frames import Frames
from ablate.analyze.summaries import counts

_MOST = 8  # names listed in a sentence
_SPLITS = ("train", "val", "test", "gap")


def notes(frames: Frames) -> list[str]:
    """Say what weakens a comparison of these runs.

    Args:
        frames: What was read.

    Returns:
        One sentence each, the gravest first; empty if there is nothing to say. They cover files
        that do not read, identical arms, several versions of the user's own code, several data sets
        or commits, failed, diverged, unfinished and missing runs, unequal n, arms of one seed,
        seeds that appear twice in an arm, copies, and several kinds of hardware.
    """
    runs = frames.runs
    found = []
    if frames.unreadable:
        found.append(f"files that cannot be read are left out: {_listed(frames.unreadable)}")
    found += [
        f"the arms {_listed(group)} have bit-identical losses on every shared seed: the knobs in"
        " which they differ may have no effect"
        for group in identical_arms(frames)
    ]
    found += _codes(frames)
    found += _mixtures(runs)
    found += _splits(runs)
    found += _gaps(runs)
    if frames.copies:
        found.append(
            f"copies of runs read from another folder are left out: {_listed(frames.copies)}"
        )
    return found


def short_of_target(runs: pd.DataFrame, target: float) -> list[str]:
    """Say which arms have runs that never reached a validation error, if any.

    Args:
        runs: The runs frame, with `epochs_to_target`.
        target: The error, a fraction.
    """
    done = runs[(runs["status"] == "finished") & runs["epochs_to_target"].isna()]
    counted = done.groupby("arm", sort=False).size()
    if counted.empty:
        return []
    arms = _listed(f"{arm} ({n})" for arm, n in counted.items())
    return [
        f"runs that never reached the target, a validation error of {100 * target:g} %, are left"
        f" out of the mean epochs to it: {arms}"
    ]


def shared_time(runs: pd.DataFrame) -> list[str]:
    """Say how many runs were not trained alone, so that their times are not independent."""
    done = runs[runs["status"] == "finished"]
    if not (shared := int((~outcomes.trained_alone(done)).sum())):
        return []
    return [
        f"{shared} of {len(done)} runs shared a stack or the machine with another run, or may have:"
        " their times depend on each other, so they are not tested; to compare times, train with"
        " stack.width=1 launch=inline"
    ]


def doubts(found: pd.DataFrame) -> list[str]:
    """Name the contrasts whose intervals may miss more often than they claim.

    Args:
        found: The contrasts frame.
    """
    told = []
    tails = {shape.UP: "above", shape.DOWN: "below"}
    for doubt, side in tails.items():
        if arms := _of(found, doubt):
            told.append(
                f"the differences of {arms} have a long tail {side} their mean, as rare bad seeds"
                " would cause: such intervals miss in 7 to 16 % of simulated studies, not in 5 %;"
                " more seeds help"
            )
    if arms := _of(found, shape.FEW):
        told.append(
            f"fewer than {shape.FEWEST} seeds in {arms}: intervals assume that seeds scatter"
            " normally, and so few seeds cannot show whether they do (with a long tail, intervals"
            " miss in 10 to 18 % of simulated studies)"
        )
    return told


def _of(found: pd.DataFrame, doubt: str) -> str:
    arms = dict.fromkeys(found.loc[found["doubt"] == doubt, "arm"])
    return "every arm" if len(arms) > 1 and len(arms) == found["arm"].nunique() else _listed(arms)


def identical_arms(frames: Frames) -> list[tuple[str, ...]]:
    """Find arms whose runs agree to the last bit on every seed they share.

    This compares the training losses of all epochs and the final measures of each split. Runs that
    recorded no epoch are left out.

    Args:
        frames: What was read.

    Returns:
        Groups of two or more arms; each arm is in at most one.
    """
    prints = _prints(frames)
    together: dict[tuple[str, int], list[str]] = {}
    for arm, runs in prints.items():
        for replicate, value in runs.items():
            together.setdefault((replicate, value), []).append(arm)
    suspects = {pair for group in together.values() for pair in combinations(group, 2)}
    alike = [(a, b) for a, b in sorted(suspects) if _agree(prints[a], prints[b])]
    return _grouped(alike, list(prints))


def _prints(frames: Frames) -> dict[str, dict[str, int]]:
    """Arm -> replicate -> a hash of all numbers of the run."""
    runs, history = frames.runs, frames.history
    if "train/loss" not in history:
        return {}
    by_run = history.groupby("key", sort=False, observed=True)["train/loss"]
    losses = {str(key): part.to_numpy().tobytes() for key, part in by_run}
    # How often a limit acted is left out: two arms may differ only in that a limit was set and
    # never acted.
    measured = [str(n) for n in runs if str(n).partition("/")[0] in _SPLITS]
    prints: dict[str, dict[str, int]] = {}
    rows = zip(runs["arm"], runs["replicate"], runs["key"], runs[measured].to_numpy(), strict=True)
    for arm, replicate, key, numbers in rows:
        if key in losses:
            value = hash((losses[key], numbers.tobytes()))
            prints.setdefault(str(arm), {})[str(replicate)] = value
    return prints


def _agree(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(one[replicate] == other[replicate] for replicate in one.keys() & other.keys())


def _grouped(pairs: Iterable[tuple[str, str]], order: list[str]) -> list[tuple[str, ...]]:
    group = {arm: {arm} for arm in order}
    for a, b in pairs:
        joined = group[a] | group[b]
        for arm in joined:
            group[arm] = joined
    found = {tuple(arm for arm in order if arm in members) for members in group.values()}
    return sorted((g for g in found if len(g) > 1), key=lambda g: order.index(g[0]))


def _codes(frames: Frames) -> list[str]:
    """Say which of the user's own files and packages differ between the runs that use them."""
    rows = zip(frames.runs["key"], frames.runs["arm"], strict=True)
    versions: dict[str, dict[str, dict[str, None]]] = {}  # name -> version -> arms
    for key, arm in rows:
        for name, version in frames.code.get(str(key), {}).items():
            versions.setdefault(name, {}).setdefault(version, {})[str(arm)] = None
    split: dict[str, list[str]] = {}  # arms grouped by version -> names
    for name, arms in versions.items():
        if len(arms) > 1:
            split.setdefault(" / ".join(map(_listed, arms.values())), []).append(name)
    return [
        f"runs were trained on different versions of {_listed(names)} (arms by version: {arms}):"
        " differences may come from that; the same command trains the outdated runs again"
        for arms, names in split.items()
    ]


def _mixtures(runs: pd.DataFrame) -> list[str]:
    found = []
    for column, what in (
        ("data_digest", "data sets"),
        ("commit", "commits of the working directory"),
        ("hardware", "kinds of hardware"),
    ):
        values = [str(value) for value in runs[column].dropna().unique()]
        if len(values) > 1:
            found.append(f"the runs come from {len(values)} {what}: {_listed(values)}")
    if (dirty := int(runs["dirty"].fillna(False).sum())) > 0:
        found.append(f"trained with uncommitted changes: {dirty} of {len(runs)} runs")
    return found


def _splits(runs: pd.DataFrame) -> list[str]:
    if "seeds.split" not in runs:  # it does not vary
        return []
    return [
        "the runs were split in different ways (seeds.split): such splits share images, so"
        " intervals are widened by Nadeau and Bengio's correction, an approximation"
    ]


def _gaps(runs: pd.DataFrame) -> list[str]:
    table = counts(runs)
    found = []
    for column, what in (
        ("n_failed", "failed runs are left out of the means"),
        ("n_unfinished", "unfinished runs are left out of the means"),
        ("n_missing", "runs are missing for seeds that other arms have"),
    ):
        short = table.loc[table[column] > 0, column]
        if len(short):
            found.append(f"{what}: {_listed([f'{arm} ({n})' for arm, n in short.items()])}")
    lost = table["n_diverged"] + table["n_at_chance"]
    if (lost > 0).any():
        rows = table[lost > 0].to_dict("index").items()
        told = [_share(str(arm), about) for arm, about in rows]
        found.append(
            "runs that diverged or stayed at chance are left out of the means, and contrasts of"
            f" arms with such runs say which side is better but not by how much: {_listed(told)}"
        )
    done = table["n_finished"]
    if done.nunique() > 1:
        found.append(f"the arms have unequal n: from {done.min()} to {done.max()} finished runs")
    single = list(table.index[done == 1])
    if single:
        found.append(f"only one seed, so no interval and no test: {_listed(single)}")
    double = runs.duplicated(["arm", "replicate"], keep=False)
    if double.any():
        names = [str(arm) for arm in runs.loc[double, "arm"].unique()]
        found.append(f"some seeds appear twice in an arm, so it is not paired: {_listed(names)}")
    return found


def _share(arm: str, about: Mapping[Any, Any]) -> str:
    """Write how many runs of an arm did not train: ``a (2 of 5: 40 %, 95 % interval 5 to 85)``."""
    count = about["n_diverged"] + about["n_at_chance"]
    of = f"{count} of {about['n_finished'] + about['n_diverged']}"
    share, low, high = (100 * about[f"untrained{end}"] for end in ("", "_low", "_high"))
    return f"{arm} ({of}: {share:.0f} %, 95 % interval {low:.0f} to {high:.0f})"


def _listed(names: Iterable[object]) -> str:
    texts = [str(name) for name in names]
    more = len(texts) - _MOST
    return ", ".join(texts[:_MOST]) + (f" and {more} more" if more > 0 else "")
