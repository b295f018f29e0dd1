"""Labelling people's own cloud files with any words."""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int

from clip2scene.datasets import LOADERS
from clip2scene.datasets.clouds import CloudFile, CloudOptions, Spread
from clip2scene.datasets.clouds.labelled import LabelCodes, codes_for
from clip2scene.geometry.ground import Ground
from clip2scene.geometry.remarks import Remark
from clip2scene.inference.cloud_files import NamedCloud, find_clouds, refuse_overwriting
from clip2scene.inference.figures import draw_words, word_palette
from clip2scene.inference.memory import check_memory
from clip2scene.inference.predict import Quality, check_abstain
from clip2scene.inference.results import ResultPaths, write_results, write_tiled
from clip2scene.inference.segmenter import Background, Segmenter
from clip2scene.inference.tiles import MOST_KEPT, MOST_POINTS, TileOptions, label_tiles, pieces_of
from clip2scene.io import PARTIAL
from clip2scene.runs.run import Run, open_run
from clip2scene.runs.training_clouds import CloudCheck, Unlike
from clip2scene.types import Sample
from clip2scene.viz.raster import save_png

MOST_DRAWN = 200_000
"""Points of a cloud that are drawn, evenly chosen of larger ones: a picture shows no more."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Look:
    """What was learnt of a cloud file by reading it once.

    Attributes:
        spread: Of its intensities.
        notes: What is to be said of how it was read.
        remarks: In what it is unlike the training clouds.
        in_tiles: Whether it is labelled tile by tile.
    """

    spread: Spread | None
    notes: tuple[str, ...]
    remarks: Sequence[Remark] = ()
    in_tiles: bool = False


def segment_files(  # noqa: PLR0913 - what a user may ask of the command
    run: Path,
    clouds: Sequence[Path],
    prompts: Sequence[str],
    out: Path,
    *,
    words: Path | None = None,
    background: Background = "trained",
    abstain: float = 0.0,
    options: CloudOptions = CloudOptions(),  # noqa: B008 - frozen
    mount: Ground | None = None,
    unlike: Unlike = "refuse",
    note: Callable[[str], None] = _log.warning,
    picture: bool = True,
    quality: Quality = "medium",
    keep_raw: bool = False,
    tile: float | None = None,
) -> list[Path]:
    """Label cloud files with any words.

    If the run was trained on a drive log, the files are taken to be of the same lidar: with its axes, and its
    intensity (but for nuScenes' own ``.pcd.bin``, whose are known).

    Every cloud is read and checked before the first is labelled, so a bad one leaves nothing half done; then
    each is labelled and written before the next. Where the scale of intensities is guessed, all have one.

    Args:
        run: Folder of the run; or builtin, the student in the package.
        clouds: Files that :func:`clip2scene.datasets.clouds.read_cloud` reads; folders of them, searched with
            all that lie in them; or patterns, such as 'drive/*.bin' in quotes.
        prompts: Words or phrases.
        out: Folder for the results; those of clouds in a folder keep its folders.
        words: A table of text embeddings to take the prompts from, instead of the run's text encoder.
        background: What a point may be beside the prompts
            (:meth:`~clip2scene.inference.segmenter.Segmenter.set_prompts`).
        abstain: Points whose best score is below this, 0..1, get no prompt.
        options: What the files' numbers mean, where they do not say so themselves.
        mount: The ground that follows from how the sensor is mounted
            (:func:`clip2scene.geometry.mount.ground_of_mount`), for a student that needs it; None estimates
            it in each cloud.
        unlike: Whether clouds so unlike the training clouds that nothing right can come of them are refused.
        note: Takes what was guessed, and what else a user should know; a sentence that begins with the file.
        picture: Whether each cloud is drawn from above.
        quality: How much work a cloud is worth: low, medium (as the run was made for) or high; seen at one
            turn, usually two, or six, for the mean.
        keep_raw: Whether labels before superpoint means are kept too.
        tile: Edge of the tiles in metres that clouds are cut into, 0 for none; by default only those that are
            too large for the memory are, and LAS files of more than a million points, read in pieces.

    Returns:
        For each cloud ``NAME.npz`` (labels int64, -1 for none of the prompts; scores float16 in 0..1; names;
        perhaps raw_labels);
        ``NAME.ply`` (points where the file has them, in its axes and unit and as precise, with colours and a
        field ``label``, 65535 for none); the cloud in its own format with all of its fields, a label and a
        score for each point, where the format has room for these
        (:mod:`clip2scene.datasets.clouds.labelled`); ``NAME.classes.json``, the number and colour of each
        prompt there; and ``NAME.png``, the picture.

        Of a cloud that was cut into tiles, there is neither ``NAME.npz`` nor a coloured cloud beside one in
        its own format.

    Raises:
        ValueError: If the run, a cloud or a prompt is unfit, no cloud is named, two have the same name, a
            result would be written over a cloud, one is not in the unit, axes or frame of the training
            clouds, or the mount is told to a student that takes clouds as they are.
    """
    found = find_clouds(clouds, out, note)
    check_abstain(abstain)
    if tile is not None and not 0 <= tile < float("inf"):
        raise ValueError(f"--tile is {tile:g}, expected the edge of a tile in metres, or 0 for none")
    cut = TileOptions(tile or None, quality=quality, abstain=abstain, keep_raw=keep_raw)
    opened = open_run(run)
    loader = LOADERS[opened.recipe.data.layout]
    check = CloudCheck(opened.folder, mount_known=mount is not None, note=note, unlike=unlike)
    if mount is not None and options.ground is None:
        options = replace(options, ground=mount.height)
    if check.trained is not None and options.ground is None:
        options = replace(options, ground=check.trained.quantiles.get("ground_height", (None, None))[1])
    most = None if tile == 0 else MOST_KEPT
    read = partial(loader.cloud_reader(opened.folder), asked=options, most=most)
    segmenter = Segmenter.of_run(opened, words=words)
    segmenter.set_prompts(prompts, background=background)
    if mount is not None and not segmenter.student.inputs.needs_ground:
        raise ValueError(
            f"the student of {run} takes clouds as they are, whatever the mount; leave --height, --pitch and "
            "--roll out, and bring the clouds to the training clouds' frame"
        )
    scale, in_tiles = _check_files([each.path for each in found], read, segmenter, check, tile)
    names = segmenter.prompts.classes
    codes = {each.path: codes_for(each.path, names, word_palette(len(names)).numpy()) for each in found}
    results = [ResultPaths.of(each, out) for each in found]
    refuse_overwriting(found, [path for paths in results for path in paths.written()])
    written = []
    for each, paths in zip(found, results, strict=True):
        cloud = read(each.path, scale=scale)
        try:
            if each.path in in_tiles:
                labels, positions, made = _label_in_tiles(
                    segmenter, each, paths, cloud, codes[each.path], cut, mount
                )
            else:
                labelled = segmenter.segment(
                    cloud.cloud, ground=mount, abstain=abstain, quality=quality, keep_raw=keep_raw
                )
                write_results(each, paths, cloud, labelled, codes[each.path])
                labels, positions, made = labelled.labels, cloud.cloud.positions, paths.written()
        except (ValueError, MemoryError, RuntimeError) as error:
            raise _in_a_sentence(error, each.path, len(cloud.cloud)) from None
        written += made
        if picture:
            step = -(-len(labels) // MOST_DRAWN)
            drawn = draw_words(
                each.stem.name, positions[::step], labels[::step], names, indoors=loader.indoors
            )
            save_png(paths.picture, drawn)
            written.append(paths.picture)
    return written


def _label_in_tiles(  # noqa: PLR0913 - what one cloud is labelled with
    segmenter: Segmenter,
    cloud: NamedCloud,
    paths: ResultPaths,
    read: CloudFile,
    codes: LabelCodes,
    options: TileOptions,
    mount: Ground | None,
) -> tuple[Int[torch.Tensor, " some"], Float[torch.Tensor, "some 3"], list[Path]]:
    """Label a cloud tile by tile, and write it; give labels of some points, where they are, and the files."""
    paths.classes.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=paths.classes.parent) as folder:
        pieces = read.pieces or pieces_of(read.cloud)
        found = label_tiles(segmenter, pieces, read.cloud, Path(folder), options, ground=mount)
        written = write_tiled(cloud, paths, read, found, codes)
        return found.some(), read.cloud.positions, written


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


def _check_files(
    paths: Sequence[Path],
    read: Callable[..., CloudFile],
    segmenter: Segmenter,
    check: CloudCheck,
    tile: float | None,
) -> tuple[float | None, set[Path]]:
    """Read every file once, say what is to be said, and give the one scale of their intensities.

    Returns:
        The intensity that becomes 1 where that has to be guessed, None where no file needs it; and the files
        that are labelled tile by tile.

    Raises:
        ValueError: If a file is unfit or to be refused, or some intensities are shares and others counts.
    """
    look_at = partial(_look, segmenter=segmenter, check=check, tile=tile)
    looks = {path: look_at(path, read) for path in paths}
    scale = _common_scale({path: look.spread for path, look in looks.items() if look.spread is not None})
    if scale is not None:
        others = [path for path, look in looks.items() if look.spread and look.spread.scale() != scale]
        looks |= {path: look_at(path, partial(read, scale=scale)) for path in others}
    said: dict[str, list[Path]] = {}
    unlike: dict[str, list[tuple[Path, Remark]]] = {}
    for path, look in looks.items():
        for sentence in look.notes:
            said.setdefault(sentence, []).append(path)
        for remark in look.remarks:
            unlike.setdefault(remark.kind, []).append((path, remark))
    for sentence, whose in said.items():
        check.note(f"{_named(whose)}: {sentence}")
    for alike in unlike.values():
        check.tell(_named([path for path, _ in alike]), alike[0][1])
    return scale, {path for path, look in looks.items() if look.in_tiles}


def _named(paths: Sequence[Path]) -> str:
    """Name the first of some files, and count the others."""
    return f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}"


def _look(
    path: Path, read: Callable[..., CloudFile], segmenter: Segmenter, check: CloudCheck, tile: float | None
) -> _Look:
    """Read a file, and learn what is needed before the first cloud is labelled."""
    cloud = read(path)
    remarks = check.remarks(cloud.cloud)
    if not cloud.cloud.features.any():  # which the reader has told
        remarks = [each for each in remarks if each.kind != "intensity"]
    in_tiles = bool(tile) or cloud.pieces is not None
    # What is wrong with a cloud goes before the memory it needs.
    if not in_tiles and not check.refuses(remarks):
        try:
            check_memory(segmenter.student, cloud.cloud, segmenter.num_compared)
        except ValueError as error:
            if tile == 0 or len(cloud.cloud) <= MOST_POINTS:
                raise ValueError(f"{path}: {error}") from None
            in_tiles = True
    return _Look(cloud.spread, cloud.notes, remarks, in_tiles)


def _common_scale(spreads: Mapping[Path, Spread]) -> float | None:
    """Give the scale of the intensities of several files together; zeros and ones go with the others."""
    telling = {path: spread for path, spread in spreads.items() if not spread.says_nothing}
    if not telling:
        return None
    shares = [path for path, spread in telling.items() if spread.scale() == 1]
    counts = [path for path in telling if path not in shares]
    if shares and counts:
        raise ValueError(
            f"intensities of {shares[0]} are shares of 1, those of {counts[0]} go up to "
            f"{telling[counts[0]].highest:g}, so they are of different units; label these files in calls of "
            "their own"
        )
    first, *others = telling.values()
    return sum(others, first).scale()


def _in_a_sentence(error: Exception, path: Path, points: int) -> Exception:
    """Turn what went wrong with a cloud into a sentence that names it; what is no user's matter stays."""
    if isinstance(error, ValueError):
        return ValueError(f"{path}: {error}")
    # torch has no class of its own for the CPU's memory
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error):
        return ValueError(
            f"{path}: memory ran out while {points:,} points were labelled; cut the cloud into pieces, or "
            "thin it"
        )
    return error
