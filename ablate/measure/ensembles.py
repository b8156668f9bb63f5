"""Averages over views of an image, and over the sub-networks that dropout trained.

What it does: test-time augmentation averages a network's probabilities over transformed views of an
image; Monte-Carlo dropout averages them over sub-networks, drawn as in training. Their spread shows
what the network does not know (mutual information), apart from what the image leaves open (the rest
of the entropy). When it helps: views if training augmented, often by half a point; samples if
confidence matters more than accuracy. Settings that work: 4 to 10 views, 10 to 100 samples.

The geometric mean, renormalized, is what weight scaling stands for: equal to it for one softmax
layer, near it in deeper networks.

Source: Krizhevsky et al. 2012, NIPS 25, section 4.1 (views); Gal & Ghahramani 2016,
arXiv:1506.02142, section 4; Houlsby et al. 2011, arXiv:1112.5745, equation 2 (mutual information);
Srivastava et al. 2014, JMLR 15, section 7.5, and Baldi & Sadowski 2013, NIPS 26, section 4 (means).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ablate import rng
from ablate.data.tensors import Split
from ablate.measure.saved import Saved
from ablate.nets.dropout import Dropout
from ablate.train.batches import Batches
from ablate.train.eval_parts import eval_parts
from ablate.train.quality import measure_one


@dataclass(frozen=True)
class Ensemble:
    """The joint prediction of several networks, or of one that sees several views.

    Attributes:
        arithmetic_NK: Logarithm of the mean probability, float64.
        geometric_NK: Logarithm of the geometric mean, renormalized.
        entropy_N: Entropy of the arithmetic mean, in nats, from 0 to log K.
        information_N: Mutual information of the label and the choice of member, in nats: the
            entropy of the mean minus the mean entropy; from 0 to the entropy.
    """

    arithmetic_NK: Tensor
    geometric_NK: Tensor
    entropy_N: Tensor
    information_N: Tensor


def ensemble(members: Iterable[Tensor]) -> Ensemble:
    """Average over members, one at a time.

    Args:
        members: Logits [N, K] of each; at least one.

    Source: as the module's.
    """
    count, most, logs, entropies = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())
    for logits_NK in members:
        log_NK = logits_NK.double().log_softmax(-1)
        most = log_NK if count == 0 else torch.logaddexp(most, log_NK)
        logs = logs + log_NK
        entropies = entropies + entropy(log_NK)
        count += 1
    assert count, "a mean is over something"
    arithmetic_NK = most - math.log(count)
    entropy_N = entropy(arithmetic_NK)
    return Ensemble(
        arithmetic_NK,
        (logs / count).log_softmax(-1),
        entropy_N,
        (entropy_N - entropies / count).clamp(min=0),  # rounding may leave a little less than 0
    )


def entropy(log_NK: Tensor) -> Tensor:
    """Compute the entropy of log probabilities [N, K], in nats, [N]."""
    terms_NK: Tensor = torch.special.entr(log_NK.exp())
    return terms_NK.sum(-1)


def divergence(log_p_NK: Tensor, log_q_NK: Tensor) -> float:
    """Compute the mean Kullback-Leibler divergence KL(p ‖ q) over images, in nats."""
    p_NK = log_p_NK.exp()
    # If p is 0 the term is 0, whatever the logarithm.
    terms_NK = torch.where(p_NK > 0, p_NK * (log_p_NK - log_q_NK), 0)
    return float(terms_NK.sum(-1).mean())


# -- views -----------------------------------------------------------------------------------------


def views(saved: Saved, split: Split, augment: Mapping[str, Any]) -> Tensor:
    """Average over views as training with `augment.test_views` does.

    Args:
        saved: The run.
        split: The images.
        augment: The `augment` part of a configuration; its ``test_views`` says how many.

    Returns:
        Logarithm of the mean probability, float64 [N, K].
    """
    batches = Batches([{**saved.config, "augment": augment}], saved.data)
    sizes = (len(split), saved.data.classes)
    mean_NK = torch.empty(sizes, dtype=torch.float64, device=split.device)
    for part, (where, images) in enumerate(eval_parts(split, by_content=True)):
        seen = (x[0] if apart else x for x, apart in batches.views(images, part))
        mean_NK[where] = ensemble(map(saved.apply, seen)).arithmetic_NK
    return mean_NK


# -- sub-networks ----------------------------------------------------------------------------------


class SubNetworks:
    """The sub-networks of a network with dropout or stochastic depth.

    Args:
        module: The network, in evaluation mode; everything but its dropout stays so.
        seed: Seed of the run's dropout.
        own: Whether the dropout is the user's: then every module whose class is named after dropout
            counts, and draws from torch's generator, which is seeded for each pass.

    Example:
        >>> import torch
        >>> from ablate.nets.dropout import Dropout
        >>> half = SubNetworks(torch.nn.Sequential(Dropout(0.5)), seed=0)
        >>> with half.sample(0):
        ...     half.module(torch.ones(4)).abs().unique().tolist()
        [0.0, 2.0]
    """

    def __init__(self, module: nn.Module, seed: int, own: bool = False) -> None:
        self.module, self._seed = module, seed
        self._layers = {
            name: layer
            for name, layer in module.named_modules()
            if isinstance(layer, Dropout) and layer.active
        }
        self._own = [m for n, m in module.named_modules() if "dropout" in n] if own else []

    @contextmanager
    def sample(self, number: int, part: int = 0) -> Iterator[None]:
        """Make the module one sub-network per image (a single one if weights are dropped).

        Args:
            number: Number of the sample.
            part: Number of the batch; each has masks of its own.
        """
        for name, layer in self._layers.items():
            layer.begin(self._key(f"dropout/{name}", number, part).to(layer.rate.device))
        for layer in (*self._layers.values(), *self._own):
            layer.train()
        try:
            with self._torchs(number, part):
                yield
        finally:
            self.module.eval()

    def _torchs(self, number: int, part: int) -> AbstractContextManager[None]:
        return rng.seeded(int(self._key("torch", number, part))) if self._own else nullcontext()

    def _key(self, site: str, number: int, part: int) -> Tensor:
        return rng.fold(rng.fold(rng.stream(self._seed, f"evaluate/{site}"), number), part)


def samples(saved: Saved, split: Split, count: int) -> Ensemble:
    """Average over sub-networks; the same numbers each time.

    Args:
        saved: The run.
        split: The images.
        count: How many samples.
    """
    own = bool(saved.config["dropout"].get("_target_"))
    drawn = SubNetworks(saved.module, saved.seed("dropout"), own)

    return ensemble(
        saved.logits(split, during=partial(drawn.sample, number)) for number in range(count)
    )


def compared(found: Ensemble, scaled_NK: Tensor, labels_N: Tensor) -> dict[str, Any]:
    """Compare the averages over samples with weight scaling, the ordinary evaluation.

    Args:
        found: The averages.
        scaled_NK: Logits of the ordinary evaluation.
        labels_N: The labels.

    Returns:
        ``arithmetic``, ``geometric`` and ``scaling``, measured; the two means' ``agreement`` with
        weight scaling (share of equal decisions) and ``divergence`` KL(mean ‖ scaling) in nats;
        mean ``entropy`` and ``information`` in nats, over all images, and over those that the
        arithmetic mean gets right and wrong.
    """
    log_NK = scaled_NK.double().log_softmax(-1)
    means = {"arithmetic": found.arithmetic_NK, "geometric": found.geometric_NK}
    guess_N = log_NK.argmax(-1)
    right_N = found.arithmetic_NK.argmax(-1) == labels_N
    return {
        **{
            name: measure_one(logits, labels_N)
            for name, logits in (means | {"scaling": log_NK}).items()
        },
        "agreement": {
            name: float((mean.argmax(-1) == guess_N).double().mean())
            for name, mean in means.items()
        },
        "divergence": {name: divergence(mean, log_NK) for name, mean in means.items()},
        "entropy": _by_outcome(found.entropy_N, right_N),
        "information": _by_outcome(found.information_N, right_N),
    }


def _by_outcome(values_N: Tensor, right_N: Tensor) -> dict[str, float | None]:
    parts = {"all": values_N, "right": values_N[right_N], "wrong": values_N[~right_N]}
    return {name: float(part.mean()) if len(part) else None for name, part in parts.items()}
