"""What a model folder's ``config.json`` may say: settings of known names, types and ranges, and no others.

Whatever the weights' shapes tell is compared with them: the number of blocks here, before any is made; the
rest when the model is laid out (:func:`~clip2scene.teacher.clip.weights.build_model`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clip2scene.teacher.clip.resnet import ResNetClipConfig
from clip2scene.teacher.clip.weights import Shapes, count_parts

_MOST = 1 << 20  # tokens, channels or pixels; SigLIP 2 has 256,000 tokens


@dataclass(frozen=True)
class _Rule:
    expected: str
    holds: Callable[[Any], bool]


def _known_activation(value: object) -> bool:
    from transformers.activations import ACT2FN  # late: slow to import

    return isinstance(value, str) and value in ACT2FN


_COUNT = _Rule(f"a whole number of 1 to {_MOST}", lambda value: type(value) is int and 1 <= value <= _MOST)
_TOKEN = _Rule(f"a whole number of 0 to {_MOST}", lambda value: type(value) is int and 0 <= value <= _MOST)
_SHARE = _Rule("a number of 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1)
_STAGES = _Rule(
    "a list of 1 to 8 whole numbers of 1 to 256",
    lambda value: (
        isinstance(value, list | tuple)
        and 1 <= len(value) <= 8
        and all(type(each) is int and 1 <= each <= 256 for each in value)
    ),
)
_BLOCKS = {
    "hidden_size": _COUNT,
    "intermediate_size": _COUNT,
    "num_hidden_layers": _COUNT,
    "num_attention_heads": _COUNT,
    "projection_dim": _COUNT,
    "hidden_act": _Rule("an activation that transformers knows", _known_activation),
    "layer_norm_eps": _SHARE,
    "attention_dropout": _SHARE,
}
_RULES: dict[str, dict[str, _Rule]] = {
    "text_config": {
        **_BLOCKS,
        "vocab_size": _COUNT,
        "max_position_embeddings": _COUNT,
        "projection_size": _COUNT,
        "pad_token_id": _TOKEN,
        "bos_token_id": _TOKEN,
        "eos_token_id": _TOKEN,
    },
    "vision_config": {
        **_BLOCKS,
        "image_size": _COUNT,
        "patch_size": _COUNT,
        "num_channels": _Rule("3", lambda value: type(value) is int and value == 3),
        "vision_use_head": _Rule("true", lambda value: value is True),
    },
}
_USUAL_LAYERS = 12  # where a config does not say


def transformers_settings(
    content: Mapping[str, Any], kind: Literal["clip", "siglip"], shapes: Shapes, path: Path
) -> dict[str, Any]:
    """Take from a config what transformers' CLIP or SigLIP needs, and nothing else.

    Args:
        content: Of ``config.json``.
        kind: Type of the model.
        shapes: Of the weights.
        path: The config, for messages.

    Returns:
        Settings for ``CLIPConfig`` or ``SiglipConfig``.

    Raises:
        ValueError: If a setting is of another type, out of range, or other than the weights have it.
    """
    settings: dict[str, Any] = {}
    for section, rules in _RULES.items():
        values = _section(content, section, path) | _section(content, f"{section}_dict", path)
        known = {name: values[name] for name in rules if values.get(name) is not None}
        if kind == "clip":
            known.pop("projection_size", None), known.pop("vision_use_head", None)
        else:
            known.pop("projection_dim", None)
        _check(known, rules, f"{path}: {section}.")
        tower = section.removesuffix("_config")
        layers = known.get("num_hidden_layers", _USUAL_LAYERS)
        compare_blocks(layers, count_parts(shapes, f"{tower}_model.encoder.layers."), f"{section} of {path}")
        settings[section] = known
    width = content.get("projection_dim")
    if kind == "clip" and width is not None:
        _check({"projection_dim": width}, _BLOCKS, f"{path}: ")
        settings["projection_dim"] = width
    return settings


def resnet_settings(values: Mapping[str, Any], shapes: Shapes, path: Path) -> ResNetClipConfig:
    """Make the settings of a ResNet model of what its config says.

    Raises:
        ValueError: As :func:`transformers_settings`, or if one is missing.
    """
    fields = ResNetClipConfig.__dataclass_fields__
    missing = sorted(set(fields) - set(values))
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; take it from a saved clip_resnet model")
    known = {name: values[name] for name in fields}
    _check(
        known, {name: _STAGES if name in ("layers", "strides") else _COUNT for name in fields}, f"{path}: "
    )
    stages = range(1, 1 + count_parts(shapes, "visual.layer"))
    blocks = [count_parts(shapes, f"visual.layer{stage}.") for stage in stages]
    compare_blocks(list(known["layers"]), blocks, f"the image tower of {path}")
    texts = count_parts(shapes, "transformer.resblocks.")
    compare_blocks(known["text_layers"], texts, f"the text tower of {path}")
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    try:
        return ResNetClipConfig(**{**known, **lists})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def compare_blocks(said: int | list[int], held: int | list[int], whose: str) -> None:
    """Refuse a config with another number of blocks than its weights: they are made one by one.

    Raises:
        ValueError: If they differ.
    """
    if said != held:
        raise ValueError(
            f"{whose} has {said} blocks, its weights {held}; take config and weights from one and the same "
            "model"
        )


def _section(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    values = content.get(name)
    if not isinstance(values, dict | None):
        raise ValueError(f"{path}: {name} must be settings by name, got {values!r:.80}; fetch it anew")
    return dict(values or {})


def _check(values: Mapping[str, Any], rules: Mapping[str, _Rule], place: str) -> None:
    for name, value in values.items():
        if not rules[name].holds(value):
            raise ValueError(
                f"{place}{name} must be {rules[name].expected}, got {value!r:.80}; fetch it anew"
            )
