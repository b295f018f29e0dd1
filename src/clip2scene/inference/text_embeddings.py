"""Tables of text embeddings: words for inference without a text encoder."""

from collections.abc import Sequence
from pathlib import Path

from clip2scene import build_teacher
from clip2scene.classes.words import clean_words, split_lines, split_words
from clip2scene.config import TeacherConfig
from clip2scene.io import read_text
from clip2scene.runs.run import Run, open_run
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.prompts import TextSpace
from clip2scene.teacher.text_table import TextTable, add_short_names, names_of, read_text_table
from clip2scene.types import Prompts

_LEAST_COSINE = 0.5  # one model embeds a name in two wordings closer than that, two models anywhere


def embed_words(
    words: Sequence[str], *, teacher_weights: str | None = None, run: Path | None = None
) -> TextTable:
    """Embed words into a table: each the mean over all prompt templates, of unit length, float32.

    Args:
        words: At least one word or phrase, all different.
        teacher_weights: Folder of an image-text model, ``hf:owner/name`` on the Hugging Face hub, or a
            ``.pt`` file of OpenAI's; None takes the small one in the package.
        run: A run, whose text space and templates to use instead.

    Raises:
        ValueError: If the model or the run cannot be opened, both are named, or a word is unknown, no word,
            or to the model the same as another.
    """
    names = clean_words(words)
    if run is not None and teacher_weights is not None:
        raise ValueError("a run has its own image-text model; name either --run or --teacher-weights")
    if run is not None:
        opened = open_run(run)
        teacher: TeacherConfig = opened.recipe.teacher
        space: TextSpace = opened.text_space()
    else:
        teacher = TeacherConfig(templates="all" if teacher_weights else "toytown")
        space = load_clip(teacher_weights or build_teacher.SMALL_CLIP)
    placed = build_teacher.place_words(teacher, space, names)
    return TextTable(tuple(names), placed.embeddings, getattr(space, "space", ""))


def read_words(words: str) -> list[str]:
    """Split words at commas, those in quotes apart; or read them from a ``.txt`` file, one a line.

    Raises:
        ValueError: If the file cannot be read, or a quote is not closed.

    Example:
        >>> read_words('car, "wall, low"')
        ['car', 'wall, low']
    """
    return split_lines(read_text(Path(words))) if words.endswith(".txt") else split_words(words)


def read_run_table(path: Path, run: Run) -> TextTable:
    """Read a table of words for a run.

    Args:
        path: As :func:`~clip2scene.teacher.text_table.read_text_table` takes it; the names of an ``.npy`` lie
            beside it.
        run: Whose student labels them.

    Raises:
        ValueError: If the table cannot be read, or lies in another text space than the run's.
    """
    table = add_short_names(read_text_table(path, path.with_name(names_of(path))))
    check_space(table, run.prompts, run.sources.text_space)
    return table


def check_space(table: TextTable, prompts: Prompts, space: str) -> None:
    """Refuse a table that was not made by the model whose text space a student was trained in.

    Args:
        table: The words to label with.
        prompts: The words that the student was trained with.
        space: Fingerprint of its text space; empty if not known. Then the
            cosine (-1..1) of the names that both have decides.

    Raises:
        ValueError: If the table is of another model, as far as can be known.
    """
    trained, given = prompts.embeddings.shape[1], table.vectors.shape[1]
    if trained != given:
        raise ValueError(
            f"the text table has vectors of {given} channels, but the student was trained in {trained}; "
            "make the table with the image-text model of that run (clip2scene embed-words --run RUN)"
        )
    shared = [name for name in prompts.names if name in table.names]
    rows = prompts.embeddings[[prompts.names.index(name) for name in shared]]
    cosines = (rows * table.encode_text(shared)).sum(1) if shared else None
    other = space and table.space and space != table.space
    if other or (cosines is not None and cosines.max() < _LEAST_COSINE):
        raise ValueError(
            "the text table was made by another image-text model than the one that trained the student; "
            "make it with the model of that run (clip2scene embed-words --run RUN)"
        )
