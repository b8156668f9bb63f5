"""Serves `ablate audit`: choose, train again, compare, print."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from ablate import record
from ablate.commands.interrupted import until_interrupted
from ablate.commands.printing import say
from ablate.errors import AblateError

OUT = "audit"


def serve(path: str, runs: int, out: str | None, trust: bool = False) -> int:
    """Serve `ablate audit`.

    Args:
        path: A run's folder, a sweep's, or any above.
        runs: How many runs are trained again.
        out: The folder for the new runs, or None for the usual one.
        trust: Whether records below the path are trusted from now on to name code.

    Returns:
        The exit status: 0 if all runs are the same to the last bit, 1 if one differs or was not
        trained to its end, 130 if interrupted.

    Raises:
        AblateError: The request is wrong; nothing was started.
    """
    place = Path(OUT if out is None else out)
    _require_apart(place, Path(path))
    return until_interrupted(lambda: _serve(Path(path), runs, place, trust))


def _require_apart(out: Path, path: Path) -> None:
    """Check that new runs do not land among those that they are compared with.

    Raises:
        AblateError: They would.
    """
    if not path.exists():
        raise AblateError(record.none_below(path))
    here, there = path.resolve(), out.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise AblateError(
            f"--out {out}: the new runs would lie among those below {path}; name a folder outside"
        )


def _serve(path: Path, count: int, out: Path, trust: bool) -> int:
    from ablate.commands.audit.again import chosen, train_again  # statistics and torch take seconds
    from ablate.commands.audit.compare import compare
    from ablate.commands.audit.page import show

    console = Console()
    recorded, of = chosen(path, count, trust)
    say(console, f"{path}: {len(recorded)} of {of} finished runs are trained again, in {out}")
    status, places = 0, dict[Path, Path]()
    for members, again, outcome in train_again(recorded, out):
        if outcome.is_cut_short and outcome.stop is not None:
            if outcome.stop.why == "interrupted":
                raise KeyboardInterrupt
            raise AblateError(outcome.stop.message)
        places |= {one.folder: run.directory for one, run in zip(members, again, strict=True)}
    for one in recorded:
        try:
            compared = compare(one.folder, places[one.folder])
        except AblateError as error:
            print(f"ablate: {error.faults[0]}", file=sys.stderr)
            status = 1
            continue
        show(one, compared, console)
        status = max(status, int(not compared.same))
    return status
