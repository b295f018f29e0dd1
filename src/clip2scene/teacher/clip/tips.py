"""TIPSv2 (Cao et al. 2026), whose patches are aligned with texts: its folders, read into transformers' model.

Google's weights have Google's names, a folder that transformers saved may have either. Config files differ
even more, so the size of the model is read off the weights' shapes, and the config is asked for heads alone.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clip2scene.io import in_a_sentence
from clip2scene.teacher.clip.weights import Shapes, Weights, build_model, count_parts, open_weights, quiet

_PARTS = (
    (r"^text_encoder\.", "text_model."),
    (r"^vision_encoder\.", "vision_model."),
    (r"^text_model\.transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^text_model\.token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^text_model\.ln_final\.", "text_model.final_layer_norm."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"^(text_model\..*)\.attn\.", r"\1.self_attn."),
    (r"^vision_model\.blocks\.", "vision_model.encoder.layer."),
    (r"^vision_model\.(cls_token|mask_token|register_tokens)$", r"vision_model.embeddings.\1"),
    (r"^vision_model\.pos_embed$", "vision_model.embeddings.position_embeddings"),
    (r"^vision_model\.patch_embed\.proj\.", "vision_model.embeddings.patch_embeddings.projection."),
    (r"^vision_model\.norm\.", "vision_model.layernorm."),
    (r"^(vision_model\..*)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^(vision_model\..*)\.attn\.", r"\1.attention."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.mlp\.w3\.", ".mlp.down_proj."),
)
"""Google's names as patterns, and what they become; names of transformers' stay as they are."""
_STACKED = {
    "in_proj_": ("q_proj.", "k_proj.", "v_proj."),
    "qkv.": ("q_proj.", "k_proj.", "v_proj."),
    "w12.": ("gate_proj.", "up_proj."),
}
"""Matrices that are one in Google's files and several in transformers."""
_WIDTH_OF_HEAD = 64  # but in the so400m, where 1152 channels have 16 heads
_SO400M = (1152, 16)
_LONGEST_TEXT = 64


def load_tips_model(folder: Path, content: Mapping[str, Any]) -> nn.Module:
    """Load a TIPSv2 from a folder's weights, in single precision.

    Args:
        folder: Holds them as safetensors.
        content: Of its ``config.json``.

    Returns:
        Transformers' ``Tipsv2Model``.

    Raises:
        ValueError: If the installed transformers has none, or the weights are not those of one.
    """
    import transformers  # late: slow to import

    if getattr(transformers, "Tipsv2Model", None) is None:
        raise ValueError(
            f"{folder} is a TIPSv2, which transformers {transformers.__version__} does not have; install "
            "5.23 or newer"
        )
    opened = open_weights(folder)
    weights = Weights.held(folder, rename_tips(opened.read()))
    try:
        settings = tips_settings(weights.shapes, content)
    except (KeyError, IndexError, ZeroDivisionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder} holds no TIPSv2: {in_a_sentence(error)} is missing or misshapen among its weights; "
            "name the folder of a whole model"
        ) from None

    def make() -> nn.Module:
        try:
            with quiet():
                return transformers.Tipsv2Model(transformers.Tipsv2Config(**settings))
        except Exception as error:  # the library raises many kinds, and all mean that the sizes are bad
            fault = in_a_sentence(error)
            raise ValueError(f"{folder} is no complete TIPSv2 ({fault}); fetch it anew") from None

    return build_model(make, weights)


def rename_tips(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a TIPSv2's weights the names that transformers has for them; a name that is not known stays.

    The temperature, which has no part in embeddings and is not in every file, is 1 where it is missing.
    """
    renamed = {"temperature": torch.ones(())}
    for name, value in weights.items():
        for pattern, ours in _PARTS:
            name = re.sub(pattern, ours, name)
        stacked = next((each for each in _STACKED if f".{each}" in name), None)
        if stacked is None:
            renamed[name] = value
            continue
        parts = _STACKED[stacked]
        for part, each in zip(parts, value.chunk(len(parts)), strict=False):
            renamed[name.replace(f".{stacked}", f".{part}")] = each
    return renamed


def tips_settings(shapes: Shapes, content: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings that transformers asks for off the weights' shapes.

    Args:
        shapes: By the names of transformers.
        content: Of ``config.json``, where heads may be counted.

    Raises:
        KeyError: If a weight that tells is missing.
    """
    vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
    _, _, patch, _ = shapes["vision_model.embeddings.patch_embeddings.projection.weight"]
    side = round((shapes["vision_model.embeddings.position_embeddings"][1] - 1) ** 0.5)
    first = "vision_model.encoder.layer.0.mlp."
    gated = f"{first}down_proj.weight" in shapes
    hidden = shapes[f"{first}down_proj.weight"][1] * 3 / 2 if gated else shapes[f"{first}fc1.weight"][0]
    return {
        "text_config": {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
            "num_hidden_layers": count_parts(shapes, "text_model.encoder.layers."),
            "num_attention_heads": _heads(content, "text_config", "text_num_heads", width),
            "max_position_embeddings": _LONGEST_TEXT,
        },
        "vision_config": {
            "hidden_size": width,
            "mlp_ratio": (hidden + 0.25) / width,  # the library rounds down what it multiplies out
            "use_swiglu_ffn": gated,
            "num_hidden_layers": count_parts(shapes, "vision_model.encoder.layer."),
            "num_attention_heads": _heads(content, "vision_config", "", width),
            "num_register_tokens": shapes["vision_model.embeddings.register_tokens"][1],
            "image_size": side * patch,
            "patch_size": patch,
        },
    }


def _heads(content: Mapping[str, Any], section: str, flat: str, width: int) -> int:
    """Count attention heads: as the config says, or as Google's models have it."""
    values = content.get(section)
    said = values.get("num_attention_heads") if isinstance(values, Mapping) else content.get(flat)
    if type(said) is int and said > 0 and width % said == 0:
        return said
    return _SO400M[1] if width == _SO400M[0] else max(1, width // _WIDTH_OF_HEAD)
