from dataclasses import replace

import numpy as np
import pytest
from tests.ros_bags import (
    toytown_drive,
    write_bag,
)

from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.convert.ros_to_log import Wanted, convert_bag
from clip2scene.datasets.drive_log.loader import DriveLog


@pytest.fixture(scope="module")
def drive():
    return toytown_drive()


def convert(drive, folder, **wanted):
    return convert_bag(write_bag(folder / "bag", drive), folder / "log", wanted=Wanted(**wanted))


def opened(folder, **options):
    return DriveLog(folder / "log", labels=False, class_set=NUSCENES, **options)


def all_nan(message):
    data = message.data.copy().reshape(-1, message.point_step)
    data[:, 8:12] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)  # x of the toytown bag
    return replace(message, data=data.reshape(-1))
