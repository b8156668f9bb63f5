"""Job arrays: what the queue says, what the first job settles, and what happens to lost jobs."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from ablate import environment, record
from ablate.commands.requests import trained
from ablate.commands.show import show_state
from ablate.config.files import top
from ablate.errors import AblateError
from ablate.launch import execute, in_queue, slurm, slurm_job, slurm_queue
from ablate.launch.interruption import Interruption
from ablate.launch.request_folder import RequestFolder, Submission, TaskEnd, in_order
from ablate.launch.settlement import Node, Settled, SettledStack, planned_memory, settled
from ablate.launch.slurm_queue import LocalQueue, SlurmQueue, TaskState
from ablate.plan.planning import plan
from ablate.plan.request import Request
from tests.asking import runs_of

TINY = ("model=mlp", "model.hidden=[8]", "data.train_size=128", "epochs=2", "stack.width=1")
CLUSTER = (*TINY, "launch=slurm", "slurm.gpus=0")


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "_POLL", {"slurm": 0.0, "local": 0.0})
    monkeypatch.setattr(slurm, "_UNSEEN", 0.0)


def run(*overrides):
    return trained(Request(overrides, multirun=True))


def records(root="results"):
    return {found["seed"]: found for d in record.find(Path(root)) if (found := record.read(d))}


def numbers(root="results"):
    return {seed: [r["metrics"], r["history"]] for seed, r in records(root).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Train the sweep here, undisturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        run(*TINY, "seed=0,1,2,3", "launch=inline")
        return numbers()


# -- what the queue says ---------------------------------------------------------------------------

# From SLURM 22.05, shortened to the fields that matter.
SHOWN = """\
JobId=9 ArrayJobId=8 ArrayTaskId=0 JobName=demo JobState=RUNNING Reason=None NodeList=n1
JobId=10 ArrayJobId=8 ArrayTaskId=1 JobName=demo JobState=CANCELLED Reason=Resources NodeList=
JobId=11 ArrayJobId=8 ArrayTaskId=2 JobName=demo JobState=NODE_FAIL Reason=NodeDown NodeList=n2
JobId=8 ArrayJobId=8 ArrayTaskId=3,5-6%2 JobName=demo JobState=PENDING Reason=Priority
"""


def test_scontrol_gives_the_state_of_each_task_of_an_array():
    pending = TaskState("PENDING", "Priority")
    assert slurm_queue.told_by_scontrol(SHOWN) == {
        0: TaskState("RUNNING", None, "n1"),
        1: TaskState("CANCELLED"),  # why it once waited is not why it ended
        2: TaskState("NODE_FAIL", "NodeDown", "n2"),
        3: pending,
        5: pending,
        6: pending,
    }


def test_sacct_gives_the_state_of_tasks_that_scontrol_has_forgotten():
    told = "8_0|COMPLETED|None|n1\n8_1|CANCELLED by 0|None|\n8_[2-3%2]|PENDING|Priority|\n"
    assert slurm_queue.told_by_sacct(told) == {
        0: TaskState("COMPLETED", None, "n1"),
        1: TaskState("CANCELLED"),
        2: TaskState("PENDING", "Priority"),
        3: TaskState("PENDING", "Priority"),
    }


def answering(monkeypatch, answers):
    """Fake the queue's commands: first words -> (exit status, output, error)."""
    asked = []

    def answer(*words, given=None):
        asked.append(words)
        told = next((a for start, a in answers.items() if words[: len(start)] == start), None)
        return slurm_queue.subprocess.CompletedProcess(words, *(told or (1, "", "not there")))

    monkeypatch.setattr(slurm_queue, "_asked", answer)
    monkeypatch.setattr(slurm_queue.shutil, "which", lambda name: f"/usr/bin/{name}")
    return asked


def test_a_queue_needs_no_accounting(monkeypatch):
    disabled = (1, "", "Slurm accounting storage is disabled")
    answering(monkeypatch, {("scontrol",): (0, SHOWN, ""), ("sacct",): disabled})
    states = SlurmQueue().states(Submission("t", ((0,),) * 8, "8"))
    assert states[0].word == "RUNNING"
    assert states[7] == TaskState("")


def test_jobs_do_not_count_as_lost_if_the_queue_does_not_answer(monkeypatch):
    down = (1, "", "slurm_load_jobs error: Unable to contact slurm controller")
    answering(monkeypatch, {("scontrol",): down})
    with pytest.raises(slurm_queue.UnreachableError, match="Unable to contact"):
        SlurmQueue().states(Submission("t", ((0,),), "8"))
    gone = (1, "", "slurm_load_jobs error: Invalid job id specified")
    answering(monkeypatch, {("scontrol",): gone})
    assert SlurmQueue().states(Submission("t", ((0,),), "8")) == {0: TaskState("")}


def test_a_submission_without_a_recorded_number_is_found_by_its_comment(monkeypatch):
    answering(monkeypatch, {("squeue",): (0, "7 (null)\n8 mine\n8 mine\n", "")})
    assert SlurmQueue().find(Submission("mine", ((0,),))) == "8"
    assert SlurmQueue().find(Submission("other", ((0,),))) is None


def test_sbatch_gets_a_flag_for_each_knob(monkeypatch):
    asked = answering(monkeypatch, {("sbatch",): (0, "12;cluster\n", "")})
    knobs = top()["slurm"] | {
        "partition": "gpu",
        "minutes": 90,
        "cpus": 3,
        "gpus": 1,
        "memory": 8,
        "at_once": 2,
        "account": "lab",
        "qos": "high",
        "constraint": "a100",
        "flags": ["--exclude=n3"],
    }
    folder = RequestFolder(Path("results/demo/.cluster/abc"))
    assert SlurmQueue().submit(folder, Submission("t", ((0,), (1,), (2,))), knobs, "demo") == "12"
    for flag in (
        *("--partition=gpu", "--time=90", "--cpus-per-task=3", "--gpus-per-node=1", "--mem=8G"),
        *("--job-name=demo", "--account=lab", "--qos=high", "--constraint=a100", "--exclude=n3"),
        *("--array=0-2%2", "--requeue", "--comment=t", f"--chdir={Path.cwd()}"),
    ):
        assert flag in asked[0]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            "sbatch: error: invalid partition specified: nope\nallocation failure: Invalid name",
            "invalid partition specified: nope; allocation failure: Invalid name",
        ),
        ("sbatch: error: Invalid generic resource (gres) specification", "gres"),
    ],
)
def test_a_refusal_of_the_queue_is_reported_before_any_folder_is_made(error, told, monkeypatch):
    answering(monkeypatch, {("sbatch", "--test-only"): (1, "", error)})
    with pytest.raises(AblateError, match="the queue refuses the jobs") as caught:
        run(*CLUSTER, "seed=0,1", "slurm.partition=nope")
    assert told in str(caught.value)
    assert "slurm.partition=nope" in str(caught.value)
    assert not Path("results").exists()


def test_a_missing_sbatch_is_reported_before_any_folder_is_made(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AblateError, match="there is no sbatch here"):
        run(*CLUSTER, "seed=0,1")
    assert not Path("results").exists()


# -- what the first job settles --------------------------------------------------------------------


def requested(*overrides):
    runs = in_order(runs_of(Request((*CLUSTER, *overrides), multirun=True)))
    folder = RequestFolder.of(runs)
    with folder.locked():
        folder.write_runs(runs)
    return folder, runs


def test_runs_are_read_back_as_written():
    folder, runs = requested("seed=0,1")
    assert folder.runs() == runs


def test_the_folder_depends_on_the_device_but_not_on_the_order_of_runs():
    paths = {requested(words)[0].path for words in ("seed=0,1", "seed=1,0")}
    assert len(paths) == 1
    assert requested("seed=0,1", "device=cpu")[0].path not in paths
    assert requested("seed=0,1", "slurm.minutes=5")[0].path in paths


def test_the_first_job_settles_devices_and_threads_and_later_ones_follow():
    folder, runs = requested("seed=0,1", "device=auto")
    one = settled(folder, Node(has_gpu=False, memory=None, cores=3))
    assert one.threads == 3
    assert [stack.device for stack in one.stacks] == ["cpu", "cpu"]
    # A node with a GPU and more cores trains just as the first one did.
    assert settled(folder, Node(has_gpu=True, memory=2**34, cores=8)) == one
    on_the_node = [run for n in range(2) for run in one.stack(n, runs).runs]
    assert [run.key for run in on_the_node] == [run.key for run in runs]
    assert {run.config["device"] for run in on_the_node} == {"cpu"}


def test_a_settled_gpu_is_not_replaced_by_a_cpu():
    folder, _ = requested("seed=0,1", "stack.width=auto")
    one = settled(folder, Node(has_gpu=True, memory=2**36, cores=2))
    assert [(len(s.runs), s.fused, s.device) for s in one.stacks] == [(2, True, "cuda")]
    with pytest.raises(
        AblateError, match=r"trains on a GPU, as settled on .*, but torch finds none"
    ):
        settled(folder, Node(has_gpu=False, memory=None, cores=2))


def test_a_gpu_is_required_of_the_node_and_not_of_this_machine(monkeypatch):
    monkeypatch.setattr(environment, "cuda", lambda: environment.Cuda(0, None))
    request = Request((*CLUSTER[:-1], "device=cuda", "seed=0,1"), multirun=True)
    made = plan(request)
    assert {run.config["device"] for run in made.runs} == {"cuda"}
    elsewhere = replace(request, overrides=(*TINY, "seed=0,1"))
    assert [r.key for r in made.runs] == [r.key for r in plan(elsewhere).runs]


def test_a_gpu_trains_as_many_stacks_at_a_time_as_fit_by_planned_memory():
    folder, runs = requested("seed=range(6)", "stack.width=2")
    memory = 16 * 2**30
    one = settled(folder, Node(has_gpu=True, memory=memory, cores=8), lanes="auto")
    most = max(planned_memory(one.stack(n, runs), memory) for n in range(3))
    assert one.lanes == min(8, memory // most) > 1
    assert one.threads == 8 // one.lanes


def test_each_settled_stack_has_one_task_whatever_was_guessed():
    how = Settled(
        tuple(SettledStack(runs, True, "cuda") for runs in ((0, 1, 2), (3, 4), (5,))),
        1,
        1,
        None,
        "",
    )
    guessed = Submission("t", ((1,), (2,), (3,), (4, 5)))
    owned = [slurm_job.stacks_of_task(how, guessed, task) for task in range(4)]
    assert owned == [[0], [], [1], [2]]


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 10), (2, 20), (6, 60), (600, 60)])
def test_the_time_reserved_for_saving_depends_on_the_limit(minutes, seconds):
    assert slurm_job.seconds_kept(minutes) == seconds


# -- how jobs end ----------------------------------------------------------------------------------


class FakeQueue:
    """A queue whose tasks end as a test scripts it: a word per task, for each submission in turn.

    ``train`` trains the task's stacks in this process, as a job would on its node.
    """

    def __init__(self, *scripts):
        self.scripts, self.jobs, self.cancelled = list(scripts), {}, []

    def __call__(self, cluster):
        return self

    def check(self, knobs, name):
        pass

    def submit(self, folder, one, knobs, name):
        job = str(len(self.jobs) + 1)
        self.jobs[job] = [folder, one, list(self.scripts.pop(0))]
        return job

    def find(self, one):
        return next((j for j, (_, known, _) in self.jobs.items() if known.token == one.token), None)

    def states(self, one):
        folder, _, words = self.jobs[one.job]
        found = {}
        for task, word in enumerate(words):  # a task that trains is first reported as running
            if word == "now":
                words[task] = self.train(folder, one, task)
            elif word == "train":
                words[task] = "now"
            elif (
                word == "limit"
            ):  # it hit its limit and was requeued, which the queue shows as FAILED
                folder.write_end(one, task, TaskEnd("time"))
                words[task] = "FAILED NonZeroExitCode"
            found[task] = TaskState("RUNNING") if words[task] == "now" else _state(words[task])
        return found

    def train(self, folder, one, task):
        runs = folder.runs()
        how = settled(folder, Node(False, None, 1))
        stacks = [how.stack(n, runs) for n in slurm_job.stacks_of_task(how, one, task)]
        with Interruption() as stop:
            folder.write_end(one, task, slurm_job._trained(stacks, how, stop))
        return "COMPLETED"

    def hurry(self, one, task):
        self.jobs[one.job][2][task] = "train"

    def cancel(self, one, tasks=None):
        self.cancelled.append((one.job, tasks))
        self.jobs[one.job][2] = ["CANCELLED"] * len(one.tasks)

    def close(self):
        """Do nothing: there are no processes."""


def _state(word):
    return TaskState(*word.split(" "))


def queue(monkeypatch, *scripts):
    made = FakeQueue(*scripts)
    for module in (slurm, in_queue):
        monkeypatch.setattr(module, "queue_of", made)
    return made


def test_jobs_train_bit_identically_to_a_local_sweep(monkeypatch, whole):
    made = queue(monkeypatch, ["train"] * 4)
    assert run(*CLUSTER, "seed=0,1,2,3").status == 0
    assert numbers() == whole
    assert len(made.jobs) == 1  # one array
    assert made.cancelled == []


def test_runs_of_a_lost_node_are_submitted_again_but_not_those_of_a_cancelled_job(monkeypatch):
    made = queue(monkeypatch, ["NODE_FAIL NodeDown", "CANCELLED", "PREEMPTED"], ["train", "train"])
    outcome = run(*CLUSTER, "seed=0,1,2")
    assert outcome.status == 1
    found = records()
    assert [found[seed]["status"] for seed in range(3)].count("finished") == 2
    (cancelled,) = (one for one in found.values() if one["status"] != "finished")
    assert cancelled["status"] == "interrupted"
    assert cancelled["reason"] == "job 1_1 was cancelled; run the same command to submit it again"
    made.scripts = [["train"]]
    assert run(*CLUSTER, "seed=0,1,2").status == 0


def test_the_launching_process_trains_nothing_even_if_all_jobs_are_cancelled(monkeypatch):
    queue(monkeypatch, ["CANCELLED"] * 2)
    monkeypatch.setattr(slurm_job, "_trained", lambda *_: pytest.fail("trained here"))
    run(*CLUSTER, "seed=0,1")
    assert [one["status"] for one in records().values()] == ["interrupted"] * 2
    assert all(one["history"] == [] for one in records().values())


def test_a_killed_job_is_tried_again_as_often_as_retries_says(monkeypatch):
    made = queue(monkeypatch, ["FAILED", "train"], ["train"])
    assert run(*CLUSTER, "seed=0,1", "retries=1").status == 0
    tries = [one["tries"] for one in records().values() if "tries" in one]
    assert len(tries) == 1
    assert tries[0][0]["reason"].startswith("job 1_0 ended: FAILED")
    made = queue(monkeypatch, ["OUT_OF_MEMORY"])
    assert run(*CLUSTER, "seed=5", "retries=0").status == 1
    assert records()[5]["status"] == "failed"
    assert made.scripts == []


def test_a_job_that_hit_its_time_limit_has_not_failed_whatever_the_queue_says(monkeypatch):
    made = queue(monkeypatch, ["limit"], ["train"])
    assert run(*CLUSTER, "seed=0", "retries=0").status == 0
    assert "tries" not in records()[0]
    assert len(made.jobs) == 2


def test_jobs_that_make_no_progress_are_not_submitted_forever(monkeypatch):
    queue(monkeypatch, *[["TIMEOUT"]] * 4)
    assert run(*CLUSTER, "seed=0").status == 1
    assert "3 jobs in a row made no progress" in records()[0]["reason"]


def test_a_requeued_task_starts_at_once(monkeypatch):
    queue(monkeypatch, ["PENDING BeginTime"])
    assert run(*CLUSTER, "seed=0").status == 0


def ended_by(monkeypatch, number):
    """Launch a sweep, and send the launching process a signal once its jobs wait."""
    made = queue(monkeypatch, ["PENDING Priority"] * 2)
    real, asked = made.states, []

    def states(one):
        if not asked:
            asked.append(os.kill(os.getpid(), number))
        return real(one)

    made.states = states
    outcome = run(*CLUSTER, "seed=0,1")
    assert outcome.status == 130
    return made, outcome


def test_ctrl_c_cancels_the_jobs(monkeypatch):
    made, _ = ended_by(monkeypatch, signal.SIGINT)
    assert made.cancelled == [("1", None)]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_leaves_the_jobs_and_the_same_command_finds_them(
    number, monkeypatch, capsys
):
    made, outcome = ended_by(monkeypatch, number)
    assert made.cancelled == []
    assert "the jobs stay in the queue" in outcome.stop.message
    made.jobs["1"][2] = ["train", "train"]
    capsys.readouterr()
    assert run(*CLUSTER, "seed=0,1").status == 0
    assert len(made.jobs) == 1
    assert "watching jobs of an earlier command: 1" in capsys.readouterr().err


def test_a_submission_whose_submitter_died_is_taken_over(monkeypatch):
    made = queue(monkeypatch)
    folder, _ = requested("seed=0,1")
    one = folder.new([(0,), (1,)], "slurm")  # written just before the submitter was killed
    made.jobs["1"] = [folder, one, ["train", "train"]]
    folder.new([(0,), (1,)], "slurm")  # this one never reached the queue
    assert run(*CLUSTER, "seed=0,1").status == 0
    assert len(made.jobs) == 1
    assert [s.job for s in folder.submissions()] == ["1"]


def test_if_an_array_is_refused_those_before_it_are_cancelled(monkeypatch):
    made = queue(monkeypatch, ["PENDING Priority"], [])
    real = made.submit

    def submit(folder, one, knobs, name):
        if knobs["memory"] == 2:
            raise AblateError("the queue refuses the jobs: QOSMaxSubmitJobPerUserLimit")
        return real(folder, one, knobs, name)

    made.submit = submit
    with pytest.raises(AblateError, match="QOSMaxSubmitJob"):
        run(*CLUSTER, "seed=0,1", "batch_size=32", "slurm.memory=1,2")
    assert [job for job, _ in made.cancelled] == ["1"] * len(made.cancelled)
    folder = next(Path("results").glob("*/.cluster/*"))
    assert len(RequestFolder(folder).submissions()) == len(made.jobs)


def test_show_distinguishes_queued_and_lost_jobs_in_the_words_of_the_queue(monkeypatch, capsys):
    from rich.console import Console

    made, _ = ended_by(monkeypatch, signal.SIGHUP)
    made.jobs["1"][2] = ["PENDING QOSMaxJobsPerUserLimit", "NODE_FAIL NodeDown"]
    assert show_state(Path("results"), Console(width=160)) == 1
    told = capsys.readouterr().out
    assert "in the queue: 1 PENDING (QOSMaxJobsPerUserLimit)" in told
    assert "job 1_1: NODE_FAIL (NodeDown)" in told
    assert [w for w in ("queued", "lost") if w in told.splitlines()[2]] == ["queued", "lost"]


def test_a_task_whose_time_is_too_short_to_start_asks_for_more_minutes(monkeypatch):
    made = queue(monkeypatch, ["COMPLETED"])
    made.train = None
    real = made.submit

    def submit(folder, one, knobs, name):
        folder.write_end(one, 0, TaskEnd("stuck"))
        return real(folder, one, knobs, name)

    made.submit = submit
    assert run(*CLUSTER, "seed=0").status == 1
    assert "raise slurm.minutes" in records()[0]["reason"]


@pytest.mark.long
def test_the_same_jobs_can_run_locally_several_at_a_time(whole):
    words = ("slurm.cluster=local", "slurm.cpus=2", "slurm.stacks=2", "slurm.abreast=2")
    assert run(*CLUSTER, "seed=0,1,2,3", *words).status == 0
    assert numbers() == whole
    assert all(one["environment"]["threads"] == 1 for one in records().values())
    (folder,) = Path("results").glob("*/.cluster/*")
    assert json.loads((folder / "settled.json").read_text())["lanes"] == 2


def test_the_local_queue_starts_no_more_than_there_are_cores(monkeypatch):
    monkeypatch.setattr(slurm_queue, "cores", lambda: 2)
    one, here = Submission("t", ((0,), (1,), (2,))), LocalQueue()
    monkeypatch.setattr(
        here,
        "_started",
        lambda one, task, words: here._running.setdefault(
            (one.token, task), type("Process", (), {"poll": lambda self: None})()
        ),
    )
    here.submit(RequestFolder(Path("f")), one, top()["slurm"] | {"cpus": 1}, "demo")
    assert [s.word for s in here.states(one).values()] == ["RUNNING", "RUNNING", "PENDING"]


def test_a_local_executor_asks_no_queue():
    made = plan(Request((*TINY, "launch=inline", "seed=0,1"), multirun=True))
    execute.require_executor(made)
