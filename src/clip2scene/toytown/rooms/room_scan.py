"""One walk through a room with a colour and a depth camera in the hand, recorded as ScanNet records a scene.

| file | holds |
|---|---|
| ``SCENE_vh_clean_2.ply`` | places on surfaces that can be seen from the walk, with colours; no faces |
| ``SCENE_vh_clean_2.labels.ply`` | the same with NYU40's ids |
| ``SCENE_vh_clean_2.0.010000.segs.json`` | the segment of each vertex; here each thing is one |
| ``SCENE.aggregation.json`` | the things: their segments, and what they are in one word |
| ``color/N.jpg``, ``depth/N.png`` | images, and depths in millimetres, 0 where there is none |
| ``pose/N.txt``, ``intrinsic/*.txt`` | where the cameras stood in the cloud's frame, and how they look |
| ``semantic_maps/N.png`` | if asked for, the true class of every pixel, one of ScanNet's 20, 255 for none |
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from clip2scene.classes.tables import SCANNET, SCANNET_CATEGORIES
from clip2scene.toytown.rooms.furniture import NYU40_OF_NOUN
from clip2scene.toytown.rooms.room import Room
from clip2scene.toytown.sensors import look_at_heading, pinhole, pixel_rays, render_camera
from clip2scene.toytown.town.world import RayHits, Snapshot

SEGMENTS = "vh_clean_2.0.010000.segs.json"
_LOOKS_FROM = 12
_NEAR_M = 2e-3

CATEGORY_OF_NOUN = {name: raw for raw, name in SCANNET_CATEGORIES.items() if name in NYU40_OF_NOUN}
"""ScanNet's own id of every kind of thing in a room."""


@dataclass(frozen=True)
class Walk:
    """What a walk through a room records.

    Attributes:
        frames: Moments at which both cameras take an image, on one round through the room.
        width: Of the colour images, in pixels.
        height: Of the colour images, in pixels.
        depth_width: Of the depth images, which see a little less of the room.
        depth_height: The same.
        points_per_m2: Vertices on a square metre of surface.
        ground_truth: Whether to write the true class of every pixel, where label maps are looked for.
    """

    frames: int = 20
    width: int = 320
    height: int = 240
    depth_width: int = 256
    depth_height: int = 192
    points_per_m2: float = 400.0
    ground_truth: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible walks."""
        for name in ("frames", "width", "height", "depth_width", "depth_height"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 1 <= self.points_per_m2 <= 1e5:
            raise ValueError(f"points_per_m2 must lie in 1..100000, got {self.points_per_m2}")

    @property
    def intrinsics(self) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"]]:
        """Of the colour and of the depth camera."""
        return pinhole(66.0, self.width, self.height), pinhole(60.0, self.depth_width, self.depth_height)


@dataclass(frozen=True)
class Surface:
    """Places on the surfaces of a room.

    Attributes:
        positions: Metres, in the room's frame.
        colours: Of the surface there, without light.
        labels: NYU40's ids.
        instances: Number of the thing in the room.
    """

    positions: Float[np.ndarray, "points 3"]
    colours: UInt8[np.ndarray, "points 3"]
    labels: Int[np.ndarray, " points"]
    instances: Int[np.ndarray, " points"]


def record_room(folder: Path, scene: str, seed: int, walk: Walk) -> None:
    """Walk through a room once and write the scene's files.

    Args:
        folder: The scene's folder, which is made.
        scene: Its name.
        seed: Of the room.
        walk: What to record.
    """
    room = Room(seed)
    poses = hand_held(room, seed, walk.frames)
    surface = sample_surface(room, seed, poses, walk.points_per_m2)
    for name in ("color", "depth", "pose", "intrinsic", *(("semantic_maps",) if walk.ground_truth else ())):
        (folder / name).mkdir(parents=True)
    _write_surface(folder, scene, room, surface)
    for name, intrinsics in zip(("color", "depth"), walk.intrinsics, strict=True):
        padded = np.eye(4)
        padded[:3, :3] = intrinsics
        _write_matrix(folder / "intrinsic" / f"intrinsic_{name}.txt", padded)
        _write_matrix(folder / "intrinsic" / f"extrinsic_{name}.txt", np.eye(4))
    for number, pose in enumerate(poses):
        _write_matrix(folder / "pose" / f"{number}.txt", pose)
        _write_images(folder, number, room.town.at(0.0), pose, walk, seed)


def hand_held(room: Room, seed: int, frames: int) -> Float[np.ndarray, "frames 4 4"]:
    """Poses of a camera that is carried around the room's middle and looks across it, unsteadily."""
    rng = np.random.default_rng([seed, 41])
    phases = rng.uniform(0, 2 * np.pi, 5)
    poses = []
    for angle in phases[0] + 2 * np.pi * np.arange(frames) / frames:
        sway = np.sin(np.array([3.0, 2.0, 5.0, 4.0]) * angle + phases[1:])
        x = room.length / 2 + (room.length / 2 - 1.9) * np.cos(angle)
        y = room.width / 2 + (room.width / 2 - 1.9) * np.sin(angle)
        pose = look_at_heading(
            angle + np.pi + 0.4 * sway[0], (x, y, 1.5 + 0.06 * sway[2]), -0.35 + 0.15 * sway[1]
        )
        cos, sin = np.cos(0.06 * sway[3]), np.sin(0.06 * sway[3])
        pose[:3, :2] = pose[:3, :2] @ np.array([[cos, -sin], [sin, cos]])
        poses.append(pose)
    return np.array(poses)


def sample_surface(
    room: Room, seed: int, poses: Float[np.ndarray, "frames 4 4"], points_per_m2: float
) -> Surface:
    """Draw places on all surfaces, evenly by area; keep those that can be seen from the walk."""
    rng, snapshot = np.random.default_rng([seed, 42]), room.town.at(0.0)
    geometry = room.town.geometry
    owners = geometry.part_instances[geometry.face_parts]
    mine = np.flatnonzero(owners > 0)  # thing 0 is the land outside
    vertices = room.town.place_vertices(np.arange(len(geometry.vertices)), 0.0)
    corners = vertices[geometry.faces[mine]].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    reach = np.cumsum(areas)
    drawn = np.searchsorted(reach, np.sort(rng.uniform(0, reach[-1], int(reach[-1] * points_per_m2))))
    share, other = rng.random((2, len(drawn), 1))
    root = np.sqrt(share)
    a, b, c = corners[drawn].transpose(1, 0, 2)
    positions = ((1 - root) * a + root * (1 - other) * b + root * other * c).astype(np.float32)
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    normals *= np.where(np.einsum("ij,ij->i", normals, room_middle(room) - positions) < 0, -1, 1)[:, None]
    spots = poses[np.linspace(0, len(poses) - 1, min(_LOOKS_FROM, len(poses)), dtype=int), :3, 3]
    kept = np.flatnonzero(np.any([sees(snapshot, spot, positions) for spot in spots], axis=0))
    triangles, positions = mine[drawn[kept]], positions[kept]
    met = RayHits(np.zeros(len(kept), np.float32), triangles, normals[kept].astype(np.float32))
    albedo, _ = snapshot.reflectances(met, positions, np.full(len(kept), 0.01, np.float32))
    colours = (np.sqrt(np.clip(albedo, 0, 1)) * 255 + 0.5).astype(np.uint8)
    instances = owners[triangles]
    return Surface(positions, colours, room.town.instances.labels[instances], instances)


def room_middle(room: Room) -> Float[np.ndarray, " 3"]:
    """Give the middle of a room, at eye level."""
    return np.array([room.length / 2, room.width / 2, 1.5])


def sees(
    snapshot: Snapshot, spot: Float[np.ndarray, " 3"], positions: Float[np.ndarray, "points 3"]
) -> np.ndarray:
    """Tell which places on surfaces can be seen from a spot: a ray from there meets nothing before them."""
    lines = positions - spot.astype(np.float32)
    reach = np.linalg.norm(lines, axis=1)
    rays = (lines / np.maximum(reach, 1e-6)[:, None]).astype(np.float32)
    origins = np.broadcast_to(spot.astype(np.float32), rays.shape).copy()
    return np.abs(snapshot.cast(origins, rays).distances - reach) < _NEAR_M


def depth_image(
    snapshot: Snapshot,
    world_from_camera: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
    size: tuple[int, int],
) -> Float[np.ndarray, "height width"]:
    """Measure the depth along the optical axis at every pixel's centre, in metres; infinite for nothing."""
    origins, directions, slants = pixel_rays(world_from_camera[None], intrinsics[None], size, 1)
    width, height = size
    return (snapshot.cast(origins, directions).distances * slants).reshape(height, width)


def _write_images(
    folder: Path, number: int, snapshot: Snapshot, pose: Float[np.ndarray, "4 4"], walk: Walk, seed: int
) -> None:
    """Take a frame: an image, its depths, and maybe the true class of each pixel."""
    of_colour, of_depth = walk.intrinsics
    rng = np.random.default_rng([seed, 43, number])
    render = render_camera(snapshot, pose, of_colour, walk.width, walk.height, rng)
    Image.fromarray(render.rgb).save(folder / "color" / f"{number}.jpg", quality=92)
    depths = depth_image(snapshot, pose, of_depth, (walk.depth_width, walk.depth_height))
    millimetres = np.where(depths < 60.0, np.round(depths * 1000), 0).astype(np.uint16)
    Image.fromarray(millimetres).save(folder / "depth" / f"{number}.png")
    if walk.ground_truth:
        table = np.full(256, 255, np.uint8)  # IGNORE_LABEL leads to the last one
        for raw, train_id in SCANNET.train_id_of_raw.items():
            table[raw] = train_id
        Image.fromarray(table[render.labels]).save(folder / "semantic_maps" / f"{number}.png")


def _write_surface(folder: Path, scene: str, room: Room, surface: Surface) -> None:
    """Write the cloud, its labels, and what each thing is."""
    stem = folder / f"{scene}_vh_clean_2"
    _write_ply(stem.with_name(f"{stem.name}.ply"), surface, with_labels=False)
    _write_ply(stem.with_name(f"{stem.name}.labels.ply"), surface, with_labels=True)
    segments = {"sceneId": f"toytown.{scene}", "segIndices": surface.instances.tolist()}
    (folder / f"{scene}_{SEGMENTS}").write_text(json.dumps(segments) + "\n", encoding="ascii")
    groups = [
        {
            "id": number,
            "objectId": number,
            "segments": [instance],
            "label": room.town.instances.nouns[instance],
        }
        for number, instance in enumerate(np.unique(surface.instances).tolist())
    ]
    content = {
        "sceneId": f"toytown.{scene}",
        "segGroups": groups,
        "segmentsFile": f"toytown.{scene}_{SEGMENTS}",
    }
    (folder / f"{scene}.aggregation.json").write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")


def _write_ply(path: Path, surface: Surface, *, with_labels: bool) -> None:
    """Write a cloud as ScanNet's meshes are written, but without faces."""
    fields = [("x", "<f4", "float"), ("y", "<f4", "float"), ("z", "<f4", "float")]
    fields += [(name, "u1", "uchar") for name in ("red", "green", "blue", "alpha")]
    fields += [("label", "<u2", "ushort")] * with_labels
    table = np.empty(len(surface.positions), dtype=[(name, kind) for name, kind, _ in fields])
    for axis, name in enumerate("xyz"):
        table[name] = surface.positions[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        table[name] = surface.colours[:, channel]
    table["alpha"] = 255
    if with_labels:
        table["label"] = surface.labels
    properties = [f"property {kind} {name}" for name, _, kind in fields]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}", *properties]
    lines += ["element face 0", "property list uchar int vertex_indices", "end_header", ""]
    path.write_bytes("\n".join(lines).encode() + table.tobytes())


def _write_matrix(path: Path, matrix: Float[np.ndarray, "4 4"]) -> None:
    rows = (" ".join(f"{value:.9f}" for value in row) for row in matrix)
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def labels_table() -> str:
    """Fill the table of words, ``scannetv2-labels.combined.tsv``, with the columns that are needed."""
    rows = ["id\traw_category\tcategory\tnyu40id\tnyu40class"]
    name_of = {raw: SCANNET.classes[train_id] for raw, train_id in SCANNET.train_id_of_raw.items()}
    for noun, category in CATEGORY_OF_NOUN.items():
        nyu40 = NYU40_OF_NOUN[noun]
        rows.append(f"{category}\t{noun}\t{noun}\t{nyu40}\t{name_of.get(nyu40, noun)}")
    return "\n".join(rows) + "\n"
