"""Every knob, declared once: type, range, unit, role, place in a stack, off value, source.

Validation, the run's key, the grouping into stacks, `conf/README.md` and the report's labels derive
from this table. It imports nothing heavy, so that a wrong request is refused in no time.

A knob's *role* says what it may change: ``result`` (the numbers), ``execution`` (where and how a
run is computed) or ``label`` (names and places). A result knob's *place* says whether it may differ
inside a stack (``axis``) or must agree there (``graph``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ablate import conf, effect
from ablate.errors import listed, nearest
from ablate.values import Choice, Flag, ListOf, Real, Text, Type, Whole

Config = Mapping[str, Any]  # nested, as in DESIGN: config["optimizer"]["lr"]

UNSET: Final = object()  # a knob without an off value: setting it at all asks for an effect


# -- the declaration -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Knob:
    """One value of the configuration.

    Attributes:
        name: Dotted path, as on the command line.
        type: What values it takes.
        help: One line: what it does.
        role: ``result``, ``execution`` or ``label``.
        place: ``axis`` or ``graph`` (of a result knob; of no meaning otherwise).
        unit: Unit of the value, where it has one.
        null: What null means, where null is legal.
        words: Words that are legal beside the type.
        off: The value at which the knob does nothing; left out of a run's key there.
        idle: Given a config in which the knob is on, the reason why it touches nothing, or None.
        source: Where its meaning comes from.
    """

    name: str
    type: Type
    help: str
    role: str = "result"
    place: str = "graph"
    unit: str = ""
    null: str = ""
    words: tuple[str, ...] = ()
    off: Any = UNSET
    idle: Callable[[Config], str | None] | None = None
    source: str = ""

    @property
    def group(self) -> str:
        """The part of the name before the dot; empty for a top-level knob."""
        return self.name.partition(".")[0] if "." in self.name else ""

    @property
    def legal(self) -> str:
        """What values are legal, in words."""
        parts = [str(self.type), *self.words] + (["null"] if self.null else [])
        return listed(parts) if not isinstance(self.type, Choice) else self._choices()

    def _choices(self) -> str:
        assert isinstance(self.type, Choice)
        return listed([*self.type.words, *self.words] + (["null"] if self.null else []))

    def fault(self, value: Any) -> str | None:
        """Say what is wrong with a value, or None if it is legal."""
        if value is None and self.null:
            return None
        if isinstance(value, str) and value in self.words:
            return None
        if self.type.admits(value):
            return None
        choices = [*getattr(self.type, "words", ()), *self.words]
        hint = nearest(str(value), choices) if isinstance(value, str) else ""
        return f"{self.name}={shown(value)} is not legal: it takes {self.legal}{hint}"


_NOT_TEXT = re.compile(r"[-+.]?\d[-+\d._eE]*|\[.*\]|true|false|null")  # unless it is quoted


def shown(value: Any) -> str:
    """Write a value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(shown(v) for v in value)}]"
    quoted = isinstance(value, str) and _NOT_TEXT.fullmatch(value)
    return f"'{value}'" if quoted else str(value)


# -- the knobs -------------------------------------------------------------------------------------

ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "gelu", "silu")
DATA = (
    *("digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "svhn"),
    *("folder", "custom"),
)
MODELS = ("cnn", "mlp", "custom")
NORMS = ("none", "batch", "layer", "group", "instance")
INITS = (
    *("he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "lecun_normal"),
    *("lecun_uniform", "normal", "uniform", "orthogonal", "zeros", "own"),
)
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine")

# Groups whose option is itself a result: `optimizer=adam` is a knob with the value adam.
OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "data": DATA,
    "model": MODELS,
    "norm": NORMS,
    "init": INITS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}

_RATE = ListOf(Real(0, 1, open_high=True), or_one=True)
_DROPOUT = "Srivastava et al. 2014, JMLR 15"
_BATCH_NORM = "Ioffe & Szegedy 2015, arXiv:1502.03167"
_ADAM = "Kingma & Ba 2015, arXiv:1412.6980"

KNOBS: Final[tuple[Knob, ...]] = (
    # data
    Knob("data.name", Choice(DATA), "the data set"),
    Knob(
        "data.root",
        Text(example="a directory"),
        "where its files lie",
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
        "height and width that images are brought to",
        unit="pixels",
        null="as they are",
        off=None,
    ),
    Knob(
        "data._target_",
        Text(r"\w+(\.\w+)+", "package.module.Class"),
        "your own data set: its import path",
    ),
    # model
    Knob("model.name", Choice(MODELS), "the network"),
    Knob(
        "model._target_",
        Text(r"\w+(\.\w+)+", "package.module.Class"),
        "your own network: its import path",
    ),
    Knob(
        "model.channels",
        ListOf(Whole(1), at_least=1),
        "output channels of each convolutional block",
        unit="channels",
    ),
    Knob("model.hidden", ListOf(Whole(1)), "units of each hidden dense layer", unit="units"),
    Knob("model.kernel_size", Whole(1), "height and width of the kernels", unit="pixels"),
    Knob("model.stride", Whole(1), "stride of the convolutions", unit="pixels"),
    Knob(
        "model.padding",
        Whole(0),
        "zero padding of the convolutions; `same` is (kernel_size - 1) // 2",
        unit="pixels",
        words=("same",),
    ),
    Knob(
        "model.pool",
        Choice(("max", "avg", "none")),
        "pooling over 2 × 2 that ends each block; left out where the map is down to one pixel",
    ),
    Knob("model.activation", Choice(ACTIVATIONS), "the activation function"),
    # dropout
    Knob(
        "dropout.input",
        Real(0, 1, open_high=True),
        "rate on the input pixels",
        place="axis",
        unit="probability of zeroing",
        off=0,
        idle=effect.own_model,
        source=_DROPOUT,
    ),
    Knob(
        "dropout.conv",
        _RATE,
        "rate after each convolutional block",
        place="axis",
        unit="probability of zeroing",
        off=0,
        idle=effect.no_conv,
        source=_DROPOUT,
    ),
    Knob(
        "dropout.dense",
        _RATE,
        "rate after each hidden dense layer",
        place="axis",
        unit="probability of zeroing",
        off=0,
        idle=effect.no_dense,
        source=_DROPOUT,
    ),
    Knob(
        "dropout.output",
        Real(0, 1, open_high=True),
        "rate on the logits",
        place="axis",
        unit="probability of zeroing",
        off=0,
        idle=effect.own_model,
        source=_DROPOUT,
    ),
    # norm
    Knob(
        "norm.name",
        Choice(NORMS),
        "normalization of every hidden layer",
        off="none",
        idle=effect.nothing_to_normalize,
        source=_BATCH_NORM,
    ),
    Knob(
        "norm.position",
        Choice(("before", "after")),
        "before or after the activation",
        idle=effect.no_norm,
        source=_BATCH_NORM + ", section 3.2",
    ),
    Knob("norm.affine", Flag(), "a learned scale and shift per channel", idle=effect.no_norm),
    Knob(
        "norm.eps",
        Real(0, open_low=True),
        "added to the variance",
        idle=effect.no_norm,
    ),
    Knob(
        "norm.eval",
        Choice(("running", "batch")),
        "statistics used in evaluation",
        idle=effect.no_batch_norm,
        source=_BATCH_NORM,
    ),
    Knob(
        "norm.momentum",
        Real(0, 1, open_low=True),
        "weight of the newest batch in the running statistics, as in torch",
        idle=effect.no_running_statistics,
    ),
    Knob(
        "norm.groups",
        Whole(1),
        "groups of channels, or of units; their greatest common divisor where they do not divide",
        unit="groups",
        source="Wu & He 2018, arXiv:1803.08494",
    ),
    # init
    Knob(
        "init.name",
        Choice(INITS),
        "how the weights are drawn; `own` leaves them as your model's constructor does",
        place="axis",
        source="He et al. 2015, arXiv:1502.01852; Glorot & Bengio 2010; LeCun et al. 1998",
    ),
    Knob(
        "init.std",
        Real(0, open_low=True),
        "standard deviation of the weights",
        place="axis",
    ),
    Knob(
        "init.gain",
        Real(0, open_low=True),
        "factor on the scheme's standard deviation",
        place="axis",
        off=1,
    ),
    Knob("init.bias", Real(), "value of every bias", place="axis", off=0),
    # optimizer
    Knob("optimizer.name", Choice(OPTIMIZERS), "the update rule, as torch.optim defines it"),
    Knob("optimizer.lr", Real(0, open_low=True), "learning rate", place="axis"),
    Knob(
        "optimizer.weight_decay",
        Real(0),
        "what torch's optimizer of that name means: L2 in the gradient, decoupled in adamw",
        place="axis",
        off=0,
        source="Loshchilov & Hutter 2019, arXiv:1711.05101",
    ),
    Knob(
        "optimizer.momentum",
        Real(0, 1, open_high=True),
        "share of the last step that is kept",
        place="axis",
        off=0,
        source="Sutskever et al. 2013",
    ),
    Knob(
        "optimizer.beta1",
        Real(0, 1, open_high=True),
        "decay of the mean of gradients",
        place="axis",
        source=_ADAM,
    ),
    Knob(
        "optimizer.beta2",
        Real(0, 1, open_high=True),
        "decay of the mean of squared gradients",
        place="axis",
        source=_ADAM,
    ),
    Knob(
        "optimizer.eps",
        Real(0, open_low=True),
        "added to the root of the mean square",
        place="axis",
        source=_ADAM,
    ),
    # schedule
    Knob(
        "schedule.name",
        Choice(SCHEDULES),
        "how the learning rate moves, step by step",
        place="axis",
        off="constant",
    ),
    Knob(
        "schedule.warmup_epochs",
        Real(0),
        "epochs over which the rate rises linearly from 0; the schedule fills the rest",
        place="axis",
        unit="epochs",
        off=0,
        idle=effect.long_warmup,
        source="Goyal et al. 2017, arXiv:1706.02677, section 2.2",
    ),
    Knob(
        "schedule.every",
        Real(0, 1, open_low=True, open_high=True),
        "the rate falls each time this share of the steps after the warm-up has passed",
        place="axis",
        unit="fraction of training",
    ),
    Knob(
        "schedule.gamma",
        Real(0, 1, open_low=True),
        "factor at each fall",
        place="axis",
        off=1,
    ),
    Knob(
        "schedule.final",
        Real(0, 1, open_high=True),
        "rate at the end",
        place="axis",
        unit="fraction of lr",
        source="Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5",
    ),
    # the run
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
    Knob("epochs", Whole(1), "passes over the training images", unit="epochs"),
    Knob(
        "batch_size",
        Whole(1),
        "images a step; what is left of an epoch is dropped, in a new order each epoch",
        unit="images",
        words=("full",),
    ),
    Knob(
        "precision",
        Choice(("auto", "fp32", "bf16", "fp64")),
        "arithmetic of the network; bf16 keeps weights in fp32; auto is fp32",
    ),
    Knob(
        "select",
        Choice(("last", "best")),
        "weights that are tested: the last, or those of the best validation accuracy",
    ),
    # execution and labels
    Knob(
        "deterministic",
        Flag(),
        "refuse operations that differ from one execution to the next",
        role="execution",
    ),
    Knob(
        "device",
        Choice(("auto", "cpu", "cuda")),
        "where it trains; auto is cuda where there is one",
        role="execution",
    ),
    Knob(
        "save",
        Choice(("none", "weights", "all")),
        "what checkpoint.pt keeps at the end; all adds state.pt, from which training could go on",
        role="execution",
    ),
    Knob(
        "checkpoint.every",
        Text(r"\d+(\.\d+)?\s*(s|m|h)?", "a time such as 30s, 5m or 1h"),
        "at most how often the resume state is written",
        role="execution",
    ),
    Knob(
        "rerun",
        Choice(("none", "failed", "diverged", "all")),
        "runs to train again though they ended",
        role="execution",
    ),
    Knob(
        "fail_fast",
        Flag(),
        "end a sweep at its first failed or diverged run",
        role="execution",
    ),
    Knob(
        "launch",
        Choice(("auto", "inline", "workers", "slurm")),
        "who trains a sweep: this process, a pool of processes that share out the cores, or a"
        " cluster's queue; auto is inline on a GPU and workers on a CPU",
        role="execution",
    ),
    Knob(
        "stack.width",
        Whole(1),
        "runs that a stack holds at most; auto follows device and network size",
        role="execution",
        unit="runs",
        words=("auto",),
    ),
    Knob(
        "slurm.partition",
        Text(example="a partition's name"),
        "where SLURM runs a stack",
        role="execution",
        null="the cluster's default",
    ),
    Knob("slurm.minutes", Whole(1), "time limit of a stack", role="execution", unit="minutes"),
    Knob("slurm.cpus", Whole(1), "cores a stack", role="execution", unit="cores"),
    Knob("slurm.gpus", Whole(0), "GPUs a stack", role="execution", unit="GPUs"),
    Knob("slurm.memory", Whole(1), "memory a stack", role="execution", unit="GB"),
    Knob(
        "slurm.cluster",
        Choice(("slurm", "local")),
        "local runs the same jobs as processes here, to try a setup",
        role="execution",
    ),
    Knob("out", Text(example="a directory"), "where runs are recorded", role="label"),
    Knob(
        "name",
        Text(
            r"(?!published$)(?!\.)[^/\\\x00]+",
            "a folder's name (no slash, no dot in front, not published)",
        ),
        "folder of the sweep below out",
        role="label",
        null="<data>-<model>",
    ),
)

BY_NAME: Final[dict[str, Knob]] = {knob.name: knob for knob in KNOBS}


def knob_of(config: Config, name: str) -> Knob | None:
    """Find the knob behind a name; what a class of the user's takes besides is no knob."""
    group, _, leaf = name.partition(".")
    own = group in ("model", "data") and get(config, f"{group}.name") == "custom"
    return None if own and leaf not in conf.option(group, "custom") else BY_NAME.get(name)


def get(config: Config, name: str, default: Any = None) -> Any:
    """Read a dotted name from a nested config."""
    node: Any = config
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def flatten(config: Config, prefix: str = "") -> dict[str, Any]:
    """Turn a nested config into one flat dict of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def seconds(duration: str | float) -> float:
    """Turn ``30s``, ``5m``, ``1h`` or a bare number of seconds into seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(duration))
    assert match is not None, "validated by the schema"
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
