"""Tables of learning rates, held against torch's schedulers."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ablate.schedule import rates

LR = 0.3


def constant(**values):
    return {"name": "constant", "warmup_epochs": 0} | values


def cosine(**values):
    return {"name": "cosine", "final": 0.0, "warmup_epochs": 0} | values


def step(**values):
    return {"name": "step", "every": 0.25, "gamma": 0.1, "warmup_epochs": 0} | values


def followed(make, steps):
    """Read off the rate of each step while torch's scheduler goes along."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    seen = []
    # SequentialLR starts its parts by an argument that torch itself calls deprecated.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step", UserWarning)
        scheduler = make(optimizer)
        for _ in range(steps):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return torch.tensor(seen, dtype=torch.float64)


def after_warmup(make, warmup):
    """Let torch's LinearLR rise from lr/W to lr in W steps, then start the scheduler."""

    def both(optimizer):
        rise = lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, total_iters=warmup - 1)
        return lr_scheduler.SequentialLR(optimizer, [rise, make(optimizer)], [warmup])

    return both


def assert_agrees(ours, torchs):
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=1e-12)


@given(st.integers(1, 200), st.integers(2, 50), st.sampled_from([0.1, 0.5, 0.97]))
def test_step_agrees_with_torch(steps, parts, gamma):
    size = max(round(steps / parts), 1)
    expected = followed(lambda o: lr_scheduler.StepLR(o, size, gamma), steps)
    assert_agrees(rates(step(every=size / steps, gamma=gamma), LR, steps, 1), expected)


@given(st.integers(1, 300), st.sampled_from([0.0, 0.01, 0.5]))
def test_cosine_agrees_with_torch(steps, final):
    expected = followed(lambda o: lr_scheduler.CosineAnnealingLR(o, steps, final * LR), steps)
    assert_agrees(rates(cosine(final=final), LR, steps, 1), expected)


@given(st.integers(2, 5), st.integers(2, 10), st.integers(6, 9))
def test_a_warmup_before_a_cosine_agrees_with_torchs_sequence_of_both(warmup, per_epoch, epochs):
    steps, rising = epochs * per_epoch, warmup * per_epoch
    make = after_warmup(lambda o: lr_scheduler.CosineAnnealingLR(o, steps - rising), rising)
    ours = rates(cosine(warmup_epochs=warmup), LR, steps, per_epoch)
    assert_agrees(ours, followed(make, steps))


def test_a_warmup_before_steps_agrees_with_torchs_sequence_of_both():
    make = after_warmup(lambda o: lr_scheduler.StepLR(o, 20, 0.1), 20)
    # A quarter of the 80 steps that the warm-up leaves is 20.
    assert_agrees(rates(step(warmup_epochs=2), LR, 100, 10), followed(make, 100))


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_constant_rate_is_constant(epochs, per_epoch):
    expected = torch.full((epochs * per_epoch,), LR, dtype=torch.float64)
    assert torch.equal(rates(constant(), LR, epochs * per_epoch, per_epoch), expected)


# -- by hand ---------------------------------------------------------------------------------------


def test_a_warmup_rises_in_equal_steps_and_ends_at_the_full_rate():
    assert rates(constant(warmup_epochs=1), 0.8, 6, 4).tolist() == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]
    )


def test_a_warmup_may_last_part_of_an_epoch():
    assert rates(constant(warmup_epochs=0.5), 0.8, 4, 4).tolist() == pytest.approx(
        [0.4, 0.8, 0.8, 0.8]
    )


def test_a_warmup_of_one_step_changes_nothing():
    assert torch.equal(rates(cosine(warmup_epochs=0.1), LR, 1, 10), rates(constant(), LR, 1, 10))


@pytest.mark.parametrize("schedule", [constant, cosine, step])
def test_a_warmup_may_fill_the_whole_training(schedule):
    assert rates(schedule(warmup_epochs=2), 1.0, 8, 4).tolist() == pytest.approx(
        [t / 8 for t in range(1, 9)]
    )


def test_a_cosine_starts_at_the_full_rate_and_is_halfway_down_in_the_middle():
    found = rates(cosine(final=0.2), 1.0, 10, 5)
    assert float(found[0]) == 1
    assert float(found[5]) == pytest.approx(0.6)
    assert bool((found.diff() < 0).all())


def test_steps_fall_when_each_share_of_training_has_passed():
    assert rates(step(every=0.33), 1.0, 9, 1).tolist() == pytest.approx(
        [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    )


def test_a_share_shorter_than_a_step_falls_at_every_step():
    assert rates(step(every=0.01, gamma=0.5), 1.0, 4, 4).tolist() == [1, 0.5, 0.25, 0.125]
