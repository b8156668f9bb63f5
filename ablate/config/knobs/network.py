"""Knobs of the network: its layers, dropout, normalization and initial weights."""

from __future__ import annotations

from typing import Final

from ablate.config import effect
from ablate.config.knob import Knob
from ablate.config.types import Choice, Flag, ListOf, Real, Text, Whole

ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "gelu", "silu")
MODELS = (
    *("cnn", "mlp", "lenet5", "vgg", "resnet", "deep_mlp", "rnn", "lstm", "gru"),
    "custom",
)
NORMS = ("none", "batch", "layer", "group", "instance", "custom")
DROPOUTS = ("bernoulli", "gaussian", "spatial", "alpha", "dropconnect")
INITS = (
    *("he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "lecun_normal"),
    *("lecun_uniform", "normal", "uniform", "orthogonal", "zeros", "own"),
)

TARGET = Text(r"\w+(\.\w+)+", "package.module.Class")
_RATE = ListOf(Real(0, 1, open_high=True), or_one=True)
_SCHEME = Text(
    rf"({'|'.join(name for name in INITS if name != 'own')})(:\d+(\.\d*)?([eE][-+]?\d+)?)?",
    "a scheme such as he_normal, normal:0.01 or xavier_normal:1.5",
)
_DROPOUT = "Srivastava et al. 2014, JMLR 15"
_BATCH_NORM = "Ioffe & Szegedy 2015, arXiv:1502.03167"

MODEL: Final = (
    Knob(
        "model.name",
        Choice(MODELS),
        "the network",
        source="LeCun et al. 1998 (lenet5); Simonyan & Zisserman 2015, arXiv:1409.1556 (vgg);"
        " He et al. 2016, arXiv:1512.03385, section 4.2 (resnet); Hochreiter & Schmidhuber 1997"
        " (lstm); Cho et al. 2014, arXiv:1406.1078 (gru)",
    ),
    Knob("model._target_", TARGET, "your own network: its import path"),
    Knob(
        "model.channels",
        ListOf(Whole(1), at_least=1),
        "output channels of each convolutional block; of each stage in vgg",
        unit="channels",
    ),
    Knob(
        "model.depth",
        # A plan lists every layer; the deepest in print have 10,000 (Xiao et al. 2018).
        ListOf(Whole(1, 10_000), or_one=True),
        "vgg: convolutions per stage, one number or one for each stage; resnet: layers in all,"
        " 6n + 2 (20, 32, ...), or 9 for the small, fast one",
        unit="layers",
    ),
    Knob("model.width", Whole(1), "channels of the first stage", unit="channels"),
    Knob(
        "model.hidden",
        ListOf(Whole(1)),
        "units of each hidden dense or recurrent layer",
        unit="units",
    ),
    Knob("model.kernel_size", Whole(1), "height and width of the kernels", unit="pixels"),
    Knob("model.stride", Whole(1, 2**16), "stride of the convolutions", unit="pixels"),
    Knob(
        "model.padding",
        Whole(0),
        "zero padding of the convolutions; `same` is (kernel_size - 1) // 2",
        unit="pixels",
        words=("same",),
    ),
    Knob(
        "model.pad_to",
        Whole(1, 1024),
        "height and width to which smaller images are zero-padded",
        unit="pixels",
        null="no padding",
        source="LeCun et al. 1998, section II.B",
    ),
    Knob(
        "model.whiten",
        Whole(2, 3),
        "height and width of the patches that a fixed first layer, fitted to the training images,"
        " turns into uncorrelated numbers of variance 1, each with both signs",
        unit="pixels",
        null="no such layer",
        off=None,
        source="Jordan 2024, arXiv:2404.00498, section 3.2",
    ),
    Knob(
        "model.pool",
        Choice(("max", "avg", "none")),
        "2 × 2 pooling at the end of each block; left out once the map is down to one pixel",
    ),
    Knob("model.activation", Choice(ACTIVATIONS), "the activation function"),
    Knob("model.activation._target_", TARGET, "your own activation: its import path"),
    Knob(
        "model.forget_bias",
        Real(),
        "added to the forget gate",
        off=0,
        source="Jozefowicz et al. 2015, ICML, section 2.1",
    ),
)


def _rate(name: str, type_: Real | ListOf, help_: str, idle: effect.Reason) -> Knob:
    return Knob(
        f"dropout.{name}",
        type_,
        help_,
        place="axis",
        unit="probability of zeroing",
        off=0,
        idle=idle,
        source=_DROPOUT,
    )


DROPOUT: Final = (
    _rate("input", Real(0, 1, open_high=True), "rate on the input pixels", effect.own_ends),
    _rate("conv", _RATE, "rate after each convolutional block", effect.no_conv),
    _rate("dense", _RATE, "rate after each hidden dense or recurrent layer", effect.no_dense),
    _rate("output", Real(0, 1, open_high=True), "rate on the logits", effect.own_ends),
    Knob(
        "dropout.kind",
        Choice(DROPOUTS),
        "what is dropped: elements (bernoulli), whole channels (spatial) or weights (dropconnect);"
        " gaussian multiplies elements by a normal number of mean 1 and variance p/(1 - p); alpha"
        " sets them to selu's lower limit, keeping mean and variance",
        off="bernoulli",
        idle=effect.no_such_dropout,
        source="Srivastava et al. 2014, section 10 (gaussian); Tompson et al. 2015,"
        " arXiv:1411.4280 (spatial); Klambauer et al. 2017, arXiv:1706.02515 (alpha); Wan et al."
        " 2013, ICML (dropconnect)",
    ),
    Knob(
        "dropout.scaling",
        Choice(("inverted", "test", "none")),
        "what is scaled so that sums keep their mean: by 1/(1 - p) in training, by 1 - p in"
        " evaluation, or nothing (wrong, but instructive)",
        off="inverted",
        idle=effect.nothing_to_scale,
        source="Srivastava et al. 2014, sections 4 and 10",
    ),
    Knob(
        "dropout._target_",
        TARGET,
        "your own dropout layer, made with the rate: its import path",
        null="dropout.kind",
        off=None,
        idle=effect.nothing_dropped,
    ),
)

NORM: Final = (
    Knob(
        "norm.name",
        Choice(NORMS),
        "normalization of every hidden layer",
        off="none",
        idle=effect.nothing_to_normalize,
        source=f"{_BATCH_NORM}; Ba et al. 2016, arXiv:1607.06450 (layer); Wu & He 2018,"
        " arXiv:1803.08494 (group); Ulyanov et al. 2016, arXiv:1607.08022 (instance)",
    ),
    Knob("norm._target_", TARGET, "your own norm layer, made with the width: its import path"),
    Knob(
        "norm.position",
        Choice(("before", "after")),
        "before or after the activation",
        idle=effect.no_norm,
        source=_BATCH_NORM + ", section 3.2",
    ),
    Knob(
        "norm.affine",
        Flag(),
        "a learned scale and shift per channel",
        idle=effect.no_norm,
        acts_after="step",
    ),
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
        acts_after="epoch",
    ),
    Knob(
        "norm.momentum",
        Real(0, 1, open_low=True),
        "weight of the newest batch in the running statistics, as in torch",
        idle=effect.no_running_statistics,
        acts_after="epoch",
    ),
    Knob(
        "norm.groups",
        Whole(1),
        "groups of channels or units; if it does not divide their number, the greatest common"
        " divisor",
        unit="groups",
        source="Wu & He 2018, arXiv:1803.08494",
    ),
)

INIT: Final = (
    Knob(
        "init.name",
        Choice(INITS),
        "how the weights are drawn; `own` leaves them as your model's constructor made them",
        place="axis",
        source="He et al. 2015, arXiv:1502.01852; Glorot & Bengio 2010; LeCun et al. 1998; Saxe et"
        " al. 2014, arXiv:1312.6120",
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
        "factor on the scheme's standard deviation; `auto` is the activation's gain (divided by"
        " relu's in he_*, which has that already)",
        place="axis",
        words=("auto",),
        off=1,
        source="torch.nn.init.calculate_gain; for elu, gelu and silu 1/√E[φ(z)²], z normal",
    ),
    Knob("init.bias", Real(), "value of every bias", place="axis", off=0),
    Knob(
        "init.layers",
        ListOf(_SCHEME, at_least=1),
        "a scheme for each layer with weights, starting at the input; after a colon its standard"
        " deviation (normal, uniform) or gain",
        place="axis",
        null="as init",
        off=None,
    ),
)

KNOBS: Final = (*MODEL, *DROPOUT, *NORM, *INIT)
