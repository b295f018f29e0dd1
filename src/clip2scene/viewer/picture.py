"""A picture: everything the page shows for what was chosen on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from clip2scene.viewer.choices import Choices, Pick
from clip2scene.viewer.painting import Entry, Painting, Scale
from clip2scene.viewer.picking import nearest_to_ray
from clip2scene.viewer.scene import Scene
from clip2scene.viewer.selection import Eye, pieces_within


@dataclass(frozen=True)
class Layer:
    """One run's cloud in a picture.

    Attributes:
        run: Number of the run.
        painting: Of all points of the scene, hidden ones too.
        points: Numbers of the points that are drawn: those that are not hidden, or a part of them.
        positions: Theirs, in metres, in the cloud's own frame.
        colours: Theirs.
        offset: Where the origin of the cloud's frame is put, in metres.
    """

    run: int
    painting: Painting
    points: Int[Tensor, " visible"]
    positions: Float[Tensor, "visible 3"]
    colours: UInt8[Tensor, "visible 3"]
    offset: tuple[float, float, float]


@dataclass(frozen=True)
class Line:
    """A line of the legend: an :class:`~clip2scene.viewer.painting.Entry`, with the count of each run."""

    name: str
    colour: tuple[int, int, int]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """What the page shows.

    Attributes:
        choices: What it is a picture of.
        scene: The sample.
        layers: One a run.
        legend: Lines of both runs together.
        scale: Of a heat map; of the first run.
        facts: Sentences on what is shown.
        trouble: Why what was asked for is not to be had; empty if it is.
    """

    choices: Choices
    scene: Scene
    layers: tuple[Layer, ...]
    legend: tuple[Line, ...]
    scale: Scale | None
    facts: tuple[str, ...]
    trouble: str = ""

    @property
    def marks(self) -> tuple[tuple[float, float, float], ...]:
        """Say where the clicked point lies in each cloud, in metres; nowhere if it is another sample's."""
        pick = self.choices.picked
        if pick is None or pick.number != self.choices.number:
            return ()
        x, y, z = self.scene.positions[pick.point].tolist()
        offsets = [layer.offset for layer in self.layers]
        return tuple((x + along, y + across, z + up) for along, across, up in offsets)

    def pick(self, origin: Sequence[float], direction: Sequence[float]) -> Pick | None:
        """Find the point under a click; None where it hits nothing.

        Args:
            origin: Of the click's ray, in metres.
            direction: Of the ray.
        """
        start, ray = torch.tensor([*origin]), torch.tensor([*direction])
        hits = []
        for layer in self.layers:
            own = start - torch.tensor(layer.offset)
            found = nearest_to_ray(layer.positions, own.float(), ray.float())
            if found is not None:
                away = float((layer.positions[found] - own).norm())
                hits.append((away, Pick(self.choices.number, int(layer.points[found]))))
        return min(hits, key=lambda hit: hit[0])[1] if hits else None

    def within(
        self, eye: Eye, low: tuple[float, float], high: tuple[float, float], *, whole: bool = True
    ) -> Int[Tensor, " chosen"]:
        """Find what of the cloud lies in a rectangle on the page, of whichever run.

        Args:
            eye: What it is seen through.
            low: Left and top, as shares of the picture's width and height.
            high: Right and bottom.
            whole: Whether whole pieces are meant, or the single points that are drawn there.

        Returns:
            Numbers of the points in the keyframe, rising.
        """
        found = torch.zeros(len(self.scene.sample.cloud), dtype=torch.bool)
        for layer in self.layers:
            inside = eye.sees_within(layer.positions + torch.tensor(layer.offset), low, high)
            drawn = self.scene.shown[layer.points]
            found[pieces_within(self.scene.pieces, drawn, inside) if whole else drawn[inside]] = True
        return found.nonzero()[:, 0]

    def piece_of(self, pick: Pick) -> Int[Tensor, " chosen"]:
        """Give the numbers of all points of the piece that a clicked point belongs to, rising."""
        pieces = self.scene.pieces
        return (pieces == pieces[self.scene.shown[pick.point]]).nonzero()[:, 0]

    def draw_over_image(self, view: int) -> Image.Image:
        """Draw the points of the first run that is shown over a camera's image."""
        layer = self.layers[0]
        visible = torch.zeros(len(self.scene.shown), dtype=torch.bool)
        visible[layer.points] = True
        return self.scene.draw_over_image(view, layer.painting.colours, visible)


def join_legends(legends: Sequence[Sequence[Entry]]) -> tuple[Line, ...]:
    """Put the legends of several runs together: a line for each name, in the order of the first run's."""
    colours = {each.name: each.colour for entries in reversed(legends) for each in entries}
    names = dict.fromkeys(each.name for entries in legends for each in entries)
    counts = [{each.name: each.count for each in entries} for entries in legends]
    return tuple(Line(name, colours[name], tuple(each.get(name, 0) for each in counts)) for name in names)
