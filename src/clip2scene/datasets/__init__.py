"""Readers of what people have on disk: one loader a file, all yielding :class:`clip2scene.types.Sample`."""
