"""Boxes that become masks: OWLv2 finds what words name, SAM 2 draws its outline.

Both were trained with labels of images (boxes, masks), so what they teach is not label-free. Images are
prepared here: the library's processor for SAM 2 needs a package more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.io import read_json
from clip2scene.teacher.clip.folder import find_folder, read_normalisation
from clip2scene.teacher.clip.load import resize
from clip2scene.teacher.clip.tokenizer import open_folder_tokenizer
from clip2scene.teacher.prompts import refuse_alike
from clip2scene.teacher.segmenter_scores import Scores
from clip2scene.teacher.vision_model import load_vision_model

DETECTOR, MASKS = "owlv2", "sam2"
"""Types that the configs of the two models name."""

SENTENCE = "a photo of a {}"
"""What OWLv2 was published to be asked."""

LEAST_SCORE = 0.1
"""Boxes whose score (0..1) is below this are passed over, as OWLv2's own processor does."""

MOST_BOXES = 100
"""Of an image; those with the highest scores are taken."""

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Prepared:
    """How a network wants its pixels: a square of colours less their mean, by their deviation.

    Attributes:
        side: Of the square, in pixels.
        mean: What is taken off each colour in 0..1.
        std: What the rest is divided by.
    """

    side: int
    mean: Float[Tensor, " 3"]
    std: Float[Tensor, " 3"]

    def __call__(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 side side"]:
        """Resize pixels of 0..1, whatever their shape, and normalise them."""
        square = resize(pixels, (self.side, self.side))
        return (square - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)


@dataclass(frozen=True)
class BoxSegmenter:
    """A segmenter that is prompted with words: what is found in a box is drawn as a mask.

    A class has the highest score among its boxes, in the cells of their masks, and none elsewhere.

    Attributes:
        detector: OWLv2.
        masks: SAM 2.
        names: The words.
        queries: Embedding of each word, unit rows.
        for_detector: How OWLv2 wants its pixels.
        for_masks: How SAM 2 wants them.
    """

    detector: Any
    masks: Any
    names: tuple[str, ...]
    queries: Float[Tensor, "texts channels"]
    for_detector: Prepared
    for_masks: Prepared

    @property
    def shares(self) -> bool:
        """Whether the scores of a cell are shares of one: each stands for itself."""
        return False

    @torch.no_grad()
    def __call__(self, image: UInt8[Tensor, "height width 3"]) -> Scores:
        """Score an image in RGB, on the grid of SAM 2's masks.

        Raises:
            ValueError: If a network gives numbers that are not finite.
        """
        pixels = image.permute(2, 0, 1)[None].float() / 255
        scores, words, corners = self.find_boxes(pixels)
        masks = self.draw_masks(pixels, corners)
        _require_finite("SAM 2", masks)
        inside = torch.where(masks >= 0, scores[:, None, None] * masks.sigmoid(), 0.0)
        drawn = inside.new_zeros(len(self.names), *inside.shape[1:])
        return drawn.scatter_reduce_(0, words[:, None, None].expand_as(inside), inside, "amax")

    def find_boxes(
        self, pixels: Float[Tensor, "1 3 height width"]
    ) -> tuple[Float[Tensor, " boxes"], Int[Tensor, " boxes"], Float[Tensor, "boxes 4"]]:
        """Find what the words name.

        Args:
            pixels: In 0..1.

        Returns:
            Of each box its score in 0..1, its word, and its corners: left, top, right and bottom, 0..1 of the
            image's width and height.
        """
        height, width = pixels.shape[2:]
        longer = max(height, width)
        square = F.pad(pixels, (0, longer - width, 0, longer - height))  # black to the right and below
        cells, _ = self.detector.image_embedder(self.for_detector(square))
        features = cells.flatten(1, 2)
        logits, _ = self.detector.class_predictor(features, self.queries[None])
        boxes = self.detector.box_predictor(features, cells)[0]
        _require_finite("OWLv2", torch.cat([logits[0], boxes], dim=1))
        best, words = logits[0].max(1)
        scores, order = best.sigmoid().topk(min(MOST_BOXES, len(best)))
        order = order[scores > LEAST_SCORE]
        centres, sizes = boxes[order].split(2, dim=1)
        corners = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1)
        shape = torch.tensor([width, height, width, height])
        return scores[: len(order)], words[order], (corners * longer / shape).clamp(0, 1)

    def draw_masks(
        self, pixels: Float[Tensor, "1 3 height width"], corners: Float[Tensor, "boxes 4"]
    ) -> Float[Tensor, "boxes rows cols"]:
        """Draw the outline of what is in each box, as logits: above 0 inside.

        Args:
            pixels: In 0..1.
            corners: As :meth:`find_boxes` gives them.
        """
        side = self.for_masks.side
        if not len(corners):
            return corners.new_zeros(0, side // 4, side // 4)
        maps = self.masks.get_image_embeddings(self.for_masks(pixels))
        boxes = (corners * side)[None]
        return self.masks(image_embeddings=maps, input_boxes=boxes, multimask_output=False).pred_masks[
            0, :, 0
        ]


def _require_finite(name: str, numbers: Tensor) -> None:
    if not bool(numbers.isfinite().all()):
        raise ValueError(
            f"{name} gives numbers of an image that are not finite, so its weights are damaged; fetch them "
            "anew"
        )


def load_box_segmenter(source: str | Path, masks: str | Path, words: Sequence[str]) -> BoxSegmenter:
    """Load a detector and what draws masks, from folders of transformers.

    Args:
        source: Folder of an OWLv2 with its tokenizer, or ``hf:owner/name``.
        masks: Folder of a SAM 2, of its image or its video model.
        words: What is looked for.

    Raises:
        ValueError: If a folder holds another model, config and weights do not fit each other, or two words
            are the same to the detector.
    """
    folder = find_folder(source)
    detector: Any = load_vision_model(folder, _config(folder, DETECTOR), "Owlv2ForObjectDetection")
    outliner = find_folder(masks)
    drawing: Any = load_vision_model(outliner, _config(outliner, MASKS), "Sam2Model")
    mean, std = read_normalisation(folder, mean=_CLIP_MEAN, std=_CLIP_STD)
    for_detector = Prepared(detector.config.vision_config.image_size, mean, std)
    mean, std = read_normalisation(outliner, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
    for_masks = Prepared(_side(drawing, outliner), mean, std)
    queries = _embed(folder, detector, words)
    return BoxSegmenter(detector, drawing, tuple(words), queries, for_detector, for_masks)


def _config(folder: Path, kind: str) -> dict[str, Any]:
    """Read a config, and refuse that of another kind of model; a SAM 2 for video draws on images too."""
    content = read_json(folder / "config.json")
    found = content.get("model_type") if isinstance(content, dict) else None
    if found == f"{kind}_video":
        return _for_images(content)
    if found != kind:
        raise ValueError(
            f"{folder}/config.json describes a model of type {found!r:.80}, expected {kind}; name the folder "
            "of an OWLv2 as --teacher-weights, and that of a SAM 2 as --teacher.proxy"
        )
    return dict(content)


def _for_images(content: dict[str, Any]) -> dict[str, Any]:
    """Call the parts of a model for video as those for images are called."""
    return {
        name: _for_images(value)
        if isinstance(value, dict)
        else value.replace("sam2_video", MASKS)
        if name == "model_type" and isinstance(value, str)
        else value
        for name, value in content.items()
    }


def _side(model: Any, folder: Path) -> int:  # noqa: ANN401 - a class of the library's
    """Read the side of the square that SAM 2 works on, which all of its parts must agree on."""
    side = model.config.prompt_encoder_config.image_size
    grid = model.config.prompt_encoder_config.patch_size
    if not isinstance(side, int) or [side // grid, side // grid] != list(model.backbone_feature_sizes[-1]):
        raise ValueError(
            f"{folder}/config.json gives {side!r:.40} as image_size, and backbone_feature_sizes "
            f"{model.backbone_feature_sizes!r:.80} that do not fit it; take the file from the model"
        )
    return side


@torch.no_grad()
def _embed(folder: Path, detector: Any, words: Sequence[str]) -> Float[Tensor, "texts channels"]:  # noqa: ANN401
    """Embed words as unit vectors in the detector's text space."""
    from transformers import CLIPConfig  # late: slow to import

    text = detector.config.text_config
    reader = open_folder_tokenizer(
        folder, CLIPConfig(), length=text.max_position_embeddings, num_tokens=text.vocab_size
    )
    tokens = reader.tokenize([SENTENCE.format(word) for word in words])
    queries = F.normalize(detector.owlv2.get_text_features(tokens).pooler_output, dim=1)
    refuse_alike(words, queries)
    return queries
