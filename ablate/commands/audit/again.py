"""Trains recorded runs again, with their settings and threads, fused or looped as before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate import data, environment, record
from ablate.analyze import frames
from ablate.config import files, schema
from ablate.config.trust import UntrustedError, folder_of, remember, require_record
from ablate.errors import AblateError
from ablate.launch.execute import execute
from ablate.launch.outcome import Outcome
from ablate.plan.execution import Execution
from ablate.plan.planning import Plan, plan
from ablate.plan.request import Cell, Request
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack
from ablate.report.command_lines import overrides

# Settings of the computation that can change a bit, and which weights are kept.
_COMPUTED = ("deterministic", "stack.compile", "stack.capture", "save")


@dataclass(frozen=True)
class Recorded:
    """A finished run to train again.

    Attributes:
        folder: Its folder.
        arm: The name of its arm.
        found: Its record.
    """

    folder: Path
    arm: str
    found: record.Record


def chosen(path: Path, count: int, trust: bool = False) -> tuple[list[Recorded], int]:
    """Choose finished runs below a path, from as many arms as possible.

    Args:
        path: A run's folder, a sweep's, or any above.
        count: How many.
        trust: Whether records below the path are trusted from now on to name code.

    Returns:
        The runs, and how many there were to choose from.

    Raises:
        AblateError: There is no finished run.
        UntrustedError: A record names code that is not known to be the user's.
    """
    runs = frames.read(path).runs
    done = runs[runs["status"] == "finished"]
    if done.empty:
        raise AblateError(f"{path} holds no finished run: there is nothing to train again")
    turn = done.groupby("arm", sort=False).cumcount()
    ordered = done.assign(turn=turn).sort_values("turn", kind="stable")
    first = ordered[ordered["turn"] == 0]
    if count < len(first):  # arms spread evenly over the whole list
        places = [round(n * (len(first) - 1) / max(count - 1, 1)) for n in range(count)]
        ordered = first.iloc[places]
    picked = []
    for folder, arm in ordered[["path", "arm"]].head(count).itertuples(index=False):
        found = record.read_whole(Path(folder))
        assert found is not None, "its record was read a moment ago"
        picked.append(Recorded(Path(folder), str(arm), found))
    _require_trusted(picked, path, trust)
    return picked, len(done)


def _require_trusted(picked: Sequence[Recorded], path: Path, trust: bool) -> None:
    """Check code that records name: passed on as overrides, it would count as typed and trusted."""
    refused: list[str] = []
    for one in picked:
        try:
            require_record(one.folder, one.found["config"], above=path)
        except UntrustedError as error:
            if trust:
                remember([folder_of(path, below=True)])
            else:
                refused += error.faults
    if refused:
        raise UntrustedError(*refused)


def train_again(
    recorded: Sequence[Recorded], out: Path
) -> Iterator[tuple[list[Recorded], list[Run], Outcome]]:
    """Train runs again, those with the same number of threads together.

    Args:
        recorded: The runs.
        out: The folder for the new ones.

    Yields:
        The recorded runs of one number of threads, their new runs, and the outcome.

    Raises:
        AblateError: A run cannot be planned any more.
    """
    data.forget()
    cells = tuple(Cell(tuple(_overrides(one, out)), one.arm) for one in recorded)
    made = plan(Request(cells=cells))
    threads = [one.found["environment"].get("threads") for one in recorded]
    for number in dict.fromkeys(threads):
        alike = [i for i, own in enumerate(threads) if own == number]
        planned = [made.cells[i] for i in alike]
        stacks = [
            RunStack((made.runs[i].settled(),), _was_fused(recorded[i]), "as recorded")
            for i in alike
        ]
        how = Execution("inline", 1, number)
        yield (
            [recorded[i] for i in alike],
            [made.runs[i] for i in alike],
            execute(Plan(made.request, tuple(planned), {}, (), tuple(stacks), how)),
        )


def _was_fused(one: Recorded) -> bool:
    return bool(one.found["environment"].get("stack", {}).get("fused"))


def _overrides(one: Recorded, out: Path) -> list[str]:
    config = one.found["config"]
    top = schema.flatten(files.top())
    device = "cuda" if config["device"] == "cuda" and environment.cuda().count else "cpu"
    values: dict[str, Any] = {
        name: schema.get(config, name)
        for name in _COMPUTED
        if schema.get(config, name) not in (None, top.get(name))
    }
    values |= {"seed": one.found["seed"], "device": device, "rerun": "all"}
    said = overrides(config) | {name: schema.shown(value) for name, value in values.items()}
    said |= {"out": quoted(str(out)), "name": quoted(one.folder.absolute().parent.name)}
    return [f"{name}={value}" for name, value in said.items()]


def quoted(text: str) -> str:
    """Quote a text for Hydra."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
