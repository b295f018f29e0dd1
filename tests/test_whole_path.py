"""The whole path on a small world: its scores must lie within bands that were measured.

Recipe ``toytown``, from chance, shrunk: towns that the small CLIP has never seen are written, pseudo-labels
are lifted from its views, voted on and trained on for 300 steps without any label, and student, teacher and
vote are scored.

**Where the bands come from.** These towns, and seeds 0 to 2 of the training, with products in float32 on an
AMD EPYC with AVX-512, 2026-11-30 (mIoU in percent; mean and standard deviation over seeds):

===========================  =============  ====================  ====================
column                       found          by seed               pairs 16 pixels off
===========================  =============  ====================  ====================
teacher, seen points         70.8           the same for all      49.5
superpoint vote, seen        77.4           the same for all      59.0
student, six common classes  67.0 +- 2.2    66.5, 69.4, 65.1      not run
===========================  =============  ====================  ====================

One seed on one machine gives the same bits each time. Elsewhere, sums in another order change the last digits
of logits, which turns a few pseudo-labels and grows in training like another seed; so the student's band is
five standard deviations wide on each side. Over all twelve classes the student had 45.1 +- 5.2, which is too
much for a band: after so few steps the other six hang on a few things. A score above its band is no failure
of the method: measure anew, and move the band.
"""

from dataclasses import replace

import pytest

from clip2scene.evaluation.evaluate import evaluate
from clip2scene.recipes import toytown
from clip2scene.toytown.writers.layouts import write_nuscenes
from clip2scene.toytown.writers.recording import Recording
from clip2scene.training.train import pretrain

COMMON = ("car", "driveable surface", "sidewalk", "terrain", "manmade", "vegetation")
"""What every town has much of."""


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    recording = Recording(keyframes_per_scene=1, sweeps_per_keyframe=1, azimuth_steps=360)
    towns = {"num_scenes": 16, "num_val_scenes": 6, "seed": 1, "workers": 1}
    write_nuscenes(folder / "towns", recording=recording, **towns)
    recipe = toytown()
    recipe = replace(
        recipe,
        data=replace(recipe.data, sweeps=1),
        student=replace(recipe.student, voxel_size=0.2),
        steps=300,
    )
    pretrain(recipe, data_root=folder / "towns", out=folder / "run")
    return evaluate(folder / "run", data_root=folder / "towns")


@pytest.mark.parametrize(
    ("column", "low", "high"),
    [("teacher_seen", 68.0, 73.5), ("voted_seen", 74.5, 80.5)],
)
def test_the_mean_over_all_classes_lies_in_its_band(scores, column, low, high):
    assert low < 100 * scores[column].miou < high


def test_the_students_mean_over_common_classes_lies_in_its_band(scores):
    assert 56.0 < 100 * sum(scores["student"].iou[name] for name in COMMON) / len(COMMON) < 78.0
