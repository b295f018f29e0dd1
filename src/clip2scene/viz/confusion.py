"""A confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from PIL import Image

from clip2scene.viz.raster import QUIET, SHEET, TEXT, Colour

_FULL: Colour = (92, 164, 246)
_CELL, _NAMES = 54, 250  # pixels


def draw_confusion(
    counts: Int[np.ndarray, "true predicted"], classes: Sequence[str], predicted: Sequence[str]
) -> Image.Image:
    """Draw points by true class (row) and predicted class (column), in percent of each true class.

    Args:
        counts: Points.
        classes: Names of the rows.
        predicted: Names of the columns.

    Returns:
        The picture, which grows with the number of classes; rows without a point stay empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = counts.shape
    width, height = _NAMES + columns * _CELL + 40, _NAMES + rows * _CELL + 40
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=_unit(SHEET))
    box = (_NAMES / width, 30 / height, columns * _CELL / width, rows * _CELL / height)
    axes = figure.add_axes(box, facecolor=_unit(SHEET))
    ramp = np.array(_unit(SHEET)) + shares[..., None] / 100 * (
        np.array(_unit(_FULL)) - np.array(_unit(SHEET))
    )
    axes.imshow(ramp, aspect="auto")
    for row, column in zip(*np.nonzero(counts), strict=True):
        text = f"{shares[row, column]:.0f}" if shares[row, column] >= 0.5 else "<1"
        axes.text(column, row, text, ha="center", va="center", color=_unit(TEXT), fontsize=15)
    axes.set_xticks(range(columns), predicted, rotation=60, ha="left", fontsize=15)
    axes.set_yticks(range(rows), classes, fontsize=15)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, colors=_unit(TEXT))
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.text(20 / width, 1 - 30 / height, "true, by row; % of it", color=_unit(QUIET), fontsize=15)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _unit(colour: Colour) -> tuple[float, float, float]:
    """Give a colour in 0..1."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
