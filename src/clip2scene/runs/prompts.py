"""A run's classes in words, on disk."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clip2scene.io import read_json, write_atomically, write_json
from clip2scene.types import Prompts


def save_prompts(folder: Path, prompts: Prompts) -> None:
    """Write the classes in words, so that a run needs no text encoder to answer for them."""
    write_json(folder / "prompts.json", {"classes": prompts.classes, "names": prompts.names})
    tensors = {"class_of_name": prompts.class_of_name, "embeddings": prompts.embeddings.contiguous()}
    with write_atomically(folder / "prompts.safetensors") as temporary:
        save_file(tensors, temporary)


def load_prompts(folder: Path) -> Prompts:
    """Read what :func:`save_prompts` wrote.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    words = read_json(folder / "prompts.json")
    try:
        tensors = load_file(folder / "prompts.safetensors")
        return Prompts(
            tuple(words["classes"]), tuple(words["names"]), tensors["class_of_name"], tensors["embeddings"]
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"the prompts of run {folder} cannot be read ({error}); train it anew") from None
