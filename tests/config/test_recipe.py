import pytest

from clip2scene.config import (
    ConsistencyConfig,
    DataConfig,
    LossConfig,
    Recipe,
    SelfTrainingConfig,
    TeacherConfig,
    from_dict,
    to_dict,
)
from clip2scene.recipes import RECIPES, toytown


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_being_written_and_read(name):
    assert from_dict(to_dict(RECIPES[name])) == RECIPES[name]


def test_an_unknown_setting_is_named():
    values = to_dict(toytown())
    values["student"]["depth"] = 3
    with pytest.raises(ValueError, match="unknown setting depth for StudentConfig"):
        from_dict(values)


def test_a_recipe_needs_steps():
    with pytest.raises(ValueError, match="--steps must be at least 1, got 0"):
        Recipe(name="none", steps=0)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"loss": LossConfig(weight=0.0)}, "--loss.weight must be above 0 where --consistency.weight is 0"),
        (
            {"self_training": SelfTrainingConfig(unseen=True, source="average")},
            "--self-training.source must be same-pass without an --optimiser.average above 0, got 'average'",
        ),
        (
            {"self_training": SelfTrainingConfig(unseen=True, superpoint_mean=True)},
            "--self-training.superpoint-mean must be off without --teacher.superpoint-vote",
        ),
        (
            {"self_training": SelfTrainingConfig(probability=0.5), "loss": LossConfig(form="pixel-infonce")},
            "--self-training.probability must be 0 with pixel-infonce",
        ),
        ({"supervision": "labels", "consistency": ConsistencyConfig(weight=1.0)}, "0 to train on labels"),
        (
            {"supervision": "labels", "loss": LossConfig(similarity=1.0)},
            "--loss.similarity must be 0 to train",
        ),
        (
            {"teacher": TeacherConfig(kind="label-maps"), "loss": LossConfig(similarity=1.0)},
            "--loss.similarity must be 0: label maps have no features",
        ),
        (
            {"supervision": "labels", "data": DataConfig(words="all")},
            "--data.words must be own to train on labels",
        ),
        (
            {"teacher": TeacherConfig(kind="label-maps"), "data": DataConfig(words="all")},
            "--data.words must be own: label maps hold the data's own classes, got 'all'",
        ),
        (
            {"teacher": TeacherConfig(kind="label-maps"), "loss": LossConfig(form="superpixel-infonce")},
            "--loss.backbone must be .*: label maps have no features, got None",
        ),
        (
            {
                "teacher": TeacherConfig(kind="label-maps"),
                "loss": LossConfig(form="pixel-infonce", backbone="own"),
            },
            "label maps have no image tower, got 'own'",
        ),
        (
            {"loss": LossConfig(form="pixel-infonce"), "consistency": ConsistencyConfig(weight=1.0)},
            "--consistency.weight must be 0 with pixel-infonce",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused_before_anything_starts(settings, fault):
    with pytest.raises(ValueError, match=fault):
        Recipe(name="none", **settings)


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ({"steps": "5"}, "setting steps must be int, got '5'"),
        ({"seed": True}, "setting seed must be int, got True"),
        ({"supervision": "nobody"}, "setting supervision must be one of"),
        ({"data": {"min_depth": "1"}}, "setting data.min_depth must be float, got '1'"),
        ({"teacher": {"working_size": [1, 2, 3]}}, "setting teacher.working_size must be"),
        ({"labels": {"ranking": ["a", 1]}}, "setting labels.ranking must be"),
        ({"student": 7}, "student must be settings by name, got 7"),
    ],
)
def test_a_written_value_of_another_type_is_named(part, fault):
    with pytest.raises(ValueError, match=fault):
        from_dict({"name": "none", **part})


def test_a_recipe_without_a_name_is_refused():
    with pytest.raises(ValueError, match="the recipe has no name; restore the file"):
        from_dict({"steps": 5})


def test_whole_numbers_stand_for_real_ones_and_lists_for_tuples():
    recipe = from_dict({"name": "none", "data": {"min_depth": 1}, "teacher": {"working_size": [96, 160]}})
    assert recipe.data.min_depth == 1 and recipe.teacher.working_size == (96, 160)


def test_a_recipe_of_an_earlier_version_is_read_with_its_names_of_that_time():
    values = to_dict(toytown())
    del values["student"]["superpoint_mean"]
    values["student"]["settles"] = True
    del values["student"]["height"]
    values["student"]["sees_height"] = True
    assert from_dict(values) == toytown()
    values["student"]["sees_height"] = False
    assert from_dict(values).student.height == "none"


@pytest.mark.parametrize("layout", ["scannet", "rgbd", "kitti-object"])
def test_samples_that_are_no_moments_of_a_drive_are_not_consolidated(layout):
    with pytest.raises(ValueError, match=f"--teacher.consolidate must be off for the layout {layout}"):
        Recipe(name="none", data=DataConfig(layout=layout), teacher=TeacherConfig(consolidate=True))
