"""A town: a procedural street with everything on it, at any moment, ready for rays.

World axes: x along the main road where the drive starts, y to its left, z up; metres. Everything is drawn
from one seed. :func:`build_town` plans and meshes it, :meth:`Town.at` freezes it at a moment,
:meth:`Snapshot.cast` sends rays into it, :meth:`Snapshot.reflectances` colours what they hit.
"""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Bool, Float, Int

from clip2scene.toytown.town import things
from clip2scene.toytown.town.inventory import gather, tabulate
from clip2scene.toytown.town.layout import plan_street
from clip2scene.toytown.town.light import Light, draw_light
from clip2scene.toytown.town.patterns import paint
from clip2scene.toytown.town.plan import Plan
from clip2scene.toytown.town.shapes import turn_about_z
from clip2scene.toytown.town.surface import Surface
from clip2scene.toytown.town.textures import Hits
from clip2scene.toytown.town.varied import plan_varied_street
from clip2scene.toytown.town.weather import CLEAR, Weather, draw_weather

FAR = np.float32(1e6)


@dataclass(frozen=True)
class Boxes:
    """The countable things of a town at one moment, in the world frame.

    Attributes:
        instances: Number of each thing in the town; the same at all times.
        labels: Train id of each.
        centres: Centre of each box, metres.
        sizes: Length (along the heading), width, height; metres.
        yaws: Heading, radians counter-clockwise from the world's x axis.
        velocities: Metres per second.
        moving: Whether the thing moves.
    """

    instances: Int[np.ndarray, " boxes"]
    labels: Int[np.ndarray, " boxes"]
    centres: Float[np.ndarray, "boxes 3"]
    sizes: Float[np.ndarray, "boxes 3"]
    yaws: Float[np.ndarray, " boxes"]
    velocities: Float[np.ndarray, "boxes 3"]
    moving: Bool[np.ndarray, " boxes"]


@dataclass(frozen=True)
class RayHits:
    """What rays met.

    Attributes:
        distances: Along each ray, metres; infinite where it met nothing.
        triangles: Number of the triangle in the town, -1 where it met nothing.
        normals: Unit length, world frame, turned towards the ray's origin; zero where it met nothing.
    """

    distances: Float[np.ndarray, " rays"]
    triangles: Int[np.ndarray, " rays"]
    normals: Float[np.ndarray, "rays 3"]


class Town:
    """A procedural street and everything on it.

    Attributes:
        seed: What it was built from.
        duration_s: The drive is laid out for times 0..duration_s.
        surface: Where the street's coordinates lie in the world.
        instances: All things and patches of ground.
        geometry: All triangles.
        light: Sun, sky, haze and exposure.
        weather: What a lidar feels of rain and fog.
    """

    duration_s = 10.0

    def __init__(self, seed: int, plan: Plan, light: Light, weather: Weather = CLEAR) -> None:
        self.seed = seed
        self.light, self.weather = light, weather
        self.curvature, self.surface = plan.curvature, Surface(plan.curvature, plan.relief)
        self._ego_lane, self._ego_speed = plan.ego_lane, plan.ego_speed
        self.instances = tabulate(plan.grounds, plan.placed, plan.rng)
        self.geometry = gather(self.world_from_street, plan.grounds, plan.placed)
        self._owners = self.geometry.part_instances[self.geometry.face_parts]
        still = np.arange(self.geometry.num_still)
        self._still = _Layer(self._scene_of(still, 0.0), still)

    def world_from_street(self, street: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Bend (s, d, height above the ground) into the world."""
        return self.surface.world_from_street(street)

    def street_from_world(self, world: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Undo :meth:`world_from_street`."""
        return self.surface.street_from_world(world)

    def poses(self, time_s: float) -> Float[np.ndarray, "instances 4"]:
        """Position on the ground (x, y, z) and yaw of every instance, float64."""
        s, d, heading, height, speed = self.instances.starts.T
        street = np.stack(
            [s + speed * time_s * np.cos(heading), d + speed * time_s * np.sin(heading), height], 1
        )
        yaw = heading + street[:, 0] * self.curvature
        poses = np.concatenate([self.world_from_street(street), yaw[:, None]], 1)
        poses[self.instances.on_ground] = 0.0
        return poses

    def world_from_ego(self, time_s: float) -> Float[np.ndarray, "4 4"]:
        """Pose of the ego vehicle (x forward, y left, z up, origin on the ground), float64.

        It keeps to its lane at one speed, swaying by a few centimetres as drivers do.
        """
        s = self._ego_speed * time_s
        sway, turn = 0.15 * np.sin(0.8 * time_s), 0.12 * np.cos(0.8 * time_s) / self._ego_speed
        position = self.world_from_street(np.array([[s, self._ego_lane + sway, 0.0]]))[0]
        yaw = s * self.curvature + np.arctan(turn)
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        pose[:3, 3] = position
        return self.surface.on_wheels(pose)

    def drape(
        self,
        positions: Float[np.ndarray, "points 3"],
        instances: Int[np.ndarray, " points"],
        poses: Float[np.ndarray, "instances 4"],
    ) -> Float[np.ndarray, " points"]:
        """How much higher the ground lies under places of things than under the things' origins, metres.

        Things are built on level ground; on a relief every part of theirs is lifted by so much. Places are in
        the world frame, only their x and y count; nothing is lifted of patches of ground.
        """
        lifted = self.surface.ground_height(positions)
        lifted -= (poses[:, 2] - self.instances.starts[:, 3])[instances]
        return np.where(self.instances.on_ground[instances], 0.0, lifted).astype(positions.dtype)

    def at(self, time_s: float, *, moving_within: float = np.inf) -> "Snapshot":
        """Freeze the town at one moment.

        Args:
            time_s: The moment.
            moving_within: Leave out moving things farther than this from the ego vehicle, metres.
        """
        ego = self.world_from_ego(time_s)[:2, 3]
        near = np.hypot(*(self.poses(time_s)[:, :2] - ego).T) < moving_within
        triangles = np.arange(self.geometry.num_still, len(self.geometry.faces))
        triangles = triangles[near[self._owners[triangles]]]
        moving = _Layer(self._scene_of(triangles, time_s), triangles) if len(triangles) else None
        return Snapshot(self, time_s, (self._still, moving) if moving else (self._still,))

    def alone(self, instance: int, time_s: float) -> "Snapshot":
        """Freeze the town at one moment, with a single thing in it on the bare ground."""
        triangles = np.flatnonzero(self.instances.on_ground[self._owners] | (self._owners == instance))
        return Snapshot(self, time_s, (_Layer(self._scene_of(triangles, time_s), triangles),))

    def boxes(self, time_s: float) -> Boxes:
        """Boxes of the countable things (barriers, cycles, vehicles, people, cones) at one moment."""
        table = self.instances
        chosen = np.flatnonzero(np.isin(table.labels, list(things.COUNTABLE)))
        poses, later = self.poses(time_s)[chosen], self.poses(time_s + 0.01)[chosen]
        cos, sin = np.cos(poses[:, 3]), np.sin(poses[:, 3])
        centres = poses[:, :3] + turn_about_z(table.middles[chosen], cos, sin)
        return Boxes(
            instances=chosen,
            labels=table.labels[chosen],
            centres=centres,
            sizes=table.sizes[chosen],
            yaws=(poses[:, 3] + np.pi) % (2 * np.pi) - np.pi,
            velocities=(later[:, :3] - poses[:, :3]) / 0.01,
            moving=table.starts[chosen, 4] != 0,
        )

    def place_vertices(
        self, chosen: Int[np.ndarray, " chosen"], time_s: float
    ) -> Float[np.ndarray, "chosen 3"]:
        """Put some vertices where they are at a moment, in the world frame."""
        geometry, poses = self.geometry, self.poses(time_s)
        of = geometry.vertex_instances[chosen]
        cos, sin = np.cos(poses[:, 3]).astype(np.float32)[of], np.sin(poses[:, 3]).astype(np.float32)[of]
        placed = turn_about_z(geometry.vertices[chosen], cos, sin) + poses[:, :3].astype(np.float32)[of]
        if self.surface.relief is not None:
            placed[:, 2] += self.drape(placed, of, poses)
        return placed

    def _scene_of(self, triangles: Int[np.ndarray, " chosen"], time_s: float) -> EmbreeScene:
        """Put some triangles where they are at a moment, ready for rays."""
        used, faces = np.unique(self.geometry.faces[triangles], return_inverse=True)
        scene = EmbreeScene()
        TriangleMesh(scene, self.place_vertices(used, time_s), faces.reshape(-1, 3).astype(np.int32))
        return scene


@dataclass(frozen=True)
class _Layer:
    """Some triangles of a town, ready for rays: the scene's n-th is the town's ``triangles[n]``."""

    scene: EmbreeScene
    triangles: Int[np.ndarray, " triangles"]


class Snapshot:
    """The town at one moment.

    Attributes:
        town: The town.
        time_s: The moment.
        poses: Of every instance, see :meth:`Town.poses`.
    """

    def __init__(self, town: Town, time_s: float, layers: tuple[_Layer, ...]) -> None:
        self.town, self.time_s = town, time_s
        self.poses = town.poses(time_s).astype(np.float32)
        self._layers = layers

    def cast(self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]) -> RayHits:
        """Find what each ray meets first; directions must have unit length."""
        distances = np.full(len(origins), 2 * FAR, np.float32)
        triangles, normals = np.full(len(origins), -1), np.zeros_like(directions)
        for layer in self._layers:
            found = layer.scene.run(origins, directions, dists=distances, output=1)
            met = np.flatnonzero(found["primID"] >= 0)
            triangles[met] = layer.triangles[found["primID"][met]]
            distances[met], normals[met] = found["tfar"][met], found["Ng"][met]
        distances[triangles < 0] = np.inf
        length = np.maximum(np.sqrt(np.einsum("ij,ij->i", normals, normals)), 1e-12)
        length = np.where(np.einsum("ij,ij->i", normals, directions) > 0, -length, length)
        return RayHits(distances, triangles, normals / length[:, None])

    def is_blocked(
        self, origins: Float[np.ndarray, "rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> Bool[np.ndarray, " rays"]:
        """Tell which rays meet anything at all."""
        free = np.arange(len(origins))
        for layer in self._layers:
            if len(free):
                free = free[layer.scene.run(origins[free], directions[free], query="OCCLUDED") < 0]
        blocked = np.ones(len(origins), bool)
        blocked[free] = False
        return blocked

    def instances_of(self, triangles: Int[np.ndarray, "*rays"]) -> Int[np.ndarray, "*rays"]:
        """Instance of each triangle, -1 for -1."""
        geometry = self.town.geometry
        return np.where(triangles >= 0, geometry.part_instances[geometry.face_parts[triangles]], -1)

    def reflectances(
        self,
        ray_hits: RayHits,
        positions: Float[np.ndarray, "rays 3"],
        footprints: Float[np.ndarray, " rays"],
    ) -> tuple[Float[np.ndarray, "rays 3"], Int[np.ndarray, " rays"]]:
        """Colour of the surface at each hit, 0..1 before any light, and which pattern it bears.

        Args:
            ray_hits: Rays that all met something.
            positions: Where, world frame.
            footprints: Width of surface one pixel covers there, metres.
        """
        town, geometry = self.town, self.town.geometry
        parts = geometry.face_parts[ray_hits.triangles]
        instances = geometry.part_instances[parts]
        pose = self.poses[instances]
        cos, sin = np.cos(pose[:, 3]), np.sin(pose[:, 3])
        local = turn_about_z(positions - pose[:, :3], cos, -sin)
        ground = np.flatnonzero(town.instances.on_ground[instances])
        local[ground] = town.street_from_world(positions[ground])
        if town.surface.relief is not None:
            local[:, 2] -= town.drape(positions, instances, self.poses)
        normals = turn_about_z(ray_hits.normals, cos, -sin)
        numbers, textures = geometry.part_numbers[parts], geometry.part_textures[parts]
        chances = town.instances.chances[instances]
        hits = Hits(local, normals, numbers[:, :3], numbers[:, 3:6], numbers[:, 6:], chances, footprints)
        return paint(textures, hits), textures


def build_town(seed: int, *, missing_kinds: float = 0.0, varied: bool = False) -> Town:
    """Build the town of a seed; the same arguments always give the same town.

    Args:
        seed: 0 or more.
        missing_kinds: Chance, 0..1, of each kind of countable thing to be missing from the whole town.
        varied: Whether to build a varied town: on a relief, with more shapes of things and other streets, and
            in a weather of its own; else a plain one, level and in clear air.

    Raises:
        ValueError: If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"a town's seed must be 0 or more, got {seed}")
    rng = np.random.default_rng(seed)
    light = draw_light(rng)
    plan = plan_varied_street(rng) if varied else plan_street(rng)
    kinds = sorted(things.COUNTABLE)
    draws = np.random.default_rng([seed, 3]).random(len(kinds))
    gone = {kind for kind, draw in zip(kinds, draws, strict=True) if draw < missing_kinds}
    plan.placed = [item for item in plan.placed if item.thing.label not in gone]
    return Town(seed, plan, light, draw_weather(np.random.default_rng([seed, 5])) if varied else CLEAR)
