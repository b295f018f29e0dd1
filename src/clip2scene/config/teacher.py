"""The frozen image model that labels pixels."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.checks import check_range, refuse


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
        if not self.scales or min(self.scales) <= 0:
            refuse("--teacher.scales", "one or more positive factors", self.scales)
        if self.working_size is not None and min(self.working_size) <= 0:
            refuse("--teacher.working-size", "positive pixels", self.working_size)
        check_range("--teacher.window", self.window, above=0)
        check_range("--teacher.window-overlap", self.window_overlap, least=0, most=0.9)
        check_range("--teacher.key-smoothing", self.key_smoothing, least=0, most=1)
        check_range("--teacher.prompt-denoising", self.prompt_denoising, least=0, most=1)
