"""All that a town holds, in arrays: one table of its things and one of its triangles."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from clip2scene.toytown.town import things
from clip2scene.toytown.town.plan import Ground, Placed
from clip2scene.toytown.town.shapes import Mesh, box, join
from clip2scene.toytown.town.textures import Texture

Bend = Callable[[Float[np.ndarray, "points 3"]], Float[np.ndarray, "points 3"]]
"""Takes street coordinates into the world."""


@dataclass(frozen=True)
class Geometry:
    """All triangles of a town and what they belong to.

    Attributes:
        vertices: In the frame of their instance; ground is already in the world frame.
        vertex_instances: Instance of each vertex.
        faces: Three vertex numbers per triangle; the still ones come first.
        num_still: How many triangles never move.
        face_parts: Part of each triangle.
        part_instances: Instance of each part.
        part_textures: Pattern of each part.
        part_numbers: Colour (3), second colour (3), the pattern's numbers (4) of each part.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    vertex_instances: Int[np.ndarray, " vertices"]
    faces: Int[np.ndarray, "faces 3"]
    num_still: int
    face_parts: Int[np.ndarray, " faces"]
    part_instances: Int[np.ndarray, " parts"]
    part_textures: Int[np.ndarray, " parts"]
    part_numbers: Float[np.ndarray, "parts 10"]


@dataclass(frozen=True)
class Instances:
    """Every thing and patch of ground of a town.

    Attributes:
        labels: Train ids.
        nouns: Plain word for each kind.
        colours: Colour word true of each, maybe empty.
        on_ground: True for patches of ground, whose patterns run along the street.
        starts: s, d, heading, height, speed of each; zeros for ground.
        sizes: Length, width, height of the box around each.
        middles: Centre of that box in the instance's frame.
        chances: A number in 0..1 of each one's own.
    """

    labels: Int[np.ndarray, " instances"]
    nouns: tuple[str, ...]
    colours: tuple[str, ...]
    on_ground: Bool[np.ndarray, " instances"]
    starts: Float[np.ndarray, "instances 5"]
    sizes: Float[np.ndarray, "instances 3"]
    middles: Float[np.ndarray, "instances 3"]
    chances: Float[np.ndarray, " instances"]


def tabulate(grounds: list[Ground], placed: list[Placed], rng: np.random.Generator) -> Instances:
    """Make the table of all things: number 0 is the land around, then ground, then what stands on it."""
    boxes = []
    for item in placed:
        vertices = np.concatenate([part.mesh.vertices for part in item.thing.parts])
        boxes.append((vertices.min(0), vertices.max(0)))
    low, high = (np.array([b[i] for b in boxes], np.float64).reshape(-1, 3) for i in (0, 1))
    blank = np.zeros((len(grounds) + 1, 3))
    starts = np.array([(p.s, p.d, p.heading, p.height, p.speed) for p in placed], np.float64).reshape(-1, 5)
    things_of = [item.thing for item in placed]
    num = len(grounds) + 1 + len(placed)
    return Instances(
        labels=np.array(
            [things.TERRAIN] + [g.label for g in grounds] + [t.label for t in things_of], np.int64
        ),
        nouns=("grass", *(g.noun for g in grounds), *(t.noun for t in things_of)),
        colours=("green", *(g.colour for g in grounds), *(t.colour for t in things_of)),
        on_ground=np.arange(num) <= len(grounds),
        starts=np.concatenate([np.zeros((len(grounds) + 1, 5)), starts]),
        sizes=np.concatenate([blank, high - low]),
        middles=np.concatenate([blank, (high + low) / 2]),
        chances=rng.random(num).astype(np.float32),
    )


def _backdrop() -> things.Part:
    mesh = box((-700.0, -700.0, -1.0), (700.0, 700.0, -0.25))
    return things.Part(mesh, Texture.GRASS, (0.22, 0.36, 0.12), (0.16, 0.26, 0.09))


def gather(bend: Bend, grounds: list[Ground], placed: list[Placed]) -> Geometry:
    """Put all meshes into one, the still ones first."""
    still: list[tuple[int, things.Part]] = [(0, _backdrop())]
    moving: list[tuple[int, things.Part]] = []
    for number, ground in enumerate(grounds, 1):
        bent = bend(ground.part.mesh.vertices)
        mesh = Mesh(bent.astype(np.float32), ground.part.mesh.faces)
        part = ground.part
        still.append((number, things.Part(mesh, part.texture, part.colour, part.second, part.numbers)))
    for number, item in enumerate(placed, len(grounds) + 1):
        (moving if item.speed else still).extend((number, part) for part in item.thing.parts)
    owners, parts = zip(*still, *moving, strict=True)
    whole = join([part.mesh for part in parts])
    vertices_in = [len(part.mesh.vertices) for part in parts]
    faces_in = [len(part.mesh.faces) for part in parts]
    return Geometry(
        vertices=whole.vertices,
        vertex_instances=np.repeat(np.array(owners), vertices_in),
        faces=whole.faces,
        num_still=sum(faces_in[: len(still)]),
        face_parts=np.repeat(np.arange(len(parts)), faces_in),
        part_instances=np.array(owners),
        part_textures=np.array([int(part.texture) for part in parts]),
        part_numbers=np.array([(*part.colour, *part.second, *part.numbers) for part in parts], np.float32),
    )
