"""Put the weights of a published checkpoint into a network of ours."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip2scene.student.blocks import ConvNorm
from clip2scene.student.minkunet import MinkUNet
from clip2scene.student.published.archive import read_archive, settings, tensor_groups
from clip2scene.student.published.layout import Layout
from clip2scene.student.published.minkowski import MINKOWSKI
from clip2scene.student.published.spconv import SPCONV
from clip2scene.student.published.torchsparse import TORCHSPARSE
from clip2scene.student.spvcnn import SPVCNN, PointLayer

LAYOUTS = (MINKOWSKI, TORCHSPARSE, SPCONV)
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_SHOWN = 3  # faults of each kind that a sentence names; a list below it has them all


@dataclass(frozen=True)
class Head:
    """A linear layer that follows the backbone in the file, as ``nn.Linear`` keeps it.

    Attributes:
        weight: One row per output.
        bias: One number per output; zeros where the file has none.
    """

    weight: Float[Tensor, "outputs channels"]
    bias: Float[Tensor, " outputs"]


@dataclass(frozen=True)
class Loaded:
    """What came of a file.

    Attributes:
        layout: Whose way of naming weights it follows.
        tensors: How many tensors of the backbone were loaded: all that it has.
        heads: The layers that follow the backbone in the file, by name. They are NOT part of the backbone;
            take one for a head of your own, or leave them.
        left_out: What else the file holds: other networks, text embeddings, layers that were never used.
        settings: What the file says of its training, where it keeps that under ``config``.
        notes: Sentences on what differs between this network and the file's in spite of equal weights.
    """

    layout: str
    tensors: int
    heads: dict[str, Head] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say it in a few lines, fit for a log."""
        lines = [f"{self.tensors} tensors loaded, layout {self.layout}"]
        lines += [f"head {name}, {tuple(head.weight.shape)}: not loaded" for name, head in self.heads.items()]
        lines += [f"left out: {what}" for what in self.left_out]
        return "\n".join([*lines, *self.notes])


def load_published(path: Path, backbone: nn.Module, *, brightest: float | None = None) -> Loaded:
    """Fill a backbone with the weights of a published checkpoint; all of them, or none.

    A network whose one input is an intensity of 0..255 gets a stem of 255 times the weights: it gives for our
    intensities, 0..1, what it gave for its own.

    Args:
        path: A torch archive (or safetensors file) that holds a state dict in one of the layouts known here,
            alone or under any name, with or without a prefix such as ``module.``.
        backbone: A ``MinkUNet`` or ``SPVCNN`` of the file's blocks, widths, stem and input channels.
        brightest: Largest intensity that the file's network was trained on. None takes 255 for networks of
            one channel on MinkowskiEngine or torchsparse (SLidR's, CLIP2Scene's), unless the file names
            KITTI as its data; and 1 for all others.

    Returns:
        What was loaded and what was not.

    Raises:
        ValueError: If the file is unreadable, holds no such network or several, or does not fit: tensors
            missing, unknown, of another shape or not finite are counted and all of them named. The backbone
            is unchanged then.
    """
    path = Path(path)
    content = read_archive(path)
    layout, state, left_out = _find_network(path, content)
    heads, spare = _split_off(layout, state)
    names = dict(_names(layout, backbone, path))
    spare += _drop_idle(layout, state, names)
    weights, faults = _fit(layout, state, backbone.state_dict(), names)
    if faults:
        said = "; ".join(f"{len(found)} {kind} ({_first(found)})" for kind, found in faults.items())
        raise ValueError(
            f"{path} ({layout.title}) does not fit this {type(backbone).__name__}: tensors {said}; build the "
            "student with the blocks, widths, stem and input channels of the file's network" + _all(faults)
        )
    config = settings(content)
    factor = _intensity_factor(layout, config, backbone) if brightest is None else brightest
    weights[_stem(weights)] *= factor
    backbone.load_state_dict(weights)
    notes = (*_notes(config, backbone), *_notes_on_intensity(factor, config))
    return Loaded(layout.title, len(weights), heads, (*left_out, *spare), config, notes)


def _stem(weights: Mapping[str, Tensor]) -> str:
    """Name the convolution that sees the input."""
    return next(name for name in ("stem.conv.weight", "stem.0.conv.weight") if name in weights)


def _intensity_factor(layout: Layout, said: Mapping[str, Any], backbone: nn.Module) -> float:
    """Say how much brighter the file's intensities are than ours."""
    one_channel = backbone.state_dict()[_stem(backbone.state_dict())].shape[1] == 1
    return layout.brightest if one_channel and not _is_kitti(said) else 1.0


def _is_kitti(said: Mapping[str, Any]) -> bool:
    """Tell whether a file says that it was trained on KITTI, whose intensities are 0..1."""
    return "kitti" in str(said.get("dataset", "")).lower()


def _notes_on_intensity(factor: float, said: Mapping[str, Any]) -> Iterator[str]:
    if factor != 1:
        yield (
            f"the file's network saw intensities of 0..{factor:g}, here they are 0..1: its first convolution "
            f"was multiplied by {factor:g}"
        )
    elif _is_kitti(said):
        yield "the file's network was trained on KITTI, whose intensities are 0..1 as here"


def _find_network(path: Path, content: Mapping[Any, Any]) -> tuple[Layout, dict[str, Tensor], list[str]]:
    """Find the one network of a known layout; return it without its prefix, and say what else is there."""
    groups = list(tensor_groups(content))
    found = [
        (layout, where, name.removesuffix(layout.anchor))
        for where, tensors in groups
        for name in tensors
        for layout in LAYOUTS
        if name == layout.anchor or name.endswith(f".{layout.anchor}")
    ]
    if len(found) != 1:
        anchors = ", ".join(f"{layout.anchor} ({layout.title})" for layout in LAYOUTS)
        got = ", ".join(f"{where}{prefix}*" for _, where, prefix in found)
        names = [f"{where}{name}" for where, tensors in groups for name in tensors]
        raise ValueError(
            f"{path}: expected one network with a tensor named {anchors}, got "
            + (f"{len(found)}: {got}; save one of them alone" if found else f"none among {_first(names)}")
        )
    layout, where, prefix = found[0]
    state, others = {}, Counter[str]()
    for place, tensors in groups:
        for name, tensor in tensors.items():
            if place == where and name.startswith(prefix):
                state[name.removeprefix(prefix)] = tensor
            else:
                others[f"{place}{name}".split(".")[0] if place == where else place.split("/")[0]] += 1
    return layout, state, [f"{name} ({number} tensors)" for name, number in others.items()]


def _split_off(layout: Layout, state: dict[str, Tensor]) -> tuple[dict[str, Head], list[str]]:
    """Take the heads, and what is no part of any network, out of the state."""
    parts = {name: tensor for name, tensor in state.items() if name.split(".")[0] in layout.heads}
    spare = [name for name in state if name.split(".")[0] in layout.spare]
    heads = {}
    for name, weight in parts.items():
        path, _, kind = name.rpartition(".")
        matrix = layout.to_matrix(weight.float()) if kind in ("weight", "kernel") else None
        if matrix is not None and matrix.isfinite().all():
            bias = parts.get(f"{path}.bias", matrix.new_zeros(len(matrix)))
            heads[path] = Head(matrix.contiguous(), bias.float().flatten())
    spare += [name for name in parts if name.rpartition(".")[0] not in heads]
    for name in (*parts, *spare):
        state.pop(name, None)
    return heads, spare


def _drop_idle(layout: Layout, state: dict[str, Tensor], names: Mapping[str, str]) -> list[str]:
    """Take layers out that this backbone has no place for and the file's network never ran.

    A normalisation that never ran has the mean it was born with, zero everywhere.
    """
    idle = [name for name in state if name.split(".")[0] in layout.idle]
    means = [state[name] for name in idle if name.endswith("running_mean")]
    if set(idle) & set(names.values()) or any(mean.any() for mean in means):
        return []
    for name in idle:
        del state[name]
    return [f"{part}, never used" for part in sorted({name.split(".")[0] for name in idle})]


def _fit(
    layout: Layout, state: Mapping[str, Tensor], own: Mapping[str, Tensor], names: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Bring the state into our names and shapes; list what does not fit."""
    weights: dict[str, Tensor] = {}
    faults: dict[str, list[str]] = {}
    for name, theirs in names.items():
        value = _to_ours(layout, name, state[theirs], own[name]) if theirs in state else None
        value = None if value is None else value.to(own[name].dtype)
        if theirs not in state and name.endswith("num_batches_tracked"):  # no result depends on it
            weights[name] = own[name]
        elif theirs not in state:
            faults.setdefault("missing", []).append(theirs)
        elif value is None or value.shape != own[name].shape:
            shapes = f"{list(state[theirs].shape)}, here {list(own[name].shape)}"
            faults.setdefault("of another shape", []).append(f"{theirs} {shapes}")
        elif not value.isfinite().all() or (name.endswith("running_var") and (value < 0).any()):
            faults.setdefault("with numbers that are not finite", []).append(theirs)
        else:
            weights[name] = value.clone(memory_format=torch.contiguous_format)
    known = set(names.values())
    unknown = sorted(
        (each for each in state if each not in known), key=lambda each: each.endswith("_tracked")
    )
    return weights, faults | ({"unknown": unknown} if unknown else {})


def _names(layout: Layout, backbone: nn.Module, path: Path) -> Iterator[tuple[str, str]]:
    """Pair the names of our tensors with theirs."""
    for name, module in backbone.named_modules():
        if isinstance(module, ConvNorm | PointLayer):
            theirs = layout.rename(name.split("."))
            if theirs is None:
                raise ValueError(
                    f"{path} ({layout.title}) does not fit this {type(backbone).__name__}: that program's "
                    f"networks have nothing like its {name}; build the student of the file's network"
                )
            layer, norm = theirs
            if isinstance(module, ConvNorm):
                yield f"{name}.conv.weight", f"{layer}.{layout.weight}"
            else:
                yield f"{name}.linear.weight", f"{layer}.weight"
                yield f"{name}.linear.bias", f"{layer}.bias"
            yield from ((f"{name}.norm.{part}", f"{norm}.{part}") for part in _NORM)


def _to_ours(layout: Layout, name: str, theirs: Tensor, ours: Tensor) -> Tensor | None:
    """Lay one tensor out as ours; None if that cannot be."""
    if name.endswith(".conv.weight"):
        try:
            return layout.to_ours(theirs, ours.shape)
        except ValueError:
            return None
    if name.endswith(".running_var"):  # what our epsilon adds less, the variance has more
        return theirs.double() + (layout.epsilon - 1e-5)
    return theirs


def _notes(said: Mapping[str, Any], backbone: nn.Module) -> Iterator[str]:
    """Say what equal weights do not make equal."""
    if isinstance(backbone, SPVCNN) and not backbone.at_corners:
        yield (
            "the file's network has one point per voxel, at its corner; this one interpolates at the "
            "measured points (CornerSPVCNN computes what the file's does)"
        )
    if said.get("cylindrical_coordinates"):
        yield "the file's network saw cylindrical voxels (range, degrees, height); this one's are cubes"
    size = said.get("voxel_size")
    if isinstance(backbone, MinkUNet | SPVCNN) and isinstance(size, float | int):
        if abs(size - backbone.voxel_size) > 1e-6:
            yield f"the file's network saw voxels of {size} m, this one's are of {backbone.voxel_size} m"


def _all(faults: Mapping[str, Sequence[str]]) -> str:
    """List every fault, a line each, where a sentence names the first ones only."""
    if all(len(found) <= _SHOWN for found in faults.values()):
        return ""
    return "".join(f"\n  {kind}: {name}" for kind, found in faults.items() for name in found)


def _first(names: Sequence[str]) -> str:
    """Name the first few."""
    more = f", ... {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
