"""Where the cameras of captioned views are pointed: at things, class by class, and anywhere."""

import numpy as np
from jaxtyping import Float, Int

from clip2scene.toytown.sensors import look_at_heading, pinhole
from clip2scene.toytown.town import things
from clip2scene.toytown.town.shapes import turn_about_z
from clip2scene.toytown.town.world import Snapshot

NO_FOCUS = -1
"""Focal class of a view that is pointed at nothing in particular."""


FOCAL_CLASSES = (
    things.BARRIER,
    things.BICYCLE,
    things.BUS,
    things.CAR,
    things.PEDESTRIAN,
    things.CONE,
    things.TRUCK,
    things.MANMADE,
    things.VEGETATION,
)


def aim(
    snapshot: Snapshot, number: int, size: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "views 4 4"], Float[np.ndarray, "views 3 3"], Int[np.ndarray, " views"]]:
    """Point cameras: most at things, class by class, the rest anywhere."""
    at_things = round(number * 0.65)
    classes = rng.permutation(np.resize(rng.permutation(FOCAL_CLASSES), at_things))
    poses, intrinsics, targets = aim_at_classes(snapshot, classes, size, rng)
    more_poses, more_intrinsics = _aim_anywhere(snapshot, number - len(targets), size, rng)
    targets = np.concatenate([targets, np.full(len(more_poses), -1)])
    return np.concatenate([poses, more_poses]), np.concatenate([intrinsics, more_intrinsics]), targets


def _resolution(rng: np.random.Generator, size: int) -> float:
    """Angle seen across a picture, degrees: 3 to 12 pixels per degree."""
    return float(np.clip(size / np.exp(rng.uniform(np.log(3.0), np.log(12.0))), 4.0, 60.0))


_TRIES = 16


_KIND_WEIGHTS = {"building": 3.0, "house": 3.0, "tree": 2.5, "wall": 1.2}
"""Relative frequency of kinds within a class; 1 for those not named."""


def aim_at_classes(
    snapshot: Snapshot,
    classes: Int[np.ndarray, " views"],
    size: int,
    rng: np.random.Generator,
    *,
    close: bool = False,
) -> tuple[Float[np.ndarray, "aimed 4 4"], Float[np.ndarray, "aimed 3 3"], Int[np.ndarray, " aimed"]]:
    """Point a camera at a thing of each class from where it is visible; leave out those without such a spot.

    Args:
        snapshot: The town.
        classes: Train id of the thing to point each camera at.
        size: Width and height of the pictures, pixels.
        rng: Draws everything.
        close: Let the thing fill most of the picture and stand in its middle.

    Returns:
        Poses (world from camera), intrinsics (pixels), and the instance that each camera is pointed at.
    """
    chosen = _choose_things(snapshot, classes, rng)
    middle = _middles(snapshot, chosen)
    reach = np.linalg.norm(snapshot.town.instances.sizes[chosen], axis=1)
    angle, distance = _frame(reach, size, rng, close=close)
    around = rng.uniform(0, 2 * np.pi, (len(chosen), _TRIES))
    offset = np.stack([np.cos(around), np.sin(around)], -1) * distance[:, None, None]
    height = rng.uniform(1.0, 2.2, (len(chosen), _TRIES, 1))
    spots = np.concatenate([middle[:, None, :2] + offset, height], -1)
    first, visible = _first_clear(snapshot, spots, chosen, rng)
    where = spots[np.arange(len(chosen)), first][visible]
    line, level = middle[visible] - where, 0.02 if close else 0.22
    field = np.radians(angle[visible])
    yaw = np.arctan2(line[:, 1], line[:, 0]) + rng.uniform(-level, level, len(line)) * field
    pitch = np.arctan2(line[:, 2], np.hypot(line[:, 0], line[:, 1]))
    pitch = pitch + rng.uniform(-level, level, len(line)) * field
    intrinsics = [pinhole(float(degrees), size, size) for degrees in angle[visible]]
    return _poses(where, yaw, pitch), np.array(intrinsics).reshape(-1, 3, 3), chosen[visible]


def _choose_things(
    snapshot: Snapshot, classes: Int[np.ndarray, " views"], rng: np.random.Generator
) -> Int[np.ndarray, " chosen"]:
    """Draw a thing of each class along the drive, kind by kind; classes without any are left out."""
    table = snapshot.town.instances
    near = np.flatnonzero(~table.on_ground & (np.abs(table.starts[:, 0] - 40) < 120))
    chosen: list[int] = []
    for label in classes:
        members = near[table.labels[near] == label]
        kinds = sorted({table.nouns[member] for member in members})
        if not kinds:
            continue
        weights = np.array([_KIND_WEIGHTS.get(kind, 1.0) for kind in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        chosen.append(int(rng.choice([member for member in members if table.nouns[member] == kind])))
    return np.array(chosen, np.int64)


def _frame(
    reach: Float[np.ndarray, " things"], size: int, rng: np.random.Generator, *, close: bool
) -> tuple[Float[np.ndarray, " things"], Float[np.ndarray, " things"]]:
    """Draw field of view (degrees) and distance (metres) for things of diameter ``reach`` (metres)."""
    angle = np.array([_resolution(rng, size) for _ in reach])
    if close:
        share = rng.uniform(0.55, 1.0, len(reach))
    else:
        share = np.exp(rng.uniform(np.log(0.22), np.log(1.1), len(reach)))
    distance = np.clip(reach / (2 * np.tan(np.radians(angle) * share / 2)), 2.0 + reach * 0.45, 45.0 + reach)
    if close:
        angle = np.clip(np.degrees(2 * np.arctan(reach / 2 / distance)) / share, 4.0, 70.0)
    return angle, distance


def _poses(
    spots: Float[np.ndarray, "views 3"],
    yaws: Float[np.ndarray, " views"],
    pitches: Float[np.ndarray, " views"],
) -> Float[np.ndarray, "views 4 4"]:
    """Poses (world from camera) of cameras at some spots."""
    poses = [
        look_at_heading(float(yaw), (float(x), float(y), float(z)), float(pitch))
        for yaw, (x, y, z), pitch in zip(yaws, spots, pitches, strict=True)
    ]
    return np.array(poses).reshape(-1, 4, 4)


def _middles(snapshot: Snapshot, chosen: Int[np.ndarray, " things"]) -> Float[np.ndarray, "things 3"]:
    """Middle of each thing in the world; of tall ones, what a walker would look at."""
    poses, local = snapshot.poses[chosen].astype(np.float64), snapshot.town.instances.middles[chosen]
    local = np.minimum(local, [np.inf, np.inf, 3.5])
    return poses[:, :3] + turn_about_z(local, np.cos(poses[:, 3]), np.sin(poses[:, 3]))


def _first_clear(
    snapshot: Snapshot,
    spots: Float[np.ndarray, "views tries 3"],
    chosen: Int[np.ndarray, " views"],
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, " views"], Int[np.ndarray, " visible"]]:
    """First spot of each view that sees some random place on its thing, and the views that have such a spot.

    The middle would not do: that of a bicycle seen from the side is a hole.
    """
    tries, geometry = spots.shape[1], snapshot.town.geometry
    owners = geometry.part_instances[geometry.face_parts]
    picks = [rng.choice(np.flatnonzero(owners == target), tries) for target in chosen]
    faces = np.array(picks, np.int64).reshape(-1, tries)
    local = geometry.vertices[geometry.faces[faces]].mean(2)
    pose = snapshot.poses[chosen][:, None]
    places = pose[..., :3] + turn_about_z(local, np.cos(pose[..., 3]), np.sin(pose[..., 3]))
    lines = (places - spots).reshape(-1, 3)
    directions = (lines / np.linalg.norm(lines, axis=1, keepdims=True)).astype(np.float32)
    ray_hits = snapshot.cast(spots.reshape(-1, 3).astype(np.float32), directions)
    met = snapshot.instances_of(ray_hits.triangles).reshape(-1, tries)
    clear = (met == chosen[:, None]) & (ray_hits.distances.reshape(-1, tries) > 1.0)
    return clear.argmax(1), np.flatnonzero(clear.any(1))


def _aim_anywhere(
    snapshot: Snapshot, number: int, size: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "views 4 4"], Float[np.ndarray, "views 3 3"]]:
    """Point cameras in any direction from on and beside the road, sometimes up or down."""
    town = snapshot.town
    tries = 4 * number
    street = np.stack(
        [rng.uniform(-50, 130, tries), rng.uniform(-12, 12, tries), rng.uniform(1.2, 2.2, tries)], 1
    )
    spots = _roomiest(snapshot, town.world_from_street(street).reshape(number, 4, 3))
    yaw = rng.uniform(-np.pi, np.pi, number)
    pitch = np.where(
        rng.random(number) < 0.3, rng.uniform(-0.7, 0.5, number), rng.normal(-0.03, 0.08, number)
    )
    intrinsics = [pinhole(_resolution(rng, size), size, size) for _ in range(number)]
    return _poses(spots, yaw, pitch), np.array(intrinsics).reshape(-1, 3, 3)


def _roomiest(snapshot: Snapshot, spots: Float[np.ndarray, "views tries 3"]) -> Float[np.ndarray, "views 3"]:
    """Of each view's spots, the first with 1.5 m of room and an open sky, or the best there is."""
    around = 2 * np.pi * np.arange(8) / 8
    rays = np.stack([np.cos(around), np.sin(around), np.zeros(8)], 1)
    rays = np.concatenate([rays, [[0.0, 0.0, 1.0]]]).astype(np.float32)
    origins = np.repeat(spots.reshape(-1, 3).astype(np.float32), len(rays), axis=0)
    ray_hits = snapshot.cast(origins, np.tile(rays, (origins.shape[0] // len(rays), 1)))
    labels = snapshot.town.instances.labels[snapshot.instances_of(ray_hits.triangles)].reshape(-1, len(rays))
    room = np.minimum(ray_hits.distances.reshape(-1, len(rays)), 4.0)
    roofed = (room[:, -1] < 4.0) & (labels[:, -1] != things.VEGETATION)
    score = np.where(roofed, -1.0, np.minimum(room[:, :-1].min(1), 1.5)).reshape(spots.shape[:2])
    return spots[np.arange(len(spots)), score.argmax(1)]
