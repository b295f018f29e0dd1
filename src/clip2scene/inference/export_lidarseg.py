"""Submissions to nuScenes' lidar segmentation challenge.

::

    OUT/lidarseg/SPLIT/<token of the lidar's sample_data>_lidarseg.bin    one byte a point, 1 to 16
    OUT/SPLIT/submission.json                                             what inputs the method takes
    OUT/export.json                                                       which run it is of; not submitted
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.checks import read_records
from clip2scene.datasets.dataset import stamp_sensors
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.inference.export_kitti import claim, predictions
from clip2scene.inference.predict import open_split
from clip2scene.io import write_atomically, write_json
from clip2scene.parallel import progress_bar
from clip2scene.runs.run import Run, open_run
from clip2scene.runs.training_clouds import CloudCheck, Unlike

FLAGS = ("use_camera", "use_lidar", "use_radar", "use_map", "use_external")
"""What a submission states about its method."""

BYTES_A_POINT = 20
"""Of nuScenes' lidar files."""


def export_lidarseg(
    run: Path,
    *,
    data_root: Path,
    split: str = "test",
    out: Path,
    use_external: bool = True,
    unlike: Unlike = "refuse",
) -> Int[np.ndarray, " classes"]:
    """Label every keyframe of a split as the challenge wants it.

    An interrupted call goes on where it stopped. The result is read back and checked.

    Args:
        run: Folder that ``pretrain`` wrote.
        data_root: The data set, in nuScenes' layout.
        split: Which of its splits; the challenge evaluates ``test``.
        out: Folder for the submission.
        use_external: Whether to declare that the method uses data from elsewhere: the teacher's image-text
            model is trained on such, though at inference the student takes the lidar alone.
        unlike: Whether clouds so unlike the training clouds that nothing right can come of them are refused.

    Returns:
        How many points got each of the challenge's classes, 0 to 16; none is 0.

    Raises:
        ValueError: If the run or the data cannot be read, the run knows classes that the challenge has not,
            or ``out`` holds the predictions of another run.
    """
    opened = open_run(run)
    if opened.recipe.data.layout != "nuscenes":
        raise ValueError(
            f"run {run} is of data in the layout {opened.recipe.data.layout!r}; the challenge is nuScenes', "
            "name a run of such data"
        )
    dataset = open_split(opened, data_root, split)
    assert isinstance(dataset, NuScenes)
    ids = challenge_ids(dataset.class_set)
    paths = [label_path(out, dataset, token, split) for token in dataset.tokens]
    CloudCheck(opened.folder, unlike=unlike).split(dataset, split)
    claim(opened, out, stamp_sensors(Path(data_root), dataset), holds="lidarseg")
    _label_missing(opened, dataset, paths, ids, title=f"label {split}")
    counts = _check_labels(out, dataset, split)  # first: only a whole submission is described
    inputs = {"use_lidar": True, "use_external": use_external}
    meta = {flag: inputs.get(flag, False) for flag in FLAGS}
    write_json(out / split / "submission.json", {"meta": meta})
    return counts


def _label_missing(
    run: Run, dataset: NuScenes, paths: Sequence[Path], ids: UInt8[Tensor, " classes"], *, title: str
) -> None:
    """Write the label files that are not there yet."""
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    with progress_bar(desc=title, total=len(paths), initial=len(paths) - len(missing), unit="sample") as bar:
        for number, (_, labels) in zip(missing, predictions(run, dataset, missing), strict=True):
            with write_atomically(paths[number]) as temporary:
                temporary.write_bytes(ids[labels].numpy().tobytes())
            bar.update()
    for folder in {path.parent for path in paths}:
        for leftover in folder.glob(".partial-*"):  # of a call that was killed while it wrote
            leftover.unlink(missing_ok=True)


def challenge_ids(class_set: ClassSet) -> UInt8[Tensor, " classes"]:
    """Give the challenge's number of each class: its place among nuScenes' sixteen, from 1.

    Raises:
        ValueError: If a class is none of the sixteen.
    """
    unknown = [name for name in class_set.classes if name not in NUSCENES.classes]
    if unknown:
        raise ValueError(
            f"the challenge has no class {', '.join(unknown)}; expected some of {', '.join(NUSCENES.classes)}"
        )
    return torch.tensor([NUSCENES.classes.index(name) + 1 for name in class_set.classes], dtype=torch.uint8)


def label_path(out: Path, dataset: NuScenes, token: str, split: str) -> Path:
    """Return where the labels of one keyframe belong.

    Raises:
        ValueError: If the split's or the file's name could lead elsewhere.
    """
    lidar_token, _ = dataset.lidar_file(token)
    for name in (split, lidar_token):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
            raise ValueError(f"{name!r} cannot name a file of a submission; expected letters and digits")
    return out / "lidarseg" / split / f"{lidar_token}_lidarseg.bin"


def _check_labels(out: Path, dataset: NuScenes, split: str) -> Int[np.ndarray, " classes"]:
    """Refuse label files that the challenge would refuse, and count the points of each class."""
    counts = np.zeros(len(NUSCENES) + 1, dtype=np.int64)
    paths = {token: label_path(out, dataset, token, split) for token in dataset.tokens}
    others = sorted(set((out / "lidarseg" / split).glob("*")) - set(paths.values()))
    if others:
        raise ValueError(
            f"{others[0]} is of no keyframe of split {split!r}; delete it, or give another --out"
        )
    for token, labels_at in paths.items():
        labels = read_records(labels_at, "u1")[:, 0]
        _, cloud = dataset.lidar_file(token)
        expected = cloud.stat().st_size // BYTES_A_POINT
        if len(labels) != expected:
            raise ValueError(
                f"{labels_at} holds {len(labels)} labels, but {cloud} {expected} points; delete it"
            )
        if labels.min() < 1 or labels.max() > len(NUSCENES):
            raise ValueError(
                f"{labels_at} holds classes outside 1..{len(NUSCENES)}; delete it and call again"
            )
        counts += np.bincount(labels, minlength=len(counts))
    return counts
