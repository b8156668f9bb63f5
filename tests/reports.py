"""Writes records to report on, and reads reports back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from ablate import cli
from ablate.report import pages, write
from ablate.report.compare import compare
from ablate.report.explore import explore
from ablate.report.provenance import origin
from ablate.report.question import Question
from ablate.report.tables import tables
from ablate.report.terminal import show_comparison
from tests.analyze.test_frames import write_run

BASE = [0.100, 0.120, 0.110, 0.130]
LESS = [0.080, 0.104, 0.088, 0.115]
ALIKE = [0.101, 0.118, 0.113, 0.129]
NASTY = r"""<b>|x| & $\y_1$ [bold]#{%} ~^\ "q" `c` http://a.b"""


def write_arms(folder, arms, **parts):
    """Write a run for each arm and seed; None is a failed run, an exception a diverged one."""
    for i, (arm, errors) in enumerate(arms.items()):
        for seed, error in enumerate(errors):
            ended = {"metrics": metrics(error)} if isinstance(error, float) else lost(error)
            knobs = {"dropout.dense": i / 8, "seed": seed}
            write_run(folder, knobs, study="s", arm=arm, **(ended | parts))


def metrics(error):
    return {"test/error": error, "test/accuracy": 1 - error, "train/error": error / 2}


def lost(reason):
    status = "failed" if reason is None else "diverged"
    return {"status": status, "reason": str(reason), "metrics": {}}


def terminal(show, *arguments, width=80):
    """Return what is printed on a terminal of this width, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(*arguments, console)
    return console.file.getvalue()


def brief(*paths, **asked):
    return terminal(show_comparison, compare(paths, Question(**asked), brief=True))


def page(*paths, **asked):
    """Compose the Markdown page, without figures and backslashes."""
    comparison = compare(paths, Question(**asked))
    found = explore(comparison)
    made = tables(comparison)
    report = pages.Report(comparison, found, origin(comparison), made, ())
    return pages.markdown(report).replace("\\", "")


def run(*arguments, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ablate", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def write_plain(folder):
    """Write a healthy sweep of two crossed knobs, and its report."""
    noise = np.random.default_rng(0)
    for rate in (0.0, 0.25, 0.5):
        for norm in ("none", "batch"):
            for seed in range(4):
                error = 0.1 + 0.04 * rate - 0.05 * (norm == "batch") + noise.normal(0, 0.002)
                knobs = {"dropout.dense": rate, "norm": norm, "seed": seed}
                write_run(folder, knobs, metrics=metrics(error))
    return write.write_report([folder])[0]


def write_troubled(folder):
    """Write a sweep with every problem that a report should mention, and its report."""
    arms = {"plain": BASE, "less": LESS, NASTY: [0.1, None, ValueError(NASTY)], "one": [0.2]}
    write_arms(folder, arms)
    write_run(folder, {"dropout.dense": 0.9}, study="s", arm="other", digest="another")
    write_run(folder, {"dropout.dense": 0.8}, study="s", arm="begun", status="running", metrics={})
    (folder / "broken").mkdir()
    (folder / "broken" / "record.json").write_text('{"schema": 1,')
    return write.write_report([folder])[0]
