"""What a record holds, as types, and the JSON Schema that is derived from them.

The names are a contract (users read records with other tools): change none of them, and count
`SCHEMA` up where a reader of the old version would be wrong.
"""

# Without `from __future__ import annotations`: typing would not see which keys are `NotRequired`.

import types
from collections.abc import Mapping
from typing import (
    Any,
    Final,
    Literal,
    NotRequired,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

SCHEMA: Final = 1

Status = Literal["running", "finished", "diverged", "failed", "interrupted"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
ENDED: Final[tuple[Status, ...]] = ("finished", "diverged", "failed")  # left alone unless `rerun`

# Of an epoch; losses are null where they were not finite, `val/` where nothing is held out.
Epoch = TypedDict(
    "Epoch",
    {
        "epoch": int,
        "step": int,
        "lr": float,
        "train/loss": float | None,
        "train/penalty": NotRequired[float | None],
        "train/accuracy": float,
        "val/loss": float | None,
        "val/accuracy": float | None,
    },
)


class Timing(TypedDict):
    """When a run began and ended, in UTC, and the seconds that it took.

    `seconds` is of training alone, an entry an epoch: the run's share of its stack's time. `total`
    and `finished` are there once the run has come to its end.
    """

    started: str
    seconds: list[float]
    total: NotRequired[float]
    finished: NotRequired[str]


class SplitSizes(TypedDict):
    """Images of each split."""

    train: int
    val: int
    test: int


class TrainedOn(TypedDict):
    """The data set: its digest, and what of it shapes a network; `mean` and `std` by channel."""

    digest: str
    shape: list[int]
    classes: list[str]
    sizes: SplitSizes
    mean: list[float]
    std: list[float]


class StackSlot(TypedDict):
    """Where in its stack a run was trained."""

    width: int
    slot: int
    fused: bool


class Environment(TypedDict, total=False):
    """What a run was trained on; empty until it begins.

    `commit` and `dirty` are of the git repository that the working directory lies in, null where
    there is none; the version of a package that is not installed is null.
    """

    versions: dict[str, str | None]
    platform: str
    device: str
    threads: int
    commit: str | None
    dirty: bool | None
    data: TrainedOn
    stack: StackSlot


class Record(TypedDict):
    """A run: what it is, how it ended, what came out. Errors and accuracies are fractions.

    `config` is resolved and nested; `active` is what acted, and how strongly; `evaluate` (by split)
    and `inspect` hold what was measured of the trained network later. A metric that could not be
    measured is null.
    """

    schema: int
    key: str
    study: str | None
    arm: str | None
    seed: int
    config: Mapping[str, Any]
    status: Status
    reason: str | None
    active: dict[str, Any]
    metrics: dict[str, float | None]
    history: list[Epoch]
    evaluate: dict[str, Any]
    inspect: NotRequired[dict[str, Any]]
    parameters: int | None
    timing: Timing
    environment: Environment


# -- the schema ------------------------------------------------------------------------------------

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def json_schema() -> dict[str, Any]:
    """Derive the JSON Schema of a record, which is published as record.schema.json.

    Keys that it does not name are allowed, so that a record may grow within a version.

    Source: JSON Schema, draft 2020-12.
    """
    found = _schema_of(Record)
    found["properties"]["schema"] = {"const": SCHEMA}
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "record.json of ablate", **found}


def _schema_of(kind: Any) -> dict[str, Any]:
    if kind is Any:
        return {}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if is_typeddict(kind):
        return _object(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": _schema_of(inner[0])}
    if origin in (dict, Mapping):
        values = _schema_of(inner[1])
        return {"type": "object"} | ({"additionalProperties": values} if values else {})
    assert origin is types.UnionType, f"a record holds no {kind}"
    return {"type": [_PLAIN[one] for one in inner]}


def _object(kind: Any) -> dict[str, Any]:
    keys = get_type_hints(kind)
    return {
        "type": "object",
        **({"description": " ".join(kind.__doc__.split())} if kind.__doc__ else {}),
        "properties": {name: _schema_of(value) for name, value in keys.items()},
        "required": [name for name in keys if name in kind.__required_keys__],
    }
