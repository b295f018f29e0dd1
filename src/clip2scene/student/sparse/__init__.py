"""Sparse convolution in plain PyTorch.

``keys`` packs voxel coordinates into integers, ``maps`` finds which voxels meet under a kernel, ``tensor``
keeps voxels, levels and maps together, ``conv`` multiplies.
"""

from clip2scene.student.sparse.conv import SparseConv3d, sparse_convolution
from clip2scene.student.sparse.kernel_map import KernelMap
from clip2scene.student.sparse.tensor import Pyramid, SparseTensor, sparse_tensor

__all__ = ["KernelMap", "Pyramid", "SparseConv3d", "SparseTensor", "sparse_convolution", "sparse_tensor"]
