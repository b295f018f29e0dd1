from typing import get_args

from clip2scene.cli.commands import Target, Tool
from clip2scene.handover.formats import FORMATS


def test_the_command_line_knows_every_format_and_the_two_benchmarks():
    assert set(get_args(Target)) == {*FORMATS, "semantic-kitti", "lidarseg"}


def test_labels_come_back_from_every_tool_that_changes_labels():
    assert set(get_args(Tool)) == {name for name, form in FORMATS.items() if form.read_labels is not None}
    assert set(FORMATS) - set(get_args(Tool)) == {"rrd", "mcap"}
