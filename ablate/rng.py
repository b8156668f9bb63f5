"""Named random streams: a number is a function of (seed, site, step, element), and of nothing else.

There is no generator and no state. A *site* names a use (`init/conv.0.weight`, `order`,
`dropout/dense.0.drop`); seed, site and step are mixed into a 64-bit key, and a hash of the key and
the element's index gives the number. So a stream does not depend on stack mates, on launch order or
on other streams, and adding a layer shifts nothing.

Everything is plain tensor arithmetic: it runs eager, compiled, inside a CUDA graph and under vmap,
with the same bits everywhere. Keys are int64 tensors, 0-dimensional for one run or [R] for a stack.

Users' code still draws from the global generators of torch, numpy and Python. `seeded` lets it draw
from a stream, and restores the generators afterwards.

Source: the key's mixing is splitmix64 (Steele, Lea & Flood 2014, OOPSLA); the elements' is the
32-bit xor-shift-multiply family with constants of C. Wellons' hash prospector (2018).
"""

from __future__ import annotations

import hashlib
import math
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

# torch has no unsigned shifts: an arithmetic shift and a mask together make a logical one.
_GOLDEN = -0x61C8864680B583EB  # 2^64 / golden ratio, as a signed number
_OFFSET = 0x632BE59BD9B4E019


def _mix64(z: Tensor) -> Tensor:
    """Let every input bit change half of the output bits (the finalizer of splitmix64)."""
    z = (z ^ ((z >> 30) & (1 << 34) - 1)) * -0x40A7B892E31B1A47
    z = (z ^ ((z >> 27) & (1 << 37) - 1)) * -0x6B2FB644ECCEEE15
    return z ^ ((z >> 31) & (1 << 33) - 1)


def fold(key: Tensor, number: Tensor | int) -> Tensor:
    """Derive a new key from a key and a number, both int64 and broadcast against each other."""
    return _mix64(key * _GOLDEN + number + _OFFSET)


def site(name: str) -> int:
    """Turn a site's name into its number: the first 8 bytes of its SHA-256, as a signed integer."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)


def stream(seed: Tensor | int, name: str) -> Tensor:
    """Start the stream of a site.

    Args:
        seed: The run's seed, or int64 [R].
        name: The site.

    Returns:
        Its key, int64, of the seed's shape; fold a step into it for the numbers of that step.
    """
    seed = torch.as_tensor(seed, dtype=torch.int64)
    return fold(_mix64(seed + _OFFSET), site(name))


def bits(key: Tensor, count: int) -> Tensor:
    """Draw 31 random bits per element.

    Args:
        key: int64, 0-dimensional (under vmap, one per run).
        count: How many numbers.

    Returns:
        int32 [count], uniform on the even numbers from 0 to 2^31 - 2: bit 0 is clear, so that a
        threshold of 2^31 - 1 lies above every number.
    """
    low, high = key.to(torch.int32), (key >> 32).to(torch.int32)
    h = torch.arange(count, dtype=torch.int32, device=key.device) ^ low
    # In place: on a CPU the cost is memory traffic, and a new tensor per line would double it.
    for shift, mask, add, factor in (
        (16, 0xFFFF, 0, 0x7FEB352D),
        (15, 0x1FFFF, high, -0x7B935975),
        (16, 0xFFFF, 0, -0x61C8864F),
    ):
        t = h >> shift
        t &= mask
        h ^= t
        if add is high:
            h += add
        h *= factor
    t = h >> 15
    t &= 0x1FFFF
    h ^= t
    h &= 0x7FFFFFFE
    return h


def keep_mask(key: Tensor, keep: Tensor, shape: torch.Size) -> Tensor:
    """Draw a Bernoulli mask.

    Args:
        key: int64, 0-dimensional.
        keep: Probability of keeping, 0-dimensional, in (0, 1].
        shape: Shape of the mask.

    Returns:
        int32 of that shape: -1 where the element is kept, 0 where it is zeroed. (The sign bit of a
        difference; a mask of booleans is slower to store.)
    """
    threshold = (keep.double() * 2**31).clamp(max=2**31 - 1).to(torch.int32)
    mask = bits(key, math.prod(shape))
    mask -= threshold
    mask >>= 31
    return mask.view(shape)


def uniform(key: Tensor, shape: torch.Size) -> Tensor:
    """Draw numbers uniform on (0, 1), float64: 2^30 values, the middles of equal intervals."""
    return (bits(key, math.prod(shape)).double() + 1).view(shape) / 2**31


def normal(key: Tensor, shape: torch.Size) -> Tensor:
    """Draw standard normal numbers, float64 (Box & Muller 1958)."""
    radius = uniform(fold(key, 1), shape).log().mul(-2).sqrt()
    return radius * uniform(fold(key, 2), shape).mul(2 * math.pi).cos()


def noise(key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Draw standard normal numbers for use at every step.

    Both numbers of a pair are used, so that half as many logarithms are needed.

    Args:
        key: int64, 0-dimensional.
        shape: Shape of the numbers.
        dtype: float32 or float64: the type of the arithmetic and of the result.

    Source: Box & Muller 1958.
    """
    count = math.prod(shape)
    pairs = (count + 1) // 2
    drawn = bits(key, 2 * pairs).to(dtype)
    radius = drawn[:pairs].add(1).div(2**31).log().mul(-2).sqrt()
    angle = drawn[pairs:].mul(2 * math.pi / 2**31)
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count].view(shape)


def permutation(key: Tensor, count: int) -> Tensor:
    """Draw an order of ``count`` items.

    Args:
        key: int64 [...].
        count: How many items.

    Returns:
        int64 [..., count]: the numbers from 0 to count - 1, each once.
    """
    numbers = torch.arange(count, dtype=torch.int64, device=key.device)
    return fold(key.unsqueeze(-1), numbers).argsort(dim=-1)


# -- the global generators -------------------------------------------------------------------------


class seeded:  # noqa: N801 (used like a function)
    """A block in which global generators start from a seed and are restored afterwards.

    This covers torch's on every device, Python's and numpy's: all that a user's code may draw from.

    Args:
        seed: Any integer, such as a stream's key; the sign bit of a negative one is dropped.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed & 2**63 - 1

    def __enter__(self) -> None:
        devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
        self._fork = torch.random.fork_rng(devices=devices)
        self._fork.__enter__()
        self._before = random.getstate(), np.random.get_state()
        torch.manual_seed(self._seed)
        random.seed(self._seed)
        np.random.seed(self._seed % 2**32)

    def __exit__(self, *exception: Any) -> None:
        random.setstate(self._before[0])
        np.random.set_state(self._before[1])
        self._fork.__exit__(*exception)


def drawn_state() -> Any:
    """Save the states of Python's and numpy's global generators."""
    state: Any = np.random.get_state()
    return random.getstate(), state[0], state[1].tobytes(), state[2:]


def draws(before: Any) -> bool:
    """Tell whether Python's or numpy's global generator was drawn from since `drawn_state`."""
    return bool(drawn_state() != before)
