"""The command line: parse, call one function, print what was made and where."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from clip2scene.config import DataConfig, Recipe
from clip2scene.recipes import RECIPES

RecipeByName = tyro.extras.subcommand_type_from_defaults(RECIPES, prefix_names=False)


def demo(out: Path | None = None, *, data: str = "nuscenes", seed: int = 0) -> None:
    """Walk the whole path on the embedded world: make data, learn without labels, judge, draw.

    Args:
        out: Folder for everything that is made: demo, or demo-LAYOUT for another layout than nuscenes. An
            interrupted demo goes on where it stopped.
        data: Layout of the data, and with it the world: nuscenes, semantic-kitti, drive-log, or scannet,
            which has rooms.
        seed: Fixes the training; the towns and rooms are always the same.
    """
    from clip2scene.demo import run_demo

    out = out or Path("demo" if data == "nuscenes" else f"demo-{data}")
    print(run_demo(out, data=data, seed=seed))


def make_toytown(
    out: Path,
    *,
    scenes: int = 100,
    val_scenes: int = 20,
    keyframes: int = 2,
    sweeps: int = 10,
    seed: int = 1,
    workers: int = 2,
    layout: Literal["nuscenes", "semantic-kitti", "drive-log", "scannet"] = "nuscenes",
) -> None:
    """Write the embedded world as a data set in the layout of a public one.

    Args:
        out: New folder for the data set.
        scenes: Training scenes, each a town of its own.
        val_scenes: Scenes to judge on.
        keyframes: Annotated sweeps in a scene, two a second.
        sweeps: Lidar sweeps for each keyframe, itself included; 10 is 20 a second, as nuScenes has. In
            SemanticKITTI's layout every one of them has labels and an image; in ScanNet's, a walk through a
            room has as many frames as all of them.
        seed: Fixes every town; those of seed 0 are the ones that the small CLIP was trained on.
        workers: Processes to draw with.
        layout: nuScenes with six cameras, SemanticKITTI with the one in front, the layout of own
            recordings with six, or ScanNet: furnished rooms, with a colour and a depth camera in the hand.
    """
    from clip2scene.toytown.drive import Recording
    from clip2scene.toytown.room_scan import Walk
    from clip2scene.toytown.writers import (
        write_drive_log,
        write_nuscenes,
        write_scannet,
        write_semantic_kitti,
    )

    numbers = {"num_scenes": scenes, "num_val_scenes": val_scenes, "seed": seed, "workers": workers}
    if layout == "scannet":
        write_scannet(out, walk=Walk(frames=keyframes * sweeps), **numbers)
        print(f"wrote {scenes} training and {val_scenes} validation rooms to {out}")
        return
    recording = Recording(keyframes_per_scene=keyframes, sweeps_per_keyframe=sweeps)
    writers = {
        "nuscenes": write_nuscenes,
        "semantic-kitti": write_semantic_kitti,
        "drive-log": write_drive_log,
    }
    writers[layout](out, recording=recording, **numbers)
    print(f"wrote {scenes} training and {val_scenes} validation scenes to {out}")


def pretrain(
    recipe: Annotated[Recipe, tyro.conf.arg(name="", constructor=RecipeByName)],
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None = None,
    teacher_cache: Path | None = None,
    device: str = "cpu",
    save_every: int = 500,
) -> None:
    """Teach a student without labels, or (a recipe ending in -supervised) with them.

    Args:
        recipe: The experiment; every setting of it can be changed by an option.
        data_root: The data set.
        out: Folder of the run; an unfinished run in it is resumed.
        teacher_weights: Folder or hub id of a CLIP or SigLIP model, a .pt file of OpenAI's, or the file of
            text embeddings that label maps need. Without it, the small model in the package.
        teacher_cache: Folder that look filled, or that is filled now: what the teacher saw in each image.
        device: As torch names it. Only cpu has been tested.
        save_every: Steps between checkpoints.
    """
    from clip2scene.train import pretrain as run_pretrain

    run_pretrain(
        recipe,
        data_root=data_root,
        out=out,
        teacher_weights=teacher_weights,
        teacher_cache=teacher_cache,
        device=device,
        save_every=save_every,
    )
    print(f"trained {recipe.name}: {out}")


def look(
    recipe: Annotated[Recipe, tyro.conf.arg(name="", constructor=RecipeByName)],
    *,
    data_root: Path,
    teacher_cache: Path,
    split: str = "train",
    teacher_weights: str | None = None,
) -> None:
    """Let the teacher look at every image of a split once, and keep what it saw for any number of runs.

    Says first how much disk and time that takes. An interrupted call goes on where it stopped.

    Args:
        recipe: Says how the teacher looks; every setting of it can be changed by an option.
        data_root: The data set.
        teacher_cache: Folder for what it sees; then give it to pretrain.
        split: Whose images.
        teacher_weights: As for pretrain.
    """
    from clip2scene.looking import look as run_look

    run_look(
        recipe,
        data_root=data_root,
        teacher_cache=teacher_cache,
        split=split,
        teacher_weights=teacher_weights,
        announce=print,
    )
    print(f"looked at all images of {split}: {teacher_cache}")


def evaluate(
    run: tyro.conf.Positional[Path], *, data_root: Path, split: str = "val", pictures: int = 2
) -> None:
    """Judge a run per point, beside its teacher and chance.

    Args:
        run: Folder of the run.
        data_root: The data set, with labels.
        split: Which split to judge.
        pictures: Samples to draw.
    """
    from clip2scene.evaluate import evaluate as run_evaluate
    from clip2scene.metrics import table
    from clip2scene.showcase import draw_samples

    print(table(run_evaluate(run, data_root=data_root, split=split)))
    print(f"wrote {run / 'metrics.json'}")
    for path in draw_samples(run, data_root=data_root, split=split, count=pictures):
        print(f"drew {path}")


def evaluate_point_clip(
    *, data_root: Path, split: str = "val", recipe: str = "toytown", teacher_weights: str | None = None
) -> None:
    """Judge PointCLIP, a rival that needs no training: depth maps of pieces, named by the image-text model.

    Args:
        data_root: The data set, with labels.
        split: Which split to judge.
        recipe: Name of the recipe that says what the data set is.
        teacher_weights: Folder or hub id of a CLIP or SigLIP model. Without it, the small one in the package.
    """
    from clip2scene.evaluate import evaluate_point_clip as run_point_clip
    from clip2scene.metrics import table

    scores = run_point_clip(
        _named(recipe).data,
        data_root=data_root,
        split=split,
        teacher=_named(recipe).teacher,
        teacher_weights=teacher_weights,
    )
    print(table(scores))


def _named(recipe: str) -> Recipe:
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}, expected one of {', '.join(RECIPES)}")
    return RECIPES[recipe]


def ablate(
    table: tyro.conf.Positional[Literal["paper", "self-training", "words", "rivals", "additions", "on-top"]],
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
    """Train and judge a table of variants over seeds; write it as Markdown, CSV and a figure.

    Args:
        table: Which variants; see docs/ablations.md.
        data_root: The data set, with labels to judge by.
        out: Folder of the table; an unfinished table in it is taken up.
        recipe: Name of the recipe that is varied.
        steps: Optimiser steps of every run; the recipe's own when left out.
        variants: Names of the rows to run, beside the one that others are compared with; all when left out.
        seeds: One run of each variant for each of them.
        workers: Runs at a time.
        teacher_weights: As for pretrain.
        device: As torch names it. Only cpu has been tested.
    """
    from clip2scene.ablation import ablate as run_ablate
    from clip2scene.tables import TABLES

    base = _named(recipe) if steps is None else replace(_named(recipe), steps=steps)
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


def segment(
    run: tyro.conf.Positional[Path],
    clouds: tyro.conf.Positional[tuple[Path, ...]],
    *,
    prompts: str,
    out: Path,
    words: Path | None = None,
) -> None:
    """Label clouds with any words.

    Args:
        run: Folder of the run.
        clouds: Files: .bin (KITTI, nuScenes), .npy, .ply, .pcd, .las or .laz.
        prompts: Words or phrases, separated by commas.
        out: Folder for the labels, coloured clouds and pictures.
        words: Table of text embeddings (see embed-words) to take the prompts from. Without it, the text
            encoder that the run was taught with.
    """
    from clip2scene.showcase import segment_files

    for path in segment_files(run, clouds, prompts.split(","), out, words=words):
        print(f"wrote {path}")


def export_labels(
    run: tyro.conf.Positional[Path], *, data_root: Path, out: Path, split: str = "test"
) -> None:
    """Write a run's answers as label files for SemanticKITTI's benchmark.

    Args:
        run: Folder of a run on data in SemanticKITTI's layout.
        data_root: The data set; neither its labels nor its images are read.
        out: Folder for sequences/XX/predictions/NNNNNN.label. An interrupted export in it is resumed.
        split: Which split to answer for.
    """
    from clip2scene.export import export_labels as run_export

    paths = run_export(run, data_root=data_root, split=split, out=out)
    print(f"wrote {len(paths)} label files to {out / 'sequences'}")


def embed_words(
    words: tyro.conf.Positional[str],
    *,
    out: Path,
    teacher_weights: str | None = None,
    run: Path | None = None,
) -> None:
    """Make a table of text embeddings, so that words can be carried without a text encoder.

    Args:
        words: Words or phrases, separated by commas; or a .txt file of them, one a line.
        out: The table, a .safetensors file.
        teacher_weights: Folder or hub id of a CLIP or SigLIP model, or a .pt file of OpenAI's. Without it,
            the small model in the package.
        run: A run, whose model and sentences to use instead.
    """
    from clip2scene.word_tables import embed_words as run_embed_words
    from clip2scene.word_tables import read_words

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
    samples: int = 40,
    calibration: bool = True,
    costs: bool = True,
    json: Path | None = None,
) -> None:
    """Check a data set before training: files, times, calibration, labels, costs. Exit code 1 for a fault.

    Args:
        data_root: The data set.
        data: How it lies on the disk, and how points meet pixels.
        split: Which split to look at.
        samples: How many samples to look at, spread evenly; 0 for all.
        calibration: Whether to compare ends of things in the clouds with edges in the images.
        costs: Whether to measure what a teacher's answers take in time and disk.
        json: File to write the findings to.
    """
    from clip2scene.doctor import examine
    from clip2scene.doctor_report import report_json, report_text
    from clip2scene.files import write_json

    if samples < 0:
        raise ValueError(f"samples must not be negative, got {samples}; 0 looks at all")
    lines = examine(data, data_root, split=split, samples=samples, calibration=calibration, costs=costs)
    if json is not None:
        write_json(json, report_json(lines))
    print(report_text(lines))
    if any(line.mark == "fault" for line in lines):
        sys.exit(1)


def pretrain_clip(out: Path, *, steps: int = 8000, seed: int = 0) -> None:
    """Train the small image-text model on captioned views of the embedded world.

    Args:
        out: Folder for the model; an unfinished training in it is resumed.
        steps: Optimiser steps.
        seed: Fixes views and weights.
    """
    from clip2scene.smallclip import train_small_clip

    train_small_clip(out, steps=steps, seed=seed)
    print(f"trained a small CLIP: {out}")


def evaluate_clip(weights: Path | None = None) -> None:
    """Judge a small CLIP on towns it never saw.

    Args:
        weights: Its folder; the one in the package when left out.
    """
    from clip2scene.build import SMALL_CLIP
    from clip2scene.smallclip import evaluate_small_clip

    for name, value in evaluate_small_clip(weights or SMALL_CLIP).items():
        print(f"{name:32} {100 * value:5.1f}")


def convert_pandaset(sequence: Path, out: Path) -> None:
    """Turn the pickled tables of an official PandaSet sequence into npz files that run no code.

    Args:
        sequence: Folder of one sequence.
        out: New folder.
    """
    from clip2scene.datasets.pandaset_pickles import convert_pandaset as run_convert

    run_convert(sequence, out)
    print(f"wrote {out}")


def convert_recording(
    recording: tyro.conf.Positional[Path],
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
) -> None:
    """Turn a recording into a drive log: a ROS 2 bag, an MCAP file of one, or a drive in KITTI's layouts.

    All but the first two options are for bags, and for those of which the choice is in doubt.

    Args:
        recording: A bag's folder, an .mcap or .db3 file; or a sequence of SemanticKITTI, or a drive of
            KITTI's raw recordings.
        out: New folder for the drive log.
        list_topics: Print what a bag holds, and write nothing.
        clouds: Topic of the clouds.
        images: Topics of images, one for each camera.
        camera_infos: Topics of their calibrations, in the same order.
        poses: Topic of poses; tf for transforms, none for no poses.
        ego_frame: The vehicle's frame.
        world_frame: The frame that transforms are followed up to.
        axes: Where the lidar's x, y and z point, such as FLU; by default what the transforms say.
        most_apart_ms: The farthest that an image may be from its cloud, in milliseconds.
    """
    from clip2scene.datasets.kitti_to_log import convert_kitti, is_kitti
    from clip2scene.datasets.ros_bag import open_bag
    from clip2scene.datasets.ros_to_log import Wanted, convert_bag

    if list_topics:
        with open_bag(recording) as bag:
            print(bag.listing())
        return
    if out is None:
        raise ValueError(
            "nowhere to write to: name a new folder with --out, or use --list to see what a bag has"
        )
    wanted = Wanted(clouds, images, camera_infos, poses, ego_frame, world_frame, axes)
    if not is_kitti(recording):
        made = convert_bag(recording, out, wanted=wanted, most_apart_ms=most_apart_ms)
    elif wanted == Wanted():
        made = convert_kitti(recording, out)
    else:
        raise ValueError(
            f"{recording} is in a layout of KITTI's, which has neither topics nor frames to choose"
        )
    for note in made.notes:
        print(note)
    print(f"wrote {made.clouds} clouds and {made.images} images to {out}")


def export_lidarseg(
    run: tyro.conf.Positional[Path],
    *,
    data_root: Path,
    out: Path,
    split: str = "test",
    use_external: bool = True,
) -> None:
    """Label a split as nuScenes' lidar segmentation challenge wants it submitted.

    Args:
        run: Folder of the run.
        data_root: The data set, in nuScenes' layout.
        out: Folder for the submission; an unfinished one in it is taken up.
        split: Which split; the challenge judges test.
        use_external: Whether to declare that data from elsewhere were used, as the teacher's model's are.
    """
    from clip2scene.export_lidarseg import export_lidarseg as run_export

    counts = run_export(run, data_root=data_root, split=split, out=out, use_external=use_external)
    print(f"labelled {counts.sum()} points: submit {out / 'lidarseg'} and {out / split} in one zip file")


COMMANDS = {
    "demo": demo,
    "make-toytown": make_toytown,
    "look": look,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "evaluate-point-clip": evaluate_point_clip,
    "ablate": ablate,
    "segment": segment,
    "export-labels": export_labels,
    "embed-words": embed_words,
    "doctor": doctor,
    "pretrain-clip": pretrain_clip,
    "evaluate-clip": evaluate_clip,
    "convert-pandaset": convert_pandaset,
    "convert-recording": convert_recording,
    "export-lidarseg": export_lidarseg,
}


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence, not in a traceback."""
    torch.set_float32_matmul_precision("medium")
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,  # type: ignore[arg-type]  # tyro asks for functions that return something
            prog="clip2scene",
            config=(tyro.conf.CascadeSubcommandArgs,),
        )
    except (ValueError, OSError) as error:
        print(f"clip2scene: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("clip2scene: interrupted; the same command goes on with what was kept", file=sys.stderr)
        sys.exit(130)
