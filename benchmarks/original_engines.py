"""Run published networks on the engines they were written for, beside ours.

With random weights and a random cloud, and with the engine that is named installed beside this package:

    python benchmarks/original_engines.py minkowski --write tests/data/engines   # small, stored
    python benchmarks/original_engines.py minkowski --full                       # of the published width

Networks: ``minkowski`` (Res16UNet34C, needs MinkowskiEngine 0.5.4), ``minkowski-stem5`` (MinkUNet14A with a
stem of edge 5), ``torchsparse`` (SPVNAS's MinkUNet, needs torchsparse 1.4.0), ``spvcnn`` (CLIP2Scene's
SPVCNN, likewise) and ``spconv`` (Pointcept's SpUNet, needs spconv 2). Each is written down in ``engines/``
anew, from its published description, with the layers' names as in the published files.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from clip2scene.student import CornerSPVCNN, MinkUNet
from clip2scene.student.published import Loaded, load_published

NETWORKS = ("minkowski", "minkowski-stem5", "torchsparse", "spvcnn", "spconv")
LAYERS_14, LAYERS_34 = (1,) * 8, (2, 3, 4, 6, 2, 2, 2, 2)
PLANES_14A = (32, 64, 128, 256, 128, 128, 96, 96)
PLANES_34C = (32, 64, 128, 256, 256, 128, 96, 96)
SMALL_PLANES = (4, 5, 6, 8, 7, 6, 5, 4)  # all a little different: a wrong order cannot fit
CHANNELS = {"minkowski": 1, "minkowski-stem5": 3, "torchsparse": 4, "spvcnn": 1, "spconv": 4}


def build_pair(network: str, *, full: bool) -> tuple[nn.Module, nn.Module]:
    """Build theirs and ours, small or as published; one voxel is one unit of length."""
    channels, stem = CHANNELS[network], 32 if full else 3
    if network in ("torchsparse", "spvcnn"):
        from engines import on_torchsparse

        width = 1.0 if full else 0.05
        widths = tuple(round(width * each) for each in (32, *PLANES_34C))
        if network == "spvcnn":
            return on_torchsparse.SPVCNN(channels, widths), CornerSPVCNN(channels, width, voxel_size=1.0)
        ours = MinkUNet(
            channels, (2,) * 8, widths[1:], voxel_size=1.0, stem_channels=widths[0], stem_layers=2
        )
        return on_torchsparse.MinkUNet(channels, widths), ours
    layers, planes = (LAYERS_14, PLANES_14A) if network == "minkowski-stem5" else (LAYERS_34, PLANES_34C)
    planes = planes if full else SMALL_PLANES
    edge = 3 if network == "minkowski" else 5
    ours = MinkUNet(
        channels,
        layers,
        planes,
        voxel_size=1.0,
        stem_channels=stem,
        stem_kernel=edge,
        widens_first=network == "spconv",
    )
    if network == "spconv":
        from engines import on_spconv

        return on_spconv.SpUNet(channels, layers, planes, stem=stem), ours
    from engines import on_minkowski

    return on_minkowski.Res16UNet(channels, layers, planes, stem=stem, edge=edge), ours


def randomise(net: nn.Module, generator: torch.Generator) -> None:
    """Fill a network with numbers that half precision holds exactly and that keep signals of one size."""
    for name, tensor in net.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            noise = 1 + 0.2 * noise.abs()
        elif tensor.ndim < 2:
            noise = 0.1 * noise
        else:
            noise = noise / (tensor.numel() / max(tensor.shape)) ** 0.5
        if tensor.is_floating_point():
            tensor.copy_(noise.half())


def make_cloud(
    count: int, channels: int, generator: torch.Generator, *, negative: bool
) -> tuple[Tensor, Tensor]:
    """Scatter voxels thickly around a few places, in two clouds; some coordinates negative if asked for."""
    places = torch.randint(-30, 30, (8, 3), generator=generator)
    spread = torch.randn(2 * count, 3, generator=generator) * 2.5
    cells = (places[torch.randint(0, 8, (2 * count,), generator=generator)] + spread).floor().long()
    if not negative:
        cells = cells - cells.min(0).values
    batch = torch.randint(0, 2, (2 * count, 1), generator=generator)
    coordinates = torch.unique(torch.cat([batch, cells], dim=1), dim=0)
    chosen = torch.randperm(len(coordinates), generator=generator)[:count]
    return coordinates[chosen], torch.rand(len(chosen), channels, generator=generator).half().float()


def load_through_file(state: dict[str, Tensor], ours: nn.Module) -> Loaded:
    """Give ours the weights of theirs, by way of a file."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "weights.pt")
        return load_published(Path(folder) / "weights.pt", ours, brightest=1.0)


@torch.inference_mode()
def compare(network: str, *, full: bool, write: Path | None) -> None:
    """Run both, print how far they are apart, and store the small one if asked for."""
    generator = torch.Generator().manual_seed(0)
    theirs, ours = build_pair(network, full=full)
    randomise(theirs, generator)
    theirs.eval()
    ours.eval()
    count, negative = 20_000 if full else 300, network.startswith("minkowski")
    coordinates, features = make_cloud(count, CHANNELS[network], generator, negative=negative)
    expected, answer = theirs(coordinates, features)
    state = theirs.state_dict()
    if network == "torchsparse":  # published files hold these layers too, and never ran them
        state = {
            name: torch.zeros_like(tensor) if name.startswith("point") and "mean" in name else tensor
            for name, tensor in state.items()
        }
    loaded = load_through_file(state, ours)
    print(loaded.describe())
    got = ours(coordinates[:, 1:] + 0.5, features, coordinates[:, 0])
    (head,) = loaded.heads.values()
    answered = nn.functional.linear(got, head.weight, head.bias)
    for what, one, other in (("backbone", got, expected), ("head", answered, answer)):
        print(
            f"{network} {what}: {len(coordinates)} voxels, {other.shape[1]} channels, largest value "
            f"{float(other.abs().max()):.3g}, largest difference {float((one - other).abs().max()):.2g}"
        )
    if write is not None:
        about = {"coordinates": coordinates.short(), "features": features}
        about |= {"expected": expected.contiguous(), "answer": answer.contiguous()}
        halves = {
            f"state/{name}": tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
        write.mkdir(parents=True, exist_ok=True)
        save_file(about | halves, write / f"{network}.safetensors")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--full", action="store_true", help="the published width")
    parser.add_argument("--write", type=Path, help="folder to store the small network and its answer in")
    arguments = parser.parse_args()
    compare(arguments.network, full=arguments.full, write=arguments.write)


if __name__ == "__main__":
    main()
