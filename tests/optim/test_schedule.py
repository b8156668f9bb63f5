"""Tables of learning rates, compared with torch's schedulers."""

from __future__ import annotations

import math
import warnings
from math import inf

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ablate.config import files, schema
from ablate.config.course import Length, Plateau, first_fall, first_look
from ablate.config.knobs.training import SCHEDULES
from ablate.config.types import Choice, ListOf, Whole
from ablate.optim import schedule
from ablate.train.course import Course

LR = 0.3


def rates(values, lr, steps, epoch_steps):
    """Compute the rates of a training, which need not end with an epoch."""
    return schedule.rates(values, lr, Length(steps, epoch_steps))


def constant(**values):
    return {"name": "constant", "warmup_epochs": 0} | values


def cosine(**values):
    return {"name": "cosine", "final": 0.0, "warmup_epochs": 0} | values


def step(**values):
    return {"name": "step", "every": 0.25, "gamma": 0.1, "warmup_epochs": 0} | values


def followed(make, steps):
    """Read the rate of each step while torch's scheduler runs."""
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
    """Let torch's SequentialLR start the scheduler after the rise."""

    def both(optimizer):
        rise = linear_warmup(warmup)(optimizer)
        return lr_scheduler.SequentialLR(optimizer, [rise, make(optimizer)], [warmup])

    return both


def linear_warmup(warmup):
    """Make torch's LinearLR rise from lr/W to lr in W steps; one step is at the full rate."""

    def make(optimizer):
        if warmup == 1:
            return lr_scheduler.ConstantLR(optimizer, 1.0)
        return lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, total_iters=warmup - 1)

    return make


def assert_agrees(ours, torchs):
    """Compare to 1e-12 of the base rate; torch's own recursions leave rounding errors behind."""
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12 * LR)


# -- every schedule against torch's ----------------------------------------------------------------

STEPS = st.integers(1, 120)
EPOCH = st.integers(1, 12)  # steps of an epoch
FINAL = st.sampled_from([0.0, 1e-3, 0.1, 0.7])
GAMMA = st.floats(0.05, 1.0)


def _constant(draw, epoch):
    return {}, draw(STEPS), lambda o: lr_scheduler.ConstantLR(o, 1.0)


def _step(draw, epoch):
    """`every` is torch's step_size over the number of steps."""
    steps, gamma = draw(STEPS), draw(GAMMA)
    size = draw(st.integers(1, steps))
    values = {"every": min(size / steps, 1 - 1e-9), "gamma": gamma}
    return values, steps, lambda o: lr_scheduler.StepLR(o, size, gamma)


def _multistep(draw, epoch):
    """Milestones are torch's over the number of steps."""
    steps, gamma = draw(STEPS), draw(GAMMA)
    at = sorted(draw(st.sets(st.integers(0, steps - 1), min_size=1, max_size=4)))
    values = {"milestones": [step / steps for step in at], "gamma": gamma}
    return values, steps, lambda o: lr_scheduler.MultiStepLR(o, at, gamma)


def _exponential(draw, epoch):
    """Torch's gamma is meant for an epoch; here it takes a step at a time, by the epoch's root."""
    gamma = draw(GAMMA)
    make = lambda o: lr_scheduler.ExponentialLR(o, gamma ** (1 / epoch))  # noqa: E731
    return {"gamma": gamma}, draw(STEPS), make


def _linear(draw, epoch):
    """Torch falls from start_factor 1 to end_factor `final` in total_iters, all steps."""
    steps, final = draw(STEPS), draw(FINAL)
    return {"final": final}, steps, lambda o: lr_scheduler.LinearLR(o, 1.0, final, steps)


def _polynomial(draw, epoch):
    """Torch falls to 0 alone; total_iters are all steps."""
    steps, power = draw(STEPS), draw(st.floats(0.3, 4.0))
    values = {"final": 0.0, "power": power}
    return values, steps, lambda o: lr_scheduler.PolynomialLR(o, steps, power)


def _cosine(draw, epoch):
    """T_max is the number of steps, eta_min is `final` times the rate."""
    steps, final = draw(STEPS), draw(FINAL)
    make = lambda o: lr_scheduler.CosineAnnealingLR(o, steps, final * LR)  # noqa: E731
    return {"final": final}, steps, make


def _warm_restarts(draw, epoch):
    """T_mult is `growth`; T_0 steps in the first cycle, such that the last cycle ends whole."""
    first, cycles, growth, final = draw(EPOCH), draw(st.integers(1, 4)), draw(GROWTH), draw(FINAL)
    steps = first * sum(growth**i for i in range(cycles))
    values = {"cycles": cycles, "growth": growth, "final": final}
    make = lr_scheduler.CosineAnnealingWarmRestarts
    return values, steps, lambda o: make(o, first, growth, final * LR)


def _cyclic(draw, epoch):
    """step_size_up is half a cycle, a whole number of steps; base_lr is `final` times max_lr."""
    half, cycles, final = draw(EPOCH), draw(st.integers(1, 5)), draw(FINAL)
    mode = draw(st.sampled_from(["triangular", "triangular2"]))
    values = {"cycles": cycles, "mode": mode, "final": final}

    def make(optimizer):
        return lr_scheduler.CyclicLR(
            optimizer, final * LR, LR, step_size_up=half, mode=mode, cycle_momentum=False
        )

    return values, 2 * half * cycles, make


def _one_cycle(draw, epoch):
    """pct_start is `rise`, div_factor 1/initial, final_div_factor initial/final."""
    steps, rise, initial = draw(STEPS), draw(st.floats(0.05, 0.95)), draw(st.floats(0.01, 1.0))
    assume(abs(rise * steps - 1) > 1e-6)  # where torch divides by the length of the rise, 0
    final = draw(FINAL)
    values = {"rise": rise, "initial": initial, "final": final}

    def make(optimizer):
        ends = {"div_factor": 1 / initial, "final_div_factor": initial / final if final else inf}
        return lr_scheduler.OneCycleLR(
            optimizer, LR, steps, pct_start=rise, cycle_momentum=False, **ends
        )

    return values, steps, make


GROWTH = st.integers(1, 3)
# Each draws the schedule's own values, the steps it fills, and torch's scheduler for them.
TORCHS = {
    "constant": _constant,
    "step": _step,
    "multistep": _multistep,
    "exponential": _exponential,
    "linear": _linear,
    "polynomial": _polynomial,
    "cosine": _cosine,
    "warm_restarts": _warm_restarts,
    "cyclic": _cyclic,
    "one_cycle": _one_cycle,
    "plateau": _constant,  # until the validation loss has its say, below
}


def test_every_schedule_has_its_match_in_torch():
    assert set(TORCHS) == set(SCHEDULES)


@pytest.mark.parametrize("name", TORCHS)
@given(st.data())
def test_a_schedule_agrees_with_torchs_over_a_whole_run(name, data):
    epoch = data.draw(EPOCH)
    values, steps, make = TORCHS[name](data.draw, epoch)
    found = rates({"name": name, "warmup_epochs": 0} | values, LR, steps, epoch)
    assert_agrees(found, followed(make, steps))


@pytest.mark.parametrize("name", TORCHS)
@given(st.data())
def test_a_warmup_rises_as_torchs_linear_and_the_schedule_fills_the_rest(name, data):
    epoch, epochs = data.draw(EPOCH), data.draw(st.integers(1, 5))
    warmup = epoch * epochs
    values, steps, make = TORCHS[name](data.draw, epoch)
    found = rates({"name": name, "warmup_epochs": epochs} | values, LR, warmup + steps, epoch)
    rising = followed(linear_warmup(warmup), warmup)
    assert_agrees(found, torch.cat([rising, followed(make, steps)]))


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


@given(STEPS, st.floats(0.3, 4.0), FINAL)
def test_a_polynomial_with_a_floor_is_torchs_share_of_what_is_above_it(steps, power, final):
    torchs = followed(lambda o: lr_scheduler.PolynomialLR(o, steps, power), steps)
    values = {"name": "polynomial", "final": final, "power": power, "warmup_epochs": 0}
    assert_agrees(rates(values, LR, steps, 1), final * LR + (1 - final) * torchs)


# -- plateau ---------------------------------------------------------------------------------------

LOSSES = st.lists(st.floats(0, 4) | st.sampled_from([1.0, 0.99995, 0.9998]), max_size=40)


@given(LOSSES, st.integers(0, 5), GAMMA.filter(lambda gamma: gamma < 1))
def test_a_plateau_falls_when_torchs_does(losses, patience, gamma):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    # Its eps would keep rates from falling by less than 1e-8.
    torchs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=gamma, patience=patience, eps=0)
    ours = Plateau()
    for loss in losses:
        ours.look({"patience": patience, "gamma": gamma}, loss)
        torchs.step(loss)
        assert LR * ours.factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_a_plateau_looks_once_the_warmup_has_ended():
    def at(warmup_epochs, patience=0):
        values = {"warmup_epochs": warmup_epochs, "patience": patience}
        # With 4 steps an epoch, a warm-up of 1.2 epochs is 4.8 steps, rounded to 5.
        return first_look(values, Length(40, 4)), first_fall(values, Length(40, 4))

    assert at(0) == (1, 2), "the first loss is the lowest so far, and the second may be no lower"
    assert at(0.5) == (1, 2)
    assert at(1) == (1, 2)
    assert at(1.2) == (2, 3)
    assert at(3, patience=2) == (3, 6)


def test_the_losses_of_a_warmup_count_for_no_plateau():
    values = {"name": "plateau", "warmup_epochs": 3, "patience": 0, "gamma": 0.5}
    config = {"schedule": values, "select": "last", "regularize": {"early_stopping": None}}
    course, factors = Course(config, Length(24, 4)), []
    for epoch in range(1, 7):
        entry = {"epoch": epoch, "step": 4 * epoch, "val/loss": 1.0, "val/accuracy": 0.5}
        course.end_epoch(entry, None, dict)
        factors.append(course.plateau.factor)
    assert factors == [1, 1, 1, 0.5, 0.25, 0.125]


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


@pytest.mark.parametrize("make", [constant, cosine, step])
def test_a_warmup_may_fill_the_whole_training(make):
    assert rates(make(warmup_epochs=2), 1.0, 8, 4).tolist() == pytest.approx(
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


# -- every legal setting ---------------------------------------------------------------------------


def legal(name):
    """Draw a legal value of a schedule's knob, its ends included where they belong to it."""
    kind = schema.BY_NAME[f"schedule.{name}"].type
    if isinstance(kind, Choice):
        return st.sampled_from(kind.words)
    if isinstance(kind, Whole):
        return st.integers(kind.low, min(kind.high, 300))
    if isinstance(kind, ListOf):
        share = st.floats(0, 1, exclude_min=True, exclude_max=True)
        return st.lists(share, min_size=1, max_size=5, unique=True).map(sorted)
    high = {"max_value": kind.high} if math.isfinite(kind.high) else {"max_value": 1e100}
    return st.floats(kind.low, **high, exclude_min=kind.open_low, exclude_max=kind.open_high)


@pytest.mark.parametrize("name", SCHEDULES)
@given(data=st.data(), epochs=st.integers(1, 9), per_epoch=st.integers(1, 9))
def test_every_rate_of_a_legal_schedule_is_finite_and_none_is_negative(
    name, data, epochs, per_epoch
):
    knobs = [part for part in files.option("schedule", name) if part != "name"]
    values = {"name": name} | {part: data.draw(legal(part), part) for part in knobs}
    found = rates(values, LR, epochs * per_epoch, per_epoch)
    assert len(found) == epochs * per_epoch
    assert bool(found.isfinite().all())
    # Rounding may leave a rate above the base rate by a bit or two.
    assert 0 <= float(found.min()) <= float(found.max()) <= LR * (1 + 1e-12)


def test_cycles_that_outgrow_every_number_leave_all_steps_to_the_last():
    values = {"name": "warm_restarts", "cycles": 3, "growth": 1e200, "final": 0, "warmup_epochs": 0}
    assert torch.equal(rates(values, LR, 10, 5), rates(cosine(), LR, 10, 5))
