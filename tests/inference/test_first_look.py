import numpy as np
import pytest
import torch

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.inference import segment
from clip2scene.inference.segment import SegmentOptions, segment_files
from clip2scene.inference.segmenter import Segmenter


@pytest.fixture(scope="module")
def points(tiny_toytown):
    cloud = NuScenes(tiny_toytown, split="val", labels=False)[0].cloud
    return torch.cat([cloud.positions, cloud.features], dim=1).numpy()


def test_files_of_one_call_are_read_in_one_unit(tiny_run, points, tmp_path, monkeypatch):
    paths = [tmp_path / "low.npy", tmp_path / "high.npy", tmp_path / "shares.npy", tmp_path / "zeros.npy"]
    tops = (255, 4095, 1, 0)
    for path, top in zip(paths, tops, strict=True):
        np.save(path, np.column_stack([points[:, :3], (points[:, 3:] * top).round(0 if top > 1 else 3)]))
    seen = []
    monkeypatch.setattr(Segmenter, "segment", lambda self, cloud, **_: seen.append(cloud) or stop())

    def stop():
        raise ValueError("enough")

    for chosen, scale in ((paths[:2], 4095), (paths[1::-1], 4095), ([paths[3], paths[0]], 255)):
        with pytest.raises(ValueError, match="enough"):
            segment_files(tiny_run, chosen, ["road"], tmp_path / "out", note=print)
        raw = np.load(chosen[0])[:, 3]
        np.testing.assert_allclose(seen[-1].features[:, 0], raw / scale, atol=1e-6)
    with pytest.raises(ValueError, match=r"shares\.npy are shares of 1, those of .*low\.npy go up to"):
        segment_files(tiny_run, paths, ["road"], tmp_path / "out")


def test_one_sentence_of_many_files_is_said_once(tiny_run, points, tmp_path, caplog):
    files = [tmp_path / "one.npy", tmp_path / "two.npy"]
    for path in files:
        np.save(path, points[:, :3])
    segment_files(tiny_run, files, ["road"], tmp_path / "out")
    (said,) = [record.getMessage() for record in caplog.records]
    assert "one.npy and 1 more: it has no intensity" in said


@pytest.mark.parametrize("suffix", [".npy", ".bin"])
def test_a_cloud_beyond_the_reach_of_voxels_is_refused_before_any_is_labelled(
    tiny_run, points, tmp_path, monkeypatch, suffix
):
    points = points[:2000, :4].astype("<f4")
    points[-1, :2] = 9e4  # none of those that are looked at of a file that is read in pieces
    np.save(tmp_path / "far.npy", points)
    points.tofile(tmp_path / "far.bin")
    monkeypatch.setattr(segment, "MOST_KEPT", 1500)
    with pytest.raises(ValueError, match=rf"far{suffix} reaches 127 km from its origin, beyond the .* km"):
        segment_files(
            tiny_run, [tmp_path / f"far{suffix}"], ["road"], tmp_path / "out", SegmentOptions(unlike="accept")
        )
    assert not (tmp_path / "out").exists()
