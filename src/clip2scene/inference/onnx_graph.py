"""A student as a graph of standard ONNX operators (opset 18), built layer by layer.

A sparse convolution is, for each kernel offset, Gather, MatMul and ScatterND with reduction "add". One
ScatterND for all offsets would be fewer nodes, but onnxruntime adds rows with several threads, and two that
meet in one row lose a summand; within an offset no row is met twice. For the same reason the mean of a
voxel's points is a difference of running sums (in float64), not a scatter. Batch normalisation is folded into
the weights. The pairs of voxels are inputs (:mod:`clip2scene.onnx_runner.voxels` names and makes them).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from clip2scene.student.blocks import Ascent, ConvNorm, Descent, ResidualBlock, RowNorm
from clip2scene.student.minkunet import MinkUNet
from clip2scene.student.spvcnn import SPVCNN, PointLayer

OPSET = 18
IR_VERSION = 9  # opset 18 came with 8, and 9 is read by onnxruntime since 1.15

Precision = Literal["float32", "float16", "int8"]
"""How weights are stored; products are in float32 all the same."""


@dataclass(frozen=True)
class Rows:
    """Features of the voxels of a level, by the name of their tensor."""

    name: str
    level: int = 0


class GraphBuilder:
    """Nodes, weights and inputs of a graph that grows.

    Args:
        precision: How weights are stored.
    """

    def __init__(self, precision: Precision = "float32") -> None:
        self.precision = precision
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.inputs: dict[str, onnx.ValueInfoProto] = {}
        self._number = count()
        self._splits: dict[tuple[str, str], list[str]] = {}

    def add(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:  # noqa: ANN401
        """Add a node, and name its first output."""
        names = list(outputs) or [f"{kind.lower()}_{next(self._number)}"]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """Name an input, which is declared when first used."""
        self.inputs.setdefault(name, helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def constant(self, values: Any, name: str = "", kind: type = np.int64) -> str:  # noqa: ANN401 - numbers
        """Store numbers as they are."""
        array: np.ndarray = np.array(values, kind, order="C")
        name = name or f"{array.dtype}_{array.tolist()}"
        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def weight(self, name: str, values: np.ndarray) -> str:
        """Store a matrix of weights, in int8 with a scale for each column; onnxruntime unpacks it once."""
        if self.precision == "float32":
            return self.constant(values, name, np.float32)
        if self.precision == "float16":
            return self.add("Cast", self.constant(values, name, np.float16), to=TensorProto.FLOAT)
        scale = np.maximum(np.abs(values).max(0, keepdims=True), 1e-12) / 127
        stored = self.constant(np.rint(values / scale), name, np.int8)
        whole = self.add("Cast", stored, to=TensorProto.FLOAT)
        return self.add("Mul", whole, self.constant(scale, f"{name}.scale", np.float32))

    def indices(self, name: str, length: int | str) -> str:
        """Name an input of row numbers."""
        return self.input(name, TensorProto.INT64, [length])

    def pairs(self, which: str, end: str, groups: int) -> list[str]:
        """Split an end of a kernel map by offset, once for all layers that use it."""
        if (which, end) not in self._splits:
            rows = self.indices(f"{which}_{end}", f"{which}_pairs")
            counts = self.indices(f"{which}_counts", groups)
            parts = [f"{which}_{end}_{number}" for number in range(groups)]
            self.add("Split", rows, counts, outputs=parts, axis=0)
            self._splits[which, end] = parts
        return self._splits[which, end]

    def column(self, rows: str) -> str:
        """Make row numbers a column, as ScatterND takes them."""
        if (rows, "column") not in self._splits:
            self._splits[rows, "column"] = [self.add("Unsqueeze", rows, self.constant([1]))]
        return self._splits[rows, "column"][0]


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Give a weight as float64."""
    return tensor.detach().cpu().double().numpy()


def fold(norm: RowNorm) -> tuple[np.ndarray, np.ndarray]:
    """Give a batch normalisation as a factor and a summand of each channel."""
    frozen = norm.frozen(relu=False)
    return to_numpy(frozen.scale), to_numpy(frozen.shift)


class StudentGraph(GraphBuilder):
    """Layers of the student, each as nodes."""

    def convolve(self, layer: ConvNorm, at: Rows, name: str) -> Rows:
        """Add a normalised sparse convolution."""
        conv, (factor, summand) = layer.conv, fold(layer.norm)
        offsets, centre = conv.kernel_size**3, conv.kernel_size**3 // 2 if conv.stride == 1 else None
        matrices = (to_numpy(conv.weight) * factor).reshape(-1, conv.out_channels)
        weights = [self.weight(f"{name}.weight", matrices)]
        bias = self.constant(summand, f"{name}.bias", np.float32)
        if offsets > 1:
            parts = [f"{name}.weight.{number}" for number in range(offsets)]
            self.add("Split", weights[0], outputs=parts, axis=0, num_outputs=offsets)
            weights = parts
        level = at.level + (0 if centre is not None else -1 if conv.transposed else 1)
        if centre is not None:
            out, which = (
                self.add("Gemm", at.name, weights.pop(centre), bias),
                f"near_{level}_{conv.kernel_size}",
            )
        else:
            which = f"down_{min(level, at.level)}"
            shape = self.add("Concat", self.count(level), self.constant([conv.out_channels]), axis=0)
            out = self.add("Expand", bias, shape)
        if offsets > 1:
            ends = ("targets", "sources") if conv.transposed else ("sources", "targets")
            sources, targets = (self.pairs(which, end, len(weights)) for end in ends)
            for weight, source, target in zip(weights, sources, targets, strict=True):
                product = self.add("MatMul", self.add("Gather", at.name, source), weight)
                out = self.add("ScatterND", out, self.column(target), product, reduction="add")
        return Rows(self.add("Relu", out) if layer.relu else out, level)

    def count(self, level: int) -> str:
        """Count the voxels of a level, as a shape of one dimension."""
        key = (f"voxels_{level}", "count")
        if key not in self._splits:
            if level:  # every voxel is the parent of one at least
                finer = f"down_{level - 1}"
                last = self.add("ReduceMax", self.indices(f"{finer}_targets", f"{finer}_pairs"))
                found = self.add("Add", last, self.constant([1]))
            else:
                found = self.add("Shape", self.indices("mean_0_last", "voxels_0"))
            self._splits[key] = [self.add("Reshape", found, self.constant([1]))]
        return self._splits[key][0]

    def chain(self, layers: nn.Module, at: Rows, name: str) -> Rows:
        """Add layers one after another."""
        if isinstance(layers, nn.Sequential):
            for number, layer in enumerate(layers):
                at = self.chain(layer, at, f"{name}.{number}")
            return at
        if isinstance(layers, ConvNorm):
            return self.convolve(layers, at, name)
        if isinstance(layers, ResidualBlock):
            short = at if layers.shortcut is None else self.convolve(layers.shortcut, at, f"{name}.shortcut")
            out = self.convolve(layers.first, at, f"{name}.first")
            out = self.convolve(layers.second, out, f"{name}.second")
            return Rows(self.add("Relu", self.add("Add", out.name, short.name)), at.level)
        if isinstance(layers, Descent):
            return self.chain(layers.blocks, self.convolve(layers.down, at, f"{name}.down"), f"{name}.blocks")
        raise ValueError(
            f"{type(layers).__name__} has no form in ONNX yet; export a run with another network"
        )

    def ascend(self, layer: Ascent, at: Rows, skip: Rows, name: str) -> Rows:
        """Add a decoder stage."""
        up = self.convolve(layer.up, at, f"{name}.up")
        both = self.add("Concat", up.name, skip.name, axis=1)
        return self.chain(layer.blocks, Rows(both, up.level), f"{name}.blocks")

    def mean(self, points: str, level: int, length: str = "points") -> Rows:
        """Average the points of each voxel: differences of running sums, exact enough in float64."""
        order = self.indices(f"mean_{level}_order", length)
        last = self.indices(f"mean_{level}_last", f"voxels_{level}")
        rows = self.add("Cast", self.add("Gather", points, order), to=TensorProto.DOUBLE)
        sums = self.add("Gather", self.add("CumSum", rows, self.constant(0)), last)
        ends = self.add("Unsqueeze", self.add("Cast", last, to=TensorProto.DOUBLE), self.constant([1]))
        ends = self.add("Add", ends, self.constant(1, "one", np.float64))
        of_voxel = self.add("Div", self._steps(sums), self._steps(ends))
        return Rows(self.add("Cast", of_voxel, to=TensorProto.FLOAT), level)

    def _steps(self, sums: str) -> str:
        """Take from each row the one before it; from the first, nothing."""
        before = self.add("Slice", sums, self.constant([0]), self.constant([-1]), self.constant([0]))
        return self.add("Sub", sums, self.add("Pad", before, self.constant([1, 0, 0, 0])))

    def interpolate(self, at: Rows, length: str) -> str:
        """Give each point the features of the eight voxels around it."""
        which, parts = f"around_{at.level}", range(8)
        key = (which, "corners")
        if key not in self._splits:
            rows = self.input(f"{which}_rows", TensorProto.INT64, [length, 8])
            shares = self.input(f"{which}_weights", TensorProto.FLOAT, [length, 8])
            named = [[f"{each}_{number}" for number in parts] for each in (rows, shares)]
            self.add("Split", rows, outputs=named[0], axis=1, num_outputs=8)
            self.add("Split", shares, outputs=named[1], axis=1, num_outputs=8)
            flat = [self.add("Squeeze", each, self.constant([1])) for each in named[0]]
            self._splits[key] = [*flat, *named[1]]
        names = self._splits[key]
        terms = [self.add("Mul", self.add("Gather", at.name, names[k]), names[8 + k]) for k in parts]
        return self.add("Sum", *terms)

    def point_layer(self, layer: PointLayer, points: str, name: str) -> str:
        """Add a layer of the point branch."""
        factor, summand = fold(layer.norm)
        matrix = self.weight(f"{name}.weight", to_numpy(layer.linear.weight).T * factor)
        bias = to_numpy(layer.linear.bias) * factor + summand
        out = self.add("Gemm", points, matrix, self.constant(bias, f"{name}.bias", np.float32))
        return self.add("Relu", out)

    def backbone(self, network: nn.Module, in_channels: int) -> str:
        """Add a whole network; gives the features of each point.

        Raises:
            ValueError: If there is no such form of this network.
        """
        features = self.input("features", TensorProto.FLOAT, ["points", in_channels])
        if not isinstance(network, (MinkUNet, SPVCNN)):
            raise ValueError(
                f"{type(network).__name__} has no form in ONNX yet; export a run with another network"
            )
        stages = [self.chain(network.stem, self.mean(features, 0), "stem")]
        voxel_of_point = self.indices("voxel_of_point", "points")
        if isinstance(network, SPVCNN):
            return self._spvcnn(network, stages, voxel_of_point)
        out = self._descend(network.descents, stages)
        for number, layer in enumerate(network.ascents):
            assert isinstance(layer, Ascent)
            out = self.ascend(layer, out, stages.pop(), f"ascents.{number}")
        return self.add("Gather", out.name, voxel_of_point)

    def _descend(self, layers: nn.ModuleList, stages: list[Rows]) -> Rows:
        """Add the encoder; what the decoder meets again is left in ``stages``."""
        for number, layer in enumerate(layers):
            stages.append(self.chain(layer, stages[-1], f"descents.{number}"))
        return stages.pop()

    def _spvcnn(self, network: SPVCNN, stages: list[Rows], voxel_of_point: str) -> str:
        """Add SPVCNN after its stem."""
        length = "voxels_0" if network.at_corners else "points"
        at_points = self.interpolate(stages[0], length)
        out = self._descend(network.descents, stages)
        depths: list[str] = []
        for number, layer in enumerate(network.point_layers):
            assert isinstance(layer, PointLayer)
            of_points = self.point_layer(layer, at_points, f"point_layers.{number}")
            at_points = self.add("Add", self.interpolate(out, length), of_points)
            depths.append(at_points)
            if number < 2:
                out = self.mean(at_points, out.level, length)
                for stage in (2 * number, 2 * number + 1):
                    ascent = network.ascents[stage]
                    assert isinstance(ascent, Ascent)
                    out = self.ascend(ascent, out, stages.pop(), f"ascents.{stage}")
        every = self.add("Concat", *depths, axis=1)
        return self.add("Gather", every, voxel_of_point) if network.at_corners else every
