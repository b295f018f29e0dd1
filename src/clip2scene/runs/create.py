"""Beginning a run: everything is checked and written down before the first step."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from clip2scene import build
from clip2scene.config import Recipe, to_dict
from clip2scene.io import fingerprint, hash_files, write_atomically, write_json
from clip2scene.runs.checkpoint import versions
from clip2scene.runs.folder import (
    LABELS,
    SEEN,
    START,
    WORDS,
    clear_half_started,
    require_same,
    resolve_weights,
)
from clip2scene.runs.init_weights import InitWeights
from clip2scene.runs.prompts import save_prompts
from clip2scene.runs.run import Run, open_run
from clip2scene.teacher.text_table import TextTable


def create_or_resume(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None,
    start: InitWeights | None = None,
) -> Run:
    """Make a run's folder, or open the one that an interrupted call left.

    Args:
        recipe: What is to be learnt.
        data_root: The data set.
        out: The folder.
        teacher_weights: As :func:`clip2scene.training.train.pretrain` takes them.
        start: Weights to begin with.

    Raises:
        ValueError: If the folder holds something else, or a run of another recipe, teacher or data set, with
            another start or other labels.
    """
    if (out / "recipe.json").exists():
        require_same(out, recipe, data_root=data_root, teacher_weights=teacher_weights)
        run = open_run(out)
        if run.sources.get("start", {}).get("sha256") != _about(start).get("sha256"):
            raise ValueError(
                f"{out} holds a run that began with other weights; name the same start, or give another --out"
            )
        return run
    if not clear_half_started(out):
        raise ValueError(f"{out} is not empty and holds no run; give an empty or new folder as --out")
    needs_images = recipe.supervision == "label-free"
    dataset = build.open_dataset(recipe.data, data_root, split="train", need_images=needs_images)
    prompted = build.prompt_classes(recipe.data, data_root)
    space = build.open_text_space(recipe.teacher, teacher_weights, prompted)
    partly = recipe.data.words != "own"
    prompts = build.build_prompts(recipe.teacher, space, prompted, partly=partly)
    unknown = [name for name in recipe.labels.classes if name not in prompts.classes]
    if unknown:
        raise ValueError(
            f"labels.classes names {unknown[0]!r}, expected some of {', '.join(prompts.classes)}; correct it"
        )
    _check_words(recipe, start)
    sources = {
        "teacher_weights": resolve_weights(teacher_weights),
        "data_root": str(Path(data_root).resolve()),
        "num_samples": len(dataset.tokens),
        "in_channels": dataset[0].cloud.features.shape[1],
        "text_space": getattr(space, "space", ""),
        "versions": versions(),
    }
    backbone = build.build_backbone(recipe.loss, space)
    if backbone is not None:
        sources["pixel_channels"] = backbone.channels
        sources["backbone_hash"] = build.hash_backbone(recipe.loss)
    if recipe.supervision == "labels":
        subset = build.choose_labels(recipe, dataset)
        build.open_dataset(recipe.data, data_root, split="train", labels=subset.tokens, sweeps=1)
        labels = {"fingerprint": subset.fingerprint, "subset": asdict(subset)}
        write_json(out / LABELS, labels | {SEEN: dict(start.seen) if start else {}})
    if start is not None:
        sources["start"] = _about(start)
        with write_atomically(out / START) as temporary:
            save_file(dict(start.weights), temporary)
    build.keep_own_files(recipe.data, data_root, out)
    save_prompts(out, prompts)
    if isinstance(space, TextTable):
        space.save(out / WORDS)
        sources["teacher_hash"] = hash_files(out, [out / WORDS])
    else:
        sources["teacher_hash"] = build.hash_teacher(teacher_weights)
    write_json(out / "sources.json", sources)
    run = Run(out, recipe, prompts, sources)
    run.initial_student()  # noqa: SLF001 - weights that do not fit are refused before anything is learnt
    write_json(out / "recipe.json", to_dict(recipe))
    return run


def _check_words(recipe: Recipe, start: InitWeights | None) -> None:
    """Refuse to keep, or to begin with, words that the start has never learnt."""
    tuning = recipe.tuning
    if start is not None and start.knows_words:
        return
    if tuning.keep_words:
        raise ValueError(
            "tuning.keep_words needs a start that has learnt words; name a label-free run, or one that began "
            "with it, as --start, or set it to 0"
        )
    if recipe.supervision == "labels" and tuning.head == "classifier" and tuning.start == "words":
        raise ValueError(
            "tuning.start=words needs a start that has learnt words; name a label-free run, or one that "
            "began with it, as --start, or set it to random"
        )


def _about(start: InitWeights | None) -> dict[str, Any]:
    """Say where weights come from, and which they are."""
    if start is None:
        return {}
    return {
        "origin": str(start.origin.resolve()),
        "sha256": fingerprint(start.weights),
        "knows_words": start.knows_words,
        "classes": start.classes,
        "report": start.report,
    }
