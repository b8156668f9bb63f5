"""Which images a network gets wrong, and what it mistakes them for."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from ablate.measure.ensembles import entropy


def predictions(log_NK: Tensor, labels_N: Tensor, classes: Sequence[str]) -> pd.DataFrame:
    """List what the network says about each image.

    Args:
        log_NK: Log probabilities.
        labels_N: The labels.
        classes: Names of the classes.

    Returns:
        One row per image, in the order of the split: ``image`` (its number there, from 0), ``true``
        and ``given`` (class names), ``right``, ``loss`` (nats), ``confidence`` (of the given
        class), ``entropy`` (nats).
    """
    log_NK, labels_N = log_NK.double().cpu(), labels_N.cpu()
    most_N, guess_N = log_NK.max(-1)
    return pd.DataFrame(
        {
            "image": range(len(labels_N)),
            "true": _named(labels_N, classes),
            "given": _named(guess_N, classes),
            "right": (guess_N == labels_N).numpy(),
            "loss": -log_NK.gather(1, labels_N[:, None])[:, 0].numpy(),
            "confidence": most_N.exp().numpy(),
            "entropy": entropy(log_NK).numpy(),
        }
    )


def confusion(log_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Count decisions by class.

    Args:
        log_NK: Log probabilities, or logits.
        labels_N: The labels.

    Returns:
        int64 [K, K]: images of the row's class that are given the column's.
    """
    classes = log_NK.shape[-1]
    place_N = labels_N * classes + log_NK.argmax(-1)
    return torch.bincount(place_N, minlength=classes**2).view(classes, classes).cpu()


def most_confused(
    counts_KK: Tensor, classes: Sequence[str], most: int = 5
) -> list[tuple[str, str, int]]:
    """List the most common mistakes: true class, given class, and number of images."""
    wrong_KK = counts_KK.clone().fill_diagonal_(0)
    counts, places = wrong_KK.flatten().sort(descending=True, stable=True)
    pairs = [
        (*divmod(int(place), len(classes)), int(n)) for n, place in zip(counts, places, strict=True)
    ]
    return [(classes[true], classes[given], n) for true, given, n in pairs[:most] if n]


def class_accuracy(counts_KK: Tensor) -> list[float | None]:
    """Return the share of right answers per class; None for a class without images."""
    right, total = counts_KK.diagonal().tolist(), counts_KK.sum(1).tolist()
    return [r / n if n else None for r, n in zip(right, total, strict=True)]


def _named(labels_N: Tensor, classes: Sequence[str]) -> list[str]:
    return [classes[label] for label in labels_N.tolist()]
