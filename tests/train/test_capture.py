"""A step that is recorded once and replayed like a CUDA graph, on any machine.

`Recording` plays the graph: it records every operation of a step with the tensors that it read and
wrote, and repeats them on the same memory, without Python in between. A value read by the host
would be frozen in it, so such reads are refused.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.data import load
from ablate.train.deterministic import deterministic
from ablate.train.training import Training
from tests.configs import config
from tests.techniques import SIZES, TECHNIQUES, begun, ended, runs, same, trained

aten = torch.ops.aten
_ASKS = {
    *(aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default),
    *(aten.lift_fresh.default, aten.equal.default, aten.is_nonzero.default),
    # On a GPU these ask for the value, below what a dispatch mode sees.
    *(aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.fill.Tensor, aten.fill_.Tensor),
}


class Recording(TorchDispatchMode):
    """Records operations, and repeats them."""

    def __init__(self):
        super().__init__()
        self._done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in _ASKS, f"{func} asks the host, or waits for it"
        out = func(*args, **(kwargs or {}))
        self._done.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, out in self._done:
            again = func(*args, **kwargs)
            for old, new in zip(_tensors(out), _tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _tensors(out):
    out = out if isinstance(out, list | tuple) else [out]
    return [t for t in out if isinstance(t, torch.Tensor)]


class Replayed:
    """Replaces `Captured` on a CPU."""

    def __init__(self):
        self._calls, self._recording = 0, None

    def __call__(self, work):
        self._calls += 1
        if self._calls < 3:
            work()
        elif self._recording is None:
            self._recording = Recording()
            with self._recording:
                work()
        else:
            self._recording.replay()


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if "model" in c else n for n, c in TECHNIQUES.items()],
)
def test_a_recorded_step_trains_as_the_written_one_does(name):
    training = begun(runs(name), fused=True)
    if not training.repeats:
        pytest.skip("its steps differ, and are launched as they are written")
    assert training.epoch_steps > 1
    assert training.epochs > 1
    training._captured = Replayed()
    assert all(map(same, ended(training), trained(name, True).left))


def test_so_does_that_of_a_single_run():
    alone = runs("regularize: everything")[:1]
    plain, recorded = begun(alone, fused=False), begun(alone, fused=False)
    recorded.update._optimizer._single = False  # a number instead of a tensor: on a CPU alone
    recorded._captured = Replayed()
    assert all(map(same, ended(recorded), ended(plain)))


def test_a_recorded_training_goes_on_from_a_state():
    name = "augment: alternating"  # whose images turn with the epoch
    first, second = begun(runs(name), fused=True), begun(runs(name), fused=True)
    for _ in range(first.epoch_steps + 2):
        first.advance()
    second._captured = Replayed()
    second.restore([first.state(r) for r in range(len(first.configs))])
    assert all(map(same, ended(second), trained(name, True).left))


@pytest.mark.parametrize(
    "changes",
    [
        {"regularize._target_": "tests.techniques.own_penalty"},
        {"augment._target_": "tests.techniques.own_augmentation"},
        {"optimizer": "lbfgs"},
    ],
)
def test_steps_that_run_other_peoples_code_or_search_are_not_recorded(changes):
    assert not begun([config(**SIZES, **changes)], fused=False).repeats
    assert begun([config(**SIZES)], fused=False).repeats


@pytest.mark.gpu
def test_a_graph_on_a_gpu_leaves_what_single_launches_leave():
    """Under deterministic algorithms: without them a GPU promises the same bits to no run."""
    same_bits = {"device": "cuda", "deterministic": True}
    configs = [c | same_bits for c in runs("regularize: everything")]
    with deterministic(True):
        captured, plain = (Training(configs, load(configs[0]), fused=True) for _ in range(2))
        assert captured._captured is not None
        plain._captured = None
        assert all(map(same, ended(captured), ended(plain)))
