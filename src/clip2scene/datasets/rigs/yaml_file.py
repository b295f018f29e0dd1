"""YAML of strangers: plain values alone, and no more of them than the file is long."""

from pathlib import Path
from typing import Any

import yaml

from clip2scene.datasets.rigs.rig import read_small
from clip2scene.io import in_a_sentence

MOST_BYTES = 1 << 18
"""Of a YAML file: calibrations have some kB, and the parser takes seconds for as much as this."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping of plain values.

    References within the file are refused: a few lines of them stand for more than any memory holds. So are
    tags, which the parser fails at in ways of its own.

    Raises:
        ValueError: If it is missing, over 0.3 MB, no YAML, has tags or references, or is no mapping.
    """
    text = read_small(path, MOST_BYTES)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it refers to parts of itself; write these out")
            if getattr(event, "tag", None) is not None:
                raise ValueError(f"it has the tag {event.tag}; leave tags out")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        hint = ""
        if text.startswith(b"%YAML:"):
            hint = "; OpenCV's own YAML is not read: write the calibration as ROS' camera_info or Kalibr's"
        raise ValueError(f"{path} cannot be read as YAML ({in_a_sentence(error)[:200]}){hint}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}, expected names with values")
    return content
