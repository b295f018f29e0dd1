"""A model's folder: where it is, what lies in it, how its colours are normalised."""

import re
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

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


HUB = "hf:"
"""Before a model's name on the Hugging Face hub; whatever is written without it never goes to the network."""
_NAME_ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def find_folder(source: str | Path) -> Path:
    """Find a model's folder: the path itself, or a download from the Hugging Face hub for ``hf:owner/name``.

    Raises:
        ValueError: If it is neither, or the download fails.
    """
    if str(source).startswith(HUB):
        return _download(str(source).removeprefix(HUB))
    if Path(source).is_dir():
        return Path(source)
    if Path(source).exists():
        raise ValueError(f"{source} is a file; name the model's folder, or a .pt file of OpenAI's")
    hint = ""
    if _NAME_ON_HUB.fullmatch(str(source)):
        hint = f"; a model of the Hugging Face hub is written with {HUB} before it: {HUB}{source}"
    raise ValueError(f"there is no folder {source}; check the path{hint}")


def _download(name: str) -> Path:
    """Fetch the parts of a model that are read here."""
    from huggingface_hub import snapshot_download  # late: most runs never touch the network
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "pytorch_model*.bin"]
    try:
        if not _NAME_ON_HUB.fullmatch(name):
            raise HFValidationError("it is not of the form owner/name")
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"the model {HUB}{name} could not be had from the hub ({reason}); "
            "check the name, or download the model first and name its folder"
        ) from None


def is_archive(source: str | Path) -> bool:
    """Tell a ``.pt`` file of OpenAI's from a folder and from a model on the hub."""
    return Path(source).suffix == ".pt" and not str(source).startswith(HUB)


def model_files(source: str | Path) -> tuple[Path, list[Path] | None]:
    """Say which files make a model what it is.

    Returns:
        Its folder, and the files in it; None for all of them. Beside a ``.pt`` file other models may lie.

    Raises:
        ValueError: If it is not there.
    """
    if not is_archive(source):
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
        content = read_json(path)
        content = (content.get("image_processor") or {}) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must be settings by name, got {content!r:.80}; take the file from the model"
        )
    mean, std = content.get("image_mean", mean), content.get("image_std", std)
    return three_numbers(mean, path), deviations(std, path)


def three_numbers(values: object, path: Path) -> Float[Tensor, " 3"]:
    """Turn a list of three numbers into a tensor.

    Raises:
        ValueError: If it is not that; the message names ``path``.
    """
    numbers = values if isinstance(values, list | tuple) else ()
    if len(numbers) != 3 or not all(type(each) in (int, float) and abs(each) < 1e6 for each in numbers):
        raise ValueError(
            f"{path} gives {values!r} as mean or standard deviation of the colours; expected three numbers. "
            "Take the file from the model"
        )
    return torch.tensor(numbers, dtype=torch.float32)


def deviations(values: object, path: Path) -> Float[Tensor, " 3"]:
    """Turn a list of three standard deviations into a tensor; colours are divided by them.

    Raises:
        ValueError: As :func:`three_numbers`, or if one is not above zero.
    """
    found = three_numbers(values, path)
    if not bool((found > 1e-6).all()):
        raise ValueError(f"{path} gives {values!r} as standard deviation; expected three numbers above 0")
    return found
