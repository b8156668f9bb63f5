"""Gathers how strongly each run of a stack is regularized."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ablate.config import schema


def strengths(
    configs: Sequence[Mapping[str, Any]], name: str, device: torch.device, off: float = 0.0
) -> Tensor | None:
    """Gather a regularizer's strength in every run.

    Args:
        configs: The runs' configurations.
        name: Its name in the group `regularize`.
        device: The device of the result.
        off: The strength of a run without it.

    Returns:
        float64 [R], or None if no run has it.
    """
    knob = schema.BY_NAME[f"regularize.{name}"]
    values = [config["regularize"][name] for config in configs]
    if all(schema.is_off(knob, value) for value in values):
        return None
    numbers = [off if schema.is_off(knob, value) else float(value) for value in values]
    return torch.tensor(numbers, dtype=torch.float64, device=device)


def those_on(
    configs: Sequence[Mapping[str, Any]],
    names: Iterable[str],
    device: torch.device,
    off: float = 0.0,
) -> dict[str, Tensor]:
    """Gather the `strengths` of all regularizers that any run has, in the order of the names."""
    found = {name: strengths(configs, name, device, off) for name in names}
    return {name: strength_R for name, strength_R in found.items() if strength_R is not None}
