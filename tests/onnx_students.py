"""Students with random weights as ONNX files, for the tests of what writes and what runs them."""

import onnxruntime
import torch

from clip2scene.inference.onnx_model import build_model
from clip2scene.onnx_runner.about import About
from clip2scene.onnx_runner.words import choose
from clip2scene.student import NETWORKS
from clip2scene.student.blocks import RowNorm
from clip2scene.student.inputs import InputOptions
from clip2scene.student.model import Embedder
from clip2scene.types import Prompts

TEXT = 16
NAMES = ("car", "van", "road", "tree")
ABOUT = {
    **{"version": "0", "run_hash": "0", "network": "minkunet14a", "weights": "float32", "at_corners": False},
    **{"voxel_size": 0.25, "in_channels": 1, "superpoint_mean": False, "temperature": 0.7},
    **{"level": False, "height": "none", "height_unit": 2.0, "intensity": "value", "viewpoint": [0.0] * 3},
    **{"turns": {"low": [22.5], "medium": [0.0, 30.0], "high": [10.0, 20.0, 30.0]}, "names": list(NAMES)},
    **{"classes": ["vehicle", "road", "tree"], "class_of_name": [0, 0, 1, 2], "by_classifier": False},
    **{
        "stands_for": {"car": {"0": 1.0, "1": 0.6}, "van": {"1": 1.0}, "road": {"2": 1.0}, "tree": {"3": 1.0}}
    },
    **{"prompts": None, "background": "trained"},
}


def make_student(network="minkunet14a", *, cosine=None, num_classes=None, channels=1, **options):
    """A student of random weights, whose normalisations have seen something."""
    torch.manual_seed(0)
    backbone = NETWORKS[network](channels, width=0.25, voxel_size=0.25)
    student = Embedder(
        backbone, TEXT, cosine_temperature=cosine, num_classes=num_classes, inputs=InputOptions(**options)
    )
    for module in student.modules():
        if isinstance(module, RowNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.02, 0.2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return student.eval()


def make_prompts():
    """Names of three classes, the first of which has two."""
    embeddings = torch.randn(4, TEXT, generator=torch.Generator().manual_seed(1))
    units = torch.nn.functional.normalize(embeddings, dim=1)
    return Prompts(("vehicle", "road", "tree"), NAMES, torch.tensor([0, 0, 1, 2]), units)


def make_cloud(seed=0, count=400):
    """Points on a road and on two walls, with an intensity."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, generator=generator) * torch.tensor([16.0, 8.0, 3.0]) - torch.tensor(
        [8, 4, 1.8]
    )
    points[::2, 2] = -1.8
    points[1::4, 1] = 3.0
    return points, torch.rand(count, 1, generator=generator)


def make_model(student, network="minkunet14a", weights="float32", **changes):
    """The model of a student, and what it says of itself."""
    settled = {
        **ABOUT,
        **{"network": network, "weights": weights, "by_classifier": student.classifier is not None},
        **{"at_corners": network == "spvcnn-corners", **changes},
    }
    about, prompts = About(**settled), make_prompts()
    alone = Prompts(NAMES, NAMES, torch.arange(len(NAMES)), prompts.embeddings)
    return build_model(student, about, alone, choose(about, about.prompts, about.background)), about


def open_session(model, threads=1):
    """A session of onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
