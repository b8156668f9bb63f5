"""The counter of bytes moved, against sums by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ablate.data import load
from ablate.train.training import Training
from contenders import configuration
from gpu.traffic import Traffic, touched


def count(work):
    with Traffic() as traffic:
        work()
    return traffic.bytes


@pytest.fixture(params=["cpu", "meta"])
def device(request):
    return request.param


def test_an_addition_reads_two_tensors_and_writes_one(device):
    x, y = torch.zeros(4, 256, device=device), torch.zeros(4, 256, device=device)  # 4 KiB each
    assert count(lambda: x + y) == 3 * 4096
    assert count(lambda: x + x) == 2 * 4096  # the same tensor is read once
    assert count(lambda: x + 1) == 2 * 4096
    assert count(lambda: x + y[0]) == 2 * 4096 + 1024  # one row, broadcast to all
    assert count(lambda: x + y[:1].expand(4, 256)) == 2 * 4096 + 1024


def test_an_in_place_operation_reads_and_writes_what_it_changes(device):
    x, y = torch.zeros(4, 256, device=device), torch.zeros(4, 256, device=device)
    assert count(lambda: x.add_(y)) == 3 * 4096
    assert count(lambda: x.mul_(2)) == 2 * 4096
    assert count(lambda: torch.add(x, x, out=y)) == 2 * 4096  # `out` is only written
    assert count(lambda: x.copy_(y)) == 2 * 4096
    assert count(lambda: x.zero_()) == 4096
    assert count(lambda: torch._foreach_add_([x, y], 1)) == 4 * 4096


def test_views_and_allocations_move_nothing(device):
    x = torch.zeros(4, 256, device=device)

    def look():
        x.detach(), x.view(2, 512), x.expand(7, 4, 256), x.t(), x[1:, ::2], x.unsqueeze(0)
        torch.empty(9, device=device), torch.empty_like(x), x.new_empty(3), x.reshape(1024)
        x.unbind(), x.split(2), x.as_strided((2, 2), (1, 1)), x.contiguous(), x.float()

    assert count(look) == 0
    assert count(lambda: x.t().contiguous()) == 2 * 4096
    assert count(lambda: x.half()) == 4096 + 2048


def test_a_gather_reads_what_it_picks_and_not_its_whole_source(device):
    images, index = torch.zeros(1000, 100, device=device), torch.arange(7, device=device)
    # Seven rows of 400 bytes are read and written; seven indices of 8 bytes are read.
    assert count(lambda: images.index_select(0, index)) == 2 * 2800 + 56
    assert count(lambda: images[index]) == 2 * 2800 + 56
    assert count(lambda: F.embedding(index, images)) == 2 * 2800 + 56


def test_memory_that_elements_share_counts_once():
    x = torch.zeros(10)
    assert touched(x.expand(5, 10)) == 40
    assert touched(x.unfold(0, 3, 1)) == 40  # eight windows of three over ten numbers
    assert touched(x[::2]) == 20
    assert touched(torch.zeros(0, 5)) == 0


def test_a_convolution_forward_and_back(device):
    x = torch.zeros(2, 3, 8, 8, device=device, requires_grad=True)  # 384 numbers: 1536 bytes
    w = torch.zeros(4, 3, 3, 3, device=device, requires_grad=True)  # 108: 432 bytes
    b = torch.zeros(4, device=device, requires_grad=True)  # 16 bytes
    dy = torch.zeros(2, 4, 8, 8, device=device)  # 512, as the output: 2048 bytes
    outputs = []
    assert count(lambda: outputs.append(F.conv2d(x, w, b, padding=1))) == 1536 + 432 + 16 + 2048
    back = count(lambda: torch.autograd.grad(outputs[0], [x, w, b], dy))
    assert back == (2048 + 1536 + 432) + (1536 + 432 + 16)


def test_a_batch_norm_forward_and_back():
    x = torch.zeros(8, 4, 5, 5, requires_grad=True)  # 800 numbers: 3200 bytes
    w, b = torch.ones(4, requires_grad=True), torch.zeros(4, requires_grad=True)  # 16 bytes each
    mean, var = torch.zeros(4), torch.ones(4)
    outputs = []
    forward = count(lambda: outputs.append(F.batch_norm(x, mean, var, w, b, training=True)))
    # Read: x, w, b, both running statistics. Written: y, the batch's mean and deviation.
    assert forward == (3200 + 4 * 16) + (3200 + 2 * 16)
    back = count(lambda: torch.autograd.grad(outputs[0], [x, w, b], torch.zeros(8, 4, 5, 5)))
    # The gradient is 3200 bytes of zeros, written before they are read.
    # Read: dy, x, w, the running and the batch's statistics. Written: dx, dw, db.
    assert back == 3200 + (2 * 3200 + 5 * 16) + (3200 + 2 * 16)


def test_an_operator_under_vmap_counts_for_all_runs():
    x_RN, y_RN = torch.zeros(3, 256), torch.zeros(3, 256)
    assert count(lambda: torch.vmap(torch.add)(x_RN, y_RN)) == 3 * 3 * 1024
    shared_N = torch.zeros(256)
    found = count(lambda: torch.vmap(torch.add, in_dims=(0, None))(x_RN, shared_N))
    assert found == 2 * 3 * 1024 + 1024


def test_the_count_of_a_step_grows_by_the_same_for_each_run():
    """Per-run work counts R times; only the images and a few counters are shared."""
    config = configuration("data=digits", "model.channels=[4]", "model.hidden=[8]", "device=cpu")

    def step(runs):
        training = Training([config | {"seed": i} for i in range(runs)], load(config), fused=True)
        training.launch()
        return count(training.launch)

    two, four, six = step(2), step(4), step(6)
    assert four - two == six - four
    assert 1.9 < four / two < 2
