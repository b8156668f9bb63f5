"""Optimizers that evaluate the loss several times per step; for one run at a time.

They suit small problems without noise: one batch of all images, no dropout. A solver's docstring is
its card. Newton's Hessian comes from `exact_hessian`, and `applied` evaluates a network for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap
from torch.torch_version import TorchVersion

from ablate.errors import AblateError

Closure = Callable[[], Tensor]  # returns the loss, and sets each p.grad

LARGEST = 10_000  # most parameters for an exact Hessian
# Rows of the Hessian at a time: each takes the memory of a backward pass. Torch before 2.14 cannot
# take second derivatives of several where channels lie last.
_ROWS = 8 if TorchVersion(torch.__version__) >= "2.14" else 1
_ARMIJO = 1e-4  # share of the predicted decrease that a step must reach
_HALVINGS = 20


class Solver(Protocol):
    """Trains one run by evaluating its loss as often as needed."""

    def step(self, closure: Closure, lr: float) -> None:
        """Update the parameters in place.

        Args:
            closure: Evaluates the loss and sets each parameter's ``grad``; within a step it must be
                the same function of the parameters at each call.
            lr: Factor on the first step length to try.
        """

    def state(self) -> dict[str, Any]:
        """Copy what a resumed run needs: tensors on the CPU, numbers, lists and dicts."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state` returned; it is copied."""


def solver(
    config: Mapping[str, Any],
    parameters: Sequence[nn.Parameter],
    hessian: Callable[[], Tensor] | None,
) -> Solver:
    """Make the solver that a configuration names.

    Args:
        config: Its `optimizer` part; ``name`` is lbfgs or newton.
        parameters: The trained parameters, in the order of the Hessian's rows.
        hessian: Computes the Hessian [P, P] at the current parameters; only for newton.
    """
    if config["name"] == "lbfgs":
        return LBFGS(parameters, config["history"], config["max_iter"], config["line_search"])
    assert config["name"] == "newton", "the other optimizers are rules of ablate.optim"
    assert hessian is not None, "newton needs a Hessian"
    return Newton(parameters, hessian, config["damping"])


class LBFGS:
    """Quasi-Newton steps from the last few changes of the gradient: torch's own L-BFGS.

    Near quadratic convergence without a Hessian, on smooth losses of one batch; noise between its
    evaluations (small batches, dropout) spoils its curvature. One step of ours is up to `max_iter`
    of its iterations. lr 1 with strong_wolfe; without a line search, below 1.

    Args:
        parameters: What is trained.
        history: Changes that are kept, 5 to 20.
        max_iter: Iterations a step; at most 5/4 as many evaluations of the loss.
        line_search: ``strong_wolfe``, or ``none`` for steps of length lr.

    Source: Nocedal & Wright 2006, algorithm 7.5, and 3.5 and 3.6 (line search); torch.optim.LBFGS.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], history: int, max_iter: int, line_search: str
    ) -> None:
        self._optimizer = torch.optim.LBFGS(
            parameters,
            max_iter=max_iter,
            history_size=history,
            line_search_fn=None if line_search == "none" else line_search,
        )

    def step(self, closure: Closure, lr: float) -> None:
        if lr == 0:  # a cycle of rates may start at 0, and torch's line search divides by the rate
            closure()
            return
        self._optimizer.param_groups[0]["lr"] = lr
        self._optimizer.step(closure)  # type: ignore[no-untyped-call]

    def state(self) -> dict[str, Any]:
        held = self._optimizer.state_dict()["state"].get(0, {})
        # "al" is scratch space, which torch fills before reading it.
        copied: dict[str, Any] = _copied({k: v for k, v in held.items() if k != "al"})
        return copied

    def restore(self, state: Mapping[str, Any]) -> None:
        whole = self._optimizer.state_dict()
        self._optimizer.load_state_dict(whole | {"state": {0: _copied(dict(state))}})


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value


class Newton:
    """The step to the minimum of the loss's own quadratic model, damped and searched along.

    Solves (H + τI) d = -g with the smallest τ of damping, 10·damping, ... that makes H + τI
    positive definite, then halves the step until the loss falls by 1e-4 of what the slope promises;
    after 20 halvings, or where loss, gradient or Hessian is not finite, the step is skipped. A
    handful of steps reach the optimum of a convex loss. Memory grows with P², time with P³: for
    networks of a few thousand weights. lr 1, damping 1e-3 (float32) or less (float64).

    Args:
        parameters: What is trained, in the order of the Hessian's rows.
        hessian: Computes the Hessian [P, P] at the current parameters; it may be overwritten.
        damping: The smallest τ, at least 0; after 0 comes 1e-3.

    Source: Nocedal & Wright 2006, algorithm 3.3 (τ) and equation 3.4 (Armijo's condition).
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], hessian: Callable[[], Tensor], damping: float
    ) -> None:
        self._parameters = list(parameters)
        self._hessian, self._damping = hessian, damping

    @torch.no_grad()
    def step(self, closure: Closure, lr: float) -> None:
        ask = torch.enable_grad()(closure)
        loss = ask()
        gradient_P = torch.cat([_gradient(p).flatten() for p in self._parameters])
        if not bool(loss.isfinite() & gradient_P.isfinite().all()):
            return
        hessian_PP = torch.enable_grad()(self._hessian)()
        direction_P = newton_direction(hessian_PP, gradient_P, self._damping)
        if direction_P is None:
            return
        slope = gradient_P @ direction_P
        start = [p.clone() for p in self._parameters]
        for halvings in range(_HALVINGS + 1):
            length = lr * 0.5**halvings
            self._move(start, length * direction_P)
            # In the loss's type: if the predicted decrease is below rounding, an equal loss passes.
            if bool(ask() <= loss + _ARMIJO * length * slope):
                return
        self._move(start, None)

    def _move(self, start: Sequence[Tensor], by_P: Tensor | None) -> None:
        moves = _parts(by_P, start) if by_P is not None else [None] * len(start)
        for p, before, move in zip(self._parameters, start, moves, strict=True):
            p.copy_(before if move is None else before + move)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        assert not state, "Newton's method remembers nothing"


def _gradient(p: nn.Parameter) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad


def _parts(flat_P: Tensor, like: Iterable[Tensor]) -> list[Tensor]:
    shaped = list(like)
    parts = torch.split(flat_P, [t.numel() for t in shaped])
    return [part.view_as(t) for part, t in zip(parts, shaped, strict=True)]


def newton_direction(hessian_PP: Tensor, gradient_P: Tensor, damping: float) -> Tensor | None:
    """Solve (H + τI) d = -g for the smallest τ of damping, 10·damping, ... that Cholesky takes.

    Args:
        hessian_PP: Symmetric; its diagonal is overwritten.
        gradient_P: The gradient.
        damping: The smallest τ, at least 0; after 0 comes 1e-3.

    Returns:
        The direction [P], or None if the Hessian is not finite or no τ of its type works.

    Source: Nocedal & Wright 2006, algorithm 3.3.
    """
    diagonal_P, tau = hessian_PP.diagonal().clone(), damping
    while bool(torch.linalg.vector_norm(hessian_PP, math.inf).isfinite()):
        hessian_PP.diagonal().copy_(diagonal_P + tau)
        lower_PP, failed = torch.linalg.cholesky_ex(hessian_PP)
        if not failed:
            # Two triangular solves, since cholesky_solve would copy the factor.
            half_P1 = torch.linalg.solve_triangular(lower_PP, -gradient_P[:, None], upper=False)
            full_P1: Tensor = torch.linalg.solve_triangular(lower_PP.mT, half_P1, upper=True)
            return full_P1[:, 0]
        tau = 10 * tau or 1e-3
    return None


# -- the Hessian -----------------------------------------------------------------------------------


def hessian_bytes(count: int, dtype: torch.dtype = torch.float32) -> int:
    """Return the peak bytes of a Newton step besides its backward passes.

    Args:
        count: Parameters.
        dtype: Their type.

    Returns:
        The size of two matrices: the Hessian with its transpose, later with its factor.
    """
    return 2 * count**2 * dtype.itemsize


def applied(module: nn.Module, parameters: Mapping[str, Tensor], *inputs: Tensor) -> Tensor:
    """Apply a network in its current mode with other parameters, without changing its buffers.

    Running statistics are updated in copies, which are dropped.

    Args:
        module: The network; none of its tensors is changed.
        parameters: Named as in ``named_parameters()``; for names left out, its own are used.
        *inputs: Arguments of its ``forward``.

    Returns:
        What its ``forward`` returns.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    out: Tensor = functional_call(module, {**buffers, **parameters}, inputs)
    return out


def exact_hessian(
    loss: Callable[[dict[str, Tensor]], Tensor], parameters: dict[str, Tensor], rows: int = _ROWS
) -> Tensor:
    """Compute all second derivatives, with a backward pass through the gradient for each row.

    Args:
        loss: Computes the loss for such parameters; changes nothing (see `applied`).
        parameters: The point at which to compute it; P numbers in total, at most `LARGEST`.
        rows: Number of rows at a time, under vmap; 1 for networks that cannot be vmapped.

    Returns:
        Symmetric [P, P], in the order of `parameters`, each flattened.

    Raises:
        AblateError: There are too many parameters.

    Source: Nocedal & Wright 2006, section 8.2 (Hessians by automatic differentiation).
    """
    here = {name: p.detach() for name, p in parameters.items()}
    count = sum(p.numel() for p in here.values())
    if count > LARGEST:
        raise AblateError(
            f"newton takes at most {LARGEST} parameters, but the model has {count}:"
            " use a smaller model, or optimizer=lbfgs"
        )

    def gradient(flat_P: Tensor) -> Tensor:
        parts = _parts(flat_P, here.values())
        found = grad(loss)(dict(zip(here, parts, strict=True)))
        return torch.cat([found[name].flatten() for name in here])

    flat_P = torch.cat([p.flatten() for p in here.values()])
    row: Callable[[Tensor], tuple[Tensor]] = vjp(gradient, flat_P)[1]
    hessian_PP = flat_P.new_empty(count, count)
    for start in range(0, count, rows):
        part_QP = hessian_PP[start : start + rows]
        chosen_QP = torch.zeros_like(part_QP)
        chosen_QP.diagonal(start).fill_(1)
        part_QP.copy_(vmap(row)(chosen_QP)[0] if rows > 1 else row(chosen_QP[0])[0])
    return hessian_PP.add(hessian_PP.mT).mul_(0.5)
