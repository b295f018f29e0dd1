from tests.doctor.conftest import PAIRING

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.doctor.samples import measure_sample
from clip2scene.doctor.timing import find_velocities


def test_a_sample_is_scored_for_each_camera(tiny_toytown):
    dataset = NuScenes(tiny_toytown, split="train")
    velocity = find_velocities(dataset, [0])[0]
    measured = measure_sample(dataset, 0, pairing=PAIRING, velocity=velocity)
    assert not measured.faults and len(measured.views) == 6
    assert measured.labels.total() == measured.num_points == len(dataset[0].cloud)
    assert sum(float(look.scores.sum(0).max()) > 0 for look in measured.views) >= 4
    assert 0.01 < measured.views[0].visible < 0.5
