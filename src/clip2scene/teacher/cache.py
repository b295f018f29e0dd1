"""The teacher's dense embeddings, kept on disk: the forward pass of the frozen teacher is paid for once.

The maps do not depend on prompts, pairs or sweeps, so runs that differ in those share them. They are rounded
to half precision or to eight bits; a teacher without a folder rounds them alike, so that no result depends on
whether it was cached. Augmentation of clouds does not change them either: pairs name pixels of the image as
it was recorded.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from clip2scene.teacher.kept_maps import KeptMaps, Rounded, to_content
from clip2scene.teacher.maskclip import DenseEmbeddings, Maps, MaskClip
from clip2scene.types import Sample, Samples

FORMAT = 2
"""Of the cached maps; to be raised whenever the forward pass would give something else."""

Precision = Literal["float16", "int8"]


@dataclass(frozen=True)
class CachedTeacher:
    """MaskCLIP with a cache on disk, so that the forward pass runs once for each image.

    A file is named by what it was made of: the image's pixels, the model's weights and the settings of the
    forward pass. So it is never stale, as long as :data:`FORMAT` is raised when that code changes, and two
    processes that write the same one write the same content.

    Attributes:
        teacher: The model.
        weights_hash: Of the files of the image-text model, and of its proxy if it has one.
        kept: Where the maps are stored; may be deleted. None stores nothing.
        precision: What their numbers are rounded to; "int8" takes half the space of "float16".
    """

    teacher: MaskClip
    weights_hash: str
    kept: KeptMaps | None = None
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
        return self.kept is not None and self.kept.has(self._name(image))

    def missing(self, sample: Sample) -> dict[str, bytes]:
        """Compute what the cache does not have of a sample; of a folder, what it has is read to be sure.

        Returns:
            The content of the maps of each image that has none, by their name.

        Raises:
            ValueError: If an image cannot be read, or the cache cannot be used.
        """
        assert self.kept is not None
        found: dict[str, bytes] = {}
        for image in map(sample.read_image, range(len(sample.cameras))):
            name = self._name(image)
            there = self.kept.read(name) is not None if self.kept.local else self.kept.has(name)
            if name not in found and not there:
                found[name] = to_content(self._compute(image))
        return found

    def _embed_image(self, image: UInt8[Tensor, "height width 3"]) -> Maps:
        """Give an image's maps as they are cached."""
        name = self._name(image)
        cached = None if self.kept is None else self.kept.read(name)
        if cached is None:
            cached = self._compute(image)
            if self.kept is not None:
                self.kept.write(name, cached)
        return tuple(F.normalize(each.float(), dim=0) for each in cached)

    def _compute(self, image: UInt8[Tensor, "height width 3"]) -> Rounded:
        """Run the forward pass, and round what it gives."""
        round_off = to_bytes if self.precision == "int8" else Tensor.half
        return tuple(round_off(each) for each in self.teacher.embed_image(image))

    def _settings(self) -> dict[str, Any]:
        """Give what decides an image's maps beside its pixels and the weights."""
        elsewhere = ("clip", "proxy", "key_smoothing", "prompt_denoising")  # weights, and what refines logits
        settings = {name: value for name, value in vars(self.teacher).items() if name not in elsewhere}
        if self.teacher.attention == "maskclip":  # the only one that there was
            del settings["attention"]
        return settings | {"keys": self.teacher.key_smoothing > 0}

    def work_name(self, samples: Samples, part_size: int) -> str:
        """Name the work of filling the cache with the maps of samples, so that those who share it meet.

        Args:
            samples: The samples, which are told by their tokens, and by images of the first and the last.
            part_size: How many of them are shared out together.

        Raises:
            ValueError: If one of these images cannot be read.
        """
        settings = [self.weights_hash, self._settings(), self.precision, FORMAT, part_size]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for token in samples.tokens:
            digest.update(f"{token}\n".encode())
        for sample in (samples[0], samples[len(samples.tokens) - 1]):
            digest.update(json.dumps([camera.name for camera in sample.cameras]).encode())
            for view in range(min(1, len(sample.cameras))):
                digest.update(sample.read_image(view).contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _name(self, image: UInt8[Tensor, "height width 3"]) -> str:
        """Name the file of an image's maps; the first two digits are a folder, as there may be millions."""
        settings = self._settings() | {"size": list(image.shape)}
        settings |= {"precision": self.precision, "format": FORMAT}
        digest = hashlib.sha256(json.dumps([self.weights_hash, settings], sort_keys=True).encode())
        digest.update(image.contiguous().numpy().tobytes())
        name = digest.hexdigest()[:32]
        return f"{name[:2]}/{name[2:]}.safetensors"


def to_bytes(cells: Float[Tensor, "channels ..."]) -> Int8[Tensor, "channels ..."]:
    """Quantise each cell to -127..127 of its largest number; its length is lost, and known to be one."""
    largest = cells.abs().amax(0).clamp(min=torch.finfo(cells.dtype).tiny)
    return (cells / largest * 127).round().to(torch.int8)
