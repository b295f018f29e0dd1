"""YAML of strangers: plain values alone, and no more of them than the file is long."""

from pathlib import Path
from typing import Any

import yaml

from clip2scene.datasets.rigs.rig import read_small
from clip2scene.io import in_a_sentence


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping of plain values.

    References within the file are refused: a few lines of them stand for more than any memory holds.

    Raises:
        ValueError: If it is missing, no YAML, has tags or references, or is no mapping.
    """
    text = read_small(path)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValueError("it refers to parts of itself; write these out")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        hint = ""
        if text.startswith(b"%YAML:"):
            hint = "; OpenCV's own YAML is not read: write the calibration as ROS' camera_info or Kalibr's"
        raise ValueError(f"{path} cannot be read as YAML ({in_a_sentence(error)[:200]}){hint}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}, expected names with values")
    return content
