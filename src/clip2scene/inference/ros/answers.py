"""The answer to a cloud of a robot, after the contract of Autoware's segmentation nodes.

::

    TOPIC/segmentation    the cloud as it came, and of each point probability (float32) and class_id (uint8)
    TOPIC/visualization   x y z rgb: its points in the colours of their classes
    TOPIC/filtered        the cloud as it came, without the points of some classes

All have the header of the cloud, and its points in its order. ``class_id`` counts the prompts from 0;
:data:`NONE` is none of them, with a probability of 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from clip2scene.datasets.clouds import find_axes, turn_from
from clip2scene.datasets.clouds.pcd import pack_colours
from clip2scene.datasets.convert.ros_bag import Message
from clip2scene.datasets.convert.ros_messages import columns_of, read_points, rows_of
from clip2scene.datasets.convert.ros_writer import fields_of, make_cloud
from clip2scene.geometry.ground import Ground
from clip2scene.inference.figures import word_palette
from clip2scene.inference.predict import Quality, check_abstain
from clip2scene.inference.segmenter import Segmenter
from clip2scene.types import PointCloud

NONE = 255
"""``class_id`` of a point that is none of the classes."""

CLASSES = "/clip2scene/classes"
"""The topic that says what the numbers of classes mean, as JSON, once."""

_ANSWER = np.dtype([("probability", "<f4"), ("class_id", "u1")], align=True)
_COLOURED = np.dtype([(name, "<f4") for name in ("x", "y", "z", "rgb")])


@dataclass(frozen=True)
class CloudLabels:
    """What the points of a cloud are called.

    Attributes:
        class_ids: Number of each point's prompt, or :data:`NONE`.
        probabilities: Score of it, 0..1.
    """

    class_ids: UInt8[np.ndarray, " points"]
    probabilities: Float32[np.ndarray, " points"]


@dataclass(frozen=True)
class Labelling:
    """How the clouds of a topic are labelled.

    Attributes:
        segmenter: Whose prompts are the classes, at most 255.
        intensity_max: The intensity that becomes 1.
        axes: Where x, y and z of the clouds point: three of F B L R U D.
        ground: The ground that follows from how the sensor is mounted, where that is known.
        abstain: Points whose best score is below this, 0..1, are none of the classes.
        quality: How much work a cloud is worth.
    """

    segmenter: Segmenter
    intensity_max: float = 1.0
    axes: str = "FLU"
    ground: Ground | None = None
    abstain: float = 0.0
    quality: Quality = "medium"

    def __post_init__(self) -> None:
        turn_from(self.axes, "--axes")
        check_abstain(self.abstain)
        if not 0 < self.intensity_max < float("inf"):
            raise ValueError(
                f"--intensity-max is {self.intensity_max:g}, expected the number above 0 that becomes 1"
            )

    def read(self, message: Message, topic: str) -> tuple[PointCloud, np.ndarray]:
        """Read a cloud as the student takes it, and which of the message's points are in it.

        Raises:
            ValueError: If the message is no whole cloud.
        """
        points = read_points(message, topic)
        positions = points.positions
        if self.axes.upper() != "FLU":
            positions = positions @ turn_from(self.axes, "--axes").T.astype(np.float32)
        intensity = (points.intensity / self.intensity_max).clip(0, 1).astype(np.float32)
        return PointCloud(torch.from_numpy(positions), torch.from_numpy(intensity)[:, None]), points.kept

    def label(self, message: Message, topic: str) -> CloudLabels:
        """Label every point of a cloud; those without a finite position, or at the sensor, are no class.

        Raises:
            ValueError: If the message is no whole cloud, or the student cannot take it.
        """
        cloud, kept = self.read(message, topic)
        rows_of(message, topic)  # an empty cloud that cannot be answered is told here
        ids, probabilities = np.full(len(kept), NONE, np.uint8), np.zeros(len(kept), np.float32)
        if kept.any():
            found = self.segmenter.segment(
                cloud, ground=self.ground, abstain=self.abstain, quality=self.quality
            )
            known = (found.labels >= 0).numpy()
            ids[kept] = np.where(known, found.labels.numpy(), NONE)
            probabilities[kept] = np.where(known, found.scores.amax(1).numpy(), 0)
        return CloudLabels(ids, probabilities)


def check_classes(names: Sequence[str], removed: Sequence[str]) -> None:
    """Refuse more classes than ``class_id`` can tell apart, and to remove what is no class.

    Raises:
        ValueError: If there are more than 255 names, or one of ``removed`` is none of them.
    """
    if len(names) > NONE:
        raise ValueError(f"there would be {len(names)} classes, expected at most {NONE}; name fewer prompts")
    unknown = [name for name in removed if name not in names]
    if unknown:
        raise ValueError(
            f"--remove names {', '.join(unknown)}, which no prompt is; expected some of {', '.join(names)}"
        )


@dataclass(frozen=True)
class Answers:
    """Makes the three clouds of an answer.

    Attributes:
        names: The classes.
        removed: Those whose points the filtered cloud goes without; if none, there is no such cloud.
        make: Makes a message of a type's name and its fields, as
            :meth:`~clip2scene.datasets.convert.ros_writer.BagWriter.make`.
    """

    names: Sequence[str]
    removed: Sequence[str]
    make: Callable[..., Message]
    colours: UInt8[np.ndarray, "classes_and_none 3"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        palette = word_palette(len(self.names)).numpy()
        every = np.broadcast_to(palette[-1], (NONE + 1, 3)).copy()
        every[: len(self.names)] = palette[:-1]
        object.__setattr__(self, "colours", every)

    def classes(self) -> dict[str, Any]:
        """List the classes with their numbers and colours."""
        listed = [
            {"id": number, "name": name, "colour": self.colours[number].tolist()}
            for number, name in enumerate(self.names)
        ]
        return {"none": NONE, "classes": listed}

    def make_all(self, message: Message, topic: str, labels: CloudLabels) -> dict[str, Message]:
        """Make the answer to a cloud: messages by their topics."""
        rows = rows_of(message, topic)
        made = {
            f"{topic}/segmentation": self._segmentation(message, rows, labels),
            f"{topic}/visualization": self._visualization(message, topic, labels),
        }
        if self.removed:
            out = [number for number, name in enumerate(self.names) if name in self.removed]
            kept = ~np.isin(labels.class_ids, out)
            dense = bool(message.is_dense)
            filtered = make_cloud(self.make, message.header, message.fields, rows[kept], is_dense=dense)
            made[f"{topic}/filtered"] = filtered
        return made

    def _segmentation(
        self, message: Message, rows: UInt8[np.ndarray, "points step"], labels: CloudLabels
    ) -> Message:
        start = -(-rows.shape[1] // 4) * 4
        both = np.zeros((len(rows), start + _ANSWER.itemsize), np.uint8)
        both[:, : rows.shape[1]] = rows
        table = np.zeros(len(rows), _ANSWER)
        table["probability"], table["class_id"] = labels.probabilities, labels.class_ids
        both[:, start:] = table[:, None].view(np.uint8)
        taken = [each for each in message.fields if each.name not in ("probability", "class_id")]
        fields = [*taken, *fields_of(self.make, _ANSWER, start)]
        height, dense = message.height or 1, bool(message.is_dense)
        return make_cloud(self.make, message.header, fields, both, height=height, is_dense=dense)

    def _visualization(self, message: Message, topic: str, labels: CloudLabels) -> Message:
        axes = find_axes([each.name for each in message.fields])
        table = np.zeros(len(labels.class_ids), _COLOURED)
        if len(table):
            for axis, values in zip(
                "xyz", columns_of(message, tuple(axes[a] for a in "xyz"), topic), strict=True
            ):
                with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
                    table[axis] = values
        table["rgb"] = pack_colours(self.colours[labels.class_ids]).view("<f4")
        fields, dense = fields_of(self.make, _COLOURED), bool(message.is_dense)
        return make_cloud(self.make, message.header, fields, table, is_dense=dense)
