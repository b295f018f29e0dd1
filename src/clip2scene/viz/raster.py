"""Pictures of clouds: from above, over a camera's image, side by side with titles and a legend.

Points are drawn as round discs on a finer raster that is then averaged down, so edges are smooth. All points
are set at once, without a loop over them. Colours are chosen for a dark ground.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from clip2scene.classes.tables import ClassSet
from clip2scene.io import write_atomically
from clip2scene.types import IGNORE_LABEL

Colour = tuple[int, int, int]

GROUND: Colour = (13, 16, 22)
SHEET: Colour = (22, 26, 34)
RING: Colour = (44, 51, 63)
TEXT: Colour = (232, 237, 243)
QUIET: Colour = (142, 152, 166)
NO_LABEL: Colour = (66, 73, 86)
RIGHT: Colour = (52, 168, 101)
WRONG: Colour = (250, 74, 82)

ERROR_ENTRIES = {"right": RIGHT, "wrong": WRONG, "no label": NO_LABEL}
"""Legend of :func:`error_colours`."""

_HEAT = np.array(
    [(58, 44, 112), (122, 46, 138), (196, 63, 122), (240, 106, 80), (251, 170, 74), (252, 240, 174)],
    dtype=float,
)
_FINE = 3  # raster steps per pixel and axis
_MARGIN = 28  # of a panel, in pixels
INNER = 1600 - 2 * _MARGIN
"""Width of what a panel holds, in pixels: pictures of this size are not scaled."""


def class_colours(labels: Int[Tensor, " points"], class_set: ClassSet) -> UInt8[Tensor, "points 3"]:
    """Colour points by class; those without a label are grey."""
    colours = torch.tensor([*map(_legible, class_set.colours), NO_LABEL], dtype=torch.uint8)
    return colours[torch.where(labels == IGNORE_LABEL, len(class_set), labels).cpu().long()]


def error_colours(
    predicted: Int[Tensor, " points"], truth: Int[Tensor, " points"]
) -> UInt8[Tensor, "points 3"]:
    """Colour points green where the prediction is right and red where it is wrong.

    Points without a true label, or without a prediction, are grey (scores count the latter as wrong).
    """
    verdict = (predicted == truth).long()
    verdict[(truth == IGNORE_LABEL) | (predicted == IGNORE_LABEL)] = 2
    return torch.tensor([WRONG, RIGHT, NO_LABEL], dtype=torch.uint8)[verdict.cpu()]


def heat_colours(
    scores: Float[Tensor, " points"], *, low: float = 0.0, high: float = 1.0
) -> UInt8[Tensor, "points 3"]:
    """Colour points from violet at ``low`` over red to pale yellow at ``high``; grey where not finite.

    Raises:
        ValueError: If ``high`` is not above ``low``.
    """
    if not high > low:
        raise ValueError(f"heat colours need low < high, got low={low} and high={high}")
    finite = torch.isfinite(scores).cpu()
    place = ((scores.detach().cpu().double() - low) / (high - low)).nan_to_num(0.0).clamp(0, 1)
    stops = np.linspace(0, 1, len(_HEAT))
    mixed = np.stack([np.interp(place.numpy(), stops, channel) for channel in _HEAT.T], axis=1)
    colours = torch.from_numpy(mixed).reshape(-1, 3).round().to(torch.uint8)
    colours[~finite] = torch.tensor(NO_LABEL, dtype=torch.uint8)
    return colours


def class_entries(class_set: ClassSet, *labels: Int[Tensor, " points"]) -> dict[str, Colour]:
    """List names and colours for :func:`legend`: of the classes in ``labels``, or of all without labels."""
    entries = {name: _legible(c) for name, c in zip(class_set.classes, class_set.colours, strict=True)}
    if not labels:
        return entries
    present = set(torch.cat([each.cpu() for each in labels]).unique().tolist())
    shown = {name: colour for number, (name, colour) in enumerate(entries.items()) if number in present}
    return {**shown, "no label": NO_LABEL} if IGNORE_LABEL in present else shown


def birds_eye(
    positions: Float[Tensor, "points 3"],
    colours: UInt8[Tensor, "points 3"],
    *,
    size: int = 800,
    extent: float = 40.0,
    point_radius: float = 1.5,
    rings: bool = True,
) -> Image.Image:
    """Draw a cloud from above: forward (x) is up, left (y) is left, higher points hide lower ones.

    Args:
        positions: Metres, the sensor at the origin. Points beyond the picture are left out.
        colours: One per point.
        size: Edge of the square picture, in pixels.
        extent: Metres from the sensor to the picture's edge.
        point_radius: Of a disc, in pixels.
        rings: Draw distance circles and the sensor's place.

    Returns:
        The picture.

    Raises:
        ValueError: If ``extent`` is not positive.
    """
    if not extent > 0:
        raise ValueError(f"the extent must be positive metres, got {extent}")
    scale, margin = size / (2 * extent), _margin(point_radius * _FINE)
    edge = size * _FINE + 2 * margin
    canvas = np.full((edge, edge), _packed(np.array(GROUND, dtype=np.uint8)))
    distances = _ring_distances(extent)
    if rings:
        for distance in distances:
            _set_circle(canvas, distance * scale * _FINE)
    xyz = positions.detach().cpu().numpy()
    places = size / 2 - xyz[:, [1, 0]] * scale
    drawn = np.argsort(xyz[:, 2], kind="stable")
    _set_discs(canvas, places[drawn] * _FINE + margin, colours.cpu().numpy()[drawn], point_radius * _FINE)
    picture = _smooth(canvas, margin)
    if rings:
        _label_rings(picture, distances, scale)
        _mark_sensor(picture, scale)
    return picture


def camera_overlay(
    image: UInt8[Tensor, "height width 3"],
    pixels: Float[Tensor, "pairs 2"],
    depths: Float[Tensor, " pairs"],
    colours: UInt8[Tensor, "pairs 3"],
    *,
    point_radius: float | None = None,
    min_width: int = 1200,
) -> Image.Image:
    """Draw points over a darkened camera image; nearer points are bigger and hide farther ones.

    Args:
        image: RGB.
        pixels: (u, v) of each point in this image, as :class:`~clip2scene.types.Pairs` holds them.
        depths: Of each point, in metres.
        colours: Of each point.
        point_radius: Of a disc at 15 m, in pixels of the result; by default smaller for more points.
        min_width: A narrower image is enlarged by a whole number to at least this many pixels.

    Returns:
        A picture of the image's size, or of a multiple of it.
    """
    zoom = max(1, -(-min_width // image.shape[1]))
    height, width = image.shape[0] * zoom, image.shape[1] * zoom
    enlarged = Image.fromarray(image.cpu().numpy()).resize((width, height), Image.Resampling.LANCZOS)
    plain = np.asarray(enlarged, dtype=np.float32)
    grey = plain @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    calm = _packed((0.5 * (0.55 * plain + 0.45 * grey[..., None])).round().astype(np.uint8))
    if point_radius is None:
        spacing = (height * width / max(len(pixels), 1)) ** 0.5
        point_radius = min(max(0.25 * spacing, width / 1000), width / 400)
    far_first = np.argsort(-depths.cpu().numpy(), kind="stable")
    places = (pixels.cpu().numpy()[far_first] + 0.5) * zoom * _FINE  # integers are pixel centres
    chosen = colours.cpu().numpy()[far_first]
    sizes = (15 / depths.cpu().numpy()[far_first].clip(1e-3)) ** 0.5
    # Sizes grow along this order, so a few runs of equal size keep the order of drawing.
    steps = np.round(point_radius * _FINE * sizes.clip(0.7, 1.8)).astype(int)
    margin = _margin(float(steps.max(initial=0)))
    canvas = np.pad(np.repeat(np.repeat(calm, _FINE, axis=0), _FINE, axis=1), margin)
    for step in np.unique(steps):
        _set_discs(canvas, places[steps == step] + margin, chosen[steps == step], float(step))
    return _smooth(canvas, margin)


def legend(entries: Mapping[str, Colour], *, width: int = INNER) -> Image.Image:
    """Draw names beside patches of their colours, in as many lines as ``width`` asks for."""
    patch, line, gap = 18, 36, 30
    places, x, y = [], 0, 0
    for name in entries:
        needed = patch + 10 + _text_width(name, 20)
        if x > 0 and x + needed > width:
            x, y = 0, y + line
        places.append((x, y))
        x += needed + gap
    picture = Image.new("RGB", (width, y + line), SHEET)
    for (name, colour), (left, top) in zip(entries.items(), places, strict=True):
        middle = top + line // 2
        _patch(picture, (left, middle - patch // 2), patch, colour)
        _write(picture, (left + patch + 10, middle), name, 20)
    return picture


def heat_legend(low: str, high: str, *, width: int = INNER) -> Image.Image:
    """Draw the colour scale of :func:`heat_colours` with words or numbers at its two ends."""
    picture = Image.new("RGB", (width, 36), SHEET)
    start, length = _text_width(low, 20) + 12, min(300, width // 3)
    bar = heat_colours(torch.linspace(0, 1, length)).numpy()
    _write(picture, (0, 18), low, 20)
    picture.paste(Image.fromarray(np.repeat(bar[None], 14, axis=0)), (start, 11))
    _write(picture, (start + length + 12, 18), high, 20)
    return picture


def panel(
    images: Sequence[Image.Image],
    titles: Sequence[str],
    *,
    columns: int | None = None,
    legend: Image.Image | None = None,
    heading: str = "",
    width: int = 1600,
) -> Image.Image:
    """Arrange pictures in a grid, a title over each, a heading above and a legend below.

    Args:
        images: The pictures; each is scaled to its column's width.
        titles: One per picture; smaller where they would not fit.
        columns: How many side by side; all of them by default.
        legend: From :func:`legend`; scaled down where it is too wide.
        heading: Over everything.
        width: Of the result, in pixels.

    Returns:
        The picture.

    Raises:
        ValueError: If there is no picture, or not one title for each.
    """
    if not images or len(images) != len(titles):
        raise ValueError(f"a panel needs pictures and a title for each, got {len(images)} and {len(titles)}")
    columns = columns or len(images)
    inner, gap, heading_height = width - 2 * _MARGIN, 18, 60 if heading else 0
    cell = (inner - (columns - 1) * gap) // columns
    rows = [
        _row(images[start : start + columns], titles[start : start + columns], cell, gap)
        for start in range(0, len(images), columns)
    ]
    below = [legend if legend.width <= inner else _fit_width(legend, inner)] if legend is not None else []
    top = _MARGIN // 2 + heading_height
    height = top + sum(part.height + gap for part in (*rows, *below)) - gap + _MARGIN
    sheet = Image.new("RGB", (width, height), SHEET)
    if heading:
        _write(sheet, (_MARGIN, top - heading_height // 2), heading, 28)
    for part in (*rows, *below):
        sheet.paste(part, (_MARGIN, top))
        top += part.height + gap
    return sheet


def _row(images: Sequence[Image.Image], titles: Sequence[str], cell: int, gap: int) -> Image.Image:
    """Put pictures side by side, each ``cell`` pixels wide, with its title above."""
    scaled, title_height = [_fit_width(image, cell) for image in images], 40
    height = title_height + max(image.height for image in scaled)
    row = Image.new("RGB", (len(images) * (cell + gap) - gap, height), SHEET)
    for number, (image, title) in enumerate(zip(scaled, titles, strict=True)):
        left, size = number * (cell + gap), min(22, 22 * cell // max(1, _text_width(title, 22)))
        _write(row, (left, title_height // 2), title, max(size, 8))
        row.paste(image, (left, title_height))
    return row


def save_png(path: Path, image: Image.Image) -> None:
    """Write a picture (8 bits a channel) as PNG, atomically."""
    with write_atomically(path) as temporary:
        image.save(temporary, format="PNG", compress_level=1)  # a third faster than 6, and an eighth larger


def _fit_width(image: Image.Image, width: int) -> Image.Image:
    if image.width == width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)


def _packed(rgb: np.ndarray) -> np.ndarray:
    """Turn an array (rows, columns, 3) into one 32-bit number a pixel, so that a pixel is set in one go."""
    padded = np.full((*rgb.shape[:-1], 4), 255, dtype=np.uint8)
    padded[..., :3] = rgb
    return padded.view(np.uint32)[..., 0]


def _smooth(canvas: np.ndarray, margin: int) -> Image.Image:
    """Average a fine raster of packed pixels, without its margin, down to the picture's own size."""
    rows, columns = (edge - 2 * margin for edge in canvas.shape)
    start, stride = margin * (canvas.shape[1] + 1), 4 * canvas.shape[1]
    shared = canvas.reshape(-1)[start:]
    fine = Image.frombuffer("RGBX", (columns, rows), shared, "raw", "RGBX", stride, 1)  # no copy
    return fine.reduce(_FINE).convert("RGB")


def _margin(radius: float) -> int:
    """Say how many pixels around a raster have room for discs that reach over its border."""
    return 2 * int(np.ceil(radius)) + 1


def _set_discs(canvas: np.ndarray, places: np.ndarray, colours: np.ndarray, radius: float) -> None:
    """Set discs into a packed raster around ``places`` (x, y), later ones over earlier ones.

    Discs that leave the raster are left out: around what will be seen it has a margin.
    """
    rows, columns = canvas.shape
    reach = int(np.ceil(radius))
    inside = ((places >= reach) & (places < (columns - reach, rows - reach))).all(1)
    x, y = np.floor(places[inside]).astype(np.int32).T
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).astype(np.int32)
    disc = dx**2 + dy**2 <= max(radius, 0.5) ** 2
    cells = (y * np.int32(columns) + x)[:, None] + (dy * np.int32(columns) + dx)[disc]
    # Where a cell is named more than once, NumPy keeps the last value: the point drawn last.
    canvas.reshape(-1)[cells.reshape(-1)] = np.repeat(_packed(colours[inside]), int(disc.sum()))


def _ring_distances(extent: float) -> list[float]:
    """Choose round distances below ``extent``, six at most."""
    step = next(s for s in (10.0**p * f for p in range(-3, 6) for f in (1, 2, 5)) if extent / s <= 6)
    return [step * number for number in range(1, int(extent * 0.98 / step) + 1)]


def _set_circle(canvas: np.ndarray, radius: float) -> None:
    """Set a circle around the middle of a packed raster, a pixel of the picture wide."""
    angles = np.linspace(0, 2 * np.pi, int(8 * radius) + 8, endpoint=False)
    places = canvas.shape[1] / 2 + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    _set_discs(canvas, places, np.tile(np.array(RING, dtype=np.uint8), (len(places), 1)), _FINE / 2)


def _label_rings(picture: Image.Image, distances: Sequence[float], scale: float) -> None:
    middle, size = picture.width / 2, max(12, picture.width // 42)
    for distance in distances:
        slant, text = distance * scale * 0.7071, f"{distance:g} m"
        place = (round(middle + slant - _text_width(text, size) / 2), round(middle - slant))
        _write(picture, place, text, size, colour=QUIET, halo=GROUND)


def _mark_sensor(picture: Image.Image, scale: float) -> None:
    """Draw an arrow head at the sensor, pointing forward, about as long as a car but never tiny."""
    half = max(2.2 * scale, picture.width / 90)
    side, fine = int(3 * half), 4
    mark = Image.new("L", (side * fine, side * fine), 0)
    outline = [(0.0, -1.0), (0.62, 0.9), (0.0, 0.5), (-0.62, 0.9)]
    ImageDraw.Draw(mark).polygon(
        [((side / 2 + x * half) * fine, (side / 2 + y * half) * fine) for x, y in outline], 255
    )
    corner = (picture.width - side) // 2
    picture.paste(TEXT, (corner, corner), mark.reduce(fine))


def _patch(picture: Image.Image, corner: tuple[int, int], side: int, colour: Colour) -> None:
    fine = 4
    mask = Image.new("L", (side * fine, side * fine), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side * fine - 1, side * fine - 1), 4 * fine, 255)
    picture.paste(colour, corner, mask.reduce(fine))


def _write(
    picture: Image.Image,
    place: tuple[int, int],
    text: str,
    size: int,
    *,
    colour: Colour = TEXT,
    halo: Colour | None = None,
) -> None:
    """Write a line of text; ``place`` is the middle of its left edge. Drawn fine for even letter spacing."""
    fine, rim = 4, 3
    font = ImageFont.load_default(size * fine)
    shape = (_text_width(text, size) + 2 * rim + size, 2 * size)
    for ink, stroke in ((halo, rim * fine), (colour, 0)):
        if ink is not None:
            mask = Image.new("L", (shape[0] * fine, shape[1] * fine), 0)
            start = (rim * fine, size * fine)
            ImageDraw.Draw(mask).text(start, text, 255, font, anchor="lm", stroke_width=stroke)
            picture.paste(ink, (place[0] - rim, place[1] - size), mask.reduce(fine))


def _text_width(text: str, size: int) -> int:
    return round(ImageFont.load_default(size * 4).getlength(text) / 4)


def _legible(colour: Colour) -> Colour:
    """Lighten a colour that would drown in the dark ground, keeping its hue and its place among others."""
    brightness = (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255
    white = max(0.0, (0.30 + 0.35 * brightness - brightness) / (1 - brightness + 1e-9))
    red, green, blue = (round(part + (255 - part) * white) for part in colour)
    return red, green, blue
