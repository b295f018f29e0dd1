"""Pictures of predictions: from above and over images, in the colours of classes or of prompts."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from clip2scene import build
from clip2scene.classes.tables import ClassSet
from clip2scene.datasets import Dataset
from clip2scene.distill.lift import find_pairs, gather_sweeps
from clip2scene.distill.lifted import LiftedSample, load_lifted
from clip2scene.inference.predict import predict_labels
from clip2scene.runs.run import Run
from clip2scene.student.model import Embedder
from clip2scene.types import Pairs, Sample
from clip2scene.viz import raster

CUT_M = 2.0
"""Rooms are drawn without what lies higher above their floor: the ceiling would hide all else."""

NO_WORD = (115, 115, 115)
"""Red, green and blue of points that no word fits."""

TEACHER, TRUTH = "teacher's pseudo-labels", "ground truth"


def draw_samples(
    run: Run, student: Embedder, dataset: Dataset, paths: Sequence[Path], *, count: int
) -> list[Path]:
    """Draw evenly chosen samples of an evaluated split: from above, and over up to three images.

    Args:
        run: The run, whose ``pictures`` folder they go to.
        student: Its network.
        dataset: The split.
        paths: A file a sample, with the labels and pseudo-labels of its points.
        count: How many samples; all when the split has fewer.

    Returns:
        The pictures: of each sample ``TOKEN-above.png``, and where it has images, ``TOKEN-cameras.png``
        (student and truth) and ``TOKEN-carried.png`` (the teacher's pseudo-labels).
    """
    drawn = []
    for number in np.linspace(0, len(paths) - 1, min(count, len(paths)), dtype=int).tolist():
        pictures = _draw_sample(run, student, dataset, number, load_lifted(paths[number]))
        for kind, picture in pictures.items():
            drawn.append(run.folder / "pictures" / f"{dataset.tokens[number]}-{kind}.png")
            raster.save_png(drawn[-1], picture)
    return drawn


def _draw_sample(
    run: Run, student: Embedder, dataset: Dataset, number: int, lifted: LiftedSample
) -> dict[str, Image.Image]:
    """Draw one sample: its pictures by kind."""
    assert lifted.labels is not None
    sample, class_set, indoors, mapping = (
        dataset[number],
        dataset.class_set,
        dataset.indoors,
        run.class_mapping,
    )
    title = "student, from the cloud alone" if indoors else "student, from lidar alone"
    predicted = predict_labels(student, run.prompts, lifted.cloud, lifted.sweep_sizes).labels
    labels = {
        title: mapping.translate(predicted),
        TEACHER: mapping.translate(lifted.teacher_labels()),
        TRUTH: lifted.labels,
    }
    keyframe = len(sample.cloud)  # the points of earlier sweeps come after it
    labels = {who: each[:keyframe] for who, each in labels.items()}
    pictures = {"above": draw_above(sample, labels, class_set, indoors=indoors)}
    if sample.cameras:
        pairs = find_pairs(sample.cloud.positions, sample, build.pairing_options(run.recipe.data))
        views = _choose_views(len(sample.cameras), indoors=indoors)
        for kind, titles in (("cameras", (title, TRUTH)), ("carried", (TEACHER,))):
            rows = {title: labels[title] for title in titles}
            pictures[kind] = draw_cameras(sample, pairs, rows, class_set, views=views)
    return pictures


def draw_predictions(run: Run, dataset: Dataset, *, count: int) -> list[Image.Image]:
    """Draw what a run's student says of evenly chosen samples, from above and over up to three images.

    Neither labels nor pseudo-labels are needed.

    Args:
        run: The run.
        dataset: A split, as :func:`clip2scene.inference.predict.open_split` opens it.
        count: How many samples; all when the split has fewer.

    Raises:
        ValueError: If the run has no checkpoint, or a sample cannot be read.
    """
    student, pairing = run.student(), build.pairing_options(run.recipe.data)
    class_set, indoors = build.prompt_classes(run.recipe.data, run.folder), dataset.indoors
    drawn = []
    for number in np.linspace(0, len(dataset) - 1, min(count, len(dataset)), dtype=int).tolist():
        sample = dataset[number]
        cloud, *_ = gather_sweeps(sample, dataset.viewpoint, pairing)
        labels = predict_labels(student, run.prompts, cloud).labels[: len(sample.cloud)]
        colours = raster.class_colours(labels, class_set)
        view = _look_down(sample.cloud.positions, colours, indoors=indoors)
        legend = raster.legend(raster.class_entries(class_set, labels))
        heading = f"sample {sample.token}"
        drawn.append(raster.panel([view], ["student"], legend=legend, heading=heading, width=900))
        if sample.cameras:
            pairs = find_pairs(sample.cloud.positions, sample, pairing)
            views = _choose_views(len(sample.cameras), indoors=indoors)
            drawn.append(draw_cameras(sample, pairs, {"student": labels}, class_set, views=views))
    return drawn


def _choose_views(count: int, *, indoors: bool) -> list[int]:
    """Choose up to three views: the first ones, or, of a walk through a room, such as lie far apart."""
    return sorted({count * part // 3 for part in range(3)}) if indoors else list(range(min(3, count)))


def draw_above(
    sample: Sample, labels: dict[str, Int[Tensor, " points"]], class_set: ClassSet, *, indoors: bool = False
) -> Image.Image:
    """Draw labels by title from above, and the student's errors; the student comes first in ``labels``."""
    student, truth = next(iter(labels.values())), labels[TRUTH]
    colours = [raster.class_colours(each, class_set) for each in labels.values()]
    colours.append(raster.error_colours(student, truth))
    views = [_look_down(sample.cloud.positions, each, indoors=indoors) for each in colours]
    legend = raster.legend(raster.class_entries(class_set, *labels.values()))
    titles = [*labels, "student: right green, wrong red"]
    return raster.panel(views, titles, columns=2, legend=legend, heading=f"sample {sample.token}")


def _look_down(
    positions: Float[Tensor, "points 3"],
    colours: UInt8[Tensor, "points 3"],
    *,
    indoors: bool,
    a_map: bool = False,
    size: int = 800,
) -> Image.Image:
    """Draw a cloud from above: around its sensor, or a map or room (without its ceiling) to its edges."""
    if not indoors and not a_map:
        return raster.birds_eye(positions, colours, size=size, point_radius=1.5 * size / 800)
    low, high = positions.amin(0), positions.amax(0)
    kept = _below_ceiling(positions) if indoors else torch.ones(len(positions), dtype=torch.bool)
    extent = max(0.52 * float((high - low)[:2].max()), 0.1)
    radius = size / max(int(kept.sum()), 1) ** 0.5  # about as large as the gaps between points
    return raster.birds_eye(
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
    labels: dict[str, Int[Tensor, " points"]],
    class_set: ClassSet,
    *,
    views: Sequence[int],
) -> Image.Image:
    """Draw labels by title over the images of some views; ``pairs`` says which pixel a point has."""
    drawn, titles = [], []
    for title, each in labels.items():
        for view in views:
            mine = pairs.views == view
            colours = raster.class_colours(each[pairs.points[mine]], class_set)
            image = sample.read_image(view)
            drawn.append(raster.camera_overlay(image, pairs.pixels[mine], pairs.depths[mine], colours))
            titles.append(f"{sample.cameras[view].name}: {title}")
    legend = raster.legend(raster.class_entries(class_set, *labels.values()))
    columns = len(views) if len(views) > 1 else len(labels)
    return raster.panel(drawn, titles, columns=columns, legend=legend, heading=f"sample {sample.token}")


def draw_words(
    title: str,
    positions: Float[Tensor, "points 3"],
    labels: Int[Tensor, " points"],
    names: Sequence[str],
    *,
    indoors: bool,
    a_map: bool = False,
) -> Image.Image:
    """Draw a cloud from above, labelled with words.

    The legend has each word's share of the points, in a room of those drawn.

    Args:
        title: Stands over the picture.
        positions: Metres.
        labels: Index of each point's word, -1 for none.
        names: The words.
        indoors: Whether the cloud is a room, drawn without its ceiling.
        a_map: Whether it is a map, which is drawn as far as it goes.
    """
    palette = word_palette(len(names))
    counted = labels[_below_ceiling(positions)] if indoors else labels
    shares = torch.bincount(counted + 1, minlength=len(names) + 1).roll(-1) / len(counted)
    told = names if not (labels < 0).any() else (*names, "none of these")
    entries = {
        f"{name} {share:.0%}": tuple(colour)
        for name, share, colour in zip(told, shares.tolist(), palette.tolist(), strict=False)
    }
    above = _look_down(positions, palette[labels], indoors=indoors, a_map=a_map, size=raster.INNER)
    return raster.panel([above], [title], legend=raster.legend(entries))


def word_palette(count: int) -> UInt8[Tensor, "words_and_none 3"]:
    """Give the colours of so many words, and last the grey of points that none of them fits."""
    return torch.cat([word_colours(count), torch.tensor([NO_WORD], dtype=torch.uint8)])


def word_colours(count: int) -> UInt8[Tensor, "words 3"]:
    """Choose colours for words that have none of their own: hues a golden section apart."""
    hues = [(0.58 + number * 0.618034) % 1 for number in range(count)]
    shades = [colorsys.hsv_to_rgb(hue, 0.65, 1.0 - 0.25 * (number % 2)) for number, hue in enumerate(hues)]
    return (torch.tensor(shades) * 255).to(torch.uint8)
