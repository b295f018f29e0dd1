import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tests.datasets.rooms.conftest import EVERY, LABELLED, MESH, SCENE, VERTICES, write_ply, write_scene

from clip2scene.build import open_dataset
from clip2scene.classes.tables import SCANNET
from clip2scene.config import DataConfig
from clip2scene.datasets.dataset import count_images
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.distill.lift import PairingOptions, find_pairs
from clip2scene.types import IGNORE_LABEL


def test_vertices_colours_labels_and_cameras_come_back(scene, tmp_path):
    dataset = ScanNet(tmp_path, choice=EVERY)
    assert (dataset.tokens, len(dataset), count_images(dataset)) == ((SCENE,), 1, 1)
    sample = dataset[0]
    assert torch.equal(sample.cloud.positions, torch.tensor(VERTICES))
    assert torch.equal(sample.cloud.features[:, 0] * 255, torch.arange(5) * 10.0)
    assert sample.cloud.features[:, 1:].unique().tolist() == [0.0, 1.0]
    wall, chair = SCANNET.classes.index("wall"), SCANNET.classes.index("chair")
    assert sample.labels.tolist() == [wall, chair, chair, IGNORE_LABEL, IGNORE_LABEL]
    assert [camera.name for camera in sample.cameras] == [f"frame-{number}" for number in range(4)]
    for number, camera in enumerate(sample.cameras):
        assert (camera.width, camera.height) == (80, 60)
        assert camera.intrinsics.tolist() == [[60, 0, 39.5], [0, 60, 29.5], [0, 0, 1]]
        assert torch.allclose(camera.camera_from_lidar[:3, 3], torch.tensor([-number / 10, 0, 0]))
        assert abs(int(sample.read_image(number)[30, 40, 0]) - number) <= 1
        depth = sample.read_depth(number)
        assert depth.depths.unique().tolist() == [2.0]
        assert (depth.camera.width, depth.camera.height) == (40, 30)
        assert depth.camera.intrinsics.tolist() == [[25, 0, 19.5], [0, 25, 14.5], [0, 0, 1]]
        assert torch.equal(depth.camera.camera_from_lidar, camera.camera_from_lidar)


def test_a_vertex_is_seen_where_the_depth_image_confirms_it(scene, tmp_path):
    sample = ScanNet(tmp_path, choice=EVERY)[0]
    pairs = find_pairs(sample.cloud.positions, sample, PairingOptions(0.3))
    assert sorted(pairs.points[pairs.views == 0].tolist()) == [0, 1, 3, 4]  # point 2 lies 1 m behind
    everything = find_pairs(sample.cloud.positions, sample, PairingOptions(0.3, occlusion_test=False))
    assert sorted(everything.points[everything.views == 0].tolist()) == [0, 1, 2, 3, 4]
    hole = np.full((30, 40), 2000, np.uint16)
    hole[:, 22:] = 0  # to the right of the second vertex's pixel, and beyond, nothing was measured
    Image.fromarray(hole).save(scene / "depth" / "0.png")
    pairs = find_pairs(sample.cloud.positions, sample, PairingOptions(0.3))
    assert sorted(pairs.points[pairs.views == 0].tolist()) == [0, 1, 3, 4]
    hole[:, 20:] = 0
    Image.fromarray(hole).save(scene / "depth" / "0.png")
    pairs = find_pairs(sample.cloud.positions, sample, PairingOptions(0.3))
    assert sorted(pairs.points[pairs.views == 0].tolist()) == [3]  # u = 19.5 is rounded to 20


def test_scenes_without_frames_are_judged_but_teach_nothing(scene, tmp_path):
    bare = write_scene(tmp_path, "scene0001_00")
    shutil.rmtree(bare / "color")
    both, seen = ScanNet(tmp_path), ScanNet(tmp_path, need_images=True)
    assert (len(both), count_images(both), seen.tokens) == (2, 1, (SCENE,))
    assert both[1].cameras == ()
    assert len(find_pairs(both[1].cloud.positions, both[1], PairingOptions(0.3))) == 0
    with pytest.raises(ValueError, match="the scene has no frames"):
        both[1].read_image(0)
    shutil.rmtree(scene / "color")
    with pytest.raises(ValueError, match="none of the 2 scenes .* has frames"):
        ScanNet(tmp_path, need_images=True)


def test_splits_are_the_official_lists_or_ones_own(scene, tmp_path, caplog):
    write_scene(tmp_path, "scene0001_00")
    assert ScanNet(tmp_path).tokens == (SCENE, "scene0001_00")
    assert ScanNet(tmp_path, split=None).tokens == (SCENE, "scene0001_00")
    (tmp_path / "scannetv2_train.txt").write_text("scene0001_00\nscene0700_00\n")
    (tmp_path / "scannetv2_val.txt").write_text(f"{SCENE}\n")
    train = ScanNet(tmp_path)
    assert train.tokens == ("scene0001_00",) and "1 of the 2 scenes of train are not there" in caplog.text
    assert ScanNet(tmp_path, split="val").tokens == (SCENE,)
    with pytest.raises(ValueError, match="unknown split 'test'"):
        ScanNet(tmp_path, split="test")
    (tmp_path / "splits.json").write_text(json.dumps({"mine": [SCENE]}))
    assert ScanNet(tmp_path, split="mine").tokens == (SCENE,)
    with pytest.raises(ValueError, match="unknown split 'train', expected one of mine"):
        ScanNet(tmp_path)


def test_the_test_scenes_lie_apart_and_have_no_labels(scene, tmp_path):
    (tmp_path / "scannetv2_test.txt").write_text("scene0707_00\n")
    other = write_scene(tmp_path / "elsewhere", "scene0707_00")
    (other / "scene0707_00_vh_clean_2.labels.ply").unlink()
    (tmp_path / "scans_test").mkdir()
    other.rename(tmp_path / "scans_test" / "scene0707_00")
    with pytest.raises(ValueError, match=r"lacks .*labels.ply, .* \(test scenes have none\)"):
        ScanNet(tmp_path, split="test")
    dataset = ScanNet(tmp_path, split="test", labels=False)
    assert dataset[0].labels is None
    assert len(dataset[0].cloud) == 5


def test_labels_of_the_scenes_that_are_named_are_enough(scene, tmp_path):
    bare = write_scene(tmp_path, "scene0001_00")
    (bare / "scene0001_00_vh_clean_2.labels.ply").unlink()
    dataset = ScanNet(tmp_path, labels=[SCENE])
    assert [sample.labels is None for sample in dataset] == [False, True]
    with pytest.raises(ValueError, match=r"lacks scans.scene0001_00.*labels.ply, .*--labels.count"):
        ScanNet(tmp_path, labels=["scene0001_00"])


def test_the_layout_is_opened_by_its_name_with_the_frames_asked_for(scene, tmp_path):
    data = DataConfig(layout="scannet", frame_step=2, views=1)
    dataset = open_dataset(data, tmp_path, split="train", labels=True)
    assert isinstance(dataset, ScanNet)
    assert (count_images(dataset), len(dataset[0].cameras)) == (1, 1)
    assert dataset.label_map_path(SCENE, 0) == scene / "semantic_maps" / "0.png"
    with pytest.raises(ValueError, match="no camera 1 of sample"):
        dataset.label_map_path(SCENE, 1)
    for wrong in ({"frame_step": 0}, {"views": 0}, {"most_skipped": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
            DataConfig(**wrong)


def replaced(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def label_too_high(scene):
    """Put ScanNet's own category of a rare thing where an id of NYU40's should be."""
    content = (scene / LABELLED).read_bytes()
    (scene / LABELLED).write_bytes(content[:-2] + (1163).to_bytes(2, "little"))


FAULTS = {
    "no vertices": (lambda s: write_ply(s / MESH, rows=[]), "holds no points"),
    "a NaN": (lambda s: write_ply(s / MESH, rows=[(0, 0, np.nan), *VERTICES[1:]]), "NaN or infinite"),
    "no colours": (
        lambda s: (s / MESH).write_bytes((s / MESH).read_bytes().replace(b"uchar red", b"uchar rot")),
        "expected red, green and blue",
    ),
    "colours as floats": (
        lambda s: (s / MESH).write_bytes((s / MESH).read_bytes().replace(b"uchar red", b"float red")),
        "truncated|in 0..255",
    ),
    "fewer labels": (lambda s: write_ply(s / LABELLED, labels=True, rows=VERTICES[:4]), "not the 5 of"),
    "labels of another order": (
        lambda s: write_ply(s / LABELLED, labels=True, rows=VERTICES[::-1]),
        "not the 5 of the mesh in their order",
    ),
    "labels of another list": (
        label_too_high,
        "1 of 5 vertices have labels like 1163, .* in 0..40, in all but",
    ),
    "no labels inside": (lambda s: write_ply(s / LABELLED), "as label at each vertex"),
    "no mesh": (lambda s: (s / MESH).write_bytes(b"ply"), "no header"),
    "a sheared pose": (lambda s: replaced(s / "pose/0.txt", "1 0 0 0", "1 0.1 0 0"), "not a rotation"),
    "a short pose": (lambda s: (s / "pose/0.txt").write_text("1 0 0 0\n"), "4 rows of 4"),
    "a pose of words": (lambda s: (s / "pose/0.txt").write_text("one\n"), "rows of numbers"),
    "no intrinsics": (lambda s: (s / "intrinsic/intrinsic_depth.txt").unlink(), "is missing"),
    "a mirrored camera": (
        lambda s: replaced(s / "intrinsic/intrinsic_color.txt", "60 0", "-60 0"),
        "positive",
    ),
    "NaN in intrinsics": (
        lambda s: replaced(s / "intrinsic/intrinsic_color.txt", "60 0", "nan 0"),
        "expected fx",
    ),
    "depth not brought to colour": (
        lambda s: replaced(s / "intrinsic/extrinsic_depth.txt", "1 0 0 0", "1 0 0 0.05"),
        "not the identity",
    ),
    "another size": (
        lambda s: Image.new("RGB", (20, 15)).save(s / "color/0.jpg"),
        "image .* is that of images of about .*got 20x15",
    ),
    "no image": (lambda s: (s / "color/0.jpg").write_bytes(b"x"), "cannot be read"),
    "no frames": (lambda s: [path.unlink() for path in (s / "color").iterdir()], "color holds 0 files"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_that_names_the_file(scene, tmp_path, fault):
    spoil, message = FAULTS[fault]
    spoil(scene)
    with pytest.raises(ValueError, match=message) as caught:
        ScanNet(tmp_path, choice=EVERY)[0]
    assert str(scene) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../scene0001_00", "/etc", "", "a/b", "..", 7])
def test_splits_cannot_lead_out_of_the_folder(scene, tmp_path, name):
    (tmp_path / "splits.json").write_text(json.dumps({"train": [SCENE, name]}))
    with pytest.raises(ValueError, match="has the name|expected a name"):
        ScanNet(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "has no list"), ('{"train": 3}', "has no list"), ("{", "not valid JSON"), ("twice", "twice")],
)
def test_broken_splits_are_refused(scene, tmp_path, content, message):
    content = json.dumps({"train": [SCENE, SCENE]}) if content == "twice" else content
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        ScanNet(tmp_path)


def test_a_folder_without_scenes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none of the 0 scenes"):
        ScanNet(tmp_path)


def read_all(root):
    sample = ScanNet(root, choice=EVERY)[0]
    tensors = {"mesh 0": sample.cloud.positions, "mesh 1": sample.cloud.features, "labels": sample.labels}
    for view, camera in enumerate(sample.cameras):
        depth = sample.read_depth(view)
        tensors |= {
            f"{camera.name} pose": camera.camera_from_lidar,
            f"{camera.name} color": sample.read_image(view),
            f"{camera.name} depth": depth.depths,
            f"{camera.name} intrinsic_color": camera.intrinsics,
            f"{camera.name} intrinsic_depth": depth.camera.intrinsics,
        }
    return tensors


def may_change(path):
    """Name what a damaged file may change of a scene."""
    if path.suffix == ".ply":
        return "labels" if "labels" in path.name else "mesh"
    return path.stem if "intrinsic" in path.name else f"frame-0 {path.parent.name}"


def test_damage_is_refused_or_changes_nothing_that_could_be_noticed(scene, tmp_path):
    """Every file cut short or with bits flipped: a ValueError, or seen in its own part of the scene."""
    whole, rng, refused = read_all(tmp_path), np.random.default_rng(0), 0
    files = [
        path
        for path in sorted(scene.rglob("*.*"))
        if re.search(r"(ply|0\.\w+|intrinsic_\w+\.txt)$", path.name)
    ]
    assert len(files) == 7
    for path in files:
        content = path.read_bytes()
        cut = [content[:size] for size in rng.integers(0, len(content), 8)]
        flipped = []
        for _ in range(8):
            changed = bytearray(content)
            changed[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
            flipped.append(bytes(changed))
        for number, damaged in enumerate([b"", *cut, *flipped]):
            path.write_bytes(damaged)
            try:
                found = read_all(tmp_path)
            except ValueError as error:
                refused += 1
                assert "\n" not in str(error).strip()
            else:
                if found.keys() != whole.keys():  # a pose of no numbers: tracking was lost there
                    assert path.parent.name == "pose"
                    assert {name for name in whole if not name.startswith("frame-0 ")} == found.keys()
                for name, tensor in found.items():
                    assert tensor.shape == whole[name].shape and tensor.dtype == whole[name].dtype
                    assert tensor.float().isfinite().all()
                    assert may_change(path) in name or torch.equal(tensor, whole[name]), (path, name)
                if path.suffix == ".ply" and 0 < number <= 8:
                    pytest.fail(f"{path.name} was cut to {len(damaged)} bytes and read all the same")
        path.write_bytes(content)
    assert refused > 60
    mended = read_all(tmp_path)
    assert all(torch.equal(mended[name], whole[name]) for name in whole)
