"""Rooms as sequences of colour and depth images alone: TUM's RGB-D benchmark, 7-Scenes, own ones like these.

There is no mesh and there are no labels: the cloud is put together from the depth images.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.tables import SCANNET
from clip2scene.datasets.checks import read_own_split
from clip2scene.datasets.dataset import CloudReader, InputPatterns, OpenOptions
from clip2scene.datasets.kitti.object import refuse_labels
from clip2scene.datasets.rooms.frames import (
    Chosen,
    FrameChoice,
    Optics,
    frame_files,
    make_sample,
    refuse_sweeps,
    room_classes,
)
from clip2scene.datasets.rooms.scene import any_cloud_or_mesh
from clip2scene.datasets.rooms.sequences import choose_frames, find_sequences, read_optics
from clip2scene.geometry.depth import average_in_voxels, unproject
from clip2scene.geometry.projection import project_points
from clip2scene.types import PointCloud, Sample

FARTHEST_M = 5.0
"""Depths beyond this, where the usual sensors err by more than 5 cm, make no points."""

INPUTS = InputPatterns(
    tables=("*.json", "*.txt", "*/*.txt", "*/*/*.txt"), class_maps=("**/semantic_maps/*.png",)
)
"""What pseudo-labels depend on, beside the frames that are used; poses and intrinsics are text."""


class RgbdSequences:
    """Sequences: a sample's cloud is what its chosen frames measured, averaged in voxels.

    The cloud's frame is that of the poses; its three feature channels are red, green and blue in 0..1, as the
    frame saw the point that measured it. What lies outside the frame's colour image makes no point.

    Attributes:
        class_set: Classes that words may be taken from.
        tokens: Names of the sequences: their folders, joined by ``-``.
        viewpoint: None: a room was not seen from one place.
    """

    indoors: ClassVar[bool] = True
    own_files: ClassVar[tuple[str, ...]] = ()
    cloud_reader: ClassVar[CloudReader] = staticmethod(any_cloud_or_mesh)
    class_set = SCANNET
    viewpoint = None

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = "train",
        choice: FrameChoice | None = None,
        voxel_size: float = 0.03,
    ) -> None:
        """Find the sequences; nothing is read.

        Args:
            root: A sequence, or a folder of sequences, or of folders of these.
            split: A name in ``splits.json``; without that file, ``train`` is everything. None takes all.
            choice: Which frames are used, and put together; None takes every 20th, 16 at most.
            voxel_size: Edge of the voxels that points are averaged in, in metres.

        Raises:
            ValueError: If there is no sequence, or the split is unknown or lists one
                that is not there.
        """
        if not voxel_size > 0:
            raise ValueError(f"voxel_size must be positive metres, got {voxel_size}")
        self.root = Path(root)
        self._choice, self._voxel_size = choice or FrameChoice(), voxel_size
        self._folders = find_sequences(self.root)
        own = self.root / "splits.json"
        names: tuple[str, ...] = tuple(self._folders)
        if split is not None and own.exists():
            names = read_own_split(own, split)
        elif split not in (None, "train"):
            raise ValueError(f"unknown split {split!r}: without {own} all sequences are train; write it")
        absent = [name for name in names if name not in self._folders]
        if absent or not names:
            raise ValueError(
                f"{own}: split {split!r} has {absent[0] if absent else 'no names'!r}, expected some of "
                f"{', '.join(self._folders)}; correct the list or restore the sequence"
            )
        self.tokens = names
        self._chosen: dict[str, Chosen] = {}

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "RgbdSequences":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        refuse_labels(options.labels, "a recording of colour and depth images", "ScanNet's")
        refuse_sweeps(options.sweeps)
        return cls(root, split=options.split, choice=options.frames)

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Give ScanNet's 20 classes, or its 200."""
        return room_classes(classes)

    def __len__(self) -> int:
        """Count the sequences."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Sample:
        """Put sequence ``index`` together from its chosen frames.

        Raises:
            ValueError: If a file is missing or broken, too many frames are unusable, or they show nothing.
        """
        name = self.tokens[index]
        nothing = PointCloud(torch.zeros(0, 3), torch.zeros(0, 3))
        sample = make_sample(name, nothing, self.frames(name).frames, self.optics(name))
        return replace(sample, cloud=self._fuse(sample))

    def optics(self, name: str) -> Optics:
        """Give the intrinsics of a sequence's cameras.

        Raises:
            ValueError: If a file of intrinsics is broken.
        """
        return read_optics(self._folders[name])

    def frames(self, name: str) -> Chosen:
        """Choose the frames of a sequence; what was left out is counted, and logged the first time.

        Raises:
            ValueError: If too many are unusable.
        """
        if name not in self._chosen:
            self._chosen[name] = choose_frames(self._folders[name], self._choice)
        return self._chosen[name]

    def scene_of(self, token: str) -> str:
        """Name the sequence: each is one sample."""
        return token

    def has_image(self, token: str) -> bool:
        """Say that every sequence has images."""
        return True

    def timestamps(self, index: int) -> None:
        """Tell nothing: a sequence has no one moment."""
        return None

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that :data:`INPUTS` names, and the frames that are used."""
        found = INPUTS.find(self.root, labels=labels, class_maps=class_maps)
        return found + [path for token in self.tokens for path in frame_files(self.frames(token))]

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where a 2D segmenter's class map of one image is looked for.

        Returns:
            ``semantic_maps/NAME.png`` in the sequence's folder, called like the image up to its first dot in
            7-Scenes, and up to its last in TUM's layout.
        """
        frames = self.frames(token).frames if token in self._folders else ()
        if not 0 <= view < len(frames):
            raise ValueError(f"no camera {view} of sample {token!r} here; expected one of this data set")
        stem = frames[view].image.stem.removesuffix(".color")
        return self._folders[token] / "semantic_maps" / f"{stem}.png"

    def _fuse(self, sample: Sample) -> PointCloud:
        """Average what all frames measured, each point in the colour that its own frame gives it."""
        assert sample.read_depth is not None
        positions, colours = [], []
        for view, camera in enumerate(sample.cameras):
            points = unproject(sample.read_depth(view), step=2, farthest=FARTHEST_M)
            pairs = project_points(points, [camera], min_depth=1e-3, border=0.0)
            column, row = pairs.pixels.round().long().unbind(1)
            positions.append(points[pairs.points])
            colours.append(sample.read_image(view)[row, column].float() / 255)
        cloud = average_in_voxels(torch.cat(positions), torch.cat(colours), self._voxel_size)
        if not len(cloud):
            raise ValueError(
                f"sequence {sample.token}: no depth up to {FARTHEST_M:g} m was measured in any of "
                f"{len(sample.cameras)} frames; restore the depth images, or leave the sequence out"
            )
        return cloud
