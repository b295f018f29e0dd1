import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from clip2scene.teacher.class_table import ClassTable
from clip2scene.teacher.label_maps import LabelMaps, LabelMapTeacher, find_map, read_label_map
from clip2scene.teacher.score_maps import ScoreMaps
from clip2scene.teacher.text_table import read_text_table
from clip2scene.types import Camera, Pairs, PointCloud, Sample

ROWS = F.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)


def pairs_at(pixels, views):
    pixels = torch.as_tensor(pixels, dtype=torch.float32)
    return Pairs(torch.arange(len(pixels)), torch.as_tensor(views), pixels, torch.ones(len(pixels)))


def two_views():
    generator = torch.Generator().manual_seed(1)
    labels = (
        torch.randint(-1, 4, (6, 8), generator=generator),
        torch.randint(-1, 4, (5, 5), generator=generator),
    )
    return LabelMaps(labels, ROWS, ((13, 16), (5, 5)))


CAMERAS = tuple(Camera(name, torch.eye(3), torch.eye(4), 6, 4) for name in ("left", "right"))
SAMPLE = Sample("t7", PointCloud(torch.zeros(1, 3), torch.zeros(1, 1)), CAMERAS, lambda view: None)
CLASSES = ("road", "car", "tree", "sky")


def teacher_of(folder):
    table = ClassTable(CLASSES, {name: number for number, name in enumerate(CLASSES)}, {"nothing": None})
    return LabelMapTeacher(
        lambda token, view: folder / ("left", "right")[view] / f"{token}.png", ROWS, table, least_score=0.1
    )


def save_scores(path, scores, names, size=(4, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"scores": scores, "size": torch.tensor(size)}, path, metadata={"names": "\n".join(names)})


def save(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values), mode).save(path)
    return path


def test_the_logit_map_is_the_logits_at_its_own_pixels():
    labels = torch.tensor([[0, 1, -1], [2, -1, 0]], dtype=torch.int32)
    embeddings = F.normalize(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    maps, text = LabelMaps((labels,), embeddings, ((4, 6),)), embeddings[:2]
    rows, cols = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    places = torch.stack([2 * cols + 0.5, 2 * rows + 0.5], dim=-1).flatten(0, 1)
    nothing = torch.zeros(6, dtype=torch.long)
    logits = maps.logits_at(Pairs(nothing, nothing, places, torch.ones(6)), text)
    torch.testing.assert_close(maps.logit_map(0, text).flatten(1).T, logits)
    assert not maps.logit_map(0, text)[:, 0, 2].any()


def test_each_pixel_gets_the_class_of_the_cell_its_centre_lies_in():
    maps = two_views()
    for view, (height, width) in enumerate(maps.sizes):
        rows, cols = maps.labels[view].shape
        truth = torch.empty(height, width, dtype=torch.long)
        for v in range(height):
            for u in range(width):
                row, col = math.floor((v + 0.5) * rows / height), math.floor((u + 0.5) * cols / width)
                truth[v, u] = maps.labels[view][row, col]
        v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        pairs = pairs_at(torch.stack([u, v], -1).view(-1, 2), torch.full((height * width,), view))
        assert (maps.labels_at(pairs).view(height, width) == truth).all()
        assert (maps.label_map(view, ROWS) == truth).all()


def test_pixels_between_centres_and_on_the_border_stay_in_the_map():
    maps = LabelMaps((torch.arange(4).view(2, 2),), ROWS, ((10, 10),))
    pairs = pairs_at([[4.4, 0], [4.6, 0], [-0.5, 9.5], [9.49, 9.49]], [0, 0, 0, 0])
    assert maps.labels_at(pairs).tolist() == [0, 1, 2, 3]


def test_logits_are_cosines_between_the_class_and_the_texts():
    maps, text = (
        two_views(),
        F.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(2)), dim=1),
    )
    pairs = pairs_at([[0, 0], [3, 4], [15, 12], [2, 2]], [0, 0, 0, 1])
    labels = maps.labels_at(pairs)
    assert (labels >= 0).any()
    for label, logits, row in zip(
        labels, maps.logits_at(pairs, text), maps.embeddings_at(pairs), strict=True
    ):
        expected = ROWS[label] if label >= 0 else torch.zeros(6)
        torch.testing.assert_close(row, expected)
        torch.testing.assert_close(logits, text @ expected)


def test_a_teacher_reads_the_map_of_every_camera(tmp_path):
    values = [np.arange(6, dtype=np.uint8).reshape(2, 3) % 4, np.full((2, 3), 255, np.uint8)]
    for name, each in zip(("left", "right"), values, strict=True):
        save(tmp_path / name / "t7.png", each)
    maps = teacher_of(tmp_path)(SAMPLE)
    assert maps.sizes == ((4, 6), (4, 6))
    assert maps.labels_at(pairs_at([[5, 0], [0, 3], [0, 0]], [0, 0, 1])).tolist() == [2, 3, -1]


def test_scores_may_lie_in_the_place_of_class_maps(tmp_path):
    names = ("sky", "nothing", "car")
    scores = torch.tensor([[0.9, 0.0], [0.0, 0.3], [0.1, 0.2]]).view(3, 1, 2)
    save_scores(tmp_path / "left" / "t7.safetensors", scores, names)
    np.savez(tmp_path / "right.npz", scores=scores.numpy()[:, :, ::-1], size=(4, 6), names=np.array(names))
    (tmp_path / "right").mkdir()
    (tmp_path / "right.npz").rename(tmp_path / "right" / "t7.npz")
    maps = teacher_of(tmp_path)(SAMPLE)
    assert isinstance(maps, ScoreMaps) and maps.sizes == ((4, 6), (4, 6)) and maps.least_score == 0.1
    assert maps.scores[0][:, 0].T.tolist() == [
        pytest.approx([0, 0.1, 0, 0.9, 0]),
        pytest.approx([0, 0.2, 0, 0, 0.3]),
    ]
    logits = maps.logits_at(pairs_at([[0, 1], [5, 1], [0, 1], [5, 1]], [0, 0, 1, 1]), ROWS)
    assert logits.argmax(1)[[0, 3]].tolist() == [3, 3] and not logits[[1, 2]].any()


def test_maps_of_two_kinds_or_in_two_files_are_refused(tmp_path):
    save(tmp_path / "left" / "t7.png", np.zeros((2, 3), np.uint8))
    save_scores(tmp_path / "right" / "t7.safetensors", torch.ones(1, 2, 3), ("car",))
    with pytest.raises(ValueError, match="class maps of some images of sample t7 and scores of others"):
        teacher_of(tmp_path)(SAMPLE)
    save_scores(tmp_path / "left" / "t7.safetensors", torch.ones(1, 2, 3), ("car",))
    with pytest.raises(ValueError, match="there are t7.png and t7.safetensors in .*move the others away"):
        teacher_of(tmp_path)(SAMPLE)
    assert find_map(tmp_path / "none.png") == tmp_path / "none.png"


def test_scores_of_unknown_classes_or_of_another_image_are_refused(tmp_path):
    for side in ("left", "right"):
        save_scores(tmp_path / side / "t7.safetensors", torch.ones(1, 2, 3), ("zebra",))
    with pytest.raises(ValueError, match="not known what 'zebra' .* are among road, car, tree, sky"):
        teacher_of(tmp_path)(SAMPLE)
    for side in ("left", "right"):
        save_scores(tmp_path / side / "t7.safetensors", torch.ones(1, 2, 3), ("car",), size=(6, 4))
    with pytest.raises(ValueError, match="image of 4x6, and the camera's images are 6x4"):
        teacher_of(tmp_path)(SAMPLE)


def test_a_palette_picture_holds_classes_not_colours(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8))
    picture = picture.convert("P")
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    picture.putdata([3, 2, 1, 0])
    picture.save(tmp_path / "map.png")
    assert read_label_map(tmp_path / "map.png", 4).tolist() == [[3, 2], [1, 0]]


def test_sixteen_bit_maps_are_read_and_values_beyond_the_classes_refused(tmp_path):
    path = save(tmp_path / "map.png", np.array([[0, 300], [2, 40000]], np.uint16))
    assert read_label_map(path, 301, ignore=40000).tolist() == [[0, 300], [2, -1]]
    with pytest.raises(ValueError, match="holds class 300 but there are names for 4"):
        read_label_map(path, 4, ignore=40000)
    assert read_label_map(path, 40001, ignore=65535).tolist() == [[0, 300], [2, 40000]]


@pytest.mark.parametrize("value", [65535, 65280, 40000, 32768])  # in 16 bits with a sign, all are below zero
def test_a_large_class_is_not_taken_for_an_unknown_one(tmp_path, value):
    path = save(tmp_path / "map.png", np.array([[0, value], [2, 1]], np.uint16))
    with pytest.raises(ValueError, match=f"holds class {value} but there are names for 4"):
        read_label_map(path, 4)
    assert read_label_map(path, 4, ignore=value).tolist() == [[0, -1], [2, 1]]


def test_bad_maps_are_refused_with_one_clear_message(tmp_path):
    with pytest.raises(ValueError, match="is missing; run the segmenter"):
        read_label_map(tmp_path / "none.png", 4)
    with pytest.raises(ValueError, match="one whole number per pixel"):
        read_label_map(save(tmp_path / "colour.png", np.zeros((2, 2, 3), np.uint8)), 4)
    path = save(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 4, (64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be read"):
        read_label_map(path, 4)


@pytest.mark.real_data
def test_a_real_segmenters_map_is_read_in_a_real_text_space(real_data):
    folder = real_data / "text-embeddings"
    table = read_text_table(folder / "lvis1203-clip-vit-b-32.npy", folder / "lvis1203-names.json")
    names = json.loads((folder / "lvis1203-names.json").read_text())
    assert table.vectors.shape == (1203, 512)
    rows = table.encode_text(names[:19])
    drive = real_data / "pandaset-002"
    path = sorted((drive / "semantic_maps").glob("*/00.png"))[0]
    labels = read_label_map(path, 19)
    assert labels.shape == (513, 912)
    maps = LabelMaps((labels,), rows, ((1080, 1920),))
    pairs = pairs_at([[0, 0], [1919, 1079], [960, 540]], [0, 0, 0])
    assert maps.labels_at(pairs).tolist() == [
        int(labels[0, 0]),
        int(labels[-1, -1]),
        int(labels[256, 456]),
    ]
    assert (maps.logits_at(pairs, rows).argmax(1) == maps.labels_at(pairs)).all()
