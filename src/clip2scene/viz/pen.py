"""Lines, dots and words on a sheet, drawn fine and reduced, so that edges are smooth."""

from collections.abc import Callable

from PIL import ImageDraw, ImageFont

from clip2scene.viz.raster import TEXT, Colour

Place = tuple[float | int, float | int]

FINE = 3
"""Raster steps per pixel and axis."""
WIDTH, MARGIN = 1600, 36
"""Of a sheet, in pixels."""
TICK = 8
"""Half a tick's length."""


class Pen:
    """Draws on the fine raster what is told in pixels."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self.draw = draw

    def write(
        self,
        place: Place,
        text: str,
        size: int,
        colour: Colour = TEXT,
        anchor: str = "lm",
        room: int = WIDTH - 2 * MARGIN,
    ) -> None:
        """Write a line of text, smaller where it would not fit."""
        measure: Callable[[int], float] = lambda size: ImageFont.load_default(size * FINE).getlength(text)  # noqa: E731
        while size > 9 and measure(size) > room * FINE:
            size -= 1
        self.draw.text(_fine(place), text, colour, ImageFont.load_default(size * FINE), anchor=anchor)

    def rule(self, start: Place, end: Place, colour: Colour, width: int) -> None:
        """Draw a straight line."""
        self.draw.line((_fine(start), _fine(end)), colour, width * FINE)

    def disc(self, place: Place, radius: int, colour: Colour, edge: Colour) -> None:
        """Draw a filled circle with an edge."""
        (x, y), reach = _fine(place), radius * FINE
        self.draw.ellipse((x - reach, y - reach, x + reach, y + reach), colour, edge, 2 * FINE)

    def arrow_head(self, tip: Place, direction: int, colour: Colour) -> None:
        """Draw a triangle that points to the left (-1) or to the right (1)."""
        back = tip[0] - 14 * direction
        corners = (tip, (back, tip[1] - TICK), (back, tip[1] + TICK))
        self.draw.polygon([_fine(corner) for corner in corners], colour)


def _fine(place: Place) -> Place:
    return place[0] * FINE, place[1] * FINE
