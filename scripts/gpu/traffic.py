"""Bytes that some work moves: what each operator reads and writes, each once.

    with Traffic() as traffic:
        training.launch()
    traffic.bytes, traffic.calls, traffic.table()

It works below vmap, autocast and autograd, so it sees the operators that reach the device, also in
the backward pass. A convolution's gradient is one operator that reads its inputs once, though its
kernels may read them twice: a step really moves more, rarely less.

A CUDA graph shows no operators, so count a step launched as written. With torch.compile, compile
the step before counting; its Triton kernels are counted by their arguments, those in C++ (on the
CPU) not at all.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# These allocate memory, or read or create numbers on the host; nothing moves on the device.
_MOVES_NOTHING = {
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted"),
    *("resize_", "set_", "record_stream", "is_same_size"),
}
# These overwrite their first argument without reading it.
_ONLY_WRITES = {
    *("copy_", "zero_", "fill_", "uniform_", "normal_", "random_", "bernoulli_", "exponential_"),
    *("_foreach_copy_", "_foreach_zero_"),
}
# These read only the part of their source that they pick.
_PICKS = {"index_select", "index", "gather", "take", "embedding"}


@dataclass
class Moved:
    """What one operator did.

    Attributes:
        calls: How often it was called.
        bytes: What it read and wrote in all calls.
    """

    calls: int = 0
    bytes: int = 0


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is entered.

    Attributes:
        moved: By operator or kernel, those that move nothing left out.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved: dict[str, Moved] = {}
        self._kernels = ExitStack()

    @property
    def bytes(self) -> int:
        """All that was read and written."""
        return sum(each.bytes for each in self.moved.values())

    @property
    def calls(self) -> int:
        """How many operators and kernels moved something."""
        return sum(each.calls for each in self.moved.values())

    def table(self, most: int = 12) -> list[tuple[str, int, int]]:
        """List name, calls and bytes, those that move most first."""
        rows = [(name, each.calls, each.bytes) for name, each in self.moved.items()]
        return sorted(rows, key=lambda row: -row[2])[:most]

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let torch.compile run what it compiled, rather than skip it under a mode."""
        return True

    def __enter__(self) -> Traffic:
        self._kernels.enter_context(_watched(_TRITON, "JITFunction", self._triton))
        self._kernels.enter_context(_watched(_INDUCTOR, "CachingAutotuner", self._inductor))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._kernels.close()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = operator(*args, **(kwargs or {}))
        self._add(str(operator), _moved(operator, args, kwargs or {}, out))
        return out

    def _triton(self, kernel: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Count one of our own kernels, without knowing which tensors it reads or writes."""
        self._add(f"triton.{kernel.__name__}", _bytes(_tensors((args, kwargs))))

    def _inductor(self, kernel: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Count a kernel that torch.compile wrote, whose arguments tell what it does with them."""
        names = zip(kernel.fn.arg_names, args, strict=False)
        both = [value for name, value in names if name.startswith("in_out_ptr")]
        self._add(f"inductor.{kernel.fn.__name__}", _bytes(_tensors(args)) + _bytes(both))

    def _add(self, name: str, count: int) -> None:
        if count:
            moved = self.moved.setdefault(name, Moved())
            moved.calls += 1
            moved.bytes += count


def touched(tensor: Tensor) -> int:
    """Count the bytes of memory behind a tensor's elements.

    An expanded axis adds none, and overlapping windows count only the memory they cover.
    """
    if tensor.layout is not torch.strided:
        return tensor.numel() * tensor.element_size()
    if tensor.numel() == 0:
        return 0
    elements, extent = 1, 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride else 1
        extent += (size - 1) * stride
    return min(elements, extent) * tensor.element_size()


def _moved(operator: Any, args: Any, kwargs: dict[str, Any], out: Any) -> int:
    """Count what one call reads and writes."""
    name = operator.__name__.split(".")[0]
    changed, given = _changed(operator, args, kwargs)
    read, made = _tensors((args, kwargs)), _tensors(out)
    memory = {_memory(tensor) for tensor in read}
    new = [tensor for tensor in made if _memory(tensor) not in memory]
    # A view, even if its schema does not say so, like reshape's.
    if name in _MOVES_NOTHING or (not changed and not new):
        return 0 if made or name in _MOVES_NOTHING else _bytes(read)
    if name in _PICKS:
        picked = _bytes(new or changed)
        return 2 * picked + _bytes(read[1:])
    if given or name in _ONLY_WRITES:
        places = {_place(tensor) for tensor in changed}
        read = [tensor for tensor in read if _place(tensor) not in places]
    return _bytes(read) + _bytes([*changed, *new])


def _changed(operator: Any, args: Any, kwargs: dict[str, Any]) -> tuple[list[Tensor], bool]:
    """Find the arguments that a call writes to, and whether they were given as its ``out``."""
    changed: list[Tensor] = []
    given = False
    for place, argument in enumerate(operator._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        changed += _tensors(value)
        given |= argument.is_out
    return changed, given


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Count each tensor once, however often it is named."""
    return sum({_place(tensor): touched(tensor) for tensor in tensors}.values())


def _memory(tensor: Tensor) -> int:
    # On the device `meta` all addresses are 0.
    return int(tensor.untyped_storage()._cdata)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return _memory(tensor), tensor.storage_offset(), tensor.shape, tensor.stride()


# -- kernels without an operator -------------------------------------------------------------------

_TRITON, _INDUCTOR = "triton.runtime.jit", "torch._inductor.runtime.triton_heuristics"


def _watched(
    module: str, name: str, count: Callable[[Any, Any, dict[str, Any]], None]
) -> contextlib.AbstractContextManager[Any]:
    """Have each launch by a class of kernels counted; nothing where it is not installed."""
    try:
        kernels = getattr(importlib.import_module(module), name)
    except ImportError:
        return contextlib.nullcontext()
    launch = kernels.run

    def run(kernel: Any, *args: Any, **kwargs: Any) -> Any:
        count(kernel, args, kwargs)
        return launch(kernel, *args, **kwargs)

    return mock.patch.object(kernels, "run", run)
