"""One drive through one town, recorded as SemanticKITTI records a sequence.

| file | holds |
|---|---|
| ``velodyne/NNNNNN.bin`` | float32 x, y, z and reflectance 0..1, in the lidar's frame at the sweep's end |
| ``labels/NNNNNN.label`` | uint32: a raw id of :data:`RAW_OF_NOUN` below, the thing's number above 16 bits |
| ``image_2/NNNNNN.png`` | the front camera's image, taken at the sweep's end |
| ``calib.txt`` | P0 to P3 and Tr; camera 0 stands 6 cm beside the camera 2 that takes images, as in KITTI |
| ``poses.txt`` | camera 0's pose at each sweep's end, seen from its first |
| ``times.txt`` | seconds since the first sweep |
| ``groundtruth/NNNNNN.png`` | if asked for, the true train id of every pixel, 255 for none; not in KITTI |
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt32
from PIL import Image

from clip2scene.classes.tables import SEMANTIC_KITTI
from clip2scene.toytown.lidars import ego_from_lidar
from clip2scene.toytown.sensors import RigCamera, camera_rig
from clip2scene.toytown.town.inventory import Instances
from clip2scene.toytown.town.world import Town
from clip2scene.toytown.writers.recording import KEYFRAME_US, SWEEP_US, Recording, take_image, take_sweep

RAW_OF_NOUN = {
    **{"car": (10, 252), "bicycle": (11, 11), "truck": (18, 258), "bus": (13, 257), "person": (30, 254)},
    **dict.fromkeys(("building", "house"), (50, 50)),
    **dict.fromkeys(("wall", "barrier"), (51, 51)),
    **dict.fromkeys(("tree", "bush"), (70, 70)),
    **{"road": (40, 40), "sidewalk": (48, 48), "grass": (72, 72), "pole": (80, 80), "sign": (81, 81)},
    "cone": (99, 99),
}
"""SemanticKITTI's raw id of every kind of thing in a town, when it stands and when it moves.

Buses are ``bus`` (evaluated as other vehicle), trees with trunks ``vegetation``, garden walls and barriers
``fence``, cones are ``other-object`` (not evaluated), and bicycles stay bicycles when they are ridden.
"""

_OFFSETS_M = ((0.0, 0.0, 0.0), (-0.537, 0.0, 0.0), (0.06, -0.0005, 0.0027), (-0.473, 0.003, 0.0027))
# Of camera 0's rectified frame, seen from cameras 0 to 3: about KITTI's own.


def record_sequence(folder: Path, town_seed: int, recording: Recording) -> None:
    """Drive through a town once and write the sequence's files.

    Every sweep that ``recording`` asks for is a sample of its own, with labels and an image. Clouds are those
    that a drive in nuScenes' layout has, but for the rounding of their intensity.

    Args:
        folder: The sequence's folder, which is made.
        town_seed: The town to drive through.
        recording: What to record.
    """
    town = recording.build_town(town_seed)
    camera = camera_rig(recording.width, recording.height)[0]
    raw_of_instance = raw_labels(town.instances)
    names = ("velodyne", "labels", "image_2", *(("groundtruth",) if recording.ground_truth else ()))
    for name in names:
        (folder / name).mkdir(parents=True)
    times = sweep_times_us(recording)
    for number, time_us in enumerate(times):
        sweep = take_sweep(town, time_us, recording)
        records = np.column_stack([sweep.positions, sweep.intensity]).astype("<f4")
        (folder / "velodyne" / f"{number:06d}.bin").write_bytes(records.tobytes())
        labels = np.where(sweep.instances >= 0, raw_of_instance[sweep.instances], 0)
        (folder / "labels" / f"{number:06d}.label").write_bytes(labels.astype("<u4").tobytes())
        render = take_image(town, time_us, camera)
        Image.fromarray(render.rgb).save(folder / "image_2" / f"{number:06d}.png")
        if recording.ground_truth:
            raw = np.where(render.instances >= 0, raw_of_instance[render.instances] & 0xFFFF, 0)
            Image.fromarray(_train_ids(raw)).save(folder / "groundtruth" / f"{number:06d}.png")
    tr = rectified_from_ego(camera) @ ego_from_lidar(recording.lidar_of(town_seed))
    _write_text(folder, town, camera, tr, times)


def sweep_times_us(recording: Recording) -> list[int]:
    """List the ends of all sweeps of a drive, in microseconds since its start."""
    return [
        (keyframe + 1) * KEYFRAME_US - back * SWEEP_US
        for keyframe in range(recording.keyframes_per_scene)
        for back in range(recording.sweeps_per_keyframe - 1, -1, -1)
    ]


def raw_labels(instances: Instances) -> UInt32[np.ndarray, " instances"]:
    """Give the label of the points of each thing: the raw id, and above 16 bits its number if it is one."""
    moving = (instances.starts[:, 4] != 0).astype(int)
    raw = np.array(
        [RAW_OF_NOUN[noun][moves] for noun, moves in zip(instances.nouns, moving, strict=True)], np.uint32
    )
    number = np.where(instances.on_ground, 0, np.arange(len(raw)) & 0xFFFF).astype(np.uint32)
    return raw | number << np.uint32(16)


def rectified_from_ego(camera: RigCamera) -> Float[np.ndarray, "4 4"]:
    """Give the pose of camera 0, which takes no images, from that of camera 2, which does."""
    camera_from_rectified = np.eye(4)
    camera_from_rectified[:3, 3] = _OFFSETS_M[2]
    return np.linalg.inv(camera.ego_from_camera @ camera_from_rectified)


def _train_ids(raw: UInt32[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Translate raw ids to SemanticKITTI's train ids, 255 for none."""
    table = np.full(1 << 16, 255, np.uint8)
    for known, train_id in SEMANTIC_KITTI.train_id_of_raw.items():
        table[known] = train_id
    return table[raw]


def _write_text(
    folder: Path, town: Town, camera: RigCamera, tr: Float[np.ndarray, "4 4"], times: list[int]
) -> None:
    """Write calibration, with the pose ``tr`` of the lidar in camera 0, poses and times."""
    from_ego = rectified_from_ego(camera)
    projections = [np.column_stack([camera.intrinsics, camera.intrinsics @ offset]) for offset in _OFFSETS_M]
    lines = [f"P{number}: {_numbers(each)}" for number, each in enumerate(projections)]
    lines.append(f"Tr: {_numbers(tr[:3])}")
    worlds = [town.world_from_ego(time_us / 1e6) @ np.linalg.inv(from_ego) for time_us in times]
    first = np.linalg.inv(worlds[0])
    for name, content in (
        ("calib.txt", lines),
        ("poses.txt", [_numbers((first @ world)[:3]) for world in worlds]),
        ("times.txt", [f"{(time_us - times[0]) / 1e6:e}" for time_us in times]),
    ):
        (folder / name).write_text("\n".join(content) + "\n", encoding="ascii")


def _numbers(matrix: Float[np.ndarray, "rows columns"]) -> str:
    return " ".join(f"{value:.12e}" for value in matrix.ravel())
