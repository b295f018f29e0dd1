"""A student as an ONNX file, at work without torch: NumPy, SciPy and onnxruntime are enough (docs/onnx.md).

``clip2scene export-onnx`` writes the file. ``about`` is what it says of itself, ``cloud`` and ``voxels`` make
the network's inputs, ``words`` chooses what points are compared with, and ``segmenter`` labels clouds.
"""

from clip2scene.onnx_runner.segmenter import OnnxSegmentation, OnnxSegmenter

__all__ = ["OnnxSegmentation", "OnnxSegmenter"]
