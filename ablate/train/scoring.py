"""What the runs of a stack score on a split, with the weights that are to be judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ablate.data.tensors import Split, Tensors
from ablate.train.batches import EVAL_BATCH, Batches
from ablate.train.quality import averaged, measure
from ablate.train.stack import Stack
from ablate.train.update import Update


class Scores:
    """Measures R runs under way.

    Args:
        stack: Their networks.
        update: Their weights' average, where there is one.
        batches: What an evaluation sees of an image.
        data: Their data set.
    """

    def __init__(self, stack: Stack, update: Update, batches: Batches, data: Tensors) -> None:
        self._stack, self._update, self._batches, self._data = stack, update, batches, data

    @contextmanager
    def in_place(self, step: int) -> Iterator[None]:
        """Put what is judged at a step in place, the weights or their average, for a while."""
        average = self._update.average
        if average is None:
            yield
            return
        with self._stack.holding(average.average):
            self._measure_statistics(step)
            yield

    def settle(self, step: int) -> None:
        """Put what is judged in place for good."""
        if self._update.average is not None:
            self._stack.put(self._update.average.average)
            self._measure_statistics(step)

    def of(self, split: Split) -> list[dict[str, float]] | None:
        """Measure a split with the weights in place; None where it has no image."""
        if len(split) == 0:
            return None
        width, count = self._stack.width, len(split)
        # In one place: between the activations of two parts, small results would break memory up.
        logits_RNK = split.images.new_empty((width, count, self._data.classes), dtype=torch.float64)
        for part, images in enumerate(torch.split(split.images, EVAL_BATCH)):
            views = [
                self._stack.predict(x, apart=apart)
                for x, apart in self._batches.views(images, part)
            ]
            start = part * EVAL_BATCH
            logits_RNK[:, start : start + len(images)] = averaged(views)
        found = measure(logits_RNK, split.labels)
        columns = {name: values.tolist() for name, values in found.items()}
        return [{name: column[r] for name, column in columns.items()} for r in range(width)]

    def rehearse(self) -> None:
        """Claim the memory that the evaluations to come will need, without all of their time."""
        train, some = self._data.train, 10 * EVAL_BATCH
        with self.in_place(0):
            self.of(Split(train.images[:some], train.labels[:some]))
        sizes = (self._stack.width, len(train), self._data.classes)
        measure(train.images.new_zeros(sizes, dtype=torch.float64), train.labels)

    def _measure_statistics(self, step: int) -> None:
        """Take batch norm's statistics anew where the weights are a mean of several steps'."""
        first_R = self._update.measures_anew
        if first_R is None or not bool((first_R < step).any()):
            return
        before = {name: b.clone() for name, b in self._stack.buffers.items()}
        self._stack.measure_statistics(self._batches.plain())
        for name, buffer in self._stack.buffers.items():
            begun = (first_R < step).view(-1, *[1] * (buffer.dim() - 1))
            buffer.copy_(torch.where(begun, buffer, before[name]))
