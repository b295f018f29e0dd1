"""Measure how fast a teacher's kept maps are read: a file an image against shards, near and through copies.

    python benchmarks/kept_maps.py [--images 200] [--megabytes 1.0]

The store elsewhere is one in memory, so its times are those of this code, without any network. Files are in
the system's own cache when they are read.
"""

import argparse
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from clip2scene.io.shards import ShardWriter
from clip2scene.runs.cost import describe_machine, today
from clip2scene.teacher.kept_maps import TeacherCache, open_maps, to_content


def main() -> None:
    """Write maps in both forms to two places, read them in order and at random, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [f"{number % 256:02x}/{number:030x}.safetensors" for number in range(options.images)]
    content = to_content([torch.rand(1, 1, int(options.megabytes * 5e5)).half()])
    print(f"{describe_machine('cpu')}, one of them used, {today()}; {options.images} images, MB a second")
    with TemporaryDirectory() as folder:
        for form in ("files", "shards"):
            for address in (f"{folder}/{form}", f"memory://{form}"):
                _write(address, names, content, form == "shards")
                places = {"": TeacherCache(address)}
                if "://" in address:
                    copies = TeacherCache(address, Path(folder) / f"copies of {form}")
                    places |= {", copies cold": copies, ", copies warm": copies}
                for what, place in places.items():
                    where = "store in memory" if "://" in address else "folder"
                    in_order = _speed(place, names, len(content))
                    at_random = _speed(place, random.Random(0).sample(names, len(names)), len(content))
                    again = " (second time)" if "cold" in what else ""
                    speeds = f"in order {in_order:6.0f}  at random {at_random:6.0f}{again}"
                    print(f"{form:6}  {where + what:30}  {speeds}")


def _write(address: str, names: list[str], content: bytes, shards: bool) -> None:
    kept = open_maps(address)
    assert kept is not None
    writer = ShardWriter(kept.store, 64_000_000)
    for name in names:
        if not shards:
            kept.store.write(name, content)
        elif writer.add(name, content):
            writer.flush()
    writer.flush()
    writer.close()


def _speed(place: TeacherCache, names: list[str], size: int) -> float:
    began = time.perf_counter()
    kept = place.open()
    for name in names:
        assert kept.read(name) is not None
    return len(names) * size / 1e6 / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
