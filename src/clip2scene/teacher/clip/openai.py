"""OpenAI's own CLIP weights, from the ``.pt`` files they were published as.

Such a file holds weights and no settings: what a model looks like is read off the shapes. The ResNets keep
their names in :class:`~clip2scene.teacher.clip.resnet.ClipResNet`; the vision transformers are given the
names of the same model in transformers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from clip2scene.io import read_torch
from clip2scene.teacher.clip.resnet import ClipResNet, ResNetClipConfig
from clip2scene.teacher.clip.torch_archive import is_torch_script, read_torch_script
from clip2scene.teacher.clip.weights import Shapes, Weights, build_model, count_parts

HEAD = 64
"""Channels of an attention head, the same in all of OpenAI's models."""


def read_openai_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a ``.pt`` file: a TorchScript archive, or a plain state dict.

    Nothing in the file is run: of an archive the programs are left alone, and a state dict is opened by
    torch's own reader of plain tensors.

    Raises:
        ValueError: If the file is missing, damaged, or holds anything but tensors.
    """
    if is_torch_script(path):
        return read_torch_script(path)
    content = read_torch(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} holds no state dict; save the model's state_dict() and nothing else")
    return {str(name): value for name, value in content.items()}


def load_openai_model(path: Path) -> nn.Module:
    """Load a CLIP of OpenAI's from its ``.pt`` file, in single precision.

    Returns:
        A ``ClipResNet`` for the RN models, transformers' ``CLIPModel`` for the ViTs.

    Raises:
        ValueError: If the file cannot be read, or its weights are not those of such a model; the message
            lists the first few that are missing or of another shape.
    """
    # A mask is made anew from the context length; the three sizes are read off the shapes.
    weights = {
        name: value for name, value in read_openai_weights(path).items() if not name.endswith("attn_mask")
    }
    shapes = Weights.held(path, weights).shapes
    try:
        if "visual.conv1.weight" in shapes and "visual.layer1.0.conv1.weight" in shapes:
            config = resnet_config(shapes)
            return build_model(lambda: ClipResNet(config), Weights.held(path, weights))
        settings = vit_settings(shapes)
        return build_model(lambda: make_vit(settings), Weights.held(path, rename_vit(weights)))
    except (KeyError, IndexError, ZeroDivisionError, TypeError) as error:
        raise ValueError(
            f"{path} holds no CLIP of OpenAI's: expected weights such as visual.conv1.weight and "
            f"text_projection, and {error} is missing or misshapen; name the .pt file of a whole model"
        ) from None


def resnet_config(shapes: Shapes) -> ResNetClipConfig:
    """Read the shape of a model with a residual network off its weights.

    Raises:
        KeyError: If a weight that tells is missing.
    """
    width = shapes["visual.layer1.0.conv1.weight"][0]
    stages = range(1, 1 + _count(shapes, "visual.layer"))
    side = round((shapes["visual.attnpool.positional_embedding"][0] - 1) ** 0.5)
    settings: dict[str, Any] = {
        "image_size": side * 32,
        "layers": tuple(_count(shapes, f"visual.layer{stage}.") for stage in stages),
        "width": width,
        "image_heads": width * 32 // HEAD,
    }
    return ResNetClipConfig(**settings, **_text_settings(shapes))


def _text_settings(shapes: Shapes) -> dict[str, Any]:
    width, embed_dim = shapes["text_projection"]
    return {
        "embed_dim": embed_dim,
        "vocab_size": shapes["token_embedding.weight"][0],
        "context_length": shapes["positional_embedding"][0],
        "text_width": width,
        "text_heads": width // HEAD,
        "text_layers": _count(shapes, "transformer.resblocks."),
    }


def vit_settings(shapes: Shapes) -> dict[str, Any]:
    """Read the settings that transformers asks for off the weights of a model with a vision transformer.

    Raises:
        KeyError: If a weight that tells is missing.
    """
    text = _text_settings(shapes)
    width, _, patch, _ = shapes["visual.conv1.weight"]
    side = round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)
    last = text["vocab_size"] - 1  # the end of a text; the token before it begins one
    return {
        "projection_dim": text["embed_dim"],
        "vision_config": {
            **_block_settings(width, _count(shapes, "visual.transformer.resblocks.")),
            "image_size": side * patch,
            "patch_size": patch,
        },
        "text_config": {
            **_block_settings(text["text_width"], text["text_layers"]),
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            "bos_token_id": last - 1,
            "eos_token_id": last,
            "pad_token_id": last,
        },
    }


def _block_settings(width: int, layers: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": width // HEAD,
        "num_hidden_layers": layers,
        "hidden_act": "quick_gelu",
    }


def _count(shapes: Shapes, prefix: str) -> int:
    """Count what is numbered after ``prefix``.

    Raises:
        KeyError: If there is nothing.
    """
    found = count_parts(shapes, prefix)
    if not found:
        raise KeyError(f"{prefix}*")
    return found


def make_vit(settings: Mapping[str, Any]) -> nn.Module:
    """Make transformers' CLIP with fresh weights."""
    import transformers  # late: slow to import

    try:
        return transformers.CLIPModel(transformers.CLIPConfig(**settings))
    except Exception as error:  # the library has many kinds for settings that cannot be
        raise ValueError(
            f"the weights are not shaped as a CLIP of OpenAI's ({error}); fetch them anew"
        ) from None


_PARTS = {
    "visual.conv1": "vision_model.embeddings.patch_embedding",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "transformer.resblocks": "text_model.encoder.layers",
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
}
_PARTS_OF_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def rename_vit(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a vision transformer's weights the names that transformers has for them.

    The three projections of an attention, one matrix there, are three here; the last projections are
    transposed. A name that is not known stays, so that it is complained of.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        place, part = _split(name)
        if part.startswith("attn.in_proj_"):
            kind = part.removeprefix("attn.in_proj_")
            for letter, each in zip("qkv", value.chunk(3), strict=False):
                renamed[f"{place}.self_attn.{letter}_proj.{kind}"] = each
        elif name in ("visual.proj", "text_projection"):
            renamed[_PARTS[name]] = value.T
        else:
            renamed[f"{place}.{part}" if part else place] = value
    return renamed


def _split(name: str) -> tuple[str, str]:
    """Say which module of transformers a weight belongs to, and what it is called there."""
    for ours, theirs in _PARTS.items():
        if name == ours:
            return theirs, ""
        if name.startswith(f"{ours}."):
            rest = name.removeprefix(f"{ours}.")
            if not ours.endswith("resblocks"):
                return theirs, rest
            number, _, part = rest.partition(".")
            for short, long in _PARTS_OF_BLOCK.items():
                if part.startswith(f"{short}."):
                    return f"{theirs}.{number}", long + part.removeprefix(short)
            return f"{theirs}.{number}", part
    return name, ""
