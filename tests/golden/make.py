"""Remake what ``tests/test_golden.py`` compares with: ``python tests/golden/make.py [PART ...]``.

What lies here was made once, by the code as it was before its parts were moved, and says what users had then.
Remaking a part declares that what the code does now is right, so it is done on purpose, a part at a time, and
never to make a test pass. Without a name, all parts are made; it takes two minutes on one core.

==================  ====================================================================================
``runs``            ``run/``, a label-free run that was interrupted four steps before its end, and
                    ``finetuned/``, a run that goes on from it with few labels; both judged. Files are as
                    the code wrote them, but ``carried/`` is left out and ``sources.json`` names no folder of
                    the machine. ``cloud.bin``: a cloud; ``runs.json``: the last losses
``answers``         ``answers.json`` and ``segmented.npz``: how those two runs, as they lie here, are judged,
                    and what they call the points of the cloud
``losses``          ``losses.json``: every loss of short runs from the command line, and what they leave
``help``            ``help/``: what every command says of itself; ``+`` in a name stands for a space
``interface``       ``interface.json``: settings of every recipe, and parameters of the public names
``made_on.json``    which machine and versions made each part
==================  ====================================================================================

Every setting of these runs stands in this file alone; the test loads it from here.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import inspect
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import clip2scene
from clip2scene import cli

GOLDEN = Path(__file__).resolve().parent

# Seed 0 has the streets that the small CLIP learnt from. The paper's full recipe needs three sweeps.
TOWN = ("--scenes", 2, "--val-scenes", 1, "--keyframes", 1, "--sweeps", 3, "--seed", 3, "--workers", 1)

_ONE_LOOK = ("--teacher.scales", "1.0")  # a third of the time
_AS_IT_WAS = (  # the recipe levels and changes its clouds since, and its teacher's answers
    *("--teacher.attention", "maskclip", "--teacher.refine", "none", "--teacher.no-consolidate"),
    *("--student.no-level", "--student.turns", 0.0),
    *("--augment.thin-rings", 0.0, "--augment.drop-intensity", 0.0, "--augment.mix", "none"),
)
# So narrow that its weights may lie in a repository; with a high learning rate it still tells classes apart.
GOLDEN_RUN = (
    *("pretrain", "toytown", "--steps", 300, "--save-every", 296, "--seed", 0),
    *("--data.sweeps", 1, *_ONE_LOOK, "--student.width", 0.03, "--student.voxel-size", 0.4),
    *_AS_IT_WAS,
    *("--optimiser.learning-rate", 0.02, "--optimiser.average", 0.9),
)
INTERRUPTED_AT = 296
"""Step of the golden run's checkpoint; the steps after it are what a call that goes on has to do again."""
_FEW_LABELS = (
    *("--labels.by", "keyframe", "--labels.points-per-scene", 2000, "--labels.absent", "allow"),
    *("--tuning.head", "classifier"),
)
GOLDEN_FINETUNED = ("finetune", *_FEW_LABELS, "--labels.count", 1, "--steps", 4, "--seed", 0)
PROMPTS = ("road", "house", "tree", "car")
POINTS = 3000

SEED = 1
"""Of all short runs. With it, the ablation asks for own answers in its third step, but not in its last."""

# A quarter of the width is the least at which the compiled kernels have whole vectors to work on everywhere.
LABEL_FREE = (
    *("pretrain", "toytown", "--steps", 6, "--seed", SEED, "--consistency.weight", 1, *_ONE_LOOK),
    *("--student.width", 0.25, "--student.voxel-size", 0.5),
    *_AS_IT_WAS,
    *("--self-training.probability", 0.5, "--self-training.switch", "point", "--self-training.settle"),
)
FINETUNED = (
    *("finetune", *_FEW_LABELS, "--labels.holdout", 0.5),
    *("--steps", 4, "--save-every", 2, "--seed", SEED),
)
# The baseline and all of the paper: consistency over three sweeps, and own answers from the middle on.
ABLATION = ("ablate", "paper", "--variants", "full", "--steps", 4, "--seeds", SEED)

_DECIDING = ("torch", "numpy", "scipy", "trimesh", "embreex", "pillow", "transformers")
_RENDERING = ("tyro", "docstring_parser")


def call(*words: object) -> str:
    """Run the command line as a user would, on one thread; return what it printed.

    Raises:
        RuntimeError: If the command fails.
    """
    out, err = io.StringIO(), io.StringIO()
    plain = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)  # sums over threads come out differently with their number
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        stack.callback(torch.set_float32_matmul_precision, precision)
        stack.enter_context(mock.patch.dict(os.environ, plain))
        stack.enter_context(mock.patch("sys.argv", ["clip2scene", *map(str, words)]))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            cli.main()
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"{words} ended with {stop.code}: {err.getvalue()}") from None
    return out.getvalue()


def machine() -> dict[str, Any]:
    """Say what decides the last bits of a computation: versions, the processor, the compiler."""
    about: dict[str, Any] = {name: importlib.metadata.version(name) for name in _DECIDING}
    about["capability"] = torch.backends.cpu.get_cpu_capability()
    info = Path("/proc/cpuinfo")
    first = info.read_text().split("\n\n")[0].splitlines() if info.exists() else []  # Linux alone has it
    processor = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first)}
    for name in ("vendor_id", "cpu family", "model", "model name"):
        about[name] = processor.get(name, platform.processor())
    # A hypervisor may hide some of a processor's; with bfloat16 among them, products are rounded to it.
    vector = ("avx", "amx", "fma", "sse4", "asimd", "bf16", "sve")
    about["flags"] = sorted(name for name in processor.get("flags", "").split() if name.startswith(vector))
    about["compiler"] = _compiler()
    return about


def _compiler() -> str | None:
    """Name the compiler of the sparse kernels; None where they do not run."""
    command = shutil.which(os.environ.get("CC", "cc"))
    if command is None or os.environ.get("CLIP2SCENE_COMPILED") == "0":
        return None
    return subprocess.run([command, "--version"], capture_output=True, text=True).stdout.partition("\n")[0]


def renderer() -> dict[str, str]:
    """Say what decides how help is laid out."""
    python = ".".join(map(str, sys.version_info[:2]))
    return {"python": python, **{name: importlib.metadata.version(name) for name in _RENDERING}}


def read(name: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Read one of the JSON files here."""
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def write(name: str, values: object) -> None:
    """Write one of the JSON files here, a line for each value of the outermost level."""
    assert isinstance(values, Mapping)
    rows = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()]
    (GOLDEN / name).write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def losses(run: Path) -> dict[str, float]:
    """Read every loss of a run, by step."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {str(row["step"]): row["loss"] for row in rows}


def make_town(folder: Path) -> Path:
    """Write the town that all these runs learn from and are judged on."""
    call("make-toytown", "--out", folder, *TOWN)
    return folder


def hash_folder(folder: Path) -> str:
    """Hash every file of a folder, and their names."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def judge(run: Path, town: Path) -> str:
    """Judge a run; return what the command printed, without where the run lies."""
    return call("evaluate", run, "--data-root", town, "--pictures", 0).replace(str(run), "RUN")


def segment(run: Path, out: Path) -> dict[str, Any]:
    """Label the golden cloud from the command line; return every array, and hashes of what is drawn."""
    words = ", ".join(PROMPTS)
    printed = call(
        *("segment", run, GOLDEN / "cloud.bin", "--prompts", words, "--background", "none"),
        *("--out", out),
    )
    files = {path.name: path for path in out.iterdir()}
    with np.load(files.pop("cloud.npz")) as found:
        arrays = dict(found)
    looks = {name: path for name, path in files.items() if path.suffix in (".ply", ".png")}
    hashes = {
        f"hash of {name}": hashlib.sha256(path.read_bytes()).hexdigest() for name, path in looks.items()
    }
    return {**arrays, **hashes, "printed": printed.replace(str(out), "OUT")}


def train_label_free(town: Path, out: Path) -> Path:
    """Do the short label-free run."""
    call(*LABEL_FREE, "--data-root", town, "--out", out)
    return out


def train_finetuned(start: Path, town: Path, out: Path) -> Path:
    """Go on from the short label-free run with few labels."""
    call(*FINETUNED, "--start", start, "--data-root", town, "--out", out)
    return out


def train_ablation(town: Path, out: Path) -> Path:
    """Do the short ablation."""
    call(*ABLATION, "--data-root", town, "--out", out)
    return out


def describe_run(run: Path) -> dict[str, Any]:
    """Say what a run learnt, and what it left in its folder."""
    files = sorted(path.name for path in run.iterdir())
    sources = json.loads((run / "sources.json").read_text())
    about = {"losses": losses(run), "files": files, "sources": sorted(sources)}
    return {**about, "recipe": json.loads((run / "recipe.json").read_text())}


def describe_ablation(table: Path) -> dict[str, Any]:
    """Say what each variant of an ablation learnt, and what the table leaves in its folder."""
    about: dict[str, Any] = {"files": sorted(path.name for path in table.iterdir())}
    for run in sorted((table / "runs").glob("*/*")):
        columns = json.loads((run / "metrics.json").read_text())["columns"]
        miou = {name: column["miou"] for name, column in columns.items()}
        about[str(run.relative_to(table))] = {**describe_run(run), "miou": miou}
    return about


def describe_recipes() -> dict[str, Any]:
    """Give every setting of every recipe, as JSON has it."""
    recipes = {name: dataclasses.asdict(recipe) for name, recipe in clip2scene.RECIPES.items()}
    return json.loads(json.dumps(recipes))


def describe_names() -> dict[str, list[str]]:
    """Give the parameters of every public name that is called, and of a public class's public methods."""
    found: dict[str, list[str]] = {}
    for name in clip2scene.__all__:
        thing = getattr(clip2scene, name)
        methods = vars(thing) if inspect.isclass(thing) else {}
        public = {f"{name}.{each}": getattr(thing, each) for each in sorted(methods) if each[0] != "_"}
        for title, function in {name: thing, **public}.items():
            found[title] = _parameters(function) if callable(function) else []
    return found


def _parameters(function: Any) -> list[str]:  # noqa: ANN401
    """Name parameters, with a star where they need their name, and = where they may be left out."""
    shown = []
    for each in inspect.signature(function).parameters.values():
        star = "*" if each.kind is each.KEYWORD_ONLY else ""
        shown.append(star + each.name + "=" * (each.default is not each.empty))
    return shown


def help_words(path: Path) -> list[str]:
    """Give the command line whose help a snapshot holds."""
    words = [] if path.stem == "clip2scene" else path.stem.split("+")
    return [*words, "--help"]


def make_runs(scratch: Path) -> None:
    """Make ``run``, ``finetuned``, ``cloud.bin`` and what is said of them."""
    town, run, tuned = make_town(scratch / "town"), scratch / "run", scratch / "finetuned"
    call(*GOLDEN_RUN, "--data-root", town, "--out", run)
    every = losses(run)
    # As a call leaves it that is interrupted before the last checkpoint is written.
    (run / "checkpoint.previous.safetensors").replace(run / "checkpoint.safetensors")
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(lines[:INTERRUPTED_AT]))
    call(*GOLDEN_FINETUNED, "--start", run, "--data-root", town, "--out", tuned)
    about = {"town": hash_folder(town)}
    for each in (run, tuned):
        judge(each, town)
        kept = GOLDEN / each.name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(each, kept, ignore=shutil.ignore_patterns("carried", "lock"))
        sources = kept / "sources.json"
        text = sources.read_text().replace(str(town.resolve()), "town").replace(str(run.resolve()), "run")
        sources.write_text(text)
    sweep = clip2scene.read_cloud(max((town / "samples" / "LIDAR_TOP").iterdir()))
    rows = torch.cat([sweep.positions, sweep.features], 1)[:: len(sweep) // POINTS][:POINTS]
    rows.numpy().astype("<f4").tofile(GOLDEN / "cloud.bin")
    about["resumed"] = {step: loss for step, loss in every.items() if int(step) > INTERRUPTED_AT}
    write("runs.json", about)


def make_answers(scratch: Path) -> None:
    """Make ``answers.json`` and ``segmented.npz``."""
    town, about = make_town(scratch / "town"), {}
    kept = {name: shutil.copytree(GOLDEN / name, scratch / name) for name in ("run", "finetuned")}
    for name, run in kept.items():
        about[f"{name} judged"] = judge(run, town)
    found = segment(kept["run"], scratch / "segmented")
    arrays = {name: found.pop(name) for name in ("labels", "scores")}
    segmenter = clip2scene.Segmenter.load(kept["finetuned"])
    arrays["classes"] = segmenter.segment(clip2scene.read_cloud(GOLDEN / "cloud.bin")).labels.numpy()
    small = {"labels": np.uint8, "scores": np.float32, "classes": np.uint8}
    np.savez_compressed(GOLDEN / "segmented.npz", **{key: arrays[key].astype(small[key]) for key in arrays})
    write("answers.json", about | {"segmented": {**found, "names": found["names"].tolist()}})


def make_losses(scratch: Path) -> None:
    """Make ``losses.json``."""
    town = make_town(scratch / "town")
    run = train_label_free(town, scratch / "run")
    tuned = train_finetuned(run, town, scratch / "finetuned")
    choice = json.loads((tuned / "choice.json").read_text())
    table = train_ablation(town, scratch / "table")
    ablation = describe_ablation(table)
    about = {"label-free": describe_run(run), "finetuned": {**describe_run(tuned), "choice": choice}}
    write("losses.json", {**about, "ablation": ablation})


def make_help(scratch: Path) -> None:
    """Make ``help``."""
    folder = GOLDEN / "help"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("clip2scene", *cli.COMMANDS, "pretrain+toytown"):  # the last has every setting of a recipe
        path = folder / f"{name}.txt"
        path.write_text(call(*help_words(path)), encoding="utf-8")


def make_interface(scratch: Path) -> None:
    """Make ``interface.json``."""
    write("interface.json", {"names": describe_names(), **describe_recipes()})


PARTS = {
    "runs": make_runs,
    "answers": make_answers,
    "losses": make_losses,
    "help": make_help,
    "interface": make_interface,
}


@contextlib.contextmanager
def _noting(part: str) -> Iterator[Path]:
    """Give a part a folder to work in, and note afterwards on what machine it was made."""
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)
    before = read("made_on.json") if (GOLDEN / "made_on.json").exists() else {}
    write("made_on.json", {**before, part: renderer() if part == "help" else machine()})


if __name__ == "__main__":
    for wanted in sys.argv[1:] or PARTS:
        with _noting(wanted) as place:
            PARTS[wanted](place)
