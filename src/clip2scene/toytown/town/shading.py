"""From what rays met to the light a camera records."""

import numpy as np
from jaxtyping import Float

from clip2scene.toytown.town.textures import GLOSSY, Texture
from clip2scene.toytown.town.world import RayHits, Snapshot, Town

_SHADOW_BIAS = np.float32(0.02)


_IS_GLOSSY = np.isin(np.arange(len(Texture)), [int(texture) for texture in GLOSSY])


def shade(
    snapshot: Snapshot,
    ray_hits: RayHits,
    origins: Float[np.ndarray, "rays 3"],
    directions: Float[np.ndarray, "rays 3"],
    spread: Float[np.ndarray, " rays"],
) -> Float[np.ndarray, "rays 3"]:
    """Light that reaches the sensor along each ray; 0..1 is what it can record, linear.

    Args:
        snapshot: The town.
        ray_hits: What the rays met.
        origins: Of the rays.
        directions: Of the rays, unit length.
        spread: Angle one pixel covers, radians.
    """
    light = snapshot.town.light
    result = sky(snapshot.town, directions)
    hit = np.flatnonzero(ray_hits.triangles >= 0)
    met = RayHits(ray_hits.distances[hit], ray_hits.triangles[hit], ray_hits.normals[hit])
    ahead = directions[hit]
    positions = origins[hit] + ahead * met.distances[:, None]
    facing = np.abs(np.einsum("ij,ij->i", met.normals, ahead))
    footprints = met.distances * spread[hit] / np.maximum(np.sqrt(facing), 0.2)
    albedo, textures = snapshot.reflectances(met, positions, footprints)
    lit = _sunlit(snapshot, met, positions) if light.lamp is None else _lamplit(snapshot, met, positions)
    open_sky = np.float32(0.72) + np.float32(0.28) * met.normals[:, 2]
    colour = albedo * (open_sky[:, None] * light.ambient + lit[:, None] * light.sun)
    glossy = np.flatnonzero(_IS_GLOSSY[textures])
    if len(glossy):
        mirrored = (
            ahead[glossy] - 2 * met.normals[glossy] * np.sum(ahead[glossy] * met.normals[glossy], 1)[:, None]
        )
        share = 0.04 + 0.35 * (1 - facing[glossy]) ** 3
        share *= mirrored[:, 2] > 0.02
        colour[glossy] += share[:, None] * (sky(snapshot.town, mirrored) - colour[glossy])
    lost = 1 - np.exp(-np.float32(light.haze) * met.distances)
    colour += lost[:, None] * (light.horizon - colour)
    result[hit] = colour
    return result * np.float32(light.exposure)


def _sunlit(
    snapshot: Snapshot, met: RayHits, positions: Float[np.ndarray, "rays 3"]
) -> Float[np.ndarray, " rays"]:
    """How squarely the sun meets each surface, 0 in the shade."""
    to_sun = snapshot.town.light.to_sun
    lit = np.maximum(met.normals @ to_sun, 0.0)
    asked = np.flatnonzero(lit > 0.02)
    starts = positions[asked] + met.normals[asked] * _SHADOW_BIAS
    shadowed = snapshot.is_blocked(starts, np.broadcast_to(to_sun, starts.shape).copy())
    lit[asked[shadowed]] = 0.0
    return lit


def _lamplit(
    snapshot: Snapshot, met: RayHits, positions: Float[np.ndarray, "rays 3"]
) -> Float[np.ndarray, " rays"]:
    """How squarely the lamp meets each surface and how near it is; 0 in the shade, 1 at 2 m below it."""
    lamp = snapshot.town.light.lamp
    assert lamp is not None
    lines = positions - lamp
    reach = np.maximum(np.sqrt(np.einsum("ij,ij->i", lines, lines)), np.float32(1e-3))
    rays = lines / reach[:, None]
    found = snapshot.cast(np.broadcast_to(lamp, rays.shape).copy(), rays)
    squarely = np.maximum(-np.einsum("ij,ij->i", met.normals, rays), 0.0)
    lit = squarely * np.float32(8.0) / (reach * reach + np.float32(4.0))
    return np.where(found.distances < reach - _SHADOW_BIAS, np.float32(0.0), lit)


def sky(town: Town, directions: Float[np.ndarray, "rays 3"]) -> Float[np.ndarray, "rays 3"]:
    """Colour of the sky: from the horizon's to the zenith's, with soft clouds."""
    light = town.light
    height = np.clip(directions[:, 2], 0.0, 1.0)
    colour = light.horizon + (np.sqrt(height) * np.float32(0.9))[:, None] * (light.zenith - light.horizon)
    x, y = (directions[:, :2] / (height + np.float32(0.25))[:, None]).T
    x, y = x + np.float32(town.seed % 97), y + np.float32(0.4) * np.sin(2 * x)
    blob = np.sin(1.7 * x + 1.1 * np.sin(1.3 * y)) + 0.6 * np.sin(3.1 * y + 1.9 * np.sin(2.3 * x))
    amount = np.clip(blob * 0.5 + light.clouds - 0.3, 0.0, 1.0) * 0.6
    return colour + amount.astype(np.float32)[:, None] * (np.float32(0.92) - colour)
