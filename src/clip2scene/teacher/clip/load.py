"""Image-text models (CLIP, SigLIP, TIPSv2), from a folder or a hub: four families, one interface."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from clip2scene.io import in_a_sentence, read_json, write_atomically, write_json
from clip2scene.teacher.clip.config import resnet_settings, transformers_settings
from clip2scene.teacher.clip.folder import (
    OPENAI_MEAN,
    OPENAI_STD,
    SIGLIP_GREY,
    WORDS,
    deviations,
    find_folder,
    is_archive,
    listing,
    read_normalisation,
    three_numbers,
)
from clip2scene.teacher.clip.openai import load_openai_model
from clip2scene.teacher.clip.resnet import ClipResNet
from clip2scene.teacher.clip.tips import load_tips_model
from clip2scene.teacher.clip.tokenizer import (
    FolderTokenizer,
    TextReader,
    WholeTokenizer,
    open_folder_tokenizer,
    read_clip_tokenizer,
    read_tokenizer,
)
from clip2scene.teacher.clip.weights import build_model, open_weights, quiet
from clip2scene.teacher.text_table import TextTable, read_text_table

Family = Literal["resnet", "vit", "siglip", "tips"]
TEXTS_AT_ONCE = 256
OPENAI_STRIDES = (1, 2, 2, 2)
"""Of the four stages of all ResNets in OpenAI's and open_clip's layout."""


@dataclass(frozen=True)
class Clip:
    """A frozen image-text model (CLIP, SigLIP or TIPSv2), whatever its family.

    Attributes:
        family: ``resnet`` (OpenAI's layout, the small model too), ``vit`` (the CLIP of transformers),
            ``siglip`` or ``tips`` (TIPSv2).
        model: The towers, a torch module in evaluation mode.
        words: A tokenizer for its text tower; or, in place of both, text embeddings of a fixed list of names.
        mean: What is taken off each colour in 0..1 before the first layer.
        std: What the rest is divided by.
        image_size: Height and width of the images it was trained on, in pixels.
        patch: Pixels per cell of its feature map.
    """

    family: Family
    model: Any
    words: TextReader | TextTable
    mean: Float[Tensor, " 3"]
    std: Float[Tensor, " 3"]
    image_size: int
    patch: int

    def __post_init__(self) -> None:
        if self.table is None:
            return
        channels, mine = self._text_projection().shape[0], self.table.vectors.shape[1]
        if mine != channels:
            raise ValueError(
                f"the text table has vectors of {mine} channels, the image tower beside it {channels}; "
                "make the table with that model's text tower"
            )
        if self.table.space and self.table.space != self.space:
            raise ValueError(
                "the text table was made by another image-text model than the image tower beside it; "
                "make it with that model's text tower"
            )

    @property
    def table(self) -> TextTable | None:
        """The text embeddings that stand in for the text tower, if any do."""
        return self.words if isinstance(self.words, TextTable) else None

    @property
    def space(self) -> str:
        """Fingerprint of the text space: the same for every copy of a model, in any layout and precision."""
        signs = np.packbits(self._text_projection().detach().float().cpu().signbit().numpy())
        return hashlib.sha256(signs.tobytes()).hexdigest()[:16]

    def _text_projection(self) -> Float[Tensor, "channels width"]:
        if self.family == "resnet":
            return self.model.text_projection.T
        if self.family == "vit":
            return self.model.text_projection.weight
        if self.family == "tips":  # its text tower has no projection; this table tells it apart as well
            return self.model.text_model.embeddings.token_embedding.weight.T
        return self.model.text_model.head.weight

    @property
    def device(self) -> torch.device:
        """Where its towers compute; what they give comes back to the processor."""
        return self.mean.device

    def to(self, device: torch.device) -> "Clip":
        """Move the towers to a device. Never run on a GPU."""
        return replace(self, model=self.model.to(device), mean=self.mean.to(device), std=self.std.to(device))

    def normalise(
        self, images: UInt8[Tensor, "views height width 3"]
    ) -> Float[Tensor, "views 3 height width"]:
        """Scale RGB of 0..255 to 0..1, then to the mean and deviation that the model was trained with."""
        x = images.to(self.device).permute(0, 3, 1, 2).float().div(255)
        return (x - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)

    @torch.no_grad()
    def encode_image(self, images: UInt8[Tensor, "views height width 3"]) -> Float[Tensor, "views channels"]:
        """Embed whole images, resized to the square that the model was trained on; unit rows."""
        pixels = resize(self.normalise(images), (self.image_size, self.image_size))
        if self.family == "resnet":
            return F.normalize(self.model.encode_image(pixels), dim=-1).cpu()
        return F.normalize(_pooled(self.model.get_image_features(pixel_values=pixels)), dim=-1).cpu()

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "texts tokens"]:
        """Turn texts into token ids, padded to one length."""
        assert not isinstance(self.words, TextTable), "a table has no tokens"
        return self.words.tokenize(texts)

    def unknown_words(self, text: str) -> list[str]:
        """List the parts of a text that the model has no token for."""
        return self.words.unknown_words(text)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "texts channels"]:
        """Embed texts with the text tower; unit rows."""
        if self.table is not None:
            return self.table.encode_text(texts)
        rows = [
            self._encode_tokens(self.tokenize(texts[at : at + TEXTS_AT_ONCE]).to(self.device))
            for at in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        return F.normalize(torch.cat(rows).float(), dim=-1).cpu()

    def _encode_tokens(self, tokens: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts channels"]:
        if self.family == "resnet":
            return self.model.encode_text(tokens)
        if self.family == "tips":  # it averages over the tokens of a text, and takes no other's part
            filled = (tokens != self.model.config.text_config.pad_token_id).long()
            return _pooled(self.model.get_text_features(input_ids=tokens, attention_mask=filled))
        return _pooled(self.model.get_text_features(input_ids=tokens))


def _pooled(output: Any) -> Tensor:  # noqa: ANN401 - a tensor, or in transformers 5 an object that holds it
    return getattr(output, "pooler_output", output)


def resize(
    pixels: Float[Tensor, "views 3 height width"], size: tuple[int, int]
) -> Float[Tensor, "views 3 new_height new_width"]:
    """Resize images bilinearly to ``size`` (height and width in pixels), with anti-aliasing."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)


def load_clip(source: str | Path) -> Clip:
    """Load an image-text model from a folder, a ``.pt`` file of OpenAI's, or the hub (``hf:owner/name``).

    A folder holds ``config.json`` (or open_clip's ``open_clip_config.json``), weights as safetensors (or a
    ``pytorch_model.bin`` of plain tensors) and a tokenizer. Which family it is stands in the config. OpenAI's
    files need a tokenizer beside them, see :func:`~clip2scene.teacher.clip.tokenizer.read_clip_tokenizer`.

    Raises:
        ValueError: If the folder is not there, is of no known family, its weights do not fit its config or
            are not finite, or it has no tokenizer.
    """
    if is_archive(source):
        return _load_openai(Path(source))
    folder = find_folder(source)
    if (folder / "open_clip_config.json").exists():
        return _load_open_clip(folder)
    if not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} is no image-text model: expected config.json, got {listing(folder)}; "
            "name the folder that a CLIP or SigLIP model was saved to, or a .pt file of OpenAI's itself"
        )
    config = read_json(folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind == "clip_resnet":
        return _load_small(folder, config)
    if kind in ("clip", "siglip"):
        return _load_transformers(folder, kind, config)
    if kind == "tipsv2":
        return _load_tips(folder, config)
    if kind == "siglip2":
        raise ValueError(
            f"{folder} is a SigLIP 2 of the NaFlex kind, which cuts images up in its own way and is "
            "not supported; take a SigLIP 2 of a fixed image size, such as siglip2-base-patch16-224"
        )
    raise ValueError(
        f"{folder}/config.json describes a model of type {kind!r}; expected clip_resnet, clip, siglip or "
        "tipsv2 (SigLIP 2 of a fixed image size calls itself siglip). Name the folder of a model with both "
        "an image and a text tower"
    )


def clip_of_resnet(model: ClipResNet, tokenizer: Tokenizer, mean: Tensor, std: Tensor) -> Clip:
    """Make a :class:`Clip` of a ResNet model, its tokenizer, and mean and deviation of its colours (0..1)."""
    return _of_resnet(model, WholeTokenizer(tokenizer), (mean, std))


def _of_resnet(model: ClipResNet, words: TextReader | TextTable, colours: tuple[Tensor, Tensor]) -> Clip:
    config = model.config
    model.visual.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster convolutions
    return Clip("resnet", model.eval(), words, *colours, config.image_size, config.stride)


def _table_or(folder: Path, open_tokenizer: Callable[[], TextReader]) -> TextReader | TextTable:
    """Open the table of text embeddings that stands in for the text tower, or the tokenizer."""
    table = folder / WORDS
    return read_text_table(table) if table.exists() else open_tokenizer()


def save_clip(clip: Clip, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a ResNet model in the layout that :func:`load_clip` reads, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    config = asdict(clip.model.config)
    write_json(
        folder / "config.json", {"model_type": "clip_resnet", "architectures": ["ClipResNet"], **config}
    )
    size = {"height": clip.image_size, "width": clip.image_size}
    normalisation = {"image_mean": clip.mean.tolist(), "image_std": clip.std.tolist(), "size": size}
    write_json(folder / "preprocessor_config.json", normalisation)
    with write_atomically(folder / "tokenizer.json") as temporary:
        temporary.write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    state = {name: value.detach().cpu().contiguous() for name, value in clip.model.state_dict().items()}
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    with write_atomically(folder / "model.safetensors") as temporary:
        save_file(halves, temporary, metadata={"format": "pt"})


def _build_resnet(folder: Path, values: Mapping[str, Any], path: Path, mean: Tensor, std: Tensor) -> Clip:
    weights = open_weights(folder)
    config = resnet_settings(values, weights.shapes, path)
    model = build_model(lambda: ClipResNet(config), weights)
    words = _table_or(folder, lambda: WholeTokenizer(read_tokenizer(folder, config.context_length)))
    return _of_resnet(model, words, (mean, std))


def _load_small(folder: Path, content: Mapping[str, Any]) -> Clip:
    return _build_resnet(folder, content, folder / "config.json", *read_normalisation(folder))


def _load_open_clip(folder: Path) -> Clip:
    path = folder / "open_clip_config.json"
    try:
        content = read_json(path)
        cfg, processing = content["model_cfg"], content.get("preprocess_cfg", {})
        vision, text = cfg["vision_cfg"], cfg["text_cfg"]
        if not isinstance(vision["layers"], list):
            raise ValueError(
                f"{path} describes a vision transformer; only ResNets are read in open_clip's layout. "
                "Take the same model in the layout of transformers"
            )
        values = {
            "embed_dim": cfg["embed_dim"],
            "image_size": vision["image_size"],
            "layers": vision["layers"],
            "strides": list(OPENAI_STRIDES),
            "width": vision["width"],
            "image_heads": vision["width"] * 32 // 64,
            "vocab_size": text["vocab_size"],
            "context_length": text["context_length"],
            "text_width": text["width"],
            "text_heads": text["heads"],
            "text_layers": text["layers"],
        }
        mean, std = processing.get("mean", OPENAI_MEAN), processing.get("std", OPENAI_STD)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} lacks {error}; take it from a model saved by open_clip") from None
    return _build_resnet(folder, values, path, three_numbers(mean, path), deviations(std, path))


def _load_openai(path: Path) -> Clip:
    model: Any = load_openai_model(path)
    colours = torch.tensor(OPENAI_MEAN), torch.tensor(OPENAI_STD)
    if isinstance(model, ClipResNet):
        num_tokens, length = model.config.vocab_size, model.config.context_length
    else:
        text, vision = model.config.text_config, model.config.vision_config
        num_tokens, length = text.vocab_size, text.max_position_embeddings

    words = _table_or(
        path.parent,
        lambda: WholeTokenizer(
            read_clip_tokenizer(path.parent, num_tokens=num_tokens, context_length=length)
        ),
    )
    if isinstance(model, ClipResNet):
        return _of_resnet(model, words, colours)
    return Clip("vit", model, words, *colours, vision.image_size, vision.patch_size)


def _load_transformers(folder: Path, kind: Literal["clip", "siglip"], content: Mapping[str, Any]) -> Clip:
    import transformers  # late: slow to import

    weights = open_weights(folder)
    given = transformers_settings(content, kind, weights.shapes, folder / "config.json")
    names = ("CLIPConfig", "CLIPModel") if kind == "clip" else ("SiglipConfig", "SiglipModel")

    def make() -> nn.Module:
        try:
            with quiet():
                return getattr(transformers, names[1])(getattr(transformers, names[0])(**given))
        except Exception as error:  # the library raises many kinds, and all mean that the config is bad
            fault = in_a_sentence(error)
            raise ValueError(f"{folder} is no complete {kind} model ({fault}); fetch it anew") from None

    model: Any = build_model(make, weights)
    text, vision = model.config.text_config, model.config.vision_config
    length, num_tokens = text.max_position_embeddings, text.vocab_size
    words = _table_or(
        folder, lambda: open_folder_tokenizer(folder, model.config, length=length, num_tokens=num_tokens)
    )
    if kind == "clip" and isinstance(words, FolderTokenizer):
        _check_end(words, text.eos_token_id, folder)
    family: Family = "vit" if kind == "clip" else "siglip"
    greys = {} if kind == "clip" else {"mean": SIGLIP_GREY, "std": SIGLIP_GREY}
    colours = read_normalisation(folder, **greys)
    return Clip(family, model, words, *colours, vision.image_size, vision.patch_size)


def _load_tips(folder: Path, content: Mapping[str, Any]) -> Clip:
    """Load a TIPSv2, whose colours are those of the image, in 0..1."""
    model: Any = load_tips_model(folder, content)
    text, vision = model.config.text_config, model.config.vision_config
    length, num_tokens = text.max_position_embeddings, text.vocab_size
    words = _table_or(
        folder, lambda: open_folder_tokenizer(folder, model.config, length=length, num_tokens=num_tokens)
    )
    return Clip("tips", model, words, torch.zeros(3), torch.ones(3), vision.image_size, vision.patch_size)


def _check_end(words: FolderTokenizer, end: int, folder: Path) -> None:
    """Refuse a config whose end of a text is not the tokenizer's: all texts would have one embedding.

    2 is what older configs say; the model then looks for the highest token.
    """
    ids = words.tokenize(["a"])[0].tolist()
    if end not in (2, *ids):
        raise ValueError(
            f"{folder}/config.json says that texts end with token {end}, its tokenizer ends them with "
            f"{ids[-1]}; take both from one model"
        )
