from typing import get_args

import pytest

from clip2scene.cli.answering import Target, Tool
from clip2scene.handover import formats
from clip2scene.handover.formats import FORMATS


def test_the_command_line_knows_every_format_and_the_two_benchmarks():
    assert set(get_args(Target)) == {*FORMATS, "semantic-kitti", "lidarseg"}


def test_labels_come_back_from_every_tool_that_changes_labels():
    assert set(get_args(Tool)) == {name for name, form in FORMATS.items() if form.read_labels is not None}
    assert set(FORMATS) - set(get_args(Tool)) == {"rrd", "mcap"}


@pytest.mark.parametrize(("name", "module"), [("las", "laspy"), ("rrd", "rerun"), ("mcap", "rosbags")])
def test_without_its_library_nothing_is_begun(name, module, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda asked: None if asked == module else "there")
    with pytest.raises(
        ValueError, match=rf"--to {name} needs the library {module}; install clip2scene\[\w+\]"
    ):
        FORMATS[name].check_library(name)
    FORMATS["segments"].check_library("segments")
