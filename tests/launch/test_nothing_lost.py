"""No user's work is lost: runs, weights, reports, and files that ablate did not write."""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ablate
from ablate import record, streams, written
from ablate.data import fetch
from ablate.data.registry import DATASETS
from ablate.errors import AblateError
from ablate.report import write
from ablate.study import study_json
from ablate.train.training import Training
from tests.reports import BASE, LESS, run, write_arms

ABLATE = str(Path(sys.executable).parent / "ablate")
TINY = ["model=mlp", "model.hidden=[8]", "data.train_size=128", "epochs=3"]
LOUD = """
import logging, sys, torch
class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(64, 10)
    def forward(self, x):
        print("seen"); print("seen", file=sys.stderr); logging.getLogger("mine").warning("seen")
        return super().forward(x.flatten(1))
"""


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def folder(results="results"):
    return next(iter(record.find(Path(results))))


def content(path):
    """Return the bytes of every file below a folder, by relative path."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# -- nobody reads what is printed ------------------------------------------------------------------


class _Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text=""):
        raise BrokenPipeError(32, "Broken pipe")

    flush = write


class _Watched(_Gone):
    """A terminal that was closed."""

    def isatty(self):
        return True


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), _Gone(), _Watched()])
@pytest.mark.parametrize("own", [False, True])
def test_a_run_whose_progress_nobody_reads_finishes(stream, own, monkeypatch, tmp_path):
    (tmp_path / "loud.py").write_text(LOUD)
    wanted = ["model._target_=loud.Net", "epochs=2"] if own else TINY
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    assert ablate.run(wanted)["status"] == "finished"
    assert sys.stderr is stream


@pytest.mark.slow
@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("stream", [None, _Watched()], ids=["none", "closed terminal"])
def test_commands_on_a_run_need_no_reader_either(stream, monkeypatch):
    ablate.run(TINY)
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(ablate.lr_find([*TINY, "steps=3"]).suggestions) == 1
    assert len(ablate.inspect([*TINY, "every=4"]).layers) > 0
    found = ablate.evaluate("results", samples=None, delete=False, perturb=False, worst=None)
    assert found.faults == ()


def test_characters_that_a_stream_cannot_encode_get_a_plain_form_or_are_escaped():
    raw = io.BytesIO()
    stream = streams.Outliving(io.TextIOWrapper(raw, encoding="ascii"))
    assert stream.write("8 × ₿") == 5
    stream.flush()
    assert raw.getvalue() == rb"8 x \u20bf"


def test_a_programming_error_in_printing_is_not_hidden():
    with pytest.raises(TypeError):
        streams.Outliving(io.StringIO()).write(b"bytes")


def shell(line, status="status"):
    """Run a shell line in which $ABLATE is the command; return the process and the status file."""
    env = os.environ | {"ABLATE": ABLATE, "OMP_NUM_THREADS": "1", "RUN": " ".join(TINY)}
    done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True)
    return done, Path(status).read_text().strip() if Path(status).exists() else None


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["inline", pytest.param("workers", marks=pytest.mark.long)])
def test_a_sweep_whose_reader_goes_away_finishes(launch, tmp_path):
    (tmp_path / "loud.py").write_text(LOUD)
    sweep = f"run -m model._target_=loud.Net epochs=3 seed=0,1 lr=1,2 launch={launch}"
    done, status = shell(
        f"($ABLATE {sweep.replace('lr=', 'optimizer.lr=0.00')} 2>&1; echo $? >status) | head -1"
    )
    assert (status, done.stderr) == ("0", "")
    assert [record.read(d)["status"] for d in record.find(tmp_path)] == ["finished"] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "told"),
    [
        pytest.param("2>&-", "", marks=pytest.mark.long),
        pytest.param(">&-", None, marks=pytest.mark.long),
        (">&- 2>&- <&-", ""),
        (">/dev/full", None),
        ("2>/dev/full", ""),
    ],
)
def test_the_exit_status_depends_on_the_runs_and_not_on_the_output(how, told, tmp_path):
    done = shell(f"$ABLATE run $RUN {how}")[0]
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if "epoch" not in line]
    assert len(lines) <= 1
    assert "Exception" not in done.stderr
    assert "Traceback" not in done.stderr
    assert told is None or done.stderr == told
    assert record.read(folder())["status"] == "finished"


@pytest.mark.long
def test_with_a_closed_standard_output_the_status_is_that_of_the_runs(tmp_path):
    wrong = "optimizer=sgd optimizer.lr=1e30"
    for rest, expected in (("", "0"), (wrong, "1")):
        done, status = shell(f"($ABLATE run $RUN {rest}; echo $? >status) 2>log | head -1")
        assert (status, done.stderr) == (expected, "")
        told = Path("log").read_text()
        assert "Exception" not in told
        assert "Traceback" not in told


def in_a_terminal_that_closes(*arguments):
    """Run the command in a terminal that closes at its first output; return its exit status."""
    leader, follower = os.openpty()
    # Like nohup, ignore the SIGHUP of the closing terminal.
    deaf = "trap '' HUP; exec timeout 60 \"$@\""
    wanted = ["bash", "-c", deaf, "bash", ABLATE, *arguments]
    with subprocess.Popen(wanted, stdout=follower, stderr=follower) as process:
        os.close(follower)
        assert select.select([leader], [], [], 60)[0], "the command printed nothing"
        os.read(leader, 1)
        os.close(leader)
        return process.wait()


@pytest.mark.long
def test_a_closing_terminal_ends_a_watch_but_no_run():
    assert in_a_terminal_that_closes("run", *TINY, "epochs=30") == 0
    assert record.read(folder())["status"] == "finished"
    assert in_a_terminal_that_closes("show", "--watch", "results") == 0


# -- weights and states ----------------------------------------------------------------------------


def fail_at(step, monkeypatch):
    """Make training fail at a step, for a reason outside the network."""
    real = Training.advance

    def advance(self):
        if self.step == step:
            raise OSError("the network drive is away")
        return real(self)

    monkeypatch.setattr(Training, "advance", advance)


def test_rerun_of_a_failed_run_resumes_from_its_checkpoint_to_the_same_numbers(monkeypatch):
    whole = ablate.run([*TINY, "out=whole"])
    often = [*TINY, "checkpoint.every=0.0001s"]
    with monkeypatch.context() as patch:
        fail_at(4, patch)
        assert ablate.run(often, check=False)["status"] == "failed"
    again = ablate.run([*often, "rerun=failed"])
    assert again["status"] == "finished"
    assert again["metrics"] == whole["metrics"]
    log = (folder() / "run.log").read_text()
    assert "continuing from step 4 of 6" in log
    assert json.loads((folder() / "record.1.json").read_text())["status"] == "failed"


def test_a_failed_run_keeps_its_state_until_it_is_rerun(monkeypatch):
    often = [*TINY, "checkpoint.every=0.0001s", "save=none"]
    with monkeypatch.context() as patch:
        fail_at(4, patch)
        ablate.run(often, check=False)
        ablate.run(often, check=False)
    assert record.load_state(folder())["step"] == 4


def test_rerun_all_starts_over_and_keeps_the_state_of_a_failed_run(monkeypatch):
    often = [*TINY, "checkpoint.every=0.0001s"]
    with monkeypatch.context() as patch:
        fail_at(4, patch)
        ablate.run(often, check=False)
    ablate.run([*often, "rerun=all"])
    assert "going on" not in (folder() / "run.log").read_text()
    kept = torch.load(folder() / "checkpoint.1.pt", weights_only=True)
    assert kept["resume"]["step"] == 4


@pytest.mark.parametrize(
    ("more", "rerun"), [([], "all"), (["optimizer=sgd", "optimizer.lr=1e30"], "diverged")]
)
def test_old_weights_are_kept_with_their_record_when_a_run_is_trained_again(more, rerun):
    for number in (1, 2):
        again = [] if number == 1 else [f"rerun={rerun}"]
        ablate.run([*TINY, *more, "save=all", *again], check=False)
        before = {p.name: p.read_bytes() for p in folder().iterdir() if p.is_file()}
        ablate.run([*TINY, *more, "save=none", f"rerun={rerun}"], check=False)
        after = {p.name: p.read_bytes() for p in folder().iterdir() if p.is_file()}
        place = 2 * number - 1
        for name in ("record.{}.json", "checkpoint.{}.pt", "state.{}.pt"):
            assert after[name.format(place)] == before[name.replace(".{}", "")]
        assert "checkpoint.pt" not in after
    assert ablate.load("results").shape[0] == 1


def test_weights_whose_record_was_removed_are_not_overwritten():
    ablate.run(TINY)
    old = (folder() / "checkpoint.pt").read_bytes()
    where = folder()
    (where / "record.json").unlink()
    ablate.run(TINY)
    assert (where / "checkpoint.1.pt").read_bytes() == old


def test_a_kill_between_two_renamings_loses_neither_weights_nor_record(monkeypatch):
    ablate.run(TINY)
    before = content(folder())
    (folder() / "checkpoint.pt").rename(folder() / "checkpoint.1.pt")  # as if killed right after
    ablate.run([*TINY, "rerun=all"])
    after = content(folder())
    assert after["checkpoint.1.pt"] == before["checkpoint.pt"]
    assert after["record.1.json"] == before["record.json"]


# -- reports ---------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    write_arms(tmp_path / "runs", {"plain": BASE[:2], "less": LESS[:2]})
    return tmp_path / "runs"


@pytest.fixture
def quick(monkeypatch):
    """Skip the figures, the slowest part of a report."""
    monkeypatch.setattr(write, "draw", lambda *a: ())


def refused(runs, out, told):
    """Check that a report is refused with this message, and that no file changed."""
    before = content(Path.cwd())
    with pytest.raises(AblateError, match=told) as raised:
        write.write_report([runs], out=out)
    assert content(Path.cwd()) == before
    assert raised.value.status == 2
    assert len(raised.value.faults) == 1


@pytest.mark.usefixtures("quick")
def test_a_report_replaces_an_earlier_report_and_lists_its_files(runs):
    first, _ = write.write_report([runs])
    listed = json.loads((first / "report.files.json").read_text())["files"]
    assert set(listed) == set(content(first)) - {"report.files.json"}
    assert all(hashlib.sha256(content(first)[n]).hexdigest() == d for n, d in listed.items())
    (first / "tables" / "runs.csv").unlink(missing_ok=True)
    (first / ".DS_Store").write_text("a file manager's")
    write_arms(runs, {"more": BASE[:2]})
    again, _ = write.write_report([runs])
    assert content(again).keys() >= listed.keys()
    assert sorted(p.name for p in runs.iterdir() if p.name.startswith(".")) == [".lock"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("own", ["figures/mine.svg", "notes.txt", "tables/deep/mine.csv"])
def test_a_report_deletes_no_users_file(runs, own):
    out = write.write_report([runs], out="paper")[0]
    Path(out, own).parent.mkdir(parents=True, exist_ok=True)
    Path(out, own).write_text("mine")
    refused(runs, out, f"paper holds {own}, which no report wrote: .* with --out")


@pytest.mark.usefixtures("quick")
def test_a_report_does_not_overwrite_an_edited_page(runs):
    out = write.write_report([runs], out="paper")[0]
    with (out / "report.md").open("a") as page:
        page.write("my conclusions")
    refused(runs, out, r"paper holds report.md \(edited since\)")


@pytest.mark.usefixtures("quick")
def test_a_report_does_not_follow_users_links(runs):
    out = write.write_report([runs], out="paper")[0]
    Path("elsewhere").mkdir()
    Path("elsewhere/mine.svg").write_text("mine")
    (out / "figures" / "more").symlink_to(Path("elsewhere").absolute())
    refused(runs, out, "paper holds figures/more")
    (out / "figures" / "more").unlink()
    Path("link").symlink_to("paper")
    Path("paper/report.md").unlink()
    assert write.write_report([runs], out="link")[0] == Path("link")
    assert Path("link").is_symlink()
    assert Path("paper/report.md").is_file()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("out", [None, "paper"])
def test_a_report_of_an_earlier_version_is_kept(runs, out):
    old, _ = write.write_report([runs], out=out)
    (old / "report.files.json").unlink()
    refused(runs, out, "earlier versions .* move or delete it, or name another folder with --out")


@pytest.mark.usefixtures("quick")
def test_a_report_is_not_written_over_or_among_runs(tmp_path):
    write_arms(tmp_path / "r" / "figures", {"plain": BASE[:2], "less": LESS[:2]})
    sweep = tmp_path / "r" / "figures"
    refused(sweep, tmp_path / "r", "r holds runs")
    refused(sweep, sweep, "figures holds runs")
    run = record.find(sweep)[0]
    refused(sweep, run, "is the folder of a run")
    refused(sweep, run / "mine", "lies among runs")
    refused(sweep, sweep / "mine", "lies among runs")
    sweep.rename(tmp_path / "r" / "report")
    refused(tmp_path / "r", None, "r/report holds runs")
    assert write.write_report([tmp_path / "r" / "report"])[0] == tmp_path / "r/report/report"


@pytest.mark.usefixtures("quick")
def test_a_foreign_record_does_not_prevent_a_report(runs, tmp_path):
    (tmp_path / "vinyl").mkdir()
    (tmp_path / "vinyl" / "record.json").write_text('{"artist": "Miles Davis"}')
    assert write.write_report([runs], out=tmp_path / "paper")[0].is_dir()


@pytest.mark.usefixtures("quick")
def test_the_current_folder_is_not_replaced(runs, monkeypatch):
    out = write.write_report([runs], out="paper")[0]
    monkeypatch.chdir(out)
    refused(runs, Path.cwd(), "this command runs in it")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("at_once", [True, False])
def test_a_file_that_appears_while_a_report_is_written_is_kept(runs, at_once, monkeypatch):
    out = write.write_report([runs], out="paper")[0]
    before = content(out)
    real = written.exchange

    def late(one, other):
        (out / "figures" / "mine.svg").write_text("mine")
        real(one, other)
        monkeypatch.setattr(written, "exchange", real)

    monkeypatch.setattr(written, "exchange", late)
    if not at_once:
        monkeypatch.setattr(written, "_exchanged_at_once", lambda one, other: False)
    with pytest.raises(AblateError, match=r"figures/mine\.svg"):
        write.write_report([runs], out=out)
    assert content(out) == before | {"figures/mine.svg": b"mine"}
    assert [p.name for p in out.parent.iterdir() if p.name.startswith(".")] == []


@pytest.mark.usefixtures("quick")
def test_a_full_disk_leaves_the_old_report(runs, monkeypatch):
    out = write.write_report([runs], out="paper")[0]
    before = content(out)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "write_frames", full)
    with pytest.raises(AblateError, match="the disk is full"):
        write.write_report([runs], out=out)
    assert content(out) == before
    assert sorted(p.name for p in out.parent.iterdir()) == ["paper", "runs"]


KILLED = """
import os, signal, sys
from ablate import written
from ablate.report import write
write.draw = lambda *a: ()
if sys.argv[1] == "before":
    write._move_in = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
else:
    real = written.exchange
    written.exchange = lambda *a: (real(*a), os.kill(os.getpid(), signal.SIGKILL))
write.write_report(["runs"], out="paper")
"""


@pytest.mark.long
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_report_leaves_a_whole_one_that_the_next_replaces(runs, moment):
    out = write.write_report([runs], out="paper")[0]
    before = content(out)
    write_arms(runs, {"more": BASE[:2]})
    killed = subprocess.run([sys.executable, "-c", KILLED, moment])
    assert killed.returncode == -9
    assert (content(out) == before) == (moment == "before")
    assert written.not_ours(out, "report") == []
    write.write_report([runs], out=out)


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_two_simultaneous_reports_leave_a_whole_one(runs):
    script = KILLED.replace("sys.argv[1]", "'never'").replace("os.kill", "(lambda *a: 0)")
    both = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    ends = [process.wait() for process in both]
    assert 0 in ends
    assert written.not_ours(Path("paper"), "report") == []
    assert sorted(p.name for p in runs.parent.iterdir()) == ["paper", "runs"]


@pytest.mark.usefixtures("quick")
def test_a_report_that_would_be_refused_is_refused_before_training(monkeypatch, capsys):
    place = Path("results/digits-mlp/report/mine.txt")
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    wanted = ["run", "-m", *TINY, "seed=0,1", "launch=inline", "report=true"]
    assert run(*wanted, monkeypatch=monkeypatch) == 2
    assert "results/digits-mlp/report holds mine.txt" in capsys.readouterr().err
    assert record.find(Path("results")) == []
    assert place.read_text() == "mine"


# -- commands on runs ------------------------------------------------------------------------------


@pytest.mark.usefixtures("blank_pictures")
def test_results_replace_earlier_ones_and_no_users_file():
    place = Path("results/digits-mlp/lr_find")
    ablate.lr_find([*TINY, "steps=3"])
    names = set(content(place))
    (place / "notes.txt").write_text("mine")
    (place / "lr_find.csv").write_text("edited")
    ablate.lr_find([*TINY, "steps=4"])
    after = content(place)
    assert set(after) == names | {"notes.txt", "lr_find.1.csv"}
    assert after["notes.txt"] == b"mine"
    assert after["lr_find.1.csv"] == b"edited"
    assert after["lr_find.csv"].count(b"\n") == 5
    ablate.lr_find([*TINY, "steps=3"])
    assert set(content(place)) == set(after)


def test_results_of_an_earlier_version_are_kept_aside():
    Path("here").mkdir()
    Path("here/runs.csv").write_text("old")
    written.put(Path("here"), "evaluate", lambda folder: (folder / "runs.csv").write_text("new"))
    files = content(Path("here"))
    assert (files["runs.csv"], files["runs.1.csv"]) == (b"new", b"old")


def test_a_command_that_fails_while_writing_leaves_the_earlier_results():
    def lay(folder):
        (folder / "a.csv").write_text("new")
        raise OSError(28, "No space left on device")

    written.put(Path("here"), "inspect", lambda folder: (folder / "a.csv").write_text("old"))
    before = content(Path("here"))
    with pytest.raises(AblateError, match="the disk is full"):
        written.put(Path("here"), "inspect", lay)
    assert content(Path("here")) == before


def test_a_file_in_the_way_of_results_is_reported_before_anything_is_computed():
    ablate.run(TINY)
    sweep = folder().parent
    for place in (sweep / "lr_find", folder() / "inspect", folder() / "evaluate"):
        place.write_text("mine")
        what = place.name
        call = {
            "lr_find": lambda: ablate.lr_find(TINY),
            "inspect": lambda: ablate.inspect(TINY),
            "evaluate": lambda: ablate.evaluate(folder()),
        }[what]
        with pytest.raises(AblateError, match=f"{what} is a file"):
            call()
        assert place.read_text() == "mine"


# -- users' files among runs and data --------------------------------------------------------------


def test_a_run_removes_only_its_own_drafts(tmp_path):
    (tmp_path / ".record.json.99.part").write_text("{")
    (tmp_path / ".film.part").write_text("mine")
    with record.claim(tmp_path):
        assert sorted(content(tmp_path)) == [".film.part", ".lock"]


def test_a_study_overwrites_no_users_study_json(tmp_path):
    theirs = ("{", '{"my": 1}', "")
    for text in theirs:
        Path("study.json").write_text(text)
        study_json._keep_foreign(Path("study.json").absolute())
        assert not Path("study.json").exists()
    ours = json.dumps({"name": "s", "question": "?", "arms": {}})
    Path("study.json").write_text(ours)
    study_json._keep_foreign(Path("study.json").absolute())
    assert Path("study.json").read_text() == ours
    assert {file.read_text() for file in Path().glob("study.*.json")} == set(theirs)


def test_fetching_overwrites_no_existing_file(tmp_path, monkeypatch):
    (tmp_path / "train_32x32.mat").write_text("mine")

    def served(file, place):
        (place / file.place).write_text("fetched")
        (tmp_path / file.place).write_text("came in meanwhile")

    monkeypatch.setattr(fetch, "_first_that_works", served)
    fetch.download(DATASETS["svhn"], tmp_path)
    assert (tmp_path / "train_32x32.mat").read_text() == "mine"
    assert (tmp_path / "test_32x32.mat").read_text() == "came in meanwhile"
