"""Serves `ablate evaluate` and `ablate.evaluate`: check, measure, write, print."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablate.commands.interrupted import until_interrupted
from ablate.config.knobs.looking import EVALUATE
from ablate.config.settings import of_values, of_words
from ablate.measure.evaluate_settings import EvaluateSettings, resolved
from ablate.streams import visible

if TYPE_CHECKING:
    from ablate.commands.evaluate.evaluate import Evaluation


def serve(path: str, words: Sequence[str], trust: bool = False) -> int:
    """Serve `ablate evaluate`; print to standard error what could not be evaluated.

    Args:
        path: A run's folder, a sweep's, or any folder above.
        words: Settings, as on the command line.
        trust: Whether what lies below the path is trusted from now on.

    Returns:
        The exit status: 0 if all runs were evaluated, 1 if some could not be, 130 if interrupted.

    Raises:
        AblateError: Nothing could be evaluated, or a setting is wrong.
    """
    wanted = resolved(of_words(EVALUATE, words))  # before anything slow is imported
    told = "interrupted; the runs evaluated so far are recorded"
    return until_interrupted(lambda: _serve(path, wanted, trust), told)


def evaluate(path: str | Path, settings: Mapping[str, Any], trust: bool = False) -> Evaluation:
    """Serve `ablate.evaluate`."""
    wanted = resolved(of_values(EVALUATE, settings))  # before anything slow is imported
    from ablate.commands.evaluate.evaluate import evaluate as evaluate_path

    return evaluate_path(Path(path), wanted, trust)


def _serve(path: str, wanted: EvaluateSettings, trust: bool) -> int:
    from ablate.commands.evaluate.evaluate import evaluate as evaluate_path
    from ablate.commands.evaluate.page import show

    found = evaluate_path(Path(path), wanted, trust)
    show(found, Console())
    for fault in found.faults:
        print(visible(f"ablate: not evaluated: {fault}"), file=sys.stderr)
    return 1 if found.faults else 0
