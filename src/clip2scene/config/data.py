"""Where samples come from, and who answers for their pixels."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.require import require

Layout = Literal[
    "nuscenes", "pandaset", "semantic-kitti", "kitti-object", "kitti-raw", "drive-log", "scannet", "rgbd"
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
    """The class set whose words teach; answers are judged in ``classes`` (docs/words.md says how)."""
    sweeps: int = 1
    """Lidar sweeps that a sample teaches with, the keyframe's own included; the paper has 3."""
    merge_sweeps: bool = False
    """Whether the sweeps are one dense cloud, in learning and in use, or an item of the batch each."""
    moved_test: bool = True
    """Whether points of earlier sweeps that have moved away since are left out of pairs and merged clouds."""
    frame_step: int = 20
    """Of a room's recording, every so many frames is asked for."""
    views: int = 16
    """Of these, at most so many are looked at, spread evenly; 1 to 255."""
    most_skipped: float = 0.5
    """Share of the frames asked for that may be unusable, in 0..1; above it, a room is refused."""

    def __post_init__(self) -> None:
        require(self.min_depth > 0, "min_depth must be positive metres", self.min_depth)
        require(1 <= self.sweeps <= 10, "sweeps must lie in 1..10", self.sweeps)
        require(self.frame_step >= 1, "frame_step must be 1 or more", self.frame_step)
        require(1 <= self.views <= 255, "views must lie in 1..255", self.views)
        require(0 <= self.most_skipped <= 1, "most_skipped must lie in 0..1", self.most_skipped)
        in_rooms = self.classes != "toytown" or self.layout not in ("scannet", "rgbd")
        require(
            in_rooms,
            f"classes toytown are for layouts of streets, {self.layout} has own and scannet-200",
            "toytown",
        )
        of_rooms = self.classes != "scannet-200" or self.layout in ("scannet", "rgbd")
        require(of_rooms, "classes scannet-200 are for the layouts scannet and rgbd", self.layout)
        merged = not self.merge_sweeps or self.sweeps > 1
        require(merged, "merge_sweeps needs sweeps above 1", self.sweeps)


@dataclass(frozen=True)
class TeacherConfig:
    """Who says what a pixel is."""

    kind: Literal["maskclip", "label-maps"] = "maskclip"
    """An image-text model read densely, or class maps written by any 2D segmenter."""
    trained_on_2d_labels: bool = False
    """Whether the teacher ever saw labelled images; results are reported in two classes by this."""
    working_size: tuple[int, int] | None = None
    """Height and width at which images are looked at, in pixels; None keeps each image's own size."""
    scales: tuple[float, ...] = (1.0,)
    """Factors on that size at which images are looked at too; the answers are averaged."""
    window: int | None = None
    """Side in pixels of windows slid over the image, at each scale; None looks at it whole."""
    window_overlap: float = 0.5
    """Share of a window's side that the next one covers too, in 0..0.9."""
    precision: Literal["float16", "int8"] = "float16"
    """What the image-text model's maps are rounded to, kept or not; int8 takes half the space."""
    key_smoothing: float = 0.0
    """Cells whose best score is below this take over the scores of cells with like keys; 0 is off."""
    prompt_denoising: float = 0.0
    """Classes whose best score in an image is below this are silenced in it; 0 is off, MaskCLIP's is 0.5."""
    superpoint_vote: bool = False
    """Whether the points of a piece of the cloud that stands alone settle on one class by vote."""
    templates: Literal["all", "toytown"] = "all"
    """Sentences around each class name: all 85, or the few made of toytown's words."""

    def __post_init__(self) -> None:
        positive = bool(self.scales) and min(self.scales) > 0
        require(positive, "scales must be one or more positive factors", self.scales)
        size = self.working_size
        require(size is None or min(size) > 0, "working_size must be positive pixels", size)
        require(self.window is None or self.window > 0, "window must be positive pixels", self.window)
        overlap = self.window_overlap
        require(0 <= overlap <= 0.9, "window_overlap must lie in 0..0.9", overlap)
        for name in ("key_smoothing", "prompt_denoising"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie in 0..1", getattr(self, name))
