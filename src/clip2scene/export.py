"""A student's answers in the files that benchmarks ask for."""

from pathlib import Path

import torch
from tqdm import tqdm

from clip2scene import build
from clip2scene.carry import gather_sweeps
from clip2scene.checkpoint import hash_files
from clip2scene.datasets.kitti_labels import prediction_path, raw_ids, write_labels
from clip2scene.files import read_json, write_json
from clip2scene.run import Run, open_run

_OF_RUN = ("checkpoint.safetensors", "prompts.json", "prompts.safetensors", "recipe.json")


@torch.inference_mode()
def export_labels(run: Path, *, data_root: Path, split: str, out: Path) -> list[Path]:
    """Write a run's answers for every point of a split as SemanticKITTI's benchmark asks for them.

    A file that an earlier call of the same run left is kept, so an interrupted call goes on where it stopped.
    No label and no image is read.

    Args:
        run: Folder that ``pretrain`` wrote, on data in SemanticKITTI's layout.
        data_root: The data set.
        split: Which of its splits.
        out: Folder for ``sequences/XX/predictions/NNNNNN.label``. Beside ``sequences/``, ``export.json`` says
            which run answered.

    Returns:
        The files, one a sample.

    Raises:
        ValueError: If the run, the data or what already lies in ``out`` is unfit.
    """
    opened = open_run(run)
    data = opened.recipe.data
    if data.layout != "semantic-kitti":
        raise ValueError(
            f"{run} was trained on data in the layout {data.layout!r}; label files are for runs of "
            "semantic-kitti: train one with --data.layout semantic-kitti"
        )
    classes = build.judged_classes(data)
    raw_ids(classes)
    student, judged = opened.student(), opened.judged
    sweeps = data.sweeps if data.merge_sweeps else 1
    dataset = build.build_dataset(data, data_root, split=split, with_labels=False, sweeps=sweeps)
    _claim(opened, out)
    paths = [prediction_path(out, token) for token in dataset.tokens]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    settings = {**opened.carry_settings, "viewpoint": dataset.viewpoint}
    for number in tqdm(missing, desc=f"label {split}", unit="sample") if missing else ():
        sample = dataset[number]
        cloud, *_ = gather_sweeps(sample, settings)  # the keyframe's points come first
        embeddings = student.embed_cloud(cloud.positions, cloud.features)[: len(sample.cloud)]
        answers = judged.translate(opened.prompts.class_logits(embeddings).argmax(1))
        write_labels(paths[number], answers, classes)
    return paths


def _claim(run: Run, out: Path) -> None:
    """Note whose answers lie in a folder; refuse to mix those of two runs."""
    note = {"run": run.folder.name, "hash": hash_files(run.folder, [run.folder / name for name in _OF_RUN])}
    path = Path(out) / "export.json"
    if path.exists():
        if read_json(path) != note:
            raise ValueError(
                f"{out} holds the answers of another run; name another folder or delete that one"
            )
    elif (Path(out) / "sequences").exists():
        raise ValueError(f"{out} holds sequences that no export wrote; name a new folder")
    else:
        write_json(path, note)
