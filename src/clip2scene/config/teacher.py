"""The frozen image model that labels pixels."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.checks import check_range, refuse

LATER = (
    *("attention", "proxy", "class_table", "text_table", "least_score", "refine", "refine_pixels"),
    *("refine_rounds", "refine_dilations", "refine_radius", "refine_epsilon", "refine_segments", "also"),
)
"""Settings that came after there were runs; they name pseudo-labels only where on, so older are found."""


@dataclass(frozen=True)
class TeacherConfig:
    """The frozen image model that gives each pixel its pseudo-label."""

    kind: Literal["maskclip", "label-maps", "segmenter"] = "maskclip"
    """An image-text model read densely, class maps or scores that any 2D network wrote, or a segmenter."""
    trained_on_2d_labels: bool = False
    """Whether the teacher was trained on labelled images, or that of a run that is built on; results are
    reported in two classes by this."""
    working_size: tuple[int, int] | None = None
    """Height and width that images are resized to, in pixels; None keeps each image's own size."""
    scales: tuple[float, ...] = (1.0,)
    """Factors on that size, one forward pass each; their embeddings are averaged."""
    window: int | None = None
    """Side in pixels of windows slid over the image, at each scale; None takes it whole."""
    window_overlap: float = 0.5
    """Share of a window's side that the next one covers too, in 0..0.9."""
    precision: Literal["float16", "int8"] = "float16"
    """What the image-text model's maps are rounded to, kept or not; int8 takes half the space."""
    attention: Literal["maskclip", "sclip", "clearclip", "naclip", "cells"] = "maskclip"
    """Which cells gather from which in the model's last layer: none from another (maskclip), as in sclip,
    clearclip or naclip (CLIP's ViTs), or from like cells (cells; CLIP's ResNets and the small model)."""
    proxy: str | None = None
    """Folder of a second model: a vision model (DINOv2, DINOv3 and others) by whose features cells gather
    (ProxyCLIP), or for a segmenter that finds boxes (OWLv2) the SAM 2 that draws their masks."""
    key_smoothing: float = 0.0
    """Cells whose best score (0..1) is below this take over the scores of cells with like keys; 0 is off."""
    prompt_denoising: float = 0.0
    """Classes whose best score (0..1) in an image is below this are left out; 0 is off (MaskCLIP: 0.5)."""
    superpoint_vote: bool = False
    """Whether each superpoint, a piece of the cloud that stands alone, gets one pseudo-label by vote."""
    consolidate: bool = False
    """Whether the pseudo-labels of a drive are voted on by place, over all its moments; needs poses."""
    also: tuple[str, ...] = ()
    """Folders of other runs on the same data whose teachers label the points too; what each says of a point
    counts as far as it agrees with itself between cameras and over time."""
    place_size: float = 0.4
    """Edge of such a place, in metres."""
    least_share: float = 0.4
    """Share of the votes that a class must have there to become a pseudo-label, in 0..1; less is none."""
    refine: Literal["none", "pamr", "guided", "superpixels"] = "none"
    """What sharpens the teacher's maps in the image before they are lifted: neighbours of like colour share
    scores (PAMR), a guided filter, or one score for each SLIC superpixel."""
    refine_pixels: int = 100_000
    """Larger images are made smaller than this many pixels for it."""
    refine_rounds: int = 10
    """For pamr: how often every pixel takes over the mean of its neighbours."""
    refine_dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    """For pamr: spacing of each 3 x 3 grid of neighbours, in pixels of the smaller image."""
    refine_radius: int = 16
    """For guided: from a window's centre to its side, in pixels of the smaller image."""
    refine_epsilon: float = 1e-2
    """For guided: variance of colours (in 0..1) below which edges are smoothed over."""
    refine_segments: int = 400
    """For superpixels: about how many in an image."""
    templates: Literal["all", "toytown"] = "all"
    """Sentences around each class name: all 85, or the few made of toytown's words."""

    class_table: str | None = None
    """For another network's classes: JSON that says what each is among ours, or null; or ``ade20k``, ours."""
    text_table: str | None = None
    """For a segmenter: file of the classes' text embeddings; None gives each a direction of its own."""
    least_score: float = 0.0
    """For scores of classes: where none has this (0..1), there is no pseudo-label; 0 is off."""

    def __post_init__(self) -> None:
        if self.kind != "maskclip":
            self._refuse_last_layer()
        if not self.scales or min(self.scales) <= 0:
            refuse("--teacher.scales", "one or more positive factors", self.scales)
        if self.working_size is not None and min(self.working_size) <= 0:
            refuse("--teacher.working-size", "positive pixels", self.working_size)
        check_range("--teacher.window", self.window, above=0)
        check_range("--teacher.window-overlap", self.window_overlap, least=0, most=0.9)
        check_range("--teacher.key-smoothing", self.key_smoothing, least=0, most=1)
        check_range("--teacher.prompt-denoising", self.prompt_denoising, least=0, most=1)
        check_range("--teacher.least-score", self.least_score, least=0, most=1)
        check_range("--teacher.place-size", self.place_size, least=0.02, most=10)
        check_range("--teacher.least-share", self.least_share, least=0, most=1)
        if self.kind == "maskclip" and (self.class_table is not None or self.least_score):
            refuse(
                "--teacher.kind",
                "label-maps or segmenter where a class table or a least score is set",
                self.kind,
            )
        if self.kind != "segmenter" and self.text_table is not None:
            refuse("--teacher.kind", "segmenter where a text table is set beside the teacher", self.kind)
        if self.kind == "segmenter" and not self.trained_on_2d_labels:
            refuse("--teacher.trained-on-2d-labels", "on for a segmenter: all that are read were", False)
        if len(set(self.also)) != len(self.also) or not all(each.strip() for each in self.also):
            refuse("--teacher.also", "folders of runs, each once", self.also)
        self._check_refinement()

    def _refuse_last_layer(self) -> None:
        """Refuse what is about the last layer of a model where there is none."""
        if self.attention != "maskclip":
            refuse("--teacher.attention", f"maskclip with --teacher.kind {self.kind}", self.attention)
        if self.proxy is not None and self.kind != "segmenter":
            refuse("--teacher.proxy", f"left out with --teacher.kind {self.kind}", self.proxy)

    def _check_refinement(self) -> None:
        """Refuse settings of the refinement that are out of range."""
        check_range("--teacher.refine-pixels", self.refine_pixels, least=100, most=4_000_000)
        check_range("--teacher.refine-rounds", self.refine_rounds, least=1, most=100)
        if not 1 <= len(self.refine_dilations) <= 12 or not all(1 <= d <= 200 for d in self.refine_dilations):
            refuse("--teacher.refine-dilations", "1 to 12 spacings of 1 to 200 pixels", self.refine_dilations)
        check_range("--teacher.refine-radius", self.refine_radius, least=1, most=1000)
        check_range("--teacher.refine-epsilon", self.refine_epsilon, least=1e-8, most=1)
        check_range("--teacher.refine-segments", self.refine_segments, least=1, most=2**15)
