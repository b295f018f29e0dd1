"""Frames of a recording and the transforms between them, as ``/tf`` and ``/tf_static`` tell."""

from array import array
from collections.abc import MutableSequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from clip2scene.datasets.convert.ros_bag import Message
from clip2scene.datasets.convert.ros_messages import frame_name, stamp_us
from clip2scene.geometry.projection import invert_rigid
from clip2scene.geometry.trajectory import Trajectory

_STILL = 1e-6
"""A transform whose numbers never differ by more does not move."""


@dataclass(frozen=True)
class Edge:
    """A frame's place in its parent's.

    Attributes:
        parent: The parent's name.
        way: ``parent_from_child`` over time.
        moves: Whether it ever changes.
    """

    parent: str
    way: Trajectory
    moves: bool


@dataclass
class PoseLog:
    """Collects rigid motions while a bag is read, 64 bytes each.

    Attributes:
        times_us: When each holds.
        numbers: Seven for each: position x y z, quaternion x y z w.
    """

    times_us: MutableSequence[int] = field(default_factory=lambda: array("q"))
    numbers: MutableSequence[float] = field(default_factory=lambda: array("d"))

    def add(self, time_us: int, position: Message, turn: Message) -> None:
        """Take a position (or translation) and a quaternion."""
        self.times_us.append(time_us)
        self.numbers.extend((position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w))

    def trajectory(self, source: str) -> Trajectory:
        """Sort the motions by time; of those of one moment the last counts.

        Raises:
            ValueError: If one is no rigid motion.
        """
        numbers = np.array(self.numbers).reshape(-1, 7)
        lengths = np.linalg.norm(numbers[:, 3:], axis=1)
        wrong = ~(np.isfinite(numbers).all(axis=1) & (np.abs(lengths - 1) < 1e-3))
        if wrong.any():
            raise ValueError(
                f"{source} holds {numbers[wrong.argmax()].tolist()}, in all {int(wrong.sum())} such; "
                "expected finite numbers x y z and a quaternion x y z w of length 1; record again"
            )
        times, latest = np.unique(np.array(self.times_us, dtype=np.int64)[::-1], return_index=True)
        numbers = numbers[::-1][latest]
        poses = np.tile(np.eye(4), (len(times), 1, 1))
        poses[:, :3, :3] = Rotation.from_quat(numbers[:, 3:]).as_matrix()
        poses[:, :3, 3] = numbers[:, :3]
        return Trajectory(tuple(times.tolist()), torch.from_numpy(poses), source)


@dataclass
class TransformLog:
    """Collects transforms while a bag is read.

    Attributes:
        lasting: ``parent_from_child`` by child and parent, from ``/tf_static``.
        passing: The same over time, from ``/tf``.
    """

    lasting: dict[tuple[str, str], PoseLog] = field(default_factory=dict)
    passing: dict[tuple[str, str], PoseLog] = field(default_factory=dict)

    def add(self, message: Message, topic: str) -> None:
        """Take the transforms of one message.

        Those of ``/tf`` that have no moment are passed over: simulations send them before their clock starts.
        """
        static = topic.rstrip("/").endswith("static")
        for each in message.transforms:
            names = frame_name(each.child_frame_id), frame_name(each.header.frame_id)
            if not static and not (each.header.stamp.sec or each.header.stamp.nanosec):
                continue
            log = (self.lasting if static else self.passing).setdefault(names, PoseLog())
            time_us = len(log.times_us) if static else stamp_us(each, topic)
            log.add(time_us, each.transform.translation, each.transform.rotation)

    def tree(self) -> "FrameTree":
        """Arrange the frames; a fault in one matters to those who ask for it."""
        edges: dict[str, Edge] = {}
        faults: dict[str, str] = {}
        for (child, parent), log in [*self.lasting.items(), *self.passing.items()]:
            try:
                edge = _edge(child, parent, log, lasting=(child, parent) in self.lasting)
                if edges.setdefault(child, edge).parent != parent:
                    raise ValueError(
                        f"frame {child} has the parents {edges[child].parent} and {parent}, expected one; "
                        "record again with one publisher of it"
                    )
            except ValueError as error:
                faults[child] = str(error)
        return FrameTree(edges, faults)


def _edge(child: str, parent: str, log: PoseLog, *, lasting: bool) -> Edge:
    """Place a frame in its parent's.

    Raises:
        ValueError: If a transform is not rigid, or one that should last changes.
    """
    source = f"the transform from {child} to {parent}"
    way = log.trajectory(source)
    moves = bool((way.poses - way.poses[0]).abs().max() > _STILL)
    if lasting and moves:
        raise ValueError(f"{source} changes, though it is told to be static; convert each part alone")
    return Edge(parent, way, moves)


@dataclass(frozen=True)
class FrameTree:
    """Frames with their parents.

    Attributes:
        edges: By child.
        faults: What is wrong with a child's place, where something is.
    """

    edges: dict[str, Edge]
    faults: dict[str, str] = field(default_factory=dict)

    def ancestors(self, frame: str) -> list[str]:
        """Name a frame, its parent and so on up to the root.

        Raises:
            ValueError: If the frames go in a circle, or the place of one is not known for certain.
        """
        names = [frame]
        while names[-1] in self.edges or names[-1] in self.faults:
            if names[-1] in self.faults:
                raise ValueError(self.faults[names[-1]])
            parent = self.edges[names[-1]].parent
            if parent in names:
                raise ValueError(f"the frames {' > '.join([*names, parent])} go in a circle; record again")
            names.append(parent)
        return names

    def fixed(self, target: str, source: str) -> Float[Tensor, "4 4"]:
        """Give ``target_from_source`` of two frames that do not move against each other.

        Raises:
            ValueError: If no chain of transforms joins them, or one in it moves.
        """
        ups, downs = self.ancestors(source), self.ancestors(target)
        shared = next((name for name in ups if name in downs), None)
        if shared is None:
            raise ValueError(
                f"no transform joins the frames {source} and {target}: the first leads to {ups[-1]}, the "
                f"second to {downs[-1]}; record /tf_static with the bag, or correct the frames' names"
            )
        return invert_rigid(self._still(downs, shared)) @ self._still(ups, shared)

    def _still(self, names: list[str], last: str) -> Float[Tensor, "4 4"]:
        """Join the transforms from the first frame up to another, none of which may move."""
        way = torch.eye(4, dtype=torch.float64)
        for name in names[: names.index(last)]:
            edge = self.edges[name]
            if edge.moves:
                raise ValueError(
                    f"{edge.way.source} moves, so sensors on both sides of it have no fixed calibration; "
                    "expected lidar, cameras and vehicle to be rigidly mounted"
                )
            way = edge.way.poses[0] @ way
        return way

    def at(self, target: str, source: str, time_us: int) -> Float[Tensor, "4 4"]:
        """Give ``target_from_source`` at a moment; the target is an ancestor of the source.

        Raises:
            ValueError: If a transform is not known then (see :class:`Trajectory`).
        """
        names = self.ancestors(source)
        way = torch.eye(4, dtype=torch.float64)
        for name in names[: names.index(target)]:
            edge = self.edges[name]
            way = (edge.way.world_from_ego(time_us) if edge.moves else edge.way.poses[0]) @ way
        return way


def nearest_axes(ego_from_lidar: Float[Tensor, "4 4"]) -> str:
    """Say where a lidar's x, y and z point on the vehicle, to the nearest of six directions.

    Returns:
        Three letters, as ``axes`` of a drive log; forward, left, up when the lidar stands too slanted to say.

    Example:
        >>> nearest_axes(torch.eye(4).double())
        'FLU'
        >>> nearest_axes(torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0])).double())
        'BRU'
    """
    rotation = ego_from_lidar[:3, :3].numpy()
    largest = np.abs(rotation).argmax(axis=0)
    if sorted(largest.tolist()) != [0, 1, 2]:
        return "FLU"
    letters = (("F", "B"), ("L", "R"), ("U", "D"))
    return "".join(letters[axis][int(rotation[axis, column] < 0)] for column, axis in enumerate(largest))
