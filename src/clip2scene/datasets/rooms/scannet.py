"""ScanNet: scans of rooms as meshes, with the colour and depth images they were made from.

``docs/data.md`` says which files are read.
"""

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.tables import SCANNET, SCANNET_200
from clip2scene.datasets.checks import (
    check_labelled,
    check_names,
    describe_folder,
    labelled_tokens,
    list_images,
    read_own_split,
)
from clip2scene.datasets.dataset import CloudReader, InputPatterns, OpenOptions
from clip2scene.datasets.rooms import scene as scannet_scene
from clip2scene.datasets.rooms.frames import (
    Chosen,
    Frame,
    FrameChoice,
    Optics,
    check_no_extrinsics,
    choose,
    frame_files,
    make_sample,
    read_intrinsics,
    read_pose,
    refuse_sweeps,
    room_classes,
)
from clip2scene.datasets.rooms.scene import any_cloud_or_mesh
from clip2scene.io import read_text
from clip2scene.types import Sample

MILLIMETRES = 1000.0
"""Units of a depth image in a metre."""

OF_CATEGORIES = frozenset({SCANNET_200.name})
"""Class sets whose raw ids are ScanNet's own categories; those of others are NYU40's."""

INPUTS = InputPatterns(
    tables=("*.json", "*.txt", "*.tsv"),
    sensors=("scans*/*/*_vh_clean_2.ply",),
    labels=("scans*/*/*.json", "scans*/*/*.labels.ply"),
    class_maps=("scans*/*/semantic_maps/*.png",),
)
"""What pseudo-labels depend on, beside the frames that are used."""

_log = logging.getLogger(__name__)


class ScanNet:
    """Rooms: the vertices of a scene's mesh are the cloud, some of its frames the cameras.

    The cloud's frame is the scene's own, z up; its three feature channels are red, green and blue in 0..1. A
    camera's ``camera_from_lidar`` is ``camera_from_world`` of its frame. What a frame's depth image does not
    confirm is not visible in it.

    Attributes:
        class_set: What the labels mean.
        tokens: Names of the scenes.
        viewpoint: None: a scene was not seen from one place.
    """

    indoors: ClassVar[bool] = True
    own_files: ClassVar[tuple[str, ...]] = ()
    cloud_reader: ClassVar[CloudReader] = staticmethod(any_cloud_or_mesh)
    viewpoint = None

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = "train",
        labels: bool | Collection[str] = True,
        class_set: ClassSet = SCANNET,
        need_images: bool = False,
        choice: FrameChoice | None = None,
    ) -> None:
        """Open a folder of scenes: names are listed, but no mesh and no image is read.

        Args:
            root: The folder that holds ``scans/``.
            split: A name in ``splits.json``, or ``train``, ``val`` or ``test`` of ``scannetv2_SPLIT.txt``;
                with neither, ``train`` is everything. None takes all.
            labels: Whether to read labels, or the tokens of the scenes whose labels are read; the others may
                have none.
            class_set: Classes to translate labels to: ScanNet's 20, from the labelled mesh, or its 200, from
                the words that things were given.
            need_images: Whether to leave out the scenes that have no frames.
            choice: Which frames are used; None takes every 20th, 16 at most.

        Raises:
            ValueError: If there is no scene, the split is unknown or broken, images are needed and there are
                none, or a scene that labels are wanted of has none.
        """
        self.root, self.class_set = Path(root), class_set
        self._choice = choice or FrameChoice()
        self._folders = _find_scenes(self.root, split)
        self._with_frames = tuple(name for name, path in self._folders.items() if (path / "color").is_dir())
        if need_images and not self._with_frames:
            raise ValueError(
                f"none of the {len(self._folders)} scenes of split {split!r} has frames; extract them from "
                "the .sens files into SCENE/color, depth, pose and intrinsic"
            )
        self.tokens = self._with_frames if need_images else tuple(self._folders)
        self._of_words = labels is not False and class_set.name in OF_CATEGORIES
        self._ids = scannet_scene.read_words(self.root / scannet_scene.WORDS) if self._of_words else {}
        self._labelled = labelled_tokens(self.tokens, labels)
        self._check_labels(chosen=labels is not True)
        self._chosen: dict[str, Chosen] = {}

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "ScanNet":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        refuse_sweeps(options.sweeps)
        return cls(
            root,
            split=options.split,
            labels=options.labels,
            class_set=cls.class_set_of(options.classes),
            need_images=options.need_images,
            choice=options.frames,
        )

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Give ScanNet's 20 classes, or its 200."""
        return room_classes(classes)

    def __len__(self) -> int:
        """Count the scenes."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Sample:
        """Read scene ``index``; its images and depths are read when asked for.

        Raises:
            ValueError: If a file is missing or broken, or too many frames are unusable.
        """
        name = self.tokens[index]
        folder = self._folders[name]
        cloud = scannet_scene.read_vertices(scannet_scene.cloud_path(folder))
        labels = self._read_labels(folder, cloud.positions) if name in self._labelled else None
        if not self.has_image(name):
            return Sample(name, cloud, (), _no_image, labels)
        optics = self.optics(name)
        assert optics is not None
        return replace(make_sample(name, cloud, self.frames(name).frames, optics), labels=labels)

    def optics(self, name: str) -> Optics | None:
        """Give the intrinsics of a scene's cameras; None where it has no frames.

        Raises:
            ValueError: If a file of intrinsics is missing or broken.
        """
        folder = self._folders[name]
        if not self.has_image(name):
            return None
        colour, depth = (folder / "intrinsic" / f"intrinsic_{each}.txt" for each in ("color", "depth"))
        return Optics(read_intrinsics(colour), read_intrinsics(depth), MILLIMETRES)

    def frames(self, name: str) -> Chosen:
        """Choose the frames of a scene; what was left out is counted, and logged the first time.

        Raises:
            ValueError: If too many are unusable.
        """
        if name not in self._chosen:
            self._chosen[name] = _choose_frames(self._folders[name], self._choice)
        return self._chosen[name]

    def scene_of(self, token: str) -> str:
        """Name the scene: each is one sample."""
        return token

    def has_image(self, token: str) -> bool:
        """Say whether a scene has extracted frames."""
        return token in self._with_frames

    def timestamps(self, index: int) -> None:
        """Tell nothing: a scene has no one moment."""
        return None

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that :data:`INPUTS` names, and those of the frames that are used."""
        found = INPUTS.find(self.root, labels=labels, class_maps=class_maps)
        for token in filter(self.has_image, self.tokens):
            folder, chosen = self._folders[token], self.frames(token)
            found += sorted(folder.glob("intrinsic/*.txt")) + frame_files(chosen)
            found += [folder / "pose" / f"{frame.image.stem}.txt" for frame in chosen.frames]
        return found

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where a 2D segmenter's class map of one image is looked for.

        Returns:
            ``semantic_maps/N.png`` in the scene's folder, beside ``color/N.jpg``.
        """
        frames = self.frames(token).frames if token in self._folders else ()
        if not 0 <= view < len(frames):
            raise ValueError(f"no camera {view} of sample {token!r} here; expected one of this data set")
        return self._folders[token] / "semantic_maps" / f"{frames[view].image.stem}.png"

    def _check_labels(self, *, chosen: bool) -> None:
        """Refuse to go on when a scene has no labels that are to be read."""
        needed: list[Path] = []
        for name in sorted(self._labelled):
            folder = self._folders[name]
            if self._of_words:
                needed += [scannet_scene.segments_path(folder), scannet_scene.things_path(folder)]
            else:
                needed.append(scannet_scene.labels_path(folder))
        check_labelled(
            self.root,
            [str(path.relative_to(self.root)) for path in needed if not path.exists()],
            of=len(needed),
            chosen=chosen,
            otherwise="restore them, or use labels=False (test scenes have none)",
        )

    def _read_labels(self, folder: Path, positions: Float[Tensor, "points 3"]) -> Int[Tensor, " points"]:
        """Read labels in the classes asked for."""
        if not self._of_words:
            return scannet_scene.read_labels(scannet_scene.labels_path(folder), positions, self.class_set)
        labels, unknown = scannet_scene.read_categories(folder, len(positions), self._ids, self.class_set)
        if unknown:
            _log.warning("%s: %d things have a word that is in no table; not evaluated", folder.name, unknown)
        return labels


def _choose_frames(folder: Path, choice: FrameChoice) -> Chosen:
    """Step over the frames of a scene, and leave out those without pose, or without all files."""
    for name in ("color", "depth"):
        check_no_extrinsics(folder / "intrinsic" / f"extrinsic_{name}.txt")
    images = {int(name): path for name, path in list_images(folder / "color", "[0-9]{1,9}").items()}
    asked = sorted(images)[:: choice.step]
    if not asked:
        raise ValueError(
            f"no image is called N.jpg or N.png: {describe_folder(folder / 'color')}; extract them from the "
            ".sens file"
        )
    usable, lost, missing = [], 0, 0
    for number in asked:
        depth, pose = folder / "depth" / f"{number}.png", folder / "pose" / f"{number}.txt"
        if not depth.exists() or not pose.exists():
            missing += 1
            continue
        camera_from_world = read_pose(pose)
        if camera_from_world is None:
            lost += 1
        else:
            usable.append(
                Frame(f"frame-{number}", images[number], depth, camera_from_world, camera_from_world)
            )
    return choose(usable, choice, lost=lost, missing=missing, where=str(folder))


def _no_image(view: int) -> UInt8[Tensor, "height width 3"]:
    raise ValueError(f"no image {view}: the scene has no frames; extract them from its .sens file")


def _find_scenes(root: Path, split: str | None) -> dict[str, Path]:
    """Find the folders of a split's scenes; those that are not there are counted in a warning."""
    names = _split_names(root, split)
    folders = {name: folder for name in names if (folder := _find_scene(root, name))}
    if not folders:
        raise ValueError(
            f"none of the {len(names)} scenes of split {split!r} lies in {root / 'scans'}; expected folders "
            "SCENE with SCENE_vh_clean_2.ply"
        )
    if len(folders) < len(names):
        absent = len(names) - len(folders)
        _log.warning("%d of the %d scenes of %s are not there", absent, len(names), split)
    return folders


def _find_scene(root: Path, name: str) -> Path | None:
    """Find a scene's folder, which holds its mesh; those of the test split lie apart."""
    for folder in (root / "scans" / name, root / "scans_test" / name):
        if scannet_scene.cloud_path(folder).exists():
            return folder
    return None


def _split_names(root: Path, split: str | None) -> tuple[str, ...]:
    """Name the scenes of a split."""
    own, official = root / "splits.json", root / f"scannetv2_{split}.txt"
    present = sorted(
        path.name for folder in ("scans", "scans_test") for path in (root / folder).glob("*") if path.is_dir()
    )
    if split is None:
        return tuple(present)
    if own.exists():
        return read_own_split(own, split)
    if official.exists():
        return check_names(read_text(official).split(), official, split)
    if split == "train" and not list(root.glob("scannetv2_*.txt")):
        return tuple(present)
    raise ValueError(
        f"unknown split {split!r}: expected {official}, or {own} with a list of that name; without both, all "
        "scenes are train"
    )
