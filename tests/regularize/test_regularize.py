"""Regularization over the run axis, compared run by run with torch, scipy and plain formulas."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.func import vmap
from torch.optim import swa_utils

from ablate import metrics, rng
from ablate.config import schema
from ablate.regularize import (
    clip_norm,
    clip_value,
    cutmix,
    early_stopping,
    ema,
    input_noise,
    l1,
    l2,
    max_norm,
    mixing,
    mixup,
    registry,
    sam,
    stochastic_depth,
    swa,
)
from ablate.regularize.averaging import Average
from ablate.regularize.label_smoothing import cross_entropy
from tests import reference

DTYPES = st.sampled_from([torch.float32, torch.float64])
CPU = torch.device("cpu")
SHAPES = st.lists(
    st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple),
    min_size=1,
    max_size=3,
    unique=True,
)
STRENGTHS = st.lists(st.sampled_from([0.0, 1e-4, 0.03, 0.7, 3.0]), min_size=1, max_size=4)
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}  # relative


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tensors(shapes, width, dtype, seed=0):
    return {
        str(shape): randn(width, *shape, seed=seed + i, dtype=dtype)
        for i, shape in enumerate(shapes)
    }


def along_runs(values):
    return torch.tensor(values, dtype=torch.float64)


def run(stacked, r):
    return {name: tensor[r] for name, tensor in stacked.items()}


def copied(stacked):
    return {name: tensor.clone() for name, tensor in stacked.items()}


def same_bits(a, b):
    """Distinguish -0.0 from 0.0, and let NaN equal itself."""
    as_integers = {torch.float32: torch.int32, torch.float64: torch.int64}
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)
    kind = as_integers.get(a.dtype, a.dtype)
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(kind), b.contiguous().view(kind))


def close(a, b, dtype):
    torch.testing.assert_close(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


# -- what all share --------------------------------------------------------------------------------


def _projected(weights, limit_R):
    weights = copied(weights)
    max_norm.project(weights, limit_R)
    return weights


def _averaged(weights, decay_R):
    average = Average(weights, partial(ema.weight, decay_R))
    for step in range(3):
        average.update({k: (step + 1) * v for k, v in weights.items()}, step)
    return average.average


ON_WEIGHTS = {
    "l1": lambda w, s: {"": l1.penalty(w, s)},
    "l1 gradient": lambda w, s: l1.add_gradient(w, w, s),
    "l2": lambda w, s: {"": l2.penalty(w, s)},
    "l2 gradient": lambda w, s: l2.add_gradient(w, w, s),
    "max-norm": _projected,
    "clipping by norm": clip_norm.clip,
    "clipping by value": clip_value.clip,
    "sharpness-aware": sam.ascent,
    "average": lambda w, s: _averaged(w, s / 8),
}


@pytest.mark.parametrize("name", ON_WEIGHTS)
@given(SHAPES, STRENGTHS, DTYPES)
def test_a_run_has_the_same_bits_with_any_mates_in_any_slot(name, shapes, strengths, dtype):
    weights, strength_R = tensors([*shapes, (40, 77)], len(strengths), dtype), along_runs(strengths)
    together = ON_WEIGHTS[name](weights, strength_R)
    for r in range(len(strengths)):
        alone = ON_WEIGHTS[name]({k: v[r : r + 1] for k, v in weights.items()}, strength_R[[r]])
        assert same_bits({k: v[r : r + 1] for k, v in together.items()}, alone)


# -- penalties -------------------------------------------------------------------------------------

PENALTIES = {
    "l1": (l1, lambda w: w.abs().sum()),
    "l2": (l2, lambda w: w.square().sum()),
}


@pytest.mark.parametrize("name", PENALTIES)
@given(SHAPES, STRENGTHS, DTYPES)
def test_a_penalty_and_its_gradient_are_those_of_autograd(name, shapes, strengths, dtype):
    ours, formula = PENALTIES[name]
    weights = tensors(shapes, len(strengths), dtype)
    gradients = tensors(shapes, len(strengths), dtype, seed=9) | {"bias": torch.ones(1)}
    penalty_R = ours.penalty(weights, along_runs(strengths))
    added = ours.add_gradient(gradients, weights, along_runs(strengths))
    assert added["bias"] is gradients["bias"]
    for r, strength in enumerate(strengths):
        leaves = {k: w.requires_grad_() for k, w in copied(run(weights, r)).items()}
        penalty = strength * sum(formula(w) for w in leaves.values())
        penalty.backward()
        close(penalty_R[r], penalty.detach(), dtype)
        for k, leaf in leaves.items():
            close(added[k][r], gradients[k][r] + leaf.grad, dtype)


def test_the_l1_penalty_leaves_a_weight_of_zero_alone():
    weights = {"w": torch.tensor([[[0.0, -0.0, -2.0, 3.0]]])}
    added = l1.add_gradient({"w": torch.zeros(1, 1, 4)}, weights, along_runs([0.5]))
    assert added["w"].tolist() == [[[0, 0, -0.5, 0.5]]]


@pytest.mark.parametrize("method", [l1, l2])
def test_a_run_without_a_penalty_keeps_its_gradient_bit_for_bit(method):
    gradient = torch.tensor([[[-0.0, 1.0, -2.0]], [[-0.0, 1.0, -2.0]]])
    weight = torch.tensor([[[1.0, -math.inf, math.nan]], [[1.0, 1.0, 1.0]]])
    before = gradient.clone()
    added = method.add_gradient({"w": gradient}, {"w": weight}, along_runs([0, 0.5]))
    assert same_bits(added["w"][0], gradient[0])
    assert same_bits(gradient, before)
    assert not torch.equal(added["w"][1], gradient[1])


# -- limits ----------------------------------------------------------------------------------------


@given(SHAPES, st.lists(st.floats(0.1, 5), min_size=1, max_size=4), DTYPES)
def test_max_norm_renormalizes_each_unit_as_torch_does(shapes, limits, dtype):
    weights = tensors(shapes, len(limits), dtype)
    projected = _projected(weights, along_runs(limits))
    for name, weight in weights.items():
        for r, limit in enumerate(limits):
            # torch's divisor is the norm + 1e-7.
            expected = torch.renorm(weight[r], p=2, dim=0, maxnorm=limit)
            torch.testing.assert_close(projected[name][r], expected, rtol=2e-6, atol=1e-7)
            within = weight[r].flatten(1).norm(dim=1) < 0.999 * limit
            assert same_bits(projected[name][r][within], weight[r][within])


def test_max_norm_counts_the_incoming_weights_of_a_unit_alone():
    # Unit 0 has the norm 5 (3, 4), unit 1 the norm 1: only the first is above 2.5.
    weights = {"w": torch.tensor([[[3.0, 4.0], [1.0, 0.0]]] * 2)}
    max_norm.project(weights, along_runs([2.5, math.inf]))
    assert weights["w"].tolist() == [[[1.5, 2], [1, 0]], [[3, 4], [1, 0]]]


@given(SHAPES, st.lists(st.floats(0.1, 50), min_size=1, max_size=4), DTYPES)
def test_clipping_by_norm_is_torchs(shapes, limits, dtype):
    gradients = tensors([*shapes, (5,)], len(limits), dtype)
    clipped = clip_norm.clip(gradients, along_runs(limits))
    for r, limit in enumerate(limits):
        leaves = {k: torch.zeros_like(g).requires_grad_() for k, g in run(gradients, r).items()}
        for k, leaf in leaves.items():
            leaf.grad = gradients[k][r].clone()
        torch.nn.utils.clip_grad_norm_(leaves.values(), limit)
        for k, leaf in leaves.items():
            close(clipped[k][r], leaf.grad, dtype)


@given(SHAPES, st.lists(st.floats(0.01, 3), min_size=1, max_size=4), DTYPES)
def test_clipping_by_value_is_torchs(shapes, limits, dtype):
    gradients = tensors([*shapes, (5,)], len(limits), dtype)
    clipped = clip_value.clip(gradients, along_runs(limits))
    for r, limit in enumerate(limits):
        for name, gradient in run(gradients, r).items():
            leaf = torch.zeros_like(gradient).requires_grad_()
            leaf.grad = gradient.clone()
            torch.nn.utils.clip_grad_value_([leaf], limit)
            assert same_bits(clipped[name][r], leaf.grad)


@pytest.mark.parametrize("method", [clip_norm, clip_value])
@pytest.mark.parametrize("extreme", [1.0, math.inf, math.nan, 1e30])
def test_an_infinite_limit_changes_no_bit(method, extreme):
    gradients = {"a": torch.tensor([[-0.0, extreme], [3.0, 4.0]]), "b": randn(2, 5)}
    before = copied(gradients)
    clipped = method.clip(gradients, along_runs([math.inf, 0.5]))
    assert same_bits(run(clipped, 0), run(gradients, 0))
    assert same_bits(gradients, before)
    assert not torch.equal(clipped["a"][1], gradients["a"][1])


# -- targets ---------------------------------------------------------------------------------------


def loss_and_gradient(loss, logits):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def labels(count, classes, seed):
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


@st.composite
def problems(draw):
    """Draw logits [B, K] and two sets of labels."""
    count, classes = draw(st.integers(1, 9)), draw(st.integers(2, 9))
    seed, dtype = draw(st.integers(0, 99)), draw(DTYPES)
    logits = 3 * randn(count, classes, seed=seed, dtype=dtype)
    return logits, labels(count, classes, seed), labels(count, classes, seed + 1)


@given(problems())
def test_plain_labels_have_torchs_cross_entropy_bit_for_bit(problem):
    logits, y, other = problem
    expected = loss_and_gradient(lambda x: F.cross_entropy(x, y), logits)
    off = {"other": other, "share": along_runs(1.0), "smoothing": along_runs(0.0)}
    for target in ({"y": y}, {"y": y} | off):
        found = loss_and_gradient(lambda x, t=target: cross_entropy(x, t), logits)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


@given(problems(), st.floats(0, 1))
def test_smoothed_labels_have_torchs_smoothed_cross_entropy(problem, smoothing):
    logits, y, _ = problem
    target = {"y": y, "smoothing": along_runs(smoothing)}
    found = loss_and_gradient(lambda x: cross_entropy(x, target), logits)
    theirs = partial(F.cross_entropy, target=y, label_smoothing=smoothing)
    close(found, loss_and_gradient(theirs, logits), logits.dtype)


@given(problems(), st.floats(0, 1), st.floats(0, 0.5))
def test_mixed_labels_have_the_cross_entropy_of_soft_targets(problem, share, smoothing):
    logits, y, other = problem
    classes = logits.shape[1]
    first, second = (F.one_hot(t, classes).to(logits.dtype) for t in (y, other))
    soft = share * first + (1 - share) * second
    target = {"y": y, "other": other, "share": along_runs(share)}
    theirs = partial(F.cross_entropy, target=soft)
    found = loss_and_gradient(lambda x: cross_entropy(x, target), logits)
    close(found, loss_and_gradient(theirs, logits), logits.dtype)
    target["smoothing"] = along_runs(smoothing)
    theirs = partial(F.cross_entropy, target=soft, label_smoothing=smoothing)
    found = loss_and_gradient(lambda x: cross_entropy(x, target), logits)
    close(found, loss_and_gradient(theirs, logits), logits.dtype)


def test_targets_may_differ_from_run_to_run_under_vmap():
    logits_RBK = randn(5, 33, 7)
    target = {
        "y": labels(165, 7, 0).view(5, 33),
        "other": labels(165, 7, 1).view(5, 33),
        "share": along_runs([1, 0.9, 0.5, 0.1, 0]),
        "smoothing": along_runs([0, 0.1, 0.2, 0, 0.3]),
    }
    loss_R = vmap(cross_entropy)(logits_RBK, target)
    for r in range(5):
        close(loss_R[r], cross_entropy(logits_RBK[r], run(target, r)), torch.float32)
        mates = [r, (r + 2) % 5]
        some_R = vmap(cross_entropy)(logits_RBK[mates], {k: v[mates] for k, v in target.items()})
        assert same_bits(some_R[0], loss_R[r])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_16_bits_are_lifted_first(dtype):
    logits, y = randn(8, 5).to(dtype), labels(8, 5, 0)
    loss = cross_entropy(logits, {"y": y})
    assert loss.dtype == torch.float32
    assert torch.equal(loss, F.cross_entropy(logits.float(), y))


# -- mixing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1, 4])
def test_shares_follow_the_beta_distribution(alpha):
    key = rng.stream(7, "mixup")
    shares_T = mixup.shares(alpha, key, 3000)
    assert shares_T.dtype == torch.float64
    assert stats.kstest(shares_T.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert torch.equal(shares_T[:100], mixup.shares(alpha, key, 100))
    one = stats.beta(alpha, alpha).ppf(rng.uniform(key, torch.Size((3000,)))[17].item())
    assert shares_T[17].item() == pytest.approx(one, rel=1e-9)


def test_the_sides_of_a_box_leave_the_share_of_the_area():
    # √(1 - 0.19) = 0.9, √(1 - 0.51) = 0.7, √(1 - 3/4) = 1/2.
    shares = along_runs([0, 0.19, 0.51, 0.75, 1])
    assert cutmix.sides(shares, 11).tolist() == [11, 10, 8, 6, 0]


MIXINGS = [
    {"mixup": 0.0, "cutmix": 0.0},
    {"mixup": 0.4, "cutmix": 0.0},
    {"mixup": 0.0, "cutmix": 1.0},
    {"mixup": 1.0, "cutmix": 0.5},
]
SHAPE = (2, 8, 6)
STEPS = 400


def mixers(configs=MIXINGS, seeds=(3, 4, 5, 6), steps=STEPS):
    return mixing.Mixing(configs, torch.tensor(seeds), steps, SHAPE, CPU)


def batches(width, batch=9):
    """Make images that are their own label all over, shuffled."""
    y_RB = torch.stack([rng.permutation(rng.stream(r, "test"), batch) for r in range(width)])
    return y_RB[:, :, None, None, None].double().expand(-1, -1, *SHAPE).contiguous(), y_RB


def test_the_share_of_a_label_is_the_share_of_its_image():
    mixer = mixers()
    x_RBCHW, y_RB = batches(4)
    for step in range(50):
        mixed, target = mixer.at(step, x_RBCHW, y_RB)
        share = target["share"][:, None]
        expected = share * target["y"] + (1 - share) * target["other"]
        close(mixed.mean((2, 3, 4)), expected, torch.float64)
        assert torch.equal(target["y"], y_RB)
        assert torch.equal(target["other"].sort()[0], y_RB.sort()[0])


def ways(r, mixer):
    """Tell for each step whether run r cut (two values in an image) or blended (one)."""
    x_RBCHW, y_RB = batches(4)
    found = []
    for step in range(STEPS):
        mixed, target = mixer.at(step, x_RBCHW, y_RB)
        images = mixed[r].flatten(1)
        whole = torch.isin(images, y_RB[r].double()).all()
        found.append("kept" if target["share"][r] == 1 else "cut" if whole else "blended")
    return found


def test_mixup_blends_cutmix_cuts_and_with_both_a_fair_coin_chooses():
    mixer = mixers()
    assert set(ways(0, mixer)) == {"kept"}
    assert set(ways(1, mixer)) <= {"blended", "kept"}
    assert set(ways(2, mixer)) <= {"cut", "kept"}
    both = ways(3, mixer)
    assert stats.binomtest(both.count("blended"), STEPS - both.count("kept")).pvalue > 0.001
    assert {"blended", "cut"} <= set(both)


def test_a_run_without_mixing_keeps_its_images_bit_for_bit():
    x_RBCHW = randn(4, 9, *SHAPE)
    x_RBCHW[0, 0, 0, 0, :3] = torch.tensor([-0.0, math.inf, math.nan])
    mixed, target = mixers().at(3, x_RBCHW, labels(36, 10, 0).view(4, 9))
    assert same_bits(mixed[0], x_RBCHW[0])
    assert target["share"][0] == 1


def test_mixing_depends_on_no_mates():
    x_RBCHW, y_RB = randn(4, 9, *SHAPE), labels(36, 10, 0).view(4, 9)
    together = mixers()
    for r, config in enumerate(MIXINGS):
        alone = mixers([config], (3 + r,))
        for step in (0, 7, STEPS - 1):
            mixed, target = together.at(step, x_RBCHW, y_RB)
            mixed_alone, target_alone = alone.at(step, x_RBCHW[[r]], y_RB[[r]])
            assert same_bits(mixed[[r]], mixed_alone)
            assert same_bits({k: v[[r]] for k, v in target.items()}, target_alone)


def test_turning_cutmix_on_leaves_the_numbers_of_mixup_as_they_were():
    x_RBCHW, y_RB = batches(1)
    alone, both = (mixers([{"mixup": 0.4, "cutmix": c}], (5,)) for c in (0.0, 1.0))
    blended = 0
    for step in range(50):
        (mixed, target), (expected, theirs) = (m.at(step, x_RBCHW, y_RB) for m in (both, alone))
        assert torch.equal(target["other"], theirs["other"])
        if target["share"] == theirs["share"]:
            assert same_bits(mixed, expected)
            blended += 1
    assert 10 < blended < 40


@given(st.integers(1, 3), st.integers(1, 5), DTYPES)
def test_mixing_is_a_weighted_mean_with_the_partner(width, batch, dtype):
    x_RBCHW = randn(width, batch, 3, 5, 4, dtype=dtype).to(dtype)
    partner_RB = rng.permutation(rng.stream(torch.arange(width), "test"), batch)
    weight_RHW = torch.rand(width, 5, 4, dtype=torch.float64).round(decimals=1)
    found = mixing.mix(x_RBCHW, partner_RB, weight_RHW)
    for r in range(width):
        expected = reference.mixed(x_RBCHW[r], partner_RB[r], weight_RHW[r].to(dtype))
        close(found[r], expected, dtype)


# -- input noise -----------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([0.0, 0.1, 2.0]), min_size=1, max_size=4), DTYPES)
def test_input_noise_is_each_runs_own_scaled(strengths, dtype):
    x_RBCHW = randn(len(strengths), 3, 2, 5, 7, dtype=dtype)
    x_RBCHW[:, 0, 0, 0, 0] = -0.0
    keys_R = rng.stream(torch.arange(len(strengths)), "input_noise")
    found = input_noise.add(x_RBCHW, along_runs(strengths), keys_R)
    for r, sd in enumerate(strengths):
        noise = rng.noise(keys_R[r], x_RBCHW.shape[1:], dtype)
        close(found[r], x_RBCHW[r] + sd * noise, dtype)
        alone = input_noise.add(x_RBCHW[[r]], along_runs([sd]), keys_R[[r]])
        assert same_bits(found[[r]], alone)
        if sd == 0:
            assert same_bits(found[r], x_RBCHW[r])


def test_input_noise_is_normal_with_its_standard_deviation():
    x_RBCHW = torch.zeros(1, 20, 1, 10, 10, dtype=torch.float64)
    added = input_noise.add(x_RBCHW, along_runs([0.3]), rng.stream(torch.arange(1), "test"))
    assert stats.kstest(added.flatten().numpy(), stats.norm(0, 0.3).cdf).pvalue > 1e-3


# -- depth and stopping ----------------------------------------------------------------------------


def test_the_drop_rate_grows_linearly_with_depth():
    assert stochastic_depth.rates(0.5, 4) == [0.125, 0.25, 0.375, 0.5]
    assert stochastic_depth.rates(0.2, 1) == [0.2]
    assert stochastic_depth.rates(0.0, 3) == [0, 0, 0]
    # Huang et al. 2016, equation 4 and section 4: 54 blocks, the last survives with 0.5.
    survival = [1 - rate for rate in stochastic_depth.rates(0.5, 54)]
    assert survival == pytest.approx([1 - block / 54 * (1 - 0.5) for block in range(1, 55)])


def test_a_run_stalls_after_its_patience_without_a_better_score():
    assert [early_stopping.has_stalled(epoch, 4, 3) for epoch in (4, 5, 6, 7, 8)] == [
        *(False, False, False),
        *(True, True),
    ]
    assert early_stopping.has_stalled(2, 1, 1)


# -- averages of the weights -----------------------------------------------------------------------


def walk(shapes, width, dtype, steps=12):
    """Let weights wander; an integer buffer counts along."""
    for step in range(steps):
        counter = {"counter": torch.full((width,), step)}
        yield step, tensors(shapes, width, dtype, seed=100 * step) | counter


def torch_average(update, weights, first=0):
    """Average one run's weights by torch's own rule, from some step on."""
    average = {}
    for step, now in enumerate(weights):
        floats = {k: v.clone() for k, v in now.items() if v.is_floating_point()}
        if step <= first:
            average = floats
        else:
            update(list(average.values()), list(floats.values()), step - first)
    return average


@given(
    SHAPES, st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.999]), min_size=1, max_size=4), DTYPES
)
def test_the_exponential_average_is_torchs_bit_for_bit(shapes, decays, dtype):
    way = list(walk(shapes, len(decays), dtype))
    average = Average(way[0][1], partial(ema.weight, along_runs(decays)))
    for step, now in way:
        average.update(now, step)
    assert average.average["counter"].tolist() == [11] * len(decays)
    for r, decay in enumerate(decays):
        rule = swa_utils.get_ema_multi_avg_fn(decay)
        for name, expected in torch_average(rule, [run(now, r) for _, now in way]).items():
            assert torch.equal(average.average[name][r], expected)


@given(SHAPES, st.lists(st.integers(0, 14), min_size=1, max_size=4), DTYPES)
def test_stochastic_weight_averaging_is_torchs_and_the_plain_mean(shapes, firsts, dtype):
    way = list(walk(shapes, len(firsts), dtype))
    average = Average(way[0][1], partial(swa.weight, torch.tensor(firsts)))
    for step, now in way:
        average.update(now, step)
    for r, first in enumerate(firsts):
        rule = swa_utils.get_swa_multi_avg_fn()
        weights = [run(now, r) for _, now in way]
        for name, expected in torch_average(rule, weights, first).items():
            close(average.average[name][r], expected, dtype)
            mean = torch.stack([w[name] for w in weights[min(first, 11) :]]).double().mean(0)
            close(average.average[name][r], mean.to(dtype), torch.float32)


def test_a_run_that_does_not_average_follows_its_weights_bit_for_bit():
    weights = {"w": torch.tensor([[1.0, 2.0], [1.0, 2.0]])}
    average = Average(weights, partial(ema.weight, along_runs([0.0, 0.9])))
    for step in range(3):
        weights = {"w": torch.tensor([[-0.0, 1e30 * (-1) ** step]] * 2)}
        average.update(weights, step)
    assert same_bits(average.average["w"][0], weights["w"][0])
    assert not torch.equal(average.average["w"][1], weights["w"][1])


def test_an_average_restored_run_by_run_goes_on_with_the_same_bits():
    way = list(walk([(3, 4)], 2, torch.float32))
    through, first = (Average(way[0][1], partial(ema.weight, along_runs([0.9, 0.5]))) for _ in "ab")
    for step, now in way:
        through.update(now, step)
        if step < 6:
            first.update(now, step)
    second = Average(way[0][1], partial(ema.weight, along_runs([0.9, 0.5])))
    for r in range(2):
        for name, part in run(first.average, r).items():
            second.average[name][r] = part
    for step, now in way[6:]:
        second.update(now, step)
    assert same_bits(second.average, through.average)


# -- sharpness -------------------------------------------------------------------------------------


@given(SHAPES, STRENGTHS, DTYPES)
def test_the_ascent_has_length_rho_along_the_gradient(shapes, rhos, dtype):
    gradients = tensors([*shapes, (5,)], len(rhos), dtype)
    perturbation = sam.ascent(gradients, along_runs(rhos))
    for r, rho in enumerate(rhos):
        flat = torch.cat([g.flatten() for g in run(gradients, r).values()])
        found = torch.cat([e.flatten() for e in run(perturbation, r).values()])
        close(found, rho * flat / flat.norm(), dtype)


def test_where_there_is_nothing_to_climb_the_weights_keep_their_bits():
    gradients = {"w": torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, math.nan]])}
    perturbation = sam.ascent(gradients, along_runs([0.05, 0.0, 0.0]))
    weights = torch.tensor([[-0.0, 0.0], [-0.0, 1.0], [0.0, 0.0]])
    assert same_bits((weights + perturbation["w"])[:2], weights[:2])


# -- the registry ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [*registry.PENALTIES, *registry.GRADIENT_LIMITS, *registry.WEIGHT_LIMITS, *registry.AVERAGES],
)
def test_every_method_of_the_registry_has_a_knob_of_its_name(name):
    assert f"regularize.{name}" in schema.BY_NAME


def test_how_often_each_limit_acts_is_a_metric():
    assert {*registry.GRADIENT_LIMITS, *registry.WEIGHT_LIMITS} == set(metrics.LIMITS)
