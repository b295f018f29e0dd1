"""The whole path on a small world: its scores must lie within bands that were measured.

The demo's recipe, shrunk: towns that the small CLIP has never seen are written, pseudo-labels are lifted from
its views, voted on and trained on for 300 steps without any label, and student, teacher and vote are scored.

**Where the bands come from.** These towns, and seeds 0 to 2 of the training, on an AMD EPYC with AVX-512 and
bfloat16, 2026-11-29 (mIoU in percent; mean and standard deviation over seeds):

===========================  =============  ====================  ====================
column                       found          by seed               pairs 16 pixels off
===========================  =============  ====================  ====================
teacher, seen points         58.7           the same for all      45.9
superpoint vote, seen        68.5           the same for all      50.5
student, all points          41.1 +- 1.1    40.3, 42.4, 40.7      37.0 (6.3 lower)
student, six common classes  69.3 +- 0.6    68.8, 70.0, 69.2      61.1 (7.8 lower)
===========================  =============  ====================  ====================

The student's rows are of a recipe that took clouds as they are. Since it brings them level and predicts them
at two other yaws, all points had 53.4 (seed 0 alone, 2026-11-30), and 44.2 on a Xeon that rounds more
products to bfloat16: the band holds both, and is too wide to notice much.

The last column is a control that three of the four bands notice; it, and five seeds that gave 43.4 +- 1.0 and
68.0 +- 0.7, are from superpoints of fixed cells, as they were before.

One seed on one machine gives the same bits each time. Elsewhere, sums in another order change the last digits
of logits, which turns a few pseudo-labels and grows in training like another seed; so the student's bands are
five standard deviations wide on each side, and a loss of ten points leaves them all. (On points that no
camera sees the spread was up to 4, too much for a band.) A score above its band is no failure of the method:
measure anew, and move the band.
"""

from dataclasses import replace

import pytest

from clip2scene.evaluation.evaluate import evaluate
from clip2scene.recipes import toytown
from clip2scene.toytown.writers.layouts import write_nuscenes
from clip2scene.toytown.writers.recording import Recording
from clip2scene.training.train import pretrain

COMMON = ("car", "driveable surface", "sidewalk", "terrain", "manmade", "vegetation")
"""What every town has much of; the IoU of the other six classes hangs on a few things."""


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
    [("teacher_seen", 56.0, 61.5), ("voted_seen", 65.5, 71.5), ("student", 40.0, 60.0)],
)
def test_the_mean_over_all_classes_lies_in_its_band(scores, column, low, high):
    assert low < 100 * scores[column].miou < high


def test_the_students_mean_over_common_classes_lies_in_its_band(scores):
    assert 65.8 < 100 * sum(scores["student"].iou[name] for name in COMMON) / len(COMMON) < 72.8
