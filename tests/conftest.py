"""What all tests share: shapes checked at run time, and the folder of real data."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="clip2scene-tests-")  # a user's key is left alone
install_import_hook("clip2scene", "beartype.beartype")

SMALL_DRIVE = {
    **{"keyframes_per_scene": 2, "sweeps_per_keyframe": 2, "ground_truth": True},
    **{"width": 160, "height": 96, "azimuth_steps": 360},
}
"""What is recorded of a small town."""
FEW_TOWNS = {"num_scenes": 1, "num_val_scenes": 1, "seed": 0, "workers": 1}


LONGEST = ("tests/test_whole_path.py", "tests/training/test_start_methods.py", "tests/test_tutorials.py")
"""Files that take minutes each: begun first, so that no core waits for them at the end."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(autouse=True)
def exact_products():
    """Keep the factors of products from being rounded to bfloat16, where the processor has it.

    The command line allows that, also where a test calls it, so it is taken back after each test; what is
    shared by several tests is made before the first of them.
    """
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CLIP2SCENE_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set CLIP2SCENE_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_toytown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a toytown in nuScenes' layout: a train and a val scene of two keyframes, small images.

    Shared by all tests: read it, never write to it.
    """
    from clip2scene.toytown.writers.layouts import write_nuscenes
    from clip2scene.toytown.writers.recording import Recording

    root = tmp_path_factory.mktemp("data") / "toytown"
    write_nuscenes(root, recording=Recording(**SMALL_DRIVE), **FEW_TOWNS)
    return root


@pytest.fixture(scope="session")
def tiny_kitti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a toytown in SemanticKITTI's layout: the towns and moments of ``tiny_toytown``, every sweep.

    Shared by all tests: read it, never write to it.
    """
    from clip2scene.toytown.writers.layouts import write_semantic_kitti
    from clip2scene.toytown.writers.recording import Recording

    root = tmp_path_factory.mktemp("data") / "kitti"
    write_semantic_kitti(root, recording=Recording(**SMALL_DRIVE), **FEW_TOWNS)
    return root


@pytest.fixture(scope="session")
def tiny_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a toytown in ScanNet's layout: two train rooms and a val room, small images, class maps.

    Shared by all tests: read it, never write to it.
    """
    from clip2scene.toytown.rooms.room_scan import Walk
    from clip2scene.toytown.writers.layouts import write_scannet

    root = tmp_path_factory.mktemp("data") / "rooms"
    walk = Walk(6, 128, 96, 112, 84, points_per_m2=100.0, ground_truth=True)
    write_scannet(root, num_scenes=2, num_val_scenes=1, seed=0, walk=walk, workers=1)
    return root


@pytest.fixture(scope="session")
def tiny_recipe():
    """Recipe ``toytown``, from chance, shrunk until it takes a second; it learns next to nothing.

    It takes clouds as they are, so that tests see what its mount does to it.
    """
    from clip2scene.config import AugmentConfig
    from clip2scene.recipes import SMALL_TEACHER, toytown

    recipe = replace(toytown(), teacher=SMALL_TEACHER)
    student = replace(recipe.student, width=0.25, voxel_size=0.5, level=False, turns=(0.0,))
    data, augment = replace(recipe.data, sweeps=1), AugmentConfig(scale=0.05)
    return replace(recipe, data=data, student=student, augment=augment, steps=6)


@pytest.fixture(scope="session")
def tiny_run(tiny_toytown: Path, tiny_recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a label-free run on ``tiny_toytown``, judged on its val split.

    Shared by all tests: read it, copy it, never write to it.
    """
    from clip2scene.evaluation.evaluate import evaluate
    from clip2scene.training.train import pretrain

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    pretrain(tiny_recipe, data_root=tiny_toytown, out=folder)
    evaluate(folder, data_root=tiny_toytown)
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line; returns the exit code, stdout and stderr."""
    from clip2scene import cli

    def run(*words):
        monkeypatch.setattr("sys.argv", ["clip2scene", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run
