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
