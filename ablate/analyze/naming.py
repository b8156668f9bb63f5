"""Arms: runs that differ in nothing but their seeds, named by what varies between them.

Everything here works on flat configs (`schema.flatten`) and imports nothing heavy, so that a plan,
a sweep's end and a report name the same arms alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

from ablate.config import files, schema
from ablate.config.types import ListOf, Real

Flat = Mapping[str, Any]  # a resolved config by dotted names
Place = tuple[int, tuple[float, ...], str]
Rank = tuple[int, tuple[Place, ...]]

ONLY_ARM = "all runs"  # the arm's name if nothing varies


def names(flat: Sequence[Flat]) -> list[str]:
    """Name the arm of each run.

    Args:
        flat: One config per run.

    Returns:
        One name per run: what varies, as on the command line (``dropout.dense=0.5 norm=batch``), or
        ``all runs`` if only seeds vary. What an option brings along is left out.
    """
    wanted = told(flat)
    return [
        " ".join(f"{n.removesuffix('.name')}={schema.shown(one[n])}" for n in wanted if n in one)
        or ONLY_ARM
        for one in flat
    ]


def told(flat: Sequence[Flat]) -> list[str]:
    """List the knobs that name an arm: those that vary, unless an option brings them along."""
    found = varied(flat)
    options = [name for name in found if name.endswith(".name")]
    return [name for name in found if name in options or not follows(name, options, flat)]


def varied(flat: Sequence[Flat]) -> list[str]:
    """List the knobs that vary and can change a result: no seeds, labels or execution settings.

    Args:
        flat: One config per run; a missing knob counts as None.
    """
    every = [name for name in dict.fromkeys(chain.from_iterable(flat)) if can_matter(name)]
    return [name for name in every if not all_equal([one.get(name) for one in flat])]


def all_equal(values: list[Any]) -> bool:
    """Tell whether all values, of which there is at least one, are the same."""
    return values.count(values[0]) == len(values)  # a loop of Python's own is five times as slow


def can_matter(name: str) -> bool:
    """Tell whether a knob can distinguish arms: arguments of own classes can, seeds cannot."""
    knob = schema.BY_NAME.get(name)
    return not is_seed(name) and (knob is None or knob.role == "result")


def is_seed(name: str) -> bool:
    """Tell whether a knob is a seed."""
    return name == "seed" or name.startswith("seeds.")


def follows(name: str, options: Sequence[str], flat: Sequence[Flat]) -> bool:
    """Tell whether, in all these runs, the option of a knob's group settles its value."""
    option = f"{name.partition('.')[0]}.name"
    if option not in options:
        return False
    seen: dict[str, str] = {}
    return all(
        seen.setdefault(str(one.get(option)), value := schema.shown(one.get(name))) == value
        for one in flat
    )


def replicates(flat: Sequence[Flat]) -> list[str]:
    """Name what pairs a run with runs of other arms: its seed, and any pinned sources.

    Returns:
        ``3``, or ``3 init=0`` where the initial weights are pinned to the seed 0.
    """
    return [
        " ".join(
            [
                str(one["seed"]),
                *(
                    f"{name.removeprefix('seeds.')}={value}"
                    for name, value in one.items()
                    if name.startswith("seeds.") and value is not None
                ),
            ]
        )
        for one in flat
    ]


def completed(flat: Sequence[Flat]) -> list[dict[str, Any]]:
    """Fill in the off values of knobs that are newer than a record, as the run's key does.

    Knobs of groups with options stay absent: an option that lacks a knob has no value for it.
    """
    every = dict.fromkeys(chain.from_iterable(flat))
    rest = {
        name: _off(knob)
        for name in every
        if (knob := schema.BY_NAME.get(name)) is not None
        and knob.off is not schema.UNSET
        and knob.group not in schema.OPTIONS
    }
    return [{**rest, **one} for one in flat]


def _off(knob: schema.Knob) -> Any:
    real = isinstance(knob.type, Real | ListOf) and isinstance(knob.off, int)
    return float(knob.off) if real else knob.off


# -- order -----------------------------------------------------------------------------------------


def ranks(flat: Sequence[Flat]) -> list[Rank]:
    """Return each run's rank by arm; sorted by it, arms come as a reader expects them.

    The natural baseline comes first: the arm from which every other departs by one factor, as in a
    leave-one-out, or else the arm whose varied knobs are all off or at their defaults. Then numbers
    in order, then words.
    """
    wanted = told(flat)
    places = [
        tuple(_place(name, one[name]) if name in one else _REST for name in wanted) for one in flat
    ]
    centre = _centre(set(places)) or _full_of_one(flat, set(places))
    return [(0 if arm == centre else 1 + any(place[0] > 1 for place in arm), arm) for arm in places]


def _centre(arms: set[tuple[Place, ...]]) -> tuple[Place, ...] | None:
    """Find the arm from which every other departs by one of several factors."""
    # For each knob it has the value that most arms have.
    centre = tuple(Counter(values).most_common(1)[0][0] for values in zip(*arms, strict=True))
    departures = {
        frozenset(i for i, place in enumerate(arm) if place != centre[i]) for arm in arms - {centre}
    }
    apart = sum(map(len, departures)) == len(frozenset[int]().union(*departures))
    return centre if centre in arms and len(departures) > 1 and apart else None


def _full_of_one(flat: Sequence[Flat], arms: set[tuple[Place, ...]]) -> tuple[Place, ...] | None:
    """Find the full recipe in a leave-one-out of one ingredient: the arm that has it."""
    designs = {one.get("design") for one in flat}
    return max(arms) if designs == {"leave_one_out"} and len(arms) == 2 else None


_REST: Final[Place] = (0, (), "")


def _place(name: str, value: Any) -> Place:
    knob = schema.BY_NAME.get(name)
    if knob is not None and knob.off is not schema.UNSET and value == knob.off:
        return _REST
    state = 1 if name in _defaults() and value == _defaults()[name] else 2
    numbers = value if isinstance(value, list | tuple) else [value]
    if numbers and all(isinstance(number, int | float) for number in numbers):
        return (state, tuple(float(number) for number in numbers), "")
    return (state, (), schema.shown(value))


@cache
def _defaults() -> dict[str, Any]:
    groups = {group: files.option(group, option) for group, option in files.chosen().items()}
    return schema.flatten(files.top() | groups)
