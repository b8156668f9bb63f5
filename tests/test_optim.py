"""Update rules over the run axis, held against one of torch's optimizers for each run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate import schema
from ablate.optim import Optimizer
from tests import reference
from tests.configs import config

STEPS = 100
NAMES = schema.OPTIMIZERS

# What may differ from run to run. The values are ordinary ones, and the extremes beside them.
COEFFICIENTS = {
    "lr": st.sampled_from([1e-4, 1e-3, 0.03, 0.1, 0.7]),
    "weight_decay": st.sampled_from([0.0, 1e-4, 0.01, 0.3]),
    "momentum": st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    "beta1": st.sampled_from([0.0, 0.5, 0.9, 0.95]),
    "beta2": st.sampled_from([0.0, 0.9, 0.99, 0.999]),
    "eps": st.sampled_from([1e-12, 1e-8, 1e-3, 1.0]),
}
SHAPES = st.lists(
    st.lists(st.integers(1, 7), max_size=4).map(tuple), min_size=1, max_size=3, unique=True
)


@st.composite
def several_runs(draw, name):
    """Draw the `optimizer` parts of several runs: every coefficient differs freely."""
    knobs = [knob for knob in config(optimizer=name)["optimizer"] if knob != "name"]
    one = st.fixed_dictionaries({knob: COEFFICIENTS[knob] for knob in knobs})
    return [{"name": name} | run for run in draw(st.lists(one, min_size=1, max_size=4))]


def problem(shapes, width, dtype, seed=0):
    """Make stacked start values, and gradients of very different sizes for 100 steps."""
    generator = torch.Generator().manual_seed(seed)

    def stacked():
        return {
            str(shape): torch.randn(width, *shape, generator=generator, dtype=dtype)
            for shape in shapes
        }

    sizes = 10 ** torch.linspace(-3, 1, STEPS)
    start = stacked()
    return start, [{name: g * size for name, g in stacked().items()} for size in sizes]


def rates(optimizers):
    """Let the rate of each run fall from step to step, [T, R]."""
    base_R = torch.tensor([c["lr"] for c in optimizers], dtype=torch.float64)
    return base_R * torch.linspace(1, 0.1, STEPS, dtype=torch.float64)[:, None]


def stacked_result(optimizers, start, gradients, lr_TR):
    parameters = {name: p.clone() for name, p in start.items()}
    ours = Optimizer(optimizers, parameters)
    for count, (gradient, lr_R) in enumerate(zip(gradients, lr_TR, strict=True), start=1):
        ours.step(gradient, lr_R, count)
    return parameters


def separate_results(optimizers, start, gradients, lr_TR):
    return [
        reference.optimize(
            optimizer,
            {name: p[r] for name, p in start.items()},
            [{name: g[r] for name, g in gradient.items()} for gradient in gradients],
            lr_TR[:, r].tolist(),
        )
        for r, optimizer in enumerate(optimizers)
    ]


def both(optimizers, shapes, dtype):
    start, gradients = problem(shapes, len(optimizers), dtype)
    lr_TR = rates(optimizers)
    ours = stacked_result(optimizers, start, gradients, lr_TR)
    theirs = separate_results(optimizers, start, gradients, lr_TR)
    for r, run in enumerate(theirs):
        for name, expected in run.items():
            yield ours[name][r], expected


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=20)
def test_in_double_precision_each_run_agrees_with_torch_over_100_steps(name, data):
    for ours, torchs in both(data.draw(several_runs(name)), data.draw(SHAPES), torch.float64):
        torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=20)
def test_in_single_precision_each_run_is_bit_equal_to_torch_over_100_steps(name, data):
    for ours, torchs in both(data.draw(several_runs(name)), data.draw(SHAPES), torch.float32):
        assert torch.equal(ours, torchs)


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_settings_are_bit_equal_to_torch_on_a_layer_of_ordinary_size(name):
    optimizers = [config(optimizer=name)["optimizer"]] * 2
    for ours, torchs in both(optimizers, [(32, 65), (33,)], torch.float32):
        assert torch.equal(ours, torchs)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_does_not_depend_on_its_stack_mates(name):
    plain = config(optimizer=name)["optimizer"]
    mates = [plain | {"lr": 0.5, "weight_decay": 0.1}, plain, plain | {"weight_decay": 1.0}]
    start, gradients = problem([(5, 3)], 3, torch.float32)
    together = stacked_result(mates, start, gradients, rates(mates))
    alone = stacked_result(
        [plain],
        {k: v[1:2] for k, v in start.items()},
        [{k: v[1:2] for k, v in g.items()} for g in gradients],
        rates([plain]),
    )
    assert all(torch.equal(together[name][1:2], alone[name]) for name in alone)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_nans_leaves_its_mates_as_they_are(name):
    optimizers = [config(optimizer=name)["optimizer"] | {"weight_decay": 0.1}] * 2
    start, gradients = problem([(4,)], 2, torch.float32)
    sound = stacked_result(optimizers, start, gradients, rates(optimizers))
    for gradient in gradients:
        gradient["(4,)"][0] = torch.nan
    broken = stacked_result(optimizers, start, gradients, rates(optimizers))
    assert bool(broken["(4,)"][0].isnan().all())
    assert torch.equal(broken["(4,)"][1], sound["(4,)"][1])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_left_as_they_were(name):
    optimizers = [config(optimizer=name)["optimizer"] | {"weight_decay": 0.1}]
    start, gradients = problem([(2, 3)], 1, torch.float64)
    before = [{k: g.clone() for k, g in gradient.items()} for gradient in gradients]
    stacked_result(optimizers, start, gradients, rates(optimizers))
    for gradient, copy in zip(gradients, before, strict=True):
        assert all(torch.equal(gradient[k], copy[k]) for k in copy)


# -- by hand ---------------------------------------------------------------------------------------


def path(optimizer, gradients):
    """Follow one number that starts at 1, the learning rate being 0.1."""
    parameters = {"w": torch.ones(1, dtype=torch.float64)}
    ours = Optimizer([optimizer], parameters)
    seen = []
    for count, gradient in enumerate(torch.tensor(gradients, dtype=torch.float64), start=1):
        ours.step({"w": gradient.view(1)}, torch.tensor([0.1], dtype=torch.float64), count)
        seen.append(float(parameters["w"]))
    return seen


def test_momentum_keeps_a_share_of_the_last_step():
    momentum = {"name": "momentum", "momentum": 0.5, "weight_decay": 0.0}
    # Buffers 1, 1.5, 0.75; nesterov steps by gradient + half the buffer: 1.5, 1.75, 0.375.
    assert path(momentum, [1.0, 1.0, 0.0]) == pytest.approx([0.9, 0.75, 0.675])
    assert path(momentum | {"name": "nesterov"}, [1.0, 1.0, 0.0]) == pytest.approx(
        [0.85, 0.675, 0.6375]
    )


def test_weight_decay_is_in_the_gradient_of_adam_and_outside_that_of_adamw():
    adam = {"name": "adam", "beta1": 0.9, "beta2": 0.999, "eps": 1e-12, "weight_decay": 0.5}
    # The first step of Adam has the length lr, whatever the gradient: decay changes nothing.
    assert path(adam, [3.0]) == pytest.approx([0.9])
    # Decoupled, the weight first shrinks by lr · decay, a twentieth.
    assert path(adam | {"name": "adamw"}, [3.0]) == pytest.approx([0.85])
