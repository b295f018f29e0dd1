"""Frozen image backbones: any vision model as a dense feature extractor.

PPKT (Liu et al. 2021) and SLidR (Sautier et al., CVPR 2022) contrast a point's features with those of its
pixel and need no text. So the image side may be any pretrained network, supervised or self-supervised.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from clip2scene.io import in_a_sentence, read_json
from clip2scene.teacher.clip.folder import WEIGHTS, deviations, listing, three_numbers
from clip2scene.teacher.clip.load import Clip, load_clip, resize
from clip2scene.teacher.value_features import dense_maps
from clip2scene.teacher.vision_model import load_vision_model

Space = Literal["text", "features"]
_LARGEST_CELL = 2048  # pixels of a cell, or of a whole window of them; published models have at most 384
IMAGE_TEXT_MODELS = ("clip_resnet", "clip", "siglip")


@dataclass(frozen=True)
class ImageBackbone:
    """A frozen image model that gives one feature vector for each cell of an image.

    Attributes:
        forward: Feature map of normalised images whose sides are multiples of ``stride``; not of unit length.
        channels: Of each feature vector.
        stride: Pixels per cell of a map.
        mean: Of each colour, in 0..1, for normalisation.
        std: Of each colour, likewise.
        working_size: Height and width that images are resized to, in pixels, rounded to whole cells; None
            keeps each image's own size.
        fewest_cells: Along each side of a map; smaller images are enlarged (Swin needs a whole window).
        model: What ``forward`` computes with, to be moved to a device; None if it has no weights.
    """

    forward: Callable[[Tensor], Tensor]
    channels: int
    stride: int
    mean: Float[Tensor, " 3"]
    std: Float[Tensor, " 3"]
    working_size: tuple[int, int] | None = None
    fewest_cells: int = 1
    model: nn.Module | None = None

    def __post_init__(self) -> None:
        if self.working_size is not None and min(self.working_size) < 1:
            raise ValueError(
                f"working_size must be a positive height and width in pixels, got {self.working_size}; "
                "None keeps each picture's own size"
            )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.mean.device

    def to(self, device: torch.device) -> "ImageBackbone":
        """Compute on a device; maps come back to the processor. Never run on a GPU."""
        model = None if self.model is None else self.model.to(device)
        return replace(self, model=model, mean=self.mean.to(device), std=self.std.to(device))

    @torch.no_grad()
    def maps(self, images: Sequence[UInt8[Tensor, "_ _ 3"]]) -> tuple[Float[Tensor, "channels _ _"], ...]:
        """Feature maps of images, which may differ in size.

        Args:
            images: RGB.

        Returns:
            One map an image, unit length in every cell; a map covers its whole image.

        Raises:
            ValueError: If the model gives numbers that are not finite.
        """
        return tuple(self._map(image) for image in images)

    def cells(
        self, colours: Float[Tensor, "views 3 height width"]
    ) -> Float[Tensor, "views channels rows cols"]:
        """Feature maps of images of one size, where the model computes; not of unit length.

        Args:
            colours: RGB in 0..1.
        """
        height, width = self.working_size or colours.shape[2:]
        rows, cols = (max(self.fewest_cells, round(side / self.stride)) for side in (height, width))
        pixels = (colours - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)
        return self.forward(resize(pixels, (rows * self.stride, cols * self.stride))).float()

    def _map(self, image: UInt8[Tensor, "height width 3"]) -> Float[Tensor, "channels rows cols"]:
        colours = image[None].to(self.device).permute(0, 3, 1, 2).float() / 255
        found = F.normalize(self.cells(colours)[0], dim=0).cpu()
        if not found.isfinite().all():
            raise ValueError(
                "the image backbone gives features that are not finite, so its weights are damaged; "
                "fetch them anew"
            )
        return found


def load_backbone(
    folder: str | Path, *, space: Space = "text", working_size: tuple[int, int] | None = None
) -> ImageBackbone:
    """Load an image backbone from a folder; never from the network, and never a pickle.

    Args:
        folder: A vision model as ``transformers`` saves it (ViT, DINOv2, ResNet, Swin, ConvNeXt, ...):
            ``config.json``, ``preprocessor_config.json``, safetensors. Or an image-text model in any layout
            that :func:`~clip2scene.teacher.clip.load.load_clip` reads, of which the image tower is taken.
        space: For image-text models, see :func:`backbone_of_clip`; other models have ``features`` only.
        working_size: See :class:`ImageBackbone`.

    Raises:
        ValueError: If the folder holds no such model, or the weights do not fit its config.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; download the image backbone and name its folder")
    safe = [pattern for pattern in WEIGHTS if pattern.endswith(".safetensors")]
    if not any(path for pattern in safe for path in folder.glob(pattern)):
        raise ValueError(
            f"{folder} holds no weights that are safe to read: expected model.safetensors, got "
            f"{listing(folder)}; take the model in that format"
        )
    if (folder / "open_clip_config.json").exists():
        return backbone_of_clip(load_clip(folder), space=space, working_size=working_size)
    config = read_json(folder / "config.json")
    if isinstance(config, dict) and config.get("model_type") in IMAGE_TEXT_MODELS:
        return backbone_of_clip(load_clip(folder), space=space, working_size=working_size)
    mean, std = _read_colours(folder / "preprocessor_config.json")
    model = load_vision_model(folder, config)
    stride = _stride(model.config, folder)

    def forward(pixels: Tensor) -> Tensor:
        return _feature_map(model, pixels, stride)

    fewest = getattr(model.config, "window_size", None) or 1
    if type(fewest) is not int or not 1 <= fewest * stride <= _LARGEST_CELL:
        raise ValueError(
            f"{folder}/config.json gives cells of {stride} pixels, at least {fewest} along a side; expected "
            f"at most {_LARGEST_CELL} pixels in all. Take config and weights from one and the same model"
        )
    channels = _count_channels(forward, stride, fewest, folder)
    return ImageBackbone(forward, channels, stride, mean, std, working_size, fewest, model)


def backbone_of_clip(
    clip: Clip, *, space: Space = "text", working_size: tuple[int, int] | None = None
) -> ImageBackbone:
    """Take the image tower of an image-text model.

    Args:
        clip: The model.
        space: ``text`` gives MaskCLIP's value features, so that points trained on them can be prompted;
            ``features`` gives the last feature map before the pooling, which is not in the text space.
        working_size: See :class:`ImageBackbone`.
    """
    model, family = clip.model, clip.family

    def forward(pixels: Tensor) -> Tensor:
        if space == "text":
            return dense_maps(clip, pixels)[0]
        if family == "resnet":
            return model.visual.cells(pixels.contiguous(memory_format=torch.channels_last))
        return _feature_map(model.vision_model, pixels, clip.patch)

    channels = _count_channels(forward, clip.patch, 1, type(model).__name__)
    return ImageBackbone(forward, channels, clip.patch, clip.mean, clip.std, working_size, model=model)


def _read_colours(path: Path) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Read mean and standard deviation; models differ, so there is nothing to fall back on."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("do_normalize") is False:
        return torch.zeros(3), torch.ones(3)
    return three_numbers(content.get("image_mean"), path), deviations(content.get("image_std"), path)


def _stride(config: Any, folder: Path) -> int:  # noqa: ANN401 - every model has a config class of its own
    """Stride of the last feature map, in pixels."""
    patch = getattr(config, "patch_size", None)
    if isinstance(patch, list | tuple):
        patch = patch[0] if len(set(patch)) == 1 else None
    stages = len(getattr(config, "depths", None) or [0])
    if type(patch) is int:  # Swin and ConvNeXt halve their map before every stage but the first
        return patch * 2 ** (stages - 1)
    if config.model_type == "resnet":  # the stem takes 4, and every stage but the first another 2
        return 4 * 2 ** (stages - 1 + bool(config.downsample_in_first_stage))
    raise ValueError(
        f"{folder} is a model of type {config.model_type!r} without a patch size, so the place of its cells "
        "is not known; use a ViT, DINOv2, Swin, ConvNeXt or ResNet"
    )


def _feature_map(
    model: nn.Module, pixels: Float[Tensor, "views 3 height width"], stride: int
) -> Float[Tensor, "views channels rows cols"]:
    """Run a vision model and reshape its last hidden state to a map.

    Tokens without a position (class token, registers) come first and are dropped.
    """
    known = inspect.signature(model.forward).parameters
    more = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in known else {}
    state: Tensor = model(pixel_values=pixels, **more).last_hidden_state
    if state.ndim == 4:
        return state
    rows, cols = (side // stride for side in pixels.shape[-2:])
    return state[:, -rows * cols :].transpose(1, 2).unflatten(2, (rows, cols))


def _count_channels(forward: Callable[[Tensor], Tensor], stride: int, fewest: int, source: str | Path) -> int:
    """Check the shape of the feature map of a small grey image, and count its channels."""
    rows, cols = fewest, fewest + 1
    try:
        with torch.no_grad():
            shape = tuple(forward(torch.zeros(1, 3, rows * stride, cols * stride)).shape)
    except Exception as error:  # the library's models have many
        raise ValueError(
            f"{source} cannot be run on a picture of {rows} x {cols} cells of {stride} pixels "
            f"({in_a_sentence(error)}); take config and weights from one and the same model"
        ) from None
    if len(shape) != 4 or shape[2:] != (rows, cols):
        raise ValueError(
            f"{source} gives a picture of {rows} x {cols} cells of {stride} pixels a map of shape {shape}; "
            f"expected (1, channels, {rows}, {cols}). Use a ViT, DINOv2, Swin, ConvNeXt or ResNet"
        )
    return shape[1]
