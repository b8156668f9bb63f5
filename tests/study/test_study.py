"""Study files: what they say, what can be wrong in them, and what they lead to."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

import ablate
from ablate import record
from ablate.analyze import frames, run_measures
from ablate.data import loading
from ablate.errors import AblateError
from ablate.metrics import METRICS
from ablate.plan.request import Request
from ablate.report.compare import compare
from ablate.study import study, study_json
from ablate.study.claim import Claim
from ablate.study.file import read_study
from tests.asking import runs_of, train_all
from tests.reports import run

SOUND: dict[str, Any] = {
    "question": "Does dropout help?",
    "source": "a test",
    "fixed": ["model=mlp", "model.hidden=[8]", "epochs=1", "data.train_size=100"],
    "arms": {"plain": [], "dropped": ["dropout.dense=0.5"]},
    "seeds": 2,
    "claims": [{"claim": "It helps", "arm": "dropped", "direction": "lower"}],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(**changes: Any) -> str:
    """Write the sound study with changes; None leaves a key out."""
    values = {k: v for k, v in (SOUND | changes).items() if v is not None}
    Path("mine.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return "mine.yaml"


def planned(**changes: Any) -> list[Any]:
    return runs_of(Request((f"+study={written(**changes)}",)))


def records(folder: str) -> list[Any]:
    return [record.read(place) for place in record.find(Path(folder))]


def faults(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(AblateError) as error:
        planned(**changes)
    return error.value.faults


def test_seeds_may_be_a_range(here):
    arms = {"plain": {"seeds": "range(3, 6)"}, "dropped": ["dropout.dense=0.5"]}
    found = read_study(written(arms=arms, seeds="range(0,2)"))
    assert [found.seeds_of(arm) for arm in found.arms] == [(3, 4, 5), (0, 1)]
    for wrong in ("range(5, 2)", "range(a)", "5"):
        assert "or range(100, 130)" in faults(seeds=wrong)[0]


# -- what is wrong ---------------------------------------------------------------------------------


def claims(*given: dict[str, Any]) -> dict[str, Any]:
    """Return the claims of a study, with words, arm and direction filled in."""
    sound = {"claim": "x", "arm": "dropped", "direction": "lower"}
    return {"claims": [sound | one for one in given]}


def tuned(own: Any, **tune: Any) -> dict[str, Any]:
    """Return changes that tune a rate over two values, and over `own` for one arm."""
    knobs = {"knobs": {"optimizer.lr": [0.1, 0.2]}} | tune
    arms = {"plain": [], "dropped": {"set": ["dropout.dense=0.5"], "tune": own}}
    return {"arms": arms, "tune": knobs}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no question": ({"question": None}, "line 1: the study lacks question"),
    "no arms": ({"arms": None}, "the study has no arms: give arms, or a design"),
    "a wrong key": ({"sedes": 3}, "there is no key sedes; did you mean 'seeds'?"),
    "one arm": ({"arms": {"plain": []}}, "arms must be a mapping of at least two"),
    "no baseline": ({"baseline": "plane"}, "there is no such arm; did you mean 'plain'?"),
    "an unknown arm in a claim": (
        {"claims": [{"claim": "x", "arm": "droped", "direction": "lower"}]},
        "the claim names the arm droped, which does not exist; did you mean 'dropped'?",
    ),
    "a claim of the baseline": (
        {"claims": [{"claim": "x", "arm": "plain", "direction": "lower"}]},
        "the claim names plain, which is the baseline: say against which arm",
    ),
    "a claim against an unknown arm": (
        claims({"against": "plane"}),
        "line 17: the claim names the arm plane, which does not exist; did you mean 'plain'?",
    ),
    "a claim of an arm against itself": (
        claims({"against": "dropped"}),
        "line 15: the claim compares dropped with itself",
    ),
    "a claim of a metric against itself": (
        claims({"arm": "plain", "against_metric": "test/error", "against": "plain"}),
        "the claim compares plain with itself",
    ),
    "a claim made twice": (
        claims({}, {"direction": "higher"}),
        "line 17: the claim makes the same comparison as the one in line 14",
    ),
    "a claim made from both sides": (
        claims({"against": "plain"}, {"arm": "plain", "against": "dropped"}),
        "line 18: the claim makes the same comparison as the one in line 14",
    ),
    "a claim of no metric": (
        claims({"metric": "test/eror"}),
        "line 17: the metric test/eror: no run records it; did you mean 'test/error'?",
    ),
    "a claim against no metric": (
        claims({"against_metric": "val/los"}),
        "the metric val/los: no run records it; did you mean 'val/loss'?",
    ),
    "a primary metric that is none": (
        {"metric": "eror"},
        "the metric eror: no run records it",
    ),
    "a claim of what is the same for every seed": (
        claims({"metric": "parameters"}),
        "it is the same for every seed of an arm, so nothing can be tested",
    ),
    "epochs to no target": (
        claims({"metric": "epochs_to_target"}),
        "the metric epochs_to_target needs a target at the top of the study",
    ),
    "equivalent without a margin": (
        claims({"direction": "equivalent"}),
        "line 16: equivalent needs a margin",
    ),
    "equivalent with the margin of another metric": (
        claims({"direction": "equivalent", "metric": "test/loss"}) | {"margin": 0.1},
        "equivalent needs a margin",
    ),
    "spread equivalent within the margin of a mean": (
        claims({"direction": "equivalent", "statistic": "spread"}) | {"margin": 1.5},
        "equivalent needs a margin",
    ),
    "a margin of spread that is no ratio": (
        claims({"statistic": "spread", "margin": 0.01}),
        "claim 1: margin=0.01 is not legal: it takes a number > 1",
    ),
    "a wrong statistic": (
        claims({"statistic": "sd"}),
        "statistic=sd is not legal: mean or spread",
    ),
    "a key that no claim has": (
        claims({"agianst": "plain"}),
        "there is no key agianst in a claim; did you mean 'against'?",
    ),
    "a margin for one scale": (
        {"margin": {"quick": 0.1}},
        "margin needs a value for each scale: quick and full",
    ),
    "a wrong margin at the other scale": (
        {"margin": {"quick": 0.1, "full": -1}},
        "margin.full=-1 is not legal",
    ),
    "seeds for a scale that is none": (
        {"seeds": {"quick": 3, "ful": 10}},
        "seeds needs a value for each scale",
    ),
    "wrong seeds at the other scale": (
        {"seeds": {"quick": 3, "full": [1, 1]}},
        "seeds.full must be a number of seeds, a list of different ones or range(100, 130)",
    ),
    "a target that is none": ({"target": 0}, "target=0 is not legal: it takes a number > 0"),
    "an arm with a larger budget": (
        tuned({"optimizer.lr": [0.1, 0.2, 0.3]}),
        "dropped has 3 settings to tune, the study 2: these must be equal",
    ),
    "an arm with a grid where nothing is tuned": (
        tuned({"optimizer.lr": [0.1, 0.2]}) | {"tune": None},
        "dropped has a grid, but the study tunes nothing",
    ),
    "an arm that sets what it tunes": (
        tuned({"dropout.dense": [0.1, 0.2]}),
        "dropout.dense is tuned, but the arm dropped sets it",
    ),
    "an arm whose grid is a list": (
        tuned(["optimizer.lr=0.1"]),
        "arms.dropped.tune must be a mapping: a knob, and a list of its values",
    ),
    "a key that no arm has": (
        {"arms": {"plain": [], "dropped": {"set": ["dropout.dense=0.5"], "tuen": {}}}},
        "an arm may have set, seeds or tune, not tuen",
    ),
    "tuning by what is only known afterwards": (
        {"tune": {"knobs": {"optimizer.lr": [0.1, 0.2]}, "metric": "val/error_area"}},
        "tune.metric=val/error_area: only validation metrics (val/...) may tune: val/loss",
    ),
    "a wrong direction": (
        {"claims": [{"claim": "x", "arm": "dropped", "direction": "low"}]},
        "direction=low is not legal: lower, higher, differs or equivalent",
    ),
    "a claim without words": (
        {"claims": [{"arm": "dropped", "direction": "lower"}]},
        "line 14: a claim needs claim (in words), arm and direction",
    ),
    "no claim": ({"claims": []}, "claims must be a list of at least one claim"),
    "one seed": ({"seeds": 1}, "has one seed: a verdict needs at least two"),
    "a wrong margin": ({"margin": -1}, "margin=-1 is not legal: it takes a number > 0"),
    "a knob outside its range": (
        {"arms": {"plain": [], "dropped": ["dropout.dense=1.5"]}},
        "dropout.dense=1.5 is not legal",
    ),
    "an arm that changes nothing": (
        {"arms": {"plain": [], "dropped": ["dropout.dense=0"]}},
        "the arm dropped changes nothing: it is the same as plain",
    ),
    "a tuned knob that is an arm's": (
        {"tune": {"knobs": {"dropout.dense": [0.1, 0.2]}}},
        "dropout.dense is tuned, but the arm dropped sets it",
    ),
    "a tuning seed that is reported": (
        {"tune": {"knobs": {"optimizer.lr": [0.1, 0.2]}, "seeds": [1]}},
        "the seed 1 is used for tuning and is reported too",
    ),
    "tuning on the test split": (
        {"tune": {"knobs": {"optimizer.lr": [0.1, 0.2]}, "metric": "test/error"}},
        "only validation metrics (val/...) may tune",
    ),
    "unequal epochs": (
        {"arms": {"plain": [], "dropped": ["dropout.dense=0.5", "epochs=2"]}},
        "dropped trains 2 epochs, the baseline 1, but the study holds epochs equal",
    ),
    "an arm that sets the seed": (
        {"arms": {"plain": [], "dropped": ["dropout.dense=0.5", "seed=3"]}},
        "arms.dropped sets seed: use seeds: for that",
    ),
    "a study that names its runs": (
        {"fixed": ["data=digits", "name=foo"]},
        "fixed sets name: a study is named after its file",
    ),
    "a design without factors": (
        {"design": "factorial"},
        "design=factorial needs factors (a mapping), and nothing else",
    ),
    "a wrong design": ({"design": "leave_two_out"}, "did you mean 'leave_one_out'?"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_bad_study_is_refused_with_file_line_and_reason(what: str) -> None:
    changes, said = WRONG[what]
    told = faults(**changes)
    assert any(said in fault for fault in told), told
    assert all("mine.yaml, line " in fault for fault in told)


def test_a_key_given_twice_is_refused_with_both_lines() -> None:
    name = written()
    text = Path(name).read_text()
    Path(name).write_text(text + "seeds: 5\n")
    first = next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith("seeds:"))
    with pytest.raises(AblateError, match=f"seeds is given twice, first in line {first}"):
        read_study(name)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=0.5", "the study tunes it"),
        ("seed=7", "the study sets the seeds of its arms"),
        ("seeds=3", "copy the file, change seeds: there, and name the copy"),
    ],
)
def test_the_command_line_cannot_set_what_a_study_decides(override: str, said: str) -> None:
    file = written(tune={"knobs": {"optimizer.lr": [0.1, 0.2]}})
    with pytest.raises(AblateError, match=said):
        runs_of(Request((f"+study={file}", override)))
    assert not Path("results").exists()


def test_the_report_covers_the_runs_of_the_latest_request_only() -> None:
    file = written(seeds=3)
    train_all(Request((f"+study={file}", "epochs=2")))
    train_all(Request((f"+study={file}",)))
    found = compare(["results/mine"])
    # Such short training leaves some runs at chance; they count in no mean.
    assert [line.n + line.lost["at chance"] for line in found.lines.values()] == [3, 3]
    assert any("6 runs in this folder are left out" in note for note in found.notes)
    assert len(ablate.load("results/mine")) == 12
    assert found.asked.command == "ablate run +study=mine.yaml"


def test_an_error_names_the_line_of_the_fault() -> None:
    name = written()
    lines = Path(name).read_text().splitlines()
    number = next(i for i, line in enumerate(lines, start=1) if "direction: lower" in line)
    text = Path(name).read_text().replace("arm: dropped", "arm: nobody")
    Path(name).write_text(text)
    with pytest.raises(AblateError) as error:
        read_study(name)
    (fault,) = error.value.faults
    assert f"line {number - 1}:" in fault


def test_a_file_that_is_not_yaml_is_refused_with_its_line() -> None:
    Path("broken.yaml").write_text("question: x\narms: {a: [\n")
    with pytest.raises(AblateError) as error:
        read_study("broken.yaml")
    (fault,) = error.value.faults
    assert "broken.yaml, line 3" in fault


def test_an_unknown_study_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(AblateError) as error:
        read_study("dropout_rat")
    (fault,) = error.value.faults
    assert "did you mean 'dropout_rate'?" in fault


# -- what is planned -------------------------------------------------------------------------------


def test_runs_are_planned_seed_by_seed_and_know_their_arms() -> None:
    runs = planned(seeds=[4, 9])
    assert [(run.config["seed"], run.arm) for run in runs] == [
        (4, "plain"),
        (4, "dropped"),
        (9, "plain"),
        (9, "dropped"),
    ]
    assert {run.study for run in runs} == {"mine"}
    assert {str(run.sweep) for run in runs} == {"results/mine"}


def test_the_named_baseline_comes_first() -> None:
    assert (
        planned(baseline="dropped", claims=[{"claim": "x", "arm": "plain", "direction": "higher"}])[
            0
        ].arm
        == "dropped"
    )


def test_an_override_in_the_request_wins_over_the_study() -> None:
    runs = runs_of(Request((f"+study={written()}", "epochs=2", "name=other")))
    assert {run.config["epochs"] for run in runs} == {2}
    assert {str(run.sweep) for run in runs} == {"results/other"}


def test_scale_chooses_what_is_fixed() -> None:
    file = written(scale={"quick": [], "full": ["data.train_size=200"]})
    sizes = [
        runs_of(Request((f"+study={file}", f"scale={scale}")))[0].config["data"]["train_size"]
        for scale in ("quick", "full")
    ]
    assert sizes == [100, 200]


def test_identical_arms_with_different_seeds_are_allowed() -> None:
    arms = {"a": {"seeds": [0, 1]}, "b": {"seeds": [2, 3]}}
    claims = [{"claim": "they differ", "arm": "b", "direction": "differs"}]
    runs = planned(arms=arms, claims=claims)
    assert [(run.arm, run.config["seed"]) for run in runs] == [
        ("a", 0),
        ("b", 2),
        ("a", 1),
        ("b", 3),
    ]


def test_equal_steps_give_larger_batches_more_epochs() -> None:
    arms = {"small": ["batch_size=10"], "large": ["batch_size=50"]}
    claims = [{"claim": "x", "arm": "large", "direction": "higher"}]
    runs = planned(arms=arms, claims=claims, equal="steps")
    # 100 images: one epoch has 10 steps in the first arm, and 2 in the second.
    assert {run.arm: run.config["epochs"] for run in runs} == {"small": 1, "large": 5}


def test_what_a_claim_leaves_out_has_defaults() -> None:
    given = claims(
        {},
        {"arm": "plain", "against": "dropped", "metric": "val/loss"},
        {"against_metric": "evaluate/plain/error", "direction": "equivalent"},
        {"against_metric": "val/error", "against": "plain"},
        {"statistic": "spread", "direction": "equivalent", "margin": {"quick": 2, "full": 1.5}},
    )
    margins = {"margin": {"quick": 0.01, "full": 0.002}, "seeds": {"quick": 2, "full": [5, 6, 7]}}
    margins["measure"] = {"evaluate": []}
    found = {scale: read_study(written(**given, **margins), scale) for scale in study.SCALES}
    assert [(c.arm, c.metric, c.against, c.against_metric) for c in found["full"].claims] == [
        ("dropped", "test/error", "plain", "test/error"),
        ("plain", "val/loss", "dropped", "val/loss"),
        ("dropped", "test/error", "dropped", "evaluate/plain/error"),
        ("dropped", "test/error", "plain", "val/error"),
        ("dropped", "test/error", "plain", "test/error"),
    ]
    of_scale = {scale: [claim.margin for claim in one.claims] for scale, one in found.items()}
    assert of_scale == {
        "quick": [0.01, None, 0.01, 0.01, 2],
        "full": [0.002, None, 0.002, 0.002, 1.5],
    }
    assert [one.seeds for one in found.values()] == [(0, 1), (5, 6, 7)]


def test_the_example_in_the_description_of_the_format_is_read() -> None:
    text = textwrap.dedent(str(study.__doc__).split("YAML:\n")[1].split("\nAn arm's")[0])
    Path("shown.yaml").write_text(text)
    found = read_study("shown.yaml", "full")
    assert (found.target, found.seeds) == (0.05, tuple(range(20)))
    assert found.grid_of(found.arms[2]) == {"optimizer.lr": ("0.001", "0.01", "0.1")}


def test_the_study_in_the_readme_can_be_planned() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    Path("mine.yaml").write_text(readme.split("```yaml\n# mine.yaml\n")[1].split("```")[0])
    runs = runs_of(Request(("+study=mine.yaml",)))
    assert len(runs) == 3 * 10


def test_the_claims_on_the_page_of_studies_are_read() -> None:
    page = (Path(__file__).parents[2] / "docs/studies.md").read_text(encoding="utf-8")
    shown = yaml.safe_load(page.split("```yaml\nclaims:")[1].split("```")[0])
    arms = {name: [] for name in ("plain", "dropout", "before", "after", "at test time")}
    measure = {"evaluate": ["samples=50"]}
    found = read_study(written(claims=shown, arms=arms, margin=0.01, measure=measure))
    assert [claim.against for claim in found.claims] == [
        "plain",
        "after",
        "plain",
        "dropout",
        "plain",
    ]


def test_the_known_metrics_are_those_that_runs_record() -> None:
    runs, _ = train_all(Request((f"+study={written()}", "regularize.clip_norm=1")))
    there = run_measures.metrics_of(frames.read([runs[0].sweep], target=0.99).runs)
    known = {name for name, metric in METRICS.items() if not metric.is_after_training}
    # Two belong to other limits, and one needs five epochs.
    assert known - set(there) == {"acted/clip_value", "acted/max_norm", "val/error_spread"}
    assert set(there) <= known


def test_study_json_reads_back_as_written() -> None:
    given = claims({}, {"arm": "plain", "against_metric": "val/error", "source": "Someone 2014"})
    more = {"tune": {"knobs": {"optimizer.lr": [0.1, 0.2, 0.3]}}, "measure": {"evaluate": []}}
    asked = read_study(written(**given, **more, target=0.5, margin=0.01))
    choices = {"plain": {"optimizer.lr": "0.3"}, "dropped": {"optimizer.lr": "0.2"}}
    words = {"command": ["epochs=2"], "runs": ["a", "b"], "unmeasured": ["x: gone"]}
    study_json.write(Path("results"), asked, choices, **words)
    found = study_json.read(Path("results"))
    assert found is not None
    for name in ("question", "source", "fixed", "metric", "margin", "target", "equal"):
        assert getattr(found, name) == getattr(asked, name)
    assert (found.tuning, found.measure, found.claims) == (
        *(asked.tuning, asked.measure, asked.claims),
    )
    assert [(claim.words, claim.source, claim.line) for claim in found.claims] == [
        (claim.words, claim.source, claim.line) for claim in asked.claims
    ]
    assert found.arms["plain"].on_edge == ("optimizer.lr",)
    assert found.arms["dropped"].on_edge == ()
    assert {name: arm.tuned for name, arm in found.arms.items()} == choices
    assert [arm.overrides for arm in found.arms.values()] == [a.overrides for a in asked.arms]
    assert (found.asked_as, found.command, found.unmeasured) == (
        *("mine.yaml", ("epochs=2",), ("x: gone",)),
    )
    assert found.runs == {"a", "b"}


def test_a_study_json_of_the_first_version_is_read() -> None:
    claim = {"claim": "x", "arm": "b", "metric": "test/error", "direction": "lower"}
    told = {
        "name": "dropout_rate",
        "question": "Is it?",
        "source": "",
        "metric": "test/error",
        "margin": None,
        "equal": "epochs",
        "baseline": "a",
        "tuning": None,
        "arms": {arm: {"tuned": {}, "on the grid's edge": []} for arm in "ab"},
        "claims": [claim | {"margin": 0.01, "source": "y"}],
        "command": [],
    }
    Path("study.json").write_text(json.dumps(told))
    found = study_json.read(Path())
    assert found is not None
    assert found.claims == (Claim("b", direction="lower", margin=0.01),)
    assert found.claims[0].compared("a").against == "a"
    assert (found.target, found.measure, found.runs, found.unmeasured) == (None, None, None, ())
    assert found.asked_as == "dropout_rate"
    Path("study.json").write_text(json.dumps(told | {"name": "somewhere else"}))
    assert study_json.read(Path()).asked_as is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"claims": [3]}'])
def test_a_study_json_that_does_not_hold_a_study_is_named(text: str) -> None:
    assert study_json.read(Path()) is None
    Path("study.json").write_text(text)
    with pytest.raises(AblateError, match=r"^study\.json cannot be read as a study"):
        study_json.read(Path())


# -- what it leads to ------------------------------------------------------------------------------


def test_a_study_trains_its_arms_and_writes_study_json() -> None:
    runs, interrupted = train_all(Request((f"+study={written()}",)))
    assert not interrupted
    found = [record.read(run.directory) for run in runs]
    assert [(r["arm"], r["study"], r["status"]) for r in found if r] == [
        (arm, "mine", "finished") for _ in range(2) for arm in ("plain", "dropped")
    ]
    told = json.loads(Path("results/mine/study.json").read_text())
    assert told["question"] == SOUND["question"]
    assert told["baseline"] == "plain"
    assert told["claims"][0]["arm"] == "dropped"


def test_an_edited_study_reuses_its_runs_under_their_new_names() -> None:
    train_all(Request((f"+study={written()}",)))
    before = {p: p.stat().st_mtime_ns for p in Path("results").rglob("checkpoint.pt")}
    arms = {"none": [], "half": ["dropout.dense=0.5"]}
    claims = [{"claim": "x", "arm": "half", "direction": "lower"}]
    train_all(Request((f"+study={written(arms=arms, claims=claims)}",)))
    assert {p: p.stat().st_mtime_ns for p in Path("results").rglob("checkpoint.pt")} == before
    assert sorted(set(ablate.load("results/mine")["arm"])) == ["half", "none"]


TUNED = {"tune": {"knobs": {"optimizer.lr": [1e-6, 0.01]}, "seeds": 1}}


def test_arms_are_tuned_equally_on_validation_with_seeds_that_are_not_reported() -> None:
    runs, _ = train_all(Request((f"+study={written(**TUNED)}", "epochs=5")))
    tuning = [run for run in runs if run.sweep.name == "mine-tuning"]
    assert sorted((r.arm, r.config["optimizer"]["lr"]) for r in tuning) == [
        ("dropped", 1e-6),
        ("dropped", 0.01),
        ("plain", 1e-6),
        ("plain", 0.01),
    ]
    assert {run.config["seed"] for run in tuning}.isdisjoint({0, 1})
    reported = [run for run in runs if run.sweep.name == "mine"]
    assert {run.config["optimizer"]["lr"] for run in reported} == {0.01}, "1e-6 learns nothing"
    told = json.loads(Path("results/mine/study.json").read_text())
    assert told["arms"]["dropped"]["tuned"] == {"optimizer.lr": "0.01"}
    assert told["arms"]["dropped"]["on the grid's edge"] == ["optimizer.lr"]


def test_an_arm_may_be_tuned_over_its_own_values() -> None:
    given = tuned({"optimizer.lr": [0.02, 0.01]}, seeds=1, knobs={"optimizer.lr": [0.005, 1e-6]})
    runs, _ = train_all(Request((f"+study={written(**given)}", "epochs=2")))
    tuning = [(r.arm, r.config["optimizer"]["lr"]) for r in runs if r.only_tunes]
    assert sorted(tuning) == [
        *(("dropped", 0.01), ("dropped", 0.02)),
        *(("plain", 1e-6), ("plain", 0.005)),
    ]
    told = json.loads(Path("results/mine/study.json").read_text())
    assert told["arms"]["plain"]["tuned"] == {"optimizer.lr": "0.005"}
    assert told["arms"]["dropped"]["tuned"]["optimizer.lr"] in ("0.02", "0.01")
    assert told["arms"]["dropped"]["on the grid's edge"] == ["optimizer.lr"]
    how = " ".join(compare(["results/mine"]).asked.how)
    assert "optimizer.lr among 0.005, 1e-06; for dropped, optimizer.lr among 0.02, 0.01" in how


DIVERGES = {
    "fixed": [*SOUND["fixed"], "optimizer=sgd"],
    "tune": {"knobs": {"optimizer.lr": ["0.01", "1e30"]}, "seeds": 1},
}


@pytest.mark.parametrize("metric", ["val/error", "val/accuracy"])
def test_a_setting_that_diverges_is_not_chosen_and_is_not_a_failure(
    metric: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(**DIVERGES | {"tune": DIVERGES["tune"] | {"metric": metric}})
    assert run("run", f"+study={file}", monkeypatch=monkeypatch) == 0
    ends = [found["status"] for found in records("results/mine-tuning")]
    assert sorted(ends) == ["diverged", "diverged", "finished", "finished"]
    told = json.loads(Path("results/mine/study.json").read_text())
    assert {arm["tuned"]["optimizer.lr"] for arm in told["arms"].values()} == {"0.01"}
    assert not re.search(r"\d diverged", capsys.readouterr().out)


def test_a_tuning_run_that_fails_is_reported_and_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(**DIVERGES)
    assert run("run", f"+study={file}", monkeypatch=monkeypatch) == 0
    for place in record.find(Path("results/mine-tuning")):
        found = record.read(place)
        if found is not None and found["status"] == "diverged":
            lost = {"status": "failed", "reason": "no memory was left"}
            with record.claim(place):
                record.write(place, found | lost)
    capsys.readouterr()
    assert run("run", f"+study={file}", monkeypatch=monkeypatch) == 1
    out = capsys.readouterr().out
    assert "failed" in out
    assert "no memory" in out


def test_if_every_setting_of_an_arm_diverges_the_study_exits_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = {"knobs": {"optimizer.lr": ["1e29", "1e30"]}, "seeds": 1}
    file = written(**DIVERGES | {"tune": tune})
    assert run("run", f"+study={file}", monkeypatch=monkeypatch) == 1
    told = capsys.readouterr().err
    assert "no setting of optimizer.lr finished for the arm plain" in told
    assert "Nothing was started" not in told


def test_claims_of_every_kind_are_judged_in_the_report() -> None:
    given = claims(
        {"claim": "It is higher", "direction": "higher", "margin": 0.001},
        {"claim": "As wide", "statistic": "spread", "direction": "equivalent", "margin": 50},
        {"claim": "As good", "direction": "equivalent", "metric": "train/error", "margin": 1},
        {"claim": "Worse unseen", "arm": "plain", "against_metric": "train/error"},
        {"claim": "Far", "arm": "plain", "against": "half", "metric": "test/loss", "margin": 1e-9},
        {"claim": "Later", "direction": "higher", "metric": "epochs_to_target"},
    )
    arms = {"plain": [], "dropped": ["dropout.dense=0.3"], "half": ["dropout.dense=0.5"]}
    file = written(**given, arms=arms, seeds=4, target=0.8)
    train_all(Request((f"+study={file}", "epochs=40", "optimizer.lr=0.01")))
    found = compare(["results/mine"])
    assert len(found.claimed) == 6
    assert all(line.untrained == 0 for _, line in found.claimed), (
        "some runs were not trained long enough"
    )
    runs = found.runs.set_index(["arm", "seed"])
    test, train = (runs[f"{split}/error"] for split in ("test", "train"))
    lines = {claim.words: line for claim, line in found.claimed}
    assert lines["As wide"].delta == pytest.approx(test["dropped"].std() / test["plain"].std())
    assert lines["As good"].verdict == "supported"
    assert lines["Worse unseen"].delta == pytest.approx((test - train)["plain"].mean())
    assert lines["Far"].p == pytest.approx(
        stats.ttest_rel(*(runs.loc[arm, "test/loss"] for arm in ("plain", "half"))).pvalue
    )
    assert lines["Later"].mean == pytest.approx(runs.loc["dropped", "epochs_to_target"].mean())
    assert {line.family for line in lines.values()} == {("claims", 6)}


def test_poisoning_the_test_split_changes_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    def choices(name: str) -> dict[str, Any]:
        train_all(Request((f"+study={written(**TUNED)}", f"name={name}", "epochs=2")))
        told = json.loads(Path(f"results/{name}/study.json").read_text())
        return {arm: values["tuned"] for arm, values in told["arms"].items()}

    clean = choices("clean")
    split = loading.split

    def poisoned(*arguments: Any, **named: Any) -> dict[str, Any]:
        parts = dict(split(*arguments, **named))
        test = parts["test"]
        parts["test"] = type(test)(test.images, (test.labels + 1) % 10)
        return parts

    monkeypatch.setattr(loading, "split", poisoned)
    loading._load.cache_clear()
    assert choices("poisoned") == clean
    clean_error, poisoned_error = (
        ablate.load(f"results/{name}")["test/error"].mean() for name in ("clean", "poisoned")
    )
    loading._load.cache_clear()
    assert poisoned_error > clean_error, "the test split was not poisoned"


def test_a_design_on_the_command_line_plans_its_arms_seed_by_seed() -> None:
    request = Request(
        ("model=mlp", "design=leave_one_out", "dropout.dense=0,0.5", "norm=none,batch", "seed=0,1"),
        multirun=True,
    )
    runs = runs_of(request)
    assert [
        (r.config["seed"], r.config["dropout"]["dense"], r.config["norm"]["name"]) for r in runs
    ] == [
        (seed, *arm) for seed in (0, 1) for arm in ((0.5, "batch"), (0.0, "batch"), (0.5, "none"))
    ]
