"""Runs as one stacked state, and how a network is applied over the run axis.

Parameters and buffers carry a leading axis R. The network is applied to them in one of two ways:
*looped*, slice by slice, each slice an ordinary module whose parameters are views of the stack (so
a run is bit-identical at every R, and to a plain module); or *fused*, once, under torch's vmap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ablate import rng
from ablate.axis import EVERY_RUN, Stacked, Step, sliced
from ablate.nets.dropout import Dropout
from ablate.nets.own_dropout import OwnDropout
from ablate.nets.weights import weights
from ablate.regularize.label_smoothing import cross_entropy
from ablate.train.fused import Fused, compiled, precision, right
from ablate.train.looped import adopt, aligned, bindings, named_tensors


class Stack:
    """R networks of one graph.

    Args:
        modules: One network per run, initialized, all of one structure; the stack takes them over.
        seeds: Seed of each run's dropout.
        fused: Whether to apply them under vmap rather than one after another.
        autocast: Type of activations if lower than the weights', else None.
        random: Whether the network draws from torch's own generator, which is then seeded at each
            step from the run's stream (looped only).
        program: Describes the networks' graph, for torch.compile to write its kernels (fused only);
            None not to compile.

    Attributes:
        parameters: Trained tensors: name -> [R, ...].
        buffers: Other tensors of the network, except dropout's rates and keys: name -> [R, ...].
        weights: Which of the parameters are weights, as `nets.weights` finds them.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        seeds: Sequence[int],
        *,
        fused: bool,
        autocast: torch.dtype | None = None,
        random: bool = False,
        program: str | None = None,
    ) -> None:
        assert not (fused and random), "a network that draws by itself is looped"
        self.fused = fused
        self.width = len(modules)
        self.device = next(modules[0].parameters()).device
        self._autocast, self._random = autocast, random
        self._seeds_R = torch.tensor(seeds, dtype=torch.int64)
        self._sites = _sites(modules)
        keys = [rng.stream(self._seeds_R, f"dropout/{site}") for site in self._sites]
        self._keys_RS = torch.stack(keys, 1).to(self.device) if keys else None
        self._step: Step = 0
        self._keys: Stacked = {}
        self._modules = list(modules)
        self._stack()
        self.weights = {
            k: gates for k, gates in weights(modules[0]).items() if k in self.parameters
        }
        self._fused = Fused(modules[0], self.device, autocast) if fused else None
        self._trained = self._fused
        if fused and program is not None:
            # Which layers drop decides a branch, so it is part of the program.
            drops = [layer.active for layer in modules[0].modules() if isinstance(layer, Dropout)]
            self._trained = compiled(f"{program} {drops}", modules[0], self.device, autocast)

    def _stack(self) -> None:
        named = [dict(named_tensors(module)) for module in self._modules]
        stacked = {
            name: aligned([tensors[name].detach() for tensors in named], pad=not self.fused)
            for name in named[0]
        }
        trained = {name for name, t in named[0].items() if t.requires_grad}
        self.parameters: Stacked = {k: v for k, v in stacked.items() if k in trained}
        self.buffers: Stacked = {k: v for k, v in stacked.items() if k not in trained}
        if not self.fused:
            for r, module in enumerate(self._modules):
                adopt(module, {name: tensor[r] for name, tensor in stacked.items()})
            self._held = [bindings(module, self.buffers) for module in self._modules]
            return
        self._rates: Stacked = {}
        for site in self._sites:
            layers = [_dropout(module, site) for module in self._modules]
            self._rates[f"{site}.rate"] = torch.stack([layer.rate for layer in layers])
            layers[0].active = any(layer.active for layer in layers)

    # -- training ----------------------------------------------------------------------------------

    def gradients(
        self, x_RBCHW: Tensor, target: Stacked, step: Step, alive: Sequence[bool]
    ) -> tuple[Tensor, Tensor, Stacked]:
        """Apply each network in training mode to its batch.

        Args:
            x_RBCHW: Normalized images.
            target: As `label_smoothing.cross_entropy` takes it, stacked: ``y`` [R, B], ...
            step: Number of this step, from 0: it sets the dropout masks.
            alive: Runs worth computing; a looped stack skips the others.

        Returns:
            Mean loss of each run, [R]; number of right answers, float64 [R] (for mixed images, the
            sum of their labels' shares); gradients, shaped like the parameters.
        """
        self._begin(step)
        if self._trained is not None:
            return self._fused_gradients(self._trained, x_RBCHW, target)
        return self._looped_gradients(x_RBCHW, target, alive)

    def _fused_gradients(
        self, fused: Fused, x_RBCHW: Tensor, target: Stacked
    ) -> tuple[Tensor, Tensor, Stacked]:
        leaves = {k: v.detach().requires_grad_() for k, v in self.parameters.items()}
        state = self.buffers | self._rates | self._keys
        losses_R, right_R = fused.losses(leaves, state, x_RBCHW, target)
        found = torch.autograd.grad(losses_R.sum(), list(leaves.values()), materialize_grads=True)
        return losses_R.detach(), right_R, dict(zip(leaves, found, strict=True))

    def _looped_gradients(
        self, x_RBCHW: Tensor, target: Stacked, alive: Sequence[bool]
    ) -> tuple[Tensor, Tensor, Stacked]:
        single = self.width == 1
        gradients = {} if single else {k: torch.zeros_like(v) for k, v in self.parameters.items()}
        losses, answers = [], []
        for r, module in enumerate(self._modules):
            if not alive[r]:
                losses.append(x_RBCHW.new_full((), torch.nan))
                answers.append(x_RBCHW.new_zeros((), dtype=torch.float64))
                continue
            own = {name: tensor[r] for name, tensor in target.items()}
            with self._precision(), self._own_randomness(r):
                logits_BK = self.prepared(r).train()(x_RBCHW[r])
            loss = cross_entropy(logits_BK, own)
            leaves = {k: p for k, p in module.named_parameters() if p.requires_grad}
            found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
            for name, gradient in zip(leaves, found, strict=True):
                if single:
                    gradients[name] = gradient[None]
                else:
                    gradients[name][r] = gradient
            losses.append(loss.detach())
            answers.append(right(logits_BK.detach(), own))
            self._take_back(r)
        return torch.stack(losses), torch.stack(answers), gradients

    # -- evaluation --------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, x: Tensor, runs: slice = EVERY_RUN, *, apart: bool = False) -> Tensor:
        """Apply networks in evaluation mode.

        Args:
            x: Normalized images, [N, C, H, W].
            runs: Which runs.
            apart: Whether each of these runs has its own images: x is [R, N, C, H, W].

        Returns:
            Logits [R, N, K] of these runs.
        """
        if self._fused is not None:
            parameters, state = sliced(self.parameters, runs), self.buffers | self._rates
            return self._fused.logits(parameters, sliced(state, runs), x, apart=apart)
        each = []
        for place, r in enumerate(range(self.width)[runs]):
            with self._precision(), self._own_randomness(r):
                each.append(self._modules[r].eval()(x[place] if apart else x))
            self._take_back(r)
        return torch.stack(each)

    @contextmanager
    def holding(self, tensors: Stacked) -> Iterator[None]:
        """Put other parameters and buffers in place for this context."""
        held = self.parameters | self.buffers
        before = {name: held[name].detach().clone() for name in tensors}
        self.put(tensors)
        try:
            yield
        finally:
            self.put(before)

    @torch.no_grad()
    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Put other parameters and buffers in place: name -> [R, ...]."""
        held = self.parameters | self.buffers
        for name, tensor in tensors.items():
            held[name].copy_(tensor)

    @property
    def keeps_statistics(self) -> bool:
        """Whether the networks keep running statistics of batches."""
        return bool(self._batch_norms())

    @torch.no_grad()
    def measure_statistics(
        self, batches: Iterable[Tensor], parts: Sequence[slice] = (EVERY_RUN,)
    ) -> None:
        """Measure batch norm's running statistics again, as plain means over batches.

        Args:
            batches: Normalized images [B, C, H, W].
            parts: Slices of the runs, each as many as fit into memory at a time.

        Source: Izmailov et al. 2018, arXiv:1803.05407, section 3.2.
        """
        norms = self._batch_norms()
        momenta = [norm.momentum for norm in norms]
        try:
            for number, x_BCHW in enumerate(batches, start=1):
                for norm in norms:
                    norm.momentum = 1 / number
                self._begin(-number)
                for runs in parts:
                    self._observe(x_BCHW, runs)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    def _observe(self, x_BCHW: Tensor, runs: slice) -> None:
        """Pass a batch in training mode."""
        if self._fused is not None:
            state = sliced(self.buffers | self._rates | self._keys, runs)
            self._fused.observe(sliced(self.parameters, runs), state, x_BCHW)
            return
        for r in range(self.width)[runs]:
            with self._own_randomness(r):
                self.prepared(r).train()(x_BCHW)
            self._take_back(r)

    def _batch_norms(self) -> list[Any]:
        modules = self._modules[:1] if self.fused else self._modules
        layers = [layer for module in modules for layer in module.modules()]
        kind = torch.nn.modules.batchnorm._BatchNorm
        return [m for m in layers if isinstance(m, kind) and m.track_running_stats]

    # -- slices ------------------------------------------------------------------------------------

    def slice(self, r: int) -> dict[str, Tensor]:
        """Copy all of run r's parameters and buffers, as a flat dict on the CPU."""
        both = self.parameters | self.buffers
        return {name: tensor[r].detach().cpu().clone() for name, tensor in both.items()}

    def load_slice(self, r: int, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `slice` copied."""
        with torch.no_grad():
            for name, tensor in (self.parameters | self.buffers).items():
                tensor[r].copy_(tensors[name])

    def state_dict(self, r: int) -> dict[str, Tensor]:
        """Copy run r's weights as the plain module's state dict, on the CPU."""
        held = self.slice(r)
        module = self._modules[0 if self.fused else r]
        # A tied weight has several names in a state dict, but only one among the parameters.
        tensors = dict(module.named_parameters(remove_duplicate=False))
        first = {id(t): name for name, t in module.named_parameters()}
        return {
            name: held[first[id(tensors[name])] if name in tensors else name]
            for name in module.state_dict()
        }

    @property
    def sizes(self) -> int:
        """Trained parameters of one run."""
        return sum(p[0].numel() for p in self.parameters.values())

    def trained(self, r: int) -> dict[str, nn.Parameter]:
        """Give run r's own trained parameters, views of the stack; looped only."""
        assert not self.fused, "a fused stack has one module for all runs"
        return {k: p for k, p in self._modules[r].named_parameters() if p.requires_grad}

    def layers(self, r: int) -> nn.Module:
        """Give run r's module, to look at its structure."""
        return self._modules[r]

    # -- details -----------------------------------------------------------------------------------

    def _begin(self, step: Step) -> None:
        """Begin a step: set the keys of its random numbers."""
        self._step, self._keys = step, self._keys_at(step)

    def _keys_at(self, step: Step) -> Stacked:
        if self._keys_RS is None:
            return {}
        keys_RS = rng.fold(self._keys_RS, step)
        return {f"{site}.key": keys_RS[:, s] for s, site in enumerate(self._sites)}

    def prepared(self, r: int) -> nn.Module:
        """Return run r's module with its dropout set for this step; looped only."""
        module = self._modules[r]
        for site, key_R in self._keys.items():
            _dropout(module, site.removesuffix(".key")).begin(key_R[r])
        return module

    def _precision(self) -> AbstractContextManager[Any]:
        return precision(self.device, self._autocast)

    def _own_randomness(self, r: int) -> AbstractContextManager[None]:
        if not self._random:
            return nullcontext()
        return rng.seeded(int(rng.fold(rng.stream(self._seeds_R[r], "torch"), self._step)))

    def _take_back(self, r: int) -> None:
        """Copy back buffers that the module has replaced instead of changing them in place."""
        for owner, name, view in self._held[r]:
            bound = owner._buffers[name]
            if bound is not None and bound is not view:
                view.copy_(bound)
                owner._buffers[name] = view


def _sites(modules: Sequence[nn.Module]) -> list[str]:
    return [
        name
        for name, layer in modules[0].named_modules()
        # The user's code may set the rate of its own dropout at any time.
        if isinstance(layer, OwnDropout)
        or (isinstance(layer, Dropout) and any(_dropout(m, name).active for m in modules))
    ]


def _dropout(module: nn.Module, site: str) -> Dropout:
    layer = module.get_submodule(site)
    assert isinstance(layer, Dropout), "sites are named after dropout layers"
    return layer
