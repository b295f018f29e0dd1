"""Labelling people's own cloud files with any words."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Int

from clip2scene.datasets import LOADERS
from clip2scene.datasets.clouds import CloudFile, CloudOptions
from clip2scene.datasets.clouds.labelled import LabelCodes, codes_for
from clip2scene.geometry.ground import Ground
from clip2scene.inference.answered import is_answered, key_of
from clip2scene.inference.cloud_files import NamedCloud, find_clouds, named, refuse_overwriting
from clip2scene.inference.figures import draw_words, word_palette
from clip2scene.inference.first_look import look_at_files
from clip2scene.inference.predict import Quality, check_abstain
from clip2scene.inference.results import ResultPaths, write_results, write_tiled
from clip2scene.inference.segmenter import Background, Segmenter
from clip2scene.inference.tile_store import was_sorted
from clip2scene.inference.tiles import MOST_KEPT, TileOptions, label_tiles, pieces_of
from clip2scene.io import PARTIAL, telling_of_a_full_disk
from clip2scene.parallel import file_lock, progress_bar
from clip2scene.runs.run import Run, open_run
from clip2scene.runs.training_clouds import CloudCheck, Unlike
from clip2scene.types import Sample
from clip2scene.viz.raster import save_png

MOST_DRAWN = 200_000
"""Points of a cloud that are drawn, evenly chosen of larger ones: a picture shows no more."""

_WORTH_A_BAR = 3  # clouds
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentOptions:
    """How cloud files are labelled.

    Attributes:
        words: A table of text embeddings to take the prompts from, instead of the run's text encoder.
        background: What a point may be beside the prompts
            (:meth:`~clip2scene.inference.segmenter.Segmenter.set_prompts`).
        abstain: Points whose best score is below this, 0..1, get no prompt.
        files: What the files' numbers mean, where they do not say so themselves.
        mount: The ground that follows from how the sensor is mounted
            (:func:`clip2scene.geometry.mount.ground_of_mount`), for a student that needs it; None estimates
            it in each cloud.
        unlike: Whether clouds so unlike the training clouds that nothing right can come of them are refused.
        picture: Whether each cloud is drawn from above.
        quality: How much work a cloud is worth: low, medium (as the run was made for) or high; seen at one
            turn, usually two, or six, for the mean.
        keep_raw: Whether labels before superpoint means are kept too.
        tile: Edge of the tiles in metres that clouds are cut into, 0 for none; by default those too large for
            the memory are, and LAS and .bin files of more than a million points.
    """

    words: Path | None = None
    background: Background = "trained"
    abstain: float = 0.0
    files: CloudOptions = CloudOptions()
    mount: Ground | None = None
    unlike: Unlike = "refuse"
    picture: bool = True
    quality: Quality = "medium"
    keep_raw: bool = False
    tile: float | None = None

    def __post_init__(self) -> None:
        check_abstain(self.abstain)
        if self.tile is not None and not 0 <= self.tile < float("inf"):
            raise ValueError(f"--tile is {self.tile:g}, expected the edge of a tile in metres, or 0 for none")

    def check_mount(self, run: Path, segmenter: Segmenter) -> None:
        """Refuse a mount that is told to a student that takes clouds as they are.

        Raises:
            ValueError: If it is.
        """
        if self.mount is not None and not segmenter.student.inputs.needs_ground:
            raise ValueError(
                f"the student of {run} takes clouds as they are, whatever the mount; leave --height, --pitch "
                "and --roll out, and bring the clouds to the training clouds' frame"
            )

    @property
    def cut(self) -> TileOptions:
        """How clouds are cut that are labelled tile by tile."""
        return TileOptions(
            self.tile or None, quality=self.quality, abstain=self.abstain, keep_raw=self.keep_raw
        )


def segment_files(
    run: Path,
    clouds: Sequence[Path],
    prompts: Sequence[str],
    out: Path,
    options: SegmentOptions = SegmentOptions(),  # noqa: B008 - frozen
    *,
    note: Callable[[str], None] = _log.warning,
) -> list[Path]:
    """Label cloud files with any words.

    If the run was trained on a drive log, the files are taken to be of the same lidar: with its axes, and its
    intensity (but for nuScenes' own ``.pcd.bin``, whose are known).

    Every cloud is read and checked before the first is labelled, so a bad one leaves nothing half done; then
    each is labelled and written before the next. Where the scale of intensities is guessed, all have one.
    What the same call has answered before is kept, and so are the tiles of the cloud that it was interrupted
    in.

    Args:
        run: Folder of the run; or builtin, the student in the package.
        clouds: Files that :func:`clip2scene.datasets.clouds.read_cloud` reads; folders of them, searched with
            all that lie in them; or patterns, such as 'drive/*.bin' in quotes.
        prompts: Words or phrases.
        out: Folder for the results; those of clouds in a folder keep its folders.
        options: How they are labelled.
        note: Takes what was guessed, and what else a user should know; a sentence that begins with the file.

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
    opened = open_run(run)
    check = CloudCheck(opened.folder, mount_known=options.mount is not None, note=note, unlike=options.unlike)
    read = _reader(opened, options, check)
    segmenter = Segmenter.of_run(opened, words=options.words)
    segmenter.set_prompts(prompts, background=options.background)
    options.check_mount(run, segmenter)
    seen = look_at_files([each.path for each in found], read, segmenter, check, options.tile)
    names = segmenter.prompts.classes
    colours = word_palette(len(names)).numpy()
    tasks = [
        _Task(
            each, ResultPaths.of(each, out), codes_for(each.path, names, colours), each.path in seen.in_tiles
        )
        for each in found
    ]
    refuse_overwriting(found, [path for task in tasks for path in task.paths.written()])
    said = replace(options, unlike="accept", picture=True)  # which change no answer
    keys = {task: key_of(opened, task.cloud.path, options.words, prompts, said, seen.scale) for task in tasks}
    kept = [task for task, key in keys.items() if task.is_answered(key, options)]
    if kept:
        note(f"{named([task.cloud.path for task in kept])}: answered by the same command before; kept")
    indoors = LOADERS[opened.recipe.data.layout].indoors
    answered = set(kept)
    todo = [task for task in tasks if task not in answered]
    for task in progress_bar(todo, desc="segment", unit="cloud", disable=len(todo) < _WORTH_A_BAR):
        cloud = seen.only or read(task.cloud.path, scale=seen.scale)
        task.answer(segmenter, cloud, options, keys[task], indoors=indoors)
    return [path for task in tasks for path in task.results(options)]


def _reader(run: Run, options: SegmentOptions, check: CloudCheck) -> Callable[..., CloudFile]:
    """Say how single files are read."""
    files = options.files
    if options.mount is not None and files.ground is None:
        files = replace(files, ground=options.mount.height)
    if check.trained is not None and files.ground is None:
        files = replace(files, ground=check.trained.quantiles.get("ground_height", (None, None))[1])
    most = None if options.tile == 0 else MOST_KEPT
    return partial(LOADERS[run.recipe.data.layout].cloud_reader(run.folder), asked=files, most=most)


@dataclass(frozen=True, eq=False)
class _Task:
    """A cloud to label, where its results go, and whether it is labelled tile by tile."""

    cloud: NamedCloud
    paths: ResultPaths
    codes: LabelCodes
    in_tiles: bool

    def results(self, options: SegmentOptions) -> list[Path]:
        """List what is written of it."""
        return [*self.paths.written(in_tiles=self.in_tiles), *[self.paths.picture] * options.picture]

    def is_answered(self, key: str, options: SegmentOptions) -> bool:
        """Tell whether all of that is there, of the same key."""
        return is_answered(key, self.paths.classes, self.results(options))

    def answer(
        self, segmenter: Segmenter, read: CloudFile, options: SegmentOptions, key: str, *, indoors: bool
    ) -> None:
        """Label the cloud, and write it, its picture, and last the table of classes.

        What another command answered goes first, from its table on: half of two answers is never taken for
        one.
        """
        if self.paths.classes.exists():
            for path in (self.paths.classes, *self.paths.written(), self.paths.picture):
                path.unlink(missing_ok=True)
        with self._room_for_tiles() as folder:
            try:
                labels = self._label(segmenter, read, options, folder, key)
            except (ValueError, MemoryError, RuntimeError) as error:
                raise _in_a_sentence(error, self.cloud.path, len(read.cloud)) from None
            if options.picture:
                few, a_map = (
                    slice(None, None, -(-len(labels) // MOST_DRAWN)),
                    self.in_tiles or any(read.origin),
                )
                title, names, positions = self.cloud.stem.name, self.codes.names, read.cloud.positions[few]
                drawn = draw_words(title, positions, labels[few], names, indoors=indoors, a_map=a_map)
                save_png(self.paths.picture, drawn)
            self.codes.write(self.paths.classes, self.paths.labelled().name, key=key)

    def _label(
        self, segmenter: Segmenter, read: CloudFile, options: SegmentOptions, folder: Path | None, key: str
    ) -> Int[torch.Tensor, " some"]:
        """Label the cloud, in a folder for tiles if it is cut, and write it; give labels of those at hand."""
        if folder is not None:
            pieces = read.pieces or pieces_of(read.cloud)
            found = label_tiles(
                segmenter, pieces, read.cloud, folder, options.cut, ground=options.mount, key=key
            )
            write_tiled(self.cloud, self.paths, read, found, self.codes)
            return found.some()
        labelled = segmenter.segment(
            read.cloud,
            ground=options.mount,
            abstain=options.abstain,
            quality=options.quality,
            keep_raw=options.keep_raw,
        )
        write_results(self.cloud, self.paths, read, labelled, self.codes)
        return labelled.labels

    @contextmanager
    def _room_for_tiles(self) -> Iterator[Path | None]:
        """Give a folder for tiles, None where the cloud is not cut.

        It is removed once the cloud is answered. If that fails, or is interrupted, it stays to be gone on
        with, unless the points in it are not even sorted.
        """
        if not self.in_tiles:
            yield None
            return
        folder, answered = self.paths.classes.with_name(f"{PARTIAL}{self.cloud.stem.name}.tiles"), False
        folder.mkdir(parents=True, exist_ok=True)
        with telling_of_a_full_disk(folder), file_lock(folder.with_suffix(".lock"), wait=False):
            try:
                yield folder
                answered = True
            finally:
                if answered or not was_sorted(folder):
                    shutil.rmtree(folder, ignore_errors=True)


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
