"""The teacher's dense embeddings, kept on disk: the forward pass of the frozen teacher is paid for once.

The maps do not depend on prompts, pairs or sweeps, so runs that differ in those share them. They are rounded
to half precision or to eight bits; a teacher without a folder rounds them alike, so that no result depends on
whether it was cached. Augmentation of clouds does not change them either: pairs name pixels of the image as
it was recorded.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8, Num, UInt8
from torch import Tensor

from clip2scene.io import load_checksummed, save_checksummed
from clip2scene.teacher.maskclip import DenseEmbeddings, Maps, MaskClip
from clip2scene.types import Sample

FORMAT = 2
"""Of the cached maps; to be raised whenever the forward pass would give something else."""

Precision = Literal["float16", "int8"]

Rounded = tuple[Num[Tensor, "_ _ _"], ...]  # maps as they are stored


@dataclass(frozen=True)
class CachedTeacher:
    """MaskCLIP with a cache on disk, so that the forward pass runs once for each image.

    A file is named by what it was made of: the image's pixels, the model's weights and the settings of the
    forward pass. So it is never stale, as long as :data:`FORMAT` is raised when that code changes, and two
    processes that write the same one write the same content.

    Attributes:
        teacher: The model.
        weights_hash: Of the files of the image-text model, and of its proxy if it has one.
        folder: Where the maps are stored; may be deleted. None stores nothing.
        precision: What their numbers are rounded to; "int8" takes half the space of "float16".
    """

    teacher: MaskClip
    weights_hash: str
    folder: Path | None = None
    precision: Precision = "float16"

    def __call__(self, sample: Sample) -> DenseEmbeddings:
        """Dense embeddings of every image of a sample, computed or read from the cache.

        Raises:
            ValueError: If an image cannot be read.
        """
        maps = [self._embed_image(sample.read_image(view)) for view in range(len(sample.cameras))]
        return self.teacher.dense_embeddings(maps, [(each.height, each.width) for each in sample.cameras])

    def has(self, image: UInt8[Tensor, "height width 3"]) -> bool:
        """Tell whether an image's maps are cached, be it in a damaged file, which is made anew."""
        return self.folder is not None and (self.folder / self._name(image)).exists()

    def _embed_image(self, image: UInt8[Tensor, "height width 3"]) -> Maps:
        """Give an image's maps as they are cached."""
        path = None if self.folder is None else self.folder / self._name(image)
        cached = None if path is None else _read(path)
        if cached is None:
            round_off = to_bytes if self.precision == "int8" else Tensor.half
            cached = tuple(round_off(each) for each in self.teacher.embed_image(image))
            if path is not None:
                save_checksummed(path, {str(number): each for number, each in enumerate(cached)})
        return tuple(F.normalize(each.float(), dim=0) for each in cached)

    def _name(self, image: UInt8[Tensor, "height width 3"]) -> str:
        """Name the file of an image's maps; the first two digits are a folder, as there may be millions."""
        elsewhere = ("clip", "proxy", "key_smoothing", "prompt_denoising")  # weights, and what refines logits
        settings = {name: value for name, value in vars(self.teacher).items() if name not in elsewhere}
        if self.teacher.attention == "maskclip":  # the only one that there was
            del settings["attention"]
        settings |= {"keys": self.teacher.key_smoothing > 0, "size": list(image.shape)}
        settings |= {"precision": self.precision, "format": FORMAT}
        digest = hashlib.sha256(json.dumps([self.weights_hash, settings], sort_keys=True).encode())
        digest.update(image.contiguous().numpy().tobytes())
        name = digest.hexdigest()[:32]
        return f"{name[:2]}/{name[2:]}.safetensors"


def to_bytes(cells: Float[Tensor, "channels ..."]) -> Int8[Tensor, "channels ..."]:
    """Quantise each cell to -127..127 of its largest number; its length is lost, and known to be one."""
    largest = cells.abs().amax(0).clamp(min=torch.finfo(cells.dtype).tiny)
    return (cells / largest * 127).round().to(torch.int8)


def _read(path: Path) -> Rounded | None:
    """Read cached maps; None if the file is absent or damaged, so that it is made anew."""
    try:
        tensors = load_checksummed(path)
    except ValueError:
        return None
    return tuple(tensors[name] for name in sorted(tensors))
