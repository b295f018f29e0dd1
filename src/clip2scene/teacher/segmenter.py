"""2D segmenters as teachers, from a folder of transformers: SegFormer and others.

All were trained with 2D masks, so what they teach is not label-free. Images are prepared here, after
the folder's ``preprocessor_config.json``: the library's own processors may need packages that are not here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.classes.words import is_text
from clip2scene.io import read_json
from clip2scene.teacher.boxes import DETECTOR, BoxSegmenter, load_box_segmenter
from clip2scene.teacher.clip.folder import find_folder, read_normalisation
from clip2scene.teacher.clip.load import resize
from clip2scene.teacher.score_maps import ScoreMaps, merge_scores
from clip2scene.teacher.segmenter_scores import (
    ClipSegScores,
    EomtScores,
    Mask2FormerScores,
    Scores,
    SegFormerScores,
    embed_words,
    tokenize_task,
)
from clip2scene.teacher.vision_model import load_vision_model
from clip2scene.types import Sample

CLOSED = {
    "segformer": "SegformerForSemanticSegmentation",
    "mask2former": "Mask2FormerForUniversalSegmentation",
    "oneformer": "OneFormerForUniversalSegmentation",
    "eomt": "EomtForUniversalSegmentation",
    "eomt_dinov3": "EomtDinov3ForUniversalSegmentation",
}
"""Networks with a fixed list of classes, by the type that their config names."""

PROMPTED = {"clipseg": "CLIPSegForImageSegmentation"}
"""Networks that are prompted with words."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CELL = 32
"""Sides of what goes in are multiples of this: all pyramids of these networks end at a 32nd of the image."""

_MOST_CLASSES = 4096
_MOST_PIXELS = 8192  # of a side
Score = Callable[[Float[Tensor, "1 3 height width"]], Scores]


@dataclass(frozen=True)
class ImageSegmenter:
    """A frozen 2D segmenter: an image in, a score of each of its classes for each cell of a grid out.

    Attributes:
        score: The forward pass, of normalised pixels to scores of 0..1.
        names: Of its classes.
        shares: Whether the scores of a cell are shares of one, which add up; else each stands for itself.
        mean: What is taken off each colour in 0..1.
        std: What the rest is divided by.
        size: Height and width that images are resized to, in pixels; None for a shorter side alone.
        shorter: The shorter side in pixels, where ``size`` is None.
        longer: What the longer side may have at most.
    """

    score: Score
    names: tuple[str, ...]
    shares: bool
    mean: Float[Tensor, " 3"]
    std: Float[Tensor, " 3"]
    size: tuple[int, int] | None
    shorter: int = 800
    longer: int = 1333

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Give the size that an image of so many pixels is resized to."""
        if self.size is not None:
            return self.size
        scale = min(self.shorter / min(height, width), self.longer / max(height, width))
        rows, cols = (max(1, round(side * scale / CELL)) * CELL for side in (height, width))
        return rows, cols

    @torch.no_grad()
    def __call__(self, image: UInt8[Tensor, "height width 3"]) -> Scores:
        """Score an image in RGB.

        Raises:
            ValueError: If the network gives numbers that are not finite.
        """
        pixels = image.permute(2, 0, 1)[None].float() / 255
        pixels = (pixels - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)
        scores = self.score(resize(pixels, self.working_size(image.shape[0], image.shape[1])))
        if not bool(scores.isfinite().all()):
            raise ValueError(
                "the segmenter gives scores of an image that are not finite, so its weights are damaged; "
                "fetch them anew"
            )
        return scores


@dataclass(frozen=True)
class SegmenterTeacher:
    """A teacher that runs a 2D segmenter on a sample's images.

    Attributes:
        segmenter: The network.
        class_of_source: Train id of each of its classes; ``IGNORE_LABEL`` for what is none of ours.
        embeddings: Text embedding of each class of ours, unit rows.
        least_score: As :class:`~clip2scene.teacher.score_maps.ScoreMaps` has it.
    """

    segmenter: ImageSegmenter | BoxSegmenter
    class_of_source: Int[Tensor, " sources"]
    embeddings: Float[Tensor, "classes text"]
    least_score: float = 0.0

    def __call__(self, sample: Sample) -> ScoreMaps:
        """Score every image of a sample.

        Raises:
            ValueError: If an image cannot be read.
        """
        maps = [self.segmenter(sample.read_image(view)) for view in range(len(sample.cameras))]
        merged = tuple(
            merge_scores(each, self.class_of_source, len(self.embeddings), shares=self.segmenter.shares)
            for each in maps
        )
        sizes = tuple((camera.height, camera.width) for camera in sample.cameras)
        return ScoreMaps(merged, self.embeddings, sizes, self.least_score)


def load_segmenter(
    source: str | Path,
    words: Sequence[str],
    *,
    working_size: tuple[int, int] | None = None,
    masks: str | None = None,
) -> ImageSegmenter | BoxSegmenter:
    """Load a segmenter from a folder of transformers, or from the hub (``hf:owner/name``).

    Args:
        source: Holds config, safetensors and ``preprocessor_config.json``; of CLIPSeg and OneFormer a
            tokenizer too.
        words: What CLIPSeg and OWLv2 are prompted with; the others have classes of their own.
        working_size: Height and width that images are resized to, in pixels, rounded to multiples of 32;
            None does as the folder says. The sizes of CLIPSeg, EoMT and OWLv2 are their own.
        masks: Folder of the SAM 2 that draws masks of OWLv2's boxes; None for what has masks of its own.

    Raises:
        ValueError: If it is no such folder, config and weights do not fit each other, or the class names are
            none.
    """
    folder = find_folder(source)
    content = read_json(folder / "config.json")
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind == DETECTOR and masks is not None:
        return load_box_segmenter(folder, masks, words)
    if kind == DETECTOR or masks is not None:
        named = "no model is named" if masks is None else f"{masks} is named"
        raise ValueError(
            f"{folder} holds a model of type {kind!r:.80}, and {named} for its masks; boxes of an OWLv2 need "
            "a SAM 2, --teacher.proxy FOLDER, and segmenters none"
        )
    if not isinstance(kind, str) or kind not in CLOSED | PROMPTED:
        raise ValueError(
            f"{folder}/config.json describes a model of type {kind!r:.80}; expected a segmenter: "
            f"{', '.join(CLOSED | PROMPTED)}, {DETECTOR}. Others can teach by files of scores "
            "(docs/teachers.md)"
        )
    mean, std = read_normalisation(folder, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    size, shorter, longer = read_size(folder)
    if kind in PROMPTED:
        model: Any = load_vision_model(folder, content, PROMPTED[kind])
        square = min(size) if size is not None else model.config.vision_config.image_size
        score: Score = ClipSegScores(model, embed_words(folder, model, words))
        return ImageSegmenter(score, tuple(words), False, mean, std, (square, square))
    names = read_class_names(content, folder / "config.json")
    content = {**content, "is_training": False}  # or OneFormer drops out at random
    model = load_vision_model(folder, content, CLOSED[kind], names=names)
    if kind.startswith("eomt"):
        side = _side_of_square(model.config.image_size, folder)
        return ImageSegmenter(EomtScores(model), names, True, mean, std, None, side, _MOST_PIXELS * side)
    task = tokenize_task(folder, model) if kind == "oneformer" else None
    score = SegFormerScores(model) if kind == "segformer" else Mask2FormerScores(model, task)
    if working_size is not None:
        size = working_size
    if size is not None:
        size = (max(1, round(size[0] / CELL)) * CELL, max(1, round(size[1] / CELL)) * CELL)
    return ImageSegmenter(score, names, True, mean, std, size, shorter, longer)


def _side_of_square(side: object, folder: Path) -> int:
    """Refuse squares whose side is no multiple of a cell's."""
    if not isinstance(side, int) or not CELL <= side <= _MOST_PIXELS or side % CELL:
        raise ValueError(
            f"{folder}/config.json gives {side!r:.80} as image_size, expected a multiple of {CELL} pixels, "
            f"at most {_MOST_PIXELS}; take the file from the model"
        )
    return side


def read_class_names(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Read the names of a network's classes from its config, in the order of its outputs.

    Raises:
        ValueError: If they are not numbered from 0, not distinct, or no texts.
    """
    labels = content.get("id2label")
    count = len(labels) if isinstance(labels, dict) else 0
    names = [labels.get(str(number)) for number in range(count)] if isinstance(labels, dict) else []
    if not 2 <= count <= _MOST_CLASSES or not all(
        isinstance(name, str) and name.strip() and is_text(name) for name in names
    ):
        raise ValueError(
            f"{path} must name the classes in id2label, numbered from 0 without a gap, {_MOST_CLASSES} at "
            "most; take the file from the model"
        )
    return tuple(str(name).strip() for name in names)


def read_size(folder: Path) -> tuple[tuple[int, int] | None, int, int]:
    """Read the size that a folder's images are resized to.

    Returns:
        Height and width, or None; the shorter side, and what the longer side may have, where it is None. All
        in pixels.

    Raises:
        ValueError: If ``preprocessor_config.json`` gives something else.
    """
    path = folder / "preprocessor_config.json"
    content = read_json(path) if path.exists() else {}
    size = content.get("size") if isinstance(content, dict) else None
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if size is None:
        size = {}
    names = ("height", "width", "shortest_edge", "longest_edge")
    values: dict[str, Any] = {"size": size}
    if isinstance(size, dict):
        values = {name: size[name] for name in names if size.get(name) is not None}
    if not all(type(each) is int and 1 <= each <= _MOST_PIXELS for each in values.values()):
        raise ValueError(
            f"{path} gives {size!r:.80} as size; expected height and width, or shortest_edge, of 1 to "
            f"{_MOST_PIXELS} pixels; take the file from the model"
        )
    if "height" in values and "width" in values:
        return (values["height"], values["width"]), 0, 0
    shorter = values.get("shortest_edge", 800)
    return None, shorter, values.get("longest_edge", max(1333, 2 * shorter))
