"""A vision model of transformers, from a folder whose config may say anything."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from clip2scene.io import in_a_sentence
from clip2scene.teacher.clip.weights import Shapes, check_numbers, open_weights, quiet

_MOST = 1 << 20  # of any number of a config
_ELSEWHERE = {"backbone", "backbone_kwargs", "use_pretrained_backbone", "use_timm_backbone"}
"""Settings by which a config would have another model fetched."""

_LONGEST = 64  # entries of a list


def load_vision_model(
    folder: Path, content: object, kind: str = "AutoModel", *, names: Sequence[str] | None = None
) -> nn.Module:
    """Load a frozen vision model from a folder's safetensors, in single precision; no program in it is run.

    What the config says is laid out without numbers first, and compared with the weights' header.

    Args:
        folder: Holds config and weights.
        content: Of ``config.json``.
        kind: A class of transformers; by default the one without a head that suits the config.
        names: Of the classes that its head tells apart, if it has one.

    Raises:
        ValueError: If it is no vision model, config and weights do not fit each other, or a weight is not
            finite.
    """
    import transformers  # late: slow to import

    shapes = open_weights(folder).shapes
    try:
        config = _open_config(content)
        if names is not None:
            config.id2label = dict(enumerate(names))
        with torch.device("meta"), _no_more_parts_than(len(shapes)):
            if kind == "AutoModel":
                outline = transformers.AutoModel.from_config(config, trust_remote_code=False)
            else:
                outline = getattr(transformers, kind)(config)
        if kind == "AutoModel" and outline.main_input_name != "pixel_values":
            raise _MisfitError(
                f"{folder} holds a {type(outline).__name__}, which takes no images; name a vision model"
            )
        _compare(outline, shapes, folder)
        with quiet():  # heads of classifiers are left out on purpose
            model, report = getattr(transformers, kind).from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported, and refused below
                output_loading_info=True,
            )
    except _MisfitError:
        raise
    except Exception as error:  # the library raises many kinds, and all mean that the folder is bad
        fault = in_a_sentence(error)
        raise ValueError(
            f"{folder} holds no vision model that can be read ({fault}); fetch it anew"
        ) from None
    lacking = {name for name in report["missing_keys"] if not _unused(name)}
    lacking |= {name for name, *_ in report["mismatched_keys"]}
    if lacking:
        raise _misfit(folder, lacking)
    check_numbers(model.float(), folder)
    return model.eval().requires_grad_(False)


class _MisfitError(ValueError):
    """What is said of a folder, whole."""


def _open_config(content: object) -> Any:  # noqa: ANN401 - every model has a config class of its own
    """Make a config of what its own class knows; how the library is to behave is not the file's to say.

    Raises:
        ValueError: If the type of the model is not known, or a value is beyond all measure.
    """
    from transformers import CONFIG_MAPPING, PreTrainedConfig  # late: slow to import

    kind = content.get("model_type") if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping) or not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise ValueError(f"its config.json names no type of model that is known, but {kind!r:.80}")
    own = CONFIG_MAPPING[kind]
    usual = own()
    names = {*vars(usual), *own.attribute_map} - set(vars(PreTrainedConfig())) - _ELSEWHERE
    if hasattr(usual, "out_features"):
        names.add("out_features")
    given = {name: value for name, value in content.items() if name in names}
    for name, value in given.items():
        if isinstance(value, Mapping) and isinstance(getattr(usual, name), PreTrainedConfig):
            given[name] = _open_config(value)
        elif isinstance(value, Mapping) and isinstance(getattr(usual, name), Mapping):
            _check_value(name, list(value.values()))  # such as those of rotary positions
        else:
            _check_value(name, value)
    return own(**given)


def _check_value(name: str, value: object) -> None:
    if isinstance(value, list) and len(value) <= _LONGEST:
        for each in value:
            _check_value(name, each)
    elif isinstance(value, bool | str | None):
        return
    elif not isinstance(value, int | float) or not (math.isfinite(value) and abs(value) <= _MOST):
        raise ValueError(f"its config.json gives {name} as {value!r:.80}")


@contextmanager
def _no_more_parts_than(tensors: int) -> Iterator[None]:
    """Stop whoever makes a model of far more parts than there are tensors to fill it with."""
    left = {"parts": 1000 + 20 * tensors}

    def count(*_: object) -> None:
        left["parts"] -= 1
        if left["parts"] < 0:
            raise ValueError(f"its config.json asks for far more layers than its {tensors} tensors can fill")

    hooks = [
        register_module_module_registration_hook(count),
        register_module_parameter_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _compare(outline: nn.Module, shapes: Shapes, folder: Path) -> None:
    """Refuse weights of another shape, or of fewer numbers, than the model that the config describes."""
    wanted = {name: tuple(each.shape) for name, each in outline.state_dict().items() if not _unused(name)}
    prefix = getattr(outline, "base_model_prefix", "")
    bent = {
        name
        for name, shape in wanted.items()
        if shapes.get(name, shapes.get(f"{prefix}.{name}", shape)) != shape
    }
    if bent:
        raise _misfit(folder, bent)
    tables = sum(each.numel() for each in outline.buffers())
    needed, held = sum(map(math.prod, wanted.values())), sum(map(math.prod, shapes.values()))
    if needed > held or tables > 2 * held + _MOST:
        raise _MisfitError(
            f"the config in {folder} describes a model of {needed:,} numbers, its weights hold {held:,}; "
            "take config and weights from one and the same model"
        )


def _misfit(folder: Path, names: set[str]) -> _MisfitError:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return _MisfitError(
        f"the weights in {folder} lack, or have in another shape, {', '.join(sorted(names)[:3])}{more}; "
        "take config and weights from one and the same model"
    )


def _unused(name: str) -> bool:
    """Tell what has no part in a forward pass: a pooling head, the mask token, the loss."""
    return name.startswith(("pooler.", "criterion.")) or name.endswith("mask_token")
