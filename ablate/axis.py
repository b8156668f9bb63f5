"""The number of a step, and what is looked up by it.

It is an int; or, where a step is recorded once and launched again for each that follows, an int64
tensor on the device, 0-dimensional, that counts on by itself. What computes with it asks nothing of
the host.
"""

from __future__ import annotations

from torch import Tensor

Step = int | Tensor


def row(table: Tensor, step: Step) -> Tensor:
    """Look a step's row up in a table [T, ...]."""
    return table[step] if isinstance(step, int) else table.index_select(0, step.view(1))[0]
