from dataclasses import replace

import pytest
import torch

from clip2scene import build
from clip2scene.build import NETWORKS
from clip2scene.classes.tables import TOYTOWN, ClassSet
from clip2scene.config import (
    AugmentConfig,
    ConsistencyConfig,
    DataConfig,
    LossConfig,
    Recipe,
    StudentConfig,
    TuningConfig,
)
from clip2scene.distill.augment import Augmentation
from clip2scene.distill.lift import PairingOptions
from clip2scene.distill.losses.objective import (
    KL,
    PPKT,
    SCR,
    KeepText,
    Lovasz,
    ReverseCE,
    Similarity,
    SLidR,
    StCR,
)
from clip2scene.distill.losses.scr import class_weights
from clip2scene.student.inputs import prepare_cloud
from clip2scene.types import PointCloud


def terms_of(histogram=(100, 10, 1), **parts):
    return build.build_objective(Recipe(name="any", **parts), torch.tensor(histogram)).terms


def test_each_form_of_the_loss_is_the_term_of_its_name():
    assert terms_of() == (SCR(),)
    assert terms_of(loss=LossConfig(form="class-infonce", temperature=0.3, weight=0.5)) == (
        SCR("class-infonce", weight=0.5, temperature=0.3),
    )
    assert terms_of(loss=LossConfig(form="class-infonce", bounded=True)) == (
        SCR("class-infonce", bounded=True),
    )
    assert terms_of(loss=LossConfig(form="kl-divergence", kl_temperature=2.0)) == (KL(2.0),)
    assert terms_of(loss=LossConfig(form="pixel-infonce", contrast_temperature=0.1)) == (PPKT(0.1),)
    assert terms_of(loss=LossConfig(form="superpixel-infonce")) == (SLidR(0.07),)


def test_terms_are_added_and_left_out_by_their_weights():
    consistency = ConsistencyConfig(weight=2.0, guard="unit")
    assert terms_of(loss=LossConfig(lovasz=2.0, weight=0.5), consistency=consistency) == (
        SCR(weight=0.5),
        Lovasz(1.0),
        StCR(weight=2.0, guard="unit"),
    )
    assert terms_of(loss=LossConfig(lovasz=2.0, weight=0.0), consistency=consistency) == (
        StCR(weight=2.0, guard="unit", own_head=False),
    )
    consistency = ConsistencyConfig(weight=1.0, form="released-code", temperature=0.5)
    assert terms_of(consistency=consistency) == (SCR(), StCR("released-code", temperature=0.5))
    noisy = LossConfig(generalised=0.7, reverse=0.4, weight=0.5)
    assert terms_of(loss=noisy) == (SCR(weight=0.5, q=0.7), ReverseCE(0.2))
    scr, reverse = terms_of(loss=LossConfig(reverse=1.0, class_balance=1.0))
    assert scr.class_weights is reverse.class_weights is not None
    assert terms_of(loss=LossConfig(similarity=0.3)) == (SCR(), Similarity(0.3))
    tuned = {"supervision": "labels", "tuning": TuningConfig(keep_words=0.1)}
    assert terms_of(**tuned) == (SCR(name="supervised"), KeepText(0.1))


def options_of(**parts):
    return build.item_options(Recipe(name="any", **parts))


@pytest.mark.parametrize(("batch_size", "each"), [(1, 4096), (4, 1024)])
def test_ppkt_contrasts_4096_pairs_a_step(batch_size, each):
    options = options_of(loss=LossConfig(form="pixel-infonce"), batch_size=batch_size)
    assert (options.pairs, options.cell_size) == (each, None)
    assert options_of().pairs is None


def test_feature_similarity_has_pairs_of_its_own_or_those_of_consistency():
    similar = LossConfig(similarity=1.0)
    assert options_of(loss=similar, batch_size=4).pairs == 1024
    options = options_of(loss=similar, consistency=ConsistencyConfig(weight=1.0), batch_size=4)
    assert options.pairs is None and options.cell_pairs == 4096
    recipe = Recipe(name="any", loss=similar)
    assert recipe.keep == "maps" and Recipe(name="any").keep == "classes"
    student = build.build_student(recipe, in_channels=1, text_channels=7)
    assert student.similarity(torch.zeros(2, student.head.in_features)).shape == (2, 7)
    assert build.build_student(Recipe(name="any"), in_channels=1, text_channels=7).similarity is None


def test_items_have_the_cells_of_consistency_and_their_share_of_its_pairs():
    consistency = ConsistencyConfig(weight=1.0, cell_size=0.3, pairs=1000)
    options = options_of(consistency=consistency, batch_size=4)
    assert (options.cell_size, options.cell_pairs) == (0.3, 250)
    assert options_of(consistency=replace(consistency, pairs=3), batch_size=4).cell_pairs == 1
    assert options_of(consistency=replace(consistency, pairs=None)).cell_pairs is None
    assert options_of(consistency=replace(consistency, weight=0.0)).cell_size is None


def test_items_hold_targets_of_their_supervision_and_move_as_the_recipe_says():
    options = options_of(augment=AugmentConfig(rotate=False, flip=True, scale=0.2))
    assert not options.from_labels
    assert options.augmentation == Augmentation(rotate=False, flip=True, scale=0.2)
    options = options_of(supervision="labels", augment=AugmentConfig(rotate=True, flip=False))
    assert options.from_labels and options.augmentation == Augmentation(rotate=True, flip=False)


def test_points_meet_pixels_as_the_data_settings_say():
    data = DataConfig(min_depth=0.3, occlusion_test=False, moved_test=True, sweeps=2, merge_sweeps=True)
    assert build.pairing_options(data) == PairingOptions(0.3, False, True, True)
    data = replace(data, occlusion_test=True, moved_test=False, merge_sweeps=False)
    assert build.pairing_options(data) == PairingOptions(0.3, True, False, False)


def test_words_beside_a_rival_with_a_backbone_of_its_own_do_not_reach_the_network():
    loss = LossConfig(form="superpixel-infonce", backbone="own")
    assert terms_of(loss=loss) == (SLidR(), SCR(detached=True))


def test_class_balance_is_over_the_targets_of_the_split():
    (term,) = terms_of(histogram=(1000, 10), loss=LossConfig(class_balance=1.0))
    assert torch.equal(term.class_weights, class_weights(torch.tensor([1000, 10]), 1.0))


def test_height_is_an_input_of_the_network_where_it_is_seen():
    for height in ("none", "sensor"):
        config = StudentConfig(network="minkunet14a", width=0.25, voxel_size=0.5, height=height)
        student = build.build_student(Recipe(name="any", student=config), in_channels=1, text_channels=3)
        given = prepare_cloud(PointCloud(torch.rand(9, 3), torch.rand(9, 1)), student.inputs)
        assert student(given.positions, given.features, torch.zeros(9, dtype=torch.long)).shape[0] == 9


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_can_be_built_and_embeds_points(network):
    config = StudentConfig(network=network, width=0.25, voxel_size=0.5)
    recipe = Recipe(name="any", student=config, loss=LossConfig(cosine=True, cosine_temperature=0.1))
    student = build.build_student(recipe, in_channels=1, text_channels=7)
    hidden = student(torch.rand(50, 3) * 5, torch.rand(50, 1), torch.zeros(50, dtype=torch.long))
    embeddings = student.embed(hidden)
    assert embeddings.shape == (50, 7)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.full((50,), 10.0))


@pytest.mark.parametrize(
    ("layout", "viewpoint"),
    [("pandaset", (1.0, 0.0, 1.8)), ("nuscenes", (0.0, 0.0, 0.0)), ("scannet", (0.0,) * 3)],
)
def test_a_student_knows_where_its_lidar_stands(layout, viewpoint):
    recipe = Recipe(name="any", data=DataConfig(layout=layout), student=StudentConfig(width=0.25))
    assert build.build_student(recipe, in_channels=1, text_channels=3).viewpoint == viewpoint


def test_data_sets_are_opened_by_layout_with_the_classes_asked_for(tiny_toytown):
    own = build.open_dataset(DataConfig(), tiny_toytown, split="val", labels=False)
    small = build.open_dataset(DataConfig(classes="toytown"), tiny_toytown, split="val", labels=True)
    assert (len(own.class_set), len(small.class_set)) == (16, 12)
    assert own[0].labels is None
    assert small[0].labels.max() < 12


def test_a_list_of_one_class_is_refused(tmp_path):
    one = ClassSet("one", ("car",), (("car",),), ((1, 2, 3),), {})
    with pytest.raises(ValueError, match="has one class alone, car, so every point"):
        build.require_classes(one, tmp_path)
    build.require_classes(TOYTOWN, tmp_path)


def test_an_experiment_moves_its_image_models_together(tiny_recipe, tiny_toytown):
    loss = LossConfig(form="pixel-infonce", backbone="own")
    recipe = replace(tiny_recipe, loss=loss, consistency=ConsistencyConfig())
    experiment = build.open_experiment(recipe, tiny_toytown)
    assert experiment.device.type == "cpu"
    moved = experiment.to(torch.device("meta"))
    assert {moved.device, moved.teacher.device, moved.backbone.device, moved.space.device} == {
        torch.device("meta")
    }


@pytest.mark.parametrize(
    ("layout", "level", "height"), [("scannet", False, "sensor"), ("nuscenes", True, "ground")]
)
def test_rooms_are_taken_as_they_are_and_streets_brought_level(layout, level, height):
    student = StudentConfig(level=True, height="ground", turns=(30.0,))
    inputs = build.input_options(Recipe(name="any", data=DataConfig(layout=layout), student=student))
    assert (inputs.level, inputs.height, inputs.turns) == (level, height, (30.0,))
