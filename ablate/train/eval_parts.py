"""How an evaluation cuts a split into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ablate.config import schema

if TYPE_CHECKING:
    from torch import Tensor

    from ablate.data.tensors import Split

EVAL_BATCH: Final = 500  # images per forward pass of an evaluation, at any width of the stack


def sees_its_batch(config: Mapping[str, Any]) -> bool:
    """Tell whether an image's evaluation can depend on the other images of its batch.

    It does with batch statistics, and with views, whose random numbers depend on the position in
    the batch; with a user's own layers it might.
    """
    norm = config["norm"]
    by_batch = norm["name"] == "batch" and norm["eval"] == "batch"
    return by_batch or config["augment"]["test_views"] > 1 or schema.has_own_layers(config)


def eval_parts(split: Split, *, by_content: bool) -> Iterator[tuple[slice | Tensor, Tensor]]:
    """Cut a split into parts of at most 500 images.

    Args:
        split: Its images; at least one.
        by_content: Whether an image's result depends on its batch: parts are then samples of the
            split, however its file is sorted, and sizes differ by at most one, so that no small
            part is left over.

    Yields:
        Where in the split they are, and the images as stored.
    """
    if by_content:
        for places in split.order.tensor_split(-(-len(split) // EVAL_BATCH)):
            yield places, split.at(places)
        return
    for start in range(0, len(split), EVAL_BATCH):
        where = slice(start, start + EVAL_BATCH)
        yield where, split.between(where.start, where.stop)
