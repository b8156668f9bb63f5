"""How much GPU memory a stack takes, item by item: arithmetic only, since planning loads no torch.

A stack fits if its tensors plus an allowance are within the device's memory. So the width of a
stack, and how many of its runs are evaluated at a time, depend on the configuration and the device,
and never on the memory that happens to be free: a resumed sweep gets the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Final

from ablate.config import schema
from ablate.config.course import epoch_steps
from ablate.config.effect import SOLVERS
from ablate.data import Sizes
from ablate.data.source import most_on_device
from ablate.nets.memory import forward_peak, training_peak
from ablate.nets.operations import BYTES, operations
from ablate.train.eval_parts import EVAL_BATCH, sees_its_batch

if TYPE_CHECKING:
    from ablate.data.tensors import Tensors

Config = Mapping[str, Any]

# The allowance beside tensors, to be corrected by measurements on cards. First CUDA's context with
# its kernels, and the workspaces of cuDNN and cuBLAS on each stream. Then fragmentation, relative
# to the tensors that come and go: without a card, by the allocator's own count, pools of CUDA
# graphs were 0.04 to 1 larger than the tensors in them, for large stacks up to 0.8.
WORKSPACES: Final = 2 * 2**30  # bytes
IN_PIECES: Final = 0.6

UNCERTAINTY: Final = 0.15  # relative error of the estimate for tensors

# For each optimizer: how many copies of all weights its state takes, and how many temporary tensors
# the size of one weight an update makes. For lbfgs, `history` adds to the state.
OPTIMIZERS: Final = {
    "sgd": (0, 1),
    "momentum": (1, 1),
    "nesterov": (1, 1),
    "adagrad": (1, 2),
    "adadelta": (2, 3),
    "rmsprop": (2, 2),
    "adam": (2, 2),
    "adamw": (2, 2),
    "nadam": (2, 2),
    "muon": (1, 5),
    "lbfgs": (3, 2),
    "newton": (0, 2),
}

_WHOLE = 8  # bytes of an int64: a label, an index
_DOUBLE = 8  # bytes of a float64: a logit under measurement, a learning rate
_DRAWING = 8  # int64s per image while an order is drawn: its hash, the sort and the result
# Per image and run while a split is measured: logits, log-softmax, probabilities and their squares;
# and five more numbers.
_MEASURING, _MEASURED = 4, 5


@dataclass(frozen=True)
class Images:
    """What the memory for a data set's images depends on.

    Attributes:
        shape: Channels, height and width of an image.
        classes: Number of classes K.
        sizes: How many images each split has.
        pixel: Bytes of a stored number.
        mapped: Whether they are in a file mapped into memory.
        fetched: Whether they are moved to the device batch by batch, since it has no room for all.
    """

    shape: tuple[int, int, int]
    classes: int
    sizes: Sizes
    pixel: int = 1
    mapped: bool = False
    fetched: bool = False

    @classmethod
    def of(cls, data: Tensors) -> Images:
        """Describe a data set on its device."""
        sizes = Sizes(len(data.train), len(data.val), len(data.test))
        pixel, mapped = data.train.stored.element_size(), data.train.rows is not None
        return cls(data.shape, data.classes, sizes, pixel, mapped, data.is_fetched)

    def within(self, memory: int | None) -> Images:
        """Describe them on a device with that much memory; None for no limit."""
        most = most_on_device(memory)
        return replace(self, fetched=self.mapped and most is not None and self._bytes > most)

    @property
    def _bytes(self) -> int:
        sizes = self.sizes
        return (sizes.train + sizes.val + sizes.test) * prod(self.shape) * self.pixel

    @property
    def stored(self) -> int:
        """Bytes of the images and labels that stay on the device."""
        sizes = self.sizes
        labels = (sizes.train + sizes.val + sizes.test) * _WHOLE
        return labels if self.fetched else self._bytes + labels

    @property
    def largest(self) -> int:
        """Number of images in the largest split."""
        return max(self.sizes.train, self.sizes.val, self.sizes.test)


@dataclass(frozen=True)
class Footprint:
    """The most memory that a stack takes on the device, in bytes.

    What stays is there from the first step to the last. The phases of a step follow one another, so
    only the largest counts, and likewise for the work between steps.

    Attributes:
        data: Stays: images and labels of all splits, and their orders by content.
        order: Stays: for each run, the order of an epoch's images and the rates of all steps.
        weights: Stays: weights; twice if fused, as each run's module holds its own besides.
        optimizer: Stays: the optimizer's state.
        average: Stays: the average of the weights.
        batch: Of a step: making the batch.
        activations: Of a step: the batch, the network's activations, and gradients.
        update: Of a step: gradients, and the update's temporary tensors.
        drawing: Between steps: drawing an epoch's order.
        evaluation: Between steps: an evaluation.
        captured: Whether the step is a CUDA graph, which keeps its memory between steps.
    """

    data: int
    order: int
    weights: int
    optimizer: int
    average: int
    batch: int
    activations: int
    update: int
    drawing: int
    evaluation: int
    captured: bool

    @property
    def resident(self) -> int:
        """What stays."""
        return self.data + self.order + self.weights + self.optimizer + self.average

    @property
    def step(self) -> int:
        """What a step takes in addition."""
        return max(self.batch, self.activations, self.update)

    @property
    def between(self) -> int:
        """What the work between steps takes in addition."""
        return max(self.drawing, self.evaluation)

    @property
    def passing(self) -> int:
        """The most temporary memory in use at once."""
        return self.step + self.between if self.captured else max(self.step, self.between)

    @property
    def tensors(self) -> int:
        """The peak of all tensors."""
        return self.resident + self.passing

    @property
    def allowance(self) -> int:
        """What is planned in addition to tensors."""
        return WORKSPACES + int(IN_PIECES * self.passing)

    @property
    def dominant(self) -> tuple[str, int]:
        """The largest item, and its bytes."""
        items = {name: value for name, value in asdict(self).items() if name != "captured"}
        return max(items.items(), key=lambda item: item[1])

    def fits(self, memory: int) -> bool:
        """Tell whether a device with that much memory has room for it."""
        return self.tensors + self.allowance <= memory


def footprint(
    configs: Sequence[Config], images: Images, width: int, *, fused: bool, at_once: int
) -> Footprint:
    """Estimate the memory of a stack of shipped networks.

    Args:
        configs: Configurations of its runs, alike in every graph knob; one may stand for all.
        images: Their data set.
        width: Number of runs in the stack.
        fused: Whether it is applied under vmap, rather than run by run.
        at_once: Number of runs that are evaluated at a time.
    """
    config = _with_all_on(configs)
    run = _Run(config, images, fused)
    applied = width if fused else 1
    own = schema.targets(config) or config["optimizer"]["name"] in SOLVERS
    return Footprint(
        data=images.stored + run.places,
        order=width * run.order,
        weights=width * run.weights * (2 if fused else 1),
        optimizer=width * run.optimizer,
        average=width * run.average,
        batch=width * run.making(config["batch_size"]),
        activations=width * (run.batch + run.ascent) + applied * run.activations,
        update=width * (run.batch + run.update),
        drawing=width * images.sizes.train * _DRAWING * _WHOLE,
        evaluation=width * run.average + run.evaluation(at_once),
        captured=bool(config["stack"]["capture"]) and not own and not images.fetched,
    )


def least_at_once(width: int) -> int:
    """Return the fewest runs of a fused stack that may be evaluated at a time.

    A single run would be rounded differently, and a stack of odd width cannot be cut into twos.
    """
    return min(width, 2 + width % 2)


def runs_at_once(
    configs: Sequence[Config], images: Images, *, fused: bool, memory: int | None
) -> int:
    """Decide how many runs of a stack are evaluated at a time: as many as fit.

    For a user's own network the memory is not known: an evaluation then takes at most as many
    images at a time as a training step, which needs more memory for each.

    Args:
        configs: Configurations of its runs.
        images: Their data set.
        fused: Whether the stack is applied under vmap; a looped one applies one run at a time.
        memory: The device's memory in bytes; None for no limit.
    """
    width, config = len(configs), configs[0]
    least = least_at_once(width)
    if memory is None or not fused:
        return width
    if config["model"]["name"] == "custom":
        return min(width, max(least, width * int(config["batch_size"]) // EVAL_BATCH))
    for count in range(width, least, -1):
        if footprint(configs, images, width, fused=True, at_once=count).fits(memory):
            return count
    return least


def _with_all_on(configs: Sequence[Config]) -> Config:
    """Merge configurations: a knob is on if it is on in any run of the stack."""
    found = dict(configs[0])
    for group in ("dropout", "regularize", "augment"):
        found[group] = dict(found[group])
        for name, value in found[group].items():
            knob = schema.BY_NAME.get(f"{group}.{name}")
            if knob is not None and schema.is_off(knob, value):
                others = (config[group][name] for config in configs)
                found[group][name] = next((v for v in others if not schema.is_off(knob, v)), value)
    return found


class _Run:
    """The memory of a single run, in bytes.

    Attributes:
        weights: Its weights.
        batch: A normalized batch.
        average: The average of its weights, if there is one.
        ascent: What SAM holds while it computes the gradient uphill: the first gradient, the
            weights uphill, and the weights to restore.
    """

    def __init__(self, config: Config, images: Images, fused: bool) -> None:
        self._config, self._images = config, images
        self._size: int = BYTES[config["precision"]]
        self._numbers = prod(images.shape)
        self._operations = operations(config, images.shape, images.classes, fused=fused)
        each = [o.weights * self._size for o in self._operations]
        self.weights, self._largest = sum(each), max(each)
        self.batch: int = config["batch_size"] * self._numbers * self._size
        self.average = self.weights if self._any("ema", "swa") else 0
        self.ascent = 3 * self.weights if self._any("sam") else 0

    def _any(self, *names: str) -> bool:
        """Tell whether any of these regularizers is on."""
        given = self._config["regularize"]
        return any(not schema.is_off(schema.BY_NAME[f"regularize.{n}"], given[n]) for n in names)

    @property
    def places(self) -> int:
        """The orders by content of the splits that are evaluated in that order."""
        sizes = self._images.sizes
        if sees_its_batch(self._config):
            return (sizes.train + sizes.val + sizes.test) * _WHOLE
        anew = self._any("swa") and self._config["norm"]["name"] == "batch"
        return sizes.train * _WHOLE if anew else 0

    @property
    def order(self) -> int:
        """The indices of an epoch's images, and tables with a number per step: rates, mixing."""
        batch, epochs = int(self._config["batch_size"]), int(self._config["epochs"])
        tables = 6 if self._any("mixup", "cutmix") else 1
        steps = epoch_steps(self._images.sizes.train, batch)
        return steps * (batch * _WHOLE + epochs * tables * _DOUBLE)

    @property
    def optimizer(self) -> int:
        """Its state."""
        optimizer = self._config["optimizer"]
        slots, _ = OPTIMIZERS[optimizer["name"]]
        return self.weights * (slots + 2 * int(optimizer.get("history", 0)))

    def making(self, count: int) -> int:
        """Peak while that many images are gathered, augmented and normalized."""
        augment, place = self._config["augment"], prod(self._images.shape[1:])
        stored, pixels = self._numbers * self._images.pixel, self._numbers * self._size
        moments = [stored + pixels]
        if any(augment[name] for name in ("flip", "crop", "shift")):
            moments.append(3 * stored + 2 * place * _WHOLE)  # with the index of each pixel
        if any(augment[name] for name in ("rotate", "scale", "shear")):
            # A grid of two coordinates is stacked; then images are sampled at it.
            moments += [stored + pixels + 4 * place * self._size]
            moments += [stored + 3 * pixels + 2 * place * self._size]
        if any(augment[name] for name in ("brightness", "contrast", "cutout")):
            moments.append(stored + 3 * pixels)
        if self._any("mixup", "cutmix", "input_noise"):
            moments.append(5 * pixels)  # partners, two products, their sum
        return count * max(moments)

    @property
    def activations(self) -> int:
        """Peak of a batch's activations and gradients."""
        batch: int = self._config["batch_size"]
        return training_peak(self._operations, batch, self._size)

    @property
    def update(self) -> int:
        """Peak of the gradients and what is computed from them."""
        _, temporary = OPTIMIZERS[self._config["optimizer"]["name"]]
        moments = [self.weights + temporary * self._largest]
        if self._any("l1", "l2", "clip_norm", "sam"):  # squares, then all of them in one row
            moments.append(3 * self.weights)
        if self._any("l1", "l2", "clip_norm", "clip_value"):  # new gradients beside the old
            moments.append(2 * self.weights + 2 * self._largest)
        return max(moments)

    def evaluation(self, at_once: int) -> int:
        """Peak while that many runs are evaluated on the largest split."""
        images = self._images
        logits = at_once * images.largest * images.classes * _DOUBLE
        batch = EVAL_BATCH * self._numbers * self._size
        network = EVAL_BATCH * forward_peak(self._operations)
        passing = batch + at_once * network
        if self._config["augment"]["test_views"] > 1:  # each run has its own images
            passing = at_once * max(self.making(EVAL_BATCH), batch + network)
        if sees_its_batch(self._config):  # images are gathered
            passing += EVAL_BATCH * self._numbers * images.pixel
        numbers = at_once * images.largest * _MEASURED * _DOUBLE
        return max(logits + passing, _MEASURING * logits + numbers)
