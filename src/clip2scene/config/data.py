"""Where samples come from, and how points meet pixels."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.checks import check_range, refuse

Layout = Literal[
    "nuscenes",
    "pandaset",
    "semantic-kitti",
    "kitti-object",
    "kitti-raw",
    "drive-log",
    "scannet",
    "rgbd",
    "mix",
]


@dataclass(frozen=True)
class DataConfig:
    """Where samples come from, and how points meet pixels."""

    layout: Layout = "nuscenes"
    """The on-disk layout of the data root."""
    classes: Literal["own", "toytown", "scannet-200"] = "own"
    """The data set's own classes, or those of nuScenes' or SemanticKITTI's that the embedded world has. A
    drive log with a ``classes.json`` has those of that file; rooms have ScanNet's 20, or its 200."""
    min_depth: float = 1.0
    """Nearest depth at which a point is paired with a pixel, in metres."""
    occlusion_test: bool = True
    """Whether pairs hidden behind nearer points are dropped."""
    words: Literal["own", "nuscenes", "semantic-kitti", "cityscapes", "scannet", "all"] = "own"
    """The class set that is prompted; predictions are evaluated in ``classes`` (docs/words.md says how)."""
    sweeps: int = 1
    """Lidar sweeps of a sample that are trained on, 1 to 10, the keyframe's own included; the paper has 3."""
    merge_sweeps: bool = False
    """Whether the sweeps are one dense cloud, in training and in use, or an item of the batch each."""
    moved_test: bool = True
    """Whether points of earlier sweeps that have moved away since are left out of pairs and merged clouds."""
    frame_step: int = 20
    """Stride in frames through a room's recording: every n-th frame is read."""
    views: int = 16
    """At most so many of these frames are used as images, spread evenly; 1 to 255."""
    most_skipped: float = 0.5
    """Share of the frames read that may be unusable, in 0..1; above it, a room is refused."""

    def __post_init__(self) -> None:
        check_range("--data.min-depth", self.min_depth, above=0)
        check_range("--data.sweeps", self.sweeps, least=1, most=10)
        check_range("--data.frame-step", self.frame_step, least=1)
        check_range("--data.views", self.views, least=1, most=255)
        check_range("--data.most-skipped", self.most_skipped, least=0, most=1)
        in_rooms = self.layout in ("scannet", "rgbd")
        if in_rooms and self.classes == "toytown":
            refuse("--data.classes", f"own or scannet-200 for the layout {self.layout}", self.classes)
        if self.classes == "scannet-200" and not in_rooms:
            refuse("--data.classes", f"own or toytown for the layout {self.layout}", self.classes)
        if self.merge_sweeps and self.sweeps == 1:
            refuse("--data.sweeps", "above 1 where sweeps are merged (--data.merge-sweeps)", self.sweeps)

    @property
    def seen_sweeps(self) -> int:
        """Sweeps of a sample that a student is given in use: the keyframe's alone, unless they are merged."""
        return self.sweeps if self.merge_sweeps else 1
