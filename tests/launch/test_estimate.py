"""What `ablate plan --measure` says about memory, against what training uses."""

from __future__ import annotations

import pytest
import torch
from joblib.externals.loky.process_executor import ProcessPoolExecutor

from ablate.data import Sizes, facts, load
from ablate.launch.estimate import measure
from ablate.plan.run import Run, key
from ablate.plan.stacks import RunStack
from ablate.train.memory import keep_freed_memory, peak
from ablate.train.training import Training
from tests.configs import config


@pytest.mark.long
@pytest.mark.parametrize("width", [1, 8])
def test_the_estimated_memory_is_within_a_fifth_of_what_training_uses(width):
    # Each in a separate process, so that neither reuses memory that the other freed.
    stack = _stack(width)
    with ProcessPoolExecutor(max_workers=1) as process:
        _, _, estimate = process.submit(measure, stack, 1).result()
    with ProcessPoolExecutor(max_workers=1) as process:
        before, taken = process.submit(_peak_of_training, stack).result()
    assert taken - before > 2**20 * 20 * width  # of which the weights are only a part
    assert estimate == pytest.approx(taken, rel=0.2)


def _stack(width):
    changes = {"model": "mlp", "model.hidden": [1024, 1024], "epochs": 2}
    configs = [config(seed=seed, **changes) for seed in range(width)]
    digest = facts({"name": "digits"}).digest
    runs = [
        Run(made, digest, key(made, digest), (1, 8, 8), 10, Sizes(1000, 300, 497))
        for made in configs
    ]
    return RunStack(tuple(runs), width > 1, "")


def _peak_of_training(stack):
    torch.set_num_threads(1)
    keep_freed_memory()
    before = peak()
    configs = [run.config for run in stack.runs]
    training = Training(configs, load(configs[0]), fused=stack.fused)
    while not training.done:
        training.advance()
    training.finish()
    return before, peak()
