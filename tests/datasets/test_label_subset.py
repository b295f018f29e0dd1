from dataclasses import asdict

import pytest
import torch

from clip2scene.datasets.label_subset import Chosen, LabelMask, Subset, choose
from clip2scene.io import read_json, write_json
from clip2scene.types import IGNORE_LABEL, PointCloud, Sample

SCENES = {f"{scene}-{keyframe}": f"scene-{scene:02d}" for scene in range(40) for keyframe in range(3)}
KEYFRAMES = {token: token for token in SCENES}


@pytest.mark.parametrize("units", [SCENES, KEYFRAMES])
def test_a_larger_share_holds_a_smaller_one(units):
    shares = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0]
    chosen = [choose(units, fraction=share) for share in shares]
    for small, large in zip(chosen, chosen[1:], strict=False):
        assert set(small.tokens) < set(large.tokens)
        assert large.units[: len(small.units)] == small.units
    assert chosen[-1].tokens == tuple(units)


def test_whole_scenes_are_labelled_or_single_keyframes():
    by_scene, by_keyframe = choose(SCENES, fraction=0.05), choose(KEYFRAMES, fraction=0.05)
    assert [len(by_scene.units), len(by_scene.tokens)] == [2, 6]
    assert [len(by_keyframe.units), len(by_keyframe.tokens)] == [6, 6]
    assert len({SCENES[token] for token in by_scene.tokens}) == 2
    assert len({SCENES[token] for token in by_keyframe.tokens}) > 2


def test_recordings_that_come_later_do_not_change_the_order_of_the_others():
    fewer = {token: scene for token, scene in SCENES.items() if scene != "scene-07"}
    all_units, kept = choose(SCENES, fraction=1.0).units, choose(fewer, fraction=1.0).units
    assert kept == tuple(unit for unit in all_units if unit != "scene-07")


def test_the_choice_is_pinned():
    """Equal on every machine and in every version: a published share can be named by its hash."""
    subset = choose(SCENES, fraction=0.05)
    assert subset.units == ("scene-20", "scene-29")
    assert subset.fingerprint == choose(dict(SCENES), count=2).fingerprint
    assert subset.fingerprint[:16] == "c883349b1b38b09f"
    assert choose(SCENES, fraction=0.05, draw=1).units != subset.units


def test_every_nth_is_taken_as_the_papers_do():
    taken = choose(SCENES, fraction=0.1, order="stride").units  # SLidR: the last of each ten
    assert taken == ("scene-09", "scene-19", "scene-29", "scene-39")
    frames = {f"{number:03d}": f"{number:03d}" for number in range(282)}
    taken = choose(frames, fraction=0.01, order="stride").units  # CLIP2Scene: the first of each hundred
    assert taken == ("000", "100", "200")


def test_a_ranking_says_who_is_labelled_first():
    subset = choose(SCENES, count=3, order=["scene-09", "scene-02"])
    assert subset.units == ("scene-09", "scene-02", "scene-00")
    with pytest.raises(ValueError, match="'scene-99', which is not in the split"):
        choose(SCENES, count=1, order=["scene-99"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.001}, "0.100% of them is no choice.*ask for 1 to 40"),
        ({"count": 41}, "41 of them is no choice"),
        ({"count": 1, "holdout": 0.5}, "none would be left"),
    ],
)
def test_a_choice_of_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        choose(SCENES, **options)


def test_what_is_held_out_is_labelled_but_not_learnt_from():
    subset = choose(SCENES, count=4, holdout=0.25)
    assert {SCENES[token] for token in subset.held_out} == {subset.units[-1]}
    assert set(subset.trained_on) | set(subset.held_out) == set(subset.tokens)
    assert not set(subset.trained_on) & set(subset.held_out)


def test_single_points_are_shared_by_the_samples_of_a_scene_and_nested():
    labels = torch.where(torch.arange(200) % 5 == 0, IGNORE_LABEL, torch.arange(200) % 3)
    few, more = (choose(SCENES, count=2, points_per_scene=number) for number in (10, 30))
    assert sum(few.points.values()) == 20
    assert sorted(few.points.values()) == [3, 3, 3, 3, 4, 4]
    token = few.tokens[0]
    small, large = few.mask(token, labels), more.mask(token, labels)
    seen = small != IGNORE_LABEL
    assert int(seen.sum()) == few.points[token]
    assert torch.equal(small[seen], labels[seen])
    assert torch.equal(large[seen], labels[seen])
    other = few.mask(few.tokens[1], labels) != IGNORE_LABEL
    assert not torch.equal(seen, other)


def test_as_many_points_are_drawn_as_asked_for_however_few_have_a_label():
    labels = torch.full((5000,), IGNORE_LABEL)
    labels[::100] = torch.arange(50) % 3  # one point in a hundred
    subset = choose(SCENES, count=1, points_per_scene=60)
    for token in subset.tokens:
        kept = subset.mask(token, labels)
        assert subset.points[token] == 20
        assert int((kept != IGNORE_LABEL).sum()) == 20
        assert set((kept != IGNORE_LABEL).nonzero()[:, 0].tolist()) <= set(range(0, 5000, 100))


def test_points_of_other_classes_than_those_wanted_are_not_drawn():
    labels = torch.arange(3000) % 3
    subset = choose(SCENES, count=1, points_per_scene=60)
    token = subset.tokens[0]
    kept = LabelMask(subset, ("road", "car", "tree"), ("car",))(token, labels)
    assert torch.bincount(kept[kept != IGNORE_LABEL]).tolist() == [0, 20]


def test_fewer_labels_than_points_asked_for_are_all_seen():
    subset = choose(SCENES, count=1, points_per_scene=300)
    labels = torch.tensor([0, IGNORE_LABEL, 1])
    assert torch.equal(subset.mask(subset.tokens[0], labels), labels)


def test_a_subset_comes_back_from_json(tmp_path):
    subset = choose(SCENES, count=3, points_per_scene=7, holdout=0.34)
    write_json(tmp_path / "subset.json", asdict(subset))
    back = Subset.from_json(read_json(tmp_path / "subset.json"))
    assert back == subset
    assert back.fingerprint == subset.fingerprint


class Letters:
    tokens = ("a", "b", "c")

    def __getitem__(self, index):
        empty = PointCloud(torch.zeros(0, 3), torch.zeros(0, 1))
        return Sample(self.tokens[index], empty, (), lambda view: None)


def test_chosen_samples_are_the_data_sets_own():
    chosen = Chosen(Letters(), ["c", "a"])
    assert [chosen.tokens, chosen[0].token, chosen[1].token] == [("c", "a"), "c", "a"]
    with pytest.raises(ValueError, match="lacks 1 of 2 samples"):
        Chosen(Letters(), ["a", "z"])
