"""Solvers that evaluate the loss repeatedly, compared with torch, scipy and hand arithmetic."""

from __future__ import annotations

import copy
import io
from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ablate.errors import AblateError
from ablate.optim import solvers
from tests import reference

LBFGS = {"name": "lbfgs", "lr": 1.0, "history": 5, "max_iter": 4, "line_search": "strong_wolfe"}
NEWTON = {"name": "newton", "lr": 1.0, "damping": 1e-12}


def saved(state):
    """Write a state and read it back like a checkpoint."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def closure_of(loss, parameters):
    def closure():
        for p in parameters:
            p.grad = None
        value = loss()
        value.backward()
        return value

    return closure


class Softmax:
    """L2-regularized softmax regression on random data, in double precision."""

    def __init__(self, seed=0, images=40, features=3, classes=3):
        generator = torch.Generator().manual_seed(seed)
        self.x_NF = torch.randn(images, features, generator=generator, dtype=torch.float64)
        self.y_N = torch.randint(classes, (images,), generator=generator)
        self.weight = nn.Parameter(torch.zeros(classes, features, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(classes, dtype=torch.float64))
        self.parameters = [self.weight, self.bias]
        self.closure = closure_of(
            lambda: self.loss({"weight": self.weight, "bias": self.bias}), self.parameters
        )

    def loss(self, p):
        penalty = sum((t**2).sum() for t in p.values())
        return F.cross_entropy(F.linear(self.x_NF, p["weight"], p["bias"]), self.y_N) + penalty / 20

    def hessian(self):
        return solvers.exact_hessian(self.loss, {"weight": self.weight, "bias": self.bias})

    @property
    def flat(self):
        return torch.cat([p.detach().flatten() for p in self.parameters])

    def optimum(self):
        """Let scipy find the zero of a gradient that is written out."""
        x, y = self.x_NF.numpy(), np.eye(3)[self.y_N.numpy()]

        def gradient(flat):
            logits = x @ flat[:9].reshape(3, 3).T + flat[9:]
            off = (scipy.special.softmax(logits, axis=1) - y) / len(x)
            return np.concatenate([(off.T @ x).ravel(), off.sum(0)]) + flat / 10

        return torch.from_numpy(scipy.optimize.root(gradient, np.zeros(12), tol=1e-14).x)


def quadratic(matrix, target):
    """Make ½ (p - target)ᵀ matrix (p - target) from p = 0: parameter, closure, Hessian."""
    p = nn.Parameter(torch.zeros_like(target))
    closure = closure_of(lambda: 0.5 * (p - target) @ matrix @ (p - target), [p])
    return p, closure, lambda: matrix.clone()


# -- L-BFGS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_search", ["strong_wolfe", "none"])
def test_lbfgs_follows_the_configured_torch_optimizer_bit_for_bit(line_search):
    ours, theirs = Softmax(), Softmax()
    known = LBFGS | {"line_search": line_search}
    ours_solver = solvers.solver(known, ours.parameters, None)
    search = None if line_search == "none" else line_search
    torchs = torch.optim.LBFGS(theirs.parameters, 0.5, 4, history_size=5, line_search_fn=search)
    for _ in range(5):
        ours_solver.step(ours.closure, 0.5)
        torchs.step(theirs.closure)
        assert torch.equal(ours.flat, theirs.flat)


@pytest.mark.parametrize("line_search", ["strong_wolfe", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_resumed_lbfgs_goes_on_with_the_same_bits(line_search, dtype, done):
    torch.manual_seed(0)
    x_NF, y_N = torch.randn(30, 4, dtype=dtype), torch.randint(3, (30,))
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    known = LBFGS | {"line_search": line_search}
    rates = [0.5, 0.4, 0.3, 0.2, 0.1, 0.1]

    def train(module, solver, lrs):
        closure = closure_of(lambda: F.cross_entropy(module(x_NF), y_N), list(module.parameters()))
        for lr in lrs:
            solver.step(closure, lr)

    whole = solvers.solver(known, list(net.parameters()), None)
    train(net, whole, rates[:done])
    state, resumed_net = saved(whole.state()), copy.deepcopy(net)
    train(net, whole, rates[done:])
    resumed = solvers.solver(known, list(resumed_net.parameters()), None)
    resumed.restore(state)
    train(resumed_net, resumed, rates[done:])
    for one, other in zip(net.parameters(), resumed_net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_state_is_a_copy_and_restoring_it_twice_gives_the_same_run():
    problem = Softmax()
    solver = solvers.solver(LBFGS, problem.parameters, None)
    solver.step(problem.closure, 1.0)
    state, here = solver.state(), problem.flat
    ends = []
    for _ in range(2):
        again = Softmax()
        with torch.no_grad():
            again.weight.copy_(here[:9].view(3, 3))
            again.bias.copy_(here[9:])
        resumed = solvers.solver(LBFGS, again.parameters, None)
        resumed.restore(state)
        for _ in range(3):
            resumed.step(again.closure, 1.0)
        ends.append(again.flat)
    assert torch.equal(*ends)


def test_a_state_holds_tensors_numbers_lists_and_dicts_only():
    def kinds(value):
        if isinstance(value, dict):
            return set().union(*(kinds(v) for v in value.values()))
        if isinstance(value, list):
            return set().union(*(kinds(v) for v in value))
        return {type(value)}

    problem = Softmax()
    solver = solvers.solver(LBFGS, problem.parameters, None)
    for _ in range(2):
        solver.step(problem.closure, 1.0)
    assert kinds(solver.state()) <= {torch.Tensor, int, float}


def test_lbfgs_reaches_scipys_optimum():
    problem = Softmax()
    solver = solvers.solver(LBFGS | {"max_iter": 20}, problem.parameters, None)
    for _ in range(5):
        solver.step(problem.closure, 1.0)
    # torch stops at a slope of 1e-9 along the step, 0.1 · 1e-4² where the curvature is 0.1.
    torch.testing.assert_close(problem.flat, problem.optimum(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("line_search", ["strong_wolfe", "none"])
@pytest.mark.parametrize("max_iter", [1, 4])
def test_lbfgs_bears_a_loss_that_is_not_finite(line_search, max_iter):
    p = nn.Parameter(torch.tensor([1.0, 2.0]))
    solver = solvers.solver(LBFGS | {"line_search": line_search, "max_iter": max_iter}, [p], None)
    for factor in (1.0, torch.nan, torch.nan):
        solver.step(closure_of(lambda factor=factor: factor * (p**4).sum(), [p]), 0.1)
        solver.restore(saved(solver.state()))
    assert not bool(p.isfinite().any())


# -- Newton ----------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(0, 99))
def test_newton_solves_a_quadratic_in_one_step(size, seed):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    target = torch.randn(size, generator=generator, dtype=torch.float64)
    p, closure, hessian = quadratic(root @ root.T + torch.eye(size), target)
    solvers.solver(NEWTON, [p], hessian).step(closure, 1.0)
    torch.testing.assert_close(p.detach(), target, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_newton_converges_quadratically_to_the_optimum_that_scipy_finds(seed):
    problem = Softmax(seed)
    optimum = problem.optimum()
    solver = solvers.solver(NEWTON, problem.parameters, problem.hessian)
    off = [float((problem.flat - optimum).norm())]
    for _ in range(6):
        solver.step(problem.closure, 1.0)
        off.append(float((problem.flat - optimum).norm()))
    # Errors square at each step, down to rounding.
    assert all(after <= max(before**2, 1e-13) for before, after in pairwise(off))
    assert off[-1] < 1e-13


def test_damping_is_the_smallest_power_of_ten_that_makes_the_hessian_positive_definite():
    diagonal = torch.tensor([2.0, -0.5], dtype=torch.float64)
    gradient = torch.tensor([3.0, 1.0], dtype=torch.float64)
    # -0.5 + τ first exceeds 0 at τ = 1: the direction is -(3/3, 1/0.5).
    for damping in (1e-3, 1.0, 0.0):
        direction = solvers.newton_direction(diagonal.diag(), gradient, damping)
        assert direction.tolist() == pytest.approx([-1.0, -2.0])
    # Where the first is enough it is taken: 2 + 8 and -0.5 + 8.
    direction = solvers.newton_direction(diagonal.diag(), gradient, 8.0)
    assert direction.tolist() == pytest.approx([-0.3, -1 / 7.5])


def test_no_damping_at_all_is_the_pure_direction():
    matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    direction = solvers.newton_direction(matrix, torch.tensor([1.0, 2.0]).double(), 0.0)
    assert direction.tolist() == pytest.approx([-0.2, -0.6])


@pytest.mark.parametrize("entry", [torch.nan, torch.inf, -3e38])
def test_there_is_no_direction_where_no_damping_of_that_type_serves(entry):
    hessian = torch.tensor([[entry, 0.0], [0.0, 1.0]])
    assert solvers.newton_direction(hessian, torch.ones(2), 1e-3) is None


def test_a_step_is_halved_until_the_loss_falls_enough():
    p = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    closure = closure_of(lambda: (1 + p**2).sqrt().sum(), [p])
    # The pure step on √(1 + p²) leads from p to -p³, and so overshoots where p > 1: from 2 the
    # whole step of -10 to -8 is too far, half of it to -3 too, a quarter to -0.5 brings a fall.
    newton = solvers.solver(NEWTON, [p], lambda: (1 + p.detach() ** 2).pow(-1.5).diag())
    newton.step(closure, 1.0)
    assert p.item() == pytest.approx(-0.5)


def test_the_learning_rate_is_a_factor_of_the_step():
    target = torch.tensor([4.0, -8.0], dtype=torch.float64)
    p, closure, hessian = quadratic(torch.eye(2, dtype=torch.float64), target)
    solvers.solver(NEWTON, [p], hessian).step(closure, 0.25)
    assert p.tolist() == pytest.approx([1.0, -2.0])


def test_a_step_that_no_halving_mends_is_skipped_after_21_trials():
    p, calls = nn.Parameter(torch.tensor([-0.0, 3.0])), []

    def closure():
        calls.append(1)  # each trial is worse than the last, whatever the parameters
        p.grad = torch.ones(2)
        return torch.tensor(float(len(calls)))

    solvers.solver(NEWTON | {"damping": 1.0}, [p], lambda: torch.eye(2)).step(closure, 1.0)
    assert len(calls) == 1 + 21
    assert p.tolist() == [0.0, 3.0]
    assert bool(p[0].signbit())


@pytest.mark.parametrize("spoilt", ["loss", "gradient", "hessian"])
def test_newton_skips_a_step_that_is_not_finite(spoilt):
    p = nn.Parameter(torch.tensor([1.0, 2.0]))
    bad = {spoilt: torch.nan}

    def closure():
        p.grad = torch.full((2,), bad.get("gradient", 1.0))
        return torch.tensor(bad.get("loss", 1.0))

    hessian = torch.eye(2) * bad.get("hessian", 1.0)
    solvers.solver(NEWTON, [p], lambda: hessian).step(closure, 1.0)
    assert p.tolist() == [1.0, 2.0]


def test_newton_stays_at_an_optimum_in_single_precision():
    target = torch.tensor([1 / 3, -1 / 7])
    p, closure, hessian = quadratic(torch.diag(torch.tensor([1.0, 3.0])), target)
    solver = solvers.solver(NEWTON | {"damping": 1e-6}, [p], hessian)
    for _ in range(5):
        solver.step(closure, 1.0)
    torch.testing.assert_close(p.detach(), target, rtol=1e-6, atol=1e-7)


def test_a_resumed_newton_goes_on_with_the_same_bits():
    whole, part = Softmax(), Softmax()
    solver = solvers.solver(NEWTON, whole.parameters, whole.hessian)
    solver.step(whole.closure, 0.5)
    with torch.no_grad():
        for p, q in zip(part.parameters, whole.parameters, strict=True):
            p.copy_(q)
    resumed = solvers.solver(NEWTON, part.parameters, part.hessian)
    resumed.restore(saved(solver.state()))
    solver.step(whole.closure, 0.5)
    resumed.step(part.closure, 0.5)
    assert torch.equal(whole.flat, part.flat)


# -- the Hessian -----------------------------------------------------------------------------------


def conv_net(norm):
    torch.manual_seed(0)
    middle = {
        "none": nn.Identity(),
        "batch": nn.BatchNorm2d(3),
        "plain batch": nn.BatchNorm2d(3, affine=False),
        "group": nn.GroupNorm(1, 3),
    }[norm]
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3, padding=1, bias=norm == "none"), middle, nn.Tanh(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 2, 2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 3)),
    ).double()


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("norm", ["none", "batch", "plain batch", "group"])
def test_the_hessian_of_a_conv_net_in_training_mode_is_that_of_torch_autograd(norm, rows):
    net = conv_net(norm).train()
    x_BCHW, y_B = torch.randn(5, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    parameters = dict(net.named_parameters())
    before = copy.deepcopy(net.state_dict())
    found = solvers.exact_hessian(
        lambda p: F.cross_entropy(solvers.applied(net, p, x_BCHW), y_B), parameters, rows
    )
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    expected = reference.hessian(copy.deepcopy(net), x_BCHW, y_B)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert torch.equal(found, found.T)


def test_applied_leaves_buffers_alone_and_gives_what_the_network_gives():
    net = conv_net("batch")
    x_BCHW = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    for mode in (net.train, net.eval):
        mode()
        before = copy.deepcopy(net.state_dict())
        found = solvers.applied(net, dict(net.named_parameters()), x_BCHW)
        assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
        assert torch.equal(found, net(x_BCHW))


def test_a_hessian_that_is_too_large_is_refused_with_a_way_out():
    with pytest.raises(AblateError, match="at most 10000 parameters, but the model has 10001"):
        solvers.exact_hessian(lambda p: p["w"].sum(), {"w": torch.zeros(solvers.LARGEST + 1)})


def test_a_newton_step_of_the_largest_model_in_single_precision_needs_two_matrices():
    assert solvers.hessian_bytes(10_000) == 2 * 10_000 * 10_000 * 4
    assert solvers.hessian_bytes(10, torch.float64) == 2 * 10 * 10 * 8


def test_a_step_of_lbfgs_at_rate_0_takes_the_loss_and_moves_nothing():
    p, asked = torch.nn.Parameter(torch.ones(3)), []

    def closure():
        asked.append(p.detach().clone())
        p.grad = 2 * p.detach()
        return p.detach().square().sum()

    solvers.LBFGS([p], 10, 20, "strong_wolfe").step(closure, 0.0)
    assert len(asked) == 1
    assert torch.equal(p, torch.ones(3))
