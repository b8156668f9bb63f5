"""Times of training: tested only if each run was trained alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from ablate.analyze import contrasts, frames
from ablate.errors import AblateError
from ablate.plan.request import Request
from ablate.report.compare import compare
from ablate.report.question import Question
from ablate.study.claim import Claim
from ablate.study.comparison import plan_study
from tests.analyze.test_frames import ABOUT, write_run

SECONDS = {"plain": [3.0, 3.2, 3.1], "slow": [4.0, 4.4, 4.1]}
CLAIM = Claim("slow", "seconds", "higher")


def write_timed(folder, *, width=1, overlap=False, finished=True):
    """Write a sweep whose runs were trained in the order of their arms, one minute each."""
    minute = 0
    for i, (arm, times) in enumerate(SECONDS.items()):
        for seed, seconds in enumerate(times):
            end = minute + (3 if overlap else 1)
            timing = {"started": at(minute), "seconds": [seconds]}
            about = {"data": ABOUT, "platform": "a system", "device": "a processor"}
            write_run(
                folder,
                {"dropout.dense": i / 2, "seed": seed},
                study="s",
                arm=arm,
                metrics={"test/error": 0.1 + i * (0.1 + seed / 100)},
                timing=timing | ({"finished": at(end)} if finished else {}),
                environment=about | {"stack": {"width": width, "slot": 0, "fused": False}},
            )
            minute += 1


def at(minute):
    return f"2026-01-01T00:{minute:02}:00+00:00"


def timed(folder, **asked):
    found = contrasts.contrasts(frames.load(folder), np.random.default_rng(0), **asked)
    return found.set_index("metric").loc["seconds"]


def test_times_of_runs_that_were_trained_alone_are_tested(tmp_path):
    write_timed(tmp_path)
    assert frames.load(tmp_path)["trained_alone"].all()
    row = timed(tmp_path, claims=[CLAIM])
    test = stats.ttest_rel(SECONDS["slow"], SECONDS["plain"])
    assert row["p"] == pytest.approx(test.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval()))
    assert row["verdict"] == "supported"


@pytest.mark.parametrize("how", [{"width": 2}, {"overlap": True}, {"finished": False}])
def test_times_of_runs_that_shared_something_are_compared_without_an_interval(tmp_path, how):
    write_timed(tmp_path, **how)
    assert not frames.load(tmp_path)["trained_alone"].fillna(False).any()
    row = timed(tmp_path, claims=[CLAIM])
    assert row["delta"] == pytest.approx(np.mean(SECONDS["slow"]) - np.mean(SECONDS["plain"]))
    untested = ["low", "high", "p", "p_adjusted", "ci_low", "p_unpaired", "p_wilcoxon", "d_z"]
    assert row[untested].isna().all()
    assert (row["verdict"], row["description"], row["n"]) == ("open", "not told apart", 3)
    error = contrasts.contrasts(frames.load(tmp_path), np.random.default_rng(0)).iloc[0]
    assert error["metric"] == "test/error"
    assert not np.isnan(error["low"])


def test_in_a_frame_of_an_earlier_version_no_run_counts_as_alone(tmp_path):
    write_timed(tmp_path)
    old = frames.load(tmp_path).drop(columns="trained_alone")
    found = contrasts.contrasts(old, np.random.default_rng(0)).set_index("metric")
    assert np.isnan(found.loc["seconds", "low"])


def test_a_report_on_times_that_depend_on_each_other_says_so(tmp_path):
    for name, how in {"apart": {}, "together": {"width": 2}}.items():
        (tmp_path / name).mkdir()
        write_timed(tmp_path / name, **how)
    note = "6 of 6 runs shared a stack"
    asked = Question(metric="seconds")
    assert note in " ".join(compare([tmp_path / "together"], asked).notes)
    assert note not in " ".join(compare([tmp_path / "apart"], asked).notes)
    assert note not in " ".join(compare([tmp_path / "together"]).notes)


def test_runs_at_the_same_time_on_different_machines_are_alone(tmp_path):
    for seed, machine in enumerate(("here", "there")):
        write_run(
            tmp_path,
            {"seed": seed},
            timing={"started": at(0), "finished": at(5), "seconds": [1.0]},
            environment={
                "data": ABOUT,
                "platform": machine,
                "stack": {"width": 1, "slot": 0, "fused": False},
            },
        )
    assert frames.load(tmp_path)["trained_alone"].all()


# -- planning --------------------------------------------------------------------------------------


def planned(folder, *fixed, metric="seconds"):
    study = {
        "question": "Is it slower?",
        "source": "a test",
        "fixed": ["model=mlp", "model.hidden=[8]", "epochs=1", *fixed],
        "arms": {"plain": [], "dropped": ["dropout.dense=0.5"]},
        "seeds": 3,
        "claims": [{"claim": "It is", "arm": "dropped", "direction": "higher", "metric": metric}],
    }
    file = Path(folder) / "mine.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return plan_study(Request((f"+study={file}",)))


@pytest.mark.parametrize("metric", ["seconds", "images_per_second"])
def test_a_claim_about_time_requires_runs_trained_one_at_a_time(tmp_path, metric):
    with pytest.raises(
        AblateError, match=r"add stack\.width=1 and launch=inline to fixed"
    ) as error:
        planned(tmp_path, metric=metric)
    assert "mine.yaml, line " in str(error.value)
    with pytest.raises(AblateError, match=r"add launch=inline to fixed"):
        planned(tmp_path, "stack.width=1", metric=metric)
    plan = planned(tmp_path, "stack.width=1", "launch=inline", metric=metric)
    assert all(len(stack.runs) == 1 for stack in plan.reported.stacks)
    assert plan.reported.execution is not None
    assert plan.reported.execution.launch == "inline"


def test_other_claims_allow_runs_that_share_stacks(tmp_path):
    stacks = planned(tmp_path, metric="test/error").reported.stacks
    assert max(len(stack.runs) for stack in stacks) > 1
