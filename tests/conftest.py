"""Settings of the whole test session."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

# The same few examples at every run: a failure is a failure everywhere, and none is a surprise.
settings.register_profile("ablate", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("ablate")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute in one thread: small tensors are faster so, and sums round alike everywhere."""
    torch.set_num_threads(1)
