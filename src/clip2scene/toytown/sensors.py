"""The sensors of the ego vehicle: six cameras around it and a lidar.

A picture and a sweep come with exact ground truth: the class and the thing behind every pixel and point.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from clip2scene.toytown.lidars import LIDARS, Lidar, ego_from_lidar
from clip2scene.toytown.town.shading import shade
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.world import RayHits, Snapshot, Town
from clip2scene.types import IGNORE_LABEL


@dataclass(frozen=True)
class RigCamera:
    """One camera of the rig.

    Attributes:
        name: nuScenes' channel name, e.g. ``CAM_FRONT``.
        intrinsics: Pixels; integer pixel values are pixel centres.
        ego_from_camera: Pose on the vehicle; camera axes are x right, y down, z forward.
        width: Pixels.
        height: Pixels.
    """

    name: str
    intrinsics: Float[np.ndarray, "3 3"]
    ego_from_camera: Float[np.ndarray, "4 4"]
    width: int
    height: int


@dataclass(frozen=True)
class Render:
    """What a camera sees.

    Attributes:
        rgb: The picture.
        labels: Train id per pixel, ``IGNORE_LABEL`` for the sky.
        depth: Metres along the optical axis, infinite for the sky.
        instances: Number of the thing in the town per pixel, -1 for the sky.
    """

    rgb: UInt8[np.ndarray, "height width 3"]
    labels: Int[np.ndarray, "height width"]
    depth: Float[np.ndarray, "height width"]
    instances: Int[np.ndarray, "height width"]


@dataclass(frozen=True)
class Sweep:
    """One sweep of a lidar, motion-compensated into the lidar frame at its end.

    Attributes:
        positions: Metres, lidar frame (x forward, y left, z up) at the end of the sweep.
        intensity: 0..1.
        rings: Beam number, 0 the lowest.
        labels: Train id per point, ``IGNORE_LABEL`` for drops of rain and wisps of fog.
        instances: Number of the thing hit, -1 for such drops.
        times_s: When each point was measured, seconds before the end (<= 0).
    """

    positions: Float[np.ndarray, "points 3"]
    intensity: Float[np.ndarray, " points"]
    rings: Int[np.ndarray, " points"]
    labels: Int[np.ndarray, " points"]
    instances: Int[np.ndarray, " points"]
    times_s: Float[np.ndarray, " points"]


SECTORS = 6


_MIRRORS = [int(texture) for texture in (Texture.PLATE, Texture.RINGS, Texture.SLANTED)]
"""Patterns of what throws light straight back: signs, and cones and boards of work sites."""


_MOUNTS = {
    "CAM_FRONT": (0.0, 70.0, (1.6, 0.0)),
    "CAM_FRONT_RIGHT": (-55.0, 70.0, (1.4, -0.5)),
    "CAM_BACK_RIGHT": (-110.0, 70.0, (0.9, -0.5)),
    "CAM_BACK": (180.0, 110.0, (-0.4, 0.0)),
    "CAM_BACK_LEFT": (110.0, 70.0, (0.9, 0.5)),
    "CAM_FRONT_LEFT": (55.0, 70.0, (1.4, 0.5)),
}


def camera_rig(width: int = 400, height: int = 224) -> tuple[RigCamera, ...]:
    """The six cameras, named and ordered clockwise from the front; 70 degrees wide, the one behind 110."""
    return tuple(
        RigCamera(
            name, pinhole(angle, width, height), look_at_heading(np.radians(yaw), (*spot, 1.5)), width, height
        )
        for name, (yaw, angle, spot) in _MOUNTS.items()
    )


def pinhole(angle_deg: float, width: int, height: int) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of a camera that sees ``angle_deg`` across its width."""
    focal = width / 2 / np.tan(np.radians(angle_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def look_at_heading(
    yaw: float, position: tuple[float, float, float], pitch: float = 0.0
) -> Float[np.ndarray, "4 4"]:
    """Pose of a camera at ``position`` that looks along ``yaw``, nose up by ``pitch`` (radians)."""
    cos, sin, up, level = np.cos(yaw), np.sin(yaw), np.sin(pitch), np.cos(pitch)
    pose = np.eye(4)
    pose[:3, 0] = sin, -cos, 0.0
    pose[:3, 1] = cos * up, sin * up, -level
    pose[:3, 2] = cos * level, sin * level, up
    pose[:3, 3] = position
    return pose


def render_camera(
    snapshot: Snapshot,
    world_from_camera: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    rng: np.random.Generator,
    *,
    supersample: int = 1,
) -> Render:
    """Take a picture of the town.

    Args:
        snapshot: The town at the moment of exposure.
        world_from_camera: The camera's pose; its axes are x right, y down, z forward.
        intrinsics: Pixels; integer pixel values are pixel centres.
        width: Pixels.
        height: Pixels.
        rng: Draws the sensor's noise.
        supersample: Rays per pixel in each direction; labels and depth are those of one ray, at the pixel's
            centre when this is odd, next to it when it is even.
    """
    return render_views(
        snapshot, world_from_camera[None], intrinsics[None], (width, height), rng, supersample=supersample
    )[0]


def render_views(
    snapshot: Snapshot,
    world_from_cameras: Float[np.ndarray, "views 4 4"],
    intrinsics: Float[np.ndarray, "views 3 3"],
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    supersample: int = 1,
) -> list[Render]:
    """Take many pictures of one moment with one cast of rays; the rest is as in :func:`render_camera`.

    Args:
        snapshot: The town at the moment of exposure.
        world_from_cameras: Pose of each camera.
        intrinsics: Of each camera.
        size: Width and height of every picture, pixels.
        rng: Draws the sensor's noise.
        supersample: Rays per pixel in each direction.
    """
    (width, height), views, fine = size, len(intrinsics), supersample
    origins, directions, slants = pixel_rays(world_from_cameras, intrinsics, (width, height), fine)
    ray_hits = snapshot.cast(origins, directions)
    focal = np.repeat(intrinsics[:, 0, 0].astype(np.float32) * fine, len(origins) // views)
    light = shade(snapshot, ray_hits, origins, directions, 1.0 / focal)
    light = light.reshape(views, height, fine, width, fine, 3).mean((2, 4))
    noise = rng.standard_normal(light.shape, np.float32) * np.float32(0.012)
    rgb = (np.clip(np.sqrt(np.clip(light, 0, 1)) + noise, 0, 1) * 255 + 0.5).astype(np.uint8)
    middle = (slice(None), slice(None), fine // 2, slice(None), fine // 2)
    triangles = ray_hits.triangles.reshape(views, height, fine, width, fine)[middle]
    depth = (ray_hits.distances * slants).reshape(views, height, fine, width, fine)[middle]
    instances = snapshot.instances_of(triangles)
    labels = np.where(instances >= 0, snapshot.town.instances.labels[instances], IGNORE_LABEL)
    return [Render(rgb[i], labels[i], depth[i], instances[i]) for i in range(views)]


def pixel_rays(
    world_from_cameras: Float[np.ndarray, "views 4 4"],
    intrinsics: Float[np.ndarray, "views 3 3"],
    size: tuple[int, int],
    fine: int,
) -> tuple[Float[np.ndarray, "rays 3"], Float[np.ndarray, "rays 3"], Float[np.ndarray, " rays"]]:
    """Origin, unit direction and cosine to the optical axis of every ray, row by row, view by view."""
    width, height = size
    offset = (np.arange(fine) + 0.5) / fine - 0.5 if fine > 1 else np.zeros(1)
    u = (np.arange(width)[:, None] + offset).ravel()
    v = (np.arange(height)[:, None] + offset).ravel()
    x = (u - intrinsics[:, 0, 2:3]) / intrinsics[:, 0, 0:1]
    y = (v - intrinsics[:, 1, 2:3]) / intrinsics[:, 1, 1:2]
    axes = world_from_cameras[:, :3, :3].astype(np.float32)
    across = x[:, None, :, None].astype(np.float32) * axes[:, None, None, :, 0]
    down = y[:, :, None, None].astype(np.float32) * axes[:, None, None, :, 1]
    directions = across + down + axes[:, None, None, :, 2]
    slants = 1.0 / np.sqrt(np.einsum("vrcx,vrcx->vrc", directions, directions))
    directions *= slants[..., None]
    count = directions.shape[1] * directions.shape[2]
    origins = np.repeat(world_from_cameras[:, :3, 3].astype(np.float32), count, axis=0)
    return origins, directions.reshape(-1, 3), slants.ravel()


def lidar_sweep(
    town: Town,
    end_time_s: float,
    rng: np.random.Generator,
    *,
    lidar: Lidar = LIDARS["spinning-32"],
    azimuth_steps: int | None = None,
    max_range: float | None = None,
    range_noise: float | None = None,
) -> Sweep:
    """Take one sweep with a lidar, ending at ``end_time_s``.

    The sweep is cast in six sectors, each from where the vehicle stands and with the town as it is at
    that sector's time; points are then moved into the lidar's frame at the end, so still things are sharp and
    moving ones are smeared a little, as in real recordings. A return is lost when it is too far, too weak, or
    by bad luck; weak are dark, glazed and grazed surfaces. Rain and fog of the town's weather swallow more,
    and are seen themselves in the place of a few.

    Args:
        town: The town.
        end_time_s: End of the sweep.
        rng: Draws noise and losses.
        lidar: The lidar; the plain world's by default.
        azimuth_steps: Firings in a sweep; each fires all beams. None takes the lidar's own, here and below.
        max_range: Farthest return, metres.
        range_noise: Standard deviation, metres.
    """
    steps = lidar.azimuth_steps if azimuth_steps is None else azimuth_steps
    lidar = replace(
        lidar,
        max_range=lidar.max_range if max_range is None else max_range,
        range_noise=lidar.range_noise if range_noise is None else range_noise,
    )
    around, up = lidar.firings(end_time_s, steps)
    lidar_from_world = np.linalg.inv(town.world_from_ego(end_time_s) @ ego_from_lidar(lidar))
    pieces = []
    for part in np.array_split(np.arange(steps), SECTORS):
        if not len(part):
            continue
        time_s = lidar.revolution_s * ((part[0] + part[-1] + 1) / 2 / steps - 1.0)
        pieces.append(_sector(town, end_time_s + time_s, (around[part], up[part]), lidar, rng))
        pieces[-1]["times_s"] = np.full(len(pieces[-1]["rings"]), time_s, np.float32)
    joined = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    world = joined.pop("world")
    positions = world @ lidar_from_world[:3, :3].T + lidar_from_world[:3, 3]
    return Sweep(positions=positions.astype(np.float32), **joined)


def _sector(
    town: Town,
    time_s: float,
    angles: tuple[Float[np.ndarray, "steps beams"], Float[np.ndarray, "steps beams"]],
    lidar: Lidar,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Fire all beams along some azimuths and elevations at one moment; positions are in the world frame."""
    snapshot = town.at(time_s, moving_within=lidar.max_range + 10.0)
    pose = town.world_from_ego(time_s) @ ego_from_lidar(lidar)
    rings = np.tile(np.arange(angles[0].shape[1]), len(angles[0]))
    around, up = (grid.ravel() for grid in angles)
    beams = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], 1)
    directions = (beams @ pose[:3, :3].T).astype(np.float32)
    origins = np.broadcast_to(pose[:3, 3].astype(np.float32), directions.shape).copy()
    hits = snapshot.cast(origins, directions)
    kept = np.flatnonzero((hits.distances >= lidar.min_range) & (hits.distances <= lidar.max_range))
    met = RayHits(hits.distances[kept], hits.triangles[kept], hits.normals[kept])
    positions = origins[kept] + directions[kept] * met.distances[:, None]
    albedo, textures = snapshot.reflectances(met, positions, np.full(len(kept), 0.02, np.float32))
    facing = np.abs(np.einsum("ij,ij->i", met.normals, directions[kept]))
    reflectance = albedo @ np.array(lidar.weights, np.float32)
    lost_share = lidar.lost_share(reflectance * (0.25 + 0.75 * facing), met.distances)
    alive = np.flatnonzero(rng.random(len(kept)) > lost_share)
    noisy = met.distances[alive] + rng.normal(0, lidar.range_noise, len(alive))
    mirrored = np.isin(textures[alive], _MIRRORS)
    told = lidar.intensity.record(reflectance[alive], facing[alive], met.distances[alive], mirrored, rng)
    noisy, back, drops = town.weather.pass_through(noisy, rng)
    instances = np.where(drops, -1, snapshot.instances_of(met.triangles[alive]))
    return {
        "world": pose[:3, 3] + (beams @ pose[:3, :3].T)[kept[alive[back]]] * noisy[back, None],
        "intensity": np.where(drops, told * np.float32(0.2), told)[back],
        "rings": rings[kept[alive[back]]],
        "labels": np.where(drops, IGNORE_LABEL, town.instances.labels[instances])[back],
        "instances": instances[back],
    }
