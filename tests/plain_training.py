"""A whole run in plain torch: one module, one loop, torch.optim. Slow, obvious, no stack.

From `ablate` it uses only what has its own tests: networks and their initial weights, random
streams and augmented images. Everything else is written here again: targets, penalties, SAM,
limits, update rules (torch's own), schedules (closed forms), averages, and which weights are
tested.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ablate import rng
from ablate.data.augment import Augmentation, Moment
from ablate.data.tensors import Split, Tensors
from ablate.nets.build import build
from ablate.nets.dropout import Dropout
from ablate.nets.init import initialize
from ablate.nets.whiten import Whitening, covariance, filters
from tests import reference

Config = dict[str, Any]
Weights = dict[str, Tensor]
Gradients = dict[str, Tensor]


@dataclass
class Trained:
    """What a run leaves.

    Attributes:
        steps: Weights and buffers after each step.
        losses: Loss of each step, without penalties.
        history: Losses and learning rate of each epoch.
        tested: Weights and buffers that were tested, unless the run diverged.
        metrics: Losses of the splits with those.
        diverged: Whether a loss was not finite.
    """

    steps: list[Weights] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    tested: Weights = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    diverged: bool = False


def train(config: Config, data: Tensors, *, nudge: float = 0) -> Trained:
    """Train a run.

    Args:
        config: A resolved configuration.
        data: Its data set, in float64.
        nudge: How far to move the initial weights, to see how far the run then deviates.
    """
    return _Run(config, data, nudge).trained()


class _Run:
    """A run in progress."""

    def __init__(self, config: Config, data: Tensors, nudge: float) -> None:
        self.config, self.data, self.options = config, data, config["regularize"]
        self.batch = config["batch_size"]
        self.epoch_steps = len(data.train) // self.batch
        self.steps = self.epoch_steps * config["epochs"]
        self.module = _network(config, data)
        self.trainable = {k: p for k, p in self.module.named_parameters() if p.requires_grad}
        _move(self.trainable, nudge)
        self.seeds = {
            source: config["seed"] if pinned is None else pinned
            for source, pinned in config["seeds"].items()
        }
        seed_R = torch.tensor([self.seeds["augment"]])
        self.augmentation = Augmentation([config], seed_R, data)
        self.update = _update_rule(config["optimizer"], self.module, self.trainable)
        self.averaged: list[Weights] = []  # the weights to average
        self.left = Trained()

    def trained(self) -> Trained:
        left, factor, plateau = self.left, 1.0, _Plateau(self.config["schedule"])
        best: tuple[tuple[float, float], int, nn.Module] | None = None
        judged = self.module
        for epoch in range(1, self.config["epochs"] + 1):
            totals = []
            for step in range((epoch - 1) * self.epoch_steps, epoch * self.epoch_steps):
                lr = self.config["optimizer"]["lr"] * factor * self._share(step)
                loss, penalty = self._step(step, lr)
                totals.append(loss + penalty)
                left.losses.append(loss)
                left.steps.append(_held(self.module))
            judged = self._judged(epoch * self.epoch_steps)
            val = self._measured(judged, self.data.val)
            left.history.append(self._entry(lr, val))
            if not all(map(math.isfinite, totals)) or (val and not math.isfinite(val["loss"])):
                left.diverged = True
                return left
            if val is None:
                continue
            score = (val["accuracy"], -val["loss"])
            if best is None or score > best[0]:
                best = score, epoch, copy.deepcopy(judged)
            patience = self.options["early_stopping"]
            if patience is not None and epoch - best[1] >= patience:
                break
            if self.config["schedule"]["name"] == "plateau":
                factor = plateau.factor_after(val["loss"])
        if self.config["select"] == "best" and best is not None:
            judged = best[2]
        return self._tested(judged)

    def _entry(self, lr: float, val: dict[str, float] | None) -> dict[str, float]:
        mean = sum(self.left.losses[-self.epoch_steps :]) / self.epoch_steps
        entry = {"lr": lr, "train/loss": mean}
        return entry if val is None else entry | {"val/loss": val["loss"]}

    def _tested(self, judged: nn.Module) -> Trained:
        self.left.tested = _held(judged)
        for name in ("train", "val", "test"):
            if (found := self._measured(judged, getattr(self.data, name))) is not None:
                self.left.metrics[f"{name}/loss"] = found["loss"]
        self.left.diverged = not math.isfinite(self.left.metrics["train/loss"])
        return self.left

    # -- a step ------------------------------------------------------------------------------------

    def _step(self, step: int, lr: float) -> tuple[float, float]:
        x, target = self._batch(step)

        def objective(weights: Weights | None = None) -> tuple[Tensor, Tensor]:
            return self._objective(x, target, step, weights)

        if isinstance(self.update, _Solver):
            found = self.update.step(objective, lr)
        else:
            found, gradients = _differentiated(objective, self.trainable)
            if rho := self.options["sam"]:
                gradients = self._uphill(objective, gradients, rho)
            self._clip(gradients)
            self.update(lr)
        self._limit_weights()
        self.averaged.append(_held(self.module))
        return found

    def _objective(
        self, x: Tensor, target: Tensor, step: int, weights: Weights | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss and the penalties; with given weights, no buffer changes."""
        self.module.train()
        _begin(self.module, self.seeds["dropout"], step)
        if weights is None:
            logits, named = self.module(x), self.trainable
        else:
            buffers = {name: buffer.clone() for name, buffer in _buffers(self.module).items()}
            logits = torch.func.functional_call(self.module, buffers | weights, (x,))
            named = weights
        smoothing = self.options["label_smoothing"]
        loss = F.cross_entropy(logits, target, label_smoothing=smoothing)
        penalty = torch.zeros((), dtype=torch.float64)
        for name in _weight_names(self.module):
            if self.options["l1"]:
                penalty = penalty + self.options["l1"] * named[name].abs().sum()
            if self.options["l2"]:
                penalty = penalty + self.options["l2"] * named[name].square().sum()
        return loss, penalty

    def _uphill(self, objective: Objective, gradients: Gradients, rho: float) -> Gradients:
        before = _held(self.module)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
        with torch.no_grad():
            for name, p in self.trainable.items():
                p += gradients[name] * (rho / norm) if norm else 0
        _, found = _differentiated(objective, self.trainable)
        with torch.no_grad():
            for name, tensor in (self.trainable | _buffers(self.module)).items():
                tensor.copy_(before[name])
        return found

    def _clip(self, gradients: Gradients) -> None:
        for name, p in self.trainable.items():
            p.grad = gradients[name].clone()
        parameters = list(self.trainable.values())
        if (most := self.options["clip_value"]) is not None:
            nn.utils.clip_grad_value_(parameters, most)
        if (most := self.options["clip_norm"]) is not None:
            nn.utils.clip_grad_norm_(parameters, most)

    @torch.no_grad()
    def _limit_weights(self) -> None:
        if (most := self.options["max_norm"]) is None:
            return
        for name in _weight_names(self.module):
            for unit in self.trainable[name]:
                if (norm := float(unit.square().sum().sqrt())) > most:
                    unit *= most / norm

    def _share(self, step: int) -> float:
        return rate(self.config["schedule"], step, self.steps, self.epoch_steps)

    # -- batches -----------------------------------------------------------------------------------

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Make a step's images, and each image's target as probabilities of the classes."""
        epoch, place = divmod(step, self.epoch_steps)
        key = rng.fold(rng.stream(self.seeds["order"], "order"), epoch)
        order = rng.permutation(key, len(self.data.train))
        index = order[place * self.batch : (place + 1) * self.batch]
        moment = Moment("augment", step, 0, epoch % 2, index[None])
        x = self.augmentation(self.data.train.images[index][None], moment)[0]
        if sd := self.options["input_noise"]:
            key = rng.fold(rng.stream(self.seeds["augment"], "augment/input_noise"), step)
            x = x + sd * rng.noise(key, x.shape, torch.float64)
        target = F.one_hot(self.data.train.labels[index], self.data.classes).double()
        if self.options["mixup"] or self.options["cutmix"]:
            x, target = self._mixed(step, x, target)
        return x, target

    def _mixed(self, step: int, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        key = rng.fold(rng.stream(self.seeds["augment"], "mixing/partner"), step)
        partners = rng.permutation(key, len(x)).tolist()
        mixup, cutmix = self.options["mixup"], self.options["cutmix"]
        cuts = bool(cutmix) and (not mixup or self._chance("mixing/coin", step) < 0.5)
        height, width = x.shape[2:]
        if cuts:
            kept = stats.beta.ppf(self._chance("cutmix", step, 0), cutmix, cutmix)
            high, wide = (round(math.sqrt(1 - kept) * side) for side in (height, width))
            u, v = self._chance("cutmix", step, 1), self._chance("cutmix", step, 2)
            weight = (~reference.box(u, v, high, wide, height, width)).double()
        else:
            share = stats.beta.ppf(self._chance("mixup", step), mixup, mixup)
            weight = torch.full((height, width), share, dtype=torch.float64)
        share = weight.mean()
        other = target[partners]
        return reference.mixed(x, partners, weight), share * target + (1 - share) * other

    def _chance(self, site: str, step: int, part: int | None = None) -> float:
        key = rng.stream(self.seeds["augment"], site)
        key = key if part is None else rng.fold(key, part)
        return float(rng.uniform(key, torch.Size((self.steps,)))[step])

    # -- evaluation --------------------------------------------------------------------------------

    def _judged(self, steps: int) -> nn.Module:
        """Return the network to evaluate after some steps: as it is, or averaged."""
        ema, swa = self.options["ema"], self.options["swa"]
        if not ema and swa is None:
            return self.module
        if ema:
            mean = self.averaged[0]
            for new in self.averaged[1:]:
                mean = {k: _blend(mean[k], new[k], ema) for k in new}
            return _with(self.module, mean)
        first = round(swa * self.steps)
        some = self.averaged[first:] or self.averaged[-1:]
        mean = {k: torch.stack([each[k].double() for each in some]).mean(0) for k in some[0]}
        judged = _with(self.module, mean)
        if steps > first and any(_keeps_statistics(layer) for layer in judged.modules()):
            update_bn(self._plain(judged), judged)
        return judged

    def _plain(self, judged: nn.Module) -> Iterator[Tensor]:
        images = self.data.train.images[self.data.train.order]
        for number, part in enumerate(torch.split(images, self.batch), 1):
            if len(part) == self.batch:
                _begin(judged, self.seeds["dropout"], -number)
                yield self.data.normalized(part)

    @torch.no_grad()
    def _measured(self, judged: nn.Module, split: Split) -> dict[str, float] | None:
        if len(split) == 0:
            return None
        judged.eval()
        images, labels = split.images[split.order], split.labels[split.order]
        views = [self.data.normalized(images)]
        for number in range(1, self.config["augment"]["test_views"]):
            moment = Moment("augment/test", number, 0, number % 2)
            views.append(self.augmentation(images[None], moment)[0])
        probabilities = torch.stack([judged(x).log_softmax(1) for x in views])
        logs = probabilities.logsumexp(0) - math.log(len(views))
        right = (logs.argmax(1) == labels).double().mean()
        return {"loss": float(F.nll_loss(logs, labels)), "accuracy": float(right)}


# -- networks --------------------------------------------------------------------------------------


def _network(config: Config, data: Tensors) -> nn.Module:
    with rng.seeded(0):
        module = build(config, data.shape, data.classes)
    seed = config["seeds"]["init"]
    initialize(module, config["init"], config["seed"] if seed is None else seed)
    module.double()
    for layer in module.modules():
        if isinstance(layer, Whitening):
            side = layer.kernel_size[0]
            found = filters(covariance(data.train.images, data.std, side))
            with torch.no_grad():
                layer.weight.copy_(found.view_as(layer.weight))
    return module


@torch.no_grad()
def _move(parameters: dict[str, nn.Parameter], nudge: float) -> None:
    chance = torch.Generator().manual_seed(0)
    for p in parameters.values():
        p += nudge * torch.randn(p.shape, generator=chance, dtype=torch.float64)


def _begin(module: nn.Module, seed: int, step: int) -> None:
    for name, layer in module.named_modules():
        if isinstance(layer, Dropout):
            layer.begin(rng.fold(rng.stream(seed, f"dropout/{name}"), step))


def _weighted(module: nn.Module) -> list[str]:
    """List the layers that have a trained matrix or kernel, so no norms."""
    layers = [(k, m) for k, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return [name for name, layer in layers if layer.weight.requires_grad]


def _weight_names(module: nn.Module) -> list[str]:
    return [f"{name}.weight" for name in _weighted(module)]


def _buffers(module: nn.Module) -> Weights:
    """Return the running statistics of batch norm."""
    named = module.named_buffers()
    return {k: b for k, b in named if k.rpartition(".")[2].startswith("running")}


def _held(module: nn.Module) -> Weights:
    both = dict(module.named_parameters()) | _buffers(module)
    return {name: tensor.detach().clone() for name, tensor in both.items()}


def _with(module: nn.Module, weights: Weights) -> nn.Module:
    made = copy.deepcopy(module)
    made.load_state_dict(weights, strict=False)
    return made


def _blend(mean: Tensor, new: Tensor, decay: float) -> Tensor:
    return decay * mean + (1 - decay) * new


def _keeps_statistics(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats


# -- update rules ----------------------------------------------------------------------------------

Objective = Callable[..., tuple[Tensor, Tensor]]


def _differentiated(
    objective: Objective, parameters: dict[str, nn.Parameter]
) -> tuple[tuple[float, float], Gradients]:
    loss, penalty = objective()
    leaves = list(parameters.values())
    found = torch.autograd.grad(loss + penalty, leaves, materialize_grads=True)
    return (float(loss.detach()), float(penalty.detach())), dict(
        zip(parameters, found, strict=True)
    )


def _update_rule(optimizer: Config, module: nn.Module, parameters: dict[str, nn.Parameter]) -> Any:
    if optimizer["name"] in ("lbfgs", "newton"):
        return {"lbfgs": _LBFGS, "newton": _Newton}[optimizer["name"]](optimizer, parameters)
    if optimizer["name"] == "muon":
        return _Muon(optimizer, module)
    theirs = reference.torch_optimizer(optimizer, parameters.values())

    def update(lr: float) -> None:
        theirs.param_groups[0]["lr"] = lr
        theirs.step()

    return update


class _Muon:
    """Matrices by Muon's iteration on singular values; the rest by torch's AdamW."""

    def __init__(self, optimizer: Config, module: nn.Module) -> None:
        self.optimizer = optimizer
        layers = [module.get_submodule(name) for name in _weighted(module)]
        self.weights = [(layer.weight, getattr(layer, "gates", 1)) for layer in layers]
        self.means = [torch.zeros_like(p) for p, _ in self.weights]
        own = {id(p) for p, _ in self.weights}
        rest = [p for p in module.parameters() if p.requires_grad and id(p) not in own]
        plain = {k: v for k, v in optimizer.items() if k not in ("momentum", "ns_steps")}
        plain["name"] = "adamw"
        self.rest = reference.torch_optimizer(plain, rest) if rest else None

    @torch.no_grad()
    def __call__(self, lr: float) -> None:
        momentum, decay = self.optimizer["momentum"], self.optimizer["weight_decay"]
        for (p, gates), mean in zip(self.weights, self.means, strict=True):
            assert p.grad is not None, "the gradient was just computed"
            mean.copy_(momentum * mean + (1 - momentum) * p.grad)
            ahead = momentum * mean + (1 - momentum) * p.grad
            steps = self.optimizer["ns_steps"]
            directions = [reference.orthogonalized(gate, steps) for gate in ahead.chunk(gates)]
            p.copy_((1 - lr * decay) * p - lr * torch.cat(directions))
        if self.rest is not None:
            self.rest.param_groups[0]["lr"] = lr
            self.rest.step()


class _Solver(ABC):
    def __init__(self, optimizer: Config, parameters: dict[str, nn.Parameter]) -> None:
        self.optimizer, self.parameters = optimizer, parameters

    @abstractmethod
    def step(self, objective: Objective, lr: float) -> tuple[float, float]:
        """Do one step; return the loss and the penalties before it."""

    def asked(self, objective: Objective) -> tuple[float, float]:
        found, gradients = _differentiated(objective, self.parameters)
        for name, p in self.parameters.items():
            # torch.optim.LBFGS needs contiguous gradients.
            p.grad = gradients[name].clone(memory_format=torch.contiguous_format)
        return found


class _LBFGS(_Solver):
    """Torch's L-BFGS."""

    def __init__(self, optimizer: Config, parameters: dict[str, nn.Parameter]) -> None:
        super().__init__(optimizer, parameters)
        search = optimizer["line_search"]
        self.theirs = torch.optim.LBFGS(
            parameters.values(),
            max_iter=optimizer["max_iter"],
            history_size=optimizer["history"],
            line_search_fn=None if search == "none" else search,
        )

    def step(self, objective: Objective, lr: float) -> tuple[float, float]:
        answers = []

        def closure() -> float:
            answers.append(self.asked(objective))
            return sum(answers[-1])

        if lr == 0:  # torch's line search would divide by zero
            closure()
            return answers[0]
        self.theirs.param_groups[0]["lr"] = lr
        self.theirs.step(closure)
        return answers[0]


class _Newton(_Solver):
    """Nocedal & Wright 2006, algorithm 3.3 and equation 3.4, with torch's Hessian."""

    @torch.no_grad()
    def step(self, objective: Objective, lr: float) -> tuple[float, float]:
        found = torch.enable_grad()(self.asked)(objective)
        gradient = torch.cat([p.grad.flatten() for p in self.parameters.values()])
        if not (math.isfinite(sum(found)) and bool(gradient.isfinite().all())):
            return found
        direction = self._direction(self._hessian(objective), gradient)
        if direction is None:
            return found
        start = torch.cat([p.flatten() for p in self.parameters.values()])
        for halvings in range(21):
            length = lr * 0.5**halvings
            self._put(start + length * direction)
            now = sum(torch.enable_grad()(self.asked)(objective))
            if now <= sum(found) + 1e-4 * length * float(gradient @ direction):
                return found
        self._put(start)
        return found

    @torch.enable_grad()
    def _hessian(self, objective: Objective) -> Tensor:
        def total(flat: Tensor) -> Tensor:
            loss, penalty = objective(self._parts(flat))
            return loss + penalty

        start = torch.cat([p.detach().flatten() for p in self.parameters.values()])
        return torch.autograd.functional.hessian(total, start, vectorize=True)

    def _direction(self, hessian: Tensor, gradient: Tensor) -> Tensor | None:
        damping = self.optimizer["damping"]
        while bool(hessian.isfinite().all()) and math.isfinite(damping):
            damped = hessian + damping * torch.eye(len(hessian), dtype=torch.float64)
            if torch.linalg.cholesky_ex((damped + damped.T) / 2).info == 0:
                return torch.linalg.solve(damped, -gradient)
            damping *= 10
        return None

    def _parts(self, flat: Tensor) -> Weights:
        parts = flat.split([p.numel() for p in self.parameters.values()])
        named = zip(self.parameters.items(), parts, strict=True)
        return {name: part.view(p.shape) for (name, p), part in named}

    def _put(self, flat: Tensor) -> None:
        for name, part in self._parts(flat).items():
            self.parameters[name].copy_(part)


# -- learning rates --------------------------------------------------------------------------------


def rate(schedule: Config, step: int, steps: int, epoch_steps: int) -> float:
    """Compute the fraction of the base rate at a step, from 0."""
    warmup = min(round(schedule["warmup_epochs"] * epoch_steps), steps)
    if step < warmup:
        return (step + 1) / warmup
    t, total = step - warmup, steps - warmup
    name, final, gamma = schedule["name"], schedule.get("final"), schedule.get("gamma")
    if name == "step":
        return gamma ** (t // max(round(schedule["every"] * total), 1))
    if name == "multistep":
        return gamma ** sum(t >= round(share * total) for share in schedule["milestones"])
    if name == "exponential":
        return gamma ** (t / epoch_steps)
    if name == "linear":
        return final + (1 - final) * (1 - t / total)
    if name == "polynomial":
        return final + (1 - final) * (1 - t / total) ** schedule["power"]
    if name == "cosine":
        return final + (1 - final) * _arc(t / total)
    if name == "warm_restarts":
        return final + (1 - final) * _arc(_share_of_cycle(schedule, t, total))
    if name == "cyclic":
        cycle, place = divmod(Fraction(t * schedule["cycles"], total), 1)
        height = 1 - abs(2 * float(place) - 1)
        height *= 0.5 ** int(cycle) if schedule["mode"] == "triangular2" else 1
        return final + (1 - final) * height
    if name == "one_cycle":
        top, last = schedule["rise"] * total - 1, total - 1
        if t > top:
            return final + (1 - final) * _arc((t - top) / (last - top))
        initial = schedule["initial"]
        return initial + (1 - initial) * (1 - _arc(t / top) if top > 0 else 1)
    return 1  # constant; plateau too, whose factor is applied separately


def _arc(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def _share_of_cycle(schedule: Config, t: int, total: int) -> float:
    """Compute how much of its cycle has passed at a step, in exact fractions."""
    lengths = [Fraction(schedule["growth"]) ** i for i in range(schedule["cycles"])]
    unit, start = total / sum(lengths), Fraction(0)
    for length in lengths:
        end = start + length * unit
        if abs(end - round(end)) < 1e-6:  # off a whole step only by rounding
            end = Fraction(round(end))
        if t < end:
            return float((t - start) / (end - start))
        start = end
    raise AssertionError("the last cycle ends with the training")


class _Plateau:
    """Like torch's ReduceLROnPlateau with its defaults."""

    def __init__(self, schedule: Config) -> None:
        self.schedule, self.best, self.waited, self.factor = schedule, math.inf, 0, 1.0

    def factor_after(self, loss: float) -> float:
        self.waited += 1
        if loss < self.best * (1 - 1e-4):
            self.best, self.waited = loss, 0
        if self.waited > self.schedule["patience"]:
            self.factor, self.waited = self.factor * self.schedule["gamma"], 0
        return self.factor
