"""The nouns everything else is written in.

Words and conventions (frames, pixels, units) are those of ``docs/conventions.md``. All of these are frozen
dataclasses of tensors: they are built once, by a loader or a function, and never changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import normalize

IGNORE_LABEL = -1
"""The train id of a point or pixel that is neither evaluated nor trained on."""


@dataclass(frozen=True)
class PointCloud:
    """Points of one lidar sweep (or RGB-D frame), in its sensor's own frame.

    Attributes:
        positions: Metres, x forward, y left, z up for vehicles.
        features: What the sensor measured beside the position; one channel of intensity in 0..1 for a lidar.
    """

    positions: Float[Tensor, "points 3"]
    features: Float[Tensor, "points channels"]

    def __len__(self) -> int:
        """Count the points."""
        return len(self.positions)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera as it stood when its image was taken, relative to the cloud's frame.

    Attributes:
        name: The sensor's name in its data set.
        intrinsics: Focal lengths and principal point, in pixels; integer pixel values are pixel centres.
        camera_from_lidar: Rigid motion into the camera's frame (x right, y down, z forward), with the
            vehicle's motion between the two exposure times already in it.
        width: Image width in pixels.
        height: Image height in pixels.
    """

    name: str
    intrinsics: Float[Tensor, "3 3"]
    camera_from_lidar: Float[Tensor, "4 4"]
    width: int
    height: int


@dataclass(frozen=True)
class DepthImage:
    """What a depth camera measured while a colour image was taken.

    Attributes:
        camera: The depth camera, whose size and intrinsics are often others than the colour camera's.
        depths: Along its optical axis, in metres; 0 where nothing was measured.
    """

    camera: Camera
    depths: Float[Tensor, "height width"]


@dataclass(frozen=True)
class Sample:
    """One training item: a cloud, the cameras around it, and maybe labels.

    Images are read when asked for, because most passes over a data set do not need them.

    Attributes:
        token: The sample's name, unique in its data set, fit for a file name.
        cloud: The keyframe's point cloud.
        cameras: One entry per image, in a fixed order.
        read_image: Returns the image of camera number ``view`` as RGB.
        labels: Train id of every point, :data:`IGNORE_LABEL` where there is none; None without labels.
        sweeps: Earlier sweeps of the same lidar, newest first, moved into the frame of ``cloud`` by the
            vehicle's own motion; what moved by itself in between stands where it was.
        read_depth: Returns what was measured beside the image of camera number ``view``; None for data whose
            cameras measure no depth.
    """

    token: str
    cloud: PointCloud
    cameras: tuple[Camera, ...]
    read_image: Callable[[int], UInt8[Tensor, "height width 3"]]
    labels: Int[Tensor, " points"] | None = None
    sweeps: tuple[PointCloud, ...] = ()
    read_depth: Callable[[int], DepthImage] | None = None


@runtime_checkable
class Samples(Protocol):
    """Samples in a fixed order: a data set (:class:`clip2scene.datasets.dataset.Dataset`), or some of one."""

    @property
    def tokens(self) -> Sequence[str]:
        """Name the samples, each fit for a file name."""

    def __getitem__(self, index: int) -> Sample:
        """Read one sample."""


@dataclass(frozen=True)
class Timestamps:
    """When and where the parts of a sample were recorded, as far as its data set tells.

    Attributes:
        drive: Samples of one drive follow each other.
        cloud_us: Of the cloud, in microseconds; None where it is not known.
        image_us: Of each camera's image, in microseconds, by the camera's name; None where it is not known.
        sweeps_us: Of the earlier sweeps, in microseconds, newest first.
        world_from_cloud: Where the lidar stood, in metres, in float64.
    """

    drive: str
    cloud_us: int | None
    image_us: Mapping[str, int | None]
    sweeps_us: tuple[int, ...] = ()
    world_from_cloud: Float[Tensor, "4 4"] | None = None


@dataclass(frozen=True)
class Pairs:
    """Pixel-point correspondences of one sample.

    Attributes:
        points: Index of each pair's point in the cloud.
        views: Index of each pair's camera.
        pixels: (u, v) = (column, row), in pixels of that camera's full-size image, not rounded.
        depths: Along the optical axis, in metres.
    """

    points: Int[Tensor, " pairs"]
    views: Int[Tensor, " pairs"]
    pixels: Float[Tensor, "pairs 2"]
    depths: Float[Tensor, " pairs"]

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.points)


@dataclass(frozen=True)
class Prompts:
    """The prompt classes, their names embedded in a text space.

    Attributes:
        classes: Name of each class, in the order of train ids.
        names: What people may call them; a class may have several names.
        class_of_name: Train id each name stands for; every class has a name.
        embeddings: Unit vector of each name.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    class_of_name: Int[Tensor, " names"]
    embeddings: Float[Tensor, "names channels"]

    def best_name(self, logits: Float[Tensor, "items names"]) -> Float[Tensor, "items classes"]:
        """Give each class the logit of the best of its names."""
        if len(self.names) == len(self.classes):
            return logits[:, self.class_of_name.argsort()]
        columns = [logits[:, self.class_of_name == number].amax(1) for number in range(len(self.classes))]
        return torch.stack(columns, dim=1)

    def class_logits(self, embeddings: Float[Tensor, "items channels"]) -> Float[Tensor, "items classes"]:
        """Compare embeddings with every class: the dot product with the best of its names."""
        return self.best_name(embeddings @ self.embeddings.T)

    def class_directions(self) -> Float[Tensor, "classes channels"]:
        """Give each class the mean direction of its names."""
        sums = self.embeddings.new_zeros(len(self.classes), self.embeddings.shape[1])
        return normalize(sums.index_add_(0, self.class_of_name, self.embeddings), dim=1)

    def to(self, device: torch.device) -> "Prompts":
        """Copy the tensors to ``device``, dtypes unchanged."""
        return Prompts(self.classes, self.names, self.class_of_name.to(device), self.embeddings.to(device))
