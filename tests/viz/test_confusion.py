import numpy as np

from clip2scene.viz.confusion import _CELL, _NAMES, draw_confusion
from clip2scene.viz.raster import SHEET


def test_a_cell_is_the_fuller_the_larger_its_share_of_the_true_class():
    counts = np.array([[90, 10, 0], [0, 0, 0]])
    picture = np.asarray(draw_confusion(counts, ["car", "road"], ["car", "road", "none"]))
    height, width, _ = picture.shape
    assert (width, height) == (_NAMES + 3 * _CELL + 40, _NAMES + 2 * _CELL + 40)
    top = height - 30 - 2 * _CELL
    corner = [picture[top + 6, _NAMES + column * _CELL + 6].astype(int) for column in range(3)]
    blue = [int(each[2]) for each in corner]
    assert blue[0] > blue[1] > blue[2] == SHEET[2]
    assert abs(blue[0] - (SHEET[2] + 0.9 * (246 - SHEET[2]))) <= 2
    assert tuple(picture[top + _CELL + 6, _NAMES + 6]) == SHEET
