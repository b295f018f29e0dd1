"""Runs as folders, made of those that lie in tests/golden: nothing is trained."""

import json
import shutil
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def make_run(tmp_path):
    """Make a run: of a name, with some of its files changed or left out, in a folder of the test's own."""

    def make(name="run", kind="run", without=(), seed=None, **changed):
        folder = tmp_path / name
        shutil.copytree(GOLDEN / kind, folder)
        if kind == "run":  # it was interrupted before its last steps
            with (folder / "log.jsonl").open("a") as log:
                log.writelines(
                    f'{{"step": {step}, "loss": 2.0, "scr": 2.0, "seconds": 1.5}}\n'
                    for step in range(297, 301)
                )
        for file in without:
            (folder / file).unlink()
        if seed is not None:
            changed["recipe"] = {**changed.get("recipe", {}), "seed": seed}
        for file, values in changed.items():
            path = folder / f"{file}.json"
            before = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps({**before, **values}))
        return folder

    return make


@pytest.fixture
def scored():
    """Give the columns of a ``metrics.json`` in which the student has a mIoU."""

    def give(miou, points=18000):
        content = json.loads((GOLDEN / "run" / "metrics.json").read_text())
        columns = content["columns"]
        columns["student"] = {**columns["student"], "miou": miou, "num_points": points}
        return {"columns": columns}

    return give
