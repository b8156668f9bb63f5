"""Knobs of the data, of the run, of its execution, and labels."""

from __future__ import annotations

from typing import Final

from ablate.config import effect, files
from ablate.config.knob import Knob
from ablate.config.knobs.network import TARGET
from ablate.config.types import MANY, Choice, Flag, ListOf, Real, Text, Whole

# Their files name the data sets: `ablate.data.registry`, which reads them, lies above this package.
DATASETS = files.groups()["data"]
EXECUTORS: Final = {  # a word of `launch` -> the class of `ablate.launch` that it names
    "inline": "ablate.launch.inline.Inline",
    "workers": "ablate.launch.workers.Workers",
    "slurm": "ablate.launch.slurm.Slurm",
    "ray": "ablate.launch.ray.Ray",
}
CLUSTERS: Final = ("slurm", "ray")  # they train elsewhere: this machine's devices do not matter
DESIGNS = ("factorial", "one_at_a_time", "leave_one_out", "add_one_in")
SCALES = ("quick", "full")

DATA: Final = (
    Knob("data.name", Choice(DATASETS), "the data set"),
    Knob(
        "data.root",
        Text(example="a directory"),
        "where its files are",
        role="label",
        null="the environment variable ABLATE_DATA, else the user's cache folder",
    ),
    Knob(
        "data.train_size",
        Whole(1),
        "training images, a fixed stratified subset",
        unit="images",
        null="all that validation leaves",
        off=None,
    ),
    Knob(
        "data.val_size",
        Whole(0),
        "validation images, stratified, taken from the training set",
        unit="images",
        null="the data set's fixed share",
        off=None,
    ),
    Knob(
        "data.image_size",
        Whole(1, 1024),
        "height and width to which images are resized",
        unit="pixels",
        null="as they are",
        off=None,
    ),
    Knob(
        "data.background",
        Choice(("white", "black")),
        "the background behind transparent parts of an image",
        off="white",
    ),
    Knob(
        "data.levels",
        ListOf(Real(), at_least=2),
        "[LOW,HIGH]: the values of pixels with more than 8 bits that become black and white",
        null="0 and 65535 where pixels have 16 bits; others are refused",
        off=None,
    ),
    Knob(
        "data.splits",
        ListOf(Text(r"(train|val|test):.+", "PART:FOLDER, as train:Training"), at_least=1),
        "which folders hold which split: recognized by their names and what they hold (auto), every"
        " folder is a class (none), or as listed",
        words=("auto", "none"),
        off="auto",
    ),
    Knob(
        "data.split_by",
        Choice(("order", "content")),
        "how a split is drawn: along one stratified order of all images, or class by class by a"
        " hash of their content, so that adding an image moves at most two others",
        off="order",
    ),
    Knob(
        "data.on_bad",
        Choice(("error", "skip")),
        "whether images that do not decode, and classes without images, are refused or left out",
        off="error",
    ),
    Knob(
        "data.labels",
        Choice(("keep", "map")),
        "whether labels must be 0, 1, 2, ... (keep), or any labels, even text, are numbered in"
        " their order (map)",
        off="keep",
    ),
    *(
        Knob(
            f"data.{kind}_column",
            Text(example="a column"),
            f"the column of a table that holds the {kind}s",
            null="recognized by what it holds and by its name",
            off=None,
        )
        for kind in ("image", "label")
    ),
    Knob(
        "data.cache_gb",
        Whole(0, MANY),
        "the most space that decoded images may take in the user's cache folder, where all"
        " processes share them; 0: each process keeps its own copy in memory",
        unit="GB",
        role="execution",
    ),
    Knob(
        "data._target_",
        TARGET,
        "your own data set: its import path",
    ),
)

RUN: Final = (
    Knob("seed", Whole(0), "every source of randomness", place="axis"),
    *(
        Knob(
            f"seeds.{name}",
            Whole(0),
            f"{what} alone",
            place="axis",
            null="as seed",
            off=None,
            idle=idle,
        )
        for name, what, idle in (
            ("init", "the initial weights", None),
            ("order", "the order of the images", None),
            ("dropout", "the dropout masks", effect.no_dropout),
            ("augment", "the augmentation", effect.no_augmentation),
        )
    ),
    Knob(
        "seeds.split",
        Whole(0),
        "which images are used for training, validation and testing; a test or validation set"
        " fixed by the files stays as it is; `seed`: a new split with each seed",
        null="the same fixed split for every seed",
        words=("seed",),
        off=None,
        source="Bouthillier et al. 2021, arXiv:2103.03098, section 2",
    ),
    Knob(
        "epochs",
        Whole(1),
        "passes over the training images",
        unit="epochs",
        acts_after="step",
    ),
    Knob(
        "batch_size",
        Whole(1),
        "images per step, in a new order each epoch; the remainder of an epoch is dropped",
        unit="images",
        words=("full",),
    ),
    Knob(
        "precision",
        Choice(("auto", "fp32", "bf16", "fp64")),
        "arithmetic of the network: fp32 is IEEE single precision, no tf32; bf16 keeps weights in"
        " fp32; auto is fp32",
    ),
    Knob(
        "select",
        Choice(("last", "best")),
        "weights to test: the last ones, or those with the best validation accuracy",
        idle=effect.one_epoch,
        acts_after="epochs",
    ),
)


def _slurm(
    name: str,
    type_: Choice | ListOf | Text | Whole,
    help_: str,
    *,
    unit: str = "",
    null: str = "",
    words: tuple[str, ...] = (),
    idle: effect.Reason = effect.no_slurm,
) -> Knob:
    return Knob(
        f"slurm.{name}",
        type_,
        help_,
        role="execution",
        unit=unit,
        null=null,
        words=words,
        idle=idle,
    )


EXECUTION: Final = (
    Knob(
        "deterministic",
        Flag(),
        "on a GPU, use only algorithms that give the same bits each time, and refuse operations"
        " without one; a CPU always gives the same bits",
        role="execution",
    ),
    Knob(
        "device",
        Choice(("auto", "cpu", "cuda")),
        "where to train; auto is cuda if there is a GPU",
        role="execution",
    ),
    Knob(
        "save",
        Choice(("none", "weights", "all")),
        "what checkpoint.pt keeps at the end; all adds state.pt, from which training could"
        " continue",
        role="execution",
    ),
    Knob(
        "checkpoint.every",
        Text(r"\d+(\.\d+)?\s*(s|m|h)?", "a time such as 30s, 5m or 1h"),
        "how often the resume state is written, counted from the start; a shorter run writes none",
        role="execution",
    ),
    Knob(
        "rerun",
        Choice(("none", "failed", "diverged", "all")),
        "which ended runs to train again",
        role="execution",
    ),
    Knob(
        "fail_fast",
        Flag(),
        "end a sweep at its first failed or diverged run",
        role="execution",
    ),
    Knob(
        "retries",
        Whole(0, MANY),
        "how often to retry a run whose process or node was lost, or that ran out of memory even"
        " alone; never after an error in your own code",
        role="execution",
        unit="tries",
    ),
    Knob(
        "max_failed",
        Real(0, 1, open_high=True),
        "start no further run once more than this share of the planned runs failed; diverged runs"
        " did not fail",
        role="execution",
        unit="fraction of runs",
        null="no limit",
    ),
    Knob(
        "report",
        Flag(),
        "write the whole report at the end, as `ablate report` does",
        role="execution",
    ),
    Knob(
        "launch",
        Choice(("auto", *EXECUTORS)),
        "who trains a sweep: this process, a pool of processes that share out the cores, or a"
        " cluster's queue; auto is inline on a GPU and workers on a CPU",
        role="execution",
    ),
    Knob(
        "stack.width",
        Whole(1),
        "most runs in a stack; auto depends on the device and the network's size",
        role="execution",
        unit="runs",
        words=("auto",),
    ),
    Knob(
        "stack.capture",
        Flag(),
        "on a GPU, capture a step as a CUDA graph, and replay it at each step",
        role="execution",
    ),
    Knob(
        "stack.compile",
        Flag(),
        "let torch.compile write the kernels of fused stacks, which takes up to a minute",
        role="execution",
    ),
    Knob(
        "design",
        Choice(DESIGNS),
        "which cells of a grid `ablate run -m` trains: all (factorial); all factors at their first"
        " values, and each other value of each factor alone (one_at_a_time); all at their last"
        " values, and each factor alone back at its first (leave_one_out); all at their first"
        " values, and each factor alone at its last (add_one_in)",
        role="execution",
        source="Box, Hunter & Hunter 2005, chapter 5",
    ),
    Knob(
        "max_runs",
        Whole(1),
        "most runs in a request: a slip such as `seed=range(0,1000000000)` is refused",
        role="execution",
        unit="runs",
    ),
    Knob(
        "scale",
        Choice(SCALES),
        "how large a study is: minutes on a laptop, or the published setting",
        role="execution",
    ),
    _slurm(
        "partition",
        Text(example="a partition's name"),
        "where SLURM runs a job",
        null="the cluster's default",
    ),
    _slurm(
        "minutes",
        Whole(1, MANY),
        "time limit of a job; a run that takes longer continues in another",
        unit="minutes",
    ),
    _slurm("cpus", Whole(1, MANY), "cores per job", unit="cores"),
    _slurm("gpus", Whole(0, MANY), "GPUs per job", unit="GPUs"),
    _slurm("memory", Whole(1, MANY), "memory per job", unit="GB"),
    *(
        _slurm(name, Text(example=example), what, null="the cluster's default")
        for name, example, what in (
            ("account", "an account's name", "the account that is charged"),
            ("qos", "a QOS's name", "the quality of service"),
            ("constraint", "features of a node, such as a100", "nodes that a job may run on"),
        )
    ),
    _slurm(
        "flags",
        ListOf(Text(r"--[a-z][^\n\x00]*", "a flag such as --exclude=n3")),
        "further flags of sbatch",
    ),
    _slurm(
        "at_once",
        Whole(1, MANY),
        "most jobs that run at a time",
        unit="jobs",
        null="no limit",
    ),
    _slurm("stacks", Whole(1, MANY), "stacks that a job trains, one after another", unit="stacks"),
    _slurm(
        "abreast",
        Whole(1, MANY),
        "how many of its stacks a job trains at a time on its GPU or its cores; auto: as many as"
        " fit on the GPU, by planned memory",
        unit="stacks",
        words=("auto",),
        idle=effect.one_stack,
    ),
    _slurm(
        "cluster",
        Choice(("slurm", "local")),
        "local runs the same jobs as processes here, to try a setup",
    ),
    Knob(
        "ray.address",
        Text(example="an address such as 10.0.0.1:6379"),
        "the Ray cluster to train on; auto is the one started by `ray start` on this machine",
        role="execution",
        null="a new one on this machine, for this sweep",
        idle=effect.no_ray,
    ),
    Knob(
        "ray.cpus",
        Whole(1, MANY),
        "cores per stack, one thread each",
        role="execution",
        unit="cores",
        idle=effect.no_ray,
    ),
    Knob(
        "ray.gpus",
        Real(0, 1),
        "share of a GPU that a stack takes; auto: by its planned memory, if there are GPUs",
        role="execution",
        unit="GPUs",
        words=("auto",),
        idle=effect.no_ray,
    ),
    Knob("out", Text(example="a directory"), "where runs are recorded", role="label"),
    Knob(
        "name",
        Text(
            r"(?!published$)(?!\.)[^/\\\x00]+",
            "a folder's name (no slash, no dot in front, not published)",
            most=200,  # file systems allow 255, and a study's tuning adds to it
        ),
        "folder of the sweep below out",
        role="label",
        null="<data>-<model>",
    ),
)

KNOBS: Final = (*RUN, *EXECUTION)
