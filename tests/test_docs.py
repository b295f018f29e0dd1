"""Every command and program in README and docs works, and the site is built of them.

Commands are parsed by the command line's own parser, so that a command or option that is gone fails here.
Programs in Python are run here, or elsewhere.
"""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
from tests.snippets import PROGRAMS, ROOT, pages, snippets

import clip2scene
from clip2scene import cli
from clip2scene.cli.table import Command
from clip2scene.runs.builtin import builtin_run

ALL = [snippet for page in pages() for snippet in snippets(page)]
COMMANDS = [(snippet, words) for snippet in ALL for words in snippet.commands]
OURS = {
    tuple(words[words.index("clip2scene") :]): snippet
    for snippet, words in COMMANDS
    if words[0] in ("clip2scene", "torchrun")
}
"""Each different command, and a place where it stands; torchrun's, too, from our name on."""


def identify(value):
    return " ".join(value[1:2]) if isinstance(value, tuple) else str(value)


@pytest.fixture
def parsed(monkeypatch, call):
    """Parse a command as the command line does, without running it."""
    called = []
    monkeypatch.setattr(Command, "_call", lambda *_: called.append(1))

    def parse(*words):
        code, _, err = call(*words)
        assert code == 0, err
        assert called or "--help" in words

    return parse


@pytest.mark.parametrize(("words", "snippet"), OURS.items(), ids=identify)
def test_a_command_in_the_documents_is_understood(words, snippet, parsed):
    parsed(*words[1:])


def test_what_is_parsed_is_what_a_reader_would_copy():
    assert len(OURS) > 40
    for snippet in ALL:
        if not snippet.commands:
            first = [line.split()[0] for line in snippet.text.splitlines() if line.split()]
            assert not set(first) & set(PROGRAMS), f"{snippet} has commands: open it with ```bash"
    for snippet, words in COMMANDS:
        assert words[0] in PROGRAMS, f"{snippet}: {words[0]}"


def test_other_commands_name_what_is_there():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    known = re.findall(r"^(\w+) = \[$", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    for snippet, (program, *words) in COMMANDS:
        if program == "make":
            assert words[0] in targets, f"{snippet}: make {words[0]}"
        elif program == "pip":
            asked = re.search(r"\[(.*)\]", words[-1])
            extras = asked.group(1).split(",") if asked else []
            assert set(extras) <= set(known), f"{snippet}: {words[-1]}"
        elif program.startswith("python") and words[0] == "-m":
            assert find_spec(words[1]), f"{snippet}: {words[1]}"
        elif program.startswith("python"):
            script = ROOT / words[0]
            assert script.is_file(), f"{snippet}: {words[0]}"
            for word in words[1:]:
                if word.startswith("--"):
                    assert f'"{word}"' in script.read_text(), f"{snippet}: {words[0]} has no {word}"


PYTHON = [snippet for snippet in ALL if snippet.language == "python"]
"""All programs in the pages; what follows says of each how it is tried."""
WHOLE = ("README.md", "docs/segment.md", "docs/api.md")
"""Pages whose programs are run here as they are, one after the other in one folder with a cloud and a run."""
ELSEWHERE = {
    "docs/extending.md": (
        "tests/datasets/test_dataset.py",
        "tests/teacher/test_new_teacher.py",
        "tests/distill/losses/test_objective.py",
    ),
    "docs/corrections.md": ("tests/datasets/test_label_layer.py",),
    "docs/fleet.md": ("tests/inference/fleet/test_job.py",),
    "docs/onnx.md": ("tests/onnx_runner/test_segmenter.py",),
    "docs/own_recordings.md": ("tests/datasets/drive_log/test_loader.py",),
    "docs/published_weights.md": ("tests/student/published/test_load.py",),
    "docs/tour.md": ("tests/training/test_train.py",),
    "docs/tutorials/5_robot.md": ("tests/test_tutorials.py",),
}
"""Pages whose programs are parts of something, or need a file that a test makes: who reads them, or does what
they show."""
PARTS = {
    "docs/corrections.md": "np.savez(",
    "docs/onnx.md": "OnnxSegmenter(",
    "docs/published_weights.md": "load_published(",
    "docs/tour.md": "pretrain(",
}
"""Of pages that no test reads: what these call, so that it works though the page's own lines are not run."""


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_program_in_the_documents_can_be_read_and_imports_what_is_there(snippet):
    tree = ast.parse(snippet.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("clip2scene"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, each.name) for each in node.names), f"{snippet}: {node.module}"


def test_every_program_is_run_or_is_made_of_what_a_test_calls_or_says_that_it_is_not_run():
    for snippet in PYTHON:
        if snippet.not_run or snippet.page in WHOLE:
            continue
        assert snippet.page in ELSEWHERE, f"{snippet} is run nowhere"
    for page, tests in ELSEWHERE.items():
        for test in tests:
            text = (ROOT / test).read_text()
            reads = page.rpartition("/")[2] in text or "pages()" in text
            assert reads or PARTS[page] in text, f"{test} neither reads {page} nor calls what it shows"


@pytest.mark.parametrize("page", WHOLE)
def test_the_programs_of_a_page_run_as_they_stand(page, tmp_path, monkeypatch):
    shutil.copy(ROOT / "tests" / "golden" / "cloud.bin", tmp_path / "sweep.bin")
    for run in ("demo/label-free", "run", "small"):
        (tmp_path / run).parent.mkdir(exist_ok=True)
        (tmp_path / run).symlink_to(builtin_run())
    monkeypatch.chdir(tmp_path)
    names = {}
    for snippet in snippets(page):
        if snippet.language == "python":
            exec(compile(snippet.text, str(snippet), "exec"), names)
    if "found" in names:
        assert len(names["found"].labels) == 3000


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as ``make docs`` builds it: a warning is an error."""
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    paths = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_site_loads_nothing_from_the_network(site):
    loaded = re.compile(
        r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=\"?(?:https?:)?//[^>]*>|<link\b[^>]*>"
    )
    kept = re.compile(r"rel=\"?(?:canonical|prev|next)")
    for page in site.rglob("*.html"):
        for tag in loaded.findall(page.read_text(encoding="utf-8")):
            assert "//" not in tag or kept.search(tag), f"{page.relative_to(site)}: {tag}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\"?(?:https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_the_search_works_without_a_server(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "site/iframe-worker.js" in page
    assert (site / "search" / "search_index.js").read_text(encoding="utf-8").startswith("var __index = {")


def test_the_reference_has_every_public_name_and_every_command(site):
    names = (site / "api.html").read_text(encoding="utf-8")
    for name in clip2scene.__all__:
        assert re.search(rf'id="clip2scene\.{name}"|<code>{name}</code>', names), (
            f"docs/api.md leaves out {name}"
        )
    commands = (site / "commands.html").read_text(encoding="utf-8")
    for name in cli.COMMANDS:
        assert f'<h3 id="{name}">' in commands
        assert f"usage: clip2scene {name} " in re.sub("<[^>]*>", "", commands)


def test_every_page_is_in_the_contents(site):
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in pages():
        if page.startswith("docs/"):
            assert page.removeprefix("docs/") in listed, f"{page} is not in nav of mkdocs.yml"


def test_the_links_of_the_readme_lead_to_pages_and_headings():
    """All other pages are checked when the site is built; the README is none of it."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)#?([^)]*)\)", (ROOT / "README.md").read_text())
    assert len(links) > 15
    for path, anchor in links:
        assert (ROOT / path).exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{path}#{anchor}"
