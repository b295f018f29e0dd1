"""The tutorials, run from their first command to their last, on a street or a room or two.

A page says in a comment what is put behind its commands to make them small. What it marks as not run here is
left out, and so is the viewer's page, which goes on until it is stopped and has tests of its own.
"""

import shutil
from pathlib import Path

import pytest
from tests.snippets import ROOT, pages, smaller, snippets

from clip2scene.classes.tables import SCANNET

TUTORIALS = [page for page in pages() if page.startswith("docs/tutorials/")]
LEAVES = {
    "docs/tutorials/1_own_drive.md": ("look", "labelled", "labelled-by-run", "run/metrics.json"),
    "docs/tutorials/2_rooms.md": ("labelled", "ceiling/checkpoint.safetensors"),
    "docs/tutorials/3_few_labels.md": (
        "order.json",
        "order2.json",
        "tuned/labels.json",
        "tuned/metrics.json",
    ),
    "docs/tutorials/4_paper.md": ("paper/table.md", "few/table.md"),
    "docs/tutorials/5_robot.md": ("small/about.json", "student.onnx"),
}
"""What a reader finds in the folder afterwards."""


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_runs_from_its_first_command_to_its_last(page, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "tests" / "golden" / "cloud.bin", "sweep.bin")
    Path("words.txt").write_text("\n".join(SCANNET.classes))
    options, names, ran = smaller(page), {}, 0
    for snippet in snippets(page):
        if snippet.not_run:
            continue
        for program, *words in snippet.commands:
            if program == "clip2scene" and words[0] != "view":
                code, _, err = call(*words, *options.get(words[0], ()))
                assert code == 0, f"{snippet}: {words}: {err}"
                ran += 1
        if snippet.language == "python":
            exec(compile(snippet.text, str(snippet), "exec"), names)
    assert ran > 2
    for name in LEAVES[page]:
        assert (tmp_path / name).exists(), f"{page}: {name} is not there"


@pytest.mark.parametrize("page", TUTORIALS)
def test_what_makes_a_tutorial_small_is_for_commands_that_it_has(page):
    commands = {words[1] for snippet in snippets(page) for words in snippet.commands}
    assert set(smaller(page)) <= commands
