"""Labelling people's own cloud files with any words."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.datasets import LOADERS
from clip2scene.datasets.clouds import write_ply
from clip2scene.inference.figures import draw_words, word_colours
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import write_atomically
from clip2scene.runs.run import Run, open_run
from clip2scene.types import PointCloud, Sample
from clip2scene.viz.raster import save_png

Labelled = tuple[Float[Tensor, "points 3"], Int[Tensor, " points"], Float[Tensor, "points names"]]
"""Positions in metres, labels and scores (half precision) of a cloud."""


def segment_files(
    run: Path, clouds: Sequence[Path], prompts: Sequence[str], out: Path, *, words: Path | None = None
) -> list[Path]:
    """Label cloud files with any words.

    If the run was trained on a drive log, the files are taken to be of the same lidar: with its axes, and its
    intensity (but for nuScenes' own ``.pcd.bin``, whose are known).

    Every cloud is labelled before the first file is written, so a bad one leaves nothing half done.

    Args:
        run: Folder of the run.
        clouds: Files that :func:`clip2scene.datasets.clouds.read_cloud` reads.
        prompts: Words or phrases.
        out: Folder for the results.
        words: A table of text embeddings to take the prompts from, instead of the run's text encoder.

    Returns:
        For each cloud ``NAME.npz`` (labels int64, scores float16 in 0..1, names), ``NAME.ply`` (coloured
        points) and ``NAME.png``.

    Raises:
        ValueError: If the run, a cloud or a prompt is unfit, no cloud is named, or two have the same name.
    """
    stems = [path.name.removesuffix(path.suffix).removesuffix(".pcd") for path in clouds]
    if not stems or len(set(stems)) < len(stems):
        raise ValueError(
            f"expected one or more clouds of different names, got {', '.join(stems) or 'none'}; "
            "name a file, or split the call"
        )
    opened = open_run(run)
    loader = LOADERS[opened.recipe.data.layout]
    read = loader.cloud_reader(run)
    segmenter = Segmenter.of_run(opened, words=words)
    segmenter.set_prompts(prompts)
    labelled = [_segment_file(segmenter, path, read) for path in clouds]
    written = []
    for stem, each in zip(stems, labelled, strict=True):
        written += _write_files(out, stem, segmenter.prompts.classes, each, indoors=loader.indoors)
    return written


def picture_sample(run: Run, sample: Sample, words: Sequence[str]) -> Path:
    """Label the points of a sample with any words, and draw them from above.

    Args:
        run: The run.
        sample: One of its data set's.
        words: Words or phrases that the run's text space has a meaning for.

    Returns:
        The picture, ``TOKEN-words.png`` in the run's ``pictures``.

    Raises:
        ValueError: If a word is unknown.
    """
    segmenter = Segmenter.of_run(run)
    segmenter.set_prompts(words)
    labels = segmenter.segment(sample.cloud).labels
    path = run.folder / "pictures" / f"{sample.token}-words.png"
    indoors = LOADERS[run.recipe.data.layout].indoors
    picture = draw_words(f"sample {sample.token}", sample.cloud.positions, labels, words, indoors=indoors)
    save_png(path, picture)
    return path


def _segment_file(segmenter: Segmenter, path: Path, read: Callable[[Path], PointCloud]) -> Labelled:
    """Read and label one file."""
    cloud = read(path)
    try:
        found = segmenter.segment(cloud)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return cloud.positions, found.labels, found.scores.half()


def _write_files(
    out: Path, stem: str, names: Sequence[str], labelled: Labelled, *, indoors: bool
) -> list[Path]:
    """Write one cloud's labels, its coloured points and its picture."""
    positions, labels, scores = labelled
    with write_atomically(out / f"{stem}.npz") as temporary:
        np.savez_compressed(temporary, labels=labels.numpy(), scores=scores.numpy(), names=names)
    write_ply(out / f"{stem}.ply", positions, word_colours(len(names))[labels])
    save_png(out / f"{stem}.png", draw_words(stem, positions, labels, names, indoors=indoors))
    return [out / f"{stem}{suffix}" for suffix in (".npz", ".ply", ".png")]
