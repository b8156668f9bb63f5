"""Figures of an inspection: by layer, as histograms, and over the course of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate import drawing
from ablate.drawing import BLUE
from ablate.measure.inspection import Seen
from ablate.measure.signals import BINS
from ablate.report import escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
MOMENTS = {"start": "at the start", "end": "after training"}
_NAMED = 12  # layer names that fit below an axis
_COLUMNS = 10  # histograms side by side, and lines in a panel of `course`
_ARMS = 4  # side by side in `course`
_STATISTICS = {
    "layers": ("sd", "sd of activations"),
    "weights": ("grad_norm", "norm of gradients"),
}


def draw(seen: Sequence[Seen]) -> dict[str, Figure]:
    """Draw all figures, in training mode.

    Args:
        seen: Looks, run by run.

    Returns:
        ``overview``: deviation of activations and norm of gradients by layer, before and after
        training. ``activations`` and ``gradients``: histograms, a row for each look. ``course``:
        both, and update over weight, during training; only if there are looks during training.
    """
    whole = [s for s in seen if s.mode != "eval"]
    ends = [s for s in whole if s.moment in MOMENTS]
    figures = {
        "overview": _overview(ends),
        "activations": _histograms(ends, "layers", "activation"),
        "gradients": _histograms(ends, "weights", "gradient"),
    }
    return figures | ({"course": _course(whole)} if any(s.moment == "step" for s in whole) else {})


def shown(seen: Seen, part: str) -> list[Row]:
    """Choose the rows of a figure, in the order of the layers.

    For layers: activations, recurrent layers and the last layer; if the network has no activation
    or recurrent layer, all convolutions and linear layers. For weights: matrices and kernels.
    """
    if part == "weights":
        return [row for row in seen.found.weights if row["matrix"]]
    rows = seen.found.layers
    found: list[Row] = [
        row for row in rows if row["kind"] in ("activation", "recurrent") or row is rows[-1]
    ]
    return found if len(found) > 1 else [r for r in rows if r["kind"] in ("conv", "linear")]


def _spaced(rows: Sequence[Row]) -> list[Row]:
    """Choose as many rows as fit, evenly spaced, including the first and the last."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), _COLUMNS)).round().astype(int)
    return [rows[place] for place in places]


def short(layer: str) -> str:
    """Shorten a layer's name: drop a last part that only says what kind of layer it is."""
    home, _, leaf = layer.rpartition(".")
    return home if home and leaf in ("activation", "linear", "conv") else layer


# -- layer by layer --------------------------------------------------------------------------------


def _overview(ends: Sequence[Seen]) -> Figure:
    moments = [m for m in MOMENTS if any(s.moment == m for s in ends)]
    made = drawing.figure(1.5 + 3.6 * len(moments), 6.4)
    axes = made.subplots(2, len(moments), squeeze=False, sharey="row")
    drawing.quiet_axes(axes.flat)
    names = list(dict.fromkeys(s.name for s in ends))
    for (part, (statistic, label)), row in zip(_STATISTICS.items(), axes, strict=True):
        row[0].set_ylabel(label)
        for moment, axis in zip(moments, row, strict=True):
            looks = [s for s in ends if s.moment == moment]
            for seen in looks:
                values = np.array([r[statistic] for r in shown(seen, part)], dtype=float)
                at = np.arange(1, len(values) + 1)
                look = drawing.line(names.index(seen.name))
                axis.plot(
                    at, np.where(values > 0, values, np.nan), label=escape.figure(seen.name), **look
                )
            axis.set_yscale("log")
            _name_layers(
                axis, [[escape.figure(short(r["layer"])) for r in shown(s, part)] for s in looks]
            )
    for moment, axis in zip(moments, axes[0], strict=True):
        axis.set_title(MOMENTS[moment], fontsize=10)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return made


def _name_layers(axis: Any, names: Sequence[Sequence[str]]) -> None:
    """Label an axis with layer names if all looks share the same few; otherwise with numbers."""
    if names and len(names[0]) <= _NAMED and all(n == names[0] for n in names):
        axis.set_xticks(range(1, len(names[0]) + 1), names[0], rotation=90, fontsize=7)
    else:
        axis.set_xlabel("layer, from the input")
        axis.xaxis.get_major_locator().set_params(integer=True)


# -- histograms ------------------------------------------------------------------------------------


def _histograms(ends: Sequence[Seen], part: str, label: str) -> Figure:
    looks = sorted(ends, key=lambda seen: list(MOMENTS).index(seen.moment))
    columns = max((len(_spaced(shown(s, part))) for s in looks), default=1)
    made = drawing.figure(1.0 + 1.3 * columns, 0.6 + 1.4 * len(looks))
    axes = made.subplots(max(len(looks), 1), columns, squeeze=False)
    several = len({s.name for s in looks}) > 1
    for seen, row in zip(looks, axes, strict=False):
        some = _spaced(shown(seen, part))
        for axis, found in zip(row, some, strict=False):
            _histogram(axis, found)
        for axis in row[len(some) :]:
            axis.set_visible(False)
        told = f"{seen.name}\n{MOMENTS[seen.moment]}" if several else MOMENTS[seen.moment]
        row[0].set_ylabel(told, fontsize=7)
    made.supxlabel(f"{label}, each layer on its own scale", fontsize=8)
    return made


def _histogram(axis: Any, row: Row) -> None:
    low, high, sd = row["low"], row["high"], row.get("sd", row.get("grad_sd"))
    full = row.get("saturated")
    more = "" if full is None else f", {100 * full:.0f} % saturated"
    axis.set_title(f"{escape.figure(short(row['layer']))}\nsd {sd:.2g}{more}", fontsize=6)
    axis.set_yticks([])
    axis.tick_params(labelsize=6, length=2)
    axis.spines[["top", "right", "left"]].set_visible(False)
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        told = f"all {low:.3g}" if low == high else "not finite"
        axis.text(0.5, 0.5, told, ha="center", fontsize=7, transform=axis.transAxes)
        axis.set_xticks([])
        return
    edges = np.linspace(low, high, BINS + 1)
    axis.stairs(row["histogram"], edges, fill=True, color=BLUE)
    axis.locator_params(axis="x", nbins=3)
    axis.ticklabel_format(axis="x", scilimits=(-2, 3))
    axis.xaxis.get_offset_text().set_fontsize(6)


# -- during training -------------------------------------------------------------------------------


def _course(whole: Sequence[Seen]) -> Figure:
    from matplotlib import colormaps

    names = list(dict.fromkeys(s.name for s in whole))[:_ARMS]
    kinds = [*_STATISTICS.items(), ("weights", ("update_ratio", "update over weight"))]
    made = drawing.figure(2.6 + 3.6 * len(names), 7.5)
    axes = made.subplots(3, len(names), squeeze=False, sharey="row", sharex=True)
    drawing.quiet_axes(axes.flat)
    for name, column in zip(names, axes.T, strict=True):
        looks = [s for s in whole if s.name == name]
        for (part, (statistic, label)), axis in zip(kinds, column, strict=True):
            layers = [r["layer"] for r in _spaced(shown(looks[0], part))]
            for depth, layer in enumerate(layers):
                points = [
                    (s.step, r[statistic])
                    for s in looks
                    for r in shown(s, part)
                    if r["layer"] == layer and r.get(statistic)
                ]
                colour = colormaps["viridis"](0.9 * depth / max(len(layers) - 1, 1))
                look = drawing.line(depth) | {"color": colour, "markersize": 3}
                if points:
                    axis.plot(*zip(*points, strict=True), label=escape.figure(short(layer)), **look)
            axis.set_yscale("log")
            if name == names[0]:
                axis.set_ylabel(label)
            if name == names[-1]:
                beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
                axis.legend(frameon=False, fontsize=7, **beside)
        column[0].set_title(escape.figure(name), fontsize=10)
        column[-1].set_xlabel("step")
    return made
