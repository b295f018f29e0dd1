"""Sparse convolution in plain PyTorch."""
