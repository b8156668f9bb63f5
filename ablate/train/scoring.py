"""Scores the runs of a stack on a split, with their weights or the average of these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor

from ablate.axis import parts
from ablate.data.tensors import Split, Tensors
from ablate.train.batches import Batches
from ablate.train.eval_parts import eval_parts
from ablate.train.quality import averaged, graded, measure
from ablate.train.stack import Stack
from ablate.train.update import Update


class Scores:
    """Evaluates R runs during training.

    Args:
        stack: Their networks.
        update: Has the average of their weights, if there is one.
        batches: Makes the views of an image for evaluation.
        data: Their data set.
        at_once: Number of runs evaluated at a time, from `footprint.runs_at_once`.
        by_content: Whether images affect each other's results (`eval_parts.sees_its_batch`).
    """

    def __init__(
        self,
        stack: Stack,
        update: Update,
        batches: Batches,
        data: Tensors,
        at_once: int,
        *,
        by_content: bool,
    ) -> None:
        self._stack, self._update, self._batches, self._data = stack, update, batches, data
        self._parts, self._by_content = parts(stack.width, at_once), by_content

    @contextmanager
    def in_place(self, step: int) -> Iterator[None]:
        """Put the weights to evaluate in place for this context: the average, if there is one."""
        average = self._update.average
        if average is None:
            yield
            return
        with self._stack.holding(average.average):
            self._measure_statistics(step)
            yield

    def settle(self, step: int) -> None:
        """Put the weights to evaluate in place for good."""
        if self._update.average is not None:
            self._stack.put(self._update.average.average)
            self._measure_statistics(step)

    def of(self, split: Split) -> list[dict[str, float]] | None:
        """Measure a split with the weights in place; None if it has no images."""
        if len(split) == 0:
            return None
        return [one for runs in self._parts for one in self._graded(split, runs)[0]]

    def graded(self, split: Split) -> tuple[list[dict[str, float]], Tensor]:
        """Measure a split of at least one image, and tell which images each run got right.

        Returns:
            The measures of each run; bool [R, N], on the CPU.
        """
        parts = [self._graded(split, runs) for runs in self._parts]
        measures = [one for found, _ in parts for one in found]
        return measures, torch.cat([right_RN for _, right_RN in parts]).cpu()

    def _graded(self, split: Split, runs: slice) -> tuple[list[dict[str, float]], Tensor]:
        logits_RNK = self._room(split, runs)
        self._predict(split, runs, logits_RNK)
        found, right_RN = graded(logits_RNK, split.labels)
        columns = {name: values.tolist() for name, values in found.items()}
        each = [{name: column[r] for name, column in columns.items()} for r in range(len(right_RN))]
        return each, right_RN

    def _room(self, split: Split, runs: slice) -> Tensor:
        # One tensor for all: small results between the activations of parts would fragment memory.
        sizes = (len(range(self._stack.width)[runs]), len(split), self._data.classes)
        return torch.empty(sizes, dtype=torch.float64, device=split.device)

    def _predict(
        self, split: Split, runs: slice, logits_RNK: Tensor, most: int | None = None
    ) -> None:
        """Fill in the logits of a split, or of its first `most` parts."""
        each = eval_parts(split, by_content=self._by_content)
        for part, (where, images) in enumerate(islice(each, most)):
            views = [
                self._stack.predict(x, runs, apart=apart)
                for x, apart in self._batches.views(images, part, runs)
            ]
            logits_RNK[:, where] = averaged(views).to(logits_RNK.dtype)

    def rehearse(self) -> None:
        """Claim the memory that later evaluations will need, in a fraction of their time."""
        largest = max((self._data.train, self._data.val, self._data.test), key=len)
        runs = self._parts[0]  # none is larger
        with self.in_place(0):
            logits_RNK = self._room(largest, runs)
            self._predict(largest, runs, logits_RNK, most=10)
            measure(logits_RNK, largest.labels)

    def _measure_statistics(self, step: int) -> None:
        """Measure batch norm's statistics again if the weights are a mean over several steps."""
        first_R = self._update.measures_anew
        if first_R is None or not bool((first_R < step).any()):
            return
        before = {name: b.clone() for name, b in self._stack.buffers.items()}
        self._stack.measure_statistics(self._batches.plain(), self._parts)
        for name, buffer in self._stack.buffers.items():
            begun = (first_R < step).view(-1, *[1] * (buffer.dim() - 1))
            buffer.copy_(torch.where(begun, buffer, before[name]))
