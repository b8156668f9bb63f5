"""The random streams: known answers, the same bits everywhere, and statistics."""

from __future__ import annotations

import math
import random
import shutil
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate import rng
from tests import reference

INT64 = st.integers(-(2**63), 2**63 - 1)
UNLIKELY = 1e-4  # p of a test that would be suspicious; nothing is drawn anew, so nothing flickers


def key(number):
    return torch.tensor(number, dtype=torch.int64)


def some_keys(count, name="test"):
    return rng.stream(torch.arange(count), name)


def uniforms(keys, count):
    """One row of numbers a key, [keys, count]."""
    return torch.stack([rng.uniform(k, torch.Size((count,))) for k in keys])


def plausible(p):
    """Neither too far from the law nor too close to it."""
    return UNLIKELY < p < 1 - UNLIKELY


# -- known answers ---------------------------------------------------------------------------------


def test_mixing_gives_the_published_sequence_of_splitmix64():
    # The first outputs of the generator from the seed 1234567, as its authors' code prints them.
    published = (
        *(6457827717110365317, 3203168211198807973, 9817491932198370423),
        *(4593380528125082431, 16408922859458223821),
    )
    golden = 0x9E3779B97F4A7C15
    states = [reference.signed((1234567 + golden * i) % 2**64) for i in range(1, 6)]
    mixed = rng._mix64(torch.tensor(states, dtype=torch.int64)).tolist()
    assert mixed == [reference.signed(number) for number in published]


def test_a_site_is_numbered_by_the_start_of_its_sha_256():
    # FIPS 180-2, appendix B.1: SHA-256 of "abc" starts with ba7816bf 8f01cfea.
    assert rng.site("abc") % 2**64 == 0xEACF018FBF1678BA


@given(INT64, INT64)
def test_folding_agrees_with_unbounded_integers(old, number):
    expected = reference.signed(reference.fold(old, number))
    assert int(rng.fold(key(old), number)) == expected
    assert int(rng.fold(key(old), key(number))) == expected


@given(st.integers(0, 2**63 - 1), st.text(max_size=20))
def test_a_stream_agrees_with_unbounded_integers(seed, name):
    assert int(rng.stream(seed, name)) == reference.signed(reference.stream(seed, rng.site(name)))


@given(INT64, st.integers(0, 12))
def test_noise_agrees_with_the_formula_of_box_and_muller(number, count):
    shape = torch.Size((count, 1))
    expected = reference.noise(number, count)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        noise = rng.noise(key(number), shape, dtype)
        assert noise.dtype == dtype
        assert noise.shape == shape
        assert noise.flatten().tolist() == pytest.approx(expected, rel=tolerance, abs=tolerance)


@given(INT64, st.integers(0, 40))
def test_bits_agree_with_unsigned_arithmetic(number, count):
    drawn = rng.bits(key(number), count)
    assert drawn.dtype == torch.int32
    assert drawn.tolist() == reference.bits(number, count)


@given(INT64)
def test_uniform_and_normal_numbers_agree_with_plain_formulas(number):
    shape = torch.Size((3, 5))
    uniform, normal = rng.uniform(key(number), shape), rng.normal(key(number), shape)
    assert uniform.dtype == normal.dtype == torch.float64
    assert uniform.shape == normal.shape == shape
    assert uniform.flatten().tolist() == reference.uniform(number, 15)
    assert normal.flatten().tolist() == pytest.approx(reference.normal(number, 15), rel=1e-12)


@given(INT64, st.integers(0, 60))
def test_an_order_is_that_of_the_hashes(number, count):
    assert rng.permutation(key(number), count).tolist() == reference.permutation(number, count)


@given(INT64, st.sampled_from([2**-20, 0.1, 0.25, 0.5, 0.75, 0.9]))
def test_a_mask_keeps_the_elements_whose_bits_lie_below_the_rate(number, keep):
    mask = rng.keep_mask(key(number), torch.tensor(keep, dtype=torch.float64), torch.Size((6, 7)))
    assert mask.shape == (6, 7)
    assert mask.flatten().tolist() == [-int(k) for k in reference.kept(number, keep, 42)]


# -- a number depends on its seed, site, step and element, and on nothing else ---------------------


@given(INT64, st.integers(0, 50), st.integers(0, 50))
def test_drawing_more_numbers_leaves_the_first_as_they_were(number, few, more):
    assert torch.equal(rng.bits(key(number), few + more)[:few], rng.bits(key(number), few))


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5), st.integers(0, 10**6))
def test_a_stream_does_not_depend_on_its_stack_mates(seeds, step):
    together = rng.fold(rng.stream(torch.tensor(seeds), "order"), step)
    alone = [rng.fold(rng.stream(seed, "order"), step) for seed in seeds]
    assert torch.equal(together, torch.stack(alone))
    orders = torch.stack([rng.permutation(k, 20) for k in alone])
    assert torch.equal(rng.permutation(together, 20), orders)


@given(st.lists(INT64, min_size=1, max_size=5), st.integers(1, 70))
def test_noise_has_the_same_bits_under_vmap(numbers, count):
    keys, shape = torch.tensor(numbers), torch.Size((count,))
    each = [rng.noise(k, shape, torch.float32) for k in keys]
    noise = torch.func.vmap(lambda k: rng.noise(k, shape, torch.float32))(keys)
    assert torch.equal(noise, torch.stack(each))


@given(st.lists(INT64, min_size=1, max_size=5))
def test_numbers_are_the_same_under_vmap(numbers):
    keys = torch.tensor(numbers)
    shape = torch.Size((4, 3))
    keep = torch.linspace(0.2, 1, len(numbers))
    each = [rng.keep_mask(k, rate, shape) for k, rate in zip(keys, keep, strict=True)]
    masks = torch.func.vmap(lambda k, rate: rng.keep_mask(k, rate, shape))(keys, keep)
    assert torch.equal(masks, torch.stack(each))
    bits = torch.func.vmap(lambda k: rng.bits(k, 12))(keys)
    assert bits.tolist() == [reference.bits(number, 12) for number in numbers]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not shutil.which("cc"), reason="compiling needs a C compiler")
# The compiler's own libraries warn of what they will do in later versions.
@pytest.mark.filterwarnings("ignore")
def test_bits_are_the_same_when_compiled():
    numbers = [0, 1, -1, 2**63 - 1, -(2**63), 0x0123456789ABCDEF]
    keys = torch.tensor(numbers)

    @torch.compile(fullgraph=True)
    def drawn(keys, step):
        folded = rng.fold(keys, step)
        return folded, torch.func.vmap(lambda k: rng.bits(k, 1000))(folded)

    folded, bits = drawn(keys, torch.tensor(7))
    expected = [reference.fold(number, 7) for number in numbers]
    assert folded.tolist() == [reference.signed(number) for number in expected]
    assert bits.tolist() == [reference.bits(number, 1000) for number in expected]


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = rng.normal(rng.stream(0, "a"), torch.Size((10,)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(rng.normal(rng.stream(0, "a"), torch.Size((10,))), first)


# -- one stream looks random -----------------------------------------------------------------------


@pytest.mark.parametrize("shift", [1, 8, 16, 23])
def test_each_byte_of_the_bits_is_uniform(shift):
    for k in some_keys(6):
        byte = (rng.bits(k, 2**17) >> shift) & 0xFF
        assert plausible(stats.chisquare(byte.bincount(minlength=256)).pvalue)


def test_the_first_numbers_of_many_streams_are_uniform():
    for step in range(4):
        keys = rng.fold(some_keys(2**14), step)
        first = torch.func.vmap(lambda k: rng.bits(k, 1))(keys).flatten() >> 23
        assert plausible(stats.chisquare(first.bincount(minlength=256)).pvalue)


def test_numbers_at_a_distance_are_uncorrelated():
    count = 2**17
    for numbers in uniforms(some_keys(3), count) - 0.5:
        for lag in (*range(1, 17), 64, 128, 1024):
            correlation = 12 * (numbers[lag:] * numbers[:-lag]).mean()
            assert abs(correlation) < 4.5 / math.sqrt(count - lag)


def test_pairs_of_neighbouring_numbers_fill_the_square_evenly():
    for numbers in uniforms(some_keys(4), 2**16):
        cell = (numbers.view(-1, 2) * 16).long()
        counts = (cell[:, 0] * 16 + cell[:, 1]).bincount(minlength=256)
        assert plausible(stats.chisquare(counts).pvalue)


def test_uniform_numbers_follow_their_law():
    numbers = uniforms(some_keys(4), 2**15)
    assert all(plausible(stats.kstest(row, "uniform").pvalue) for row in numbers.numpy())
    assert numbers.min() > 0
    assert numbers.max() < 1


@pytest.mark.parametrize(
    "draw", [rng.normal, partial(rng.noise, dtype=torch.float32)], ids=["normal", "noise"]
)
def test_normal_numbers_have_the_moments_and_the_law_of_the_normal_distribution(draw):
    count = 2**18
    for k in some_keys(3):
        z = draw(k, torch.Size((count,))).double()
        # Mean, variance, skewness and fourth moment, each with its standard error.
        for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
            assert abs((z**power).mean() - moment) < 4 * math.sqrt(variance / count)
        assert plausible(stats.kstest(z.numpy(), "norm").pvalue)


def test_the_two_numbers_of_a_pair_are_independent():
    count = 2**17
    for k in some_keys(3):
        cosines, sines = rng.noise(k, torch.Size((2 * count,)), torch.float32).double().chunk(2)
        for one, other in ((cosines, sines), (cosines**2 - 1, sines**2 - 1)):
            correlation = (one * other).mean() / (
                one.square().mean() * other.square().mean()
            ).sqrt()
            assert abs(correlation) < 4.5 / math.sqrt(count)


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.5, 0.8, 0.99])
def test_a_mask_keeps_the_share_that_it_was_asked_for(keep):
    masks = [rng.keep_mask(k, torch.tensor(keep), torch.Size((1000, 20))) for k in some_keys(10)]
    kept = -int(torch.stack(masks).sum())
    assert stats.binomtest(kept, 200_000, keep).pvalue > UNLIKELY


def test_keeping_with_certainty_keeps_everything():
    # 2^22 elements: enough to meet numbers within 2^10 of the largest.
    assert bool((rng.keep_mask(key(5), torch.tensor(1.0), torch.Size((2**22,))) == -1).all())


# -- streams look independent of each other --------------------------------------------------------


def neighbours():
    """Streams that differ by one in their seed, site or step, all together."""
    by_seed = [rng.fold(rng.stream(seed, "dropout/a"), 0) for seed in range(8)]
    by_site = [rng.fold(rng.stream(0, f"dropout/{c}"), 0) for c in "bcdefgh"]
    by_step = [rng.fold(rng.stream(0, "dropout/a"), step) for step in range(1, 9)]
    return [*by_seed, *by_site, *by_step]


def test_streams_of_neighbouring_seeds_sites_and_steps_are_uncorrelated():
    count = 2**15
    numbers = uniforms(neighbours(), count)
    correlations = torch.corrcoef(numbers) - torch.eye(len(numbers))
    assert correlations.abs().max() < 4.5 / math.sqrt(count)


def test_streams_are_no_reorderings_of_each_other():
    # Two streams of n numbers out of 2^30 share n²/2^30 of them by chance.
    count = 2**12
    streams = [set(rng.bits(k, count).tolist()) for k in neighbours()]
    shared = sum(len(a & b) for a, b in combinations(streams, 2))
    expected = math.comb(len(streams), 2) * count**2 / 2**30
    assert stats.poisson.sf(shared - 1, expected) > UNLIKELY


def test_flipping_any_bit_of_a_seed_flips_half_of_the_keys_bits():
    seeds = torch.arange(500)
    for bit in range(63):
        flipped = rng.stream(seeds, "a") ^ rng.stream(seeds ^ (1 << bit), "a")
        for at in range(64):
            changes = int(((flipped >> at) & 1).sum())
            assert abs(changes - 250) < 5 * math.sqrt(125)


# -- orders ----------------------------------------------------------------------------------------


@given(INT64, st.integers(0, 300))
def test_a_permutation_holds_every_number_once(number, count):
    order = rng.permutation(key(number), count)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(count))


def test_all_orders_of_four_items_are_equally_likely():
    orders = rng.permutation(some_keys(24_000), 4)
    code = (orders * torch.tensor([64, 16, 4, 1])).sum(-1)
    _, counts = code.unique(return_counts=True)
    assert len(counts) == 24
    assert plausible(stats.chisquare(counts).pvalue)


def test_orders_of_neighbouring_seeds_and_steps_are_uncorrelated():
    orders = torch.stack([rng.permutation(k, 2**13) for k in neighbours()]).double()
    correlations = torch.corrcoef(orders) - torch.eye(len(orders))
    assert correlations.abs().max() < 4.5 / math.sqrt(2**13)


# -- the global generators -------------------------------------------------------------------------


def global_numbers():
    return torch.rand(2).tolist(), random.random(), np.random.rand(2).tolist()


def test_a_seeded_block_draws_the_numbers_of_its_seed_and_puts_the_generators_back():
    torch.manual_seed(1), random.seed(2), np.random.seed(3)
    undisturbed = global_numbers()
    torch.manual_seed(1), random.seed(2), np.random.seed(3)
    with rng.seeded(5):
        inside = global_numbers()
    assert global_numbers() == undisturbed
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    assert global_numbers() == inside


def test_it_is_told_whether_numpy_or_python_was_drawn_from():
    before = rng.drawn_state()
    torch.rand(1)
    assert not rng.draws(before)
    random.random()
    assert rng.draws(before)
    before = rng.drawn_state()
    np.random.rand()
    assert rng.draws(before)
