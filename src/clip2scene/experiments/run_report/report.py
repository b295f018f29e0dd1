"""A report on runs: one HTML file that holds everything, asks nothing of a network, and runs no script."""

import time
from collections.abc import Sequence
from pathlib import Path

from clip2scene.doctor.examine import examine
from clip2scene.experiments.run_report.facts import RunFacts, read_facts
from clip2scene.experiments.run_report.page import Extras, render
from clip2scene.experiments.run_report.pictures import Picture, drawn_pictures, kept_pictures
from clip2scene.io import in_a_sentence, without_places, write_atomically
from clip2scene.runs.builtin import run_folder

_SAMPLES = 12  # that the doctor looks at


def report(
    runs: tuple[Path, ...],
    *,
    out: Path,
    data_root: Path | None = None,
    split: str = "val",
    pictures: int = 2,
) -> Path:
    """Write a report on runs: what was learned from what, scores, curves, pictures, cost; one HTML file.

    Args:
        runs: Folders of runs, finished or not, packed or fine-tuned; or builtin. Several are compared.
        out: The file, which ends in .html. It can be sent on: it loads nothing, and names no folder of this
            machine.
        data_root: The data set. With it the doctor looks at a few samples of the train split, and samples of
            the split are drawn for runs that have no pictures.
        split: What they are drawn from.
        pictures: How many samples are drawn; 0 for none.

    Returns:
        ``out``.

    Raises:
        ValueError: If a folder is no run or cannot be read, or the file cannot be written there.
    """
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise ValueError(f"--out is {out}, expected the name of a file that ends in .html; correct it")
    if not runs:
        raise ValueError("there is no run to report on; name the folder of one, or builtin")
    if pictures < 0:
        raise ValueError(f"--pictures is a number of samples, expected 0 or more, got {pictures}; correct it")
    began = time.perf_counter()
    read = _read(runs)
    extras = [_extras(facts, data_root, split, pictures) for facts in read]
    page = render(read, extras, seconds=time.perf_counter() - began)
    try:
        with write_atomically(out) as temporary:
            temporary.write_bytes(page.encode("utf-8", "replace"))  # JSON may hold halves of characters
    except OSError as error:
        raise ValueError(f"{out} cannot be written ({error.strerror}); name another file as --out") from None
    return out


def _read(runs: Sequence[Path]) -> list[RunFacts]:
    """Read each run once; those whose folders have one name get their parents' name before it."""
    folders = {run_folder(named).resolve(): named for named in reversed(runs)}
    chosen = list(dict(reversed(folders.items())).values())
    read = [read_facts(named) for named in chosen]
    names = [facts.name for facts in read]
    return [
        facts if names.count(facts.name) == 1 else read_facts(named, "/".join(named.resolve().parts[-2:]))
        for named, facts in zip(chosen, read, strict=True)
    ]


def _extras(facts: RunFacts, data_root: Path | None, split: str, pictures: int) -> Extras:
    """Gather what takes looking at pictures and data."""
    faults: dict[str, str] = {}
    found = kept_pictures(facts.folder, faults)
    findings = facts.findings
    if data_root is None:
        return Extras(found, findings, faults)
    if findings is None:
        lines = examine(facts.recipe.data, data_root, samples=_SAMPLES, costs=False)
        findings = tuple(
            {"mark": line.mark, "about": line.about, "text": without_places(line.text, data_root)}
            for line in lines
        )
    if not found and pictures and facts.has_weights:
        found = _try_to_draw(facts, data_root, split, pictures, faults)
    return Extras(found, findings, faults)


def _try_to_draw(
    facts: RunFacts, data_root: Path, split: str, count: int, faults: dict[str, str]
) -> list[Picture]:
    try:
        return drawn_pictures(facts.folder, data_root, split, count=count)
    except ValueError as error:
        faults["pictures"] = without_places(f"no sample was drawn: {in_a_sentence(error)}", data_root)
        return []
