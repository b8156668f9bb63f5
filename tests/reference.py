"""Slow, obvious implementations that the fast ones are held against."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

_64 = 2**64 - 1
_32 = 2**32 - 1


# -- random numbers, in Python's unbounded integers ------------------------------------------------


def splitmix64(z):
    """Finalize as in Steele, Lea & Flood 2014, figure 16 (variant 13 of Stafford's)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _64
    return z ^ (z >> 31)


def fold(key, number):
    """Derive a key: unsigned in, unsigned out."""
    return splitmix64((key * 0x9E3779B97F4A7C15 + number + 0x632BE59BD9B4E019) & _64)


def stream(seed, site):
    """Start a stream: both numbers unsigned or signed, the key unsigned."""
    return fold(splitmix64((seed + 0x632BE59BD9B4E019) & _64), site)


def signed(number):
    """Read 64 unsigned bits as torch's int64 does."""
    return number - 2**64 if number >= 2**63 else number


def bits(key, count):
    """Draw 31 bits an element, the lowest clear, one element after another."""
    return [_bits_of(key & _32, (key & _64) >> 32, index) for index in range(count)]


def _bits_of(low, high, index):
    h = index ^ low
    h = (h ^ (h >> 16)) * 0x7FEB352D & _32
    h = ((h ^ (h >> 15)) + high) * 0x846CA68B & _32
    h = (h ^ (h >> 16)) * 0x9E3779B1 & _32
    h ^= h >> 15
    return h & 0x7FFFFFFE


def uniform(key, count):
    return [(b + 1) / 2**31 for b in bits(key, count)]


def normal(key, count):
    """Transform two uniform numbers each, after Box & Muller 1958."""
    radii = [math.sqrt(-2 * math.log(u)) for u in uniform(fold(key, 1), count)]
    turns = [math.cos(2 * math.pi * u) for u in uniform(fold(key, 2), count)]
    return [radius * turn for radius, turn in zip(radii, turns, strict=True)]


def permutation(key, count):
    """Sort the numbers by a hash of each."""
    return sorted(range(count), key=lambda number: signed(fold(key, number)))


def kept(key, keep, count):
    """Tell for each element whether it is kept, with this probability of keeping."""
    return [b < keep * 2**31 for b in bits(key, count)]


# -- networks, as functions of their state dict ----------------------------------------------------


def dropout(x, rate, key):
    """Zero where the mask says so, one element after another; scale the rest."""
    if rate == 0:
        return x
    flat = [
        value / (1 - rate) if keep else 0 * value
        for value, keep in zip(x.flatten(), kept(key, 1 - rate, x.numel()), strict=True)
    ]
    return torch.stack(flat).view(x.shape)


def normalize(x, kind, groups=1, eps=1e-5):
    """Bring each set of values that belong together to mean 0 and (biased) variance 1."""
    if kind == "batch":
        axes = [axis for axis in range(x.dim()) if axis != 1]
        return _standard(x, axes, eps)
    groups = {"layer": 1, "instance": x.shape[1], "group": math.gcd(groups, x.shape[1])}[kind]
    grouped = x.reshape(len(x), groups, -1)
    return _standard(grouped, [2], eps).view(x.shape)


def _standard(x, axes, eps):
    mean = x.mean(axes, keepdim=True)
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


def cnn(config, state, x, keys):
    """Apply a `cnn` in training mode: its layers in turn, written out.

    Args:
        config: A resolved configuration.
        state: The network's state dict.
        x: Images [B, C, H, W].
        keys: Dropout's key at each site.
    """
    model, rates = config["model"], config["dropout"]
    padding = (model["kernel_size"] - 1) // 2 if model["padding"] == "same" else model["padding"]
    x = dropout(x, rates["input"], keys["input_dropout"])
    for i in range(len(model["channels"])):
        weight, bias = state[f"conv.{i}.conv.weight"], state.get(f"conv.{i}.conv.bias")
        x = F.conv2d(x, weight, bias, model["stride"], padding)
        x = _around_activation(config, state, f"conv.{i}.norm", x)
        if model["pool"] != "none" and min(x.shape[2:]) > 1:
            x = {"max": F.max_pool2d, "avg": F.avg_pool2d}[model["pool"]](x, 2)
        x = dropout(x, rates["conv"], keys[f"conv.{i}.dropout"])
    return _dense(config, state, x.flatten(1), keys, "dense.")


def mlp(config, state, x, keys):
    """Apply an `mlp` in training mode; arguments as for `cnn`."""
    x = dropout(x, config["dropout"]["input"], keys["input_dropout"])
    return _dense(config, state, x.flatten(1), keys, "dense.")


def _dense(config, state, x, keys, at):
    rates = config["dropout"]
    for i in range(len(config["model"]["hidden"])):
        layer = f"{at}layers.{i}."
        x = F.linear(x, state[f"{layer}linear.weight"], state.get(f"{layer}linear.bias"))
        x = _around_activation(config, state, f"{layer}norm", x)
        x = dropout(x, rates["dense"], keys[f"{layer}dropout"])
    x = F.linear(x, state[f"{at}output.weight"], state[f"{at}output.bias"])
    return dropout(x, rates["output"], keys[f"{at}output_dropout"])


def _around_activation(config, state, name, x):
    activation = getattr(F, config["model"]["activation"], None) or torch.tanh
    norm = config["norm"]
    if norm["name"] == "none" or (norm["name"] == "instance" and x.dim() == 2):
        return activation(x)
    if norm["position"] == "after":
        return _scaled(normalize(activation(x), norm["name"], norm.get("groups", 1)), state, name)
    return activation(_scaled(normalize(x, norm["name"], norm.get("groups", 1)), state, name))


def _scaled(x, state, name):
    if f"{name}.weight" not in state:
        return x
    along = (1, -1, *[1] * (x.dim() - 2))
    return x * state[f"{name}.weight"].view(along) + state[f"{name}.bias"].view(along)


# -- optimizers: torch's own, one a run ------------------------------------------------------------


def torch_optimizer(optimizer, parameters):
    """Make torch's optimizer of that name, its plain loop."""
    c = dict(optimizer)
    plain = {"lr": c["lr"], "weight_decay": c["weight_decay"], "foreach": False}
    if c["name"] in ("adam", "adamw"):
        cls = torch.optim.Adam if c["name"] == "adam" else torch.optim.AdamW
        return cls(parameters, betas=(c["beta1"], c["beta2"]), eps=c["eps"], **plain)
    momentum = c.get("momentum", 0)
    # Without momentum Nesterov's rule is plain descent; torch would rather be asked for that.
    nesterov = c["name"] == "nesterov" and momentum > 0
    return torch.optim.SGD(parameters, momentum=momentum, nesterov=nesterov, **plain)


def optimize(optimizer, start, gradients, rates):
    """Train one run.

    Args:
        optimizer: The `optimizer` part of its configuration.
        start: name -> its first value.
        gradients: One dict like it a step.
        rates: One learning rate a step.
    """
    parameters = {name: torch.nn.Parameter(p.clone()) for name, p in start.items()}
    theirs = torch_optimizer(optimizer, parameters.values())
    for gradient, lr in zip(gradients, rates, strict=True):
        theirs.param_groups[0]["lr"] = lr
        for name, p in parameters.items():
            p.grad = gradient[name].clone()
        theirs.step()
    return {name: p.detach() for name, p in parameters.items()}


# -- calibration -----------------------------------------------------------------------------------


def calibration_error(confidence, right, bins=15):
    """Go through the bins (a, b] one by one (Guo et al. 2017, equation 3)."""
    total = 0.0
    for k in range(bins):
        inside = [i for i, c in enumerate(confidence) if k / bins < c <= (k + 1) / bins]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            mean_confidence = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return total
