"""Finds networks of the user's that need their images in plain order in memory, channels first.

Images lie channels last, which is fastest. Two things go wrong with them: a network that flattens
by `view` does not run, and on a CPU without AVX-512 oneDNN 3.12 writes a wrong gradient of a kernel
of one pixel that has a stride and fewer than eight input channels, or outside of it (torch 2.14;
tests/train/test_layout.py tries what is taken for wrong). Shipped networks make no such call.
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

_SAFE = 8  # input channels from which oneDNN takes a kernel of one pixel rightly


def needs_plain_images(network: nn.Module, x_BCHW: Tensor) -> str | None:
    """Try the gradient of a network with images channels last.

    Args:
        network: A network that is only tried, and may change.
        x_BCHW: A few images, with which it works in plain order.

    Returns:
        Why it is to get its images in plain order, or None.

    Raises:
        AblateError: A gradient would be wrong then, too: the network orders images by itself.
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
            f"the gradient of {still[0]} would be wrong on a CPU, since the network brings its"
            " input into the order channels last: leave that out"
            " (memory_format=torch.channels_last), or convolve x[..., ::stride, ::stride] without"
            " a stride"
        )
    return f"the gradient of {wrong[0]} would be wrong with channels last"


def give_plain_images(network: nn.Module) -> None:
    """Let a network see its images in plain order, whatever it is given; so are its weights."""
    for parameter in network.parameters():  # channels last there, the images between layers follow
        parameter.data = plain(parameter.data)
    network.register_forward_pre_hook(lambda _, given: (plain(given[0]), *given[1:]))


def plain(x: Tensor) -> Tensor:
    """Copy images to plain order; `contiguous` would leave the strides of a single channel."""
    return x.clone(memory_format=torch.contiguous_format)


class SafeGradients(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes zeros in place of gradients that oneDNN gets wrong.

    Attributes:
        wrong: What these were, a few words each.
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
        and x.dtype != torch.float64  # which oneDNN does not compute
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
