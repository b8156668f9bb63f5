"""Slow, obvious implementations that the fast ones are compared with."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import integrate, stats

from ablate.analyze.verdicts import verdict

_64 = 2**64 - 1
_32 = 2**32 - 1


# -- random numbers, in Python's unbounded integers ------------------------------------------------


def splitmix64(z):
    """Finalize as in Steele, Lea & Flood 2014, figure 16 (Stafford's variant 13)."""
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
    """Read 64 unsigned bits as torch's int64."""
    return number - 2**64 if number >= 2**63 else number


def bits(key, count):
    """Draw 31 bits per element, the lowest clear, one element after another."""
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
    """Transform pairs of uniform numbers by Box & Muller 1958."""
    radii = [math.sqrt(-2 * math.log(u)) for u in uniform(fold(key, 1), count)]
    turns = [math.cos(2 * math.pi * u) for u in uniform(fold(key, 2), count)]
    return [radius * turn for radius, turn in zip(radii, turns, strict=True)]


def permutation(key, count):
    """Sort the numbers by a hash of each."""
    return sorted(range(count), key=lambda number: signed(fold(key, number)))


def kept(key, keep, count):
    """Draw for each element whether it is kept, with this probability."""
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
    """Bring each group of values to mean 0 and (biased) variance 1."""
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


# -- optimizers: torch's own, one per run ----------------------------------------------------------


def torch_optimizer(optimizer, parameters):
    """Make torch's optimizer of that name, in its single-tensor form."""
    c = dict(optimizer)
    name = c.pop("name")
    if "beta1" in c:
        c["betas"] = (c.pop("beta1"), c.pop("beta2"))
    if name == "nesterov":  # torch refuses nesterov without momentum, so use plain descent
        c["nesterov"] = c["momentum"] > 0
    classes = {
        **dict.fromkeys(("sgd", "momentum", "nesterov"), torch.optim.SGD),
        "adagrad": torch.optim.Adagrad,
        "adadelta": torch.optim.Adadelta,
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "nadam": torch.optim.NAdam,
    }
    return classes[name](parameters, foreach=False, **c)


def optimize(optimizer, start, gradients, rates):
    """Train one run.

    Args:
        optimizer: The `optimizer` part of its configuration.
        start: name -> its first value.
        gradients: One dict like it per step.
        rates: One learning rate per step.
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


# -- Muon, one matrix at a time --------------------------------------------------------------------


def orthogonalized(matrix, steps):
    """Bring singular values near 1 by Muon's iteration on them, and scale the step.

    Args:
        matrix: A kernel, [out, in, ...].
        steps: Iterations.
    """
    u, s, v = torch.linalg.svd(matrix.flatten(1), full_matrices=False)
    s = s / max(float(s.norm()), 1e-7)
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    size = 0.2 * math.sqrt(max(len(u), v.shape[1]))
    return (size * (u @ s.diag() @ v)).view_as(matrix)


def muon(optimizer, start, gradients, rates):
    """Train one kernel.

    Args:
        optimizer: The `optimizer` part of its configuration.
        start: Its first value, [out, in, ...].
        gradients: One like it per step.
        rates: One learning rate per step.
    """
    momentum, p, mean = optimizer["momentum"], start.clone(), torch.zeros_like(start)
    for gradient, lr in zip(gradients, rates, strict=True):
        mean = momentum * mean + (1 - momentum) * gradient
        ahead = momentum * mean + (1 - momentum) * gradient
        direction = orthogonalized(ahead, optimizer["ns_steps"])
        p = (1 - lr * optimizer["weight_decay"]) * p - lr * direction
    return p


# -- images, pixel by pixel ------------------------------------------------------------------------


def shifted(image, down, right):
    """Shift an image [C, H, W], filling with black."""
    moved = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row + down < height and 0 <= column + right < width:
                moved[:, row + down, column + right] = image[:, row, column]
    return moved


def offset(u, most):
    """Choose one of -most ... most by a number in (0, 1)."""
    return [way for way in range(-most, most + 1) if way + most <= u * (2 * most + 1)][-1]


def box(u, v, high, wide, height, width):
    """Mark a box around a random centre: its middle pixel, or the one after the middle."""
    inside = torch.zeros(height, width, dtype=torch.bool)
    top, left = int(u * height) - high // 2, int(v * width) - wide // 2
    for row in range(max(top, 0), min(top + high, height)):
        for column in range(max(left, 0), min(left + wide, width)):
            inside[row, column] = True
    return inside


def mixed(images, partners, weight):
    """Mix images [B, C, H, W] with their partners by a weight per pixel."""
    return torch.stack(
        [weight * x + (1 - weight) * images[p] for x, p in zip(images, partners, strict=True)]
    )


# -- noise, and other kinds of dropout -------------------------------------------------------------


def noise(key, count):
    """Transform pairs of numbers by Box & Muller 1958: all cosines, then all sines."""
    pairs = (count + 1) // 2
    drawn = bits(key, 2 * pairs)
    radii = [math.sqrt(-2 * math.log((b + 1) / 2**31)) for b in drawn[:pairs]]
    angles = [2 * math.pi * b / 2**31 for b in drawn[pairs:]]
    cosines = [r * math.cos(a) for r, a in zip(radii, angles, strict=True)]
    sines = [r * math.sin(a) for r, a in zip(radii, angles, strict=True)]
    return (cosines + sines)[:count]


def dropped(x, kind, scaling, rate, key):
    """Apply dropout of this kind in training mode."""
    if kind == "gaussian":
        std = math.sqrt(rate / (1 - rate))
        factors = 1 + std * torch.tensor(noise(key, x.numel()), dtype=x.dtype)
        return x * factors.view(x.shape)
    axes = {"spatial": 2, "image": 1}.get(kind, x.dim())
    shape = (*x.shape[:axes], *[1] * (x.dim() - axes))
    stays = torch.tensor(kept(key, 1 - rate, math.prod(shape))).view(shape).expand_as(x)
    if kind == "alpha":
        # Klambauer et al. 2017, section 2, with their λ and α.
        low, keep = -1.0507009873554805 * 1.6732632423543772, 1 - rate
        a = (keep + low**2 * keep * (1 - keep)) ** -0.5
        b = -a * ((1 - keep) * low)
        return a * torch.where(stays, x, low) + b
    return torch.where(stays, x / (1 - rate) if scaling == "inverted" else x, 0)


# -- residual and recurrent networks, as functions of their state dict -----------------------------


def resnet(config, state, x, keys):
    """Apply a `resnet` in training mode, its layers in turn; arguments as for `cnn`."""
    model, rates = config["model"], config["dropout"]
    x = dropout(x, rates["input"], keys["input_dropout"])
    x = _unit(config, state, "stem.", x)
    small = model["depth"] == 9
    units = len({name.split(".")[1] for name in state if name.startswith("units.")})
    branches = [i for i in range(units) if f"units.{i}.branch.first.conv.weight" in state]
    for i in range(units):
        at, rate = f"units.{i}.", rates["conv"][i]
        if i not in branches:
            x = _unit(config, state, at, x)
            x = F.max_pool2d(x, 2) if min(x.shape[2:]) > 1 else x
            x = dropout(x, rate, keys[f"{at}dropout"])
            continue
        out = config["regularize"]["stochastic_depth"] * (branches.index(i) + 1) / len(branches)
        stride = x.shape[1] != len(state[f"{at}branch.first.conv.weight"]) and not small
        y = _unit(config, state, f"{at}branch.first.", x, 2 if stride else 1)
        y = dropout(y, rate, keys[f"{at}branch.dropout"])
        if small:
            y = _unit(config, state, f"{at}branch.second.", y)
            x = x + dropped(y, "image", "inverted", out, keys[f"{at}stochastic_depth"])
            continue
        y = _unnormed_or_normed(config, state, f"{at}branch.second.", y)
        y = dropped(y, "image", "inverted", out, keys[f"{at}stochastic_depth"])
        x = _unnormed_or_normed(config, state, f"{at}shortcut.", x, 2) if stride else x
        x = _activated(config, x + y)
        if config["norm"]["name"] != "none" and config["norm"]["position"] == "after":
            x = _norm(config, state, f"{at}after.norm", x)
    x = x.flatten(2).max(2).values if small else x.flatten(2).mean(2)
    return _dense(config, state, x, keys, "dense.")


def _conv(state, at, x, stride=1):
    weight = state[f"{at}conv.weight"]
    return F.conv2d(x, weight, state.get(f"{at}conv.bias"), stride, weight.shape[-1] // 2)


def _unit(config, state, at, x, stride=1):
    return _around_activation(config, state, f"{at}norm", _conv(state, at, x, stride))


def _unnormed_or_normed(config, state, at, x, stride=1):
    """Apply the layers before an addition, with the norm if it precedes the activation."""
    x = _conv(state, at, x, stride)
    before = config["norm"]["name"] != "none" and config["norm"]["position"] == "before"
    return _norm(config, state, f"{at}norm", x) if before else x


def _activated(config, x):
    return (getattr(F, config["model"]["activation"], None) or torch.tanh)(x)


def _norm(config, state, name, x):
    norm = config["norm"]
    return _scaled(normalize(x, norm["name"], norm.get("groups", 1)), state, name)


def recurrent(config, state, x, keys):
    """Apply an `rnn`, `lstm` or `gru` in training mode, one row after another."""
    model, rates, norm = config["model"], config["dropout"], config["norm"]
    x = dropout(x, rates["input"], keys["input_dropout"])
    rows = [x[:, :, t].flatten(1) for t in range(x.shape[2])]
    normed = norm["name"] not in ("none", "instance") and norm["position"]
    for i in range(len(model["hidden"])):
        at = f"layers.{i}."
        weight, bias = state[f"{at}input.weight"], state.get(f"{at}input.bias")
        inputs = [F.linear(row, weight, bias) for row in rows]
        if normed == "before":
            inputs = _over_steps(config, state, f"{at}norm_before", inputs)
        rows = _states(model, state, at, inputs)
        if normed == "after":
            rows = _over_steps(config, state, f"{at}norm_after", rows)
        if i < len(model["hidden"]) - 1:
            sequence_BUT = torch.stack(rows, -1)
            sequence_BUT = dropout(sequence_BUT, rates["dense"][i], keys[f"dropouts.{i}"])
            rows = list(sequence_BUT.unbind(-1))
    last = dropout(rows[-1], rates["dense"][i], keys[f"dropouts.{i}"])
    logits = F.linear(last, state["output.weight"], state["output.bias"])
    return dropout(logits, rates["output"], keys["output_dropout"])


def _over_steps(config, state, name, rows):
    """Normalize the rows of all steps as if they were images of one batch."""
    return list(_norm(config, state, name, torch.cat(rows)).split(len(rows[0])))


def _states(model, state, at, inputs):
    weight, bias = state[f"{at}hidden.weight"], state[f"{at}hidden.bias"]
    h = c = torch.zeros(len(inputs[0]), weight.shape[1], dtype=weight.dtype)
    states = []
    for x in inputs:
        product = F.linear(h, weight, bias)
        if model["name"] == "rnn":
            h = _activated({"model": model}, x + product)
        elif model["name"] == "lstm":
            i, f, g, o = (x + product).chunk(4, 1)
            c = (f + model["forget_bias"]).sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        else:
            (r, z, n), (r_h, z_h, n_h) = x.chunk(3, 1), product.chunk(3, 1)
            r, z = (r + r_h).sigmoid(), (z + z_h).sigmoid()
            h = (1 - z) * (n + r * n_h).tanh() + z * h
        states.append(h)
    return states


# -- second derivatives, by torch's own function ---------------------------------------------------


def hessian(module, x, y):
    """Compute the Hessian of the cross entropy in all parameters of a network; its buffers change.

    Returns:
        [P, P], in the order of ``module.parameters()``, each flattened.
    """
    shapes = {name: p.shape for name, p in module.named_parameters()}
    start = torch.cat([p.detach().flatten() for p in module.parameters()])

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        named = zip(shapes.items(), parts, strict=True)
        state = {name: part.view(shape) for (name, shape), part in named}
        return F.cross_entropy(torch.func.functional_call(module, state, (x,)), y)

    return torch.autograd.functional.hessian(loss, start)


# -- statistics, term by term ----------------------------------------------------------------------


def mean_and_sd(values):
    """Compute a mean and a standard deviation with n - 1."""
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def t_half_width(values, quantile):
    """Compute half of a t interval, given Student's quantile from a table."""
    return quantile * mean_and_sd(values)[1] / math.sqrt(len(values))


def welch(x, y):
    """Compute Welch's t and degrees of freedom, by the Welch-Satterthwaite equation."""
    (a, sd_a), (b, sd_b) = mean_and_sd(x), mean_and_sd(y)
    u, v = sd_a**2 / len(x), sd_b**2 / len(y)
    df = (u + v) ** 2 / (u**2 / (len(x) - 1) + v**2 / (len(y) - 1))
    return (a - b) / math.sqrt(u + v), df


def banerjee_half_width(components, alpha):
    """Compute half of Banerjee's interval from pairs of a variance and its degrees of freedom."""
    return math.sqrt(sum(stats.t.ppf(1 - alpha / 2, df) ** 2 * v for v, df in components))


def banerjee_p(away, components):
    """Bisect for the alpha at which half of Banerjee's interval is `away`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if banerjee_half_width(components, middle) > away:
            low = middle
        else:
            high = middle
    return high


def skewness_z(values):
    """Standardize √b1 in the steps of D'Agostino 1970, with logarithms."""
    n = len(values)
    mean = sum(values) / n
    m2, m3 = (sum((v - mean) ** k for v in values) / n for k in (2, 3))
    y = m3 / m2**1.5 * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    b2 = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w2 = -1 + math.sqrt(2 * (b2 - 1))
    delta, alpha = 1 / math.sqrt(math.log(math.sqrt(w2))), math.sqrt(2 / (w2 - 1))
    return delta * math.log(y / alpha + math.sqrt((y / alpha) ** 2 + 1))


def sign_flip(differences):
    """Count the flips of signs whose sum is at least as far from zero as the observed one."""
    seen, n = abs(sum(differences)), len(differences)
    flips = itertools.product([1, -1], repeat=n)
    sums = (sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in flips)
    return sum(abs(total) >= seen - 1e-9 for total in sums) / 2**n


def improvement(x, y):
    """Count the pairs in which the first is below the second; ties count half."""
    return sum((a < b) + 0.5 * (a == b) for a in x for b in y) / (len(x) * len(y))


def binomial_tail(count, total, share):
    """Sum the probabilities of at least that many hits, term by term."""
    terms = range(count, total + 1)
    return sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in terms)


def sign_test(x, y):
    """Enumerate every outcome of the pairs that differ."""
    signs = [1 if a > b else -1 for a, b in zip(x, y, strict=True) if a != b]
    ways = itertools.product([1, -1], repeat=len(signs))
    return sum(abs(sum(way)) >= abs(sum(signs)) for way in ways) / 2 ** len(signs)


def rank_sum(x, y):
    """Enumerate every choice of runs for the arm; ties get their mean rank."""
    values, few = [*x, *y], len(x)
    ranks = [
        sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values
    ]
    expected = few * (len(values) + 1) / 2
    seen = abs(sum(ranks[:few]) - expected)
    sums = [sum(chosen) for chosen in itertools.combinations(ranks, few)]
    return sum(abs(total - expected) >= seen for total in sums) / len(sums)


def half_of_two(parts, quantiles):
    """Compute half of an interval whose squared error is a sum: √(Σ t² · component)."""
    return math.sqrt(sum(t**2 * part for part, t in zip(parts, quantiles, strict=True)))


def effect_of_level(cells, level, first, others):
    """Return each seed's difference of two levels, over the other settings that both have.

    Args:
        cells: (level, setting of the others, seed) -> value.
        level: The level.
        first: The level to compare it with.
        others: Settings of the other factors.
    """
    seeds = sorted({seed for _, _, seed in cells})
    run = {(level_, other) for level_, other, _ in cells}
    both = [other for other in others if {(level, other), (first, other)} <= run]
    found = []
    for seed in seeds:
        needed = [(side, other, seed) for side in (level, first) for other in both]
        if all(place in cells for place in needed):
            total = 0.0
            for other in both:
                total += cells[level, other, seed] - cells[first, other, seed]
            found.append(total / len(both))
    return found


def verdict_shares(delta, spread, n, alpha, direction, margin, studies):
    """Simulate paired studies, judge each by its t interval, and return the shares of verdicts."""
    draw = np.random.default_rng(0)
    t = stats.t.ppf(1 - alpha / 2, n - 1)
    found = {}
    for _ in range(studies):
        mean, sd = mean_and_sd([float(d) for d in draw.normal(delta, spread, n)])
        half = t * sd / math.sqrt(n)
        told = verdict(mean - half, mean + half, direction, margin)
        found[told] = found.get(told, 0) + 1
    return {name: count / studies for name, count in found.items()}


def equivalence_power(spread, n, m, alpha, margin):
    """Integrate the probability that an interval is within ±margin if two arms do not differ."""
    error, freedom = spread * math.sqrt(1 / n + 1 / m), n + m - 2
    t = stats.t.ppf(1 - alpha / 2, n - 1)

    def given(ratio):  # the ratio of the observed standard deviation to the true one
        room = margin - t * error * ratio
        inside = 2 * stats.norm.cdf(room / error) - 1
        return inside * stats.chi2.pdf(freedom * ratio**2, freedom) * 2 * freedom * ratio

    return integrate.quad(given, 0, margin / (t * error))[0]


# -- ensembles -------------------------------------------------------------------------------------


def softmax(logits):
    exps = [math.exp(z - max(logits)) for z in logits]
    return [e / sum(exps) for e in exps]


def entropy(p):
    return -sum(q * math.log(q) for q in p if q > 0)


def ensemble(members):
    """Average several networks' probabilities for one image.

    Args:
        members: Logits [K] of each.

    Returns:
        Arithmetic mean; geometric mean, renormalized; entropy of the former; mutual information.
    """
    each = [softmax(logits) for logits in members]
    columns = list(zip(*each, strict=True))
    mean = [sum(column) / len(each) for column in columns]
    roots = [math.prod(q ** (1 / len(each)) for q in column) for column in columns]
    geometric = [root / sum(roots) for root in roots]
    information = entropy(mean) - sum(entropy(p) for p in each) / len(each)
    return mean, geometric, entropy(mean), information


def masks(units):
    """List every choice of units to keep."""
    return list(itertools.product((0, 1), repeat=units))


# -- ratios of standard deviations -----------------------------------------------------------------


def pitman_morgan(x: list[float], y: list[float]) -> tuple[float, float]:
    """Return the ratio of two standard deviations and Morgan's t with n - 2 degrees of freedom."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    var_x = sum((a - mean_x) ** 2 for a in x) / (n - 1)
    var_y = sum((b - mean_y) ** 2 for b in y) / (n - 1)
    both = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / (n - 1)
    f, r_squared = var_x / var_y, both**2 / (var_x * var_y)
    t = (f - 1) * math.sqrt(n - 2) / (2 * math.sqrt(f * (1 - r_squared)))
    return math.sqrt(f), t


def pitman_morgan_interval(x: list[float], y: list[float], t: float) -> tuple[float, float]:
    """Bisect for the ratios by which x must be divided for Morgan's t to be t, and -t."""

    def statistic(ratio: float) -> float:
        return pitman_morgan([a / ratio for a in x], y)[1]

    bounds = []
    for wanted in (t, -t):
        low, high = 1e-9, 1e9  # the statistic falls as the ratio grows
        for _ in range(200):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if statistic(middle) > wanted else (low, middle)
        bounds.append(low)
    return bounds[0], bounds[1]


# -- looks at a growing study ----------------------------------------------------------------------


def passed(times, bounds):
    """Return the probability that a Brownian motion W has |W(t) / sqrt(t)| > bound at some time.

    The values at these times are jointly normal, and the probability of their box is that of Genz
    1992, J. Computational and Graphical Statistics 1(2).
    """
    correlation = [[math.sqrt(min(s, t) / max(s, t)) for t in times] for s in times]
    normal = type(stats.multivariate_normal)(seed=0)
    high = [float(bound) for bound in bounds]
    low = [-bound for bound in high]
    inside = normal.cdf(high, cov=correlation, abseps=1e-6, releps=1e-6, lower_limit=low)
    return 1 - float(inside)


# -- seeds and images ------------------------------------------------------------------------------


def crossed(d: list[list[float]]) -> tuple[float, float, float]:
    """Return the squared errors of d[seed][image] by seeds, by images and by their interaction."""
    n, images = len(d), len(d[0])
    of_seed = [sum(row) / images for row in d]
    of_image = [sum(row[i] for row in d) / n for i in range(images)]
    grand = sum(of_seed) / n
    rest = 0.0
    for s in range(n):
        for i in range(images):
            rest += (d[s][i] - of_seed[s] - of_image[i] + grand) ** 2
    seeds = sum((mean - grand) ** 2 for mean in of_seed) / (n - 1) / n
    over_images = sum((mean - grand) ** 2 for mean in of_image) / (images - 1) / images
    return seeds, over_images, rest / ((n - 1) * (images - 1)) / (n * images)


def mcnemar(x: list[bool], y: list[bool]) -> float:
    """Sum the probabilities of splits of the discordant images at least as uneven as this."""
    only_x = sum(a and not b for a, b in zip(x, y, strict=True))
    only_y = sum(b and not a for a, b in zip(x, y, strict=True))
    n = only_x + only_y
    far = abs(only_x - n / 2)
    return sum(math.comb(n, k) for k in range(n + 1) if abs(k - n / 2) >= far) / 2**n


def resampled(d: list[float], splits: list[object], ratio: float) -> tuple[float, float]:
    """Return the mean over splits, and Nadeau and Bengio's standard error."""
    by_split: dict[object, list[float]] = {}
    for value, split in zip(d, splits, strict=True):
        by_split.setdefault(split, []).append(value)
    means = [sum(values) / len(values) for values in by_split.values()]
    mean, sd = mean_and_sd(means)
    return mean, sd * math.sqrt(1 / len(means) + ratio)
