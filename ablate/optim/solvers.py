"""Optimizers that ask for the loss again within a step; for one run at a time.

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

from ablate.errors import AblateError

Closure = Callable[[], Tensor]  # gives the loss, and leaves its gradients in each p.grad

LARGEST = 10_000  # parameters that an exact Hessian may have
_ROWS = 8  # of the Hessian at once: each takes the memory of one backward pass
_ARMIJO = 1e-4  # share of the promised decrease that a step must bring
_HALVINGS = 20


class Solver(Protocol):
    """What trains one run by asking for its loss."""

    def step(self, closure: Closure, lr: float) -> None:
        """Update the parameters in place.

        Args:
            closure: Evaluates the loss and sets each parameter's ``grad``; called several times,
                it must be the same function of the parameters within a step.
            lr: Factor of the first step length that is tried.
        """

    def state(self) -> dict[str, Any]:
        """Copy what a resumed run needs: tensors on the CPU, numbers, lists and dicts."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; it is copied."""


def solver(
    config: Mapping[str, Any],
    parameters: Sequence[nn.Parameter],
    hessian: Callable[[], Tensor] | None,
) -> Solver:
    """Make the solver that a configuration names.

    Args:
        config: Its `optimizer` part; ``name`` is lbfgs or newton.
        parameters: What is trained, in the order of the Hessian's rows.
        hessian: Gives the Hessian [P, P] at the present parameters; newton's alone.
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
        if lr == 0:  # as a cycle of rates may begin; torch's line search divides by the length
            closure()
            return
        self._optimizer.param_groups[0]["lr"] = lr
        self._optimizer.step(closure)  # type: ignore[no-untyped-call]

    def state(self) -> dict[str, Any]:
        held = self._optimizer.state_dict()["state"].get(0, {})
        # "al" is scratch that is filled before it is read.
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
        hessian: Gives the Hessian [P, P] at the present parameters; it may be overwritten.
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
            # In the type of the loss: where the promise is below its rounding, equal is enough.
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
        The direction [P], or None where the Hessian is not finite or no τ of its type serves.

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
    """Tell the bytes that a Newton step holds at once, beside its backward passes.

    Args:
        count: Parameters.
        dtype: Their type.

    Returns:
        The room of two matrices: the Hessian with its transpose, later with its factor.
    """
    return 2 * count**2 * dtype.itemsize


def applied(module: nn.Module, parameters: Mapping[str, Tensor], *inputs: Tensor) -> Tensor:
    """Apply a network, in the mode it is in, with these parameters; its buffers stay as they are.

    Running statistics that it would update are updated in copies, which are dropped.

    Args:
        module: The network; no tensor of it is changed.
        parameters: As in its ``named_parameters()``; those left out are taken as they are.
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
    """Compute all second derivatives, a backward pass through the gradient for each row.

    Args:
        loss: Gives the loss for parameters like these; changes nothing (see `applied`).
        parameters: Where to take it; together P numbers, at most `LARGEST`.
        rows: How many are computed at once, under vmap; 1 for networks that cannot be vmapped.

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
            f"newton takes at most {LARGEST} parameters, the model has {count}:"
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
