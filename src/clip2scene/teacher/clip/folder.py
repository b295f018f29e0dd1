"""The parts of a model's folder: weights, tokenizer, normalisation; read with care and clear complaints."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from clip2scene.io import read_json

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
SIGLIP_GREY = (0.5, 0.5, 0.5)
"""Both mean and standard deviation of the colours (0..1) in all SigLIPs."""

Colour = tuple[float, float, float]

WEIGHTS = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "model-*.safetensors",
    "pytorch_model.bin",
    "pytorch_model-*.bin",
)
"""Names that weights may have, the first that is there is read."""

OPENAI_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
WORDS = "words.safetensors"
"""A table of text embeddings that lies beside weights stands in for their text tower."""

BESIDE_PT = ("tokenizer.json", "vocab.json", "merges.txt", OPENAI_VOCABULARY, WORDS)
"""Names under which what a ``.pt`` file needs may lie beside it."""


def find_folder(source: str | Path) -> Path:
    """Find a model's folder: the path itself, or a download from the Hugging Face hub when it is a hub id.

    Raises:
        ValueError: If it is neither, or the download fails.
    """
    if Path(source).is_dir():
        return Path(source)
    if Path(source).is_file():
        raise ValueError(f"{source} is a file; name the model's folder, or a .pt file of OpenAI's")
    from huggingface_hub import snapshot_download  # late: most runs never touch the network
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name = str(source)
    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "pytorch_model*.bin"]
    try:
        if name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise HFValidationError("no such folder, and not of the form owner/name")
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{name} is neither a folder nor a model that could be had from the hub ({reason}); "
            "check the path, or download the model first and name its folder"
        ) from None


def model_files(source: str | Path) -> tuple[Path, list[Path] | None]:
    """Say which files make a model what it is.

    Returns:
        Its folder, and the files in it; None for all of them. Beside a ``.pt`` file other models may lie.

    Raises:
        ValueError: If it is not there.
    """
    if Path(source).suffix != ".pt":
        return find_folder(source), None
    path = Path(source)
    beside = [path.with_name(name) for name in BESIDE_PT]
    return path.parent, [path, *(each for each in beside if each.exists())]


def listing(folder: Path) -> str:
    """Say briefly what lies in a folder, for complaints."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read every tensor of a folder's weights, whole or in shards.

    Safetensors are preferred; ``pytorch_model.bin`` is read only as far as it holds plain tensors.

    Raises:
        ValueError: If there are none, or they are damaged.
    """
    paths = next((found for each in WEIGHTS if (found := sorted(folder.glob(each)))), None)
    if paths is None:
        raise ValueError(
            f"{folder} holds no weights: expected model.safetensors, got {listing(folder)}; "
            "copy the file there"
        )
    shards = re.search(r"-of-(\d+)", paths[0].stem)
    if shards and len(paths) != int(shards[1]):
        raise ValueError(
            f"{folder} holds {len(paths)} of the {int(shards[1])} files that its weights are spread over; "
            "copy the others there"
        )
    tensors: dict[str, Tensor] = {}
    for path in paths:
        try:
            if path.suffix == ".safetensors":
                tensors |= load_file(path)
            else:
                tensors |= torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # both readers raise many kinds, and all mean that the file is bad
            if not isinstance(error, SafetensorError | OSError | RuntimeError | EOFError | ValueError):
                error = ValueError(type(error).__name__)
            raise ValueError(f"{path} cannot be read ({error}); fetch or copy it anew") from None
    return tensors


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load weights of exactly the model's names and shapes.

    Raises:
        ValueError: If a weight is missing, unknown or of another shape; the message names the first few.
    """
    # OpenAI keeps three numbers among the weights, older transformers a counter.
    extra = ("input_resolution", "context_length", "vocab_size")
    given = {
        name: value
        for name, value in weights.items()
        if name not in extra and not name.endswith("position_ids")
    }
    expected = model.state_dict()
    faults = [f"{name} is missing" for name in expected if name not in given]
    faults += [f"{name} is unknown" for name in given if name not in expected]
    faults += [
        f"{name} has shape {tuple(given[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(
            f"the weights in {source} do not fit its config: {'; '.join(faults[:3])}{more}; "
            "take config and weights from one and the same model"
        )
    model.load_state_dict(given)


def read_normalisation(
    folder: Path, *, mean: Colour = OPENAI_MEAN, std: Colour = OPENAI_STD
) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Read mean and standard deviation of the colours from ``preprocessor_config.json``.

    Newer folders keep them in ``processor_config.json``, under ``image_processor``.

    Args:
        folder: The model's.
        mean: Of each colour, in 0..1, where the folder does not say.
        std: The standard deviation, likewise.
    """
    path = folder / "preprocessor_config.json"
    content = read_json(path) if path.exists() else {}
    if not path.exists() and (folder / "processor_config.json").exists():
        path = folder / "processor_config.json"
        content = read_json(path).get("image_processor") or {}
    mean, std = content.get("image_mean", mean), content.get("image_std", std)
    return three_numbers(mean, path), three_numbers(std, path)


def three_numbers(values: object, path: Path) -> Float[Tensor, " 3"]:
    """Turn a list of three numbers into a tensor.

    Raises:
        ValueError: If it is not that; the message names ``path``.
    """
    numbers = values if isinstance(values, list | tuple) else ()
    if len(numbers) != 3 or not all(isinstance(value, int | float) for value in numbers):
        raise ValueError(
            f"{path} gives {values!r} as mean or standard deviation of the colours; expected three numbers. "
            "Take the file from the model"
        )
    return torch.tensor(numbers, dtype=torch.float32)
