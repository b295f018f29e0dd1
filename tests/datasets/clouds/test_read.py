import math
import struct

import numpy as np
import pytest
import torch
import trimesh

from clip2scene.datasets.clouds import read_cloud, write_ply
from clip2scene.datasets.clouds.intensity import INTENSITIES

XYZ = np.array([[1.5, -2.0, 0.25], [10.0, 20.0, -1.0], [0.0, 0.0, 3.0]], np.float32)
INTENSITY = np.array([0.0, 0.5, 1.0], np.float32)


def pcd(data, body, fields="x y z intensity", size="4 4 4 4", kind="F F F F", points=3, extra=""):
    count = " ".join("1" for _ in fields.split())
    header = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {size}\nTYPE {kind}\n{extra or f'COUNT {count}'}\n"
        f"WIDTH {points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA {data}\n"
    )
    return header.encode() + body


def records(width=4):
    table = np.zeros((3, width), np.float32)
    table[:, :3], table[:, 3] = XYZ, INTENSITY
    return table


def write(path, content):
    path.write_bytes(content)
    return path


def ascii_rows(scale=1.0):
    return "".join(f"{x} {y} {z} {i * scale}\n" for (x, y, z), i in zip(XYZ, INTENSITY, strict=True)).encode()


def packed_columns(columns):
    """The body of a compressed PCD that stores every byte as it is: a run of up to 32 after its length."""
    content = np.ascontiguousarray(columns).tobytes()
    runs = [content[start : start + 32] for start in range(0, len(content), 32)]
    packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
    return struct.pack("<II", len(packed), len(content)) + packed


PLY_HEADER = (
    "ply\nformat {form} 1.0\ncomment made by hand\nelement vertex 3\nproperty float x\nproperty float y\n"
    "property float z\nproperty {kind} intensity\nelement face 0\nproperty list uchar int vertex_indices\n"
    "end_header\n"
)


def every_format(folder):
    """Write the same three points in each format."""
    packed = b"".join(
        struct.pack(">fffB", *xyz, round(i * 255))
        for xyz, i in zip(XYZ.tolist(), INTENSITY.tolist(), strict=True)
    )
    np.save(folder / "a.npy", records().astype(np.float64))
    np.savez(folder / "a.npz", xyz=XYZ, intensity=(INTENSITY * 255).astype(np.uint8))
    yield write(folder / "a.bin", records().tobytes())
    yield folder / "a.npy"
    yield folder / "a.npz"
    yield write(folder / "ascii.ply", PLY_HEADER.format(form="ascii", kind="float").encode() + ascii_rows())
    yield write(
        folder / "big.ply", PLY_HEADER.format(form="binary_big_endian", kind="uchar").encode() + packed
    )
    yield write(folder / "ascii.pcd", pcd("ascii", ascii_rows(65535.0)))
    yield write(folder / "binary.pcd", pcd("binary", records().tobytes()))
    yield write(folder / "packed.pcd", pcd("binary_compressed", packed_columns(records().T)))


def test_every_format_gives_the_same_cloud(tmp_path):
    seen = 0
    for path in every_format(tmp_path):
        cloud = read_cloud(path)
        np.testing.assert_allclose(cloud.positions.numpy(), XYZ, err_msg=path.name)
        np.testing.assert_allclose(cloud.features[:, 0].numpy(), INTENSITY, atol=1 / 255, err_msg=path.name)
        assert cloud.features.shape == (3, 1), path.name
        seen += 1
    assert seen == 8


def test_a_nuscenes_file_is_turned_forward_and_scaled(tmp_path):
    table = records(5)
    table[:, 3] = [0, 51, 102]  # never above 102, yet counts of 255
    cloud = read_cloud(write(tmp_path / "a.pcd.bin", table.tobytes()))
    np.testing.assert_allclose(cloud.positions[:, 0], XYZ[:, 1])
    np.testing.assert_allclose(cloud.positions[:, 1], -XYZ[:, 0])
    np.testing.assert_allclose(cloud.features[:, 0], [0, 0.2, 0.4], atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1])
@pytest.mark.parametrize("intensity_max", [None, 1.0])
def test_an_intensity_that_nothing_can_have_is_refused(tmp_path, value, intensity_max):
    np.savez(tmp_path / "a.npz", xyz=XYZ, intensity=np.array([0.5, value, 0.5], np.float32))
    with pytest.raises(
        ValueError, match=r"a\.npz holds 1 intensities of 3 that are NaN, infinite or negative"
    ):
        read_cloud(tmp_path / "a.npz", intensity_max=intensity_max)


@pytest.mark.parametrize("name", [*INTENSITIES, "Intensity", "scalar_Intensity", "REFLECTIVITY"])
def test_intensity_has_many_names_in_any_case(tmp_path, name):
    table = np.column_stack([XYZ, INTENSITY]).astype("<f4").tobytes()
    path = write(tmp_path / "a.pcd", pcd("binary", table, fields=f"x y z {name}"))
    np.testing.assert_allclose(read_cloud(path).features[:, 0], INTENSITY)


def test_a_cloud_without_intensity_gets_zeros(tmp_path):
    np.save(tmp_path / "a.npy", XYZ)
    assert read_cloud(tmp_path / "a.npy").features.tolist() == [[0.0], [0.0], [0.0]]


def test_pcd_padding_and_fields_of_several_numbers_are_skipped(tmp_path):
    dtype = [("x", "f4"), ("p", "u1", 4), ("y", "f8"), ("z", "f4"), ("n", "f4", 3), ("intensity", "u2")]
    table = np.zeros(3, dtype=dtype)
    for axis, name in enumerate("xyz"):
        table[name] = XYZ[:, axis]
    table["n"], table["intensity"] = 7.0, INTENSITY * 65535
    content = pcd(
        "binary",
        table.tobytes(),
        fields="x _ y z normal intensity",
        size="4 1 8 4 4 2",
        kind="F U F F F U",
        extra="COUNT 1 4 1 1 3 1",
    )
    cloud = read_cloud(write(tmp_path / "a.pcd", content))
    np.testing.assert_allclose(cloud.positions.numpy(), XYZ)
    np.testing.assert_allclose(cloud.features[:, 0].numpy(), INTENSITY, atol=1e-4)


def test_what_write_ply_writes_others_read(tmp_path):
    colours = torch.tensor([[255, 0, 0], [0, 128, 0], [1, 2, 3]], dtype=torch.uint8)
    write_ply(tmp_path / "out" / "a.ply", torch.from_numpy(XYZ), colours)
    loaded = trimesh.load(tmp_path / "out" / "a.ply")
    np.testing.assert_allclose(loaded.vertices, XYZ)
    assert loaded.colors[:, :3].tolist() == colours.tolist()
    np.testing.assert_allclose(read_cloud(tmp_path / "out" / "a.ply").positions.numpy(), XYZ)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.ply"]


def test_write_ply_without_colours_round_trips(tmp_path):
    write_ply(tmp_path / "a.ply", torch.from_numpy(XYZ))
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.ply").positions.numpy(), XYZ)


def test_what_trimesh_writes_we_read(tmp_path):
    trimesh.PointCloud(XYZ).export(tmp_path / "a.ply")
    np.testing.assert_allclose(read_cloud(tmp_path / "a.ply").positions.numpy(), XYZ)


def test_every_format_is_refused_when_truncated(tmp_path):
    for path in every_format(tmp_path):
        content = path.read_bytes()
        write(path, content[: len(content) - 9])
        with pytest.raises(ValueError, match="truncated|cannot be read") as caught:
            read_cloud(path)
        assert path.name in str(caught.value)
        write(path, b"")
        with pytest.raises(ValueError, match=f"{path.name} is empty"):
            read_cloud(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_coordinates_that_are_not_finite_are_counted(tmp_path, value):
    table = records()
    table[1, 2] = value
    with pytest.raises(ValueError, match="a.bin holds 1 points of 3 with NaN or infinite"):
        read_cloud(write(tmp_path / "a.bin", table.tobytes()))


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.obj", b"v 1 2 3", "unknown suffix"),
        ("a.ply", b"solid cube", "not a PLY"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement face 3\nend_header\n", "no vertices, only face"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n",
            "truncated",
        ),
        (
            "a.ply",
            b"ply\nformat odd 1.0\nelement vertex 0\nproperty float x\nend_header\n",
            "unknown encoding",
        ),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "no y z"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\nfoo\n",
            "no number",
        ),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty\nend_header\n1\n", "is no property"),
        ("a.pcd", b"VERSION 0.7\n", "not a PCD"),
        ("a.pcd", pcd("binary_compressed", b"1234"), "do not unpack to the 48 of 3 points"),
        ("a.pcd", pcd("binary_compressed", struct.pack("<II", 4, 48) + b"1234"), "do not unpack to the 48"),
        (
            "a.pcd",
            pcd("binary_compressed", struct.pack("<II", 4, 2**32 - 16) + b"1234", points=2**28 - 1),
            "do not unpack",  # 4 GB that nobody makes room for
        ),
        (
            "a.pcd",
            b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nDATA ascii\n1 2 3\n",
            "number of points, in POINTS",
        ),
        ("a.pcd", b"SIZE 4 4 4\nTYPE F F F\nPOINTS 1\nDATA ascii\n1 2 3\n", "it has no line FIELDS"),
        ("a.pcd", b"FIELDS x y z\nTYPE F F F\nPOINTS 1\nDATA binary\n" + bytes(12), "it has no line SIZE"),
        ("a.pcd", pcd("ascii", b"1 2 3 4", points="many"), "broken PCD header"),
        ("a.pcd", pcd("ascii", b"", points=0), "no points"),
        ("a.pcd", pcd("ascii", b"1 2 3 4", size="4 4 4 4,f4"), "broken PCD header"),
        ("a.pcd", pcd("binary", b"1234", extra="COUNT 1 1 1 999999999"), "broken PCD header"),
        ("a.pcd", pcd("ascii", b"1 2 3 4", points="9" * 20), "number of points"),
        ("a.pcd", pcd("ascii", b"1 2 3 4", points="9" * 15), "truncated"),
        (
            "a.ply",
            f"ply\nformat ascii 1.0\nelement vertex {'9' * 20}\nproperty float x\nend_header\n1".encode(),
            "broken header",
        ),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 999999999999999\nproperty float x\nend_header\n1",
            "truncated",
        ),
        ("a.npy", b"not numpy at all", "NumPy"),
        ("a.npz", b"not a zip", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, content, fault):
    with pytest.raises(ValueError, match=fault):
        read_cloud(write(tmp_path / name, content))


@pytest.mark.parametrize("wrong", [b"1 2", b"1 2 3 4 5"])
def test_a_line_with_too_few_or_too_many_numbers_is_named_and_shifts_no_others(tmp_path, wrong):
    lines = [b"1 2 3 0.5", wrong, b"7 8 9 0.5"]
    for name, content in (
        ("a.pcd", pcd("ascii", b"\n".join(lines))),
        ("a.ply", PLY_HEADER.format(form="ascii", kind="float").encode() + b"\r\n".join(lines)),
    ):
        with pytest.raises(ValueError, match=f"line 1[34] has {len(wrong.split())} numbers, expected the 4"):
            read_cloud(write(tmp_path / name, content))


def test_fields_of_several_numbers_are_skipped_in_a_compressed_pcd(tmp_path):
    content = np.concatenate([np.zeros((3, 3), "f4").ravel(), records()[:, :3].T.ravel()]).astype("f4")
    header = {"fields": "normal x y z", "extra": "COUNT 3 1 1 1"}
    path = write(tmp_path / "a.pcd", pcd("binary_compressed", packed_columns(content), **header))
    np.testing.assert_array_equal(read_cloud(path).positions.numpy(), XYZ)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere.bin is missing"):
        read_cloud(tmp_path / "nowhere.bin")


class Canary:
    def __reduce__(self):
        return (print, ("the pickle ran",))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_pickle_inside_an_array_file_never_runs(tmp_path, capsys, name):
    array = np.array([Canary()], dtype=object)
    if name == "a.npy":
        np.save(tmp_path / name, array, allow_pickle=True)
    else:
        np.savez(tmp_path / name, xyz=array)
    with pytest.raises(ValueError, match=name):
        read_cloud(tmp_path / name)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.real_data
def test_real_recordings_are_read(real_data):
    kitti = read_cloud(real_data / "kitti-object" / "training" / "velodyne" / "000000.bin")
    assert len(kitti) > 10_000 and 0 <= kitti.features.min() and kitti.features.max() <= 1
    nuscenes = read_cloud(next((real_data / "nuscenes-keyframe").glob("*.pcd.bin")))
    assert len(nuscenes) == 34_688
    drive = read_cloud(real_data / "pandaset-002" / "lidar" / "00.npz")
    assert 0.5 < drive.features.max() <= 1


def test_intensities_are_divided_by_what_is_asked_for(tmp_path):
    np.save(tmp_path / "a.npy", np.column_stack([XYZ, np.full(len(XYZ), 0.5)]))
    assert read_cloud(tmp_path / "a.npy", intensity_max=2.0).features.unique().tolist() == [0.25]
    with pytest.raises(ValueError, match="up to 0.5, 3 of 3 above the 0.4 of --intensity-max"):
        read_cloud(tmp_path / "a.npy", intensity_max=0.4)
