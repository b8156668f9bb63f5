"""Input noise: normal noise is added to every pixel of the normalized images, new at each step.

When it helps: few data; to first order it penalizes the size of the gradient of the output with
respect to the image, so the function grows smooth around each image.
Settings: a standard deviation of 0.05 to 0.3 (images have variance 1).
Source: Sietsma & Dow 1991, Neural Networks 4(1); Bishop 1995, Neural Computation 7(1).
"""

from __future__ import annotations

from torch import Tensor
from torch.func import vmap

from ablate import rng
from ablate.axis import along, plus


def add(x_RBCHW: Tensor, sd_R: Tensor, keys_R: Tensor) -> Tensor:
    """Add noise to normalized images.

    Args:
        x_RBCHW: Images.
        sd_R: Standard deviation ≥ 0, float64; a run with 0 keeps its bits.
        keys_R: Key of this step for each run, int64.
    """
    shape = x_RBCHW.shape[1:]
    noise_RBCHW = vmap(lambda key: rng.noise(key, shape, x_RBCHW.dtype))(keys_R)
    return plus(x_RBCHW, noise_RBCHW, along(sd_R, x_RBCHW))
