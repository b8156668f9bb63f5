"""Our training compared with the same in plain torch: one module, one loss, one autograd."""

from __future__ import annotations

import pytest
import torch

from ablate.data import load
from tests.plain_training import train
from tests.techniques import begun, runs

# One technique for each kind of work in a step besides the gradient and the update rule.
CASES = (
    *("regularize: sam", "regularize: sam with batch norm", "regularize: everything"),
    *("regularize: mixup", "regularize: cutmix", "regularize: swa", "regularize: ema"),
)


@pytest.mark.parametrize("name", CASES)
def test_a_run_trains_as_plain_torch_does(name):
    config = runs(name, precision="fp64")[1]
    training = begun([config], fused=False)
    while not training.done:
        training.advance()
    plain = train(config, load(config))
    ours = training.stack.slice(0)
    for part, theirs in plain.steps[-1].items():
        torch.testing.assert_close(ours[part], theirs, rtol=1e-9, atol=1e-12, msg=part)
