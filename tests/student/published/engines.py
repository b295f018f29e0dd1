"""Small networks of other programs with what those programs computed, and how they are loaded."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from clip2scene.student import CornerSPVCNN, MinkUNet, minkunet18_spvnas
from clip2scene.student.published import load_published

ENGINES = Path(__file__).parents[2] / "data" / "engines"
PLANES, LAYERS_34 = (4, 5, 6, 8, 7, 6, 5, 4), (2, 3, 4, 6, 2, 2, 2, 2)
BACKBONES = {
    "minkowski": lambda: MinkUNet(1, LAYERS_34, PLANES, voxel_size=1.0, stem_channels=3),
    "minkowski-stem5": lambda: MinkUNet(3, (1,) * 8, PLANES, voxel_size=1.0, stem_channels=3, stem_kernel=5),
    "torchsparse": lambda: minkunet18_spvnas(4, width=0.05, voxel_size=1.0),
    "spvcnn": lambda: CornerSPVCNN(1, 0.05, voxel_size=1.0),
    "spconv": lambda: MinkUNet(
        4, LAYERS_34, PLANES, voxel_size=1.0, stem_channels=3, stem_kernel=5, widens_first=True
    ),
}
STORED = sorted(path.stem for path in ENGINES.glob("*.safetensors"))


def stored(network):
    tensors = load_file(ENGINES / f"{network}.safetensors")
    state = {
        name.removeprefix("state/"): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
        if name.startswith("state/")
    }
    return state, tensors


@torch.inference_mode()
def answer_of(backbone, tensors):
    coordinates = tensors["coordinates"].long()
    return backbone.eval()(coordinates[:, 1:] + 0.5, tensors["features"], coordinates[:, 0])


def saved(folder, content, name="weights.pt"):
    torch.save(content, folder / name)
    return folder / name


def loaded(folder, network, content, backbone=None):
    """Load weights as they are: what an engine computed was computed of the features that are stored."""
    backbone = backbone or BACKBONES[network]()
    return load_published(saved(folder, content), backbone, brightest=1.0), backbone


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
