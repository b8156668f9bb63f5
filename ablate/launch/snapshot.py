"""Takes a snapshot of the code that a sweep is about to use; see `ablate.record.snapshot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ablate import environment, record
from ablate.errors import raise_if_full
from ablate.plan import code
from ablate.plan.imports import digest_of
from ablate.plan.run import Run
from ablate.record.snapshot import FOLDER, Snapshot, keep_snapshot

_MOST = 2**23  # bytes of a diff; longer ones are generated files or data

# Sweep's folder -> what its latest snapshot in this process covers, and its file.
_TAKEN: dict[Path, tuple[record.Code, Path]] = {}


def keep_code(runs: Sequence[Run]) -> list[str]:
    """Keep the code that runs are about to use, once in each sweep's folder.

    Args:
        runs: The runs.

    Returns:
        What could not be kept, one sentence each; no run is stopped by that.

    Raises:
        DiskFullError: There is no space left.
    """
    notes = []
    sweeps: dict[Path, list[Run]] = {}
    for run in runs:
        sweeps.setdefault(run.sweep.absolute(), []).append(run)
    for sweep, members in sweeps.items():
        used = _used(members)
        taken, file = _TAKEN.get(sweep, (None, sweep))
        if taken == used and file.is_file():
            continue
        if taken is not None:  # files may have changed while this process kept running
            environment.tree.cache_clear()
        try:
            _TAKEN[sweep] = (used, _kept(sweep, members, used))
        except OSError as error:
            raise_if_full(error)
            notes.append(f"the code is not kept in {sweep / FOLDER}: {error.strerror or error}")
    return notes


def _used(runs: Sequence[Run]) -> record.Code:
    """Join the user's own code of some runs."""
    both: record.Code = {"files": {}, "packages": {}}
    for run in runs:
        if run.code is not None:
            both["files"] |= run.code["files"]
            both["packages"] |= run.code["packages"]
    return both


def _kept(sweep: Path, runs: Sequence[Run], used: record.Code) -> Path:
    tree = environment.tree()
    sources = _sources(runs)
    if tree.commit is not None and not tree.dirty:
        sources = _uncommitted(sources)
    found = {name: _content(source) for name, source in sources.items()}
    contents = {digest_of(content): content for content in found.values()}
    digests = {name: digest_of(content) for name, content in found.items()}
    diff, left_out = _diff() if tree.changed else (b"", None)
    if diff:
        contents[digest_of(diff)] = diff
    snapshot: Snapshot = {
        "commit": tree.commit,
        "dirty": tree.dirty,
        "diff": digest_of(diff) if diff else None,
        "diff_left_out": left_out,
        "files": used["files"] | digests,
        "packages": used["packages"],
        "kept": sorted(digests),
    }
    return keep_snapshot(sweep, snapshot, contents)


def _sources(runs: Sequence[Run]) -> dict[str, Path | str]:
    found: dict[str, Path | str] = {}
    for run in runs:
        found |= code.sources(run.config)
    return found


def _content(source: Path | str) -> bytes:
    return source.encode() if isinstance(source, str) else source.read_bytes()


def _uncommitted(sources: Mapping[str, Path | str]) -> dict[str, Path | str]:
    """Leave out what a clean commit holds: the files that git tracks."""
    here = Path.cwd()
    inside = {
        path.relative_to(here).as_posix(): name
        for name, path in sources.items()
        if isinstance(path, Path) and path.is_relative_to(here)
    }
    listed = environment.git("ls-files", "-z", "--", *inside) if inside else None
    tracked = {inside.get(name) for name in (listed or b"").decode(errors="replace").split("\0")}
    return {name: source for name, source in sources.items() if name not in tracked}


def _diff() -> tuple[bytes, str | None]:
    """Return what changed since the commit, or why that is left out."""
    found = environment.git("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    if found is None:
        return b"", "git diff failed"
    if len(found) > _MOST:
        return b"", f"it is larger than {_MOST // 2**20} MiB"
    return found, None
