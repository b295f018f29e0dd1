"""Commands that put several functions together. Arguments that these describe are not described again."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from clip2scene.config import DataConfig, LabelsConfig, Layout, Network, Recipe, TuningConfig
from clip2scene.datasets.clouds import Unit
from clip2scene.datasets.rigs import Form
from clip2scene.recipes import USUAL_TUNING, named

if TYPE_CHECKING:
    from clip2scene.teacher.kept_maps import TeacherCache

Tool = Literal["segments", "supervisely", "labelcloud", "point-labeler", "las"]
"""Tools whose labels ``import-labels`` reads."""
Target = Literal[Tool, "rrd", "mcap", "semantic-kitti", "lidarseg"]
"""What ``export`` writes: the names of :data:`clip2scene.handover.formats.FORMATS`, and two benchmarks'."""


def evaluate(
    run: Path,
    *,
    data_root: Path,
    split: str = "val",
    out: Path | None = None,
    teacher_cache: str | None = None,
    teacher_cache_copies: Path | None = None,
    teacher_cache_copies_gb: float = 20.0,
    unlike: Literal["refuse", "accept"] = "refuse",
    pictures: int = 2,
) -> None:
    """Evaluate a run per point, beside its teacher and chance.

    Args:
        teacher_cache: Folder of the teacher's features, or address of a store (s3://bucket/folder).
        teacher_cache_copies: Local folder where copies are kept of what is read from that store.
        teacher_cache_copies_gb: That they may take; the least recently used are removed.
        pictures: Samples to draw.
    """
    from clip2scene.evaluation.evaluate import evaluate_split, open_evaluation
    from clip2scene.evaluation.metrics import table
    from clip2scene.evaluation.reliability import Reliability
    from clip2scene.inference.figures import draw_samples
    from clip2scene.ranks import here

    opened = open_evaluation(
        run,
        data_root=data_root,
        split=split,
        out=out,
        teacher_cache=_teacher_cache(teacher_cache, teacher_cache_copies, teacher_cache_copies_gb),
        unlike=unlike,
    )
    reliability = Reliability()
    print(table(evaluate_split(opened, reliability)))
    print(reliability.sentence())
    print(f"wrote {opened.run.folder / 'metrics.json'}")
    if not here().leads:
        return
    for path in draw_samples(opened.run, opened.student, opened.dataset, opened.paths, count=pictures):
        print(f"drew {path}")


def compare(
    pred: Path,
    truth: Path,
    *,
    pred_classes: str | None = None,
    truth_classes: str | None = None,
    ignore: str = "",
    field: str | None = None,
    out: Path | None = None,
) -> None:
    """Compare two labelled files or folders: the table of evaluate, and a confusion matrix. No run is needed.

    Args:
        pred_classes: What numbers or words of PRED stand for: name of a class set, or a JSON or TOML file
            (docs/words.md).
        ignore: Numbers or classes of TRUTH that are not evaluated, separated by commas.
    """
    from clip2scene.evaluation.compare import compare as run_compare
    from clip2scene.evaluation.metrics import confusion_table, table

    found = run_compare(
        pred,
        truth,
        pred_classes=pred_classes,
        truth_classes=truth_classes,
        ignore=[word.strip() for word in ignore.split(",") if word.strip()],
        field=field,
        out=out,
        note=_note,
    )
    print(table(found.scores))
    print(f"\nin percent of each true class:\n{confusion_table(found.scores['prediction'])}")
    if out is not None:
        print(f"wrote {out / 'compare.json'}\nwrote {out / 'confusion.png'}")


def pretrain(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    start: Path | None = None,
    second_round: Path | None = None,
    teacher_weights: str | None = None,
    teacher_cache: str | None = None,
    teacher_cache_copies: Path | None = None,
    teacher_cache_copies_gb: float = 20.0,
    device: str = "cpu",
    save_every: int = 500,
    log: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = (),
) -> None:
    """Train a student without labels, or (a recipe ending in -supervised) with them.

    Args:
        start: Folder of a label-free run to begin with, or builtin, the student in the package; it must have
            the same network and inputs. Its text head is taken where the text space is the same. The recipe's
            learning rate stays; for a trained backbone, finetune takes a fifth (--optimiser.learning-rate).
            Without it, the student begins from chance.
        second_round: Folder of a label-free run that was trained on these data and classes. Where its student
            is surer of a training cloud than the teacher, its label counts (--self-training.lead).
        teacher_cache_copies: Local folder where copies are kept of what is read from a teacher cache that is
            a store elsewhere.
        teacher_cache_copies_gb: That they may take; the least recently used are removed.
    """
    from clip2scene.runs.first_round import first_round_of
    from clip2scene.runs.init_weights import init_weights_of
    from clip2scene.training.train import pretrain as run_pretrain

    run_pretrain(
        recipe,
        data_root=data_root,
        out=out,
        start=None if start is None else init_weights_of(start),
        first=None if second_round is None else first_round_of(second_round),
        teacher_weights=teacher_weights,
        teacher_cache=_teacher_cache(teacher_cache, teacher_cache_copies, teacher_cache_copies_gb),
        device=device,
        save_every=save_every,
        log=log,
    )


def lift(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None = None,
    teacher_cache: str | None = None,
    teacher_cache_copies: Path | None = None,
    teacher_cache_copies_gb: float = 20.0,
    device: str = "cpu",
) -> None:
    """Lift a teacher's pseudo-labels onto the points of the train split; train nothing.

    The folder is a run that was begun: others fuse its teacher with theirs (--teacher.also), and pretrain
    with the same recipe goes on with it.

    Args:
        recipe: The teacher, and what the data set is.
        data_root: The data set; its labels are not opened.
        out: Folder of the run.
        teacher_cache_copies: Local folder where copies are kept of what is read from a teacher cache that is
            a store elsewhere.
        teacher_cache_copies_gb: That they may take; the least recently used are removed.
    """
    from clip2scene.training.precompute import lift as run_lift

    run_lift(
        recipe,
        data_root=data_root,
        out=out,
        teacher_weights=teacher_weights,
        teacher_cache=_teacher_cache(teacher_cache, teacher_cache_copies, teacher_cache_copies_gb),
        device=device,
    )


def evaluate_point_clip(
    *, data_root: Path, split: str = "val", recipe: str = "toytown", teacher_weights: str | None = None
) -> None:
    """Evaluate PointCLIP, a rival without training: depth maps of superpoints, named by the image-text model.

    Args:
        recipe: Name of the recipe that says what the data set is.
    """
    from clip2scene.evaluation.evaluate import evaluate_point_clip as run_point_clip
    from clip2scene.evaluation.metrics import table

    scores = run_point_clip(
        named(recipe).data,
        data_root=data_root,
        split=split,
        teacher=named(recipe).teacher,
        teacher_weights=teacher_weights,
    )
    print(table(scores))


def finetune(
    *,
    data_root: Path,
    out: Path,
    start: Path | None = None,
    corrections: Path | None = None,
    recipe: str | None = None,
    teacher_weights: str | None = None,
    network: Network | None = None,
    layout: Layout | None = None,
    classes: Literal["own", "toytown", "scannet-200"] | None = None,
    labels: LabelsConfig = LabelsConfig(),  # noqa: B008 - frozen
    order: Path | None = None,
    tuning: TuningConfig = USUAL_TUNING,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    save_every: int = 100,
    log: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = (),
) -> None:
    """Train a student on few labels, or many, best from a label-free run.

    Args:
        start: Folder of the run to begin with; builtin, the student in the package; or file of a published
            checkpoint (docs/published_weights.md). Without it, the student begins from chance.
        corrections: Folder of labels by hand (docs/corrections.md): training samples that have some are
            trained on, and the data set's own labels are not read.
        recipe: Network, augmentation and schedule, where no run is named as the start: toytown's by default.
    """
    from clip2scene.training.finetune import Changes, prepare
    from clip2scene.training.train import finetune as run_finetune

    changes = Changes(
        teacher_weights=teacher_weights,
        network=network,
        layout=layout,
        classes=classes,
        labels=labels,
        order=order,
        tuning=tuning,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    plan = prepare(recipe, start, changes)
    for line in () if plan.start is None else plan.start.report:
        print(f"{start}: {line}")
    run_finetune(
        plan.recipe,
        data_root=data_root,
        out=out,
        start=plan.start,
        corrections=corrections,
        teacher_weights=plan.teacher_weights,
        device=device,
        save_every=save_every,
        log=log,
    )
    print(f"trained {plan.recipe.name}: {out}")


def ablate(
    table: Literal["paper", "self-training", "words", "rivals", "additions", "on-top"],
    *,
    data_root: Path,
    out: Path,
    recipe: str = "toytown",
    steps: int | None = None,
    variants: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    workers: int = 1,
    teacher_weights: str | None = None,
    device: str = "cpu",
) -> None:
    """Train and evaluate a table of variants over seeds; write it as Markdown, CSV and a figure.

    Args:
        table: Which variants; see docs/ablations.md.
        recipe: Name of the recipe that is varied.
        steps: Optimiser steps of every run; the recipe's own when left out.
        variants: Names of the rows to run, beside the one that others are compared with; all when left out.
    """
    from clip2scene.experiments.ablation import ablate as run_ablate
    from clip2scene.experiments.variants import TABLES

    base = named(recipe) if steps is None else replace(named(recipe), steps=steps)
    whole = TABLES[table](base)
    path = run_ablate(
        whole.only(variants) if variants else whole,
        data_root=data_root,
        out=out,
        seeds=seeds,
        workers=workers,
        teacher_weights=teacher_weights,
        device=device,
    )
    print(path.read_text(encoding="utf-8"))
    print(f"wrote {path}, {out / 'table.csv'} and {out / 'figure.png'}")


def label_efficiency(
    *,
    data_root: Path,
    out: Path,
    recipe: str = "toytown",
    methods: tuple[str, ...] = (),
    amounts: tuple[str, ...] = (),
    by: Literal["scene", "keyframe"] = "scene",
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int | None = None,
    tuning_steps: int | None = None,
    workers: int = 1,
    teacher_weights: str | None = None,
    device: str = "cpu",
) -> None:
    """Pretrain, fine-tune and evaluate, with more and more labels; write the table and its curves.

    Args:
        recipe: Ours; the others have its network, teacher and schedule.
        steps: Of pretraining, instead of the recipe's.
    """
    from clip2scene.experiments.label_efficiency import AMOUNTS
    from clip2scene.experiments.label_efficiency import label_efficiency as run_table

    base = named(recipe) if steps is None else replace(named(recipe), steps=steps)
    path = run_table(
        base,
        data_root=data_root,
        out=out,
        methods=methods or None,
        amounts=amounts or AMOUNTS,
        by=by,
        seeds=seeds,
        tuning_steps=tuning_steps,
        workers=workers,
        teacher_weights=teacher_weights,
        device=device,
    )
    print(path.read_text(encoding="utf-8"))
    print(f"wrote {path}, with table.csv and figure.png beside it")


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
            run, clouds[0], read_words(prompts), out, how, topics=topics, remove=removed, note=_note
        )
        made = [answered]
    elif topics or remove:
        raise ValueError("--topics and --remove are for recordings of ROS; leave them out for clouds")
    else:
        made = segment_files(run, clouds, read_words(prompts), out, how, note=_note)
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
        note=_note,
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


def _note(sentence: str) -> None:
    """Say something that a user should know, on a line of its own."""
    print(f"note: {sentence}", file=sys.stderr)


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


def doctor(
    *,
    data_root: Path,
    data: DataConfig = DataConfig(),  # noqa: B008 - frozen
    split: str = "train",
    samples: int = 60,
    calibration: bool = True,
    costs: bool = True,
    json: Path | None = None,
    pictures: Path | None = None,
    run: Path | None = None,
    plan: str | None = None,
    teacher_weights: str | None = None,
    budget: float = 60.0,
    within: float | None = None,
    disk: Path = Path(),
) -> None:
    """Check a data set before training: files, times, calibration, labels, costs. Exit code 1 for a fault.

    With --plan, say instead what work on it will take: hours, disk, machines, from a short measurement.

    Args:
        data_root: The data set.
        json: File to write the findings to.
        plan: The work: a recipe with its options, as in "own --steps 500", or "label --clouds 1000000".
        teacher_weights: For the plan: as pretrain takes them.
        budget: For the plan: about how many seconds may be measured.
        within: For the plan: the hours that the work may take, to say how many machines it needs.
        disk: For the plan: a folder on the disk that the run is to lie on.
    """
    from clip2scene.doctor.examine import examine
    from clip2scene.doctor.report import report_json, report_text
    from clip2scene.io import write_json

    if plan is not None:
        from clip2scene.cli.plans import plan_of
        from clip2scene.experiments.plan.figures import Ask, plan_json, plan_text

        planned = plan_of(plan, data, Ask(data_root, teacher_weights, budget, within, disk))
        if json is not None:
            write_json(json, plan_json(planned))
        print(plan_text(planned))
        if any(line.mark == "fault" for line in planned.lines):
            sys.exit(1)
        return
    if samples < 0:
        raise ValueError(f"samples must not be negative, got {samples}; 0 looks at all")
    lines = examine(
        data,
        data_root,
        split=split,
        samples=samples,
        calibration=calibration,
        costs=costs,
        pictures=pictures,
        run=run,
    )
    if json is not None:
        write_json(json, report_json(lines))
    print(report_text(lines))
    if any(line.mark == "fault" for line in lines):
        sys.exit(1)


def make_toytown(
    out: Path,
    *,
    scenes: int = 100,
    val_scenes: int = 20,
    keyframes: int = 2,
    sweeps: int = 10,
    missing_kinds: float = 0.0,
    varied: bool = False,
    seed: int = 1,
    workers: int = 2,
    layout: Literal["nuscenes", "semantic-kitti", "drive-log", "scannet"] = "nuscenes",
) -> None:
    """Write the embedded world as a data set in the layout of a public one.

    Args:
        out: New folder for the data set.
        scenes: Training scenes, each a town of its own.
        val_scenes: Scenes to evaluate on.
        keyframes: Annotated sweeps in a scene, two a second; of a drive at most 20.
        sweeps: Lidar sweeps for each keyframe, itself included; 10 is 20 a second, as nuScenes has. In
            SemanticKITTI's layout every one of them has labels and an image; in ScanNet's, a walk through a
            room has as many frames as all of them.
        missing_kinds: Chance of each kind of thing (car, bus, bicycle, ...) to be missing from a whole
            training street, so that streets differ; those to evaluate on have all kinds. Not in rooms.
        varied: Hilly towns with more kinds of streets and things, some in rain or fog, each driven through
            with another lidar (16 to 128 beams, a rosette or solid state, low or high, tilted). Not in rooms.
        seed: Fixes every town; those of seed 0 are the ones that the small CLIP was trained on.
        workers: Processes to draw with.
        layout: nuScenes with six cameras, SemanticKITTI with the one in front, the layout of own
            recordings with six, or ScanNet: furnished rooms, with a colour and a depth camera in the hand.
    """
    from clip2scene.toytown.rooms.room_scan import Walk
    from clip2scene.toytown.writers.layouts import (
        write_drive_log,
        write_nuscenes,
        write_scannet,
        write_semantic_kitti,
    )
    from clip2scene.toytown.writers.recording import Recording

    numbers = {"num_scenes": scenes, "num_val_scenes": val_scenes, "seed": seed, "workers": workers}
    if layout == "scannet":
        if missing_kinds:
            raise ValueError(
                f"rooms have no kinds to be missing, got --missing-kinds {missing_kinds}; leave it out, or "
                "name another layout"
            )
        if varied:
            raise ValueError("rooms have no streets to vary; leave --varied out, or name another layout")
        write_scannet(out, walk=Walk(frames=keyframes * sweeps), **numbers)
        print(f"wrote {scenes} training and {val_scenes} validation rooms to {out}")
        return
    recording = Recording(
        keyframes_per_scene=keyframes,
        sweeps_per_keyframe=sweeps,
        missing_kinds=missing_kinds,
        varied=varied,
    )
    writers = {
        "nuscenes": write_nuscenes,
        "semantic-kitti": write_semantic_kitti,
        "drive-log": write_drive_log,
    }
    writers[layout](out, recording=recording, **numbers)
    print(f"wrote {scenes} training and {val_scenes} validation scenes to {out}")


def convert_recording(
    recording: Path,
    *,
    out: Path | None = None,
    list_topics: Annotated[bool, tyro.conf.arg(name="list")] = False,
    clouds: str | None = None,
    images: tuple[str, ...] = (),
    camera_infos: tuple[str, ...] = (),
    poses: str | None = None,
    ego_frame: str | None = None,
    world_frame: str | None = None,
    axes: str | None = None,
    most_apart_ms: float = 50.0,
    deskew: Literal["auto", "off"] = "auto",
) -> None:
    """Turn a recording into a drive log: a bag of ROS 2 or 1, an MCAP file, or a drive in KITTI's layouts.

    All options but --out and --poses kiss-icp are for bags; topics and frames need naming only where the
    choice is in doubt.

    Args:
        recording: A bag's folder, an .mcap, .db3 or .bag file; or a sequence of SemanticKITTI, or a drive of
            KITTI's raw recordings.
        out: New folder for the drive log.
        list_topics: Print what a bag holds, and write nothing.
    """
    from clip2scene.datasets.convert.kitti_to_log import convert_kitti, is_kitti
    from clip2scene.datasets.convert.lidar_odometry import SOURCE
    from clip2scene.datasets.convert.ros_bag import open_bag
    from clip2scene.datasets.convert.ros_to_log import Wanted, convert_bag

    if list_topics:
        with open_bag(recording) as bag:
            print(bag.listing())
        return
    if out is None:
        raise ValueError(
            "nowhere to write to: name a new folder with --out, or use --list to see what a bag has"
        )
    if is_kitti(recording):
        for_bags = {
            **{"--clouds": clouds, "--images": images, "--camera-infos": camera_infos},
            **{"--poses": poses != SOURCE and poses, "--ego-frame": ego_frame, "--world-frame": world_frame},
            **{"--axes": axes, "--most-apart-ms": most_apart_ms != 50.0, "--deskew": deskew != "auto"},
        }
        refused = ", ".join(name for name, given in for_bags.items() if given)
        if refused:
            raise ValueError(
                f"{recording} is in a layout of KITTI's, which has neither topics nor frames to choose, nor "
                f"moments of points and images; leave out {refused}"
            )
        made = convert_kitti(recording, out, odometry=poses == SOURCE)
    else:
        wanted = Wanted(clouds, images, camera_infos, poses, ego_frame, world_frame, axes)
        made = convert_bag(recording, out, wanted=wanted, most_apart_ms=most_apart_ms, deskew=deskew)
    for note in made.notes:
        print(note)
    print(f"wrote {made.clouds} clouds and {made.images} images to {out}")


def convert_123d(
    recording: Path,
    *,
    out: Path | None = None,
    list_logs: Annotated[bool, tyro.conf.arg(name="list")] = False,
    lidar: str | None = None,
    cameras: tuple[str, ...] = (),
    sensor_root: Path | None = None,
    most_apart_ms: float = 50.0,
) -> None:
    """Turn a log of 123D, which py123d makes of Waymo, Argoverse 2, nuPlan and others, into a drive log.

    Args:
        out: New folder for the drive log.
        list_logs: Print the logs below a folder, or the sensors of a log, and write nothing.
    """
    from clip2scene.datasets.convert import py123d_to_log

    if list_logs:
        print(py123d_to_log.list_123d(recording))
        return
    if out is None:
        raise ValueError(
            "nowhere to write to: name a new folder with --out, or use --list to see what there is"
        )
    made = py123d_to_log.convert_123d(
        recording,
        out,
        lidar=lidar,
        cameras=cameras,
        sensor_root=sensor_root,
        most_apart_ms=most_apart_ms,
    )
    for note in made.notes:
        print(note)
    print(f"wrote {made.clouds} clouds and {made.images} images to {out}")


def import_calibration(
    calibration: Path,
    *,
    out: Path,
    form: Annotated[Form | None, tyro.conf.arg(name="from")] = None,
    reference_from_lidar: str | None = None,
    size: tuple[int, int] | None = None,
    axes: str = "FLU",
) -> None:
    """Turn a calibration of KITTI, ROS, Kalibr, COLMAP, nerfstudio or Argoverse 2 into a drive log's.

    Args:
        calibration: KITTI's calib.txt or a day's folder of its raw recordings, a camera_info of ROS as YAML,
            Kalibr's camchain.yaml, COLMAP's folder of cameras and images, nerfstudio's transforms.json, or
            Argoverse 2's folder calibration.
    """
    from clip2scene.datasets.rigs.import_rig import import_calibration as run_import

    for note in run_import(
        calibration, out=out, form=form, reference_from_lidar=reference_from_lidar, size=size, axes=axes
    ):
        print(note)
    print(f"wrote {out}")


def pretrain_clip(out: Path, *, steps: int = 8000, seed: int = 0) -> None:
    """Train the small image-text model on captioned views of the embedded world."""
    from functools import partial

    from clip2scene.evaluation.small_clip import evaluate_clip, hold_out
    from clip2scene.toytown.clip import pretrain_clip as training
    from clip2scene.toytown.clip.captions import caption_views

    evaluate = partial(evaluate_clip, held_out=hold_out(num_towns=4, views_per_class=20))
    training.pretrain_clip(out, caption_views, evaluate, steps=steps, seed=seed)
    print(f"trained a small CLIP: {out}")


def evaluate_clip(weights: Path | None = None) -> None:
    """Evaluate a small CLIP on towns that it was not trained on.

    Args:
        weights: Its folder; the one in the package when left out.
    """
    from clip2scene.build_teacher import SMALL_CLIP
    from clip2scene.evaluation.small_clip import evaluate_small_clip

    for name, value in evaluate_small_clip(weights or SMALL_CLIP).items():
        print(f"{name:32} {100 * value:5.1f}")


def _teacher_cache(address: str | None, copies: Path | None, copies_gb: float) -> "TeacherCache | None":
    """Say where a teacher cache lies."""
    from clip2scene.teacher.kept_maps import TeacherCache

    if address is None:
        if copies is not None:
            raise ValueError(
                "--teacher-cache-copies are of a --teacher-cache; name that too, or leave it out"
            )
        return None
    return TeacherCache(address, copies, copies_gb)
