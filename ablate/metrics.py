"""Every metric that runs can be compared by: its name, its better side, its unit, its source.

Study files, frames, tables and reports all look metrics up here.

To add a metric that training records, compute it in `ablate.train.quality.measure` (for each split)
or in `Training._metrics` (for a run), and add a line here, to `OF_A_SPLIT` or to `_recorded`. To
add one that follows from the record, compute it in `ablate.analyze.run_measures.measure`, and add a
line to `_derived`.

train|val|test/<q>    loss (mean negative log likelihood, nats), accuracy, error, ece (expected
                      calibration error), brier (Brier score), on the selected weights
gap/<q>               accuracy: training minus test; loss: test minus training
epochs_to_best        epoch of the lowest validation error
acted/<limit>         share of steps in which a limit acted: clipping, the max-norm

The next ones follow from the record. Those about the error use the validation split only, so that
none of them lets the test set influence a choice:

epochs_to_target      first epoch whose validation error is at most a target
seconds               time of training only
images_per_second     training images processed, over these seconds
parameters            weights and biases
val/error_lowest      lowest validation error of any epoch
val/error_area        area under that error's curve, as its mean height: low if learning is fast
val/error_spread      its standard deviation over the last quarter of the epochs: stability

`ablate evaluate`, or a study's `measure`, measures these on the test images after training
(``evaluate/val/...`` on the validation images), where <q> is ``error``, ``loss``, ``ece`` or
``brier``:

evaluate/plain/<q>                 the network as it was trained: dropout by weight scaling
evaluate/views/<q>                 probabilities averaged over views of each image
evaluate/dropout/<mean>/<q>        averaged over sampled sub-networks: ``arithmetic``, ``geometric``
evaluate/dropout/agreement/<mean>  share of images where this mean and weight scaling agree
evaluate/dropout/divergence/<mean> KL(this mean ‖ weight scaling), nats
evaluate/dropout/entropy           entropy of the arithmetic mean, nats; ``information``: the part
                                   of it that is due to the choice of the sub-network
evaluate/calibration/temperature   fitted on validation; ``after/<q>``: with it (not the error)
evaluate/deletion/50/error         with 50 % of each hidden layer's units deleted (10, 20, ... 90),
                                   a mean over draws
evaluate/deletion/error_area       that curve's mean height from 0 to 90 %
evaluate/correlation/1             mean |r| between units of hidden layer 1, 2, ...; ``mean`` of all
evaluate/perturbation/shift/error  mean over its strengths; ``rotate`` and ``noise`` too

`ablate inspect`, or a study's `measure`, measures these on training images in training mode, at the
``start`` (initial weights) and at the ``end``:

inspect/start/activation_std/1     standard deviation of hidden layer 1, 2, ...; ``last``;
                                   ``ratio``: the last layer's over the first's
inspect/start/saturated/1          share of outputs near an end of the activation's range; ``last``;
                                   ``mean`` over hidden layers
inspect/start/dead/mean            share of units with the same output for every image, likewise
inspect/start/gradient_norm/1      norm of the loss's gradient by weight matrix 1, 2, ...; ``last``:
                                   the output layer's; ``ratio``: the first's over the last's (near
                                   1 too where signal and gradient vanish alike: the product stays)

A hidden layer is an activation's output, or a recurrent layer's states; in a network without such
modules, the output of each convolution and linear layer except the last. Undefined values (the
saturation of a relu, a ratio to 0) are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from ablate.errors import listed, nearest

Side = Literal["lower", "higher"]
Kind = Literal["recorded", "derived", "evaluate", "inspect"]

PRIMARY: Final = "test/error"  # runs are compared by this unless the user says otherwise
TARGET: Final = "epochs_to_target"
LAYER: Final = "<layer>"  # in a name: stands for the number of any layer, 1, 2, ...


# -- units -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """How a number is written.

    Attributes:
        scale: Factor on the recorded number.
        decimals: Digits after the point; None writes three digits in all, or none after it.
        name: Unit of a value: ``%``, ``s`` or nothing.
        difference: Unit of a difference: ``points`` if values are in %.
        signed: Whether a difference has a sign; a ratio, shown instead of one, has none.
        tiny: Whether values may be tiny or huge, and are written with three significant digits.
    """

    scale: float
    decimals: int | None
    name: str
    difference: str
    signed: bool = True
    tiny: bool = False


FRACTION: Final = Unit(100, 2, "%", "points")
POINTS: Final = Unit(100, 2, "points", "points")  # a difference of fractions
LOSS: Final = Unit(1, 4, "", "")  # nats; for a Brier score no unit
EPOCHS: Final = Unit(1, 1, "", "")
SECONDS: Final = Unit(1, None, "s", "s")
PLAIN: Final = Unit(1, None, "", "")
DECIMAL: Final = Unit(1, 3, "", "")
TINY: Final = Unit(1, None, "", "", tiny=True)


# -- metrics ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """A number that every run has, or may have.

    Attributes:
        name: As in frames, study files and `ablate report --metric`: parts separated by slashes.
            It has no dot, since names with dots are knobs.
        better: Which side is better; None if that depends on the question. A gap has no better
            side: it shrinks with less overfitting, but also with less fitting.
        unit: How it is written.
        kind: Where it comes from: ``recorded`` by training, ``derived`` from the record, or
            measured after training, by ``evaluate`` or ``inspect``.
        label: Its name in a sentence; by default made from the name: ``test error``.
        no_claim: Why no claim can be made with it, as the end of a sentence; None if one can.
    """

    name: str
    better: Side | None
    unit: Unit
    kind: Kind = "recorded"
    label: str = ""
    no_claim: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or _in_words(self.name))

    @property
    def is_after_training(self) -> bool:
        """Whether it is measured after training, by a command or for a study."""
        return self.kind in ("evaluate", "inspect")

    @property
    def is_of_learning(self) -> bool:
        """Whether it measures what the network learned, and so says nothing if it did not learn.

        Costs, how often a limit acted and what `ablate inspect` measures are valid however training
        went.
        """
        of_a_limit = self.name.startswith("acted/")
        return self.kind != "inspect" and self.name not in _COSTS and not of_a_limit

    @property
    def is_of_a_layer(self) -> bool:
        """Whether it is about one layer, given by number."""
        return self.is_after_training and self.pattern != self.name

    @property
    def pattern(self) -> str:
        """Its name in this table, with ``<layer>`` in place of a layer's number."""
        head, _, last = self.name.rpartition("/")
        return f"{head}/{LAYER}" if self.is_after_training and last.isdecimal() else self.name

    @property
    def place(self) -> str:
        """The split, or the moment of an inspection, where it is measured; otherwise empty."""
        return self._divided[0]

    @property
    def path(self) -> str:
        """Its name without the place: ``error``, ``dropout/entropy``, ``dead/mean``."""
        return self._divided[1]

    @property
    def group(self) -> str:
        """The first part of its path: for `ablate evaluate`, the measurement that gives it."""
        return self.path.partition("/")[0]

    @property
    def _divided(self) -> tuple[str, str]:
        first, _, rest = self.name.partition("/")
        place, _, path = rest.partition("/")
        if self.kind == "inspect" or (self.kind == "evaluate" and place in SPLITS):
            return place, path
        if self.kind == "evaluate":
            return "test", rest
        return (first, rest) if first in SPLITS else ("", self.name)


def _in_words(name: str) -> str:
    first, _, rest = name.partition("/")
    if first == "gap":
        return f"{rest} gap"
    words = name.replace("_", " ") if first == "inspect" else name
    return words.replace("/", " ")


# -- the table -------------------------------------------------------------------------------------

SPLITS: Final = ("train", "val", "test")
MOMENTS: Final = ("start", "end")
LIMITS: Final = ("clip_norm", "clip_value", "max_norm")
TIMES: Final = ("seconds", "images_per_second")  # of training
_COSTS: Final = (*TIMES, "parameters")

OF_A_SPLIT: Final[dict[str, tuple[Side, Unit]]] = {  # recorded for each split
    "loss": ("lower", LOSS),
    "accuracy": ("higher", FRACTION),
    "error": ("lower", FRACTION),
    "ece": ("lower", FRACTION),
    "brier": ("lower", LOSS),
}

_Row = tuple[str, Side | None, Unit]
_JUDGED: Final = ("error", "loss", "ece", "brier")  # accuracy is left out: it is 1 - error
_MEANS: Final = ("arithmetic", "geometric")

_EVALUATED: Final[tuple[_Row, ...]] = (
    *((f"plain/{q}", *OF_A_SPLIT[q]) for q in _JUDGED),
    *((f"views/{q}", *OF_A_SPLIT[q]) for q in _JUDGED),
    *((f"dropout/{mean}/{q}", *OF_A_SPLIT[q]) for mean in _MEANS for q in _JUDGED),
    *((f"dropout/agreement/{mean}", None, FRACTION) for mean in _MEANS),
    *((f"dropout/divergence/{mean}", None, DECIMAL) for mean in _MEANS),
    ("dropout/entropy", None, DECIMAL),
    ("dropout/information", None, DECIMAL),
    ("calibration/temperature", None, DECIMAL),
    *((f"calibration/after/{q}", *OF_A_SPLIT[q]) for q in _JUDGED if q != "error"),
    *((f"deletion/{percent}/error", "lower", FRACTION) for percent in range(10, 100, 10)),
    ("deletion/error_area", "lower", FRACTION),
    (f"correlation/{LAYER}", None, DECIMAL),
    ("correlation/mean", None, DECIMAL),
    *((f"perturbation/{way}/error", "lower", FRACTION) for way in ("shift", "rotate", "noise")),
)
_INSPECTED: Final[tuple[_Row, ...]] = (
    *((f"activation_std/{part}", None, TINY) for part in (LAYER, "last", "ratio")),
    *((f"saturated/{part}", None, FRACTION) for part in (LAYER, "last", "mean")),
    ("dead/mean", None, FRACTION),
    *((f"gradient_norm/{part}", None, TINY) for part in (LAYER, "last", "ratio")),
)
_SAME_FOR_EVERY_SEED: Final = "it is the same for every seed of an arm, so nothing can be tested"


def _recorded() -> Iterator[Metric]:
    for split in SPLITS:
        for name, (better, unit) in OF_A_SPLIT.items():
            yield Metric(f"{split}/{name}", better, unit)
    yield Metric("gap/accuracy", None, POINTS)
    yield Metric("gap/loss", None, LOSS)
    yield Metric("epochs_to_best", None, EPOCHS, label="epochs to the best")
    for limit in LIMITS:
        yield Metric(f"acted/{limit}", None, FRACTION)


def _derived() -> Iterator[Metric]:
    yield Metric(TARGET, "lower", EPOCHS, "derived", "epochs to the target")
    yield Metric("seconds", "lower", SECONDS, "derived", "training time")
    yield Metric("images_per_second", "higher", PLAIN, "derived", "images per second")
    yield Metric("parameters", None, PLAIN, "derived", no_claim=_SAME_FOR_EVERY_SEED)
    yield Metric("val/error_lowest", "lower", FRACTION, "derived", "lowest val error")
    yield Metric("val/error_area", "lower", FRACTION, "derived", "area under the val error")
    yield Metric("val/error_spread", "lower", FRACTION, "derived", "spread of the last val errors")


def _after_training() -> Iterator[Metric]:
    for row in _EVALUATED:
        yield _evaluated("evaluate", *row)
    for row in _EVALUATED:
        if not row[0].startswith("calibration/"):  # its temperature is fitted on validation
            yield _evaluated("evaluate/val", *row)
    for moment in MOMENTS:
        for path, better, unit in _INSPECTED:
            yield Metric(f"inspect/{moment}/{path}", better, unit, "inspect")


def _evaluated(start: str, path: str, better: Side | None, unit: Unit) -> Metric:
    return Metric(f"{start}/{path}", better, unit, "evaluate")


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric for metric in (*_recorded(), *_derived(), *_after_training())
}


def find(name: str) -> Metric | None:
    """Find a metric by name, with a number in place of ``<layer>``; None if there is none."""
    if (metric := METRICS.get(name)) is not None:
        return None if LAYER in name else metric
    head, _, last = name.rpartition("/")
    pattern = METRICS.get(f"{head}/{LAYER}")
    if pattern is None or not re.fullmatch("[1-9][0-9]*", last):
        return None
    return replace(pattern, name=name, label=pattern.label.replace(LAYER, last))


def metric_of(name: str) -> Metric:
    """Look up a metric; an unknown one is a plain number without a better side.

    A record may hold unknown metrics if another version or the user's own training loop wrote it.
    """
    return find(name) or Metric(name, None, PLAIN)


def why_unknown(name: str) -> str | None:
    """Say why no run can have a metric of this name.

    Returns:
        The end of a sentence that begins with the name; it gives the nearest legal name, or all
        legal names if none is near. None if the metric is known.

    Example:
        >>> why_unknown("test/eror")
        "no run records it; did you mean 'test/error'?"
    """
    if find(name) is not None:
        return None
    if hint := nearest(name, (known.replace(LAYER, "1") for known in METRICS)):
        return f"no run records it{hint}"
    legal = [known for known, metric in METRICS.items() if not metric.is_after_training]
    after = "what `ablate evaluate` and `ablate inspect` measure"
    return f"no run records it: it is one of {listed([*legal, after])}"
