"""The table from equation to function: every name in it is one of the package, or a setting."""

import re
from functools import reduce
from pathlib import Path
from pkgutil import resolve_name

import pytest

from clip2scene.config import Recipe
from clip2scene.distill.losses import objective

METHOD = (Path(__file__).parents[1] / "docs" / "method.md").read_text()
NAMES = sorted(set(re.findall(r"`([a-z_]+(?:\.(?!py`|jsonl`)\w+)+)(?:=\w+)?`", METHOD)))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_setting_or_stands_in_the_package(name):
    try:
        reduce(getattr, name.split("."), Recipe(name="any"))
    except AttributeError:
        resolve_name(f"clip2scene.{name}")


def test_every_loss_term_and_its_key_in_the_log_is_named():
    keys = [getattr(each, "name", None) for each in vars(objective).values() if isinstance(each, type)]
    keys = {key for key in keys if isinstance(key, str)}
    assert {"scr", "stcr", "ppkt", "slidr", "kl"} < keys
    assert {key for key in keys if f"`{key}`" not in METHOD} == set()
