import inspect
from pathlib import Path
from typing import get_args

import pytest
import tyro

from clip2scene.cli import COMMANDS
from clip2scene.cli.table import Command


def work(run: Path, *, steps: int = 3, out: Path, announce: object = None) -> int:
    """Work on ``run`` as :class:`~somewhere.else.Work` has it.

    In as many steps.

    Args:
        run: What is worked on,
            and for how long.
        announce: Told of it.

    Returns:
        Twice the steps.
    """
    return 2 * steps + (announce is not None)


def more(steps: int, out: Path, run: Path) -> None:
    """Describe what the other leaves out.

    Args:
        steps: How many steps; ``3`` are few.
        run: Not this one.
        other: Nobody asks for it.

    Raises:
        ValueError: steps: never.
    """


def test_the_summary_is_the_first_line_of_a_docstring_whether_imported_or_not():
    assert Command(work).summary() == "Work on ``run`` as :class:`~somewhere.else.Work` has it."
    known = Command("clip2scene.training.train:pretrain")
    assert known.summary() == "Train a student without labels, or (a recipe ending in -supervised) with them."
    with pytest.raises(AssertionError, match="nobody is not there"):
        Command("clip2scene.training.train:nobody").summary()


def test_the_help_describes_each_argument_once_by_its_own_words_before_those_of_others(monkeypatch):
    monkeypatch.setattr("clip2scene.cli.table.find_more", more, raising=False)
    command = Command(work, fixed={"announce": print}, described_in=("clip2scene.cli.table:find_more",))
    lines = inspect.getdoc(command.as_function({})).splitlines()
    assert lines[0] == "Work on run as Work has it."
    assert lines[lines.index("Args:") + 1 :] == [
        "    run: What is worked on,",
        "        and for how long.",
        "    steps: How many steps; 3 are few.",
    ]


def test_arguments_are_options_but_for_those_given_by_place_and_those_that_are_fixed():
    command = Command(work, positional=("run",), types={"steps": float}, fixed={"announce": print})
    parameters = inspect.signature(command.as_function({Path: str})).parameters
    assert list(parameters) == ["run", "steps", "out"]
    assert get_args(parameters["run"].annotation) == (str, tyro.conf.Positional[int].__metadata__[0])
    assert (parameters["steps"].annotation, parameters["steps"].default) == (float, 3)
    assert parameters["out"].annotation is str


def test_what_is_said_comes_from_the_result_and_the_arguments(capsys):
    command = Command(work, say=lambda result, out, **_: f"{result} in {out}", fixed={"announce": print})
    command.as_function({})(run=Path("a"), steps=4, out=Path("b"))
    assert capsys.readouterr().out == "9 in b\n"
    Command(work).as_function({})(run=Path("a"), out=Path("b"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_table_says_of_arguments_is_said_of_those_that_a_command_has(name):
    command = COMMANDS[name]
    whole = inspect.signature(Command(command.function).as_function({})).parameters
    assert {*command.positional, *command.types, *command.fixed} <= set(whole)
