"""The sensors of the ego vehicle: six cameras around it and a spinning lidar.

A picture and a sweep come with exact ground truth: the class and the thing behind every pixel and point.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from clip2scene.toytown.town.shading import shade
from clip2scene.toytown.town.world import RayHits, Snapshot, Town
from clip2scene.types import IGNORE_LABEL

RINGS = 32


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
    """One lidar revolution, motion-compensated into the lidar frame at its end.

    Attributes:
        positions: Metres, lidar frame (axes as the ego's) at the end of the revolution.
        intensity: 0..1.
        rings: Beam number, 0 the lowest.
        labels: Train id per point.
        instances: Number of the thing hit.
        times_s: When each point was measured, seconds before the end (<= 0).
    """

    positions: Float[np.ndarray, "points 3"]
    intensity: Float[np.ndarray, " points"]
    rings: Int[np.ndarray, " points"]
    labels: Int[np.ndarray, " points"]
    instances: Int[np.ndarray, " points"]
    times_s: Float[np.ndarray, " points"]


HEIGHT_OF_LIDAR = 1.84


ELEVATIONS_DEG = np.linspace(-30.67, 10.67, RINGS)


REVOLUTION_S = 0.05


SECTORS = 6


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


def ego_from_lidar() -> Float[np.ndarray, "4 4"]:
    """Pose of the lidar on the vehicle: 1.84 m up, a little ahead, axes parallel to the ego's."""
    pose = np.eye(4)
    pose[:3, 3] = 0.9, 0.0, HEIGHT_OF_LIDAR
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
    azimuth_steps: int = 720,
    max_range: float = 70.0,
    range_noise: float = 0.02,
) -> Sweep:
    """Turn the lidar once (50 ms), ending at ``end_time_s``.

    The revolution is cast in six sectors, each from where the vehicle stands and with the town as it is at
    that sector's time; points are then moved into the lidar's frame at the end, so still things are sharp and
    moving ones are smeared a little, as in real recordings. A return is lost when it is too far, too weak, or
    by bad luck; weak are dark, glazed and grazed surfaces.

    Args:
        town: The town.
        end_time_s: End of the revolution.
        rng: Draws noise and losses.
        azimuth_steps: Firings per revolution; each fires all beams.
        max_range: Farthest return, metres; the nearest is 1 m.
        range_noise: Standard deviation, metres.
    """
    azimuths = -2 * np.pi * np.arange(azimuth_steps) / azimuth_steps + np.pi
    lidar_from_world = np.linalg.inv(town.world_from_ego(end_time_s) @ ego_from_lidar())
    pieces = []
    for part in np.array_split(np.arange(azimuth_steps), SECTORS):
        time_s = REVOLUTION_S * ((part[0] + part[-1] + 1) / 2 / azimuth_steps - 1.0)
        pieces.append(_sector(town, end_time_s + time_s, azimuths[part], rng, max_range, range_noise))
        pieces[-1]["times_s"] = np.full(len(pieces[-1]["rings"]), time_s, np.float32)
    joined = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    world = joined.pop("world")
    positions = world @ lidar_from_world[:3, :3].T + lidar_from_world[:3, 3]
    return Sweep(positions=positions.astype(np.float32), **joined)


def _sector(
    town: Town,
    time_s: float,
    azimuths: Float[np.ndarray, " steps"],
    rng: np.random.Generator,
    max_range: float,
    range_noise: float,
) -> dict[str, np.ndarray]:
    """Fire all beams along some azimuths at one moment; positions are in the world frame."""
    snapshot, pose = (
        town.at(time_s, moving_within=max_range + 10.0),
        town.world_from_ego(time_s) @ ego_from_lidar(),
    )
    elevation = np.radians(ELEVATIONS_DEG)
    around, up = (grid.ravel() for grid in np.meshgrid(azimuths, elevation, indexing="ij"))
    rings = np.tile(np.arange(RINGS), len(azimuths))
    beams = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], 1)
    directions = (beams @ pose[:3, :3].T).astype(np.float32)
    origins = np.broadcast_to(pose[:3, 3].astype(np.float32), directions.shape).copy()
    ray_hits = snapshot.cast(origins, directions)
    kept = np.flatnonzero((ray_hits.distances >= 1.0) & (ray_hits.distances <= max_range))
    met = RayHits(ray_hits.distances[kept], ray_hits.triangles[kept], ray_hits.normals[kept])
    positions = origins[kept] + directions[kept] * met.distances[:, None]
    albedo, _ = snapshot.reflectances(met, positions, np.full(len(kept), 0.02, np.float32))
    facing = np.abs(np.einsum("ij,ij->i", met.normals, directions[kept]))
    strength = (albedo @ np.array([0.45, 0.35, 0.2], np.float32)) * (0.25 + 0.75 * facing)
    weakness = (met.distances / max_range) ** 2
    lost_share = 0.02 + 0.6 * weakness * np.exp(-strength * 6) + 0.5 * np.exp(-strength * 30)
    alive = np.flatnonzero(rng.random(len(kept)) > lost_share)
    noisy = met.distances[alive] + rng.normal(0, range_noise, len(alive))
    world = pose[:3, 3] + (beams @ pose[:3, :3].T)[kept[alive]] * noisy[:, None]
    instances = snapshot.instances_of(met.triangles[alive])
    intensity = np.clip(strength[alive] * rng.uniform(0.85, 1.15, len(alive)), 0, 1).astype(np.float32)
    labels = town.instances.labels[instances]
    return {
        "world": world,
        "intensity": intensity,
        "rings": rings[kept[alive]],
        "labels": labels,
        "instances": instances,
    }
