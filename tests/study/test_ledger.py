"""The ledger: what was claimed when, each look, and what was edited since; in plain words."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ablate import record
from ablate.commands.requests import trained
from ablate.errors import AblateError
from ablate.plan.request import Request
from ablate.report.compare import compare
from ablate.study import ledger, questions, story, study_json
from ablate.study.file import read_study
from tests.analyze.test_frames import write_run
from tests.reports import run, write_arms

FOLDER = Path("results/mine")
STUDY = {
    "question": "Does dropout help?",
    "source": "a test",
    "fixed": ["model=mlp", "model.hidden=[8]", "epochs=1", "data.train_size=100"],
    "arms": {"plain": [], "dropped": ["dropout.dense=0.5"]},
    "seeds": 3,
    "margin": 0.005,
    "claims": [
        {"claim": "It helps", "arm": "dropped", "direction": "lower"},
        {"claim": "It fits less", "arm": "dropped", "direction": "higher", "metric": "train/error"},
    ],
}
FIRST, SECOND = STUDY["claims"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_study(**changes):
    Path("mine.yaml").write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    return read_study("mine.yaml")


def ask(**changes):
    """Start a study as `ablate run` does, up to its first run; return how many runs it plans."""
    study = write_study(**changes)
    planned = sum(len(study.seeds_of(arm)) for arm in study.arms)
    ledger.note_claims(FOLDER, questions.of_study(study, []), planned)
    study_json.write(FOLDER, study, {}, command=[], runs=[])
    return planned


def end(*seeds, arms=("plain", "dropped"), **parts):
    """Write ended runs, one per arm and seed."""
    for arm in arms:
        for seed in seeds:
            line = record.latest_line(FOLDER)
            knobs = {"dropout.dense": 0.5 * (arm == "dropped"), "seed": seed}
            write_run(FOLDER, knobs, study="mine", arm=arm, ledger=line, **parts)


def look():
    return story.looked_at(record.find(FOLDER))


def finish(**changes):
    """Run a whole study, and look at it."""
    ask(**changes)
    end(0, 1, 2)
    return look()


def edit(folder, change):
    file = folder / "record.json"
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))


def lines():
    return (FOLDER / "ledger.jsonl").read_text().splitlines()


def rewrite(kept):
    (FOLDER / "ledger.jsonl").write_text("".join(f"{line}\n" for line in kept))


# -- what it holds ---------------------------------------------------------------------------------


def test_claims_written_before_the_first_run_are_reported_as_such():
    told = finish()
    assert (
        told.line
        == "claims written before the first run; this is the first look at results, of 6 runs"
    )
    assert told.sentences == (told.line,)
    assert not told.is_interim


def test_a_line_holds_the_claims_as_written():
    finish()
    first, second = map(json.loads, lines())
    asked = first["question"]
    assert [first["number"], first["kind"], first["ended"], first["planned"]] == [1, "claims", 0, 6]
    assert asked["claims"][0] == {
        "claim": "It helps", "arm": "dropped", "metric": "test/error", "direction": "lower",
        "margin": 0.005, "source": "a test", "against": "plain", "against_metric": "test/error",
        "statistic": "mean",
    }  # fmt: skip
    assert asked["arms"]["dropped"] == {
        "overrides": ["dropout.dense=0.5"], "seeds": [0, 1, 2], "grid": {},
    }  # fmt: skip
    assert (asked["metric"], asked["baseline"]) == ("test/error", "plain")
    assert [second["number"], second["kind"], second["ended"]] == [2, "look", 6]
    assert second["previous"] == first["hash"]
    assert set(second["seen"]) == {place.name for place in record.find(FOLDER)}


def test_the_same_question_or_look_is_noted_once():
    finish()
    ask()
    look()
    assert len(lines()) == 2


def test_how_runs_are_executed_is_not_part_of_the_question():
    study = write_study()
    plain = questions.of_study(study, ["epochs=2"])
    more = ["epochs=2", "report=true", "device=cpu", "launch=inline", "hydra.verbose=true"]
    assert questions.of_study(study, more) == plain
    assert questions.of_study(study, ["epochs=3"]) != plain


def test_study_json_and_each_record_name_the_last_line():
    finish()
    first, second = map(json.loads, lines())
    last = json.loads((FOLDER / "study.json").read_text())["ledger"]
    assert last == {"number": 2, "hash": second["hash"]}
    for place in record.find(FOLDER):
        assert record.read(place)["ledger"] == {"number": 1, "hash": first["hash"]}


def test_the_last_whole_line_is_found_even_if_long_and_followed_by_a_torn_one():
    ask()
    file = FOLDER / "ledger.jsonl"
    long = json.dumps({"number": 2, "seen": "x" * 300_000, "hash": "h"})
    with file.open("a") as opened:
        opened.write(f'{long}\n{{"number": 3, "ki')
    assert record.latest_line(FOLDER) == {"number": 2, "hash": "h"}
    assert record.latest_line(Path()) is None


# -- what was changed ------------------------------------------------------------------------------

BEFORE = "claims written before the first run, but after 6 of 6 runs had ended, "


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"claims": [FIRST | {"direction": "higher"}, SECOND]},
            "the claim “It helps” (dropped, test error) was reversed from lower to higher",
        ),
        ({"claims": [FIRST]}, "the claim “It fits less” (dropped, train error) was dropped"),
        ({"margin": 0.01}, "the margin of the study was widened from 0.5 to 1 points"),
        (
            {"claims": [FIRST | {"margin": 0.002}, SECOND]},
            "the margin of the claim “It helps” (dropped, test error) was narrowed from 0.5 to"
            " 0.2 points",
        ),
        (
            {"claims": [FIRST, SECOND, FIRST | {"claim": "Loss", "metric": "test/loss"}]},
            "the claim “Loss” (dropped, test loss) was added",
        ),
        (
            {"claims": [FIRST | {"claim": "It matters"}, SECOND]},
            "the claim “It helps” (dropped, test error) was reworded: “It matters”",
        ),
        ({"seeds": 5}, "2 seeds were added (3 before, 5 now)"),
        ({"seeds": 2}, "1 seed was dropped (3 before, 2 now)"),
        ({"question": "What does it do?"}, "the question was reworded"),
        ({"fixed": [*STUDY["fixed"], "norm=batch"]}, "what all runs set was changed"),
        (
            {"arms": {"plain": [], "dropped": ["dropout.dense=0.4"]}},
            "what the arm dropped sets was changed",
        ),
    ],
)
def test_changes_after_runs_had_ended_are_reported(changes, told):
    finish()
    ask(**changes)
    assert look().line.startswith(f"{BEFORE}{told}; this is the first look")


def test_a_changed_baseline_or_metric_is_reported_with_the_claims_it_affects():
    old = questions.of_study(write_study(), [])
    new = questions.of_study(write_study(metric="test/loss"), [])
    assert "the metric was changed from test/error to test/loss" in questions.changes(old, new)
    arms = {"none": ["dropout.dense=0.1"], **STUDY["arms"]}
    old = questions.of_study(write_study(arms=arms, baseline="plain"), [])
    new = questions.of_study(write_study(arms=arms, baseline="none"), [])
    assert questions.changes(old, new) == [
        "the other arm of the claim “It helps” (dropped, test error) was changed from plain to"
        " none",
        "the other arm of the claim “It fits less” (dropped, train error) was changed from plain to"
        " none",
        "the baseline was changed from plain to none",
    ]


def test_changes_before_any_run_ended_are_not_reported():
    ask()
    assert finish(margin=0.01).line.startswith("claims written before the first run; this is")


def test_a_margin_widened_halfway_is_reported_with_how_many_runs_had_ended():
    ask()
    end(0)
    ask(margin=0.01)
    end(1, 2)
    assert look().line == (
        "claims written before the first run, but after 2 of 6 runs had ended, the margin of the"
        " study was widened from 0.5 to 1 points; this is the first look at results, of 6 runs"
    )


def test_seeds_added_twice_are_reported_twice_and_do_not_extend_the_plan():
    finish()
    ask(seeds=4)
    end(3)
    look()
    ask(seeds=5)
    end(4)
    told = look()
    assert told.line == (
        "claims written before the first run, but after 6 of 6 runs had ended, 1 seed was added"
        " (3 before, 4 now); after 8 of 8 runs had ended, 1 seed was added (4 before, 5 now);"
        " 3 looks at results, of 6, 8 and 10 runs; seeds were added after the planned end:"
        " extended; verdicts rest on the first 3"
    )
    assert told.planned == {"plain": (0, 1, 2), "dropped": (0, 1, 2)}
    assert told.is_extended
    assert not told.is_interim
    assert [len(keys) for keys in told.looks] == [6, 8, 10]


def test_seeds_added_before_anyone_looks_count_as_planned():
    ask()
    end(0)
    ask(seeds=5)
    end(1, 2, 3, 4)
    told = look()
    assert "after 2 of 6 runs had ended, 2 seeds were added (3 before, 5 now)" in told.line
    assert told.planned["plain"] == (0, 1, 2, 3, 4)
    assert not told.is_extended


def test_a_look_before_the_planned_end_is_interim():
    ask()
    end(0, 1)
    told = look()
    assert told.line == (
        "claims written before the first run; this is the first look at results, of 4 runs;"
        " interim: 4 of 6 planned runs have ended"
    )
    assert told.is_interim


def test_a_failed_run_leaves_a_study_interim():
    ask()
    end(0, 1)
    end(2, status="failed", reason="no memory", metrics={})
    told = look()
    assert told.line.endswith("interim: 4 of 6 planned runs have ended, 2 failed")
    assert [len(keys) for keys in told.looks] == [4]


def test_failed_runs_can_be_given_up_and_are_no_longer_waited_for():
    ask()
    end(0, 1)
    end(2, arms=("plain",))
    end(2, arms=("dropped",), status="failed")
    assert look().is_interim
    assert story.give_up(record.find(FOLDER)) == 1
    told = look()
    assert not told.is_interim
    assert told.planned == {"plain": (0, 1, 2), "dropped": (0, 1)}
    assert told.line.endswith("; 1 run that failed was given up")
    story.give_up(record.find(FOLDER))
    assert [json.loads(line)["kind"] for line in lines()].count("given up") == 1
    end(2, arms=("dropped",))
    assert look().planned["dropped"] == (0, 1, 2), "the run was trained after all"


def test_a_dropped_claim_still_counts_in_the_family():
    finish()
    ask(claims=[FIRST])
    assert look().claims == 2
    found = compare([FOLDER]).contrasts
    assert found.loc[found["family"] == "claims", "family_size"].tolist() == [2]


def test_many_looks_are_counted():
    ask(seeds=6)
    for seed in range(6):
        end(seed)
        told = look()
    assert "; 6 looks at results, of 2 to 12 runs" in told.line


# -- what was edited -------------------------------------------------------------------------------


def some_run():
    place = record.find(FOLDER)[0]
    found = record.read(place)
    return place, f"run {found['key']} ({found['arm']}, seed {found['seed']})"


def test_a_metric_edited_by_hand_is_reported_at_every_look():
    finish()
    place, name = some_run()
    edit(place, lambda found: found["metrics"].update({"test/error": 0.0}))
    told = f"the record of {name} was edited after the look in line 2 of the ledger"
    assert look().faults == (told,)
    assert look().faults == (told,)  # the last look saw the edited record, which hides nothing


def test_measuring_or_relabelling_a_record_is_not_an_edit():
    finish()
    place, _ = some_run()
    edit(place, lambda found: found.update(study="other", evaluate={"test": {"error": 0.1}}))
    assert look().faults == ()
    edit(place, lambda found: found["metrics"].update({"val/loss": 1.0}))
    look()
    edit(place, lambda found: found.update(evaluate={"test": {"error": 0.0}}))
    assert not any("measured again" in fault for fault in look().faults)


def test_a_measurement_that_changes_after_a_look_is_reported():
    ask()
    end(0, 1, 2, evaluate={"test": {"error": 0.1}})
    look()
    place, name = some_run()
    edit(place, lambda found: found.update(evaluate={"test": {"error": 0.0}}))
    assert look().faults == (f"{name} was measured again after the look in line 2 of the ledger",)


def test_a_missing_record_is_reported():
    finish()
    place, _ = some_run()
    (place / "record.json").unlink()
    told = look()
    assert told.faults == (
        f"the record of run {place.name}, shown in line 2 of the ledger, is gone",
    )
    assert told.is_interim


def test_retraining_a_failed_run_is_fine_and_a_finished_one_is_reported():
    ask()
    end(0, 1)
    end(2, status="failed", reason="no memory", metrics={})
    look()
    end(2)
    assert look().faults == ()
    end(0, arms=["plain"], metrics={"test/error": 0.0})
    (told,) = look().faults
    assert told.endswith(
        " (plain, seed 0) was trained again after the look in line 2 of the ledger"
    )


def test_a_removed_last_line_is_reported_from_then_on():
    finish()
    rewrite(lines()[:1])
    told = "the ledger's last lines were cut off after line 1: study.json names line 2"
    assert look().faults == (told,)
    assert look().faults == (f"{told} (noted in line 2)",)


def test_records_reveal_a_removed_line_even_without_study_json():
    finish()
    ask(seeds=4)
    end(3)
    (FOLDER / "study.json").unlink()
    rewrite(lines()[:2])
    assert (
        "the ledger's last lines were cut off after line 2: the record of run " in look().faults[0]
    )


def test_a_removed_ledger_is_reported():
    finish()
    (FOLDER / "ledger.jsonl").unlink()
    told = look()
    assert told.faults == ("the ledger was removed, but study.json and 6 more name a line of it",)
    assert told.line.startswith("unknown: no intact line of the ledger holds the claims; this is")


def test_an_edited_or_removed_line_is_reported():
    finish()
    kept = lines()
    rewrite([kept[0].replace('"margin": 0.005', '"margin": 0.05'), kept[1]])
    assert "line 1 of the ledger was edited: it does not count" in look().faults
    rewrite([kept[1]])
    assert "the ledger was edited: something was removed or inserted before line 2" in look().faults
    rewrite([kept[0], "nothing", kept[1]])
    assert look().faults == ("line 2 of the ledger cannot be read: it was edited",)


def test_a_line_forged_with_its_hash_is_exposed_by_the_records():
    finish()
    first, second = map(json.loads, lines())
    first["question"]["margin"] = 0.05
    first["hash"] = ledger._hash_of(first)
    rewrite([json.dumps(first), json.dumps(second)])
    assert any(fault.startswith("line 1 of the ledger is not the one") for fault in look().faults)


def test_an_edited_study_json_is_reported():
    finish()
    file = FOLDER / "study.json"
    file.write_text(file.read_text().replace('"margin": 0.005', '"margin": 0.01'))
    assert look().faults == (
        "study.json was edited and differs from the ledger: the margin of the study was"
        " widened from 0.5 to 1 points",
    )


# -- kills, old folders, read-only folders ---------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_line_torn_by_a_kill_is_reported_and_the_ledger_goes_on(cut):
    finish()
    last = lines()[-1]
    with (FOLDER / "ledger.jsonl").open("a") as file:
        file.write(last[:cut])
    told = look()  # the same runs as before: nothing is written
    assert told.faults == ("the ledger's last line was cut off while it was written",)
    ask(seeds=4)
    assert [json.loads(line)["number"] for line in lines()] == [1, 2, 3]
    end(3)
    assert look().faults == (
        "a line that was cut off while it was written was removed before this one (noted in"
        " line 3)",
    )


def test_a_line_without_its_line_break_counts():
    finish()
    (FOLDER / "ledger.jsonl").write_text("\n".join(lines()))
    assert look().faults == ()
    ask(seeds=4)
    assert [json.loads(line)["number"] for line in lines()] == [1, 2, 3]


def test_a_users_file_with_the_ledgers_name_is_kept():
    FOLDER.mkdir(parents=True)
    (FOLDER / "ledger.jsonl").write_text("rent 500")
    (FOLDER / "sweep.json").write_text('{"mine": 1}')
    write_arms(FOLDER, {"a": [0.1, 0.2], "b": [0.2, 0.3]})
    look()
    assert (FOLDER / "ledger.1.jsonl").read_text() == "rent 500"
    assert (FOLDER / "sweep.1.json").read_text() == '{"mine": 1}'
    assert len(lines()) == 1


def test_in_a_folder_older_than_the_ledger_the_time_of_claims_is_unknown():
    study = write_study()
    study_json.write(FOLDER, study, {}, command=[], runs=[])
    told = json.loads((FOLDER / "study.json").read_text())
    (FOLDER / "study.json").write_text(json.dumps({k: told[k] for k in told if k != "ledger"}))
    end(0, 1, 2)
    assert look().line == f"{story.OLDER}; this is the first look at results, of 6 runs"
    assert look().planned == {"plain": (0, 1, 2), "dropped": (0, 1, 2)}
    ask(seeds=4)
    end(3)
    assert look().line.startswith(
        f"{story.OLDER}: it begins after 6 runs had ended; 2 looks at results, of 6 and 8 runs"
    )


@pytest.mark.skipif(os.name != "posix", reason="a folder is made read-only as on Unix")
def test_a_look_at_a_read_only_folder_cannot_be_noted(monkeypatch):
    ask()
    end(0, 1, 2)

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ledger, "_write", refuse)  # root may write anywhere
    told = look()
    assert told.sentences == (
        "claims written before the first run; this is the first look at results, of 6 runs",
        "this look could not be noted: the folder of the runs cannot be written to",
    )
    assert [len(keys) for keys in told.looks] == [6]
    assert len(lines()) == 1


def test_a_full_disk_before_the_first_run_stops_the_study(monkeypatch):
    write_study()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger, "_write", full)
    outcome = trained(Request(("+study=mine.yaml",)))
    assert outcome.stop is not None
    assert outcome.stop.why == "disk full"
    assert record.find(FOLDER) == []


# -- as users see it -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_notes_its_claims_and_its_look(monkeypatch, capsys):
    write_study()
    assert run("run", "+study=mine.yaml", monkeypatch=monkeypatch) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "ledger: claims written before the first run; this is the first look at results, of 6 runs"
        in told
    )
    assert [json.loads(line)["kind"] for line in lines()] == ["claims", "look"]
    assert compare([FOLDER], brief=True).story.faults == ()
    first = json.loads(lines()[0])
    for place in record.find(FOLDER):
        assert record.read(place)["ledger"] == {"number": 1, "hash": first["hash"]}
    assert len(lines()) == 2


@pytest.mark.slow
def test_a_grid_has_a_ledger_without_claims_and_a_file_that_names_its_last_line():
    grid = (*STUDY["fixed"], "dropout.dense=0,0.5", "name=grid")
    trained(Request((*grid, "seed=0,1"), multirun=True))
    folder = Path("results/grid")
    told = json.loads((folder / "sweep.json").read_text())
    assert set(told["runs"]) == {place.name for place in record.find(folder)}
    assert told["ledger"] == record.latest_line(folder)
    assert told["ledger"]["number"] == 1
    first = compare([folder], brief=True).story
    assert (
        first.line
        == "nothing was claimed before the first run; this is the first look at results, of 4 runs"
    )
    trained(Request((*grid, "seed=0,1,2"), multirun=True))
    assert compare([folder], brief=True).story.line == (
        "nothing was claimed before the first run, but after 4 of 4 runs had ended, 1 seed was"
        " added (2 before, 3 now); 2 looks at results, of 4 and 6 runs"
    )


def test_a_single_run_keeps_no_ledger():
    trained(Request((*STUDY["fixed"], "name=one")))
    assert not (Path("results/one") / "ledger.jsonl").exists()
    (place,) = record.find(Path("results/one"))
    assert "ledger" not in record.read(place)


def test_runs_of_several_folders_are_noted_in_each():
    for name in ("one", "other"):
        write_arms(Path(name), {"a": [0.1, 0.2], "b": [0.2, 0.31]})
    told = story.looked_at([*record.find(Path("one")), *record.find(Path("other"))])
    assert told.sentences == ()
    assert told.planned == {}
    assert all((Path(name) / "ledger.jsonl").exists() for name in ("one", "other"))


def test_records_that_name_no_valid_line_are_still_read():
    finish()
    for place, nonsense in zip(record.find(FOLDER), ([], 3, {"number": "x"}, None), strict=False):
        edit(place, lambda found, nonsense=nonsense: found.update(ledger=nonsense))
    assert all("was edited after the look in line 2" in fault for fault in look().faults)


def test_a_damaged_study_json_does_not_affect_the_ledger():
    finish()
    (FOLDER / "study.json").write_text("{")
    assert look().line.startswith("claims written")
    with pytest.raises(AblateError, match=r"study\.json cannot be read"):
        compare([FOLDER])


def test_a_story_lists_its_sentences_in_order():
    told = replace(story.Story("line", ("fault",)), is_noted=False)
    assert told.sentences == ("line", "fault", story.NOT_NOTED)
