"""Dropout in the user's network: what the user's code may do with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ablate.errors import AblateError
from ablate.nets.own_dropout import with_own_dropout
from ablate.plan.own_code import try_out
from ablate.train.stack import Stack
from tests.configs import config


class Plain(nn.Module):
    """Uses one dropout in two places."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = (nn.Linear(64, n) for n in (64, 64, 10))
        self.drop = nn.Dropout(0.5)

    def part(self, layer, x):
        return self.drop(torch.tanh(layer(x)))

    def forward(self, x):
        x = self.apart(self.first, x.flatten(1))
        return self.last(self.apart(self.second, x))

    def apart(self, layer, x):
        return self.part(layer, x)


class Checkpointed(Plain):
    def apart(self, layer, x):
        return checkpoint(self.part, layer, x, use_reentrant=False)


class Forgetful(Plain):
    def apart(self, layer, x):
        return checkpoint(self.part, layer, x, use_reentrant=False, preserve_rng_state=False)


class Reentrant(Plain):
    def apart(self, layer, x):
        return checkpoint(self.part, layer, x.requires_grad_(), use_reentrant=True)


class Asks(Plain):
    """Uses dropout only if it is of torch's class."""

    def part(self, layer, x):
        x = torch.tanh(layer(x))
        return self.drop(x) if isinstance(self.drop, nn.Dropout) else x


class Sets(Plain):
    """Drops nothing except at the rate that it sets in its forward pass."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.0)

    def forward(self, x):
        self.drop.p = 0.5
        return super().forward(x)


def gradients(cls, *, steps=3):
    """Return a run's results at some steps, from weights that are the same for every class."""
    torch.manual_seed(0)
    stack = Stack([with_own_dropout(cls())], [7], fused=False)
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(1, 20, 1, 8, 8, generator=draw)
    y = torch.randint(10, (1, 20), generator=draw)
    return [stack.gradients(x, {"y": y}, step, [True])[2] for step in range(steps)]


def same(one, other):
    return all(torch.equal(a[k], b[k]) for a, b in zip(one, other, strict=True) for k in a)


def test_a_checkpoint_meets_the_masks_of_the_first_time():
    assert same(gradients(Checkpointed), gradients(Plain))


def test_steps_and_places_draw_masks_of_their_own():
    draws = []
    torch.manual_seed(0)
    module = with_own_dropout(Plain())
    stack = Stack([module], [7], fused=False)
    stack.layers(0).drop.register_forward_hook(lambda _, x, y: draws.append(y == 0))
    for step in range(2):
        stack.gradients(torch.rand(1, 20, 1, 8, 8), {"y": torch.zeros(1, 20).long()}, step, [True])
    assert len(draws) == 4
    assert len({tuple(mask.flatten().tolist()) for mask in draws}) == 4


def test_a_checkpoint_that_forgets_the_generator_is_told_rather_than_wrong():
    with pytest.raises(AblateError, match="preserve_rng_state=False draws different dropout masks"):
        gradients(Forgetful)


@pytest.mark.parametrize("cls", [Asks, Sets])
def test_it_is_still_what_the_users_code_takes_it_for(cls):
    assert same(gradients(cls), gradients(Plain))


def planned(cls):
    name = f"tests.nets.test_own_dropout.{cls.__name__}"
    return try_out(config(model={"name": "custom", "_target_": name}), (1, 8, 8), 10).alone


def test_a_network_that_checkpoints_or_sets_rates_is_looped():
    assert planned(Plain) is None
    assert planned(Sets) == "it sets the rates of its dropout"
    assert planned(Checkpointed) is not None


def test_a_reentrant_checkpoint_is_refused_when_planning():
    with pytest.raises(
        AblateError, match=r"hides the gradient of first\.weight: .*use_reentrant=False"
    ):
        planned(Reentrant)
