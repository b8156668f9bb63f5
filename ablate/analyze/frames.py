"""Records as pandas frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate import record, schema
from ablate.errors import AblateError

if TYPE_CHECKING:
    import pandas as pd


def load(path: str | Path, *, all_knobs: bool = False) -> pd.DataFrame:
    """Load the records of all runs below a path.

    Args:
        path: A run's folder, a sweep's, or any above.
        all_knobs: Give every knob a column, not only those that vary.

    Returns:
        One row a run: ``path``, ``key``, ``study``, ``arm``, ``seed``, ``status``, ``reason``; a
        column a knob (``optimizer.lr``); one a metric (``test/error``, a fraction); ``parameters``;
        ``seconds`` of training.

    Raises:
        AblateError: There is no record below the path, or one does not read; it is named.

    Example:
        >>> import ablate
        >>> frame = ablate.load("results")  # doctest: +SKIP
        >>> frame.groupby("optimizer.lr")["test/error"].mean()  # doctest: +SKIP
    """
    import pandas as pd

    folders = record.find(Path(path))
    if not folders:
        raise AblateError(f"{path} holds no record: name the folder of a run or a sweep")
    rows, knobs = [], []
    for folder in folders:
        found = record.read(folder)
        assert found is not None, "find() lists folders with a record"
        rows.append(_row(folder, found))
        knobs.append({k: _hashable(v) for k, v in schema.flatten(found["config"]).items()})
    frame, values = pd.DataFrame(rows), pd.DataFrame(knobs).drop(columns="seed", errors="ignore")
    if not all_knobs:
        values = values.loc[:, values.nunique(dropna=False) > 1]
    position = frame.columns.get_loc("reason")
    assert isinstance(position, int), "column names are unique"
    parts = [frame.iloc[:, : position + 1], values, frame.iloc[:, position + 1 :]]
    return pd.concat(parts, axis=1)


def _row(folder: Path, found: record.Record) -> dict[str, Any]:
    return {
        "path": str(folder),
        **{name: found[name] for name in ("key", "study", "arm", "seed", "status", "reason")},
        **found["metrics"],
        "parameters": found["parameters"],
        "seconds": sum(found["timing"]["seconds"]),
    }


def _hashable(value: Any) -> Any:
    return schema.shown(value) if isinstance(value, list) else value
