"""The same stack in JAX: vmap over the runs, jit around a scan over an epoch's steps."""

from __future__ import annotations

import importlib.util
import os
import time
from typing import Any

from ablate.data import load
from gpu.apart import Figures
from gpu.bench import Bench

_TIMED = 2  # epochs
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_DROPPED = 0.5


def jax_stack(bench: Bench, config: dict[str, Any], width: int, precision: str) -> Figures:
    """Time an epoch of a stack, without evaluation, and extrapolate to all runs.

    Args:
        bench: Where and at which sizes.
        config: What each run trains.
        width: How many runs.
        precision: ``fp32``, or ``bf16`` for activations and what layers multiply.
    """
    if importlib.util.find_spec("jax") is None:
        return {"skipped": "jax is not installed"}
    if bench.dry:
        os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    if not bench.dry and jax.default_backend() != "gpu":
        return {"skipped": "jax is installed without its GPU build"}
    images, labels = _data(bench, config)
    train = _epoch(config["batch_size"], precision)

    def epoch(state: Any, seed: int) -> Any:
        keys = jax.random.split(jax.random.key(seed), width)
        return train(state, keys, images, labels)

    state = jax.vmap(_state)(jax.random.split(jax.random.key(0), width))
    start = time.perf_counter()
    state = jax.block_until_ready(epoch(state, 1))
    first = time.perf_counter() - start
    start = time.perf_counter()
    for turn in range(_TIMED):
        state = epoch(state, turn + 2)
    jax.block_until_ready(state)
    each = (time.perf_counter() - start) / _TIMED
    rounds = -(-(4 if bench.dry else 64) // width)
    seconds = first + rounds * config["epochs"] * each
    note = f"on {jax.devices()[0].device_kind}; the first steps are an epoch"
    return {"seconds": seconds, "first steps": first, "epoch": each, "note": note}


def _data(bench: Bench, config: dict[str, Any]) -> Any:
    """Put the training images, channels last, and their labels on JAX's device."""
    import jax

    data = load(config | {"device": "cpu"})
    few = slice(2 * config["batch_size"] if bench.dry else None)  # XLA is slow on a CPU
    images = data.normalized(data.train.images[few]).permute(0, 2, 3, 1).contiguous().numpy()
    return jax.device_put((images, data.train.labels[few].numpy()))


def _state(key: Any) -> dict[str, Any]:
    """Draw the weights of a run, uniform as torch draws them, with Adam's means and a counter."""
    import jax
    import jax.numpy as jnp

    shapes = {
        "conv0": (3, 3, 1, 32),
        "conv1": (3, 3, 32, 64),
        "dense": (3136, 128),
        "out": (128, 10),
    }
    weights: dict[str, Any] = {}
    for name, shape in shapes.items():
        key, one, other = jax.random.split(key, 3)
        bound = (shape[-1] / jnp.prod(jnp.array(shape))) ** 0.5
        weights[name] = jax.random.uniform(one, shape, minval=-bound, maxval=bound)
        weights[name + ".bias"] = jax.random.uniform(other, shape[-1:], minval=-bound, maxval=bound)
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return {"weights": weights, "mean": zeros, "square": zeros, "step": jnp.zeros(())}


def _loss(weights: dict[str, Any], x: Any, y: Any, key: Any, precision: str) -> Any:
    """Apply the network of `contenders.network` in training mode."""
    import jax
    import jax.numpy as jnp

    dtype = jnp.bfloat16 if precision == "bf16" else jnp.float32
    w = jax.tree.map(lambda each: each.astype(dtype), weights)
    x = x.astype(dtype)
    for name in ("conv0", "conv1"):
        x = jax.lax.conv_general_dilated(
            x, w[name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + w[name + ".bias"])
        # JAX knows how to derive a maximum over windows only if it sees where that begins.
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jax.nn.relu(x.reshape(len(x), -1) @ w["dense"] + w["dense.bias"])
    kept = jax.random.bernoulli(key, 1 - _DROPPED, x.shape)
    x = jnp.where(kept, x / (1 - _DROPPED), 0)
    logits = (x @ w["out"] + w["out.bias"]).astype(jnp.float32)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()


def _adam(state: dict[str, Any], gradients: Any) -> dict[str, Any]:
    """Do Adam's step as torch does it."""
    import jax

    count = state["step"] + 1
    mean = jax.tree.map(lambda m, g: _BETA1 * m + (1 - _BETA1) * g, state["mean"], gradients)
    square = jax.tree.map(
        lambda v, g: _BETA2 * v + (1 - _BETA2) * g * g, state["square"], gradients
    )

    def moved(w: Any, m: Any, v: Any) -> Any:
        root = (v / (1 - _BETA2**count)) ** 0.5
        return w - 1e-3 * m / (1 - _BETA1**count) / (root + _EPSILON)

    weights = jax.tree.map(moved, state["weights"], mean, square)
    return {"weights": weights, "mean": mean, "square": square, "step": count}


def _epoch(batch: int, precision: str) -> Any:
    """Compile an epoch of all runs: stacked state and keys, images and labels to the new state."""
    import jax

    # Left alone, XLA rounds what it multiplies in fp32 to TF32, which no other contender does.
    jax.config.update("jax_default_matmul_precision", "highest" if precision == "fp32" else None)

    # The images are an argument: as constants of the program they would be compiled with it.
    def of_a_run(state: dict[str, Any], key: Any, images: Any, labels: Any) -> dict[str, Any]:
        steps = len(labels) // batch
        order_key, key = jax.random.split(key)
        order = jax.random.permutation(order_key, len(labels))[: steps * batch]

        def step(state: dict[str, Any], given: Any) -> Any:
            index, number = given
            drop = jax.random.fold_in(key, number)
            gradients = jax.grad(_loss)(
                state["weights"], images[index], labels[index], drop, precision
            )
            return _adam(state, gradients), None

        batches = order.reshape(steps, batch), jax.numpy.arange(steps)
        return jax.lax.scan(step, state, batches)[0]  # type: ignore[no-any-return]

    return jax.jit(jax.vmap(of_a_run, (0, 0, None, None)), donate_argnums=0)
