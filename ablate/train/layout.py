"""Finds user networks that need their images in plain order in memory, channels first.

Images are stored channels last, which is fastest. Two things go wrong with that: a network that
flattens with `view` does not run, and on a CPU without AVX-512, oneDNN 3.12 writes a wrong gradient
for a 1 × 1 kernel with a stride and fewer than eight input channels, or writes outside of it (torch
2.14; tests/train/test_layout.py tries these calls). Shipped networks make no such call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.axis import channels_last
from ablate.errors import AblateError
from ablate.rng import seeded

_SAFE = 8  # input channels from which oneDNN is right about 1 × 1 kernels


def needs_plain_images(network: nn.Module, x_BCHW: Tensor) -> str | None:
    """Try the gradient of a network on images stored channels last.

    Args:
        network: A network for this trial only; it may be changed.
        x_BCHW: A few images, on which it works in plain order.

    Returns:
        Why it needs its images in plain order, or None.

    Raises:
        AblateError: A gradient would be wrong even then: the network itself reorders its input.
    """
    try:
        wrong = _wrong_gradients(network, channels_last(x_BCHW))
    except torch.OutOfMemoryError:  # others use the device just now
        return None
    # The user's network may raise anything.
    except Exception as error:
        return f"it does not take them channels last: {str(error).splitlines()[0]}"
    if not wrong:
        return None
    give_plain_images(network)
    if still := _wrong_gradients(network, x_BCHW):
        raise AblateError(
            f"the gradient of {still[0]} would be wrong on a CPU, since the network converts its"
            " input to channels last: leave that out"
            " (memory_format=torch.channels_last), or convolve x[..., ::stride, ::stride] without"
            " a stride"
        )
    return f"the gradient of {wrong[0]} would be wrong with channels last"


def give_plain_images(network: nn.Module) -> None:
    """Make a network convert its input to plain order, and its weights with it."""
    for parameter in network.parameters():  # weights channels last would turn activations so, too
        parameter.data = plain(parameter.data)
    network.register_forward_pre_hook(lambda _, given: (plain(given[0]), *given[1:]))


def plain(x: Tensor) -> Tensor:
    """Copy images to plain order; `contiguous` would leave the strides of a single channel."""
    return x.clone(memory_format=torch.contiguous_format)


class SafeGradients(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Replaces gradients that oneDNN gets wrong by zeros.

    Attributes:
        wrong: The calls, a few words each.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wrong: list[str] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is not torch.ops.aten.convolution_backward.default or not _is_wrong(*args):
            return func(*args, **(kwargs or {}))
        slope, x, weight, bias_shape, stride = args[:5]
        down, right = stride
        self.wrong.append(
            f"a 1 × 1 convolution with {x.shape[1]} input channels and stride {down} × {right}"
        )
        wanted = args[-1]
        shapes = (x.shape, weight.shape, bias_shape)
        return tuple(
            slope.new_zeros(shape) if want else None
            for shape, want in zip(shapes, wanted, strict=True)
        )


def _is_wrong(
    slope: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_shape: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> bool:
    """Tell whether oneDNN gets a call of `aten::convolution_backward` wrong."""
    return (
        x.device.type == "cpu"
        and x.dtype != torch.float64  # not computed by oneDNN
        and weight.shape[2:] == (1, 1)
        and max(stride) > 1
        and not any(padding)
        and groups == 1
        and not transposed
        and x.shape[1] < _SAFE
        and any(suggest_memory_format(t) == torch.channels_last for t in (x, weight))
        and wanted[1]
    )


def _wrong_gradients(network: nn.Module, x_BCHW: Tensor) -> list[str]:
    trained = [p for p in network.parameters() if p.requires_grad]
    with SafeGradients() as safe, seeded(0):
        logits_BK = network.train()(x_BCHW)
        torch.autograd.grad(logits_BK.sum(), trained, allow_unused=True)
    wrong: list[str] = safe.wrong
    return wrong
