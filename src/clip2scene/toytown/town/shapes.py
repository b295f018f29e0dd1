"""Triangle meshes of simple solids: what all things of a town are put together from.

Every function returns a :class:`Mesh` in the frame of the thing it is for (x forward, y left, z up), in
metres. Triangles have no particular winding: shading turns each normal towards the ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Mesh:
    """Vertices and the triangles between them.

    Attributes:
        vertices: Metres.
        faces: Three vertex numbers per triangle.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]

    def moved(self, offset: Vector, yaw: float = 0.0, pitch: float = 0.0) -> "Mesh":
        """Turn nose-down by ``pitch``, then left by ``yaw`` (radians), then shift."""
        vertices = self.vertices
        if pitch:
            cos, sin = np.cos(pitch), np.sin(pitch)
            vertices = vertices @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)
        if yaw:
            cos, sin = np.cos(yaw), np.sin(yaw)
            vertices = vertices @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], np.float32)
        return Mesh(vertices + np.array(offset, np.float32), self.faces)


def turn_about_z(
    vectors: Float[np.ndarray, "*things 3"], cos: Float[np.ndarray, "..."], sin: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "*things 3"]:
    """Rotate vectors counter-clockwise about the z axis, each by its own angle, given by cosine and sine."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], -1)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Make one mesh of several."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces).astype(np.int32))


_BOX_FACES = np.array(
    [
        [0, 1, 2],
        [0, 2, 3],
        [4, 6, 5],
        [4, 7, 6],
        [0, 5, 1],
        [0, 4, 5],
        [1, 6, 2],
        [1, 5, 6],
        [2, 7, 3],
        [2, 6, 7],
    ]
    + [[3, 4, 0], [3, 7, 4]],
    np.int32,
)


def box(low: Vector, high: Vector, *, inset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    """Box between two corners; its top may be drawn in.

    Args:
        low: Smallest x, y, z.
        high: Largest x, y, z.
        inset: How far the top's back, front and both sides are drawn in.
    """
    (x0, y0, z0), (x1, y1, z1), (back, front, side) = low, high, inset
    corners = [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0), (x0 + back, y0 + side, z1)]
    corners += [(x1 - front, y0 + side, z1), (x1 - front, y1 - side, z1), (x0 + back, y1 - side, z1)]
    return Mesh(np.array(corners, np.float32), _BOX_FACES)


def extrude(
    profile: Sequence[tuple[float, float]], half_width: float, *, inset: Sequence[float] = ()
) -> Mesh:
    """Prism of a convex side view (x, z), from ``-half_width`` to ``half_width`` along y.

    Args:
        profile: Corners of the side view, in order.
        half_width: Half the extent along y.
        inset: For each corner, how far both ends are drawn in; nothing by default.
    """
    num = len(profile)
    x, z = np.array(profile, np.float32).T
    y = half_width - np.array(inset if len(inset) else [0.0] * num, np.float32)
    vertices = np.concatenate([np.stack([x, -y, z], 1), np.stack([x, y, z], 1)])
    ring = np.arange(num)
    following = (ring + 1) % num
    fan = np.stack([np.zeros(num - 2, int), ring[1:-1], ring[2:]], 1)
    sides = [
        np.stack([ring, following, following + num], 1),
        np.stack([ring, following + num, ring + num], 1),
    ]
    return Mesh(vertices.astype(np.float32), np.concatenate([*sides, fan, fan + num]).astype(np.int32))


@lru_cache
def _unit_cylinder(sides: int) -> Mesh:
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    low, high = np.insert(ring, 2, 0, axis=1), np.insert(ring, 2, 1, axis=1)
    vertices = np.concatenate([low, high, [[0, 0, 0], [0, 0, 1]]]).astype(np.float32)
    here, following = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = [
        np.stack([here, following, following + sides], 1),
        np.stack([here, following + sides, here + sides], 1),
        np.stack([here, following, np.full(sides, 2 * sides)], 1),
        np.stack([here + sides, following + sides, np.full(sides, 2 * sides + 1)], 1),
    ]
    return Mesh(vertices, np.concatenate(faces).astype(np.int32))


def cone(start: Vector, end: Vector, radius: float, end_radius: float, *, sides: int = 8) -> Mesh:
    """Round tube from ``start`` to ``end`` whose radius changes on the way; closed at both ends."""
    unit = _unit_cylinder(sides)
    axis = (end[0] - start[0], end[1] - start[1], end[2] - start[2])
    length = (axis[0] ** 2 + axis[1] ** 2 + axis[2] ** 2) ** 0.5
    x, y, z = axis[0] / length, axis[1] / length, axis[2] / length
    # Two directions square to the axis: level when it is not upright.
    level_length = (x * x + y * y) ** 0.5
    i, j = (-y / level_length, x / level_length) if level_length > 1e-3 else (1.0, 0.0)
    first = np.array([i, j, 0.0], np.float32)
    second = np.array([-z * j, z * i, x * j - y * i], np.float32)
    level = unit.vertices[:, 2:]
    reach = radius + (end_radius - radius) * level
    offsets = reach * (unit.vertices[:, :1] * first + unit.vertices[:, 1:2] * second)
    return Mesh(np.array(start, np.float32) + offsets + level * np.array(axis, np.float32), unit.faces)


def tube(start: Vector, end: Vector, radius: float, *, sides: int = 6) -> Mesh:
    """Round tube of one radius."""
    return cone(start, end, radius, radius, sides=sides)


def wheel(centre: Vector, radius: float, thickness: float, *, sides: int = 12) -> Mesh:
    """Disc standing upright, its axle along y."""
    x, y, z = centre
    return tube((x, y - thickness / 2, z), (x, y + thickness / 2, z), radius, sides=sides)


@lru_cache
def _unit_ball(rows: int, columns: int) -> Mesh:
    polar = np.pi * np.arange(rows + 1) / rows
    around = 2 * np.pi * np.arange(columns) / columns
    grid_polar, grid_around = np.meshgrid(polar, around, indexing="ij")
    sin = np.sin(grid_polar)
    vertices = np.stack([sin * np.cos(grid_around), sin * np.sin(grid_around), np.cos(grid_polar)], -1)
    row, column = (grid.ravel() for grid in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    right = (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = a + columns, b + columns
    faces = np.concatenate([np.stack([a, b, d], 1)[row > 0], np.stack([a, d, c], 1)[row < rows - 1]])
    return Mesh(vertices.reshape(-1, 3).astype(np.float32), faces.astype(np.int32))


def ball(centre: Vector, radii: Vector, *, rows: int = 6, columns: int = 8) -> Mesh:
    """Ellipsoid."""
    unit = _unit_ball(rows, columns)
    return Mesh(unit.vertices * np.array(radii, np.float32) + np.array(centre, np.float32), unit.faces)


def crumple(mesh: Mesh, amount: float, rng: np.random.Generator) -> Mesh:
    """Push each vertex in or out of the mesh's centre by up to ``amount`` of its distance."""
    middle = mesh.vertices.mean(0)
    factor = rng.uniform(1 - amount, 1 + amount, (len(mesh.vertices), 1)).astype(np.float32)
    return Mesh(middle + (mesh.vertices - middle) * factor, mesh.faces)
