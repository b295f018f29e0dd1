import json

import pytest


@pytest.fixture
def write_mix(tmp_path):
    """Write ``mix.json`` into a folder of its own; returns the folder."""

    def write(*sources, name="mix"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "mix.json").write_text(json.dumps({"sources": list(sources)}))
        return folder

    return write
