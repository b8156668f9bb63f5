"""What a terminal shows of an evaluation: the numbers of one run, or a row for each arm."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from ablate.commands.printing import cell, in_unit, say, show_table
from ablate.metrics import FRACTION, LOSS, metric_of

if TYPE_CHECKING:
    import pandas as pd

    from ablate.commands.evaluate.evaluate import Evaluation

_MEASURES = ("error", "loss", "ece", "brier")
_ROWS = {
    "plain": "as trained",
    "views": "views averaged",
    "dropout/arithmetic": "sub-networks, mean",
    "dropout/geometric": "sub-networks, geometric mean",
}
_UNCERTAIN = ("entropy", "information")
_LETTERS = 20  # an arm's name that is longer does not fit beside its numbers
_OF_ARMS = {  # column -> heading
    "plain/error": "error %",
    "views/error": "views",
    "dropout/arithmetic/error": "sub-nets",
    "plain/ece": "ECE %",
    "calibration/after/ece": "with T",
    "calibration/temperature": "T",
}


def show(found: Evaluation, console: Console) -> None:
    """Print an evaluation.

    Args:
        found: The evaluation.
        console: Where to print.
    """
    (_show_run if found.single else _show_arms)(found, console)
    say(console, f"curves and pictures: {found.folder}")


def _show_run(found: Evaluation, console: Console) -> None:
    row = {str(name): value for name, value in found.runs.iloc[0].items()}
    title = f"{row['arm']}, seed {row['seed']}: {len(found.frames['predictions'])} images"
    table = Table("", title=cell(title), title_justify="left")
    for head in ("error", "loss", "ECE", "Brier score"):
        table.add_column(head, justify="right")
    for prefix, name in _ROWS.items():
        if f"{prefix}/error" in row:
            table.add_row(name, *_cells(row, prefix))
    if "calibration/temperature" in row and isfinite(row.get("calibration/after/ece", nan)):
        tempered = f"temperature {row['calibration/temperature']:.2f}"
        error = in_unit(row["plain/error"], FRACTION)
        table.add_row(tempered, error, *_cells(row, "calibration/after", ("loss", "ece", "brier")))
    show_table(table, console)
    for line in (*_sub_networks(row), *_curves(found.frames)):
        say(console, line, wrap=True)


def _cells(row: Mapping[str, Any], prefix: str, names: tuple[str, ...] = _MEASURES) -> list[str]:
    columns = [f"{prefix}/{name}" for name in names]
    return [in_unit(row[one], metric_of(f"evaluate/{one}").unit) for one in columns]


def _sub_networks(row: Mapping[str, Any]) -> list[str]:
    if "dropout/samples" not in row:
        return []
    means = ("arithmetic", "geometric")
    same = [in_unit(row[f"dropout/agreement/{mean}"], FRACTION) for mean in means]
    kl = [in_unit(row[f"dropout/divergence/{mean}"], LOSS) for mean in means]
    entropy, information = (in_unit(row[f"dropout/{n}/all"], LOSS) for n in _UNCERTAIN)
    return [
        f"{row['dropout/samples']:.0f} sub-networks, their mean and geometric mean against weight"
        f" scaling:\n  equal decisions {same[0]} and {same[1]},"
        f" divergence {kl[0]} and {kl[1]} nats",
        f"  predictive entropy {entropy} nats, of which mutual information {information}",
    ]


def _curves(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """Write curves as lines of numbers."""
    lines = []
    if "deletion" in frames:
        mean = frames["deletion"].groupby("share")["accuracy"].mean()
        lines += ["accuracy % as hidden units are deleted, by share:", *_two_rows(mean)]
    if "correlation" in frames:
        lines.append("units of a layer, mean |correlation|:")
        for row in frames["correlation"].to_dict("records"):
            constant = f", {row['constant']} constant" if row["constant"] else ""
            value = f"{row['correlation']:.3f}" if isfinite(row["correlation"]) else "–"
            lines.append(f"  {row['layer']} ({row['units']} units{constant}): {value}")
    if "perturbation" in frames:
        units = {"shift": "pixels", "rotate": "degrees", "noise": "standard deviations"}
        for kind, part in frames["perturbation"].groupby("kind", sort=False):
            lines.append(f"accuracy % under {kind}, by {units[str(kind)]}:")
            lines += _two_rows(part.set_index("strength")["accuracy"])
    return lines


def _two_rows(curve: pd.Series[float]) -> list[str]:
    return [
        "  " + "".join(f"{x:>7g}" for x in curve.index),
        "  " + "".join(f"{100 * y:>7.1f}" for y in curve),
    ]


def _show_arms(found: Evaluation, console: Console) -> None:
    """Print a row for each arm, with means over its runs."""
    runs = found.runs
    heads = {name: head for name, head in _OF_ARMS.items() if name in runs}
    half = _half_gone(found.frames)
    table = Table(title=f"{len(runs)} runs", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("arm", overflow="fold")
    for head in ("runs", *heads.values(), *(["half gone"] if half else [])):
        table.add_column(head, justify="right", no_wrap=True)
    arms = {str(arm): part for arm, part in runs.groupby("arm", sort=False)}
    numbered = max(map(len, arms)) > _LETTERS
    for number, (arm, part) in enumerate(arms.items(), start=1):
        cells = [str(len(part)), *(_cell(name, part[name].mean()) for name in heads)]
        cells += [_cell("", half.get(arm, nan))] if half else []
        table.add_row(str(number) if numbered else cell(arm), *cells)
    show_table(table, console)
    say(console, _LEGEND, "dim", wrap=True)
    if numbered:
        for number, arm in enumerate(arms, start=1):
            say(console, f"arm {number}: {arm}", wrap=True)


_LEGEND = """means over runs; views, sub-nets: error % of their average; with T: ECE % at the
temperature T; half gone: accuracy % with half of the hidden units deleted"""


def _half_gone(frames: Mapping[str, pd.DataFrame]) -> dict[Any, float]:
    if "deletion" not in frames:
        return {}
    frame = frames["deletion"]
    return frame[frame["share"] == 0.5].groupby("arm")["accuracy"].mean().to_dict()


def _cell(name: str, value: float) -> str:
    if not isfinite(value):
        return "–"
    return f"{value if name == 'calibration/temperature' else 100 * value:.2f}"
