"""Shifted, rotated and noisy images: how accuracy falls with the strength of the perturbation.

All strengths use the same random numbers per image, from the run's augmentation stream, so that a
curve shows only the effect of strength. Strength 0 leaves the images as they are.
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import torch
from torch import Tensor

from ablate import rng
from ablate.config import files
from ablate.data.augment import Augmentation, Moment
from ablate.data.strength import pixels
from ablate.data.tensors import Split
from ablate.measure.saved import Saved, See
from ablate.regularize import input_noise
from ablate.train.quality import measure_one

UNITS: Final = {
    "shift": "largest shift, pixels",
    "rotate": "largest angle, degrees",
    "noise": "noise, standard deviations of the pixels",
}
_SHIFTS = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8)  # of the side
_ANGLES = (10.0, 20.0, 30.0, 45.0, 60.0)
_NOISES = (0.1, 0.2, 0.5, 1.0, 2.0)
_SITE = "evaluate"


def strengths(side: int) -> dict[str, list[float]]:
    """List the strengths of each perturbation, without 0.

    Args:
        side: The images' shorter side, in pixels.
    """
    shifts = sorted({float(pixels(share, side)) for share in _SHIFTS})
    return {"shift": shifts, "rotate": list(_ANGLES), "noise": list(_NOISES)}


def measure(saved: Saved, split: Split, plain_NK: Tensor) -> pd.DataFrame:
    """Measure a network on perturbed images.

    Args:
        saved: The run.
        split: The images.
        plain_NK: Logits of the unchanged images.

    Returns:
        One row per perturbation and strength: ``kind``, ``strength`` (in `UNITS`), ``accuracy``,
        ``error``, ``loss``, ``ece``, ``brier``.
    """
    rows: list[dict[str, Any]] = []
    for kind, values in strengths(min(saved.data.shape[1:])).items():
        rows.append({"kind": kind, "strength": 0.0, **measure_one(plain_NK, split.labels)})
        for strength in values:
            logits_NK = saved.logits(split, perturbed(saved, kind, strength))
            found = measure_one(logits_NK, split.labels)
            rows.append({"kind": kind, "strength": strength, **found})
    return pd.DataFrame(rows)


def perturbed(saved: Saved, kind: str, strength: float) -> See:
    """Return what a network sees under a perturbation of some strength, in `UNITS`."""
    return _noisy(saved, strength) if kind == "noise" else _moved(saved, kind, strength)


def _moved(saved: Saved, kind: str, strength: float) -> See:
    augment = {**files.option("augment", "none"), kind: strength}
    seeds_R = torch.tensor([saved.seed("augment")])
    move = Augmentation([{**saved.config, "augment": augment}], seeds_R, saved.data)
    return lambda images, part: move(images[None], Moment(_SITE, 0, part))[0]


def _noisy(saved: Saved, sd: float) -> See:
    device = saved.data.device
    key_R = rng.stream(torch.tensor([saved.seed("augment")]), f"{_SITE}/noise").to(device)
    sd_R = torch.tensor([sd], dtype=torch.float64, device=device)

    def see(images: Tensor, part: int) -> Tensor:
        x = saved.data.normalized(images)
        return input_noise.add(x[None], sd_R, rng.fold(key_R, part))[0]

    return see
