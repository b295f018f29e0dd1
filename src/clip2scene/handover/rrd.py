"""Rerun: a recording a scene, the clouds coloured by class, cameras and images beside them.

::

    OUT/SCENE.rrd
      world                        the classes (AnnotationContext)
      world/lidar                  where the lidar stood
      world/lidar/points           points with class ids, from 1 on; 0 is no label; perhaps confidence
      world/lidar/cameras/NAME     how a camera sees, and its image as JPEG

Timelines are ``cloud``, the number in the scene, and ``time``, where it is known. For looking: the viewer
changes no labels, so there is no way back.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from clip2scene.classes.class_set import ClassSet
from clip2scene.handover.frames import NONE_COLOUR, Frame
from clip2scene.io import write_atomically

QUALITY = 85
"""Of the JPEG images."""

_RADIUS = -2.0  # Rerun's way to say 2 points of the screen
_SINCE_1970_US = 10**15  # 2001; smaller numbers count from somewhere else


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write nothing: each recording has its classes."""


def write_scene(folder: Path, frames: Iterator[Frame], classes: ClassSet) -> None:
    """Write the recording of a scene."""
    import rerun

    for first in frames:
        recording = rerun.RecordingStream("clip2scene", recording_id=first.scene)
        with write_atomically(folder / f"{first.scene}.rrd") as temporary:
            recording.save(temporary)
            recording.set_log_time_enabled(False)  # the moment of the export says nothing
            try:
                _log_classes(recording, classes)
                for frame in chain([first], frames):
                    _log_frame(recording, frame)
                recording.flush()
            finally:
                recording.disconnect()


def _log_classes(recording: Any, classes: ClassSet) -> None:  # noqa: ANN401 - Rerun's stream
    import rerun

    rows = zip(("no label", *classes.classes), (NONE_COLOUR, *classes.colours), strict=True)
    infos = [rerun.AnnotationInfo(number, name, colour) for number, (name, colour) in enumerate(rows)]
    recording.log("world", rerun.AnnotationContext(infos), rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)


def _log_frame(recording: Any, frame: Frame) -> None:  # noqa: ANN401 - Rerun's stream
    """Log a cloud with its labels, its place and its cameras."""
    import rerun

    recording.reset_time()  # of the cloud before, or of a recording of the same name
    recording.set_time("cloud", sequence=frame.number)
    if frame.time_us is not None and frame.time_us >= _SINCE_1970_US:
        recording.set_time("time", timestamp=np.datetime64(frame.time_us, "us"))
    elif frame.time_us is not None:
        recording.set_time("time", duration=frame.time_us / 1e6)
    if frame.pose is not None:
        place = rerun.Transform3D(translation=frame.pose[:3, 3], mat3x3=frame.pose[:3, :3])
        recording.log("world/lidar", place)
    points = rerun.Points3D(frame.positions, class_ids=(frame.labels + 1).astype(np.uint16), radii=[_RADIUS])
    more = [] if frame.confidence is None else [rerun.AnyValues(confidence=frame.confidence)]
    recording.log("world/lidar/points", points, *more)
    for view, camera in enumerate(frame.sample.cameras):
        entity = f"world/lidar/cameras/{rerun.escape_entity_path_part(camera.name)}"
        motion = camera.camera_from_lidar.double().numpy()
        recording.log(
            entity,
            rerun.Transform3D(
                translation=motion[:3, 3],
                mat3x3=motion[:3, :3],
                relation=rerun.TransformRelation.ChildFromParent,
            ),
            rerun.Pinhole(
                image_from_camera=camera.intrinsics.numpy(),
                resolution=[camera.width, camera.height],
                camera_xyz=rerun.ViewCoordinates.RDF,
            ),
            rerun.Image(frame.sample.read_image(view).numpy()).compress(jpeg_quality=QUALITY),
        )
