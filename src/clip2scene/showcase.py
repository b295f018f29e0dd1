"""Pictures of a run's answers, and files for people's own clouds."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from clip2scene import build, pictures
from clip2scene.carried import load_carried
from clip2scene.carry import find_pairs
from clip2scene.cloudfiles import read_cloud, write_ply
from clip2scene.datasets.drive_log import read_log_cloud
from clip2scene.datasets.drive_log_files import Calibration
from clip2scene.datasets.scannet_scene import COLOUR_CHANNELS, read_vertices
from clip2scene.evaluate import predict
from clip2scene.files import write_atomically
from clip2scene.labels import ClassSet
from clip2scene.run import open_run
from clip2scene.segmenter import Segmenter
from clip2scene.types import Pairs, Sample


def draw_samples(run: Path, *, data_root: Path, split: str, count: int) -> list[Path]:
    """Draw evenly chosen samples of a split that was evaluated: from above, and over the camera images.

    Args:
        run: Folder of the run.
        data_root: The data set, with labels.
        split: The split that :func:`clip2scene.evaluate.evaluate` judged.
        count: How many samples; all when the split has fewer.

    Returns:
        The pictures, in ``run/pictures``.
    """
    opened = open_run(run)
    paths = opened.carry(data_root, split=split, with_labels=True)
    dataset = build.build_dataset(opened.recipe.data, data_root, split=split, with_labels=True)
    student = opened.student()
    drawn = []
    count = min(count, len(paths))
    for number in np.linspace(0, len(paths) - 1, count, dtype=int):
        carried = load_carried(paths[number])
        assert carried.labels is not None
        judged, sample = opened.judged, dataset[int(number)]
        answers = {
            "student, from lidar alone": judged.translate(predict(student, opened.prompts, carried)[0]),
            "teacher's labels carried over": judged.translate(carried.teacher_labels()),
            "ground truth": carried.labels,
        }
        keyframe = len(sample.cloud)  # the points of earlier sweeps come after it
        answers = {who: answer[:keyframe] for who, answer in answers.items()}
        pairs = find_pairs(sample.cloud.positions, sample, opened.carry_settings)
        shown = {"above": draw_above(sample, answers, dataset.class_set)}
        if sample.cameras:
            shown["cameras"] = draw_cameras(sample, pairs, answers, dataset.class_set)
        for kind, picture in shown.items():
            drawn.append(run / "pictures" / f"{dataset.tokens[number]}-{kind}.png")
            pictures.save_png(drawn[-1], picture)
    return drawn


def draw_above(sample: Sample, answers: dict[str, Int[Tensor, "points"]], class_set: ClassSet) -> Image.Image:
    """Show each answer and the student's errors from above; the student comes first in ``answers``."""
    positions, truth = sample.cloud.positions, answers["ground truth"]
    views = [
        pictures.birds_eye(positions, pictures.class_colours(labels, class_set))
        for labels in answers.values()
    ]
    student = next(iter(answers.values()))
    views.append(pictures.birds_eye(positions, pictures.error_colours(student, truth)))
    legend = pictures.legend(pictures.class_entries(class_set, *answers.values()))
    titles = [*answers, "student: right green, wrong red"]
    return pictures.panel(views, titles, columns=2, legend=legend, heading=f"sample {sample.token}")


def draw_cameras(
    sample: Sample, pairs: Pairs, answers: dict[str, Int[Tensor, "points"]], class_set: ClassSet
) -> Image.Image:
    """Show the student's answer and the truth over three of the cameras."""
    views, titles = [], []
    for title in ("student, from lidar alone", "ground truth"):
        for view in range(min(3, len(sample.cameras))):
            mine = pairs.views == view
            colours = pictures.class_colours(answers[title][pairs.points[mine]], class_set)
            image = sample.read_image(view)
            views.append(pictures.camera_overlay(image, pairs.pixels[mine], pairs.depths[mine], colours))
            titles.append(f"{sample.cameras[view].name}: {title}")
    legend = pictures.legend(pictures.class_entries(class_set, *answers.values()))
    return pictures.panel(views, titles, columns=3, legend=legend, heading=f"sample {sample.token}")


def segment_files(
    run: Path, clouds: Sequence[Path], prompts: Sequence[str], out: Path, *, words: Path | None = None
) -> list[Path]:
    """Label cloud files with any words.

    If the run learnt from a drive log, the files are taken to be of the same lidar: with its axes, and its
    intensity (but for nuScenes' own ``.pcd.bin``, whose are known).

    Every cloud is labelled before the first file is written, so a bad one leaves nothing half done.

    Args:
        run: Folder of the run.
        clouds: Files that :func:`clip2scene.cloudfiles.read_cloud` reads.
        prompts: Words or phrases.
        out: Folder for the results.
        words: A table of text embeddings to take the prompts from, instead of the run's text encoder.

    Returns:
        For each cloud ``NAME.npz`` (labels, scores, names), ``NAME.ply`` (coloured) and ``NAME.png``.

    Raises:
        ValueError: If the run, a cloud or a prompt is unfit, no cloud is named, or two have the same name.
    """
    stems = [path.name.removesuffix(path.suffix).removesuffix(".pcd") for path in clouds]
    if not stems or len(set(stems)) < len(stems):
        raise ValueError(
            f"expected one or more clouds of different names, got {', '.join(stems) or 'none'}; "
            "name a file, or split the call"
        )
    calibration = build.own_calibration(open_run(run).recipe.data, run)
    segmenter = Segmenter.load(run, words=words)
    segmenter.set_prompts(prompts)
    answers = [_segment_file(segmenter, path, calibration) for path in clouds]
    written = []
    for stem, answer in zip(stems, answers, strict=True):
        written += _write_answer(out, stem, segmenter.prompts.classes, *answer)
    return written


Answer = tuple[Float[Tensor, "points 3"], Int[Tensor, "points"], Float[Tensor, "points names"]]


def _segment_file(segmenter: Segmenter, path: Path, calibration: Calibration | None) -> Answer:
    """Read and label one file: positions, labels and scores. The embeddings are let go; files may be many."""
    if segmenter.in_channels == COLOUR_CHANNELS and path.suffix.lower() == ".ply":
        cloud = read_vertices(path)
    elif calibration is None or path.name.lower().endswith(".pcd.bin"):
        cloud = read_cloud(path)
    else:
        cloud = read_log_cloud(path, calibration)
    try:
        found = segmenter.segment(cloud)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return cloud.positions, found.labels, found.scores.half()


def _write_answer(
    out: Path,
    stem: str,
    names: Sequence[str],
    positions: Float[Tensor, "points 3"],
    labels: Int[Tensor, "points"],
    scores: Float[Tensor, "points names"],
) -> list[Path]:
    """Write one cloud's labels, its coloured points and its picture."""
    palette = word_colours(len(names))
    with write_atomically(out / f"{stem}.npz") as temporary:
        np.savez_compressed(temporary, labels=labels.numpy(), scores=scores.numpy(), names=names)
    write_ply(out / f"{stem}.ply", positions, palette[labels])
    shares = torch.bincount(labels, minlength=len(names)) / len(labels)
    entries = {
        f"{name} {share:.0%}": tuple(colour)
        for name, share, colour in zip(names, shares.tolist(), palette.tolist(), strict=True)
    }
    above = pictures.birds_eye(positions, palette[labels], size=1600)
    pictures.save_png(out / f"{stem}.png", pictures.panel([above], [stem], legend=pictures.legend(entries)))
    return [out / f"{stem}{suffix}" for suffix in (".npz", ".ply", ".png")]


def word_colours(count: int) -> UInt8[Tensor, "words 3"]:
    """Choose colours for words that have none of their own: hues a golden section apart."""
    hues = [(0.58 + number * 0.618034) % 1 for number in range(count)]
    shades = [colorsys.hsv_to_rgb(hue, 0.65, 1.0 - 0.25 * (number % 2)) for number, hue in enumerate(hues)]
    return (torch.tensor(shades) * 255).to(torch.uint8)
