"""A device that holds its tensors to the rules of a GPU, and computes on the CPU.

No GPU is needed to find what a GPU would refuse. Tensors on :data:`DEVICE` have real values, and operations
on them raise where CUDA has no kernel (products of integers, ``histogram``), where they are given a tensor of
the CPU too (but for lone numbers), where a tensor is read as a NumPy array, and where a generator of the CPU
is to draw there. It does not find where CUDA's own kernels round otherwise, or want more memory than it has.
"""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")  # a name that torch takes without a driver, and runs the backward pass for
_CPU = torch.device("cpu")
_PRODUCTS = {
    "mm",
    "bmm",
    "addmm",
    "addmm_",
    "addmv",
    "mv",
    "dot",
    "vdot",
    "baddbmm",
    "addbmm",
    "addr",
    "linear",
}
_PRODUCTS |= {"convolution", "_convolution", "matmul", "einsum", "tensordot", "ger", "outer", "linalg_vecdot"}
_CPU_ONLY = {
    "histogram",
    "_histogramdd_from_bin_cts",
    "_histogramdd_from_bin_tensors",
    "_histogramdd_bin_edges",
}


class OnDevice(torch.Tensor):
    """A tensor that claims to lie on :data:`DEVICE`; ``held`` has its values."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    def __repr__(self):
        return f"on the device: {self.held!r}"

    def tolist(self):  # torch's own knows no tensors like these
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


@contextmanager
def pretend_gpu():
    """Let :data:`DEVICE` be used like ``cuda`` in a ``with`` block; gives the names of what ran on it."""
    with _Constants(), _Operations() as operations:
        yield operations.ran


class _Constants(TorchFunctionMode):
    """Makes what ``torch.tensor`` and ``new_tensor`` make, of which no dispatch mode is told."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor):
            of_other = function is torch.Tensor.new_tensor
            device = kwargs.pop("device", None) or (args[0].device if of_other else _CPU)
            if of_other:
                kwargs.setdefault("dtype", args[0].dtype)
                function, args = torch.tensor, args[1:]
            return function(*args, **kwargs).to(device)
        return function(*args, **kwargs)


class _Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.ran = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(issubclass(each, OnDevice) for each in types):
            self.ran.add(function.overloadpacket.__name__)
        return _run(function, args, kwargs or {})


def _run(function, args, kwargs):
    """Run an operation on the values; its result lies where it was asked for, or where the inputs do."""
    name, inputs = function.overloadpacket.__name__, []
    values = _each(args, lambda tensor: inputs.append(tensor) or _held(tensor))
    options = {
        key: _each(value, lambda tensor: inputs.append(tensor) or _held(tensor))
        for key, value in kwargs.items()
    }
    there, target = any(isinstance(each, OnDevice) for each in inputs), kwargs.get("device")
    on_device = there if target is None else target == DEVICE
    if there or on_device:
        _check(name, inputs, kwargs)
    if target == DEVICE:
        options["device"] = _CPU
    out = function(*values, **options)
    if name.endswith("_"):  # in place; on a list of tensors it gives nothing
        return None if out is None else args[0]
    return kwargs.get("out", _each(out, OnDevice) if on_device else out)


def _each(value, change):
    """Change every tensor of nested lists and tuples."""
    if isinstance(value, torch.Tensor):
        return change(value)
    return type(value)(_each(each, change) for each in value) if type(value) in (list, tuple) else value


def _held(tensor):
    return tensor.held if isinstance(tensor, OnDevice) else tensor


def _check(name, inputs, kwargs):
    """Refuse what CUDA refuses."""
    mixed = len(inputs) > 1 and any(not isinstance(each, OnDevice) and each.ndim for each in inputs)
    if mixed and name not in ("copy_", "_to_copy"):
        shapes = [(type(each).__name__, tuple(each.shape)) for each in inputs]
        raise RuntimeError(f"{name}: expected all tensors on the same device, got {shapes}")
    whole = [each for each in inputs if not (each.is_floating_point() or each.is_complex())]
    if name in _PRODUCTS and whole:
        raise RuntimeError(f"{name}: CUDA has no product of {whole[0].dtype}")
    if name in _CPU_ONLY:
        raise RuntimeError(f"{name}: CUDA has no such operation")
    if isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{name}: a generator of the CPU cannot draw on the device")
