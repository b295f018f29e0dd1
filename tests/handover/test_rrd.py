import io

import numpy as np
import pytest
from PIL import Image
from tests.handover.clouds import CAMERA, CLASSES, frames, write

from clip2scene.handover import rrd

chunks = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed")


def columns_of(path):
    """All that a recording says, read by Rerun's own reader: rows by entity and name of the column."""
    reader = chunks.RrdReader(path)
    found = {}
    for chunk in reader.stream():
        batch = chunk.to_record_batch()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if str(column.type).startswith(("timestamp", "duration")):
                column = column.cast("int64")  # nanoseconds
            found.setdefault(chunk.entity_path, {}).setdefault(name, []).extend(column.to_pylist())
    return found


def column(found, entity, end):
    (name,) = [name for name in found[entity] if name == end or name.endswith(f":{end}")]
    return found[entity][name]


def test_reruns_reader_finds_points_classes_poses_and_times(tmp_path):
    some = frames(3)
    write(rrd, tmp_path, some)
    found = columns_of(tmp_path / "scene-1.rrd")
    places, ids = (column(found, "/world/lidar/points", name) for name in ("positions", "class_ids"))
    for frame, place, classes in zip(some, places, ids, strict=True):
        assert (np.array(place, np.float32) == frame.positions).all()
        assert classes == (frame.labels + 1).tolist()
    sure = column(found, "/world/lidar/points", "confidence")
    assert (np.array(sure[2], np.float32) == some[2].confidence).all()
    assert column(found, "/world/lidar/points", "cloud") == [0, 1, 2]
    assert column(found, "/world/lidar/points", "time") == [1000 * frame.time_us for frame in some]
    assert np.allclose(
        [each[0] for each in column(found, "/world/lidar", "translation")], [f.pose[:3, 3] for f in some]
    )
    (context,) = column(found, "/world", "context")
    infos = [each["class_description"]["info"] for each in context[0]]
    assert [(each["id"], each["label"]) for each in infos] == list(enumerate(["no label", *CLASSES.classes]))
    assert infos[1]["color"] >> 8 == 0xFF9E00


def test_cameras_stand_where_they_stood_and_images_come_as_jpeg(tmp_path):
    write(rrd, tmp_path, frames(1, cameras=(CAMERA,)))
    found = columns_of(tmp_path / "scene-1.rrd")
    (entity,) = [entity for entity in found if "cameras" in entity]
    (blob,) = column(found, entity, "blob")
    picture = Image.open(io.BytesIO(bytes(np.array(blob[0], np.uint8))))
    assert picture.format == "JPEG" and picture.size == (64, 48)
    assert np.abs(np.asarray(picture).astype(int) - 90).max() <= 2
    (matrix,) = column(found, entity, "image_from_camera")
    assert np.allclose(np.array(matrix[0]).reshape(3, 3).T, CAMERA.intrinsics)


def test_data_without_times_and_poses_have_a_number_each(tmp_path):
    write(rrd, tmp_path, frames(2, placed=False, confidence=False))
    found = columns_of(tmp_path / "scene-1.rrd")
    assert column(found, "/world/lidar/points", "cloud") == [0, 1]
    assert not {"time", "confidence"} & {name.split(":")[-1] for name in found["/world/lidar/points"]}
    assert "/world/lidar" not in found
