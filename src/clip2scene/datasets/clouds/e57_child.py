"""A program of its own that reads the scans of an E57 file and writes them as NumPy arrays.

``pye57`` calls a C++ library; a file that makes it crash or fill the memory ends this process alone.
"""

import sys

import numpy as np

FIELDS = (
    *("cartesianX", "cartesianY", "cartesianZ", "cartesianInvalidState"),
    *("sphericalRange", "sphericalAzimuth", "sphericalElevation", "sphericalInvalidState"),
    *("intensity", "colorRed", "colorGreen", "colorBlue"),
)
_MOST_PACKED = 64  # points in a byte of the file


def read_scans(path: str, out: str, size: int) -> None:
    """Write ``N.FIELD`` of each scan, and ``N.pose``, a 4x4 matrix.

    Args:
        path: The E57 file.
        out: The ``.npz`` to write.
        size: Bytes of the file.
    """
    import pye57

    arrays = {}
    with pye57.E57(path) as file:
        for number in range(file.scan_count):
            header = file.get_header(number)
            if header.point_count > _MOST_PACKED * size:
                raise ValueError(f"scan {number} tells {header.point_count} points in {size} bytes")
            pose = np.eye(4)
            if header.has_pose():
                pose[:3, :3], pose[:3, 3] = header.rotation_matrix, header.translation
            arrays[f"{number}.pose"] = pose
            buffers = pye57.libe57.VectorSourceDestBuffer()
            # Of 64 bits each: pye57's own arrays for colours have 8, and some files 16.
            for name in set(FIELDS) & set(header.point_fields):
                values = arrays[f"{number}.{name}"] = np.empty(header.point_count)
                buffers.append(
                    pye57.libe57.SourceDestBuffer(file.image_file, name, values, len(values), True, True)
                )
            header.points.reader(buffers).read()
    with open(out, "wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def limit(most: int) -> None:
    """Keep this process, and every file that it writes, to so many bytes; not on Windows."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


if __name__ == "__main__":
    limit(int(sys.argv[4]))
    try:
        read_scans(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    except Exception as error:  # whatever the library fails with, in one line
        sys.exit(" ".join(f"{error or type(error).__name__}".split())[:300])
