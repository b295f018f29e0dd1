"""The tree of the tests is that of the package: whoever changes a module finds its tests by its name."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "src" / "clip2scene"

ELSEWHERE = {
    "__main__.py": "it is one call, which cli/test_ranks.py makes",
    "cli/answering.py": "commands are called as users call them in test_cli.py and test_end_to_end.py",
    "cli/data.py": "commands are called as users call them in test_cli.py and test_end_to_end.py",
    "cli/judging.py": "commands are called as users call them in test_cli.py and test_end_to_end.py",
    "cli/learning.py": "commands are called as users call them in test_cli.py and test_end_to_end.py",
    "cli/notes.py": "it is one line",
    "datasets/clouds/e57_child.py": "it is a program of its own, which clouds/test_e57.py runs",
    "datasets/streets.py": "it is a table, whose every loader has its tests",
    "toytown/town/blocks.py": "its towns are looked at as a whole in town/test_world.py",
    "toytown/town/extent.py": "it is three numbers",
    "toytown/town/inventory.py": "its towns are looked at as a whole in town/test_world.py",
    "toytown/town/layout.py": "its towns are looked at as a whole in town/test_world.py",
    "toytown/town/makers.py": "its two sets are looked at in town/test_world.py and town/test_varied.py",
    "toytown/town/roadside.py": "its towns are looked at as a whole in town/test_world.py",
    "toytown/town/scenery.py": "its towns are looked at as a whole in town/test_world.py",
    "toytown/town/things.py": "its towns are looked at as a whole in town/test_world.py",
    "viewer/choices.py": "it is names, which viewer/test_modes.py and viewer/test_session.py go through",
    "toytown/town/vehicles.py": "its towns are looked at as a whole in town/test_world.py",
}
"""Modules without a test file of their name, and where they are tested instead."""

MODULES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
)


def file_of(module):
    """Where the tests of a module stand."""
    path = Path(module)
    return TESTS / path.parent / f"test_{path.name}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_file_of_its_name_or_a_reason_to_have_none(module):
    has = file_of(module).exists()
    assert has or module in ELSEWHERE, f"{module} has no {file_of(module).relative_to(TESTS)}"
    assert not (has and module in ELSEWHERE), f"{module} has a test file: take it out of the table"


def test_every_reason_is_that_of_a_module():
    assert set(ELSEWHERE) <= set(MODULES)


def test_the_tour_shows_the_top_of_the_tree_as_it_is():
    tour = (TESTS.parent / "docs" / "tour.md").read_text()
    (tree,) = re.findall(r"^src/clip2scene/.*?^```", tour, flags=re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^  (\S.*)$", tree, flags=re.MULTILINE)
    shown = {name for row in rows for name in [row.split()[0], *re.findall(r"\b\w+\.py\b", row)]}
    there = {path.name + "/" * path.is_dir() for path in PACKAGE.iterdir() if path.name[0] not in "._"}
    assert shown == there - {"assets/", "py.typed"}
