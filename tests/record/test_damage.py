"""A damaged file affects only its run: it is kept aside, reported once, and the run retrained."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ablate import record, written
from ablate.commands.requests import trained
from ablate.errors import AblateError, DamagedError
from ablate.plan.request import Request
from ablate.record import checksum
from ablate.record.correct import write_correct
from ablate.record.snapshot import snapshots
from ablate.study import study_json
from ablate.train.training import Training
from tests.asking import runs_of
from tests.calls import called

SWEEP = (
    *("model=mlp", "model.hidden=[8]", "data.train_size=128", "epochs=2", "launch=inline"),
    *("seed=0,1,2,3", "checkpoint.every=0.0001s"),
)
HALF = tuple(o if not o.startswith("seed") else "seed=0,1" for o in SWEEP)


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def numbers(root="results"):
    """Return what must not depend on how a sweep was trained."""
    found = [record.read(folder) for folder in record.find(Path(root))]
    return {r["key"]: [r["status"], r["metrics"], r["history"], r["active"]] for r in found}


# -- checksums -------------------------------------------------------------------------------------


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damages_of(content, chance, count):
    """Yield a file's content with one bit flipped, one page zeroed, or its end cut off."""
    for bit in chance.sample(range(8 * len(content)), count):
        yield flipped(content, bit)
    for begin in range(0, len(content), 512):
        page = content[begin : begin + 512]
        if page.strip(b"\0"):
            yield content[:begin] + bytes(len(page)) + content[begin + len(page) :]
    for end in chance.sample(range(len(content)), 20):
        yield content[:end]


def test_no_damaged_resume_state_is_read_as_sound(tmp_path):
    record.save_state(tmp_path, {"step": 3, "x": torch.arange(300.0), "seconds": [0.1, 0.2]})
    file = tmp_path / "checkpoint.pt"
    whole = file.read_bytes()
    assert record.load_state(tmp_path)["step"] == 3
    for damaged in damages_of(whole, random.Random(0), 300):
        file.write_bytes(damaged)
        assert record.load_state(tmp_path) is None


def test_torch_and_numpy_read_files_with_a_checksum(tmp_path):
    record.save_state(tmp_path, {"step": 3})
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True) == {"resume": {"step": 3}}
    write_correct(tmp_path, np.arange(10) % 3 == 0)
    assert np.load(tmp_path / "correct.npy").tolist() == [0b10010010, 0b01000000]


def test_files_of_an_earlier_version_are_read_without_a_checksum(tmp_path):
    file = tmp_path / "checkpoint.pt"
    torch.save({"resume": {"step": 3, "x": torch.ones(1000)}}, file)
    assert record.load_state(tmp_path)["step"] == 3
    whole = file.read_bytes()
    place = whole.index(torch.ones(100).numpy().tobytes())
    for bit in range(8 * place, 8 * place + 64):  # in a tensor, which torch itself does not check
        file.write_bytes(flipped(whole, bit))
        assert record.load_state(tmp_path) is None
    np.save(tmp_path / "correct.npy", np.array([0b10010010], np.uint8))
    assert record.read_correct(tmp_path, images=8, count=3).tolist() == [0b10010010]


def test_flips_in_an_array_that_keep_its_sum_are_found(tmp_path):
    write_correct(tmp_path, np.arange(64) % 2 == 0)
    file = tmp_path / "correct.npy"
    whole = file.read_bytes()
    assert record.read_correct(tmp_path, images=64, count=32) is not None
    array = 8 * (len(whole) - len(checksum.tail_of(b"")) - 8)
    file.write_bytes(flipped(flipped(whole, array), array + 1))  # one bit set, one cleared
    assert record.read_correct(tmp_path, images=64, count=32) is None
    for damaged in damages_of(whole, random.Random(0), 400):
        file.write_bytes(damaged)
        assert record.read_correct(tmp_path, images=64, count=32) is None


RECORD = {
    "schema": 1,
    "key": "0a1b",
    "status": "finished",
    "config": {"seed": 3, "name": "ä"},
    "metrics": {"test/error": 0.0625, "test/loss": 1e-05},
    "history": [{"epoch": 1, "lr": 0.1}],
}


def test_a_record_with_a_flipped_bit_is_damaged(tmp_path):
    record.write(tmp_path, RECORD)
    file = tmp_path / "record.json"
    whole = file.read_bytes()
    as_written, sound = record.read(tmp_path, checked=True), 0
    for bit in random.Random(0).sample(range(8 * len(whole)), 500):
        file.write_bytes(flipped(whole, bit))
        with contextlib.suppress(DamagedError):
            found = record.read(tmp_path, checked=True)
            # The flip changed the key `checksum`, or one kind of white space into another.
            assert {name: found[name] for name in RECORD} == RECORD
            sound += 1
    assert sound < 50
    assert {name: as_written[name] for name in RECORD} == RECORD


def test_reformatting_a_record_is_not_damage(tmp_path):
    record.write(tmp_path, RECORD)
    file = tmp_path / "record.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps(found, indent=4, ensure_ascii=True))
    assert record.read(tmp_path, checked=True)["metrics"] == RECORD["metrics"]
    found["metrics"]["test/error"] = 0.0
    file.write_text(json.dumps(found))
    with pytest.raises(DamagedError, match="damaged or edited"):
        record.read(tmp_path, checked=True)
    assert record.read(tmp_path)["metrics"]["test/error"] == 0.0  # for a report, which mentions it
    del found["checksum"]  # as in earlier versions
    file.write_text(json.dumps(found))
    assert record.read(tmp_path, checked=True) is not None


# -- a sweep with two finished runs and two interrupted ones ---------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Train a sweep in two halves, interrupting the second; and the same sweep undisturbed."""
    place = tmp_path_factory.mktemp("saved")
    real = Training.advance

    def interrupted(self):
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        trained(Request((*SWEEP, "out=whole"), multirun=True))
        trained(Request(HALF, multirun=True))
        patch.setattr(Training, "advance", interrupted)
        outcome = trained(Request(SWEEP, multirun=True))
    ends = sorted(found.status for found in outcome.standings.values())
    assert ends == ["finished", "finished", "interrupted", "interrupted"]
    return place


@pytest.fixture
def copy(saved):
    shutil.copytree(saved / "results", "results")
    return Path("results/digits-mlp")


def folder_of(sweep, status):
    found = {folder: record.read(folder) for folder in record.find(sweep)}
    return next(folder for folder, one in found.items() if one["status"] == status)


def resumed():
    """Run the sweep again; return its standard error."""
    done = called("run", "-m", *SWEEP)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def notes(told):
    return [line for line in told.splitlines() if line.startswith("ablate: note:")]


def flip(path, chance):
    path.write_bytes(flipped(path.read_bytes(), chance.randrange(8 * path.stat().st_size)))


def zero(path, chance):
    content = path.read_bytes()
    begin = chance.randrange(0, len(content), 512)
    end = min(begin + 512, len(content))
    path.write_bytes(content[:begin] + bytes(end - begin) + content[end:])


def cut(path, chance):
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def empty(path, chance):
    path.write_bytes(b"")


def removed(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def other_kind(path, chance):
    was_folder = path.is_dir()
    removed(path)
    path.write_text("in the way") if was_folder else (path / "in the way").mkdir(parents=True)


def pipe(path, chance):
    removed(path)
    os.mkfifo(path)


def loop(path, chance):
    removed(path)
    path.symlink_to(path.name)


KINDS = (flip, flip, flip, zero, cut, empty, other_kind, pipe, loop)
OF_A_RUN = (
    *("record.json", "record.json", "checkpoint.pt", "checkpoint.pt", "correct.npy"),
    *("run.log", ".lock", ".hydra", ".hydra/config.yaml", ".lease"),
)
OF_A_SWEEP = ("ledger.jsonl", "sweep.json", ".lock")
TRIALS = 200


def damage(sweep, number):
    """Damage one file of a sweep, chosen by a number; return what was done."""
    chance = random.Random(number)
    status = chance.choice(("finished", "interrupted"))
    place = folder_of(sweep, status)
    path = chance.choice([*(place / n for n in OF_A_RUN), *(sweep / n for n in OF_A_SWEEP)])
    kinds = [k for k in KINDS if k in (other_kind, pipe, loop) or path.is_file()]
    kind = chance.choice([k for k in kinds if k is not flip or path.stat().st_size])
    if path.is_file() and path.stat().st_size == 0:
        kind = chance.choice((other_kind, pipe, loop))
    kind(path, chance)
    return f"{kind.__name__} {path} of a run that was {status}"


def try_damage(saved, number):
    shutil.rmtree("results", ignore_errors=True)
    shutil.copytree(saved / "results", "results")
    done = damage(Path("results/digits-mlp"), number)
    outcome = trained(Request(SWEEP, multirun=True))
    assert outcome.status == 0, done
    assert numbers() == numbers(saved / "whole"), done


@pytest.mark.parametrize("number", range(0, TRIALS, 20))
def test_after_a_damage_the_results_are_right(saved, number):
    try_damage(saved, number)


@pytest.mark.long
def test_after_each_of_two_hundred_damages_the_results_are_right(saved):
    for number in range(TRIALS):
        faulthandler.dump_traceback_later(120, exit=True)  # a damaged lock could hang the test
        try_damage(saved, number)
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.long
def test_after_each_of_twenty_damages_the_command_gives_the_right_results(saved):
    command = [str(Path(sys.executable).parent / "ablate"), "run", "-m", *SWEEP]
    for number in range(TRIALS, TRIALS + 20):
        shutil.rmtree("results", ignore_errors=True)
        shutil.copytree(saved / "results", "results")
        what = damage(Path("results/digits-mlp"), number)
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (what, done.stderr)
        assert numbers() == numbers(saved / "whole"), what


def test_a_damaged_state_is_kept_and_reported_once_and_its_run_starts_over(copy, saved):
    place = folder_of(copy, "interrupted")
    damaged = flipped((place / "checkpoint.pt").read_bytes(), 8 * 2000)
    (place / "checkpoint.pt").write_bytes(damaged)
    told = resumed()
    assert notes(told) == [
        f"ablate: note: {place}/checkpoint.pt is damaged: it is kept under another name, and the"
        " run starts anew"
    ]
    assert (place / "checkpoint.1.pt").read_bytes() == damaged
    assert "going on" not in (place / "run.log").read_text()
    assert numbers() == numbers(saved / "whole")
    assert notes(resumed()) == []


def test_all_damaged_records_are_reported_together_and_kept(copy, saved):
    places = sorted(record.find(copy))
    (places[0] / "record.json").write_bytes(b"")
    (places[1] / "record.json").write_text('{"schema": 1, "key"')
    changed = json.loads((places[2] / "record.json").read_text()) | {"seed": 7}
    (places[2] / "record.json").write_text(json.dumps(changed))
    told = resumed()
    assert [sum(str(place) in line for line in notes(told)) for place in places] == [1, 1, 1, 0]
    for place in places[:3]:
        assert (place / "record.1.json").exists()
    assert numbers() == numbers(saved / "whole")


def test_weights_are_set_aside_together_with_their_damaged_record(copy):
    place = folder_of(copy, "finished")
    weights = (place / "checkpoint.pt").read_bytes()
    (place / "record.json").write_bytes(b"{")
    resumed()
    assert (place / "checkpoint.1.pt").read_bytes() == weights
    assert (place / "record.1.json").read_bytes() == b"{"


def test_records_of_another_version_are_all_named_and_nothing_starts(copy):
    places = sorted(record.find(copy))[:2]
    for place in places:
        newer = json.loads((place / "record.json").read_text()) | {"schema": 2}
        del newer["checksum"]
        (place / "record.json").write_text(json.dumps(newer))
    with pytest.raises(AblateError) as raised:
        runs_of(Request(SWEEP, multirun=True))
    assert [str(p) in f for p, f in zip(places, raised.value.faults, strict=True)] == [True, True]


def test_damaged_weights_are_found_when_they_are_loaded(copy):
    place = folder_of(copy, "finished")
    whole = (place / "checkpoint.pt").read_bytes()
    record.load_weights(place)
    for bit in random.Random(0).sample(range(8 * len(whole)), 50):
        (place / "checkpoint.pt").write_bytes(flipped(whole, bit))
        with pytest.raises(AblateError, match="is damaged"):
            record.load_weights(place)


def test_a_report_mentions_a_record_that_is_not_as_it_was_written(copy):
    from ablate.study import story

    place = folder_of(copy, "finished")
    found = json.loads((place / "record.json").read_text())
    found["metrics"]["test/error"] = 0.0
    (place / "record.json").write_text(json.dumps(found))
    (told,) = [f for f in story.looked_at(record.find(copy)).faults if "written" in f]
    assert told.startswith(f"the record of run {found['key']}")
    assert "edited, or damaged on the disk" in told


# -- named pipes -----------------------------------------------------------------------------------


def of_a_study(folder):
    with pytest.raises(
        AblateError, match=r"study\.json cannot be read as a study.*it is not a file"
    ):
        study_json.read(folder)


def of_a_report(folder):
    assert written.listed(folder, "report") is None


def of_the_code(folder):
    assert snapshots(folder) == {}


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("study.json", of_a_study),
        ("report.files.json", of_a_report),
        ("code/0123456789abcdef.json", of_the_code),
    ],
)
def test_no_reader_hangs_on_a_named_pipe(name, read, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    faulthandler.dump_traceback_later(30, exit=True)
    read(tmp_path)
    faulthandler.cancel_dump_traceback_later()
