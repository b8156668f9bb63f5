"""Regularization ablations: many seeds, one command, a record that can be trusted.

The names below are the whole Python API; the command line is `ablate --help`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ablate.errors import AblateError, RunError

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from ablate.commands.evaluate.evaluate import Evaluation
    from ablate.commands.inspect.page import Inspection
    from ablate.commands.lr_find.page import RangeTest
    from ablate.record import Record

__version__ = "0.2.0"
_ONE_AT_A_TIME = Lock()  # Hydra keeps its state in the process
__all__ = ["AblateError", "evaluate", "inspect", "load", "load_model", "lr_find", "run"]


def run(overrides: Sequence[str] = (), *, check: bool = True, trust: bool = False) -> Record:
    """Train one run, as `ablate run` does, or return it if it has been trained.

    Args:
        overrides: As on the command line.
        check: Whether a run that failed or diverged is an error. With False its record is returned;
            its ``status`` and ``reason`` say what happened.
        trust: As `--trust`: whether files that the overrides name may run code from now on.

    Returns:
        The run's record, as in its record.json.

    Raises:
        AblateError: The request is wrong and nothing was started; or the run failed or diverged.
        KeyboardInterrupt: A stop was asked for; the same call goes on from there.

    Example:
        >>> import ablate
        >>> record = ablate.run(["model=mlp", "epochs=2", "seed=1"])  # doctest: +SKIP
        >>> record["metrics"]["test/accuracy"]  # doctest: +SKIP
        0.9
    """
    from ablate import record, streams
    from ablate.commands.requests import trained
    from ablate.plan.request import Request

    if isinstance(overrides, str):
        raise AblateError(f"overrides must be a list: ablate.run([{overrides!r}])")
    request = Request(tuple(overrides), trust=trust)
    if not request.is_single:
        raise AblateError(f"+study={request.study} is many runs, but ablate.run trains one")
    with _ONE_AT_A_TIME, streams.outliving():
        outcome = trained(request)
        lost = outcome.unrecorded(outcome.runs[0])
        found = None if lost else record.read(outcome.runs[0].directory)
    if outcome.stop is not None and outcome.stop.why != "interrupted":
        raise AblateError(outcome.stop.message)
    if lost:
        raise RunError(f"{outcome.runs[0].directory}: {lost}")
    if outcome.stop is not None:
        raise KeyboardInterrupt
    if found is None:
        place = outcome.runs[0].directory
        raise AblateError(f"{place} holds no record any more: was it moved or deleted meanwhile?")
    if check and found["status"] in ("failed", "diverged"):
        place = outcome.runs[0].directory
        raise RunError(
            f"the run {found['status']}: {found['reason']} (its record is in {place};"
            " ablate.run(..., check=False) returns it)"
        )
    return found


def evaluate(path: str | Path, *, trust: bool = False, **settings: Any) -> Evaluation:
    """Evaluate a saved run again, or all runs below a path, as `ablate evaluate` does.

    Args:
        path: A run's folder, a sweep's, or any above.
        trust: Whether records below the path may name your own classes from now on, though they
            were not trained by you on this machine.
        settings: As on the command line: ``views=8``, ``samples=None``, ``delete=False``,
            ``split="val"``, ``**{"augment.flip": 0.5}``, ...

    Returns:
        Frames and figures; the same is written into the runs' folders and records.

    Raises:
        AblateError: Nothing could be evaluated, or a setting is wrong; nothing was started.

    Example:
        >>> import ablate
        >>> found = ablate.evaluate("results/digits-cnn", samples=50)  # doctest: +SKIP
        >>> found.runs["dropout/arithmetic/error"].mean()  # doctest: +SKIP
        0.02
        >>> found.figures["deletion"].savefig("deletion.pdf")  # doctest: +SKIP
    """
    from ablate import streams
    from ablate.commands.evaluate import serve

    with streams.outliving():
        return serve.evaluate(path, settings, trust)


def lr_find(
    overrides: Sequence[str] = (),
    *,
    arms: Sequence[str] = (),
    multirun: bool = False,
    trust: bool = False,
) -> RangeTest:
    """Test which learning rates train, as `ablate lr-find` does.

    Args:
        overrides: As on the command line, settings such as ``mode=grid`` among them.
        arms: Further overrides, one text per arm.
        multirun: Whether overrides may name several values, as with `-m`.
        trust: As `--trust`.

    Returns:
        Frames and a figure; the same is written to ``out/name/lr_find/``.

    Raises:
        AblateError: The request is wrong; nothing was started.

    Example:
        >>> import ablate
        >>> found = ablate.lr_find(["optimizer=sgd", "mode=grid"])  # doctest: +SKIP
        >>> found.suggestions["over_ten"]  # doctest: +SKIP
    """
    from ablate import streams
    from ablate.commands.asking import Words
    from ablate.commands.lr_find import serve

    with _ONE_AT_A_TIME, streams.outliving():
        return serve.lr_find(Words(overrides, arms, multirun, trust=trust))


def inspect(
    overrides: Sequence[str] = (),
    *,
    arms: Sequence[str] = (),
    multirun: bool = False,
    trust: bool = False,
) -> Inspection:
    """Look at activations and gradients, layer by layer, as `ablate inspect` does.

    Args:
        overrides: As on the command line, settings such as ``every=50`` among them.
        arms: Further overrides, one text per arm.
        multirun: Whether overrides may name several values, as with `-m`.
        trust: As `--trust`.

    Returns:
        Frames and figures; the same is written to the run's ``inspect/``, or the sweep's.

    Raises:
        AblateError: The request is wrong; nothing was started.
        KeyboardInterrupt: A stop was asked for.

    Example:
        >>> import ablate
        >>> arms = ["init=normal init.std=1", "init=xavier_normal"]
        >>> found = ablate.inspect(["model=deep_mlp"], arms=arms)  # doctest: +SKIP
        >>> found.layers.groupby(["arm", "layer"])["saturated"].first()  # doctest: +SKIP
    """
    from ablate import streams
    from ablate.commands.asking import Words
    from ablate.commands.inspect import serve

    with _ONE_AT_A_TIME, streams.outliving():
        return serve.inspect(Words(overrides, arms, multirun, trust=trust))


def load(path: str | Path, *, all_knobs: bool = False) -> pd.DataFrame:
    """Load the records of all runs below a path as a pandas frame.

    Args:
        path: A run's folder, a sweep's, or any above.
        all_knobs: Give every knob a column, not only those that vary.

    Returns:
        One row per run, as described in `ablate.analyze.frames.load`. An unreadable record is left
        out, and a `UserWarning` names it.

    Raises:
        AblateError: No record below the path reads.

    Example:
        >>> import ablate
        >>> ablate.load("results")["test/error"].mean()  # doctest: +SKIP
        0.02
    """
    from ablate.analyze import frames

    return frames.load(path, all_knobs=all_knobs)


def load_model(path: str | Path, *, trust: bool = False) -> nn.Module:
    """Load a finished run's network with its selected weights, in evaluation mode, on the CPU.

    Args:
        path: The run's folder.
        trust: Whether its record may name your own classes from now on, though it was not trained
            by you on this machine.

    Returns:
        A plain module: normalized images [B, C, H, W] -> logits [B, K]. The record holds the
        normalization: ``environment.data.mean`` and ``std`` per channel, in units of the stored
        pixels (0 to 255).

    Raises:
        AblateError: There is no finished run, it kept no weights, or they are gone; or its record
            names a class and is not known to be yours.

    Example:
        >>> import ablate
        >>> model = ablate.load_model("results/digits-cnn/0a1b2c3d4e5f6071")  # doctest: +SKIP
        >>> model(images).argmax(-1)  # doctest: +SKIP
    """
    from ablate import record
    from ablate.config.trust import UntrustedError, folder_of, remember, require_record
    from ablate.data.tensors import DTYPES
    from ablate.measure.saved import fill
    from ablate.nets.build import build
    from ablate.nets.own_dropout import with_torch_dropout

    found = record.read_whole(Path(path))
    if found is None or found["status"] not in ("finished", "diverged"):
        have = "no record" if found is None else f"a run that is {found['status']}"
        raise AblateError(f"{path} holds {have}: name the folder of a finished run")
    config: Mapping[str, Any] = found["config"]
    try:
        require_record(Path(path), config)
    except UntrustedError:
        if not trust:
            raise
        remember([folder_of(path, below=True)])
    weights = record.load_weights(Path(path))
    channels, height, width = found["environment"]["data"]["shape"]
    classes = len(found["environment"]["data"]["classes"])
    module = build(config, (channels, height, width), classes)
    fill(module.to(DTYPES[config["precision"]]), weights, Path(path))
    return with_torch_dropout(module).eval()
