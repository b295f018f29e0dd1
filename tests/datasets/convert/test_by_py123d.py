"""Logs that py123d wrote, beside what py123d reads in them; skipped where it is not installed."""

import numpy as np
import pytest
import torch
from tests.logs_123d import (
    HEIGHT,
    START_US,
    STEP_US,
    WIDTH,
    jpeg,
    lidar,
    pinhole,
    pose,
    sweep,
)

from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.convert.py123d_log import read_lens
from clip2scene.datasets.convert.py123d_to_log import convert_123d, list_123d
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.geometry.distortion import RawCamera, straight_view
from clip2scene.geometry.projection import project_points

pytest.importorskip("py123d", reason="py123d wants an environment of its own (docs/own_recordings.md)")
pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours to end by

from py123d.api.scene.arrow.arrow_log_writer import ArrowLogWriter  # noqa: E402
from py123d.api.scene.arrow.arrow_scene_builder import ArrowSceneBuilder  # noqa: E402
from py123d.api.scene.arrow.utils.log_writer_config import LogWriterConfig  # noqa: E402
from py123d.api.scene.scene_filter import SceneFilter  # noqa: E402
from py123d.common.execution.sequential_executor import SequentialExecutor  # noqa: E402
from py123d.datatypes.metadata.log_metadata import LogMetadata  # noqa: E402
from py123d.datatypes.sensors.base_camera import CameraID, camera_metadata_from_dict  # noqa: E402
from py123d.datatypes.sensors.lidar import Lidar, LidarID, LidarMergedMetadata  # noqa: E402
from py123d.datatypes.time.timestamp import Timestamp  # noqa: E402
from py123d.datatypes.vehicle_state.ego_state import EgoStateSE3  # noqa: E402
from py123d.datatypes.vehicle_state.ego_state_metadata import EgoStateSE3Metadata  # noqa: E402
from py123d.geometry import PoseSE3  # noqa: E402
from py123d.geometry.transform import (  # noqa: E402
    abs_to_rel_points_3d_array,
    rel_to_abs_points_3d_array,
)
from py123d.parser.base_dataset_parser import ModalitiesSync, ParsedCamera, ParsedLidar  # noqa: E402

FRAMES = 4
VEHICLE = EgoStateSE3Metadata("car", 1.8, 4.5, 1.6, 2.7, PoseSE3.identity(), PoseSE3.identity())
MEI = {
    "camera_model": "fisheye_mei",
    "camera_name": "image_02",
    "camera_id": 10,
    "mirror_parameter": 2.2,
    "distortion": [0.02, 1.7, 0.0, 0.0],
    "projection": [1300.0, 1300.0, 31.0, 23.0],
    "width": WIDTH,
    "height": HEIGHT,
    "camera_to_imu_se3": [1.0, 0.6, 1.4, 1.0, 0.0, 0.0, 0.0],
}


def moment(number, lead_us=0):
    return Timestamp.from_us(START_US + STEP_US * number + lead_us)


def write(root, *, dataset="made", fisheye=False, clouds=None, images=None, **config):
    """Have py123d write a log; its folder."""
    options = {"camera_store_option": "jpeg_binary", "lidar_store_option": "binary", **config}
    writer = ArrowLogWriter(LogWriterConfig(**options), logs_root=root / "logs", sensors_root=root)
    writer.reset(LogMetadata(dataset, f"{dataset}_train", "one", None))
    mount = LidarMergedMetadata.from_dict({"2": {**lidar(), "segmentation_label_class": None}})
    for number in range(FRAMES):
        positions, intensity = sweep(number)
        world = PoseSE3.from_list(pose(number))
        features = {"intensity": intensity, "timestamps": np.full(len(intensity), START_US, np.int64)}
        cloud = Lidar(moment(number, -50_000), moment(number, 50_000), mount, positions, features)
        front = camera_metadata_from_dict(pinhole())
        image = images(number) if images else {"byte_string": jpeg(number)}
        modalities = [
            EgoStateSE3.from_imu(world, VEHICLE, moment(number)),
            clouds(number, mount) if clouds else cloud,
            ParsedCamera(front, moment(number, 7_000), None, **image),
        ]
        if fisheye:
            side = camera_metadata_from_dict(MEI)
            modalities.append(ParsedCamera(side, moment(number), None, byte_string=jpeg(number)))
        writer.write_sync(ModalitiesSync(moment(number), modalities))
    writer.close()
    return root / "logs" / f"{dataset}_train" / "one"


def theirs(log):
    """The log as py123d reads it."""
    builder = ArrowSceneBuilder(logs_root=log.parent.parent, maps_root=log.parent.parent)
    (scene,) = builder.get_scenes(SceneFilter(), SequentialExecutor())
    return scene


def opened(folder):
    return DriveLog(folder, labels=False, class_set=NUSCENES, sweeps=2)


@pytest.mark.parametrize("codec", ["laz", "ipc", "ipc_zstd", "ipc_lz4"])
def test_clouds_and_pixels_are_those_that_py123d_reads(codec, tmp_path):
    source = write(tmp_path, lidar_codec=codec)
    made = convert_123d(source, tmp_path / "log")
    assert (made.clouds, made.images) == (FRAMES, FRAMES)
    log, scene, lens = opened(tmp_path / "log"), theirs(source), read_lens(source, "camera.pcam_f0")
    view = straight_view(
        RawCamera(
            (*lens.intrinsics[0].tolist(), *lens.intrinsics[1, 1:].tolist()), WIDTH, HEIGHT, lens.distortion
        )
    )
    for number in range(FRAMES):
        sample = log[number]
        cloud = scene.get_lidar_at_iteration(number, LidarID.LIDAR_MERGED)
        at = torch.tensor(lidar()["lidar_to_imu_se3"][:3])
        assert torch.allclose(sample.cloud.positions + at, torch.from_numpy(cloud.xyz), atol=1e-5)
        assert torch.allclose(255 * sample.cloud.features[:, 0], torch.from_numpy(cloud.intensity).float())
        if number == FRAMES - 1:
            continue  # behind the last pose theirs stands still, and ours goes on
        camera = scene.get_camera_at_iteration(number, CameraID.PCAM_F0)
        ego = scene.get_ego_state_se3_at_iteration(number).imu_se3
        theirs_uv, _, depths = camera.project_points_global(
            rel_to_abs_points_3d_array(ego, cloud.xyz.astype(np.float64))
        )
        pairs = project_points(sample.cloud.positions, sample.cameras)
        assert len(pairs) > 20
        ours_uv = view.raw_pixels(pairs.pixels.double().numpy())
        assert np.abs(ours_uv - theirs_uv[pairs.points.numpy()]).max() < 0.01
        assert np.abs(pairs.depths.numpy() - depths[pairs.points.numpy()]).max() < 1e-3


def test_a_lens_that_is_not_read_is_left_out_and_named_and_so_is_a_log_of_nothing_else(tmp_path):
    source = write(tmp_path, lidar_codec="ipc_zstd", fisheye=True)
    made = convert_123d(source, tmp_path / "log")
    assert any("camera.fmcam_l" in note and "fisheye_mei" in note for note in made.notes)
    assert [camera.name for camera in opened(tmp_path / "log")[0].cameras] == ["pcam_f0"]
    with pytest.raises(ValueError, match="fisheye_mei, expected pinhole"):
        convert_123d(source, tmp_path / "other", cameras=("camera.fmcam_l",))
    assert "camera.fmcam_l" in list_123d(source) and str(source) in list_123d(tmp_path)


def test_draco_and_videos_are_refused_with_what_to_ask_py123d_for(tmp_path):
    source = write(tmp_path / "draco", lidar_codec="draco")
    with pytest.raises(ValueError, match=r"row 0 is stored as Draco, expected .*lidar_codec: laz"):
        convert_123d(source, tmp_path / "log")
    source = write(tmp_path / "video", lidar_codec="laz", camera_store_option="mp4")
    with pytest.raises(
        ValueError, match=r"row 0 is a picture of a video, .*camera_store_option: jpeg_binary"
    ):
        convert_123d(source, tmp_path / "log")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("dataset", ["nuscenes", "kitti360"])
def test_clouds_and_images_that_stayed_in_the_data_set_are_read_there(dataset, tmp_path):
    root, mount = tmp_path / "downloaded", PoseSE3.from_list(lidar()["lidar_to_imu_se3"])
    root.mkdir()

    def clouds(number, metadata):
        positions, intensity = sweep(number)
        own = abs_to_rel_points_3d_array(mount, positions.astype(np.float64))  # in the lidar's frame
        shares = intensity / 255 + 1e-4 if dataset == "kitti360" else intensity
        columns = [own, shares, *([np.zeros(len(own))] if dataset == "nuscenes" else [])]
        np.column_stack(columns).astype(np.float32).tofile(root / f"{number}.bin")
        begin, end = moment(number, -50_000), moment(number, 50_000)
        return ParsedLidar(metadata, begin, end, dataset_root=root, relative_path=f"{number}.bin")

    def images(number):
        (root / f"{number}.jpg").write_bytes(jpeg(number))
        return {"dataset_root": root, "relative_path": f"{number}.jpg"}

    stores = {"lidar_store_option": "path", "camera_store_option": "path"}
    source = write(tmp_path, dataset=dataset, clouds=clouds, images=images, **stores)
    with pytest.raises(ValueError, match=rf"names files of {dataset}; say by --sensor-root"):
        convert_123d(source, tmp_path / "log")
    made = convert_123d(source, tmp_path / "log", sensor_root=root)
    assert (made.clouds, made.images) == (FRAMES, FRAMES)
    at = torch.tensor(lidar()["lidar_to_imu_se3"][:3])
    for number, sample in enumerate(opened(tmp_path / "log")):
        positions, intensity = sweep(number)
        assert torch.allclose(sample.cloud.positions + at, torch.from_numpy(positions), atol=1e-4)
        assert torch.allclose(
            255 * sample.cloud.features[:, 0], torch.from_numpy(intensity).float(), atol=1e-3
        )
        stored = tmp_path / "log" / "images" / "pcam_f0" / f"{sample.token}.jpg"
        assert stored.read_bytes() == jpeg(number)
    (root / "2.bin").unlink()
    with pytest.raises(ValueError, match=r"row 2: .*2.bin is missing; check the path and --sensor-root"):
        convert_123d(source, tmp_path / "other", sensor_root=root)
