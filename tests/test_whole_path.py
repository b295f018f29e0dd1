"""The whole path on a small world: its scores must lie within bands that were measured.

The demo's recipe, shrunk: towns that the small CLIP has never seen are written, pseudo-labels are lifted from
its views, voted on and trained on for 300 steps without any label, and student, teacher and vote are scored.

**Where the bands come from.** These towns, and seeds 0 to 2 of the training, with products in float32 on an
Intel Xeon with AVX-512, 2026-11-30 (mIoU in percent; mean and standard deviation over seeds):

===========================  =============  ====================  ====================
column                       found          by seed               pairs 16 pixels off
===========================  =============  ====================  ====================
teacher, seen points         58.7           the same for all      45.9
superpoint vote, seen        68.5           the same for all      50.5
student, all points          49.5 +- 1.5    51.2, 48.5, 48.8      not run
student, six common classes  65.8 +- 2.0    68.1, 65.1, 64.2      not run
===========================  =============  ====================  ====================

With products rounded to bfloat16, as the command line allows, seed 0 had 53.4 on an AMD EPYC and 44.2 on this
Xeon on all points, so the test multiplies in float32. The last column is a control, with superpoints of fixed
cells, as they were before; of the recipe of then the student lost 6.3 and 7.8 points by it.

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
    [("teacher_seen", 56.0, 61.5), ("voted_seen", 65.5, 71.5), ("student", 42.0, 57.0)],
)
def test_the_mean_over_all_classes_lies_in_its_band(scores, column, low, high):
    assert low < 100 * scores[column].miou < high


def test_the_students_mean_over_common_classes_lies_in_its_band(scores):
    assert 56.0 < 100 * sum(scores["student"].iou[name] for name in COMMON) / len(COMMON) < 76.0
