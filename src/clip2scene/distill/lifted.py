"""One sample with its teacher's pseudo-labels, in memory and in its file."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clip2scene.distill.batch import PixelTargets, Superpixels, TrainItem
from clip2scene.geometry.superpoints import vote
from clip2scene.io import hash_points, load_checksummed, regular_file, save_checksummed
from clip2scene.teacher.cache import Precision, to_bytes
from clip2scene.teacher.maskclip import INVERSE_TEMPERATURE, DenseEmbeddings, cells_read
from clip2scene.types import Pairs, PointCloud


@dataclass(frozen=True)
class TeacherFeatures:
    """The teacher's own features, beside its logits, and the pixel of each pair in them.

    Attributes:
        maps: Embeddings of every cell of every image; read from a file, of the cells that a pair lies in or
            beside, and zero elsewhere.
        pairs: Pixel of each pixel-point pair.
        superpixels: Regions of the images, where the recipe's InfoNCE is over those.
    """

    maps: DenseEmbeddings
    pairs: Pairs
    superpixels: Superpixels | None = None


@dataclass(frozen=True)
class LiftedSample:
    """One sample with its teacher's logits and pseudo-labels.

    Attributes:
        cloud: The points of all sweeps, the keyframe's first, in the keyframe's frame.
        pair_points: Index of the point of each pixel-point pair.
        pair_logits: The teacher's logit of each class at each pair.
        labels: True train ids, where the data set was opened with them; label-free training never does.
            Points of earlier sweeps have none.
        superpoints: Number of the piece each point belongs to, -1 for the ground; None without a vote.
        sweep_sizes: Points of each sweep, where sweeps are items of their own; empty where all are one.
        teacher_features: The teacher's own features, where the recipe needs them.
        keyframe_size: Points of the keyframe, where sweeps are merged with it.
        consolidated: Pseudo-label of each point after the votes of its whole drive, -1 where it has none;
            None where no drive was consolidated.
    """

    cloud: PointCloud
    pair_points: Int[Tensor, " pairs"]
    pair_logits: Float[Tensor, "pairs classes"]
    labels: Int[Tensor, " points"] | None
    superpoints: Int[Tensor, " points"] | None = None
    sweep_sizes: tuple[int, ...] = ()
    teacher_features: TeacherFeatures | None = None
    keyframe_size: int | None = None
    consolidated: Int[Tensor, " points"] | None = None

    def visible(self) -> Bool[Tensor, " points"]:
        """Tell which points are visible to at least one camera."""
        visible = torch.zeros(len(self.cloud), dtype=torch.bool)
        visible[self.pair_points] = True
        return visible

    def teacher_labels(self) -> Int[Tensor, " points"]:
        """Give each visible point the class with the highest summed logit over its pairs, others -1."""
        summed = torch.zeros(len(self.cloud), self.pair_logits.shape[1])
        summed.index_add_(0, self.pair_points, self.pair_logits)
        return torch.where(self.visible(), summed.argmax(1), -1)

    def summed_scores(self) -> Float[Tensor, "points classes"]:
        """Give the sum of the teacher's scores (0..1) over each point's pairs; zeros where it has none."""
        summed = torch.zeros(len(self.cloud), self.pair_logits.shape[1])
        return summed.index_add_(0, self.pair_points, (INVERSE_TEMPERATURE * self.pair_logits).softmax(1))

    def voted_labels(self) -> Int[Tensor, " points"]:
        """Pseudo-labels after the superpoint vote; -1 where no point of the superpoint has logits."""
        if self.superpoints is None:
            return self.teacher_labels()
        logits = torch.zeros(len(self.cloud), self.pair_logits.shape[1])
        logits.index_add_(0, self.pair_points, self.pair_logits)
        logits /= torch.bincount(self.pair_points, minlength=len(self.cloud)).clamp(min=1)[:, None]
        return vote(self.superpoints, logits, self.visible())

    def teacher_targets(self) -> Int[Tensor, " targets"]:
        """Give the pseudo-labels to train on: of every pair or, voted on, of every point."""
        if self.consolidated is not None:
            return self.consolidated
        return self.pair_logits.argmax(1) if self.superpoints is None else self.voted_labels()

    def item_from_teacher(self, kept: Int[Tensor, " kept"] | None = None) -> TrainItem:
        """Make the training item whose targets are pseudo-labels.

        A target is the teacher's class at every pair (released code: the argmax of the paired pixel); or,
        with superpoints or consolidated over its drive, the vote at every point. The pairs themselves come
        along.

        Args:
            kept: Which pairs come along; all if left out.
        """
        target_points, targets = self.pair_points, self.teacher_targets()
        if self.superpoints is not None or self.consolidated is not None:
            target_points = torch.arange(len(self.cloud))
        pixels = self._pixels(torch.arange(len(self.pair_points)) if kept is None else kept)
        return TrainItem(
            self.cloud, target_points, targets, self.superpoints, pixels, item_sizes=self.sweep_sizes
        )

    def _pixels(self, kept: Int[Tensor, " kept"]) -> PixelTargets:
        """Give some of the pairs, with the features of their pixels or their regions."""
        points, logits = self.pair_points[kept], self.pair_logits[kept]
        if self.teacher_features is None:
            return PixelTargets(points, logits)
        regions = self.teacher_features.superpixels
        if regions is not None:
            return PixelTargets(points, logits, None, Superpixels(regions.of_pair[kept], regions.embeddings))
        pairs = Pairs(*(each[kept] for each in vars(self.teacher_features.pairs).values()))
        return PixelTargets(points, logits, self.teacher_features.maps.embeddings_at(pairs))

    def item_from_labels(self) -> TrainItem:
        """Make the training item whose targets are the true train ids of all points.

        Raises:
            ValueError: If the sample was read without labels.
        """
        if self.labels is None:
            raise ValueError("training on labels needs a data set with labels; this one was read without")
        everywhere = torch.arange(len(self.cloud))
        return TrainItem(self.cloud, everywhere, self.labels, self.superpoints, item_sizes=self.sweep_sizes)


def save_lifted(path: Path, lifted: LiftedSample, *, precision: Precision = "float16") -> None:
    """Write one sample's file, atomically: positions in metres, logits as float16, labels as int16.

    Args:
        path: The file.
        lifted: The sample.
        precision: What the teacher's maps are rounded to.
    """
    tensors = {
        "positions": lifted.cloud.positions,
        "features": lifted.cloud.features,
        "pair_points": lifted.pair_points.int(),
        "pair_logits": lifted.pair_logits.half(),
        "sweep_sizes": torch.tensor(lifted.sweep_sizes, dtype=torch.int32),
    }
    if lifted.labels is not None:
        tensors["labels"] = lifted.labels.short()
    if lifted.superpoints is not None:
        tensors["superpoints"] = lifted.superpoints.int()
    if lifted.keyframe_size is not None:
        tensors["keyframe_size"] = torch.tensor(lifted.keyframe_size)
    if lifted.teacher_features is not None:
        tensors |= _tensors_of(lifted.teacher_features, precision)
    save_checksummed(path, tensors)


def hash_clouds(paths: Iterable[Path]) -> dict[str, str]:
    """Hash the keyframes of samples; of their files, nothing but the points is read.

    Returns:
        A hash by token.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    return {path.stem: hash_points(read_keyframe(path)) for path in paths}


def read_keyframe(path: Path) -> Float[Tensor, "points 3"]:
    """Read the positions of a sample's keyframe, and nothing else of its file.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    try:
        with safe_open(regular_file(path), "pt") as file:
            positions, sizes = file.get_tensor("positions"), file.get_tensor("sweep_sizes").tolist()
            if "keyframe_size" in file.keys():  # noqa: SIM118 - it is no dict
                sizes = [int(file.get_tensor("keyframe_size"))]
    except (ValueError, OSError, SafetensorError) as error:
        raise _damaged(path, error) from None
    return positions[: sizes[0]] if sizes else positions


def _damaged(path: Path, error: object) -> ValueError:
    return ValueError(f"{path} cannot be read ({error}); delete it and run again")


def save_consolidated(path: Path, labels: Int[Tensor, " points"]) -> None:
    """Write a sample's consolidated pseudo-labels as int16, into a folder beside the sample's own file.

    Args:
        path: The file, called like the sample's.
        labels: Train id of each point, -1 for none.
    """
    save_checksummed(path, {"consolidated": labels.short()})


def own_file(path: Path) -> Path:
    """Find a sample's own file: ``path``, or the one that pseudo-labels in a folder beside it belong to."""
    own = path.parents[1] / path.name
    return own_file(own) if own.exists() else path


def load_lifted(path: Path) -> LiftedSample:
    """Read what :func:`save_lifted` wrote, as float32 and int64.

    Args:
        path: The file, or that of :func:`save_consolidated`: with the latter, the sample comes with its
            consolidated pseudo-labels.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    tensors = load_checksummed(path)
    if "consolidated" in tensors:
        lifted, labels = load_lifted(path.parents[1] / path.name), tensors["consolidated"].long()
        if len(labels) != len(lifted.cloud):
            raise _damaged(path, f"{len(labels)} pseudo-labels of {len(lifted.cloud)} points")
        return replace(lifted, consolidated=labels)
    try:
        pair_points = tensors["pair_points"].long()
        return LiftedSample(
            PointCloud(tensors["positions"], tensors["features"]),
            pair_points,
            tensors["pair_logits"].float(),
            tensors["labels"].long() if "labels" in tensors else None,
            tensors["superpoints"].long() if "superpoints" in tensors else None,
            tuple(tensors["sweep_sizes"].tolist()),
            _features_of(tensors, pair_points) if "image_sizes" in tensors else None,
            int(tensors["keyframe_size"]) if "keyframe_size" in tensors else None,
        )
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}; delete it and run again") from None


def _tensors_of(teacher_features: TeacherFeatures, precision: Precision) -> dict[str, Tensor]:
    """Lay out the teacher's features for their file: of its maps the cells that pairs read.

    There are fewer cells than pairs, so they take less space than an embedding for each pair would. Where
    there are superpixels, no map is read.
    """
    maps, pairs, regions = (getattr(teacher_features, name) for name in ("maps", "pairs", "superpixels"))
    tensors = {
        "image_sizes": torch.tensor(maps.sizes, dtype=torch.int32),
        "pair_views": pairs.views.to(torch.uint8),  # config allows at most 255 views
        "pair_pixels": pairs.pixels.float(),
        "grids": torch.tensor([each.shape for each in maps.embeddings], dtype=torch.int32),
    }
    if regions is not None:
        tensors["superpixel_of_pair"] = regions.of_pair.int()
        tensors["superpixel_embeddings"] = regions.embeddings.half()
        return tensors
    for view, (each, read) in enumerate(zip(maps.embeddings, cells_read(maps, pairs), strict=True)):
        tensors[f"cells.{view}"] = read.flatten().nonzero()[:, 0].int()
        cells = each[:, read]
        tensors[f"map.{view}"] = (to_bytes(cells) if precision == "int8" else cells.half()).T
    return tensors


def _features_of(tensors: dict[str, Tensor], pair_points: Int[Tensor, " pairs"]) -> TeacherFeatures:
    """Read what :func:`_tensors_of` laid out."""
    sizes = tuple((int(height), int(width)) for height, width in tensors["image_sizes"])
    maps = []
    for view, (channels, rows, cols) in enumerate(tensors["grids"].tolist()):
        cells = torch.zeros(rows * cols, channels)
        if f"map.{view}" in tensors:
            kept = tensors[f"map.{view}"]
            unit = F.normalize(kept.float(), dim=1) if kept.dtype == torch.int8 else kept.float()
            cells[tensors[f"cells.{view}"].long()] = unit
        maps.append(cells.T.unflatten(1, (rows, cols)))
    pixels = tensors["pair_pixels"]
    pairs = Pairs(pair_points, tensors["pair_views"].long(), pixels, torch.zeros(len(pixels)))
    superpixels = None
    if "superpixel_of_pair" in tensors:
        superpixels = Superpixels(
            tensors["superpixel_of_pair"].long(), tensors["superpixel_embeddings"].float()
        )
    return TeacherFeatures(DenseEmbeddings(tuple(maps), None, sizes), pairs, superpixels)
