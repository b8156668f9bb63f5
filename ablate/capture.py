"""A step of training as one CUDA graph: one launch, where many small ones would be the limit."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

_WARM = 3  # steps before the recording: kernels are loaded and tuned, and caches filled


class Captured:
    """Does the same work again and again: a few times as written, then as a recorded graph.

    Args:
        work: Reads and changes tensors in place, asks nothing of the host, and is the same
            sequence of operations at every call.

    Where recording fails, the work goes on as written, and a warning tells why.

    Source: PyTorch's notes on CUDA semantics, section "CUDA Graphs".
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self) -> None:
        """Do the work once more."""
        if self._calls == _WARM:
            self._graph = self._recorded()
        self._calls += 1
        if self._graph is not None:
            self._graph.replay()
            return
        # A recording wants its warm-up on a stream of its own.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._work()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _recorded(self) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads of this process may use the device meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._work()
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            warnings.warn(f"steps are launched one by one: {reason}", stacklevel=2)
            return None
        return graph
