"""The content of a record as types, and the JSON Schema derived from them.

The names are a contract: users read records with other tools, so do not change them. Increase
`SCHEMA` if an old reader would misread a new record.
"""

# No `from __future__ import annotations` here: typing could not see which keys are `NotRequired`.

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
ENDED: Final[tuple[Status, ...]] = (
    "finished",
    "diverged",
    "failed",
)  # not trained again unless `rerun` says so

# An epoch. A loss that was not finite is null; so is `val/` without validation images.
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
    """When a run started and ended, in UTC, and how many seconds it took.

    `seconds` counts training only, one entry per epoch: the run's share of its stack's time.
    `total` and `finished` exist once the run has ended.
    """

    started: str
    seconds: list[float]
    total: NotRequired[float]
    finished: NotRequired[str]


class SplitSizes(TypedDict):
    """Number of images in each split."""

    train: int
    val: int
    test: int


class TrainedOn(TypedDict):
    """The data set: digest, shape of an image, classes, sizes; `mean` and `std` by channel.

    `largest_class` is the share of validation images in the most frequent class, which a network
    that learned nothing gets right. It is null without validation images.
    """

    digest: str
    shape: list[int]
    classes: list[str]
    sizes: SplitSizes
    mean: list[float]
    std: list[float]
    largest_class: NotRequired[float | None]


class StackSlot(TypedDict):
    """The stack that a run was trained in, and the run's slot."""

    width: int
    slot: int
    fused: bool


class Environment(TypedDict, total=False):
    """The machine, software and data that a run was trained with; empty until it starts.

    `commit` and `dirty` describe the git repository of the working directory, and are null without
    one. The version of a package that is not installed is null. `tf32` tells whether a GPU may
    round the factors of float32 products.
    """

    versions: dict[str, str | None]
    platform: str
    device: str
    threads: int
    tf32: bool
    commit: str | None
    dirty: bool | None
    data: TrainedOn
    stack: StackSlot


class LedgerLine(TypedDict):
    """A line of a sweep's ledger, which its hash seals."""

    number: int
    hash: str


class Try(TypedDict):
    """An attempt to train a run that ended by accident: a kill, or too little memory.

    `started` and `ended` are in UTC.
    """

    started: str
    ended: str
    reason: str


class Code(TypedDict):
    """The user's own code that a run uses.

    `files` are the sources of its classes with what they import, and files that knobs name (such as
    weights): SHA-256 of each. `packages` are the installed packages that the sources import:
    version of each.
    """

    files: dict[str, str]
    packages: dict[str, str]


class Record(TypedDict):
    """A run: what it is, how it ended, and its results. Errors and accuracies are fractions.

    `config` is resolved and nested; `active` says which regularizers acted, and how strongly;
    `evaluate` (by split) and `inspect` hold measurements of the trained network. A metric that
    could not be measured is null. `ledger` is the last line of the sweep's ledger when the run
    ended. `code` exists if the run uses the user's own code. `tries` are earlier attempts that
    ended by accident. `checksum` is the SHA-256 of the text before it plus a closing brace.
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
    code: NotRequired[Code]
    ledger: NotRequired[LedgerLine]
    tries: NotRequired[list[Try]]
    checksum: NotRequired[str]


def code_in(found: Mapping[str, Any]) -> Code | None:
    """Read which of the user's own code a run used, by its record; None if it does not say."""
    code = found.get("code")
    if not isinstance(code, dict):
        return None
    return {"files": _texts(code.get("files")), "packages": _texts(code.get("packages"))}


def _texts(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {str(name): str(text) for name, text in pairs}


# -- the schema ------------------------------------------------------------------------------------

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def json_schema() -> dict[str, Any]:
    """Derive the JSON Schema of a record, published as record.schema.json.

    Other keys are allowed, so that a record may gain keys within a version.

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
