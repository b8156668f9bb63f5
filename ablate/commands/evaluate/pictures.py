"""Pictures of an evaluation: of one run, or of arms side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ablate import drawing
from ablate.measure.perturbations import UNITS
from ablate.report import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Frames = Mapping[str, pd.DataFrame]

_MOST_ARMS = 14  # in one picture
_ENOUGH = 5  # images in a bin; with fewer, its accuracy is noise
_LINE = 0.2  # height of a legend's line, inches
_LETTERS = 14  # of a class's name above an image
_COLUMNS = 6  # of the worst images
_NUMBERED = 20  # with more classes, cells of the confusion matrix have no counts
_LABELLED = 40  # with more classes, the axes have no class names


def of_run(
    frames: Frames, worst: np.ndarray[Any, Any] | None, classes: Sequence[str]
) -> dict[str, Figure]:
    """Draw the results of one run.

    Args:
        frames: The frames of `ablate.measure.evaluation`.
        worst: The images of the frame ``worst``, as they are stored, [N, C, H, W], or None.
        classes: Names of the classes.
    """
    figures = {
        "calibration": _calibration(frames["calibration"]),
        "confusion": _confusion(frames["confusion"], classes),
    }
    if worst is not None:
        figures["worst"] = _worst(frames["worst"], worst)
    alone = {n: f.assign(arm="") for n, f in frames.items() if n in _CURVES}
    figures |= {name: draw(alone[name]) for name, draw in _CURVES.items() if name in alone}
    if "information" in frames["predictions"]:
        figures["uncertainty"] = _uncertainty(frames["predictions"])
    return figures


def of_arms(frames: Frames) -> dict[str, Figure]:
    """Draw the results of several runs, a line for each arm: the mean and range of its runs."""
    first = {n: f[f["arm"].isin(_first(f["arm"]))] for n, f in frames.items()}
    figures = {name: draw(first[name]) for name, draw in _CURVES.items() if name in first}
    return figures | {"calibration": _calibration_of_arms(first["calibration"])}


def _first(arms: pd.Series[str]) -> list[str]:
    return list(dict.fromkeys(arms))[:_MOST_ARMS]


# -- curves, one for each arm ----------------------------------------------------------------------


def _deletion(frame: pd.DataFrame) -> Figure:
    figure, (axes,) = _axes(1)
    _curves(axes, frame, "share")
    _legend(figure, axes)
    axes.set(
        xlabel="share of each hidden layer's units deleted",
        ylabel="accuracy",
        title="Deletion of hidden units: mean and range",
    )
    return figure


def _perturbation(frame: pd.DataFrame) -> Figure:
    kinds = list(dict.fromkeys(frame["kind"]))
    figure, panels = _axes(len(kinds))
    for axes, kind in zip(panels, kinds, strict=True):
        _curves(axes, frame[frame["kind"] == kind], "strength")
        axes.set(
            xlabel=UNITS[kind], title={"shift": "Shifted", "rotate": "Rotated"}.get(kind, "Noisy")
        )
    panels[0].set_ylabel("accuracy")
    _legend(figure, panels[0])
    return figure


def _correlation(frame: pd.DataFrame) -> Figure:
    layers = list(dict.fromkeys(frame["layer"]))
    figure, (axes,) = _axes(1, height=max(2.4, 0.9 + 0.28 * len(layers)))
    for arm, part, look in _styled(frame):
        mean = part.groupby("layer")["correlation"].mean()
        values = [mean.get(layer, np.nan) for layer in layers]
        axes.plot(values, range(len(layers)), label=arm, **{**look, "linestyle": ""})
    axes.set_yticks(range(len(layers)), [*map(escape.figure, layers)])
    axes.invert_yaxis()
    axes.set(xlim=(0, None), xlabel="mean |correlation| of a layer's units", title="Co-adaptation")
    _legend(figure, axes)
    return figure


_CURVES = {"deletion": _deletion, "correlation": _correlation, "perturbation": _perturbation}


def _curves(axes: Axes, frame: pd.DataFrame, x: str) -> None:
    for arm, part, look in _styled(frame):
        found = part.groupby(x)["accuracy"].agg(["mean", "min", "max"])
        band = {"color": look["color"], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(found.index, found["min"], found["max"], **band)
        axes.plot(found.index, found["mean"], label=arm, **look)
    axes.set_ylim(0, 1.02)


def _styled(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    for number, (arm, part) in enumerate(frame.groupby("arm", sort=False)):
        yield escape.figure(arm), part, drawing.line(number)


def _legend(figure: Figure, axes: Axes) -> None:
    """Put a legend of the arms below the panels, where it covers nothing; none for one run."""
    lines, labels = axes.get_legend_handles_labels()
    if any(labels):
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + _LINE * len(labels))
        figure.legend(lines, labels, loc="outside lower left", fontsize="small", frameon=False)


# -- calibration -----------------------------------------------------------------------------------


def _calibration(frame: pd.DataFrame) -> Figure:
    """Draw accuracy by confidence, before and after temperature scaling, above image counts."""
    whens = list(dict.fromkeys(frame["temperature"]))
    labels = {"before": "as trained", "after": "with the temperature"}
    parts = [(labels[when], frame[frame["temperature"] == when]) for when in whens]
    return _reliability(parts)


def _calibration_of_arms(frame: pd.DataFrame) -> Figure:
    """Draw each arm's accuracy by confidence, as trained, over all images of its runs."""
    before = frame[frame["temperature"] == "before"]
    return _reliability(
        [(str(arm), _pooled(part)) for arm, part in before.groupby("arm", sort=False)]
    )


def _pooled(part: pd.DataFrame) -> pd.DataFrame:
    weighted = part.assign(
        confidence=part["confidence"] * part["images"], accuracy=part["accuracy"] * part["images"]
    )
    sums = weighted.groupby(["low", "high"], as_index=False)[
        ["images", "confidence", "accuracy"]
    ].sum()
    images = sums["images"].where(sums["images"] > 0)
    return sums.assign(confidence=sums["confidence"] / images, accuracy=sums["accuracy"] / images)


def _reliability(parts: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    figure = drawing.figure(4.6, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    drawing.quiet_axes((above, below))
    above.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for number, (label, part) in enumerate(parts):
        look, known = drawing.line(number), part[part["images"] >= _ENOUGH]
        above.plot(known["confidence"], known["accuracy"], label=label, **look)
        edges = [*part["low"], part["high"].iloc[-1]]
        outline = {name: look[name] for name in ("color", "linestyle", "linewidth")}
        below.stairs(part["images"] / part["images"].sum(), edges, **outline)
    above.set(ylim=(0, 1.02), title="Calibration")
    above.set_ylabel(f"accuracy, in bins of {_ENOUGH} images or more")
    below.set(xlim=(0, 1.02), xlabel="confidence", ylabel="share of images")
    _legend(figure, above)
    return figure


# -- one run's images ------------------------------------------------------------------------------


def _confusion(frame: pd.DataFrame, classes: Sequence[str]) -> Figure:
    counts = frame.drop(columns="true").to_numpy()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.2 + 0.32 * min(len(classes), _NUMBERED)
    figure = drawing.figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Greys", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class's images")
    if len(classes) <= _NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if share[row, column] > 0.5 else "black"
                at = axes.text(column, row, str(count), color=colour, fontsize="x-small")
                at.set(ha="center", va="center")
    if len(classes) <= _LABELLED:
        names = [escape.figure(name) for name in classes]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
        axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.set(xlabel="given", ylabel="true", title="Confusion, in images")
    return figure


def _worst(frame: pd.DataFrame, images: np.ndarray[Any, Any]) -> Figure:
    columns = min(_COLUMNS, len(frame))
    rows = ceil(len(frame) / columns)
    figure = drawing.figure(1.4 * columns + 0.2, 1.75 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
    for axes, row, pixels in zip(panels, frame.itertuples(), images, strict=False):
        axes.imshow(_shown(pixels), **({"cmap": "gray"} if len(pixels) != 3 else {}))
        given = "right" if row.right else f"given {_brief(row.given)}"
        axes.set_title(f"{_brief(row.true)}\n{given}, {row.loss:.2f}", fontsize="x-small")
    figure.suptitle(
        "The images of highest loss: true class; given class, loss in nats", fontsize="medium"
    )
    return figure


def _brief(name: object) -> str:
    """Shorten a class's name to fit above an image."""
    text = escape.plain(name)
    return escape.figure(text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…")


def _shown(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert an image [C, H, W] to [H, W] or [H, W, 3] in [0, 1]."""
    values = pixels.astype(float)
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else values * 0
    if pixels.dtype == np.uint8:  # a fixed scale keeps dark images dark
        scaled = values / 255
    return np.moveaxis(scaled, 0, -1) if len(pixels) == 3 else scaled[0]


def _uncertainty(frame: pd.DataFrame) -> Figure:
    """Draw the distribution of uncertainty, for right and for wrong answers."""
    figure, panels = _axes(2)
    names = {
        "entropy_of_mean": "predictive entropy, nats",
        "information": "mutual information, nats",
    }
    outcomes = {"right": frame[frame["right"]], "wrong": frame[~frame["right"]]}
    for axes, (column, label) in zip(panels, names.items(), strict=True):
        for number, (outcome, part) in enumerate(outcomes.items()):
            known = part[column].dropna()  # all but those of outputs that are not finite
            if len(known):
                look = {name: drawing.line(number)[name] for name in ("color", "linestyle")}
                axes.ecdf(known, label=f"{outcome} ({len(part)})", **look)
        axes.set(xlabel=label, ylim=(0, 1.02))
    panels[0].set_ylabel("share of images with at most this")
    if panels[1].lines:
        panels[1].legend(fontsize="small", frameon=False, title="the answer is")
    return figure


def _axes(count: int, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    figure = drawing.figure(4.6 if count == 1 else 3.2 * count, height)
    panels = list(figure.subplots(1, count, sharey=True, squeeze=False)[0])
    drawing.quiet_axes(panels)
    return figure, panels
