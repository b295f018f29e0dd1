import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip2scene.datasets.clouds import read_cloud

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def example(monkeypatch, capsys):
    """Run an example as ``python examples/NAME ...`` would, and return what it printed."""

    def run(name, *words):
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_a_cloud_is_labelled_with_words(example, tiny_run, tiny_toytown, tmp_path):
    cloud = sorted((tiny_toytown / "samples" / "LIDAR_TOP").iterdir())[0]
    printed = example("01_label_a_cloud.py", tiny_run, cloud, tmp_path / "out.ply", "car, person, road")
    shares = [float(line.split("%")[0].split()[-1]) for line in printed.splitlines()]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert len(read_cloud(tmp_path / "out.ply")) == len(read_cloud(cloud))


def test_points_are_paired_with_pixels_and_hidden_ones_dropped(example, tiny_toytown, tmp_path):
    printed = example("02_project_points.py", tiny_toytown, tmp_path / "out.png")
    hidden, pairs = (int(word) for word in printed.split() if word.isdigit())
    assert 0 < hidden < pairs
    with Image.open(tmp_path / "out.png") as picture:
        left, right = np.array_split(np.asarray(picture.convert("RGB")), 2, axis=1)
    assert left.std() > 20
    assert not np.array_equal(left, right)


def test_a_student_is_judged_in_classes_of_ones_own(example, tiny_run, tiny_toytown):
    printed = example("03_own_classes.py", tiny_run, tiny_toytown)
    assert "16 classes of nuScenes become 3" in printed
    assert [line.split()[0] for line in printed.splitlines()[3:6]] == ["ground", "standing", "vehicle"]


def test_every_example_is_run_by_a_test_and_fits_a_screen():
    source = Path(__file__).read_text()
    numbered = sorted(EXAMPLES.glob("*.py"))
    assert numbered
    for number, path in enumerate(numbered, start=1):
        assert path.name.startswith(f"{number:02}_")
        assert f'example("{path.name}"' in source
        assert len(path.read_text().splitlines()) <= 40


def test_an_example_runs_from_a_shell(tiny_toytown, tmp_path):
    command = [sys.executable, EXAMPLES / "02_project_points.py", tiny_toytown, tmp_path / "out.png"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "are hidden behind nearer points" in done.stdout
