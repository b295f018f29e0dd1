"""Writes small logs of 123D: with plain pyarrow, and with the writer of py123d where that is installed."""

import io
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

msgspec = pytest.importorskip("msgspec")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.ipc")

START_US = 1_700_000_000_000_000
STEP_US = 100_000
WIDTH, HEIGHT = 64, 48
LIDAR_AT = (1.2, 0.0, 1.7)
LOOKING_FORWARD = (0.5, -0.5, 0.5, -0.5)  # x right, y down, z forward, as w x y z in the vehicle's frame
INTRINSICS = (40.0, 41.0, 31.5, 23.5, 0.0)
DISTORTION = (-0.2, 0.03, 0.001, -0.002, 0.0)


def sweep(number, points=200):
    """Points in front of the vehicle, in its frame, with intensities of a byte."""
    rng = np.random.default_rng(number)
    positions = rng.uniform([3, -8, 0], [30, 8, 3], (points, 3)).astype(np.float32)
    return positions, rng.integers(0, 256, points).astype(np.uint8)


def jpeg(number, size=(WIDTH, HEIGHT)):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def pinhole(name="pcam_f0", **changes):
    """The metadata of a camera 0.1 m left of the vehicle's axis."""
    return {
        "camera_model": "pinhole",
        "camera_name": name.upper(),
        "camera_id": 0,
        "intrinsics": list(INTRINSICS),
        "distortion": list(DISTORTION),
        "width": WIDTH,
        "height": HEIGHT,
        "camera_to_imu_se3": [1.5, 0.1, 1.4, *LOOKING_FORWARD],
        "is_undistorted": False,
        **changes,
    }


def lidar(name="top", at=LIDAR_AT, **changes):
    turned = (
        Rotation.from_euler("z", 0.7).as_quat().tolist()
    )  # a lidar's own axes do not matter: its points are turned
    pose = [*at, turned[3], *turned[:3]]
    return {"lidar_name": name, "lidar_id": 2, "lidar_to_imu_se3": pose, **changes}


def pose(number):
    """Where the vehicle was: far from the map's origin, turning, 1 m onward each time."""
    turn = Rotation.from_euler("zyx", [0.3 + 0.01 * number, 0.02, 0]).as_quat().tolist()
    return [5000.0 + number, -300.0, 12.0, turn[3], *turn[:3]]


def as_arrow(positions, intensity, compression="zstd"):
    columns = dict(zip("xyz", positions.T, strict=True)) | {"intensity": intensity}
    batch = pa.RecordBatch.from_pydict({name: np.ascontiguousarray(each) for name, each in columns.items()})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def as_laz(positions, intensity):
    laspy = pytest.importorskip("laspy")
    las = laspy.create(point_format=3, file_version="1.4")
    las.header.scales = np.full(3, 0.01)
    las.x, las.y, las.z = positions.T
    las.add_extra_dims([laspy.ExtraBytesParams(name="extra_intensity", type=np.uint8)])
    las.extra_intensity = intensity
    stream = io.BytesIO()
    las.write(stream, do_compress=True)
    return stream.getvalue()


@dataclass(frozen=True)
class Table:
    """A file of a log: its columns without the name of the file before them, their types, its metadata."""

    columns: dict
    types: dict
    metadata: object

    def changed(self, **columns):
        return replace(self, columns={**self.columns, **columns})


@dataclass(frozen=True)
class Log:
    """The files of a log."""

    tables: dict = field(default_factory=dict)

    def changed(self, **tables):
        """Replace files, ``__`` standing for a dot; None takes one away."""
        named = {name.replace("__", "."): table for name, table in tables.items()}
        return Log({name: table for name, table in {**self.tables, **named}.items() if table is not None})

    def write(self, folder, compression=None, rows_a_batch=2):
        folder.mkdir(parents=True)
        for name, table in self.tables.items():
            write_table(folder / f"{name}.arrow", name, table, compression, rows_a_batch)
        return folder


def write_table(path, name, table, compression=None, rows_a_batch=2):
    before = "" if name == "sync" else f"{name}."
    fields = [pa.field(f"{before}{key}", kind) for key, kind in table.types.items()]
    extra = None if table.metadata is None else {b"metadata": msgspec.msgpack.encode(table.metadata)}
    schema = pa.schema(fields, metadata=extra)
    columns = [pa.array(table.columns[key], kind) for key, kind in table.types.items()]
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(str(path), schema, options=options) as writer:
        writer.write_table(pa.table(columns, schema=schema), rows_a_batch)


POSE = pa.list_(pa.float64(), 7)


def clouds_table(contents, metadata, kind=None):
    times = [START_US - 50_000 + STEP_US * number for number in range(len(contents))]  # begins of turns
    types = {"timestamp_us": pa.int64(), "end_timestamp_us": pa.int64(), "data": kind or pa.binary()}
    columns = {"timestamp_us": times, "end_timestamp_us": [time + STEP_US for time in times]}
    return Table({**columns, "data": contents}, types, metadata)


def images_table(contents, metadata, kind=None, lead_us=7_000):
    times = [START_US + lead_us + STEP_US * number for number in range(len(contents))]
    types = {"timestamp_us": pa.int64(), "data": kind or pa.binary(), "camera_to_global_se3": POSE}
    columns = {"timestamp_us": times, "data": contents, "camera_to_global_se3": [None] * len(times)}
    return Table(columns, types, metadata)


def small_log(count=4, *, cloud=as_arrow, cameras=("pcam_f0",)):
    """A drive of ``count`` frames, one merged lidar, and cameras."""
    numbers = range(count)
    frames = [START_US + STEP_US * number for number in numbers]
    tables = {
        "lidar.lidar_merged": clouds_table([cloud(*sweep(number)) for number in numbers], {"2": lidar()}),
        "ego_state_se3": Table(
            {"timestamp_us": frames, "imu_se3": [pose(number) for number in numbers]},
            {"timestamp_us": pa.int64(), "imu_se3": POSE},
            {"vehicle_name": "car"},
        ),
    }
    for name in cameras:
        tables[f"camera.{name}"] = images_table([jpeg(number) for number in numbers], pinhole(name))
    rows = {name: list(numbers) for name in tables}
    tables["sync"] = Table(
        {"sync.timestamp_us": frames, **rows},
        {"sync.timestamp_us": pa.int64(), **dict.fromkeys(rows, pa.int64())},
        {"dataset": "made", "split": "made_train", "log_name": "one", "location": None, "version": "0.7.0"},
    )
    return Log(tables)
