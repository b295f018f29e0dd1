"""Point clouds as files, in the formats people have.

| suffix | what is expected |
|---|---|
| ``.pcd.bin`` | nuScenes: float32 x y z intensity ring, with x right and y forward, intensity 0..255 |
| ``.bin`` | KITTI: float32 x y z reflectance, reflectance 0..1; other widths with their columns named |
| ``.npy`` | an array of 3 or more columns, or a structured one with fields x y z |
| ``.npz`` | arrays ``xyz`` and perhaps ``intensity`` |
| ``.ply`` | vertices with x y z; ascii or binary, other elements and lists passed over |
| ``.pcd`` | fields x y z; ascii, binary or binary_compressed |
| ``.txt`` ``.xyz`` ``.csv`` ``.pts`` | lines of numbers, perhaps after a line of names or a count |
| ``.ptx`` | scans with their poses, as lines of numbers |
| ``.las`` ``.laz`` | needs ``laspy`` |
| ``.e57`` | scans with their poses; needs ``pye57`` |
| ``.feather`` | columns x y z; needs ``pyarrow`` |

What a file does not say is taken from :class:`CloudOptions`, else guessed, and the guess is told as a note.

PLY and PCD are read here and not by plyfile and pypcd4: these make room for as many points as a header tells
before they look whether the file holds them, and a PCD file that is cut short passes as a smaller cloud.
"""

from clip2scene.datasets.clouds.intensity import Spread, find_intensity, intensity_max, say_taken
from clip2scene.datasets.clouds.options import CloudOptions, Unit, turn_from
from clip2scene.datasets.clouds.ply import read_ply, write_ply
from clip2scene.datasets.clouds.read import (
    FARTHEST_M,
    SUFFIXES,
    CloudFile,
    read_cloud,
    read_cloud_file,
)
from clip2scene.datasets.clouds.table import Columns, find_axes

__all__ = [
    "FARTHEST_M",
    "SUFFIXES",
    "CloudFile",
    "CloudOptions",
    "Columns",
    "Spread",
    "Unit",
    "find_axes",
    "find_intensity",
    "intensity_max",
    "read_cloud",
    "read_cloud_file",
    "read_ply",
    "say_taken",
    "turn_from",
    "write_ply",
]
