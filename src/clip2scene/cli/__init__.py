"""The command line: parse, call one function, print what was made and where."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip2scene.cli.ranks import as_one_of_ranks
from clip2scene.cli.table import Command

if TYPE_CHECKING:
    from clip2scene.inference.rank_scenes import Ranking

_LEARNING, _JUDGING = "clip2scene.cli.learning", "clip2scene.cli.judging"
_ANSWERING, _DATA = "clip2scene.cli.answering", "clip2scene.cli.data"
_TRAIN = "clip2scene.training.train"


def _say_ranking(ranking: "Ranking", by: str, out: Path, **_: object) -> str:
    """List the first ten of a ranking."""
    named = list(zip(ranking.units[ranking.labelled :], ranking.scores, strict=True))[:10]
    known = f", in front {ranking.labelled} that the run was trained on" if ranking.labelled else ""
    lines = [f"{name:40} {score:.4f}" for name, score in named]
    return "\n".join([*lines, f"wrote {len(ranking.units)} {by}s to {out}{known}"])


def _say_packed(about: Mapping[str, Any], run: Path, out: Path, **_: object) -> str:
    """Say what was written, and in which precision."""
    agreement = about["agreement"]
    same = "" if agreement is None else f"; as float16, {100 * agreement:.2f} % of the labels are the same"
    return f"packed {run} with weights of {about['precision']}: {out}{same}"


COMMANDS = {
    "demo": Command("clip2scene.experiments.demo:run_demo", say=lambda report, **_: report),
    "make-toytown": Command(f"{_DATA}:make_toytown"),
    "cache-teacher": Command(
        "clip2scene.training.precompute:cache_teacher",
        say=lambda _, split, teacher_cache, **__: (
            f"kept the teacher's features of all images of {split}: {teacher_cache}"
        ),
        types={"teacher_cache": str},
        fixed={"announce": print},
    ),
    "lift": Command(
        f"{_LEARNING}:lift",
        say=lambda _, out, **__: f"lifted the teacher's pseudo-labels: {out}",
        described_in=(f"{_TRAIN}:pretrain",),
    ),
    "pretrain": Command(
        f"{_LEARNING}:pretrain",
        say=lambda _, out, recipe, **__: f"trained {recipe.name}: {out}",
        described_in=(f"{_TRAIN}:pretrain",),
    ),
    "evaluate": Command(
        f"{_JUDGING}:evaluate",
        positional=("run",),
        described_in=("clip2scene.evaluation.evaluate:evaluate",),
    ),
    "compare": Command(
        f"{_JUDGING}:compare",
        positional=("pred", "truth"),
        described_in=("clip2scene.evaluation.compare:compare",),
    ),
    "finetune": Command(
        f"{_LEARNING}:finetune",
        described_in=("clip2scene.training.finetune:Changes", f"{_TRAIN}:pretrain"),
    ),
    "label-efficiency": Command(
        f"{_LEARNING}:label_efficiency",
        described_in=(
            "clip2scene.experiments.label_efficiency:label_efficiency",
            "clip2scene.experiments.ablation:ablate",
        ),
    ),
    "trust-run": Command("clip2scene.runs.trust:trust_run", say=lambda said, **_: said, positional=("run",)),
    "pack-run": Command("clip2scene.inference.pack_run:pack_run", say=_say_packed, positional=("run",)),
    "export-onnx": Command(
        f"{_ANSWERING}:export_onnx",
        positional=("run",),
        described_in=("clip2scene.inference.export_onnx:export_onnx",),
    ),
    "calibrate": Command(
        "clip2scene.inference.confidence:calibrate",
        say=lambda path, **_: f"wrote {path}",
        positional=("run",),
    ),
    "rank-scenes": Command("clip2scene.inference.rank_scenes:rank", say=_say_ranking, positional=("run",)),
    "evaluate-point-clip": Command(
        f"{_JUDGING}:evaluate_point_clip",
        described_in=("clip2scene.evaluation.evaluate:evaluate_point_clip",),
    ),
    "ablate": Command(
        f"{_LEARNING}:ablate", positional=("table",), described_in=("clip2scene.experiments.ablation:ablate",)
    ),
    "report": Command(
        "clip2scene.experiments.run_report.report:report",
        say=lambda path, **_: f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)",
        positional=("runs",),
    ),
    "segment": Command(
        f"{_ANSWERING}:segment",
        positional=("run", "clouds"),
        described_in=(
            "clip2scene.inference.segment:segment_files",
            "clip2scene.inference.segment:SegmentOptions",
        ),
    ),
    "label": Command(
        f"{_ANSWERING}:label",
        positional=("run",),
        described_in=(
            "clip2scene.inference.fleet.job:label_samples",
            "clip2scene.inference.fleet.job:Crew",
            "clip2scene.inference.fleet.label:LabelOptions",
        ),
    ),
    "view": Command(
        "clip2scene.viewer.view:view",
        positional=("run", "clouds"),
        fixed={"announce": partial(print, flush=True)},
    ),
    "export": Command(
        f"{_ANSWERING}:export",
        positional=("run",),
        described_in=("clip2scene.handover.frames:open_labelled",),
    ),
    "import-labels": Command(
        f"{_ANSWERING}:import_labels",
        positional=("labels",),
        described_in=("clip2scene.handover.import_labels:import_labels",),
    ),
    "export-labels": Command(
        "clip2scene.inference.export_kitti:export_labels",
        say=lambda paths, out, **_: f"wrote {len(paths)} label files to {out / 'sequences'}",
        positional=("run",),
    ),
    "embed-words": Command(
        f"{_ANSWERING}:embed_words",
        positional=("words",),
        described_in=("clip2scene.inference.text_embeddings:embed_words",),
    ),
    "doctor": Command(f"{_JUDGING}:doctor", described_in=("clip2scene.doctor.examine:examine",)),
    "pretrain-clip": Command(
        f"{_LEARNING}:pretrain_clip", described_in=("clip2scene.toytown.clip.pretrain_clip:pretrain_clip",)
    ),
    "evaluate-clip": Command(f"{_JUDGING}:evaluate_clip"),
    "convert-pandaset": Command(
        "clip2scene.datasets.convert.pandaset_pickles:convert_pandaset",
        say=lambda _, out, **__: f"wrote {out}",
    ),
    "import-calibration": Command(
        f"{_DATA}:import_calibration",
        positional=("calibration",),
        described_in=("clip2scene.datasets.rigs.import_rig:import_calibration",),
    ),
    "convert-recording": Command(
        f"{_DATA}:convert_recording",
        positional=("recording",),
        described_in=(
            "clip2scene.datasets.convert.ros_plan:Wanted",
            "clip2scene.datasets.convert.ros_to_log:convert_bag",
        ),
    ),
    "convert-123d": Command(
        f"{_DATA}:convert_123d",
        positional=("recording",),
        described_in=("clip2scene.datasets.convert.py123d_to_log:convert_123d",),
    ),
    "export-lidarseg": Command(
        "clip2scene.inference.export_lidarseg:export_lidarseg",
        say=lambda counts, out, split, **_: (
            f"labelled {counts.sum()} points: submit {out / 'lidarseg'} and {out / split} in one zip file"
        ),
        positional=("run",),
    ),
}

EARLIER_COMMANDS = {"look": "cache-teacher"}
"""Names that commands had before."""
EARLIER_OPTIONS = {
    "student.settles": "student.superpoint-mean",
    "student.no-settles": "student.no-superpoint-mean",
    "self-training.settle": "self-training.superpoint-mean",
    "self-training.no-settle": "self-training.no-superpoint-mean",
    "student.sees-height": "student.height=sensor",
    "student.no-sees-height": "student.height=none",
}
"""Names that options had before, and what flags without a value have become."""

# Clouds have another number of points at every step, so most matrix products have shapes that never come
# back. For each shape, oneDNN and torch's bridge to it keep what they prepared, the last 1024 each: several
# GB. Both read their limits from the environment, when they first multiply; worker processes inherit them.
_CACHE_LIMITS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence, not in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a console that cannot show a word gets its numbers
            stream.reconfigure(errors="backslashreplace")
    name, *arguments = sys.argv[1:] or ["--help"]
    name = EARLIER_COMMANDS.get(name, name)
    if name not in COMMANDS:
        _explain(name)
        return
    for limit in _CACHE_LIMITS:
        os.environ.setdefault(limit, "16")
    try:
        with as_one_of_ranks(name):
            _run(name, [_with_today_names(each) for each in arguments])
    except (ValueError, OSError) as error:
        _end(f"{error}", 1)
    except KeyboardInterrupt:
        _end("interrupted; the same command goes on with what it keeps; data sets begin anew", 130)


def _run(name: str, arguments: list[str]) -> None:
    """Parse a command's arguments, and call it."""
    from typing import Annotated

    import torch
    import tyro

    from clip2scene.config import Recipe
    from clip2scene.recipes import RECIPES

    torch.set_float32_matmul_precision("medium")
    by_name = tyro.extras.subcommand_type_from_defaults(RECIPES, prefix_names=False)
    recipe: Any = Annotated[Recipe, tyro.conf.arg(name="", constructor=by_name)]
    run = COMMANDS[name].as_function({Recipe: recipe})
    config = (tyro.conf.CascadeSubcommandArgs,)
    tyro.cli(run, prog=f"clip2scene {name}", args=arguments, config=config)


def _with_today_names(argument: str) -> str:
    """Give an option the name that it has now."""
    option, equals, value = argument.partition("=")
    option = option.replace("_", "-") if option.startswith("--") else option
    now = EARLIER_OPTIONS.get(option.removeprefix("--"))
    return argument if now is None else f"--{now}{equals}{value}"


def _explain(name: str) -> None:
    """List the commands; anything but a call for help is a mistake."""
    lines = [f"  {command:20} {each.summary()}" for command, each in COMMANDS.items()]
    text = "\n".join(
        ["usage: clip2scene COMMAND [OPTIONS]", "", "Every command explains itself with --help.", "", *lines]
    )
    if name in ("--help", "-h"):
        print(text)
        return
    print(text, file=sys.stderr)
    _end(f"there is no command {name!r}; name one of the above", 2)


def _end(sentence: str, status: int) -> None:
    """Print a sentence on a line of its own, and exit."""
    from clip2scene.parallel import end_progress

    end_progress()
    print(f"clip2scene: {sentence}", file=sys.stderr)
    sys.exit(status)
