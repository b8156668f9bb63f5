"""Measurements after training: as metrics in frames and reports, and as studies request them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

import ablate
from ablate import record
from ablate.analyze.frames import read
from ablate.analyze.run_measures import metrics_of
from ablate.commands.asking import Words
from ablate.commands.inspect import serve as inspecting
from ablate.commands.requests import trained
from ablate.errors import AblateError
from ablate.measure import after_training, finished
from ablate.metrics import METRICS, MOMENTS, metric_of
from ablate.plan.request import Request
from ablate.report.compare import compare
from ablate.report.formatting import titled, written
from ablate.report.write import write_report
from tests import reports
from tests.analyze.test_frames import write_run
from tests.asking import runs_of, train_all

CLAIM = {"claim": "It helps", "arm": "dropped", "direction": "lower"}
SOUND: dict[str, Any] = {
    "question": "Does dropout help?",
    "source": "a test of what is measured",
    "fixed": ["model=mlp", "model.hidden=[8,6]", "model.activation=tanh", "augment=shift"],
    "arms": {"plain": [], "dropped": ["dropout.dense=0.5"]},
    "seeds": 2,
    "measure": {
        "evaluate": ["samples=3", "views=2", "draws=1"],
        "inspect": ["images=30"],
    },
    "claims": [CLAIM | {"metric": "evaluate/correlation/mean"}],
}
SMALL = ("epochs=1", "data.train_size=60", "launch=inline")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train and measure the sound study, once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train_all(request())
    return folder / "results"


@pytest.fixture
def results(made: Path) -> Path:
    shutil.copytree(made, "results")
    return Path("results/mine")


def request(*words: str, **changes: Any) -> Request:
    """Request the sound study with changes; None leaves a key out."""
    values = {k: v for k, v in (SOUND | changes).items() if v is not None}
    Path("mine.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return Request(("+study=mine.yaml", *SMALL, *words))


def faults(*words: str, **changes: Any) -> tuple[str, ...]:
    with pytest.raises(AblateError) as error:
        runs_of(request(*words, **changes))
    return error.value.faults


def watched(monkeypatch: pytest.MonkeyPatch, end: int | None = None) -> list[str]:
    """Collect the keys of runs measured from now on; interrupt measuring after `end` runs."""
    from ablate.study import measuring as launched

    runs: list[str] = []

    def measure(run: Any, wanted: Any) -> None:
        if len(runs) == end:
            raise KeyboardInterrupt
        runs.append(run.key)
        finished.measure_run(run, wanted)

    monkeypatch.setattr(launched, "measure_run", measure)
    return runs


# -- metrics ---------------------------------------------------------------------------------------


def test_the_measured_metrics_are_exactly_the_listed_ones(results):
    given = [name for name in ablate.load(results) if name.startswith(("evaluate/", "inspect/"))]
    listed = {name for name, one in METRICS.items() if one.is_after_training and one.place != "val"}
    assert {metric_of(name).pattern for name in given} == listed
    assert not any("." in name for name in given), "a name with a dot would be taken for a knob"


@pytest.mark.usefixtures("blank_pictures")
def test_the_numbers_agree_with_evaluate_and_inspect(results):
    frame = ablate.load(results).set_index("key")
    shutil.copytree("results", "again")
    for folder in record.find(Path("again")):
        record.write(folder, record.read(folder) | {"evaluate": {}})
    found = ablate.evaluate("again", samples=3, views=2, draws=1)
    for row in found.runs.to_dict("records"):
        mine = frame.loc[row["key"]]
        for name in ("plain/error", "views/loss", "calibration/after/ece"):
            assert mine[f"evaluate/{name}"] == row[name]
        if mine["arm"] == "dropped":
            assert mine["evaluate/dropout/geometric/error"] == row["dropout/geometric/error"]
        else:
            assert math.isnan(mine["evaluate/dropout/geometric/error"])
    units = found.frames["correlation"].groupby("key")["correlation"]
    assert frame["evaluate/correlation/mean"].to_dict() == pytest.approx(units.mean().to_dict())
    words = Words(("model=mlp", "model.hidden=[8,6]", "model.activation=tanh", "augment=shift"))
    rest = ("name=mine", "dropout.dense=0.5", "images=30", *SMALL)
    looked = inspecting.inspect(Words((*words.overrides, *rest)))
    key = looked.layers["key"][0]
    assert frame.loc[key, "arm"] == "dropped", "the run was not the one that the study recorded"
    for moment in MOMENTS:
        mine = frame.loc[key].filter(like=f"inspect/{moment}/")
        layers, weights = (
            f[(f["moment"] == moment) & (f["mode"] != "eval")]
            for f in (looked.layers, looked.weights)
        )
        sd = layers[layers["kind"] == "activation"]["sd"].tolist()
        norm = weights[weights["matrix"]]["grad_norm"].tolist()
        assert mine[f"inspect/{moment}/activation_std/1"] == pytest.approx(sd[0])
        assert mine[f"inspect/{moment}/activation_std/last"] == pytest.approx(sd[1])
        assert mine[f"inspect/{moment}/activation_std/ratio"] == pytest.approx(sd[1] / sd[0])
        assert mine[f"inspect/{moment}/gradient_norm/ratio"] == pytest.approx(norm[0] / norm[2])


def test_curves_are_averaged_and_missing_values_are_left_out_of_means():
    entries = {
        "plain": {"error": 0.25},
        "deletion": {"share": [0.0, 0.1, 0.5], "mean": [0.9, 0.8, 0.2]},
        "correlation": {"a": {"correlation": 0.5}, "b": {"correlation": None}},
        "perturbation": {"shift": {"strength": [0, 1, 2], "accuracy": [1, 0.5, 0.25]}},
    }
    found = after_training.numbers(
        {"evaluate": {"test": entries, "val": {"plain": {"error": 0.5}}}}
    )
    # Errors 0.1, 0.2 and 0.8 at 0, 0.1 and 0.5: (0.1 · 0.15 + 0.4 · 0.5) / 0.5.
    assert found["evaluate/deletion/error_area"] == pytest.approx(0.43)
    assert found["evaluate/deletion/50/error"] == pytest.approx(0.8)
    assert found["evaluate/correlation/mean"] == 0.5
    assert found["evaluate/correlation/2"] is None
    assert found["evaluate/perturbation/shift/error"] == pytest.approx(0.625)
    assert found["evaluate/plain/loss"] is None
    assert found["evaluate/val/plain/error"] == 0.5
    assert "evaluate/deletion/0/error" not in found


def look(sd: list[float | None], norms: list[float | None], kind: str = "activation") -> Any:
    row = {"kind": kind, "dead": 0.5, "saturated": None, "mean": 0, "zeros": 0}
    return {
        "layers": {str(i): row | {"sd": value} for i, value in enumerate(sd)},
        "weights": {str(i): {"matrix": True, "grad_norm": n} for i, n in enumerate(norms)},
    }


def test_a_ratio_to_zero_is_missing_and_a_ratio_of_zero_is_zero():
    found = after_training.of_look(look([2.0, 0.0], [0.0, 0.0]))
    assert found["activation_std/ratio"] == 0
    assert found["gradient_norm/ratio"] is None
    assert after_training.of_look(look([0.0, 0.0], [1, 4]))["activation_std/ratio"] is None
    assert after_training.of_look(look([None, 1.0], [1, 4]))["activation_std/ratio"] is None
    assert not any(name.startswith("saturated") for name in found), "no activation has two ends"


def test_without_activations_all_linear_layers_but_the_last_count_as_hidden():
    found = after_training.of_look(look([3.0, 6.0, 9.0], [1, 2, 3], kind="linear"))
    assert found["activation_std/ratio"] == 2
    assert after_training.of_look(look([3.0], [1], kind="linear")).keys() >= {"gradient_norm/ratio"}
    assert "activation_std/ratio" not in after_training.of_look(look([3.0], [1], kind="linear"))


def test_records_without_measurements_are_read_and_malformed_ones_are_reported(tmp_path):
    write_run(tmp_path / "s", {"seed": 0})
    write_run(tmp_path / "s", {"seed": 1}, evaluate={"test": {"plain": {"error": None}}})
    write_run(tmp_path / "s", {"seed": 2}, evaluate={"test": {"plain": {"error": 0.25}}})
    write_run(tmp_path / "s", {"seed": 3}, evaluate={"test": {"deletion": "all"}})
    write_run(tmp_path / "s", {"seed": 4}, inspect={"start": 3})
    found = read(tmp_path / "s")
    assert found.runs["evaluate/plain/error"].tolist()[2] == 0.25
    assert found.runs["evaluate/plain/error"].isna().tolist() == [True, True, False]
    assert len(found.unreadable) == 2
    assert "evaluate/plain/loss" not in metrics_of(found.runs)


def test_metrics_have_units_better_sides_and_titles():
    assert metric_of("evaluate/deletion/50/error").better == "lower"
    assert metric_of("evaluate/correlation/mean").better is None
    assert titled("evaluate/dropout/arithmetic/error") == "evaluate dropout arithmetic error, %"
    assert titled("inspect/start/saturated/mean") == "inspect start saturated mean, %"
    assert titled("inspect/end/gradient_norm/1") == "inspect end gradient norm 1"
    ratio = metric_of("inspect/start/activation_std/ratio").unit
    assert written(1.234e-9, ratio) == "1.23e\u221209"
    assert written(0.25, ratio, signed=True) == "+0.25"
    assert metric_of("evaluate/dropout/agreement/geometric").unit.name == "%"
    assert written(0.0421, metric_of("evaluate/correlation/1").unit, signed=True) == "+0.042"


# -- a study ---------------------------------------------------------------------------------------


def test_the_same_study_again_measures_nothing(results, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in results.rglob("record.json")}
    assert len(before) == 4
    runs = watched(monkeypatch)
    train_all(request())
    assert runs == []
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.parametrize(
    "words",
    [
        {"evaluate": ["samples=4", "views=2", "draws=1"]},
        {"evaluate": ["samples=3", "views=3", "draws=1"]},
        {"evaluate": ["samples=3", "views=2", "draws=2"]},
        {"evaluate": ["samples=3", "views=2", "draws=1", "delete=scaled"]},
        {"evaluate": ["samples=3", "views=2", "draws=1", "split=val"]},
        {"inspect": ["images=20"]},
    ],
)
def test_other_settings_are_not_yet_measured(results, words):
    runs, _ = train_all(request("rerun=none"))
    asked = SOUND["measure"] | words
    from ablate.study.measurement import wanted
    from ablate.study.study import Measurement

    new = wanted(Measurement(tuple(asked["evaluate"]), tuple(asked["inspect"])))
    found = {run.arm: record.read(run.directory) for run in runs}
    assert finished.lacks(found["dropped"], new) == list(words)
    less = wanted(Measurement(("samples=3", "views=none", "delete=false"), ("train=false",)))
    assert finished.lacks(found["dropped"], less) == ["inspect"], "with the default of 256 images"


def test_interrupted_measuring_continues_with_the_remaining_runs(results, monkeypatch):
    for folder in record.find(results):
        record.write(folder, record.read(folder) | {"evaluate": {}})
    first = watched(monkeypatch, end=2)
    _, interrupted = train_all(request())
    assert interrupted
    second = watched(monkeypatch)
    _, interrupted = train_all(request())
    assert not interrupted
    assert len(first) == len(second) == 2
    assert set(first).isdisjoint(second)
    assert ablate.load(results)["evaluate/plain/error"].notna().all()


def test_a_run_that_cannot_be_measured_is_reported_and_the_others_are_measured(
    results, monkeypatch, capsys
):
    folders = record.find(results)
    for folder in folders:
        record.write(folder, record.read(folder) | {"evaluate": {}})
    (folders[1] / "checkpoint.pt").unlink()
    asked = request()
    assert reports.run("run", *asked.overrides, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    assert f"{folders[1] / 'checkpoint.pt'} is missing" in said.err
    assert "measured 4/4" in said.err
    assert ablate.load(results)["evaluate/plain/error"].notna().sum() == 3
    page = reports.page(results)
    assert "not measured after training" in page
    assert not trained(request("rerun=all")).faults
    assert ablate.load(results)["evaluate/plain/error"].notna().all()


def test_an_unforeseen_error_is_reported_and_logged(results, monkeypatch):
    from ablate.measure import evaluation

    for folder in record.find(results):
        record.write(folder, record.read(folder) | {"evaluate": {}})

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(evaluation, "measure", broken)
    outcome = trained(request())
    assert outcome.stop is None
    assert outcome.status == 1
    told = json.loads((results / "study.json").read_text())["unmeasured"]
    assert tuple(told) == outcome.faults
    assert len(told) == 4
    assert all("ZeroDivisionError: by nought" in fault for fault in told)
    assert "Traceback" in (outcome.runs[0].directory / "run.log").read_text()


def test_runs_that_did_not_finish_are_not_measured(results, monkeypatch):
    folder = record.find(results)[0]
    record.write(folder, record.read(folder) | {"evaluate": {}, "status": "diverged"})
    runs = watched(monkeypatch)
    train_all(request())
    assert runs == []
    assert record.read(folder)["evaluate"] == {}


@pytest.mark.slow
def test_workers_measure_the_same_numbers_as_this_process(results, monkeypatch, capfd):
    from ablate.study import measuring as launched

    before = {folder: record.read(folder) for folder in record.find(results)}
    for folder, found in before.items():
        record.write(folder, found | {"evaluate": {}, "inspect": {}})
    monkeypatch.setattr(launched, "cores", lambda: 2)
    assert trained(request("launch=workers")).faults == ()
    assert "measured 4/4" in capfd.readouterr().err
    for folder, found in before.items():
        again = record.read(folder)
        for name in ("evaluate", "inspect"):
            mine, its = after_training.numbers({name: again[name]}), after_training.numbers(found)
            assert mine == pytest.approx({n: its[n] for n in mine}, rel=1e-4)
            assert mine


def test_softmax_regression_has_nothing_to_delete_and_is_measured_once(monkeypatch):
    fixed = ["model=mlp", "model.hidden=[]"]
    arms = {"slow": ["optimizer.lr=0.001"], "fast": ["optimizer.lr=0.1"]}
    claims = [{"claim": "x", "arm": "fast", "direction": "lower"}]
    asked = {"fixed": fixed, "arms": arms, "claims": claims, "measure": {"evaluate": []}}
    train_all(request(**asked))
    runs = watched(monkeypatch)
    train_all(request(**asked))
    assert runs == []


# -- claims ----------------------------------------------------------------------------------------


def write_study(folder: Path, errors: dict[str, list[float | None]], metric: str) -> None:
    """Write a study whose runs were measured; None means that the number is missing."""
    for i, (arm, values) in enumerate(errors.items()):
        for seed, value in enumerate(values):
            entries = {"evaluate": {"test": {"plain": {"error": value}}}} if value else {}
            knobs = {"dropout.dense": i / 4, "seed": seed}
            write_run(folder, knobs, study="mine", arm=arm, **entries)
    claim = CLAIM | {"metric": metric, "margin": 0.01, "source": "a test"}
    told = {
        "name": "mine",
        "question": "Does it?",
        "source": "a test",
        "metric": "test/error",
        "margin": None,
        "equal": "epochs",
        "baseline": "plain",
        "tuning": None,
        "command": [],
        "arms": {arm: {"tuned": {}, "on the grid's edge": []} for arm in errors},
        "claims": [claim],
        "measure": {"evaluate": ["samples=3"], "inspect": None, "line": None},
        "unmeasured": [],
    }
    (folder / "study.json").write_text(json.dumps(told), encoding="utf-8")


PLAIN, DROPPED = [0.20, 0.22, 0.21, 0.23], [0.15, 0.16, 0.16, 0.17]


def test_a_claim_on_a_measured_metric_is_judged_by_its_numbers(tmp_path):
    write_study(tmp_path, {"plain": PLAIN, "dropped": DROPPED}, "evaluate/plain/error")
    ((claim, line),) = compare([tmp_path]).claimed
    assert claim.metric == "evaluate/plain/error"
    assert line.delta == pytest.approx(sum(DROPPED) / 4 - sum(PLAIN) / 4)
    assert line.p == pytest.approx(stats.ttest_rel(DROPPED, PLAIN).pvalue)
    assert line.verdict == "supported"
    page = reports.page(tmp_path)
    assert "evaluate plain error" in page
    assert "as `ablate evaluate` samples=3 would" in page


def test_a_run_without_the_number_is_left_out_of_pairs(tmp_path):
    write_study(tmp_path, {"plain": PLAIN, "dropped": [*DROPPED[:3], None]}, "evaluate/plain/error")
    ((_, line),) = compare([tmp_path]).claimed
    assert line.pairs == 3
    assert line.p == pytest.approx(stats.ttest_rel(DROPPED[:3], PLAIN[:3]).pvalue)


def test_a_claim_on_a_metric_that_no_run_has_is_noted_and_not_judged(tmp_path):
    write_study(tmp_path, {"plain": PLAIN, "dropped": DROPPED}, "evaluate/views/error")
    found = compare([tmp_path])
    assert list(found.claimed) == []
    assert "about dropped is not judged: no finished run has evaluate/views/error" in " ".join(
        found.notes
    )


def test_the_report_of_a_measured_study_is_written_in_full(results):
    folder, found = write_report([results])
    assert [claim.metric for claim, _ in found.claimed] == ["evaluate/correlation/mean"]
    metrics = (folder / "tables" / "metrics.csv").read_text(encoding="utf-8")
    assert "inspect/start/activation_std/2" in metrics
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "inspect start activation std ratio" in page
    assert "inspect start activation std 2" not in page, (
        "the page has a column per layer, which is too many"
    )


# -- what is wrong ---------------------------------------------------------------------------------


def claimed(metric: str) -> dict[str, Any]:
    return {"claims": [CLAIM | {"metric": metric}]}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no mapping": ({"measure": ["samples=3"]}, "measure needs evaluate, inspect or both"),
    "nothing": ({"measure": {}}, "measure needs evaluate, inspect or both"),
    "another command": ({"measure": {"evalute": []}}, "measure needs evaluate, inspect or both"),
    "no list": ({"measure": {"evaluate": "samples=3"}}, "list of settings of `ablate evaluate`"),
    "no words": ({"measure": {"inspect": [3]}}, "list of settings of `ablate inspect`"),
    "an unknown setting": ({"measure": {"evaluate": ["smples=3"]}}, "did you mean 'samples'?"),
    "a wrong value": ({"measure": {"evaluate": ["samples=1"]}}, "samples=1 is not legal"),
    "a wrong look": ({"measure": {"inspect": ["images=1"]}}, "images=1 is not legal"),
    "a look on the way": ({"measure": {"inspect": ["every=5"]}}, "only before and after training"),
    "an override": ({"measure": {"inspect": ["epochs=5"]}}, "there is no setting epochs"),
    "no measure": (
        {"measure": None} | claimed("evaluate/plain/error"),
        "the study lacks measure: {evaluate: [...]}",
    ),
    "no look": (
        {"measure": {"evaluate": []}} | claimed("inspect/start/dead/mean"),
        "the study lacks measure: {inspect: [...]}",
    ),
    "a wrong metric": (claimed("evaluate/plain/eror"), "did you mean 'evaluate/plain/error'?"),
    "left out": (
        {"measure": {"evaluate": ["samples=none"]}} | claimed("evaluate/dropout/arithmetic/error"),
        "no measurement gives evaluate/dropout/arithmetic/error with samples=none",
    ),
    "another split": (claimed("evaluate/val/plain/error"), "no measurement gives evaluate/val/"),
    "a primary metric": (
        {"metric": "inspect/start/nothing"},
        "the metric inspect/start/nothing: no run records it",
    ),
    "a layer that is no number": (
        claimed("inspect/end/activation_std/<layer>"),
        "the metric inspect/end/activation_std/<layer>: no run records it",
    ),
    "no such layer": (claimed("inspect/end/activation_std/3"), "its network has no such layer"),
    "no such hidden layer": (claimed("evaluate/correlation/3"), "its network has no such layer"),
    "no ends": (
        {"fixed": ["model=mlp"]} | claimed("inspect/start/saturated/mean"),
        "its network has no such layer, or one of another kind",
    ),
    "nothing to delete": (
        {"fixed": ["model=mlp", "model.hidden=[]", "augment=shift"]}
        | {"arms": {"plain": [], "dropped": ["dropout.input=0.5"]}}
        | claimed("evaluate/deletion/50/error"),
        "plain has no evaluate/deletion/50/error: its network has no such layer",
    ),
    "an arm without dropout": (
        claimed("evaluate/dropout/arithmetic/error"),
        "plain has no evaluate/dropout/arithmetic/error: no dropout acts in it",
    ),
    "no dropout at all": (
        {
            "arms": {"a": [], "b": ["optimizer.lr=0.1"]},
            "claims": [CLAIM | {"arm": "b"}],
        },
        "samples=3 touches nothing: no arm has dropout",
    ),
    "no weights": ({"fixed": ["model=mlp", "save=none"]}, "save=none keeps no weights to measure"),
    "no views": ({"fixed": ["model=mlp"]}, "views=2 touches nothing: no arm augments"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_bad_measurement_is_refused_with_file_line_and_reason(what: str) -> None:
    changes, said = WRONG[what]
    told = faults(**changes)
    assert any(said in fault for fault in told), told
    assert all("mine.yaml, line " in fault for fault in told), told
    assert not Path("results").exists()


def test_an_error_names_the_line_of_the_metric_or_the_setting():
    (told,) = faults(**claimed("evaluate/plain/eror"))
    lines = Path("mine.yaml").read_text().splitlines()
    number = next(i for i, line in enumerate(lines, start=1) if "plain/eror" in line)
    assert f"mine.yaml, line {number}:" in told
    (told,) = faults(measure={"evaluate": ["samples=1"]})
    lines = Path("mine.yaml").read_text().splitlines()
    number = next(i for i, line in enumerate(lines, start=1) if "evaluate:" in line)
    assert f"mine.yaml, line {number}:" in told


def test_measuring_the_validation_split_needs_validation_images():
    changes = {"measure": {"evaluate": ["split=val"]}, "claims": [CLAIM]}
    assert any("split=val: data.val_size is 0" in f for f in faults("data.val_size=0", **changes))
    runs = runs_of(request(**changes | claimed("evaluate/val/plain/error")))
    assert len(runs) == 4
