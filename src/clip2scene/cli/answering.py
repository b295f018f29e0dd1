"""Commands that label clouds and hand labels over. What the library describes is not described again."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from clip2scene.cli.notes import note
from clip2scene.datasets.clouds import Unit

Tool = Literal["segments", "supervisely", "labelcloud", "point-labeler", "las"]
"""Tools whose labels ``import-labels`` reads."""
Target = Literal[Tool, "rrd", "mcap", "semantic-kitti", "lidarseg"]
"""What ``export`` writes: the names of :data:`clip2scene.handover.formats.FORMATS`, and two benchmarks'."""


def segment(
    run: Path,
    clouds: tuple[Path, ...],
    *,
    prompts: str,
    out: Path,
    words: Path | None = None,
    background: str = "trained",
    abstain: float = 0.0,
    axes: str | None = None,
    unit: Unit | None = None,
    intensity: str | None = None,
    intensity_max: float | None = None,
    columns: str | None = None,
    height: float | None = None,
    pitch: float = 0.0,
    roll: float = 0.0,
    unlike: Literal["refuse", "accept"] = "refuse",
    picture: bool = True,
    quality: Literal["low", "medium", "high"] = "medium",
    keep_raw: bool = False,
    tile: float | None = None,
    topics: tuple[str, ...] = (),
    remove: str | None = None,
) -> None:
    """Label clouds with any words; each is answered in its own format, with all of its fields.

    Instead of clouds, one recording of ROS may be named (.mcap, .db3, .bag, or a bag's folder); --out is then
    the .mcap file of its answers.

    Args:
        prompts: Words or phrases, separated by commas (quotes around one that holds a comma); or a .txt file
            of them, one a line.
        background: What points may be beside the prompts, so that they may be none of them: trained, the
            classes the run was trained with that no prompt stands for; none, so that every point gets the
            best prompt; or words, given as prompts are.
        abstain: Points whose best score is below this, 0..1, get none of the prompts.
        axes: Where x, y and z of the files point: three of F B L R U D, such as FLU or RFU.
        unit: The unit of their coordinates; metres if left out.
        intensity: The field that is the intensity, or none to leave it out.
        intensity_max: The intensity that becomes 1.
        columns: Names of the numbers of a point in files without names, such as x,y,z,intensity,_;
            an _ is passed over.
        height: Of the sensor above the ground, in metres, where it is known; it is estimated otherwise. For
            students that are given clouds brought level, or heights above the ground.
        pitch: How much the sensor looks down ahead, in degrees; with --height.
        roll: How much it leans to the right, in degrees; with --height.
        picture: Whether each cloud is drawn from above, which takes about as long as labelling it.
        topics: Topics of clouds in a recording; all if left out.
        remove: Those of the prompts, given as these are, whose points the topic "filtered" of a recording's
            answer goes without.
    """
    from clip2scene.datasets.clouds import CloudOptions
    from clip2scene.geometry.mount import ground_of_mount
    from clip2scene.inference.ros.segment_bag import is_recording, segment_bag
    from clip2scene.inference.segment import SegmentOptions, segment_files
    from clip2scene.inference.text_embeddings import read_words

    named = None if columns is None else tuple(name.strip() for name in columns.split(","))
    options = CloudOptions(axes, unit, intensity, intensity_max, named)
    if height is None and (pitch or roll):
        raise ValueError("--pitch and --roll are told with the sensor's --height above the ground; add it")
    how = SegmentOptions(
        words=words,
        background=background if background in ("trained", "none") else read_words(background),
        abstain=abstain,
        files=options,
        mount=None if height is None else ground_of_mount(height, pitch, roll),
        unlike=unlike,
        picture=picture,
        quality=quality,
        keep_raw=keep_raw,
        tile=tile,
    )
    if any(map(is_recording, clouds)):
        if len(clouds) > 1:
            raise ValueError(
                f"expected one recording, or clouds, got {', '.join(map(str, clouds))}; name one"
            )
        removed = () if remove is None else read_words(remove)
        answered = segment_bag(
            run, clouds[0], read_words(prompts), out, how, topics=topics, remove=removed, note=note
        )
        made = [answered]
    elif topics or remove:
        raise ValueError("--topics and --remove are for recordings of ROS; leave them out for clouds")
    else:
        made = segment_files(run, clouds, read_words(prompts), out, how, note=note)
    for path in made:
        print(f"wrote {path}")


def label(
    run: Path,
    *,
    data_root: Path,
    out: str,
    split: str = "val",
    prompts: str | None = None,
    words: Path | None = None,
    background: str = "trained",
    abstain: float = 0.0,
    quality: Literal["low", "medium", "high"] = "medium",
    unlike: Literal["refuse", "accept"] = "refuse",
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    device: str = "cpu",
) -> None:
    """Label the samples of a data set, however many, with several workers. Exit code 1 if some failed.

    Args:
        prompts: Words or phrases, separated by commas (quotes around one that holds a comma); or a .txt file
            of them, one a line. Without them, the classes of the data set.
        background: What points may be beside the prompts: trained, the classes the run was trained with that
            no prompt stands for; none; or words, given as prompts are.
        abstain: Points whose best score is below this, 0..1, get no label.
    """
    from clip2scene.inference.fleet.job import Crew, label_samples
    from clip2scene.inference.fleet.label import LabelOptions
    from clip2scene.inference.text_embeddings import read_words

    how = LabelOptions(
        prompts=None if prompts is None else tuple(read_words(prompts)),
        words=words,
        background=background if background in ("trained", "none") else tuple(read_words(background)),
        abstain=abstain,
        quality=quality,
    )
    done = label_samples(
        run,
        data_root=data_root,
        out=out,
        split=split,
        how=how,
        crew=Crew(engine, workers, device),
        unlike=unlike,
        note=note,
    )
    print(done.sentence())
    if done.failed:
        sys.exit(1)


def export(
    run: Path | None = None,
    *,
    data_root: Path,
    to: Target,
    out: Path,
    split: str = "val",
    layer: Path | None = None,
    scenes: tuple[str, ...] = (),
    abstain: float = 0.0,
    images: bool = True,
    unlike: Literal["refuse", "accept"] = "refuse",
) -> None:
    """Hand labels of a split to a tool: a run's predictions, those of the data set, or those of a layer.

    Args:
        run: The run's folder, or builtin; none takes the labels that lie in the data set.
        to: The tool or format (docs/handover.md). semantic-kitti and lidarseg are predictions for benchmarks,
            which evaluate the split test: as export-labels and export-lidarseg write them, in raw ids.
        out: A new folder.
        scenes: Which scenes; all if none is named. Not for benchmarks.
        abstain: Points whose best score is below this, 0..1, are left without a label.
        images: Whether images are handed over, by formats that hold them.
    """
    from clip2scene.handover.export import export_split
    from clip2scene.handover.frames import open_labelled
    from clip2scene.inference.export_kitti import export_labels
    from clip2scene.inference.export_lidarseg import export_lidarseg

    if to not in ("semantic-kitti", "lidarseg"):
        labelled = open_labelled(
            run,
            data_root=data_root,
            split=split,
            layer=layer,
            scenes=scenes,
            abstain=abstain,
            images=images,
            unlike=unlike,
        )
        print(export_split(labelled, to, out).sentence(out))
        return
    if run is None or scenes or layer is not None:
        raise ValueError(
            f"--to {to} is a run's predictions for a whole split: name a run, and neither --scenes nor "
            "--layer"
        )
    if to == "semantic-kitti":
        paths = export_labels(run, data_root=data_root, out=out, split=split, abstain=abstain, unlike=unlike)
        print(f"wrote {len(paths)} label files to {out / 'sequences'}")
        return
    if abstain:
        raise ValueError(f"lidarseg has no number for a point without a label, got --abstain {abstain:g}")
    counts = export_lidarseg(run, data_root=data_root, split=split, out=out, unlike=unlike)
    print(f"labelled {counts.sum()} points: submit {out / 'lidarseg'} and {out / split} in one zip file")


def import_labels(
    labels: Path,
    *,
    form: Annotated[Tool, tyro.conf.arg(name="from")],
    data_root: Path,
    out: Path,
    split: str = "val",
    run: Path | None = None,
) -> None:
    """Read labels that people gave in a tool, and write them as a label layer (docs/corrections.md).

    Args:
        form: The tool (docs/handover.md).
    """
    from clip2scene.handover.import_labels import import_labels as run_import

    done = run_import(labels, form=form, data_root=data_root, out=out, split=split, run=run)
    print(done.sentence(out))


def export_onnx(
    run: Path,
    *,
    out: Path,
    prompts: str | None = None,
    background: str = "trained",
    words: Path | None = None,
    weights: Literal["float32", "float16", "int8"] = "float32",
) -> None:
    """Write a run as one ONNX file, which labels clouds without torch: on a robot, for instance.

    Args:
        prompts: What it labels with unless asked otherwise: words or phrases, separated by commas (quotes
            around one that holds a comma); or a .txt file of them, one a line. By default the classes the run
            was trained with.
        background: What points may be beside the prompts: trained, the classes the run was trained with that
            no prompt stands for; none; or words, given as prompts are.
    """
    from clip2scene.inference.export_onnx import export_onnx as run_export
    from clip2scene.inference.text_embeddings import read_words

    run_export(
        run,
        out,
        prompts=None if prompts is None else read_words(prompts),
        background=background if background in ("trained", "none") else read_words(background),
        words=words,
        weights=weights,
    )
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, weights of {weights})")


def embed_words(
    words: str,
    *,
    out: Path,
    teacher_weights: str | None = None,
    run: Path | None = None,
) -> None:
    """Make a table of text embeddings, so that words need no text encoder.

    Args:
        words: Words or phrases, separated by commas (quotes around one that holds a comma); or a .txt file of
            them, one a line.
        out: The table, a .safetensors file.
    """
    from clip2scene.inference.text_embeddings import embed_words as run_embed_words
    from clip2scene.inference.text_embeddings import read_words

    if out.suffix != ".safetensors":
        raise ValueError(f"{out} must end in .safetensors; rename it")
    table = run_embed_words(read_words(words), teacher_weights=teacher_weights, run=run)
    table.save(out)
    print(f"wrote {len(table.names)} words of {table.vectors.shape[1]} channels to {out}")
