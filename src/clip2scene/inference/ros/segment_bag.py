"""Labelling the clouds of a recording: a bag of ROS in, an MCAP file out.

Labels are made first, one small file a cloud in a folder beside the result, so that what is interrupted goes
on where it was; the result is written when all are there. One cloud at a time is in memory.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from clip2scene.datasets.clouds import Spread, intensity_max
from clip2scene.datasets.convert.ros_bag import CLOUD, TRANSFORMS, Bag, open_bag
from clip2scene.datasets.convert.ros_messages import read_points
from clip2scene.datasets.convert.ros_writer import STRING, BagWriter, lasting_qos, new_bag
from clip2scene.inference.answered import key_of
from clip2scene.inference.ros.answers import CLASSES, Answers, CloudLabels, Labelling, check_classes
from clip2scene.inference.segment import SegmentOptions
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import (
    PARTIAL,
    load_checksummed,
    save_checksummed,
    telling_of_a_full_disk,
    write_atomically,
)
from clip2scene.parallel import file_lock, progress_bar
from clip2scene.runs.run import open_run
from clip2scene.runs.training_clouds import CloudCheck, say

_LOOKED_AT = 16  # clouds of each topic, before the first is labelled
_KEY = "key"


def is_recording(path: Path) -> bool:
    """Tell a recording, by its name or by what a folder holds, from a cloud file or a folder of them."""
    return path.suffix.lower() in (".mcap", ".db3", ".bag") or (path / "metadata.yaml").is_file()


def segment_bag(
    run: Path,
    bag: Path,
    prompts: Sequence[str],
    out: Path,
    options: SegmentOptions = SegmentOptions(),  # noqa: B008 - frozen
    *,
    topics: Sequence[str] = (),
    remove: Sequence[str] = (),
    note: Callable[[str], None] = say,
) -> Path:
    """Label every cloud of a recording with any words.

    Args:
        run: Folder of the run; or builtin, the student in the package.
        bag: A bag of ROS 2 (its folder, ``.mcap`` or ``.db3``) or of ROS 1 (``.bag``).
        prompts: Words or phrases, at most 255: the classes.
        out: The ``.mcap`` file to write.
        options: How clouds are labelled. What is about files, pictures and tiles is not for recordings.
        topics: Which topics of ``PointCloud2`` are labelled; all if left out.
        remove: Classes that ``TOPIC/filtered`` goes without.
        note: Takes what was guessed, and what was passed over.

    Returns:
        ``out``, with the topics of :mod:`clip2scene.inference.ros.answers` for each topic of clouds, with the
        moments and headers of these; the transforms of the recording as they are; and :data:`CLASSES`.

    Raises:
        ValueError: If the run, a prompt, an option or the recording is unfit, no cloud of a topic can be
            read, the clouds are unlike the training clouds so that nothing right can come of them, or there
            is such a file already.
    """
    _check(bag, out, options)
    opened = open_run(run)
    segmenter = Segmenter.of_run(opened, words=options.words)
    segmenter.set_prompts(prompts, background=options.background)
    options.check_mount(run, segmenter)
    check_classes(segmenter.prompts.classes, remove)
    check = CloudCheck(opened.folder, mount_known=options.mount is not None, note=note, unlike=options.unlike)
    with open_bag(bag) as recording, _workspace(out) as folder:
        chosen = _choose(recording, topics)
        ways = _look(recording, chosen, segmenter, options, check, note)
        scales = {topic: way.intensity_max for topic, way in ways.items()}
        file = bag if bag.is_file() else bag / "metadata.yaml"
        _keep_only(folder, key_of(opened, file, options.words, prompts, options, scales))
        _label(recording, ways, folder, note)
        _write(recording, list(ways), folder, out, segmenter.prompts.classes, remove)
    return out


def _check(bag: Path, out: Path, options: SegmentOptions) -> None:
    """Refuse what can be told before anything is opened."""
    if out.suffix.lower() != ".mcap":
        raise ValueError(
            f"--out is {out}; a recording is answered by one file, name it with .mcap at its end"
        )
    _refuse_existing(out)
    files = options.files
    unfit = {
        "--unit": files.unit,
        "--columns": files.columns,
        "--intensity": files.intensity,
        "--keep-raw": options.keep_raw,
        "--tile": options.tile,
    }
    told = [name for name, value in unfit.items() if value]
    if told:
        raise ValueError(f"{', '.join(told)} is for cloud files, {bag} is a recording; leave it out")


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise ValueError(f"{out} is there already; remove it, or name another file by --out")


@contextmanager
def _workspace(out: Path) -> Iterator[Path]:
    """Give the folder of labels, which goes when the result is there."""
    folder = out.with_name(f"{PARTIAL}{out.name}.labels")
    folder.mkdir(parents=True, exist_ok=True)
    with telling_of_a_full_disk(folder), file_lock(folder.with_suffix(".lock"), wait=False):
        _refuse_existing(out)
        try:
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()


def _choose(bag: Bag, topics: Sequence[str]) -> list[str]:
    """Choose the topics of clouds."""
    there = bag.of_kind(CLOUD)
    unknown = [topic for topic in topics if topic not in there]
    if unknown or not there:
        what = f"no clouds (PointCloud2) in {', '.join(unknown)}" if unknown else "no clouds (PointCloud2)"
        raise ValueError(f"{bag.path} has {what}; it has\n{bag.listing()}")
    return list(topics) or there


def _look(
    bag: Bag,
    topics: Sequence[str],
    segmenter: Segmenter,
    options: SegmentOptions,
    check: CloudCheck,
    note: Callable[[str], None],
) -> dict[str, Labelling]:
    """Look at the first clouds of each topic: what intensities mean, and whether they may be labelled."""
    ways, wrong = dict[str, Labelling](), dict[str, str]()
    for topic in topics:
        spreads, first = list[Spread](), None
        for _, message in bag.messages([topic]):
            try:
                points = read_points(message, topic)
            except ValueError as error:
                wrong.setdefault(topic, str(error))
                continue
            if len(points.positions):
                first = message if first is None else first
                spreads.append(Spread.of(points.intensity))
            if len(spreads) == _LOOKED_AT:
                break
        if first is None:
            wrong.setdefault(topic, f"{topic}: no cloud holds a point")
            continue
        scale = options.files.intensity_max or intensity_max(spreads)
        if options.files.intensity_max is None and scale != 1:
            note(f"{topic}: its intensities are taken to go up to {scale:g}; --intensity-max says otherwise")
        axes = options.files.axes or "FLU"
        way = Labelling(segmenter, scale, axes, options.mount, options.abstain, options.quality)
        for remark in check.remarks(way.read(first, topic)[0]):
            check.tell(f"{bag.path}, {topic}", remark)
        ways[topic] = way
    unused = [wrong[topic] for topic in topics if topic not in ways]
    if not ways:
        raise ValueError(f"{bag.path} has no cloud that can be labelled: {unused[0]}; record it anew")
    for reason in unused:
        note(f"{bag.path}: a topic is not answered, as none of its clouds can be labelled: {reason}")
    return ways


def _keep_only(folder: Path, key: str) -> None:
    """Remove the labels that another command made."""
    place = folder / _KEY
    if not place.exists() or place.read_text() != key:
        for path in folder.glob("*.safetensors"):
            path.unlink()
        with write_atomically(place) as temporary:
            temporary.write_text(key)


def _place(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.safetensors"


def _label(bag: Bag, ways: dict[str, Labelling], folder: Path, note: Callable[[str], None]) -> None:
    """Label the clouds that have no labels yet; those that cannot be are counted by their reasons."""
    passed, reasons = Counter[str](), dict[str, str]()
    total = sum(bag.counts[topic] for topic in ways)
    clouds = progress_bar(bag.messages(ways), desc="segment", unit="cloud", total=total)
    for number, (topic, message) in enumerate(clouds):
        place = _place(folder, number)
        if place.exists():
            continue
        try:
            found = ways[topic].label(message, topic)
        except ValueError as error:
            kind = re.sub(r"\d+", "", str(error))
            passed[kind] += 1
            reasons.setdefault(kind, str(error))
            continue
        save_checksummed(place, {name: torch.from_numpy(each) for name, each in vars(found).items()})
    for kind, count in passed.items():
        note(f"{bag.path}: {count} of {total} clouds were passed over: {reasons[kind]}")


def _write(
    bag: Bag, topics: Sequence[str], folder: Path, out: Path, names: Sequence[str], remove: Sequence[str]
) -> None:
    """Write the answers beside the transforms, in the order all were recorded."""
    half = folder / "bag"
    shutil.rmtree(half, ignore_errors=True)
    with new_bag(half) as written:
        answers, number = Answers(names, remove, written.make), 0
        for topic, time_ns, message in bag.recorded([*topics, *bag.of_kind(TRANSFORMS)]):
            if CLASSES not in written.links:
                listed = written.make(STRING, data=json.dumps(answers.classes()))
                written.write(CLASSES, time_ns, listed, qos=lasting_qos())
            if topic not in topics:
                lasting = lasting_qos() if topic.endswith("tf_static") else []
                written.write(topic, time_ns, message, qos=bag.qos(topic) or lasting)
                continue
            place = _place(folder, number)
            number += 1
            if place.exists():
                _answer(written, answers, topic, time_ns, message, place)
    _refuse_existing(out)
    os.replace(half / f"{half.name}.mcap", out)


def _answer(
    written: BagWriter, answers: Answers, topic: str, time_ns: int, message: object, place: Path
) -> None:
    """Write the answer to a cloud."""
    labels = CloudLabels(**{name: each.numpy() for name, each in load_checksummed(place).items()})
    for name, made in answers.make_all(message, topic, labels).items():
        written.write(name, time_ns, made)
