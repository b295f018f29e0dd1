"""What all tests share: shapes checked at run time, and the folder of real data."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("clip2scene", "beartype.beartype")
torch.set_float32_matmul_precision("medium")


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
    from clip2scene.toytown.drive import Recording
    from clip2scene.toytown.writers import write_nuscenes

    root = tmp_path_factory.mktemp("data") / "toytown"
    recording = Recording(
        keyframes_per_scene=2,
        sweeps_per_keyframe=2,
        width=160,
        height=96,
        azimuth_steps=360,
        ground_truth=True,
    )
    write_nuscenes(root, num_scenes=1, num_val_scenes=1, seed=0, recording=recording, workers=1)
    return root
