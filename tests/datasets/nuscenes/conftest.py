import json
import os
import shutil

import pytest
import torch

from clip2scene.datasets.nuscenes import cache as nuscenes_cache

VERSION = "v1.0-trainval"


@pytest.fixture
def damaged(tiny_toytown, tmp_path):
    """A copy of toytown that a test may break."""
    root = tmp_path / "toytown"
    shutil.copytree(tiny_toytown, root)
    return root


def edit(root, table, change):
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def lidar_records(root):
    """Return the lidar's records, oldest first, each with its calibration and pose."""
    tables = {
        name: {row["token"]: row for row in json.loads((root / VERSION / f"{name}.json").read_text())}
        for name in ("sample_data", "calibrated_sensor", "ego_pose")
    }
    rows = [row for row in tables["sample_data"].values() if "LIDAR_TOP" in row["filename"]]
    return [
        row
        | {"calibration": tables["calibrated_sensor"][row["calibrated_sensor_token"]]}
        | {"pose": tables["ego_pose"][row["ego_pose_token"]]}
        for row in sorted(rows, key=lambda row: row["timestamp"])
    ]


@pytest.fixture
def town(tiny_toytown, tmp_path):
    """A toytown whose tables a test may change; they were written long ago."""
    return link_town(tiny_toytown, tmp_path / "town")


def link_town(source, root):
    """Copy the tables and link to the rest."""
    shutil.copytree(source / VERSION, root / VERSION)
    for folder in ("samples", "sweeps", "lidarseg"):
        (root / folder).symlink_to(source / folder)
    age(root / VERSION)
    return root


def age(tables, seconds=3600):
    """Set the tables' time of change back."""
    for path in tables.glob("*.json"):
        before = path.stat().st_mtime_ns - seconds * 10**9
        os.utime(path, ns=(before, before))


@pytest.fixture
def forbid_tables(monkeypatch):
    """Let every reading of tables fail from the call on."""

    def forbid():
        monkeypatch.setattr(nuscenes_cache, "build_index", lambda *_, **__: pytest.fail("read the tables"))

    return forbid


def assert_same(sample, other):
    assert sample.token == other.token
    for cloud, another in zip((sample.cloud, *sample.sweeps), (other.cloud, *other.sweeps), strict=True):
        assert torch.equal(cloud.positions, another.positions)
        assert torch.equal(cloud.features, another.features)
    for view, (camera, another) in enumerate(zip(sample.cameras, other.cameras, strict=True)):
        assert (camera.name, camera.width, camera.height) == (another.name, another.width, another.height)
        assert torch.equal(camera.intrinsics, another.intrinsics)
        assert torch.equal(camera.camera_from_lidar, another.camera_from_lidar)
        assert torch.equal(sample.read_image(view), other.read_image(view))
    assert torch.equal(sample.labels, other.labels)
