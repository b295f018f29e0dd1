"""Pictures of a run's answers, and files for people's own clouds."""

import colorsys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from clip2scene import build
from clip2scene.classes.tables import ClassSet
from clip2scene.datasets import LOADERS
from clip2scene.datasets.clouds import write_ply
from clip2scene.distill.lift import find_pairs
from clip2scene.distill.lifted import load_lifted
from clip2scene.evaluation.evaluate import predict
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import write_atomically
from clip2scene.runs.run import open_run
from clip2scene.types import Pairs, PointCloud, Sample
from clip2scene.viz import raster as pictures

CUT_M = 2.0
"""Rooms are drawn without what lies higher above their floor: the ceiling would hide all else."""

TEACHER, TRUTH = "teacher's labels carried over", "ground truth"


def draw_samples(run: Path, *, data_root: Path, split: str, count: int) -> list[Path]:
    """Draw evenly chosen samples of a split that was evaluated: from above, and over up to three images.

    Args:
        run: Folder of the run.
        data_root: The data set, with labels.
        split: The split that :func:`clip2scene.evaluation.evaluate.evaluate` judged.
        count: How many samples; all when the split has fewer.

    Returns:
        The pictures, in ``run/pictures``: of each sample ``TOKEN-above.png``, and where it has images,
        ``TOKEN-cameras.png`` (student and truth) and ``TOKEN-carried.png`` (what the teacher taught).
    """
    opened = open_run(run)
    paths = opened.carry(data_root, split=split, with_labels=True)
    dataset = build.open_dataset(opened.recipe.data, data_root, split=split, labels=True, sweeps=1)
    indoors = dataset.indoors
    student_sees = "student, from the cloud alone" if indoors else "student, from lidar alone"
    student = opened.student()
    drawn = []
    count = min(count, len(paths))
    for number in np.linspace(0, len(paths) - 1, count, dtype=int):
        lifted = load_lifted(paths[number])
        assert lifted.labels is not None
        judged, sample = opened.judged, dataset[int(number)]
        answers = {
            student_sees: judged.translate(predict(student, opened.prompts, lifted)[0]),
            TEACHER: judged.translate(lifted.teacher_labels()),
            TRUTH: lifted.labels,
        }
        keyframe = len(sample.cloud)  # the points of earlier sweeps come after it
        answers = {who: answer[:keyframe] for who, answer in answers.items()}
        pairs = find_pairs(sample.cloud.positions, sample, opened.carry_settings)
        shown = {"above": draw_above(sample, answers, dataset.class_set, indoors=indoors)}
        if sample.cameras:
            views = _choose_views(len(sample.cameras), indoors=indoors)
            for kind, titles in (("cameras", (student_sees, TRUTH)), ("carried", (TEACHER,))):
                rows = {title: answers[title] for title in titles}
                shown[kind] = draw_cameras(sample, pairs, rows, dataset.class_set, views=views)
        for kind, picture in shown.items():
            drawn.append(run / "pictures" / f"{dataset.tokens[number]}-{kind}.png")
            pictures.save_png(drawn[-1], picture)
    return drawn


def _choose_views(count: int, *, indoors: bool) -> list[int]:
    """Choose up to three views: the first ones, or, of a walk through a room, such as lie far apart."""
    return sorted({count * part // 3 for part in range(3)}) if indoors else list(range(min(3, count)))


def draw_above(
    sample: Sample, answers: dict[str, Int[Tensor, " points"]], class_set: ClassSet, *, indoors: bool = False
) -> Image.Image:
    """Show each answer and the student's errors from above; the student comes first in ``answers``."""
    student, truth = next(iter(answers.values())), answers[TRUTH]
    colours = [pictures.class_colours(labels, class_set) for labels in answers.values()]
    colours.append(pictures.error_colours(student, truth))
    views = [_look_down(sample.cloud.positions, each, indoors=indoors) for each in colours]
    legend = pictures.legend(pictures.class_entries(class_set, *answers.values()))
    titles = [*answers, "student: right green, wrong red"]
    return pictures.panel(views, titles, columns=2, legend=legend, heading=f"sample {sample.token}")


def _look_down(
    positions: Float[Tensor, "points 3"],
    colours: UInt8[Tensor, "points 3"],
    *,
    indoors: bool,
    size: int = 800,
) -> Image.Image:
    """Draw a cloud from above: around its sensor, or a room without its ceiling, to the picture's edges."""
    if not indoors:
        return pictures.birds_eye(positions, colours, size=size, point_radius=1.5 * size / 800)
    low, high = positions.amin(0), positions.amax(0)
    kept = _below_ceiling(positions)
    extent = max(0.52 * float((high - low)[:2].max()), 0.1)
    radius = size / max(int(kept.sum()), 1) ** 0.5  # about as large as the gaps between points
    return pictures.birds_eye(
        positions[kept] - (low + high) / 2,
        colours[kept],
        size=size,
        extent=extent,
        point_radius=min(max(radius, 1.5), size / 130),
        rings=False,
    )


def _below_ceiling(positions: Float[Tensor, "points 3"]) -> Bool[Tensor, " points"]:
    """Say which points of a room can be drawn from above."""
    return positions[:, 2] < positions[:, 2].min() + CUT_M


def draw_cameras(
    sample: Sample,
    pairs: Pairs,
    answers: dict[str, Int[Tensor, " points"]],
    class_set: ClassSet,
    *,
    views: Sequence[int],
) -> Image.Image:
    """Show each answer over the images of some views."""
    drawn, titles = [], []
    for title, labels in answers.items():
        for view in views:
            mine = pairs.views == view
            colours = pictures.class_colours(labels[pairs.points[mine]], class_set)
            image = sample.read_image(view)
            drawn.append(pictures.camera_overlay(image, pairs.pixels[mine], pairs.depths[mine], colours))
            titles.append(f"{sample.cameras[view].name}: {title}")
    legend = pictures.legend(pictures.class_entries(class_set, *answers.values()))
    columns = len(views) if len(views) > 1 else len(answers)
    return pictures.panel(drawn, titles, columns=columns, legend=legend, heading=f"sample {sample.token}")


def draw_words(run: Path, *, data_root: Path, split: str, words: Sequence[str]) -> Path:
    """Show the first sample of a split from above, labelled with any words.

    Args:
        run: Folder of the run.
        data_root: The data set; its labels are not read.
        split: The split.
        words: Words or phrases that the run's text space has a meaning for.

    Returns:
        The picture, ``TOKEN-words.png`` in ``run/pictures``.
    """
    data = open_run(run).recipe.data
    segmenter = Segmenter.load(run)
    segmenter.set_prompts(words)
    dataset = build.open_dataset(data, data_root, split=split, sweeps=1)
    sample = dataset[0]
    labels = segmenter.segment(sample.cloud).labels
    path = run / "pictures" / f"{sample.token}-words.png"
    picture = _picture_words(
        f"sample {sample.token}", sample.cloud.positions, labels, words, indoors=dataset.indoors
    )
    pictures.save_png(path, picture)
    return path


def segment_files(
    run: Path, clouds: Sequence[Path], prompts: Sequence[str], out: Path, *, words: Path | None = None
) -> list[Path]:
    """Label cloud files with any words.

    If the run learnt from a drive log, the files are taken to be of the same lidar: with its axes, and its
    intensity (but for nuScenes' own ``.pcd.bin``, whose are known).

    Every cloud is labelled before the first file is written, so a bad one leaves nothing half done.

    Args:
        run: Folder of the run.
        clouds: Files that :func:`clip2scene.datasets.clouds.read_cloud` reads.
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
    loader = LOADERS[open_run(run).recipe.data.layout]
    read = loader.cloud_reader(run)
    segmenter = Segmenter.load(run, words=words)
    segmenter.set_prompts(prompts)
    answers = [_segment_file(segmenter, path, read) for path in clouds]
    written = []
    for stem, answer in zip(stems, answers, strict=True):
        written += _write_answer(out, stem, segmenter.prompts.classes, answer, indoors=loader.indoors)
    return written


Answer = tuple[Float[Tensor, "points 3"], Int[Tensor, " points"], Float[Tensor, "points names"]]


def _segment_file(segmenter: Segmenter, path: Path, read: Callable[[Path], PointCloud]) -> Answer:
    """Read and label one file: positions, labels and scores. The embeddings are let go; files may be many."""
    cloud = read(path)
    try:
        found = segmenter.segment(cloud)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return cloud.positions, found.labels, found.scores.half()


def _write_answer(out: Path, stem: str, names: Sequence[str], answer: Answer, *, indoors: bool) -> list[Path]:
    """Write one cloud's labels, its coloured points and its picture."""
    positions, labels, scores = answer
    with write_atomically(out / f"{stem}.npz") as temporary:
        np.savez_compressed(temporary, labels=labels.numpy(), scores=scores.numpy(), names=names)
    write_ply(out / f"{stem}.ply", positions, word_colours(len(names))[labels])
    picture = _picture_words(stem, positions, labels, names, indoors=indoors)
    pictures.save_png(out / f"{stem}.png", picture)
    return [out / f"{stem}{suffix}" for suffix in (".npz", ".ply", ".png")]


def _picture_words(
    title: str,
    positions: Float[Tensor, "points 3"],
    labels: Int[Tensor, " points"],
    names: Sequence[str],
    *,
    indoors: bool,
) -> Image.Image:
    """Draw a cloud from above; the legend has each word's share of the points, in a room of those drawn."""
    palette = word_colours(len(names))
    counted = labels[_below_ceiling(positions)] if indoors else labels
    shares = torch.bincount(counted, minlength=len(names)) / len(counted)
    entries = {
        f"{name} {share:.0%}": tuple(colour)
        for name, share, colour in zip(names, shares.tolist(), palette.tolist(), strict=True)
    }
    above = _look_down(positions, palette[labels], indoors=indoors, size=1600)
    return pictures.panel([above], [title], legend=pictures.legend(entries))


def word_colours(count: int) -> UInt8[Tensor, "words 3"]:
    """Choose colours for words that have none of their own: hues a golden section apart."""
    hues = [(0.58 + number * 0.618034) % 1 for number in range(count)]
    shades = [colorsys.hsv_to_rgb(hue, 0.65, 1.0 - 0.25 * (number % 2)) for number, hue in enumerate(hues)]
    return (torch.tensor(shades) * 255).to(torch.uint8)
