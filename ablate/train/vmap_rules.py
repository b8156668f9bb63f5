"""Replacements for some of torch's operations in a fused stack, where vmap's own rules fall short.

vmap turns an operation on one run's [B, C, H, W] into one on all R runs together. Its rules give
the right values, but for some operations they fail on a GPU, or move more bytes than needed:

- Batch norm asks for the memory layout of its input, which a batched tensor does not have: on CUDA
  it raises an error if the channels are last. Otherwise it copies its input, scales and shifts in
  separate operations, and refuses activations of a lower precision than its statistics.
- The bias of a convolution or a linear layer is added outside autocast, in the type of the weights;
  so under bf16 all activations after it are float32.
- Pooling works on [R · B, C], which makes it copy the [B, R · C] that a convolution leaves.

The rules here merge the runs into the channels, [B, R · C, H, W], as a vmapped convolution does,
and call the same operation once. On a CPU, only the rule for the bias is used: torch's own rules
work there, and another order of additions would change the last bits of recorded runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Operation = Callable[..., Any]


def vmap_rules(
    device: torch.device, autocast: torch.dtype | None
) -> AbstractContextManager[object]:
    """Make the context in which a network is applied under vmap; entered inside the vmapped code.

    Args:
        device: Where it is applied.
        autocast: Type of activations if lower than the weights', else None.
    """
    biased: Mapping[Operation, Operation] = {}
    if autocast is not None:
        biased = {operation: _with_bias_as(autocast, operation) for operation in _BIASED}
    folded: Mapping[Operation, Operation] = _FOLDED if device.type == "cuda" else {}
    rules = {**biased, **folded}
    return _Rules(rules) if rules else nullcontext()


class _Rules(TorchFunctionMode):
    """Calls other functions in place of some of torch's."""

    def __init__(self, rules: Mapping[Operation, Operation]) -> None:
        super().__init__()
        self._rules = rules

    def __torch_function__(
        self,
        func: Operation,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self._rules.get(func, func)(*args, **(kwargs or {}))


# -- biases ----------------------------------------------------------------------------------------

_BIASED: tuple[Operation, ...] = (  # all take the bias as their third argument
    F.linear,
    *(F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
)


def _with_bias_as(dtype: torch.dtype, operation: Operation) -> Operation:
    def biased(
        input: Tensor,  # noqa: A002  named as torch names it
        weight: Tensor,
        bias: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if bias is None or not torch.is_autocast_enabled(input.device.type):
            return operation(input, weight, bias, *args, **kwargs)
        return operation(input.to(dtype), weight.to(dtype), bias.to(dtype), *args, **kwargs)

    return biased


# -- runs among the channels -----------------------------------------------------------------------


class _BatchNorm(torch.autograd.Function):
    """Batch norm of [B, C, ...].

    It needs no backward: the rule calls torch's operation, which has one. Signatures are spelled
    out because torch.compile counts their arguments.
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Tensor:
        cudnn = torch.backends.cudnn.enabled
        return torch.batch_norm(x, weight, bias, mean, variance, training, momentum, eps, cudnn)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Save nothing."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, int]:
        x_BRC = _second(x, in_dims[0], info.batch_size)
        width, (_, of_weight, of_bias, of_mean, of_variance, *_) = info.batch_size, in_dims
        y = _BatchNorm.forward(
            x_BRC.flatten(1, 2),
            _first(weight, of_weight, width),
            _first(bias, of_bias, width),
            _first(mean, of_mean, width),
            _first(variance, of_variance, width),
            training,
            momentum,
            eps,
        )
        return _apart(y, width), 1


def _first(tensor: Tensor | None, dim: int | None, width: int) -> Tensor | None:
    """Join the values of all runs, [R · C], as a view, since statistics are updated in place."""
    if tensor is None:
        return None
    if dim is None:
        return tensor.expand(width, *tensor.shape).flatten()
    return tensor.movedim(dim, 0).view(-1)


def _second(tensor: Tensor, dim: int | None, width: int) -> Tensor:
    """Move R to after B."""
    if dim is None:
        return tensor[:, None].expand(-1, width, *tensor.shape[1:])
    return tensor.movedim(dim, 1)


def _apart(y: Tensor, width: int) -> Tensor:
    """Split the runs from the channels again, [B, R · C, ...] -> [B, R, C, ...]."""
    return y.view(len(y), width, -1, *y.shape[2:])


def _batch_norm(
    input: Tensor,  # noqa: A002  named as torch names it
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if training:
        F._verify_batch_size(list(input.size()))  # type: ignore[attr-defined]
    return _BatchNorm.apply(input, weight, bias, running_mean, running_var, training, momentum, eps)


class _PerChannel(torch.autograd.Function):
    """An operation that treats each channel of [B, C, H, W] separately; no backward either."""

    @staticmethod
    def forward(x: Tensor, operation: Operation, arguments: tuple[Any, ...]) -> Any:
        return operation(x, *arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Save nothing."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        operation: Operation,
        arguments: tuple[Any, ...],
    ) -> tuple[Tensor, int]:
        x_BRC = _second(x, in_dims[0], info.batch_size)
        y = operation(x_BRC.flatten(1, 2), *arguments)
        return _apart(y, info.batch_size), 1


def _max_pool2d(
    input: Tensor,  # noqa: A002  named as torch names it
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    stride = kernel_size if stride is None else stride
    rest = (kernel_size, stride, padding, dilation, ceil_mode)
    if return_indices or input.dim() != 4:
        pool: Operation = F.max_pool2d
        return pool(input, *rest, return_indices)
    return _PerChannel.apply(input, torch.max_pool2d, rest)


def _avg_pool2d(input: Tensor, *rest: Any, **named: Any) -> Any:  # noqa: A002
    if named or input.dim() != 4:
        return F.avg_pool2d(input, *rest, **named)
    return _PerChannel.apply(input, F.avg_pool2d, rest)


_FOLDED: Mapping[Operation, Operation] = {
    F.batch_norm: _batch_norm,
    F.max_pool2d: _max_pool2d,
    F.avg_pool2d: _avg_pool2d,
}
