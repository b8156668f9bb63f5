"""The GPU memory of a stack is known by arithmetic, and its evaluations fit beside it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablate import environment, record
from ablate.axis import parts
from ablate.commands import plan
from ablate.data import Sizes
from ablate.nets.build import build
from ablate.nets.memory import forward_peak, kept_bytes, training_peak
from ablate.nets.operations import operations
from ablate.optim.optimizer import RULES
from ablate.plan.request import Request
from ablate.train.eval_parts import EVAL_BATCH, sees_its_batch
from ablate.train.footprint import OPTIMIZERS, Images, footprint, runs_at_once
from ablate.train.scoring import Scores
from ablate.train.stack import Stack
from tests.asking import train_all
from tests.configs import config
from tests.techniques import NETWORKS, TECHNIQUES, begun, runs

MNIST = Images((1, 28, 28), 10, Sizes(55_000, 5_000, 10_000))
GIB = 2**30


def of(images=MNIST, width=8, at_once=None, **changes):
    configs = [config(seed=seed, device="cuda", **changes) for seed in range(width)]
    return footprint(configs, images, width, fused=width > 1, at_once=at_once or width)


# -- activations -----------------------------------------------------------------------------------


def test_the_bytes_of_a_block_are_those_on_paper():
    c = config(**{"model.channels": [32], "model.hidden": []})
    convolution, relu, pooling, product, loss = operations(c, (1, 28, 28), 10, fused=True)
    maps, pooled = 32 * 28 * 28 * 4, 32 * 14 * 14 * 4
    assert (convolution.input, convolution.output, convolution.weights) == (3136, maps, 9 * 32 + 32)
    assert (relu.output, relu.keeps_output, relu.made) == (maps, True, 0)
    assert (pooling.output, pooling.keeps_input, pooling.made) == (pooled, True, 2 * pooled)
    assert (product.keeps_input, product.output, product.weights) == (True, 40, 6273 * 10)
    assert (loss.output, loss.keeps_output) == (40, True)


def test_the_peaks_of_a_block_are_those_on_paper():
    c = config(**{"model.channels": [32], "model.hidden": []})
    block = operations(c, (1, 28, 28), 10, fused=True)
    maps, pooled = 32 * 28 * 28 * 4, 32 * 14 * 14 * 4
    # Kept: relu's output, places of maxima, the product's input, log-softmax.
    assert kept_bytes(block) == maps + 2 * pooled + pooled + 40
    # Evaluated: the maps before and after relu, and the image, which the block's caller holds.
    assert forward_peak(block) == 2 * maps + 3136
    # Backward through the pooling: what is kept up to it, gradients of its output and of its input,
    # and the gradient of the product's weight and bias.
    dense = 4 * (32 * 14 * 14 + 1) * 10
    assert training_peak(block, 5, 4) == 5 * (maps + 3 * pooled + pooled + maps) + dense


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_network_keeps_is_what_autograd_keeps(name, norm):
    changes = {k: v for k, v in NETWORKS[name].items() if not k.startswith(("optimizer", "norm"))}
    c = config(**changes, norm=norm)
    shape, batch = (1, 8, 8), 50
    module = build(c, shape, 10).train()
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    x = torch.randn(batch, *shape)
    labels = torch.zeros(batch, dtype=torch.int64)
    own |= {tensor.untyped_storage().data_ptr() for tensor in (x, labels)}
    found = {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor, tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        nn.functional.cross_entropy(module(x), labels)
    measured = sum(size for _, size in found.values()) / batch
    assert kept_bytes(operations(c, shape, 10, fused=False)) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_counted_as_they_are(name):
    c = config(**{k: v for k, v in NETWORKS[name].items() if not k.startswith("optimizer")})
    counted = sum(o.weights for o in operations(c, (1, 8, 8), 10, fused=True))
    module = build(c, (1, 8, 8), 10)
    assert counted == pytest.approx(sum(p.numel() for p in module.parameters()), rel=0.02)


# -- a stack ---------------------------------------------------------------------------------------


def test_every_optimizer_has_the_slots_that_it_is_planned_with():
    assert {name: len(rule.slots) for name, rule in RULES.items() if name != "muon"} == {
        name: slots
        for name, (slots, _) in OPTIMIZERS.items()
        if name not in ("muon", "lbfgs", "newton")
    }


def test_what_stays_is_what_the_tensors_hold():
    found = of(width=4, model="mlp", batch_size=100, epochs=2, **{"model.hidden": [5]})
    weights = 4 * 4 * (784 * 5 + 5 + 5 * 10 + 10)
    assert found.weights == 2 * weights
    assert found.optimizer == 2 * weights  # adam's
    assert found.data == 70_000 * (784 + 8)
    assert found.order == 4 * 550 * (100 * 8 + 2 * 8)  # places of images, and a rate a step


@pytest.mark.parametrize(
    "more",
    [
        {"batch_size": 128},
        {"precision": "fp64"},
        {"model.channels": [64, 64]},
        {"dropout": "standard"},
        {"norm": "layer"},
        {"regularize.sam": 0.05},
        {"regularize.ema": 0.99},
        {"model.activation": "gelu"},
    ],
)
def test_more_of_anything_takes_more(more):
    assert of(**more).tensors > of().tensors


def test_bfloat16_and_a_plainer_optimizer_take_less():
    assert of(precision="bf16").tensors < of().tensors
    assert of(optimizer="momentum").tensors < of().tensors


def test_what_a_single_run_of_the_stack_has_on_counts():
    plain, sharp = (config(device="cuda", **{"regularize.sam": rho}) for rho in (0, 0.1))
    one, other = (
        footprint(some, MNIST, 2, fused=True, at_once=2)
        for some in ([plain, plain], [plain, sharp])
    )
    assert other.tensors > one.tensors


# -- evaluation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", range(1, 70))
def test_an_evaluation_leaves_no_run_alone(width):
    for most in range(min(width, 2 + width % 2), width + 1):
        sizes = [len(range(width)[runs]) for runs in parts(width, most)]
        assert sum(sizes) == width
        assert max(sizes) <= most
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(width, 2)


def test_as_many_runs_are_evaluated_at_a_time_as_fit():
    configs = [config(seed=seed, device="cuda", batch_size=128) for seed in range(64)]

    def count(memory):
        return runs_at_once(configs, MNIST, fused=True, memory=memory)

    counts = [count(gib * GIB) for gib in (1, 8, 10, 12, 14, 20)]
    assert counts == sorted(counts)
    assert counts[0] == 2
    assert 2 < counts[2] < 64
    assert counts[-1] == 64
    assert footprint(configs, MNIST, 64, fused=True, at_once=counts[2]).fits(10 * GIB)
    assert not footprint(configs, MNIST, 64, fused=True, at_once=counts[2] + 1).fits(10 * GIB)
    assert count(None) == 64  # on a CPU


def test_a_network_of_the_users_own_is_evaluated_on_as_many_images_as_it_trains_on():
    own = {"model": "custom", "model._target_": "some.Net"}
    for batch, expected in ((10, 2), (125, 16), (500, 64), (1000, 64)):
        configs = [config(seed=s, device="cuda", batch_size=batch, **own) for s in range(64)]
        assert runs_at_once(configs, MNIST, fused=True, memory=GIB) == expected
        assert expected == 2 or expected * EVAL_BATCH <= 64 * max(batch, EVAL_BATCH)


EVALUATED = [
    *(name for name in TECHNIQUES if name.startswith(("network", "norm"))),
    *("dropout: bernoulli test", "regularize: swa with batch norm", "augment: test_views"),
]


@pytest.mark.parametrize("name", EVALUATED)
def test_a_run_has_the_same_scores_however_many_are_evaluated_at_a_time(name):
    six = [replaced | {"seed": seed} for seed, replaced in enumerate(2 * runs(name)[:3])]
    training = begun(six, fused=True)
    for _ in range(2):
        training.advance()
    found = []
    parts = (training.stack, training.update, training.batches, training.data)
    for at_once in (2, 3, 6):
        scores = Scores(*parts, at_once, by_content=sees_its_batch(six[0]))
        with scores.in_place(training.steps):
            found.append((scores.of(training.data.val), scores.of(training.data.test)))
            found[-1] += ({k: b.clone() for k, b in training.stack.buffers.items()},)
    for val, test, buffers in found[:-1]:
        assert (val, test) == found[-1][:2]
        assert all(torch.equal(b, found[-1][2][k]) for k, b in buffers.items())


@pytest.mark.parametrize("where", ["on the way", "at the end"])
def test_an_evaluation_that_runs_out_of_memory_halves_the_stack_and_loses_nothing(
    where, tmp_path, monkeypatch
):
    tiny = ("model=mlp", "model.hidden=[8]", "data.train_size=128", "epochs=2", "device=cpu")
    grid = (*tiny, "seed=range(4)", "launch=inline", "checkpoint.every=0s")
    predict, of = Stack.predict, Scores.of

    def whole(out):
        request = Request((*grid, f"out={out}"), multirun=True)
        found = [record.read(run.directory) for run in train_all(request)[0]]
        return [(one["status"], one["metrics"], one["history"]) for one in found]

    def short(stack, *args, **kwargs):
        if stack.width > 2 and during[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(stack, *args, **kwargs)

    def watched(scores, split):
        during[0] = where == "on the way" or len(split) == len(scores._data.test)
        return of(scores, split)

    during = [False]
    expected = whole(tmp_path / "one")
    assert {status for status, *_ in expected} == {"finished"}
    monkeypatch.setattr(Stack, "predict", short)
    monkeypatch.setattr(Scores, "of", watched)
    assert whole(tmp_path / "two") == expected


def test_a_plan_tells_what_its_widest_stack_takes_of_the_gpu(monkeypatch, capsys):
    grid = ("-m", "device=cuda", "seed=range(8)")

    def told(memory):
        monkeypatch.setattr(environment, "cuda", lambda: environment.Cuda(1, memory))
        assert plan.serve([*grid], measure=False) == 0
        return " ".join(capsys.readouterr().out.split())

    images = Images((1, 8, 8), 10, Sizes(1000, 300, 497))
    expected = of(images, epochs=30).tensors
    assert f"memory: tensors {expected / GIB:.1f} GiB at most (evaluation" in told(80 * GIB)
    assert "8 runs are evaluated at a time), allowance 2." in told(80 * GIB)
    assert told(80 * GIB).count("the GPU has 80.0 GiB") == 1
    assert "too wide" not in told(80 * GIB)


def test_a_plan_for_a_cpu_tells_nothing_of_memory(capsys):
    assert plan.serve(["-m", "device=cpu", "seed=range(2)"], measure=False) == 0
    assert "memory:" not in capsys.readouterr().out
