"""Frozen image backbones: any vision model as a dense feature extractor.

PPKT (Liu et al. 2021) and SLidR (Sautier et al., CVPR 2022) contrast a point's features with those of its
pixel and need no text. So the image side may be any pretrained network, supervised or self-supervised.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from clip2scene.io import read_json
from clip2scene.teacher.clip.folder import WEIGHTS, listing, three_numbers
from clip2scene.teacher.clip.load import Clip, load_clip, resize
from clip2scene.teacher.value_features import dense_resnet, dense_siglip, dense_vit

Space = Literal["text", "features"]
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
    """

    forward: Callable[[Tensor], Tensor]
    channels: int
    stride: int
    mean: Float[Tensor, " 3"]
    std: Float[Tensor, " 3"]
    working_size: tuple[int, int] | None = None
    fewest_cells: int = 1

    def __post_init__(self) -> None:
        if self.working_size is not None and min(self.working_size) < 1:
            raise ValueError(
                f"working_size must be a positive height and width in pixels, got {self.working_size}; "
                "None keeps each picture's own size"
            )

    @torch.no_grad()
    def maps(self, images: Sequence[UInt8[Tensor, "_ _ 3"]]) -> tuple[Float[Tensor, "channels _ _"], ...]:
        """Feature maps of images, which may differ in size.

        Args:
            images: RGB.

        Returns:
            One map an image, unit length in every cell; a map covers its whole image.
        """
        return tuple(self._map(image) for image in images)

    def _map(self, image: UInt8[Tensor, "height width 3"]) -> Float[Tensor, "channels rows cols"]:
        height, width = self.working_size or image.shape[:2]
        rows, cols = (max(self.fewest_cells, round(side / self.stride)) for side in (height, width))
        colours = image[None].permute(0, 3, 1, 2).float() / 255
        pixels = (colours - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)
        cells = self.forward(resize(pixels, (rows * self.stride, cols * self.stride)))
        return F.normalize(cells[0].float(), dim=0)


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
    model = _load_vision_model(folder)
    stride = _stride(model.config, folder)

    def forward(pixels: Tensor) -> Tensor:
        return _feature_map(model, pixels, stride)

    fewest = getattr(model.config, "window_size", None) or 1
    channels = _count_channels(forward, stride, fewest, folder)
    return ImageBackbone(forward, channels, stride, mean, std, working_size, fewest)


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
        if family == "resnet":
            if space == "features":
                return model.visual.cells(pixels.contiguous(memory_format=torch.channels_last))
            return dense_resnet(model, pixels, with_keys=False)[0]
        if space == "features":
            return _feature_map(model.vision_model, pixels, clip.patch)
        return (dense_vit if family == "vit" else dense_siglip)(model, pixels)[0]

    channels = _count_channels(forward, clip.patch, 1, type(model).__name__)
    return ImageBackbone(forward, channels, clip.patch, clip.mean, clip.std, working_size)


def _load_vision_model(folder: Path) -> nn.Module:
    import transformers  # late: slow to import

    try:
        with _quiet(transformers.logging):  # heads of classifiers are left out on purpose
            model, report = transformers.AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported, and refused below
                output_loading_info=True,
            )
    except Exception as error:  # the library raises many kinds, and all mean that the folder is bad
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{folder} holds no vision model that can be read ({reason}); fetch it anew"
        ) from None
    if model.main_input_name != "pixel_values":
        raise ValueError(
            f"{folder} holds a {type(model).__name__}, which takes no images; name a vision model"
        )
    # Neither a pooling head nor the mask token has a part in the feature map.
    lacking = {name for name in report["missing_keys"] if not _unused(name)}
    lacking |= {name for name, *_ in report["mismatched_keys"]}
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise ValueError(
            f"the weights in {folder} lack, or have in another shape, "
            f"{', '.join(sorted(lacking)[:3])}{more}; "
            "take config and weights from one and the same model"
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:  # noqa: ANN401 - the library's module, imported late
    """Keep the library from reporting and from drawing progress bars."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _unused(name: str) -> bool:
    return name.startswith("pooler.") or name.endswith("mask_token")


def _read_colours(path: Path) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Read mean and standard deviation; models differ, so there is nothing to fall back on."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("do_normalize") is False:
        return torch.zeros(3), torch.ones(3)
    return three_numbers(content.get("image_mean"), path), three_numbers(content.get("image_std"), path)


def _stride(config: Any, folder: Path) -> int:  # noqa: ANN401 - every model has a config class of its own
    """Stride of the last feature map, in pixels."""
    patch = getattr(config, "patch_size", None)
    if isinstance(patch, list | tuple):
        patch = patch[0] if len(set(patch)) == 1 else None
    stages = len(getattr(config, "depths", None) or [0])
    if patch is not None:  # Swin and ConvNeXt halve their map before every stage but the first
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
    with torch.no_grad():
        shape = tuple(forward(torch.zeros(1, 3, rows * stride, cols * stride)).shape)
    if len(shape) != 4 or shape[2:] != (rows, cols):
        raise ValueError(
            f"{source} gives a picture of {rows} x {cols} cells of {stride} pixels a map of shape {shape}; "
            f"expected (1, channels, {rows}, {cols}). Use a ViT, DINOv2, Swin, ConvNeXt or ResNet"
        )
    return shape[1]
