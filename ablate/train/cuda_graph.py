"""A training step as one CUDA graph: one launch instead of many small ones that limit the speed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch

Work = Callable[[], None]

_WARM = 3  # steps before the capture: they load and tune kernels and fill caches
_WAITS = "called a synchronizing CUDA operation"  # torch's words in its sync debug mode


class Captured:
    """Repeats the same work: a few times as written, then as a CUDA graph.

    The work reads and changes tensors in place, and is the same sequence of operations at every
    call. If it waits for the device, which a graph cannot, or if the capture fails, it keeps
    running as written, and a warning says why.

    Attributes:
        graph: The captured graph, or None.

    Source: PyTorch's notes on CUDA semantics, section "CUDA Graphs".
    """

    def __init__(self) -> None:
        self.graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0
        self._as_written = False
        self._stream = _side_stream(torch.cuda.current_device())

    def __call__(self, work: Work) -> None:
        """Do the work once more.

        Raises:
            torch.OutOfMemoryError: The graph does not fit into the device's memory.
        """
        self._calls += 1
        if self._calls < _WARM or self._as_written:
            self._aside(work)
        elif self._calls == _WARM:
            self._rehearse(work)
        elif self.graph is not None or self._capture(work):
            assert self.graph is not None
            self.graph.replay()
        else:
            self._aside(work)

    def _aside(self, work: Work) -> None:
        """Do the work as written, on the capture's stream, as a warm-up must."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _rehearse(self, work: Work) -> None:
        """Do the work, and find out whether it waits for the device.

        A capture would fail if it does, but without saying where.
        """
        before = torch.cuda.get_sync_debug_mode()
        # Swallows other warnings, too; the first steps have shown them already.
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")  # it warns that it is a prototype
            try:
                self._aside(work)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        waits = [told_ for told_ in told if _WAITS in str(told_.message)]
        if waits:
            self._give_up(f"{waits[0].filename}:{waits[0].lineno} waits for the device")

    def _capture(self, work: Work) -> bool:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Other threads of this process may use the device meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # anything that CUDA does not allow in a capture
            first = error.__context__ or error  # ending a failed capture fails, too
            if isinstance(first, torch.OutOfMemoryError):
                raise first from error
            self._give_up(str(first).strip().split("\n")[0])
        else:
            self.graph = graph
        finally:
            torch.cuda.set_stream(stream)  # torch does not do it after a failed capture
        return self.graph is not None

    def _give_up(self, reason: str) -> None:
        self._as_written = True
        warnings.warn(
            f"steps are launched one operation at a time, which is slower: {reason}", stacklevel=4
        )


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """Return the one stream of a device on which steps are warmed up and captured.

    The allocator and cuBLAS keep memory for every stream ever used (cuBLAS 32 MiB or more, for
    good): with its own stream for each, hundreds of trainings would fill the device.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
