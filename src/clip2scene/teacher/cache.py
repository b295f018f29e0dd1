"""What the teacher saw in each image, kept on disk: the frozen teacher is paid for once.

The maps do not depend on the words, the pairs or the sweeps, so runs that differ in those share them. They
are rounded to half precision or to eight bits; a teacher without a folder rounds them alike, so that no
answer depends on whether it was kept. Nor do clouds that are turned and mirrored change them: pairs name
pixels of the image as it was recorded.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int8, Num, UInt8
from torch import Tensor

from clip2scene.io import load_checksummed, save_checksummed
from clip2scene.teacher.maskclip import Cells, DenseEmbeddings, Maps, MaskClip
from clip2scene.types import Sample

FORMAT = 1
"""Of the maps that are kept; to be raised whenever the code that looks would see something else."""

Kept = tuple[Num[Tensor, "_ _ _"], ...]  # maps, rounded


@dataclass(frozen=True)
class CachedTeacher:
    """MaskCLIP that looks at no image twice.

    A file is named by what it was made of: the image's pixels, the model's weights and the settings of the
    look. So it is never stale, as long as :data:`FORMAT` is raised when that code changes, and two processes
    that write the same one write the same content.

    Attributes:
        teacher: Who looks.
        weights_hash: Of the image-text model's files.
        folder: Where the maps are kept; may be deleted. None keeps nothing.
        precision: What their numbers are rounded to; "int8" takes half the space of "float16".
    """

    teacher: MaskClip
    weights_hash: str
    folder: Path | None = None
    precision: Literal["float16", "int8"] = "float16"

    def __call__(self, sample: Sample) -> DenseEmbeddings:
        """Look at every image of a sample, or remember what was seen.

        Raises:
            ValueError: If an image cannot be read.
        """
        seen = [self._look_at(sample.read_image(view)) for view in range(len(sample.cameras))]
        return self.teacher.gather(seen, [(camera.height, camera.width) for camera in sample.cameras])

    def knows(self, image: UInt8[Tensor, "height width 3"]) -> bool:
        """Tell whether what is seen in an image is kept, be it in a damaged file, which is made anew."""
        return self.folder is not None and (self.folder / self._name(image)).exists()

    def _look_at(self, image: UInt8[Tensor, "height width 3"]) -> Maps:
        """Give an image's maps as they are kept."""
        path = None if self.folder is None else self.folder / self._name(image)
        kept = None if path is None else _read(path)
        if kept is None:
            round_off = _to_bytes if self.precision == "int8" else Tensor.half
            kept = tuple(round_off(each) for each in self.teacher.look_at(image))
            if path is not None:
                _write(path, kept)
        return tuple(F.normalize(each.float(), dim=0) for each in kept)

    def _name(self, image: UInt8[Tensor, "height width 3"]) -> str:
        """Name the file of an image's maps; the first two digits are a folder, as there may be millions."""
        look = {
            name: value
            for name, value in vars(self.teacher).items()
            if name not in ("clip", "key_smoothing", "prompt_denoising")  # these two come after the look
        }
        look |= {"keys": self.teacher.key_smoothing > 0, "size": list(image.shape)}
        look["precision"] = self.precision
        if FORMAT > 1:  # names of the first format, which did not stand in them, stay what they are
            look["format"] = FORMAT
        digest = hashlib.sha256(json.dumps([self.weights_hash, look], sort_keys=True).encode())
        digest.update(image.contiguous().numpy().tobytes())
        name = digest.hexdigest()[:32]
        return f"{name[:2]}/{name[2:]}.safetensors"


def _to_bytes(cells: Cells) -> Int8[Tensor, "channels _ _"]:
    """Round each cell to -127..127 of its largest number; its length is lost, and known to be one."""
    largest = cells.abs().amax(0).clamp(min=torch.finfo(cells.dtype).tiny)
    return (cells / largest * 127).round().to(torch.int8)


def _write(path: Path, maps: Kept) -> None:
    save_checksummed(path, {str(number): each for number, each in enumerate(maps)})


def _read(path: Path) -> Kept | None:
    """Read what :func:`_write` wrote; None if it is absent or damaged, so that it is made anew."""
    try:
        tensors = load_checksummed(path)
    except ValueError:
        return None
    return tuple(tensors[name] for name in sorted(tensors))
