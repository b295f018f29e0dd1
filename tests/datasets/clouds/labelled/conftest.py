import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled import PointLabels


@pytest.fixture
def labels():
    """Labels of seven points, the second and the last with none."""
    found = np.array([0, -1, 2, 1, 1, 0, -1])
    return PointLabels(found, np.linspace(0.2, 0.95, 7).astype(np.float32), np.roll(found, 1))


@pytest.fixture
def colours():
    return np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], dtype=np.uint8)
