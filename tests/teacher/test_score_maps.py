import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clip2scene.teacher.score_maps import (
    FLOOR,
    ImageScores,
    ScoreMaps,
    check_image_shape,
    merge_scores,
    read_score_map,
)
from clip2scene.types import Pairs

NAMES = ("car", "van", "sky")


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pairs_at(pixels, views):
    pixels = torch.as_tensor(pixels, dtype=torch.float32)
    return Pairs(torch.arange(len(pixels)), torch.as_tensor(views), pixels, torch.ones(len(pixels)))


def save(path, scores, names=NAMES, size=(90, 160), **more):
    tensors = {"scores": torch.as_tensor(scores), "size": torch.tensor(size), **more}
    if path.suffix == ".npz":
        np.savez(path, names=np.array(names), **{name: each.numpy() for name, each in tensors.items()})
    else:
        save_file(tensors, path, metadata={"names": "\n".join(names)})
    return path


@pytest.mark.parametrize("end", ["safetensors", "npz"])
def test_scores_are_read_as_written_and_multiplied_by_presence(tmp_path, end):
    scores, presence = drawn(3, 9, 16).half(), torch.tensor([1.0, 0.25, 0.0])
    found = read_score_map(save(tmp_path / f"a.{end}", scores, presence=presence))
    assert (found.names, found.size) == (NAMES, (90, 160))
    torch.testing.assert_close(found.scores, scores.float() * presence[:, None, None])


@pytest.mark.parametrize("end", ["safetensors", "npz"])
def test_whole_numbers_are_parts_of_255(tmp_path, end):
    scores = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1)
    assert read_score_map(save(tmp_path / f"a.{end}", scores)).scores.flatten().tolist() == [
        0.0,
        pytest.approx(0.2),
        1.0,
    ]


@pytest.mark.parametrize(
    ("scores", "more", "said"),
    [
        (drawn(3, 2, 2) + 0.5, {}, "write probabilities, not logits"),
        (drawn(3, 2, 2) - 1, {}, "expected 0 to 1"),
        (torch.full((3, 2, 2), math.nan), {}, "scores are nan to nan, expected 0 to 1"),
        (drawn(3, 2, 2).double(), {}, "expected uint8 or float"),
        (drawn(3, 4), {}, "expected classes x rows x columns"),
        (drawn(3, 0, 4), {}, "expected classes x rows x columns"),
        (drawn(2, 2, 2), {}, "2 maps for 3 distinct names"),
        (drawn(3, 2, 2), {"names": ("car", "car", "sky")}, "3 maps for 2 distinct names"),
        (drawn(3, 2, 2), {"names": ("car", " ", "sky")}, "empty or no text"),
        (drawn(3, 2, 2), {"size": (90,)}, "expected height and width"),
        (drawn(3, 2, 2), {"size": (0, 160)}, "expected height and width of the image in pixels"),
        (drawn(3, 2, 2), {"size": (0.5, 160.0)}, "expected height and width of the image in pixels"),
        (drawn(3, 2, 2), {"presence": torch.ones(2)}, "presence has 2 numbers for 3 classes"),
        (drawn(3, 2, 2), {"presence": torch.full((3,), 2.0)}, "presence are 2 to 2, expected 0 to 1"),
    ],
)
@pytest.mark.parametrize("end", ["safetensors", "npz"])
def test_what_is_no_map_of_scores_is_refused_in_one_sentence(tmp_path, end, scores, more, said):
    path = save(tmp_path / f"a.{end}", scores, **more)
    with pytest.raises(ValueError, match=f"a.{end} cannot be used.*{said}"):
        read_score_map(path)


def test_files_that_lack_something_or_are_none_are_refused(tmp_path):
    save_file({"scores": drawn(3, 2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="it lacks names, size; expected scores, size and names"):
        read_score_map(tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", scores=np.zeros((3, 2, 2), np.float32))
    with pytest.raises(ValueError, match="lacks an array"):
        read_score_map(tmp_path / "a.npz")
    for end in ("safetensors", "npz"):
        (tmp_path / f"b.{end}").write_bytes(b"no such thing")
        with pytest.raises(ValueError, match=f"b.{end} cannot be used"):
            read_score_map(tmp_path / f"b.{end}")
        with pytest.raises(ValueError, match="is missing"):
            read_score_map(tmp_path / f"none.{end}")


def test_a_pickle_is_never_opened(tmp_path):
    np.savez(tmp_path / "a.npz", scores=drawn(1, 2, 2), size=[2, 2], names=np.array([object()]))
    with pytest.raises(ValueError, match="cannot be used"):
        read_score_map(tmp_path / "a.npz")


def test_more_scores_than_any_image_has_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("clip2scene.teacher.score_maps._MOST_SCORES", 100)
    assert read_score_map(save(tmp_path / "a.safetensors", drawn(3, 5, 6))).scores.shape == (3, 5, 6)
    path = save(tmp_path / "b.safetensors", drawn(3, 6, 6))
    monkeypatch.setattr("clip2scene.teacher.score_maps._checked", pytest.fail)
    with pytest.raises(ValueError, match=r"scores has shape \(3, 6, 6\), .*100 numbers at most"):
        read_score_map(path)


def test_each_class_has_the_best_score_of_what_stands_for_it():
    scores = drawn(4, 3, 5)
    merged = merge_scores(scores, torch.tensor([1, -1, 1, 0]), 3)
    assert merged.shape == (4, 3, 5)
    for row in range(3):
        for col in range(5):
            a, b, c, d = scores[:, row, col].tolist()
            assert merged[:, row, col].tolist() == [d, max(a, c), 0.0, b]


def test_scores_of_another_images_shape_are_refused(tmp_path):
    scores = ImageScores(NAMES, drawn(3, 7, 7), (45, 80))
    check_image_shape(scores, (900, 1600), tmp_path)  # a small copy of the image; the grid may have any shape
    check_image_shape(scores, (901, 1600), tmp_path)
    for size in ((1600, 900), (900, 1440), (1080, 1600)):
        with pytest.raises(ValueError, match="is of an image of 80x45, and the camera's images are"):
            check_image_shape(scores, size, tmp_path)


def test_a_softmax_of_a_hundred_logits_gives_the_shares_back():
    shares = drawn(4, 5, 6).softmax(0)
    scores = torch.cat([shares, torch.zeros(1, 5, 6)])
    logits = ScoreMaps((scores,), torch.eye(4), ((50, 60),)).logit_map(0, torch.eye(4))
    torch.testing.assert_close((100 * logits).softmax(0), shares)


def test_logits_at_pixels_are_those_of_scores_between_the_cells():
    scores = drawn(3, 2, 2)
    scores[-1] = 0
    maps = ScoreMaps((drawn(3, 4, 4), scores), torch.eye(2), ((20, 20), (20, 20)))
    logits = maps.logits_at(
        pairs_at([[4.5, 4.5], [9.5, 4.5], [9.5, 9.5], [0, 0]], [1, 1, 1, 1]), torch.eye(2)
    )
    expected = [scores[:2, 0, 0], scores[:2, 0].mean(1), scores[:2].flatten(1).mean(1), scores[:2, 0, 0]]
    torch.testing.assert_close(logits, torch.stack(expected).log() / 100)


def test_nothing_is_predicted_where_another_class_is_best_or_all_are_unlikely():
    cells = [[0.5, 0.2, 0.4], [0.2, 0.5, 0.6], [0.29, 0.1, 0.0], [0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]
    scores = torch.tensor(cells).T[:, None]
    maps = ScoreMaps((scores,), torch.eye(2), ((1, 5),), least_score=0.3)
    logits = maps.logit_map(0, torch.eye(2))[:, 0].T
    assert logits.any(1).tolist() == [True, False, False, False, True]
    assert logits[4].tolist() == pytest.approx([math.log(0.3) / 100, math.log(FLOOR) / 100])
    assert ScoreMaps((scores,), torch.eye(2), ((1, 5),)).logit_map(0, torch.eye(2)).any(0)[0, 2]
    at = maps.logits_at(pairs_at([[col, 0] for col in range(5)], [0] * 5), torch.eye(2))
    torch.testing.assert_close(at, logits)


def test_each_text_has_the_score_of_the_class_nearest_to_it():
    scores = torch.tensor([0.25, 0.5, 0.0]).view(3, 1, 1)
    text = torch.tensor([[0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
    logits = ScoreMaps((scores,), torch.eye(2), ((4, 4),)).logit_map(0, text)
    torch.testing.assert_close(logits.flatten(), torch.tensor([0.5, 0.25, 0.5]).log() / 100)
