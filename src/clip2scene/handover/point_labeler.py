"""point_labeler, the tool that SemanticKITTI was labelled with: a folder a scene in that data set's layout.

::

    OUT/labels.xml                        names and colours, for the tool
    OUT/labels.classes.json               the same, for the way back
    OUT/SCENE/velodyne/NNNNNN.bin         float32 x y z intensity
    OUT/SCENE/labels/NNNNNN.label         uint32: raw ids, as SemanticKITTI's files hold them; no instances
    OUT/SCENE/poses.txt, calib.txt        where the lidar stood; Tr is the identity
    OUT/SCENE/tokens.txt                  the sample of each number

Classes that SemanticKITTI has get its raw ids, others ids from 300 on. Without poses, all clouds of a scene
stand on each other.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.tables import SEMANTIC_KITTI
from clip2scene.datasets.checks import read_records
from clip2scene.datasets.clouds.labelled import LabelCodes
from clip2scene.datasets.clouds.labelled.codes import kitti_codes, read_codes
from clip2scene.handover.clouds import read_record_positions, write_records
from clip2scene.handover.found import MOST_BYTES, FoundLabels
from clip2scene.handover.frames import Frame, with_none
from clip2scene.io import read_text, write_atomically

CODES = "labels.classes.json"
_CALIBRATION = "1 0 0 0 0 1 0 0 0 0 1 0"
_OUTLIER = 1
_OF_KITTI = {
    **{raw: SEMANTIC_KITTI.classes[number] for raw, number in SEMANTIC_KITTI.train_id_of_raw.items()},
    **dict.fromkeys((52, 99), "ignore"),  # other structures and objects, which its evaluation passes over
}
"""Classes of ids that the tool's own list has, moving things among them."""


def codes_of(classes: ClassSet) -> LabelCodes:
    """Give the raw id of each class."""
    return kitti_codes(classes.classes, with_none(classes))


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write names, raw ids and colours."""
    codes = codes_of(classes)
    codes.write(folder / CODES, "labels.xml")
    rows = zip((codes.none, *codes.ids), ("unlabeled", *codes.names), strict=True)
    colours = [codes.colours[-1], *codes.colours[:-1]]
    entries = [
        f"  <label>\n    <id>{number}</id>\n    <name>{escape(name)}</name>\n"
        f"    <description></description>\n    <color>{' '.join(map(str, colour))}</color>\n"
        "    <root>class</root>\n  </label>\n"
        for (number, name), colour in zip(rows, colours, strict=True)
    ]
    with write_atomically(folder / "labels.xml") as temporary:
        temporary.write_text(f"<config>\n{''.join(entries)}</config>\n", encoding="utf-8")


def write_scene(folder: Path, frames: Iterator[Frame], classes: ClassSet) -> None:
    """Write the clouds of a scene, their labels, and where they stand."""
    codes, poses, tokens = codes_of(classes), list[str](), list[str]()
    place = folder
    for frame in frames:
        place, name = folder / frame.scene, f"{frame.number:06d}"
        write_records(place / "velodyne" / f"{name}.bin", frame)
        with write_atomically(place / "labels" / f"{name}.label") as temporary:
            temporary.write_bytes(codes.of(frame.labels).astype("<u4").tobytes())
        pose = np.eye(4) if frame.pose is None else frame.pose
        poses.append(" ".join(f"{value:.9g}" for value in pose[:3].reshape(-1).tolist()))
        tokens.append(frame.name)
    calibration = [f"{name}: {_CALIBRATION}" for name in ("P0", "P1", "P2", "P3", "Tr")]
    files = {"poses.txt": poses, "calib.txt": calibration, "tokens.txt": tokens}
    for file, lines in files.items():
        with write_atomically(place / file) as temporary:
            temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")


def read_labels(source: Path, tokens: Sequence[str]) -> Iterator[FoundLabels]:
    """Read the labels that point_labeler saved; of each, the lower 16 bits, which say the class.

    Outliers, raw id 1, count as points without a label. Ids that are not in the list of classes beside are
    SemanticKITTI's: moving things are of the class of standing ones.

    Raises:
        ValueError: If a file is missing or broken.
    """
    own, none, _ = read_codes(source / CODES)
    names = {**_OF_KITTI, **own}
    wanted = set(tokens)
    for listed in sorted(source.glob("*/tokens.txt")):
        for number, token in enumerate(read_text(listed, most=MOST_BYTES).split()):
            path = listed.parent / "labels" / f"{number:06d}.label"
            if token in wanted and path.exists():
                ids = (read_records(path, "<u4")[:, 0] & 0xFFFF).astype(np.int64)
                positions = read_record_positions(listed.parent / "velodyne" / f"{number:06d}.bin")
                yield FoundLabels(token, path, ids, names, frozenset([none, _OUTLIER]), positions)
