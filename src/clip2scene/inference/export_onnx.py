"""A trained run as one ONNX file, for robots and other places without torch: student, text head and words."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from clip2scene.classes.words import clean_words
from clip2scene.inference.background import nearness, together
from clip2scene.inference.predict import TURNS
from clip2scene.inference.segmenter import words_of
from clip2scene.inference.text_embeddings import read_run_table
from clip2scene.io import fingerprint, write_atomically
from clip2scene.onnx_runner.about import About
from clip2scene.onnx_runner.words import choose
from clip2scene.runs.run import Run, open_run
from clip2scene.student.inputs import HEIGHT_UNIT
from clip2scene.student.model import Embedder
from clip2scene.types import Prompts


def export_onnx(
    run: Path | str,
    out: Path,
    *,
    prompts: Sequence[str] | None = None,
    background: str | Sequence[str] = "trained",
    words: Path | None = None,
    weights: Literal["float32", "float16", "int8"] = "float32",
) -> Path:
    """Write a run as an ONNX file of standard operators, for :mod:`clip2scene.onnx_runner`.

    Args:
        run: Folder of a trained run; or ``builtin``, the student in the package.
        out: The file.
        prompts: What it labels with unless asked otherwise; by default the classes it was trained with.
        background: What a point may be beside them: the trained classes that no prompt stands for
            ("trained"), nothing ("none"), or these words.
        words: A table of text embeddings (``clip2scene embed-words``) whose words are put into the file too,
            to be chosen where it is used.
        weights: How weights are stored. float16 and int8 make the file smaller, not faster.

    Returns:
        The file.

    Raises:
        ValueError: If onnx is not installed, the run is not trained, its network has no such form, or a word
            cannot be embedded.
    """
    try:
        from clip2scene.inference.onnx_model import build_model
    except ImportError:
        raise ValueError(
            "ONNX files are written with the library onnx; install it by pip install 'clip2scene[onnx]'"
        ) from None
    opened = open_run(run)
    student = opened.student()
    vocabulary, stands_for = _embed(opened, prompts, background, words)
    about = _describe(opened, student, weights, vocabulary.names, stands_for, prompts, background)
    model = build_model(student, about, vocabulary, choose(about, prompts, background))
    with write_atomically(out) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return out


def _embed(
    run: Run, prompts: Sequence[str] | None, background: str | Sequence[str], table: Path | None
) -> tuple[Prompts, dict[str, dict[str, float]]]:
    """Embed all words that the file is to know: the trained names, the prompts, and the table's.

    Returns:
        Them, each a class of its own, and which trained names each may be looked for by.
    """
    trained, read = run.prompts, None if table is None else read_run_table(table, run)
    every = _alone(trained.names, trained.embeddings)
    asked = [*(prompts or []), *([] if isinstance(background, str) else background)]
    if prompts is not None:  # two that are the same to the encoder are refused
        every = together(every, words_of(run, read)(clean_words(asked)))
    if read is not None:
        every = together(every, _alone(read.names, read.vectors.float()))
    if not run.knows_words:
        return every, {}
    first = {name: row for row, name in reversed(list(enumerate(every.names)))}
    more = sorted(row for row in first.values() if row >= len(trained.names))
    every = _alone(
        (*trained.names, *(every.names[row] for row in more)),
        torch.cat([trained.embeddings, every.embeddings[more]]),
    )
    near = nearness(every, trained).tolist()
    stands_for = {
        name: {str(other): round(cosine, 9) for other, cosine in enumerate(row) if cosine > -np.inf}
        for name, row in zip(every.names, near, strict=True)
    }
    return every, stands_for


def _alone(names: Sequence[str], embeddings: torch.Tensor) -> Prompts:
    """Make each name a class of its own."""
    return Prompts(tuple(names), tuple(names), torch.arange(len(names)), embeddings)


def _describe(  # noqa: PLR0913 - what the caller was asked for
    run: Run,
    student: Embedder,
    weights: str,
    names: Sequence[str],
    stands_for: Mapping[str, dict[str, float]],
    prompts: Sequence[str] | None,
    background: str | Sequence[str],
) -> About:
    """Say what the runner has to know."""
    inputs, trained = student.inputs, run.prompts
    return About(
        version=version("clip2scene"),
        run_hash=fingerprint(student.state_dict()),
        network=run.recipe.student.network,
        weights=weights,
        at_corners=bool(getattr(student.backbone, "at_corners", False)),
        voxel_size=float(student.backbone.voxel_size),  # type: ignore[arg-type]
        in_channels=run.sources.in_channels,
        superpoint_mean=student.superpoint_mean,
        temperature=float(run.temperature),
        level=inputs.level,
        height=inputs.height,
        height_unit=HEIGHT_UNIT,
        intensity=inputs.intensity,
        viewpoint=[float(each) for each in student.viewpoint],
        turns={name: [float(each) for each in turns or inputs.turns] for name, turns in TURNS.items()},
        names=list(names),
        classes=list(trained.classes),
        class_of_name=trained.class_of_name.tolist(),
        stands_for=dict(stands_for),
        by_classifier=student.classifier is not None,
        prompts=None if prompts is None else list(prompts),
        background=background if isinstance(background, str) else list(background),
    )
