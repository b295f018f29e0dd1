"""Run published networks on the engines they were written for, beside ours.

With random weights and a random cloud, and with the engine that is named installed beside this package:

    python benchmarks/original_engines.py minkowski --write tests/data/engines   # small, stored
    python benchmarks/original_engines.py minkowski --full                       # of the published width

Networks: ``minkowski`` (Res16UNet34C, needs MinkowskiEngine 0.5.4), ``minkowski-stem5`` (Res16UNet14A with
a stem of edge 5), ``torchsparse`` (SPVNAS's MinkUNet, needs torchsparse 1.4.0), ``spvcnn`` (CLIP2Scene's
SPVCNN, likewise) and ``spconv`` (Pointcept's SpUNet, needs spconv 2). Each is written down here anew, from
its published description, with the layers' names as in the published files.
"""

import argparse
import importlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from clip2scene.student import CornerSPVCNN, MinkUNet
from clip2scene.student.published import load_published

Forward = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From (batch, x, y, z) and features of voxels to what precedes the head, and to the head's answer."""

LAYERS_34 = (2, 3, 4, 6, 2, 2, 2, 2)
PLANES_34C = (32, 64, 128, 256, 256, 128, 96, 96)
SMALL_PLANES = (4, 5, 6, 8, 7, 6, 5, 4)  # all a little different: a wrong order cannot fit


@dataclass(frozen=True)
class Case:
    """A network on its engine and what ours is called with to match it.

    Attributes:
        theirs: Their network; its parameters are the file's.
        forward: Runs it on voxels.
        kind: Our class.
        options: What ours is built with.
    """

    theirs: nn.Module
    forward: Forward
    kind: type[nn.Module]
    options: dict[str, Any]


def unet_options(layers: tuple[int, ...], planes: tuple[int, ...], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Say how our MinkUNet is built; one voxel is one unit of length."""
    return {"layers": list(layers), "planes": list(planes), "voxel_size": 1.0, **more}


# MinkowskiEngine ---------------------------------------------------------------------------------------


def minkowski_case(
    planes: tuple[int, ...], layers: tuple[int, ...], *, stem: int, edge: int, channels: int
) -> Case:
    """Res16UNet of the given widths."""
    engine = importlib.import_module("MinkowskiEngine")
    net = nn.Module()

    def conv(source: int, target: int, edge: int, stride: int = 1, *, up: bool = False) -> nn.Module:
        kind = engine.MinkowskiConvolutionTranspose if up else engine.MinkowskiConvolution
        return kind(source, target, kernel_size=edge, stride=stride, dimension=3)

    def block(source: int, target: int) -> nn.Module:
        made = nn.Module()
        made.conv1, made.norm1 = conv(source, target, 3), engine.MinkowskiBatchNorm(target)
        made.conv2, made.norm2 = conv(target, target, 3), engine.MinkowskiBatchNorm(target)
        if source != target:
            made.downsample = nn.Sequential(conv(source, target, 1), engine.MinkowskiBatchNorm(target))
        return made

    def chain(source: int, target: int, count: int) -> nn.Sequential:
        return nn.Sequential(*(block(target if number else source, target) for number in range(count)))

    net.conv0p1s1, net.bn0 = conv(channels, stem, edge), engine.MinkowskiBatchNorm(stem)
    widths = [stem, *planes[:4]]
    for stage in range(4):
        setattr(net, f"conv{stage + 1}p{2**stage}s2", conv(widths[stage], widths[stage], 2, 2))
        setattr(net, f"bn{stage + 1}", engine.MinkowskiBatchNorm(widths[stage]))
        setattr(net, f"block{stage + 1}", chain(widths[stage], widths[stage + 1], layers[stage]))
    width = planes[3]
    for stage in range(4, 8):
        name = f"{stage}p{2 ** (8 - stage)}s2"
        setattr(net, f"convtr{name}", conv(width, planes[stage], 2, 2, up=True))
        setattr(net, f"bntr{stage}", engine.MinkowskiBatchNorm(planes[stage]))
        beside = widths[7 - stage]
        setattr(net, f"block{stage + 1}", chain(planes[stage] + beside, planes[stage], layers[stage]))
        width = planes[stage]
    net.final = engine.MinkowskiConvolution(width, 5, kernel_size=1, bias=True, dimension=3)
    relu = engine.MinkowskiReLU()

    def run_blocks(blocks: nn.Sequential, out: Any) -> Any:  # noqa: ANN401 - the engine's tensor
        for each in blocks:
            carried = each.downsample(out) if hasattr(each, "downsample") else out
            inner = relu(each.norm1(each.conv1(out)))
            out = relu(each.norm2(each.conv2(inner)) + carried)
        return out

    def forward(coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        voxels = engine.SparseTensor(features, coordinates=coordinates.int())
        out = relu(net.bn0(net.conv0p1s1(voxels)))
        skips = []
        for stage in range(1, 5):
            skips.append(out)
            down = getattr(net, f"conv{stage}p{2 ** (stage - 1)}s2")
            out = run_blocks(getattr(net, f"block{stage}"), relu(getattr(net, f"bn{stage}")(down(out))))
        for stage in range(4, 8):
            up = getattr(net, f"convtr{stage}p{2 ** (8 - stage)}s2")
            out = engine.cat(relu(getattr(net, f"bntr{stage}")(up(out))), skips.pop())
            out = run_blocks(getattr(net, f"block{stage + 1}"), out)
        place = {tuple(each): row for row, each in enumerate(out.C.tolist())}
        rows = [place[tuple(each)] for each in coordinates.tolist()]
        return out.F[rows], net.final(out).F[rows]

    options = unet_options(layers, planes, in_channels=channels, stem_channels=stem, stem_kernel=edge)
    return Case(net, forward, MinkUNet, options)


# torchsparse -------------------------------------------------------------------------------------------


def torchsparse_case(widths: tuple[int, ...], *, channels: int, with_points: bool, width: float) -> Case:
    """SPVNAS's MinkUNet, or CLIP2Scene's SPVCNN; ``widths`` are of the stem and of the eight stages."""
    engine = importlib.import_module("torchsparse")
    layer = importlib.import_module("torchsparse.nn")
    net = nn.Module()

    def conv(source: int, target: int, edge: int = 3, **more: Any) -> list[nn.Module]:  # noqa: ANN401
        return [layer.Conv3d(source, target, kernel_size=edge, **more), layer.BatchNorm(target)]

    def step(source: int, target: int, *, up: bool = False) -> nn.Module:
        made = nn.Module()
        made.net = nn.Sequential(*conv(source, target, 2, stride=2, transposed=up), layer.ReLU())
        return made

    def block(source: int, target: int) -> nn.Module:
        made = nn.Module()
        made.net = nn.Sequential(*conv(source, target), layer.ReLU(), *conv(target, target))
        made.downsample = nn.Sequential(*(conv(source, target, 1) if source != target else []))
        return made

    def blocks(source: int, target: int) -> list[nn.Module]:
        return [block(source, target), block(target, target)]

    net.stem = nn.Sequential(
        *conv(channels, widths[0]), layer.ReLU(), *conv(widths[0], widths[0]), layer.ReLU()
    )
    for number in range(4):
        source, target = widths[number], widths[number + 1]
        setattr(net, f"stage{number + 1}", nn.Sequential(step(source, source), *blocks(source, target)))
    for number in range(4):
        source, target, beside = widths[4 + number], widths[5 + number], widths[3 - number]
        refine = nn.Sequential(*blocks(target + beside, target))
        setattr(net, f"up{number + 1}", nn.ModuleList([step(source, target, up=True), refine]))
    ends = (widths[0], widths[4], widths[6], widths[8])
    net.point_transforms = nn.ModuleList(
        nn.Sequential(nn.Linear(source, target), nn.BatchNorm1d(target), nn.ReLU())
        for source, target in zip(ends[:-1], ends[1:], strict=True)
    )
    net.classifier = nn.Sequential(nn.Linear(sum(ends[1:]) if with_points else widths[8], 5))
    relu = layer.ReLU()

    def refine(chain: Any, out: Any) -> Any:  # noqa: ANN401 - the engine's tensor
        for each in chain:
            out = relu(each.net(out) + each.downsample(out)) if hasattr(each, "downsample") else each.net(out)
        return out

    def ascend(number: int, out: Any, skip: Any) -> Any:  # noqa: ANN401 - the engine's tensors
        up, chain = getattr(net, f"up{number}")
        return refine(chain, engine.cat([up.net(out), skip]))

    def descend(coordinates: Tensor, features: Tensor) -> list[Any]:
        batch_last = coordinates[:, [1, 2, 3, 0]].int()
        stages = [net.stem(engine.SparseTensor(features, batch_last))]
        for number in range(1, 5):
            stages.append(refine(getattr(net, f"stage{number}"), stages[-1]))
        return stages

    def forward(coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        stages = descend(coordinates, features)
        out = stages.pop()
        for number in range(1, 5):
            out = ascend(number, out, stages.pop())
        return out.F, net.classifier(out.F)

    def forward_points(coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        stages = descend(coordinates, features)
        points = coordinates[:, [1, 2, 3, 0]].float()
        at_points = torchsparse_to_points(stages[0], points)
        out = stages.pop()
        depths = []
        for number, transform in enumerate(net.point_transforms):
            at_points = torchsparse_to_points(out, points) + transform(at_points)
            depths.append(at_points)
            if number < 2:
                out = torchsparse_to_voxels(at_points, points, out)
                for ascent in (1 + 2 * number, 2 + 2 * number):
                    out = ascend(ascent, out, stages.pop())
        out = torch.cat(depths, dim=1)
        return out, net.classifier(out)

    if with_points:
        options = {"in_channels": channels, "width": width, "voxel_size": 1.0}
        return Case(net, one_by_one(forward_points), CornerSPVCNN, options)
    options = unet_options((2,) * 8, widths[1:], in_channels=channels, stem_channels=widths[0], stem_layers=2)
    return Case(net, one_by_one(forward), MinkUNet, options)


def one_by_one(forward: Forward) -> Forward:
    """Run each cloud of a batch alone: on the CPU, torchsparse 1.4.0 looks all up in the first one."""

    def run(coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        rows = [torch.nonzero(coordinates[:, 0] == item)[:, 0] for item in coordinates[:, 0].unique()]
        outs, answers = zip(*(forward(coordinates[each], features[each]) for each in rows), strict=True)
        order = torch.argsort(torch.cat(rows))
        return torch.cat(outs)[order], torch.cat(answers)[order]

    return run


def torchsparse_to_points(voxels: Any, points: Tensor) -> Tensor:  # noqa: ANN401 - the engine's tensor
    """Interpolate at points with the engine's own functions, as SPVNAS uses them."""
    of = importlib.import_module("torchsparse.nn.functional")
    edge = voxels.s[0]
    corners = importlib.import_module("torchsparse.nn.utils").get_kernel_offsets(2, voxels.s, 1)
    wanted = of.sphash(own_cells(points, edge), corners)
    rows = of.sphashquery(wanted, of.sphash(voxels.C))
    weights = of.calc_ti_weights(points, rows, scale=edge)
    return of.spdevoxelize(voxels.F, rows.t().contiguous(), weights.t().contiguous())


def torchsparse_to_voxels(features: Tensor, points: Tensor, voxels: Any) -> Any:  # noqa: ANN401
    """Average points in voxels with the engine's own functions, as SPVNAS uses them."""
    of = importlib.import_module("torchsparse.nn.functional")
    rows = of.sphashquery(of.sphash(own_cells(points, voxels.s[0])), of.sphash(voxels.C))
    counts = of.spcount(rows.int(), len(voxels.C))
    made = type(voxels)(of.spvoxelize(features, rows, counts), voxels.C, voxels.s)
    made.cmaps, made.kmaps = voxels.cmaps, voxels.kmaps
    return made


def own_cells(points: Tensor, edge: int) -> Tensor:
    """Return the corner of each point's cell, and its batch."""
    return torch.cat([(points[:, :3] / edge).floor().int() * edge, points[:, 3:].int()], dim=1)


# spconv ------------------------------------------------------------------------------------------------


def spconv_case(planes: tuple[int, ...], layers: tuple[int, ...], *, stem: int, channels: int) -> Case:
    """Pointcept's SpUNet of the given widths."""
    engine = importlib.import_module("spconv.pytorch")
    native = importlib.import_module("spconv.core").ConvAlgo.Native  # the one that runs without a GPU

    def norm(width: int) -> nn.Module:
        return nn.BatchNorm1d(width, eps=1e-3)

    def same(source: int, target: int, edge: int, key: str | None) -> nn.Module:
        more = {"bias": False, "indice_key": key, "algo": native}
        return engine.SubMConv3d(source, target, edge, padding=1, **more)

    def block(source: int, target: int, key: str) -> nn.Module:
        made = nn.Module()
        made.conv1, made.bn1 = same(source, target, 3, key), norm(target)
        made.conv2, made.bn2 = same(target, target, 3, key), norm(target)
        if source != target:
            made.proj = engine.SparseSequential(same(source, target, 1, None), norm(target))
        return made

    def chain(source: int, target: int, count: int, key: str) -> nn.Module:
        made = nn.Module()
        for number in range(count):
            setattr(made, f"block{number}", block(target if number else source, target, key))
        return made

    net, relu = nn.Module(), nn.ReLU()
    net.conv_input = engine.SparseSequential(same(channels, stem, 5, "stem"), norm(stem), relu)
    net.down, net.enc, net.up, net.dec = (nn.ModuleList() for _ in range(4))
    widths = [stem, *planes[:4]]
    for stage in range(4):
        source, target, key = widths[stage], widths[stage + 1], f"step{stage}"
        more = {"bias": False, "indice_key": key, "algo": native}
        going_down = engine.SparseConv3d(source, target, 2, stride=2, **more)
        net.down.append(engine.SparseSequential(going_down, norm(target), relu))
        net.enc.append(chain(target, target, layers[stage], f"level{stage + 1}"))
        below, out = planes[6 - stage], planes[7 - stage]
        going_up = engine.SparseInverseConv3d(below, out, 2, indice_key=key, bias=False, algo=native)
        net.up.append(engine.SparseSequential(going_up, norm(out), relu))
        net.dec.append(chain(out + source, out, layers[7 - stage], f"level{stage}"))
    net.final = engine.SubMConv3d(planes[7], 5, kernel_size=1, bias=True, algo=native)

    def refine(blocks: nn.Module, out: Any) -> Any:  # noqa: ANN401 - the engine's tensor
        for each in blocks.children():
            carried = each.proj(out).features if hasattr(each, "proj") else out.features
            inner = each.conv1(out)
            inner = each.conv2(inner.replace_feature(relu(each.bn1(inner.features))))
            out = inner.replace_feature(relu(each.bn2(inner.features) + carried))
        return out

    def forward(coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        shape = (coordinates[:, 1:].max(0).values + 96).tolist()
        count = int(coordinates[:, 0].max()) + 1
        out = net.conv_input(engine.SparseConvTensor(features, coordinates.int(), shape, count))
        skips = []
        for stage in range(4):
            skips.append(out)
            out = refine(net.enc[stage], net.down[stage](out))
        for stage in reversed(range(4)):
            out, skip = net.up[stage](out), skips.pop()
            out = refine(net.dec[stage], out.replace_feature(torch.cat([out.features, skip.features], 1)))
        return out.features, net.final(out).features

    options = unet_options(
        layers, planes, in_channels=channels, stem_channels=stem, stem_kernel=5, widens_first=True
    )
    return Case(net, forward, MinkUNet, options)


# The comparison ----------------------------------------------------------------------------------------


def build_case(network: str, *, full: bool) -> Case:
    """Build one of the networks, small or as published."""
    planes, stem = (PLANES_34C, 32) if full else (SMALL_PLANES, 3)
    if network == "minkowski":
        return minkowski_case(planes, LAYERS_34, stem=stem, edge=3, channels=1)
    if network == "minkowski-stem5":
        planes = (32, 64, 128, 256, 128, 128, 96, 96) if full else planes
        return minkowski_case(planes, (1,) * 8, stem=stem, edge=5, channels=3)
    if network == "spconv":
        return spconv_case(planes, LAYERS_34, stem=stem, channels=4)
    width = 1.0 if full else 0.05
    widths = tuple(round(width * each) for each in (32, 32, 64, 128, 256, 256, 128, 96, 96))
    points = network == "spvcnn"
    return torchsparse_case(widths, channels=1 if points else 4, with_points=points, width=width)


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


@torch.inference_mode()
def compare(network: str, *, full: bool, write: Path | None) -> None:
    """Run both, print how far they are apart, and store the small one if asked for."""
    generator = torch.Generator().manual_seed(0)
    case = build_case(network, full=full)
    randomise(case.theirs, generator)
    case.theirs.eval()
    channels = case.options["in_channels"]
    count = 20_000 if full else 300
    coordinates, features = make_cloud(count, channels, generator, negative=network.startswith("minkowski"))
    expected, answer = case.forward(coordinates, features)
    state = case.theirs.state_dict()
    if network == "torchsparse":  # published files hold these layers too, and never ran them
        state = {
            name: torch.zeros_like(tensor) if name.startswith("point") and "mean" in name else tensor
            for name, tensor in state.items()
        }
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "weights.pt")
        ours = case.kind(**case.options).eval()
        loaded = load_published(Path(folder) / "weights.pt", ours)
    print(loaded.describe())
    got = ours(coordinates[:, 1:] + 0.5, features, coordinates[:, 0])
    (head,) = loaded.heads.values()
    for what, one, other in (
        ("backbone", got, expected),
        ("head", nn.functional.linear(got, head.weight, head.bias), answer),
    ):
        print(
            f"{network} {what}: {len(coordinates)} voxels, {other.shape[1]} channels, largest value "
            f"{float(other.abs().max()):.3g}, largest difference {float((one - other).abs().max()):.2g}"
        )
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        halves = {
            f"state/{name}": tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
        save_file(
            {
                "coordinates": coordinates.short(),
                "expected": expected.contiguous(),
                "answer": answer.contiguous(),
                "features": features,
                **halves,
            },
            write / f"{network}.safetensors",
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("minkowski", "minkowski-stem5", "torchsparse", "spvcnn", "spconv")
    parser.add_argument("network", choices=names)
    parser.add_argument("--full", action="store_true", help="the published width")
    parser.add_argument("--write", type=Path, help="folder to store the small network and its answer in")
    arguments = parser.parse_args()
    compare(arguments.network, full=arguments.full, write=arguments.write)


if __name__ == "__main__":
    main()
