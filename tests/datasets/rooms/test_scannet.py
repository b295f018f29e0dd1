import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene.build import open_dataset
from clip2scene.classes.scannet200 import SCANNET_200
from clip2scene.classes.tables import SCANNET
from clip2scene.config import DataConfig
from clip2scene.datasets.dataset import count_images
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.distill.lift import find_pairs
from clip2scene.types import IGNORE_LABEL

SCENE = "scene0000_00"
VERTICES = [(0.0, 0.0, 2.0), (0.1, 0.0, 2.0), (0.0, 0.1, 3.0), (-0.2, 0.0, 2.0), (0.0, -0.1, 2.0)]
NYU40 = [1, 5, 5, 22, 0]
LOST = "-inf -inf -inf -inf\n" * 4
STILL = "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"
EVERY = FrameChoice(step=1)


def write_ply(path, *, labels=False, form="binary_little_endian", rows=VERTICES, fields=None):
    fields = fields or [("float", axis) for axis in "xyz"]
    colours = [("uchar", name) for name in ("red", "green", "blue", "alpha")]
    fields = [*fields, *colours, *([("ushort", "label")] if labels else [])]
    kinds = {"float": "<f4", "uchar": "u1", "ushort": "<u2", "double": "<f8"}
    table = np.zeros(len(rows), [(name, kinds[kind]) for kind, name in fields])
    for number, row in enumerate(rows):
        extra = (NYU40[number % 5],) if labels else ()
        table[number] = (*row, 10 * number % 256, 255, 0, 255, *extra)
    header = ["ply", f"format {form} 1.0", f"element vertex {len(rows)}"]
    header += [f"property {kind} {name}" for kind, name in fields]
    header += ["element face 0", "property list uchar int vertex_indices", "end_header", ""]
    body = table.tobytes()
    if form == "ascii":
        body = "".join(" ".join(map(str, row)) + "\n" for row in table.tolist()).encode()
    path.write_bytes("\n".join(header).encode() + body)


def write_scene(root, name=SCENE, frames=4):
    folder = root / "scans" / name
    for each in ("color", "depth", "pose", "intrinsic"):
        (folder / each).mkdir(parents=True)
    write_ply(folder / f"{name}_vh_clean_2.ply")
    write_ply(folder / f"{name}_vh_clean_2.labels.ply", labels=True)
    (folder / "intrinsic" / "intrinsic_color.txt").write_text("60 0 39.5 0\n0 60 29.5 0\n0 0 1 0\n0 0 0 1\n")
    (folder / "intrinsic" / "intrinsic_depth.txt").write_text("25 0 19.5 0\n0 25 14.5 0\n0 0 1 0\n0 0 0 1\n")
    for each in ("color", "depth"):
        (folder / "intrinsic" / f"extrinsic_{each}.txt").write_text(STILL)
    for number in range(frames):
        Image.new("RGB", (80, 60), (number, 0, 0)).save(folder / "color" / f"{number}.jpg", quality=95)
        Image.fromarray(np.full((30, 40), 2000, np.uint16)).save(folder / "depth" / f"{number}.png")
        (folder / "pose" / f"{number}.txt").write_text(STILL.replace("1 0 0 0", f"1 0 0 {number / 10}"))
    return folder


@pytest.fixture
def scene(tmp_path):
    """A scene of five vertices and four frames, each 10 cm further to the right."""
    return write_scene(tmp_path)


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
    pairs = find_pairs(sample.cloud.positions, sample, {"min_depth": 0.3, "occlusion_test": True})
    assert sorted(pairs.points[pairs.views == 0].tolist()) == [0, 1, 3, 4]  # point 2 lies 1 m behind
    everything = find_pairs(sample.cloud.positions, sample, {"min_depth": 0.3, "occlusion_test": False})
    assert sorted(everything.points[everything.views == 0].tolist()) == [0, 1, 2, 3, 4]
    hole = np.full((30, 40), 2000, np.uint16)
    hole[:, 22:] = 0  # to the right of the second vertex's pixel, and beyond, nothing was measured
    Image.fromarray(hole).save(scene / "depth" / "0.png")
    pairs = find_pairs(sample.cloud.positions, sample, {"min_depth": 0.3, "occlusion_test": True})
    assert sorted(pairs.points[pairs.views == 0].tolist()) == [0, 1, 3, 4]
    hole[:, 20:] = 0
    Image.fromarray(hole).save(scene / "depth" / "0.png")
    pairs = find_pairs(sample.cloud.positions, sample, {"min_depth": 0.3, "occlusion_test": True})
    assert sorted(pairs.points[pairs.views == 0].tolist()) == [3]  # u = 19.5 is rounded to 20


@pytest.mark.parametrize(
    ("step", "most", "frames"),
    [
        (1, 99, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (5, 99, [0, 5, 10]),
        (1, 4, [0, 4, 7, 11]),
        (3, 1, [0]),
    ],
)
def test_every_so_many_frames_are_taken_at_most_so_many_in_order_of_their_numbers(
    tmp_path, step, most, frames
):
    write_scene(tmp_path, frames=12)  # as text, 10 would come before 2
    sample = ScanNet(tmp_path, choice=FrameChoice(step, most))[0]
    assert [camera.name for camera in sample.cameras] == [f"frame-{number}" for number in frames]


def test_lost_poses_and_missing_files_are_counted_and_reported(scene, tmp_path, caplog):
    (scene / "pose" / "1.txt").write_text(LOST)
    (scene / "depth" / "2.png").unlink()
    dataset = ScanNet(tmp_path, choice=EVERY)
    assert [camera.name for camera in dataset[0].cameras] == ["frame-0", "frame-3"]
    chosen = dataset.frames(SCENE)
    assert (chosen.asked, chosen.lost, chosen.missing) == (4, 1, 1)
    assert "of 4 frames, 1 have lost their pose and 1 lack a file; left out" in caplog.text
    dataset[0]
    assert caplog.text.count("left out") == 1
    (scene / "pose" / "0.txt").write_text(STILL.replace("1 0 0 0", "nan 0 0 0"))
    with pytest.raises(ValueError, match="2 have lost their pose.*share of 0.5"):
        ScanNet(tmp_path, choice=EVERY)[0]
    assert len(ScanNet(tmp_path, choice=FrameChoice(1, 16, 0.75))[0].cameras) == 1
    (scene / "pose" / "3.txt").write_text(LOST)
    with pytest.raises(ValueError, match="3 have lost their pose"):
        ScanNet(tmp_path, choice=FrameChoice(1, 16, 1.0))[0]


def test_scenes_without_frames_are_judged_but_teach_nothing(scene, tmp_path):
    bare = write_scene(tmp_path, "scene0001_00")
    shutil.rmtree(bare / "color")
    both, seen = ScanNet(tmp_path), ScanNet(tmp_path, need_images=True)
    assert (len(both), count_images(both), seen.tokens) == (2, 1, (SCENE,))
    assert both[1].cameras == ()
    assert len(find_pairs(both[1].cloud.positions, both[1], {"min_depth": 0.3, "occlusion_test": True})) == 0
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


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_meshes_are_read_as_text_and_as_bytes(scene, tmp_path, form):
    write_ply(scene / f"{SCENE}_vh_clean_2.ply", form=form)
    write_ply(scene / f"{SCENE}_vh_clean_2.labels.ply", form=form, labels=True)
    assert ScanNet(tmp_path)[0].labels.tolist() == [0, 4, 4, IGNORE_LABEL, IGNORE_LABEL]
    assert torch.equal(ScanNet(tmp_path)[0].cloud.positions, torch.tensor(VERTICES))


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


@pytest.fixture
def things(scene, tmp_path):
    """The scene's five vertices as the segments 7, 7, 9, 9 and 4, of a lamp, and two that nobody knows."""
    segments = {"sceneId": f"scannet.{SCENE}", "segIndices": [7, 7, 9, 9, 4]}
    (scene / f"{SCENE}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(segments))
    groups = [{"segments": [7], "label": "lamp"}, {"segments": [9], "label": "my thing"}]
    (scene / f"{SCENE}.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    rows = ["id\traw_category\tcategory\tnyu40id", "28\tlamp\tlamp\t35", '7\t"odd\tcabinet\t3']
    (tmp_path / "scannetv2-labels.combined.tsv").write_text("\n".join(rows) + "\n")
    return scene


def test_categories_are_read_through_words_and_segments(things, tmp_path, caplog):
    data = DataConfig(layout="scannet", classes="scannet-200")
    dataset = open_dataset(data, tmp_path, split="train", labels=True)
    lamp = SCANNET_200.classes.index("lamp")
    assert dataset[0].labels.tolist() == [lamp, lamp, *[IGNORE_LABEL] * 3]
    assert "1 things have a word that is in no table" in caplog.text
    with pytest.raises(ValueError, match="--data.classes must be own or toytown"):
        DataConfig(classes="scannet-200")


def edited(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


SEGMENTS, THINGS = f"{SCENE}_vh_clean_2.0.010000.segs.json", f"{SCENE}.aggregation.json"
WORD_FAULTS = {
    "no table": (lambda s: (s / "../../scannetv2-labels.combined.tsv").unlink(), "tsv is missing"),
    "a table of other columns": (
        lambda s: (s / "../../scannetv2-labels.combined.tsv").write_text("id\tword\n1\twall\n"),
        "the columns id and raw_category",
    ),
    "a table cut short": (
        lambda s: (s / "../../scannetv2-labels.combined.tsv").write_text("id\traw_category\n"),
        "the columns id and raw_category",
    ),
    "no segments": (lambda s: (s / SEGMENTS).unlink(), "lacks .*segs.json"),
    "no things": (lambda s: (s / THINGS).unlink(), "lacks .*aggregation.json"),
    "fewer segments": (lambda s: edited(s / SEGMENTS, segIndices=[7, 7, 9, 9]), "4 vertices, but the mesh 5"),
    "segments as words": (lambda s: edited(s / SEGMENTS, segIndices=["7"] * 5), "list of whole numbers"),
    "segments as parts": (lambda s: edited(s / SEGMENTS, segIndices=[7.5] * 5), "list of whole numbers"),
    "huge segments": (lambda s: edited(s / SEGMENTS, segIndices=[10**30] * 5), "list of whole numbers"),
    "ragged segments": (lambda s: edited(s / SEGMENTS, segIndices=[[1], [1, 2]]), "list of whole numbers"),
    "a list instead": (lambda s: (s / SEGMENTS).write_text("[1]"), "an entry called segIndices"),
    "cut short": (lambda s: (s / THINGS).write_text('{"segGroups": [{"la'), "not valid JSON"),
    "one group": (lambda s: edited(s / THINGS, segGroups={}), "a list segGroups"),
    "a group without a word": (lambda s: edited(s / THINGS, segGroups=[{"segments": [7]}]), "called label"),
    "a word that is a number": (
        lambda s: edited(s / THINGS, segGroups=[{"segments": [7], "label": 3}]),
        "has no word",
    ),
    "a segment that is not there": (
        lambda s: edited(s / THINGS, segGroups=[{"segments": [7, 8], "label": "lamp"}]),
        "a segment that .* lacks",
    ),
}


@pytest.mark.parametrize("fault", WORD_FAULTS)
def test_a_fault_in_words_and_segments_is_one_sentence(things, tmp_path, fault):
    spoil, message = WORD_FAULTS[fault]
    spoil(things)
    with pytest.raises(ValueError, match=message) as caught:
        ScanNet(tmp_path, class_set=SCANNET_200, choice=EVERY)[0]
    assert "\n" not in str(caught.value)


def replaced(path, old, new):
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(("foreign", "refused"), [(4, False), (5, True)])
def test_a_few_ids_that_are_none_of_nyu40s_are_not_judged(scene, tmp_path, caplog, foreign, refused):
    """Official scenes have a few vertices with ids like 50 and 149: less than 1 % is let pass."""
    rows = [(0.01 * number, 0.0, 2.0) for number in range(500)]
    write_ply(scene / MESH, rows=rows)
    write_ply(scene / LABELLED, rows=rows, labels=True, form="ascii")
    header, table = (scene / LABELLED).read_text().split("end_header\n")
    lines = [line.split() for line in table.splitlines()]
    for line in lines[:foreign]:
        line[-1] = "149"
    table = "".join(" ".join(line) + "\n" for line in lines)
    (scene / LABELLED).write_text(f"{header}end_header\n{table}")
    if refused:
        with pytest.raises(ValueError, match="5 of 500 vertices have labels like 149"):
            ScanNet(tmp_path)[0]
        return
    labels = ScanNet(tmp_path)[0].labels
    assert (labels[:foreign] == IGNORE_LABEL).all() and int(labels[5]) == SCANNET.classes.index("wall")
    assert "4 of 500 vertices have labels like 149" in caplog.text


MESH, LABELLED = f"{SCENE}_vh_clean_2.ply", f"{SCENE}_vh_clean_2.labels.ply"


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
    "another size": (lambda s: Image.new("RGB", (20, 15)).save(s / "color/0.jpg"), "far from the middle"),
    "no image": (lambda s: (s / "color/0.jpg").write_bytes(b"x"), "cannot be read"),
    "no frames": (lambda s: [path.unlink() for path in (s / "color").iterdir()], "holds no images"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_that_names_the_file(scene, tmp_path, fault):
    spoil, message = FAULTS[fault]
    spoil(scene)
    with pytest.raises(ValueError, match=message) as caught:
        ScanNet(tmp_path, choice=EVERY)[0]
    assert str(scene) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((30, 40), np.uint8), "one channel of 16 bits"),
        (np.zeros((30, 40, 3), np.uint8), "one channel of 16 bits"),
        (np.zeros((60, 200), np.uint16), "far from the middle"),
    ],
)
def test_a_depth_image_of_another_kind_is_refused(scene, tmp_path, pixels, message):
    Image.fromarray(pixels).save(scene / "depth" / "0.png")
    sample = ScanNet(tmp_path, choice=EVERY)[0]
    with pytest.raises(ValueError, match=message):
        sample.read_depth(0)


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
