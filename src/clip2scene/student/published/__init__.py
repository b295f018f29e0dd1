"""Published checkpoints of other programs, loaded into our backbones.

``layout`` says what a layout is; ``minkowski``, ``torchsparse`` and ``spconv`` are one program each;
``archive`` reads files; ``load`` fits and loads.
"""

from clip2scene.student.published.load import Head, Loaded, load_published

__all__ = ["Head", "Loaded", "load_published"]
