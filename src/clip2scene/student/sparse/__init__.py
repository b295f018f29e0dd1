"""Sparse convolution in plain PyTorch.

``keys`` packs voxel coordinates into integers, ``kernel_map`` holds which voxels meet under a kernel,
``tensor`` finds them and keeps features, levels and maps together, ``conv`` multiplies, ``finish`` ends that
at inference, ``cpu_kernels`` is the compiled twin, and ``measured`` says which of the two is faster here.
"""

from clip2scene.student.sparse.conv import SparseConv3d, sparse_convolution
from clip2scene.student.sparse.kernel_map import KernelMap
from clip2scene.student.sparse.tensor import Pyramid, SparseTensor

__all__ = ["KernelMap", "Pyramid", "SparseConv3d", "SparseTensor", "sparse_convolution"]
