"""What the annotation tools' own readers find in an export, against what was exported.

The tools want other versions of what the package needs, so each runs in an environment of its own:

    python benchmarks/handover_readers.py write --data-root town --out handed
    python3 -m venv tool && tool/bin/pip install segments-ai   # or supervisely, or labelCloud
    tool/bin/python benchmarks/handover_readers.py segments --out handed   # or supervisely, labelcloud
    tool/bin/python benchmarks/handover_readers.py clouds --out handed   # where labelCloud has brought Open3D

``write`` exports the labels of a split to all tools, and keeps places and class names of all points in
``truth.npz``. Every reader then says how many points it finds, and how many of them differ.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

NONE = "unlabeled"
Found = tuple[str, np.ndarray | None, np.ndarray | None]
"""Name of a cloud, the class of each point and where it is, as far as the reader says so."""


def write(data_root: Path, split: str, run: Path | None, abstain: float, out: Path) -> None:
    """Export to all formats, and keep the truth."""
    from clip2scene.handover.export import export_split
    from clip2scene.handover.formats import FORMATS
    from clip2scene.handover.frames import open_labelled

    labelled = open_labelled(run, data_root=data_root, split=split, abstain=abstain)
    truth = {}
    for scene in labelled.scenes:
        for frame in labelled.frames(scene):
            truth[f"{frame.name}/places"] = frame.positions
            truth[f"{frame.name}/names"] = np.array([*labelled.class_set.classes, NONE])[frame.labels]
    for name in FORMATS:
        print(name, export_split(labelled, name, out / name).sentence(out / name).replace("\n", "; "))
    np.savez(out / "truth.npz", **truth)


def segments(out: Path) -> Iterator[Found]:
    """Let the data classes of Segments.ai's SDK validate samples, labels and categories."""
    from segments.typing import (
        PointcloudSequenceSampleAttributes,
        PointcloudSequenceSegmentationLabelAttributes,
        TaskAttributes,
    )

    attributes = TaskAttributes.model_validate_json((out / "task_attributes.json").read_text())
    names = {each.id: each.name for each in attributes.categories or ()}
    for path in sorted(out.glob("*/sample*.json")):
        sample = PointcloudSequenceSampleAttributes.model_validate_json(path.read_text())
        text = path.with_name(path.name.replace("sample", "label")).read_text()
        label = PointcloudSequenceSegmentationLabelAttributes.model_validate_json(text)
        for frame, found in zip(sample.frames, label.frames, strict=True):
            assert (out / frame.pcd.url).exists() and frame.ego_pose is not None
            of_id = {0: NONE} | {each.id: names[each.category_id] for each in found.annotations}
            yield str(frame.name), np.array([of_id[number] for number in found.point_annotations]), None


def supervisely(out: Path) -> Iterator[Found]:
    """Open the project with Supervisely's SDK."""
    import supervisely as sly

    project = sly.PointcloudProject(str(out), sly.OpenMode.READ)
    for dataset in project.datasets:
        for name in dataset:
            annotation = dataset.get_ann(name, project.meta)  # as the upload does: keys get numbers there
            header = Path(dataset.get_pointcloud_path(name)).read_bytes()[:400].decode("ascii", "replace")
            names = np.full(int(header.partition("POINTS ")[2].split()[0]), NONE, dtype="U64")
            for figure in annotation.figures:
                names[figure.geometry.indices] = figure.parent_object.obj_class.name
            yield name.removesuffix(".pcd"), names, None


def labelcloud(out: Path) -> Iterator[Found]:
    """Read classes, labels and clouds with labelCloud's own handlers, as if it were started in the folder."""
    os.chdir(out)
    from labelCloud.io.labels.config import LabelConfig
    from labelCloud.io.pointclouds import BasePointCloudHandler
    from labelCloud.io.segmentations import NumpySegmentationHandler

    names = {each.id: each.name for each in LabelConfig().classes}
    for path in sorted(Path("pointclouds").iterdir()):
        points, _ = BasePointCloudHandler.get_handler(path.suffix).read_point_cloud(path)
        labels = NumpySegmentationHandler().read_or_create_labels(
            Path("labels", "segmentation", f"{path.stem}.bin"), len(points)
        )
        yield path.stem, np.array([names[number] for number in labels.tolist()]), points


def clouds(out: Path) -> Iterator[Found]:
    """Read the PCD files for Segments.ai and Supervisely with Open3D, which says nothing of labels."""
    import open3d

    for path in sorted(out.glob("*/*/*.pcd")):
        yield path.stem, None, np.asarray(open3d.io.read_point_cloud(str(path)).points)


def check(reader: str, out: Path) -> None:
    """Compare what a reader finds with the truth."""
    truth = np.load(out / "truth.npz")
    tokens = sorted({name.partition("/")[0] for name in truth})
    met, points, wrong, farthest = set(), 0, 0, None
    for folder in FOLDERS.get(reader, (reader,)):
        for token, names, places in READERS[reader](out / folder):
            met.add(token)
            points += len(places if names is None else names)
            if names is not None:
                wrong += int((names != truth[f"{token}/names"]).sum())
            if places is not None:
                away = np.abs(places - truth[f"{token}/places"]).max()
                farthest = max(farthest or 0.0, float(away))
    told = {"clouds": len(met), "points": points, "other classes": wrong, "farthest, m": farthest}
    print(reader, json.dumps(told))
    assert sorted(met) == tokens and wrong == 0


FOLDERS = {"clouds": ("segments", "supervisely")}
READERS = {"segments": segments, "supervisely": supervisely, "labelcloud": labelcloud, "clouds": clouds}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["write", *READERS])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--abstain", type=float, default=0.0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if asked.what == "write":
        write(asked.data_root, asked.split, asked.run, asked.abstain, asked.out.resolve())
    else:
        check(asked.what, asked.out.resolve())


if __name__ == "__main__":
    main()
