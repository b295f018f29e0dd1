import pytest
import torch
from tests.logs_123d import (
    INTRINSICS,
    LIDAR_AT,
    START_US,
    STEP_US,
    Table,
    lidar,
    pa,
    pinhole,
    pose,
    small_log,
)

from clip2scene.datasets.convert.py123d_log import (
    LogName,
    check_log,
    choose_cameras,
    choose_lidar,
    ego_from_view,
    is_123d,
    list_logs,
    read_lens,
    read_lidars,
    read_log_name,
    read_moments,
    read_way,
)
from clip2scene.geometry.projection import rigid_from_quaternion

MERGED, FRONT = "lidar.lidar_merged", "camera.pcam_f0"


@pytest.fixture
def source(tmp_path):
    return small_log().write(tmp_path / "logs" / "made_train" / "one")


def with_metadata(log, name, metadata):
    table = log.tables[name]
    return log.changed(**{name.replace(".", "__"): Table(table.columns, table.types, metadata)})


def test_logs_are_found_at_any_height(source, tmp_path):
    assert is_123d(source) and not is_123d(tmp_path)
    for place in (source, source.parent, source.parent.parent, tmp_path):
        assert list_logs(place) == [source]
    with pytest.raises(ValueError, match=f"holds no sync.arrow, .* one of the 1 below it, such as {source}"):
        check_log(tmp_path)
    with pytest.raises(ValueError, match="is no folder; name that of a log"):
        check_log(source / "sync.arrow")
    (tmp_path / "else").mkdir()
    with pytest.raises(ValueError, match="so it is no log of 123D; check the path"):
        check_log(tmp_path / "else")


def test_sensors_are_chosen_where_there_is_no_doubt(tmp_path):
    log = small_log(cameras=("pcam_f0", "pcam_l0"))
    cloud = log.tables[MERGED]
    source = log.write(tmp_path / "one")
    assert choose_lidar(source, None) == MERGED and choose_lidar(source, MERGED) == MERGED
    assert choose_cameras(source, ()) == [FRONT, "camera.pcam_l0"]
    assert choose_cameras(source, ("camera.pcam_l0",)) == ["camera.pcam_l0"]
    with pytest.raises(ValueError, match="no camera 'pcam_l0', only camera.pcam_f0, .*correct --cameras"):
        choose_cameras(source, ("pcam_l0",))
    with pytest.raises(ValueError, match="no lidar 'lidar.lidar_top', only lidar.lidar_merged; correct --li"):
        choose_lidar(source, "lidar.lidar_top")
    alone = Table(cloud.columns, cloud.types, lidar())
    two = log.changed(lidar__lidar_merged=None, lidar__lidar_top=alone, lidar__lidar_back=alone)
    with pytest.raises(ValueError, match="several lidars: lidar.lidar_back, lidar.lidar_top; choose one by"):
        choose_lidar(two.write(tmp_path / "two"), None)
    neither = log.changed(lidar__lidar_merged=None, camera__pcam_f0=None, camera__pcam_l0=None)
    source = neither.write(tmp_path / "neither")
    with pytest.raises(ValueError, match="has no lidar, only ego_state_se3, sync; name another log"):
        choose_lidar(source, None)
    with pytest.raises(ValueError, match="has no camera, only ego_state_se3, sync; a student learns from im"):
        choose_cameras(source, ())


def test_a_log_says_where_it_comes_from_and_when_its_rows_were_measured(source):
    assert read_log_name(source) == LogName("made", "made_train", "one", "0.7.0")
    assert read_moments(source, MERGED) == {row: START_US + STEP_US * row for row in range(4)}
    with pytest.raises(ValueError, match="sync.arrow has no column radar.x, only sync.timestamp_us, "):
        read_moments(source, "radar.x")


def test_rows_that_are_lists_and_columns_of_one_name_are_refused(source):
    path, times = source / "sync.arrow", pa.array([START_US])
    for columns, names, why in (
        ([times, pa.array([[0]])], [], "sync.arrow has something else than rows of lidar.lidar_merged in th"),
        (
            [times, pa.array([0]), pa.array([0])],
            [MERGED],
            "sync.arrow cannot be read as Arrow .*more than",
        ),
    ):
        table = pa.Table.from_arrays(columns, ["sync.timestamp_us", MERGED, *names])
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(ValueError, match=why):
            read_moments(source, MERGED)


def test_clouds_get_their_origin_at_the_top_lidar_and_keep_the_axes_of_the_vehicle(tmp_path):
    others = {"3": lidar("front", (3.0, 0, 0.5)), "2": lidar()}
    source = with_metadata(small_log(), MERGED, others).write(tmp_path / "one")
    view = ego_from_view(read_lidars(source, MERGED), source)
    assert torch.equal(view[:3, :3], torch.eye(3).double()) and view[:3, 3].tolist() == list(LIDAR_AT)
    source = with_metadata(small_log(), MERGED, {"3": others["3"]}).write(tmp_path / "two")
    assert ego_from_view(read_lidars(source, MERGED), source)[:3, 3].tolist() == [3.0, 0, 0.5]


def test_a_pinhole_comes_with_its_distortion_unless_images_are_undistorted(tmp_path):
    lens = read_lens(small_log().write(tmp_path / "one"), FRONT)
    assert lens.distortion.model == "plumb_bob" and lens.distortion.coefficients[0] == -0.2
    fx, fy, cx, cy, _ = INTRINSICS
    assert lens.intrinsics.tolist() == [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    ahead = lens.camera_from_ego @ torch.tensor([11.5, 0.1, 1.4, 1]).double()
    assert torch.allclose(ahead, torch.tensor([0, 0, 10, 1]).double(), atol=1e-6)
    done = with_metadata(small_log(), FRONT, pinhole(is_undistorted=True)).write(tmp_path / "two")
    assert read_lens(done, FRONT).distortion is None


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (pinhole(camera_model="ftheta"), "a lens that is not read: ftheta, expected pinhole; undistort its"),
        (pinhole(intrinsics=None), "has the intrinsics None, expected fx fy cx cy skew"),
        (pinhole(intrinsics=[1.0]), r"has the intrinsics \(1.0,\), expected fx fy cx cy skew"),
        (pinhole(distortion=[1e12] * 5), "expected 4 or 5 finite numbers"),
        (pinhole(camera_to_imu_se3=[0.0] * 7), "the place of the camera in .*: "),
        (pinhole(camera_to_imu_se3=[0.0] * 3), "the place of the camera in .*: expected four numbers"),
        (pinhole(width="wide"), r"metadata that are not those of py123d 0.7 \(.*\$.width"),
        ("nothing", "metadata that are not those of py123d 0.7"),
        (None, "tells nothing of its sensor"),
    ],
)
def test_other_lenses_and_broken_ones_are_refused(metadata, why, tmp_path):
    source = with_metadata(small_log(), FRONT, metadata).write(tmp_path / "one")
    with pytest.raises(ValueError, match=why) as said:
        read_lens(source, FRONT)
    assert "camera.pcam_f0.arrow" in str(said.value) and "\n" not in str(said.value)


def test_the_way_is_that_of_the_vehicle_and_may_be_missing(source, tmp_path):
    way = read_way(source)
    for number in range(4):
        there = way.world_from_ego(START_US + STEP_US * number)
        assert torch.allclose(there, rigid_from_quaternion(pose(number)[3:], pose(number)[:3]))
    assert read_way(small_log().changed(ego_state_se3=None).write(tmp_path / "two")) is None


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"timestamp_us": [1, 2, 2, 3]}, "row 2: the time is 2 us after 2 us, expected rising ones"),
        ({"timestamp_us": [1, 2, None, 3]}, "rows without a time in ego_state_se3.timestamp_us"),
        ({"imu_se3": [pose(0), None, pose(1), pose(2)]}, "rows without the seven numbers of a pose"),
        ({"imu_se3": [[0.0] * 7] * 4}, "a pose of .*ego_state_se3.arrow: "),
        ({"imu_se3": [[float("nan")] * 7] * 4}, "a pose of .*ego_state_se3.arrow: "),
    ],
)
def test_ways_that_are_none_are_refused(columns, why, tmp_path):
    log = small_log()
    log = log.changed(ego_state_se3=log.tables["ego_state_se3"].changed(**columns))
    with pytest.raises(ValueError, match=why):
        read_way(log.write(tmp_path / "one", rows_a_batch=4))
