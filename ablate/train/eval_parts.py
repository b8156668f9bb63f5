"""How a split is cut into the parts that pass a network one after another in an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ablate.config import schema

if TYPE_CHECKING:
    from torch import Tensor

    from ablate.data.tensors import Split

EVAL_BATCH: Final = 500  # images a forward pass of an evaluation, whatever the stack's width


def sees_its_batch(config: Mapping[str, Any]) -> bool:
    """Tell whether what an evaluation makes of an image can depend on those beside it.

    So it does with statistics of the batch, and with views, whose random numbers go by place; what
    a network of the user's does is not known.
    """
    norm = config["norm"]
    by_batch = norm["name"] == "batch" and norm["eval"] == "batch"
    return by_batch or config["augment"]["test_views"] > 1 or schema.has_own_layers(config)


def eval_parts(split: Split, *, by_content: bool) -> Iterator[tuple[slice | Tensor, Tensor]]:
    """Cut a split into parts of at most 500 images.

    Args:
        split: Its images; at least one.
        by_content: Whether an image's result depends on those beside it: parts are then samples of
            the split, however its file is sorted, and of equal size but for one image, so that none
            is left over by itself.

    Yields:
        Where in the split they are, and the images as they are stored.
    """
    if by_content:
        for places in split.order.tensor_split(-(-len(split) // EVAL_BATCH)):
            yield places, split.at(places)
        return
    for start in range(0, len(split), EVAL_BATCH):
        where = slice(start, start + EVAL_BATCH)
        yield where, split.between(where.start, where.stop)
