"""Opens a saved run: its network with the selected weights, and its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ablate import data, environment, record, rng
from ablate.config import schema
from ablate.config.trust import require_record
from ablate.data.tensors import DTYPES, Split, Tensors
from ablate.errors import AblateError
from ablate.nets.build import build
from ablate.plan import code, own_code
from ablate.plan.run import key
from ablate.train.batches import seed_of
from ablate.train.building import settle_layout
from ablate.train.eval_parts import eval_parts, sees_its_batch

# Both get the number of a batch of the split, and its images as stored, [B, C, H, W].
See = Callable[[Tensor, int], Tensor]  # those images -> what the network is given
During = Callable[[int], AbstractContextManager[None]]

_LETTERS = 200  # lines of torch's message that name what does not fit


@dataclass(frozen=True)
class Saved:
    """A finished run's network and data.

    Attributes:
        directory: The run's folder.
        record: Its record.
        module: Its network in evaluation mode, on the device; dropout is ours.
        data: Its data set, on the device too.
        classes: Names of the classes.
    """

    directory: Path
    record: record.Record
    module: nn.Module
    data: Tensors
    classes: tuple[str, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's configuration."""
        config: Mapping[str, Any] = self.record["config"]
        return config

    def seed(self, source: str) -> int:
        """Return the seed of one source of randomness, as in training."""
        return seed_of(self.config, source)

    def split(self, name: str) -> Split:
        """Return the images of a split.

        Raises:
            AblateError: There are none.
        """
        split: Split = getattr(self.data, name)
        if not len(split):
            raise AblateError(f"{self.directory} has no {name} images: data.val_size is 0")
        return split

    @torch.no_grad()
    def apply(self, x: Tensor) -> Tensor:
        """Apply the network in its current mode: normalized images -> logits [B, K]."""
        logits: Tensor
        with self._precision(), self._own_randomness():
            logits = self.module(x)
        return logits

    def logits(self, split: Split, see: See | None = None, during: During | None = None) -> Tensor:
        """Apply the network to a whole split.

        Args:
            split: The images.
            see: What the network sees of stored images; by default themselves, normalized.
            during: A context that changes the network meanwhile.

        Returns:
            Logits [N, K], float64.
        """
        sizes = (len(split), self.data.classes)
        logits_NK = torch.empty(sizes, dtype=torch.float64, device=split.device)
        drawn = see is not None or during is not None  # from random numbers by place
        parts = eval_parts(split, by_content=drawn or sees_its_batch(self.config))
        for part, (where, images) in enumerate(parts):
            x = self.data.normalized(images) if see is None else see(images, part)
            with nullcontext() if during is None else during(part):
                logits_NK[where] = self.apply(x).double()
        return logits_NK

    def _precision(self) -> AbstractContextManager[Any]:
        if self.config["precision"] != "bf16":
            return nullcontext()
        return torch.autocast(self.data.device.type, torch.bfloat16)

    def _own_randomness(self) -> AbstractContextManager[None]:
        """Fix the random numbers that a user's network may draw even in evaluation."""
        if not schema.has_own_layers(self.config):
            return nullcontext()
        return rng.seeded(int(rng.stream(self.seed("dropout"), "evaluate")))


def open_run(
    directory: Path, found: record.Record, device: str, like: Mapping[str, Any] | None = None
) -> Saved:
    """Open a finished run; the caller holds the claim on it.

    Args:
        directory: The run's folder.
        found: Its record.
        device: ``cpu`` or ``cuda``.
        like: A configuration already checked; the record may name the same code.

    Raises:
        UntrustedError: The record names code that is not known to be the user's.
        AblateError: Its weights or its data are missing or have changed.
    """
    config = found["config"]
    require_record(directory, config, like=like)
    weights = record.load_weights(directory)
    source = data.read(config["data"])
    trained_on = found["environment"]["data"]["digest"]
    if source.digest != trained_on:
        raise AblateError(
            f"{directory}: the data have changed since it was trained (their digest was"
            f" {trained_on}, now it is {source.digest})"
        )
    tensors = data.load({**config, "device": device})
    environment.settle_arithmetic()
    with rng.seeded(0):  # torch's layers draw their own weights, which are replaced here
        module = build(config, tensors.shape, tensors.classes)
    _check_own_code(directory, found)
    module.to(device, DTYPES[config["precision"]])
    fill(module, weights, directory)
    settle_layout(config, tensors, [module])
    return Saved(directory, found, module.eval(), tensors, source.classes)


def fill(module: nn.Module, weights: Mapping[str, Tensor], directory: Path) -> None:
    """Put a run's weights into its network.

    Raises:
        AblateError: They do not fit.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        first = (str(error).splitlines()[1:2] or [str(error)])[0].strip()
        raise AblateError(
            f"{directory}: its weights do not fit the network that its record describes: one of the"
            f" two has changed since it was trained ({first[:_LETTERS]})"
        ) from error


def check(directory: Path, found: record.Record | None) -> record.Record:
    """Check all that the record alone can show.

    Raises:
        AblateError: The run is missing or not finished, or it kept no weights.
    """
    if found is None:
        raise AblateError(f"{directory} holds no record: name the folder of a finished run")
    if found["status"] != "finished":
        raise AblateError(f"{directory} is {found['status']}, not finished: nothing to evaluate")
    if found["config"]["save"] == "none":
        raise AblateError(
            f"{directory} keeps no weights: it was trained with save=none; leave that out, and"
            " rerun=all trains it again"
        )
    return found


def _check_own_code(directory: Path, found: record.Record) -> None:
    """Compare the user's code that the run was trained on with what is there now."""
    config, digest = found["config"], found["environment"]["data"]["digest"]
    if (trained := record.code_in(found)) is not None:
        code.forget()
        now = code.code_of(config) or trained
        # Another version of a package may still evaluate it.
        changed = code.differences(trained, {**now, "packages": trained["packages"]})
    else:  # it was recorded when only the files of classes were known
        old = own_code.digests(config)
        targets = schema.targets(config)
        named = ", ".join(f"{slot}._target_={targets[slot]}" for slot in old)
        is_same = not old or key(config, digest, old) == found["key"]
        changed = [] if is_same else [f"the code of {named} has changed"]
    if changed:
        raise AblateError(
            f"{directory}: {'; '.join(changed)} since it was trained; put the old file back, or"
            " train again"
        )
