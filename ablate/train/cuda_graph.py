"""A step of training as one CUDA graph: one launch, where many small ones would be the limit."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

Work = Callable[[], None]

_WARM = 3  # steps before the capture: kernels are loaded and tuned, and caches filled


class Captured:
    """Does the same work again and again: a few times as written, then as a CUDA graph.

    The work reads and changes tensors in place, and is the same sequence of operations at every
    call. Where it waits for the device, which a graph cannot, it goes on as written, and a warning
    tells why.

    Attributes:
        graph: What was captured, or None.

    Source: PyTorch's notes on CUDA semantics, section "CUDA Graphs".
    """

    def __init__(self) -> None:
        self.graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0
        self._waits = False
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, work: Work) -> None:
        """Do the work once more.

        Raises:
            RuntimeError: It cannot be captured, for a reason that only the capture shows.
        """
        self._calls += 1
        if self._calls < _WARM or self._waits:
            self._as_written(work)
        elif self._calls == _WARM:
            self._waits = self._rehearsed(work)
        elif self.graph is None:
            self.graph = _captured(work)
            self.graph.replay()
        else:
            self.graph.replay()

    def _as_written(self, work: Work) -> None:
        # A capture wants its warm-up on a stream of its own.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _rehearsed(self, work: Work) -> bool:
        """Do the work, and tell whether it waits for the device.

        A capture that meets such a wait fails, and leaves the allocator unfit for another.
        """
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                self._as_written(work)
        finally:
            torch.cuda.set_sync_debug_mode(before)
        waits = [str(w.message) for w in told if "synchroniz" in str(w.message)]
        if waits:
            reason = waits[0].strip().split("\n")[0]
            warnings.warn(f"steps are launched one by one: {reason}", stacklevel=3)
        return bool(waits)


def _captured(work: Work) -> torch.cuda.CUDAGraph:
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        # Other threads of this process may use the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RuntimeError(
            f"a step could not be captured as a CUDA graph ({error}); stack.capture=false launches"
            " its operations one by one"
        ) from error
    finally:
        torch.cuda.set_stream(stream)
    return graph
