"""One drive through one town, recorded as nuScenes records a scene."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from clip2scene.classes.tables import NUSCENES, NUSCENES_CATEGORIES
from clip2scene.toytown.lidars import ego_from_lidar
from clip2scene.toytown.sensors import Render, Sweep, camera_rig
from clip2scene.toytown.town.shapes import turn_about_z
from clip2scene.toytown.town.world import Boxes
from clip2scene.toytown.writers.nuscenes_tables import (
    VERSION,
    VISIBILITIES,
    Tables,
    attributes_of,
    link,
    rigid_fields,
    token_of,
)
from clip2scene.toytown.writers.recording import (
    EXPOSURE_LEAD_US,
    KEYFRAME_US,
    SWEEP_US,
    Recording,
    in_folder,
    take_image,
    take_sweep,
)

MAP_EDGE_M = 400  # the town's origin lies in the middle: the map's pixels have no negative places
_MAP_CELL_M = 0.5
_TURN = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
# nuScenes' lidar frame has x right, y forward: nuscenes_from_toytown.

_CATEGORY_OF_CLASS = {
    "barrier": "movable_object.barrier",
    "bicycle": "vehicle.bicycle",
    "bus": "vehicle.bus.rigid",
    "car": "vehicle.car",
    "pedestrian": "human.pedestrian.adult",
    "traffic cone": "movable_object.trafficcone",
    "truck": "vehicle.truck",
    "driveable surface": "flat.driveable_surface",
    "sidewalk": "flat.sidewalk",
    "terrain": "flat.terrain",
    "manmade": "static.manmade",
    "vegetation": "static.vegetation",
}
_RAW_OF_TRAIN_ID = np.array(  # the last one, noise, is where IGNORE_LABEL (-1) leads
    [
        NUSCENES_CATEGORIES.index(_CATEGORY_OF_CLASS.get(name, "noise"))
        for name in (*NUSCENES.classes, "noise")
    ],
    dtype=np.uint8,
)


class Drive:
    """Records one scene: writes its files, and collects its rows of the tables.

    Attributes:
        tables: Rows by table.
    """

    def __init__(self, root: Path, name: str, number: int, town_seed: int, recording: Recording) -> None:
        """Prepare a drive.

        Args:
            root: Folder to write into.
            name: The scene's name.
            number: The scene's number; drives start 100 s apart.
            town_seed: The town to drive through.
            recording: What to record.
        """
        self.root, self.name, self.town_seed, self.recording = root, name, town_seed, recording
        self.tables: Tables = defaultdict(list)
        self._start_us = 1_600_000_000_000_000 + number * 100_000_000
        self._town = recording.build_town(town_seed)
        self._ego_from_lidar = ego_from_lidar(recording.lidar_of(town_seed))
        self._rig = camera_rig(recording.width, recording.height)
        self._driveable: list[Float[np.ndarray, "points 2"]] = []

    def record(self) -> Tables:
        """Drive through the town once and return the tables' rows."""
        self._add_calibrations()
        for keyframe in range(self.recording.keyframes_per_scene):
            time_us = (keyframe + 1) * KEYFRAME_US
            sample = self._add("sample", f"sample/{keyframe}", timestamp=self._start_us + time_us)
            sample["scene_token"] = self._token("scene")
            for back in range(self.recording.sweeps_per_keyframe - 1, -1, -1):
                sweep = self._record_sweep(sample, time_us - back * SWEEP_US, is_key_frame=back == 0)
            renders = [self._record_image(sample, time_us, view) for view in range(len(self._rig))]
            self._add_annotations(sample, time_us, sweep, renders)
        self._write_map()
        self._add_scene()
        link(self.tables["sample"], "scene_token")
        link(self.tables["sample_data"], "calibrated_sensor_token")
        link(self.tables["sample_annotation"], "instance_token")
        return dict(self.tables)

    def _token(self, what: str) -> str:
        """Return the token of one of the scene's records."""
        return token_of(f"{self.town_seed}/{self.name}/{what}")

    def _add(self, table: str, what: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
        """Append a row to a table."""
        row = {"token": self._token(what), **fields}
        self.tables[table].append(row)
        return row

    def _add_calibrations(self) -> None:
        """Add the sensors' places on the vehicle."""
        places: list[tuple[str, np.ndarray, list[Any]]] = [
            ("LIDAR_TOP", self._ego_from_lidar @ np.linalg.inv(_TURN), [])
        ]
        places += [(camera.name, camera.ego_from_camera, camera.intrinsics.tolist()) for camera in self._rig]
        for channel, ego_from_sensor, intrinsics in places:
            row = self._add(
                "calibrated_sensor", f"calibration/{channel}", sensor_token=token_of(f"sensor/{channel}")
            )
            row |= rigid_fields(ego_from_sensor) | {"camera_intrinsic": intrinsics}

    def _add_data(
        self, sample: dict[str, Any], channel: str, time_us: int, is_key_frame: bool
    ) -> dict[str, Any]:
        """Add a file's row and the ego pose at its time; its name is ``row["filename"]``."""
        timestamp = self._start_us + time_us
        suffix, form = (".pcd.bin", "pcd") if channel == "LIDAR_TOP" else (".jpg", "jpg")
        folder = "samples" if is_key_frame else "sweeps"
        is_image = form == "jpg"
        row = self._add(
            "sample_data",
            f"data/{channel}/{time_us}",
            sample_token=sample["token"],
            ego_pose_token=self._token(f"data/{channel}/{time_us}"),
            calibrated_sensor_token=self._token(f"calibration/{channel}"),
            timestamp=timestamp,
            fileformat=form,
            is_key_frame=is_key_frame,
            height=self.recording.height if is_image else 0,
            width=self.recording.width if is_image else 0,
            filename=f"{folder}/{channel}/toytown-{self.name}__{channel}__{timestamp}{suffix}",
        )
        pose = self._add("ego_pose", f"data/{channel}/{time_us}", timestamp=timestamp)
        pose |= rigid_fields(self._city_from_town() @ self._town.world_from_ego(time_us / 1e6))
        return row

    def _record_sweep(self, sample: dict[str, Any], time_us: int, *, is_key_frame: bool) -> Sweep:
        """Turn the lidar once and write the cloud, for keyframes with labels."""
        sweep = take_sweep(self._town, time_us, self.recording)
        row = self._add_data(sample, "LIDAR_TOP", time_us, is_key_frame)
        turned = sweep.positions @ _TURN[:3, :3].T
        records = np.column_stack([turned, np.round(sweep.intensity * 255), sweep.rings]).astype("<f4")
        in_folder(self.root / row["filename"]).write_bytes(records.tobytes())
        if is_key_frame:
            name = f"lidarseg/{VERSION}/{row['token']}_lidarseg.bin"
            in_folder(self.root / name).write_bytes(_RAW_OF_TRAIN_ID[sweep.labels].tobytes())
            self.tables["lidarseg"].append(
                {"token": row["token"], "sample_data_token": row["token"], "filename": name}
            )
            road = sweep.positions[sweep.labels == NUSCENES.classes.index("driveable surface")]
            world_from_lidar = self._town.world_from_ego(time_us / 1e6) @ self._ego_from_lidar
            self._driveable.append((road @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3])[:, :2])
        return sweep

    def _record_image(self, sample: dict[str, Any], keyframe_us: int, view: int) -> Render:
        """Take one image at its camera's own time and write it."""
        camera = self._rig[view]
        time_us = keyframe_us - EXPOSURE_LEAD_US[camera.name]
        render = take_image(self._town, time_us, camera)
        row = self._add_data(sample, camera.name, time_us, is_key_frame=True)
        Image.fromarray(render.rgb).save(in_folder(self.root / row["filename"]), quality=95, subsampling=0)
        if self.recording.ground_truth:
            truth = in_folder(self.root / "groundtruth" / camera.name / f"{Path(row['filename']).stem}.png")
            Image.fromarray(render.labels.astype(np.uint8)).save(truth)  # IGNORE_LABEL becomes 255
        return render

    def _add_annotations(
        self, sample: dict[str, Any], time_us: int, sweep: Sweep, renders: list[Render]
    ) -> None:
        """Add the boxes that the keyframe's sweep hits."""
        boxes = self._town.boxes(time_us / 1e6)
        counts = np.bincount(
            sweep.instances[sweep.instances >= 0], minlength=int(boxes.instances.max(initial=0)) + 1
        )
        seen = self._visible_fractions(boxes, time_us, renders)
        centres = boxes.centres + self._city_from_town()[:3, 3]
        for box in np.flatnonzero(counts[boxes.instances] > 0):
            thing, label = int(boxes.instances[box]), int(boxes.labels[box])
            yaw, size = float(boxes.yaws[box]), boxes.sizes[box]
            speed = float(np.linalg.norm(boxes.velocities[box]))
            self._add(
                "sample_annotation",
                f"annotation/{thing}/{time_us}",
                sample_token=sample["token"],
                instance_token=self._token(f"instance/{thing}"),
                visibility_token=next(
                    token for token, (limit, _) in VISIBILITIES.items() if seen[box] < limit
                ),
                attribute_tokens=[token_of(f"attribute/{name}") for name in attributes_of(label, speed)],
                translation=centres[box].tolist(),
                size=[float(size[1]), float(size[0]), float(size[2])],  # nuScenes: width, length, height
                rotation=[float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))],
                num_lidar_pts=int(counts[thing]),
                num_radar_pts=0,
            )

    def _visible_fractions(
        self, boxes: Boxes, time_us: int, renders: list[Render]
    ) -> Float[np.ndarray, " boxes"]:
        """Estimate how much of each box the cameras see: the share of inner points with nothing before."""
        steps = np.array([-0.35, 0.0, 0.35])
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
        offsets = grid * boxes.sizes[:, None]
        cosine, sine = np.cos(boxes.yaws)[:, None], np.sin(boxes.yaws)[:, None]
        turned = turn_about_z(offsets, cosine, sine)
        points = (turned + boxes.centres[:, None]).reshape(-1, 3)
        slack = np.repeat(np.linalg.norm(boxes.sizes, axis=1) / 2, len(grid))
        seen = np.zeros(len(points), dtype=bool)
        for camera, render in zip(self._rig, renders, strict=True):
            time_s = (time_us - EXPOSURE_LEAD_US[camera.name]) / 1e6
            pose = self._town.world_from_ego(time_s) @ camera.ego_from_camera
            in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
            depth = np.maximum(in_camera[:, 2], 0.1)
            rays = in_camera @ camera.intrinsics.T
            column, row = (np.round(rays[:, axis] / depth).astype(int) for axis in (0, 1))
            inside = (in_camera[:, 2] > 0.1) & (column >= 0) & (column < camera.width)
            inside &= (row >= 0) & (row < camera.height)
            surface = render.depth[np.where(inside, row, 0), np.where(inside, column, 0)]
            seen |= inside & (surface >= depth - slack)
        return seen.reshape(-1, len(grid)).mean(axis=1)

    def _city_from_town(self) -> Float[np.ndarray, "4 4"]:
        """Shift the town to the middle of its map."""
        shift = np.eye(4)
        shift[:2, 3] = MAP_EDGE_M / 2
        return shift

    def _write_map(self) -> None:
        """Write the map's driveable mask: where the keyframes' lidar met the road."""
        cells = int(MAP_EDGE_M / _MAP_CELL_M)
        road = np.concatenate(self._driveable) + MAP_EDGE_M / 2
        index = np.floor(road / _MAP_CELL_M).astype(int)
        index = index[((index >= 0) & (index < cells)).all(axis=1)]
        mask = np.zeros((cells, cells), dtype=np.uint8)
        mask[cells - 1 - index[:, 1], index[:, 0]] = 255
        sharper = round(_MAP_CELL_M / 0.1)  # nuScenes' maps have 0.1 m pixels
        mask = mask.repeat(sharper, axis=0).repeat(sharper, axis=1)
        name = f"maps/{self._token('map')}.png"
        Image.fromarray(mask).save(in_folder(self.root / name))
        log = self._add(
            "log",
            "log",
            logfile=f"toytown-{self.name}",
            vehicle="toytown",
            date_captured="2020-09-13",
            location=f"toytown-{self.town_seed}",
        )
        self._add("map", "map", category="semantic_prior", filename=name, log_tokens=[log["token"]])

    def _add_scene(self) -> None:
        """Add the scene's own row, and one for every thing that was annotated."""
        samples = self.tables["sample"]
        self._add(
            "scene",
            "scene",
            log_token=self._token("log"),
            nbr_samples=len(samples),
            first_sample_token=samples[0]["token"],
            last_sample_token=samples[-1]["token"],
            name=self.name,
            description=f"A drive through town {self.town_seed}",
        )
        of_thing = defaultdict(list)
        for row in self.tables["sample_annotation"]:
            of_thing[row["instance_token"]].append(row["token"])
        labels = {self._token(f"instance/{thing}"): label for thing, label in self._labels_of_things()}
        for token, annotations in of_thing.items():
            category = NUSCENES_CATEGORIES[_RAW_OF_TRAIN_ID[labels[token]]]
            self.tables["instance"].append(
                {
                    "token": token,
                    "category_token": token_of(f"category/{category}"),
                    "nbr_annotations": len(annotations),
                    "first_annotation_token": annotations[0],
                    "last_annotation_token": annotations[-1],
                }
            )

    def _labels_of_things(self) -> list[tuple[int, int]]:
        """Return the class of every countable thing of the town."""
        boxes = self._town.boxes(0.0)
        return list(zip(boxes.instances.tolist(), boxes.labels.tolist(), strict=True))
