from pathlib import Path

import pytest
import torch

import clip2scene
from clip2scene.classes.class_set import ClassSet, join_class_sets, keep_classes, keep_known, train_ids
from clip2scene.classes.tables import ALL, CITYSCAPES, CLASS_SETS, NUSCENES, SCANNET, SEMANTIC_KITTI
from clip2scene.teacher.clip.load import load_clip
from clip2scene.types import IGNORE_LABEL

TWO = {
    "name": "two",
    "classes": ("a", "b"),
    "prompts": (("ay", "eh"), ("bee",)),
    "colours": ((0, 0, 0), (1, 1, 1)),
    "train_id_of_raw": {1: 0, 2: 1},
}


def words(name, **prompts):
    colours = tuple((number, 0, 0) for number in range(len(prompts)))
    return ClassSet(name, tuple(prompts), tuple(prompts.values()), colours, {0: 0})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"colours": ()}, "0 colours"),
        ({"prompts": (("a",), ())}, "class 'b' of class set 'two' needs at least one prompt"),
        ({"prompts": (("a",), ("b", " "))}, "class 'b' of class set 'two' needs at least one prompt"),
        ({"prompts": (("a", "c"), ("b", "c"))}, "classes 'a' and 'b' .* same prompt 'c'"),
        ({"prompts": (("a",), ("A ",))}, "same prompt 'A '"),
        ({"classes": ("a", "a")}, "distinct"),
        ({"train_id_of_raw": {3: 2}}, "raw label 3 to 2"),
        ({"train_id_of_raw": {-1: 0}}, "raw label -1"),
    ],
)
def test_a_class_set_whose_tables_do_not_fit_is_refused(change, fault):
    ClassSet(**TWO)
    with pytest.raises(ValueError, match=fault):
        ClassSet(**{**TWO, **change})


def test_the_fast_table_equals_a_dictionary_look_up():
    for class_set in CLASS_SETS.values():
        raw = torch.randint(-3, 300, (4, 50), generator=torch.Generator().manual_seed(0))
        slow = [[class_set.train_id_of_raw.get(int(label), IGNORE_LABEL) for label in row] for row in raw]
        assert train_ids(raw, class_set).tolist() == slow


def test_no_raw_labels_give_no_train_ids():
    assert train_ids(torch.zeros(0, dtype=torch.int64), NUSCENES).shape == (0,)


def test_kept_classes_keep_their_colours_and_raw_labels_in_the_new_order():
    kept = keep_classes(NUSCENES, "few", {"truck": ("lorry",), "bus": ("bus",)})
    assert kept.prompts == (("lorry",), ("bus",))
    assert kept.colours == (NUSCENES.colours[9], NUSCENES.colours[2])
    assert train_ids(torch.tensor([23, 15, 16, 17]), kept).tolist() == [0, 1, 1, IGNORE_LABEL]
    with pytest.raises(ValueError, match="has no class 'lorry'; it has barrier"):
        keep_classes(NUSCENES, "few", {"lorry": ("lorry",)})


def test_prompts_without_a_meaning_are_left_out_and_classes_without_others_too():
    known = keep_known(ClassSet(**TWO), lambda text: [] if text == "eh" else [text])
    assert (known.name, known.classes, known.prompts) == ("two", ("a",), (("eh",),))
    assert train_ids(torch.tensor([1, 2]), known).tolist() == [0, IGNORE_LABEL]
    assert keep_known(ClassSet(**TWO), lambda _: []) == ClassSet(**TWO)
    with pytest.raises(ValueError, match="knows no prompt of class set 'two'"):
        keep_known(ClassSet(**TWO), lambda text: [text])


def test_the_small_clip_knows_as_many_classes_as_the_documents_say():
    clip = load_clip(Path(clip2scene.__file__).parent / "assets" / "toytown-clip")
    known = {
        name: keep_known(class_set, clip.unknown_words)
        for name, class_set in CLASS_SETS.items()
        if name not in ("toytown", "toytown-kitti", "pandaset")
    }
    said = Path(__file__).resolve().parents[2].joinpath("docs", "words.md").read_text(encoding="utf-8")
    assert ", ".join(f"`{name}` {len(part)}" for name, part in known.items()) in " ".join(said.split())


def test_joined_sets_have_each_class_name_once_in_order_of_appearance():
    slow = []
    for class_set, count in zip(
        [NUSCENES, SEMANTIC_KITTI, CITYSCAPES, SCANNET], (16, 28, 33, 52), strict=True
    ):
        slow += [name for name in class_set.classes if name not in slow]
        assert len(slow) == count
    assert ALL.classes == tuple(slow)
    assert not ALL.train_id_of_raw


def test_no_prompt_is_lost_by_joining_unless_it_stands_for_a_class_elsewhere():
    everything = {
        name for each in (NUSCENES, SEMANTIC_KITTI, CITYSCAPES, SCANNET) for p in each.prompts for name in p
    }
    joined = [name for names in ALL.prompts for name in names]
    assert everything <= set(joined)
    assert len(joined) == len(set(joined))
    assert set(joined) - everything <= set(ALL.classes)


def test_a_shared_prompt_goes_to_the_class_of_that_name_else_to_the_first():
    coarse = words("coarse", built=("house", "wall", "tower"), ground=("floor",))
    fine = words("fine", wall=("wall", "brick"), roof=("tower",), ground=("soil", "Floor"))
    both = join_class_sets([coarse, fine], name="both")
    assert (both.name, both.classes) == ("both", ("built", "ground", "wall", "roof"))
    assert both.prompts == (("house", "tower"), ("floor", "soil", "Floor"), ("wall", "brick"), ("roof",))
    assert both.colours == ((0, 0, 0), (1, 0, 0), (0, 0, 0), (1, 0, 0))


def test_joining_one_set_changes_its_raw_labels_only():
    alone = join_class_sets([SCANNET], name="scannet")
    assert (alone.classes, alone.prompts, alone.colours) == (
        SCANNET.classes,
        SCANNET.prompts,
        SCANNET.colours,
    )


def test_joining_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        join_class_sets([])
