"""Where the teacher's maps of images are kept: a folder or a store, a file an image or in shards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Num
from torch import Tensor

from clip2scene.io import Store, dump_checksummed, open_store, parse_checksummed
from clip2scene.io.local_copies import LocalCopies
from clip2scene.io.shards import ShardIndex, read_index
from clip2scene.io.store import AbsentError, FolderStore

Rounded = tuple[Num[Tensor, "_ _ _"], ...]
"""Maps as they are stored."""


@dataclass(frozen=True)
class TeacherCache:
    """Where a teacher cache lies.

    Attributes:
        address: A folder, or the address of a store, such as s3://bucket/cache.
        copies: A local folder for copies of what is read from a store that is not; None for none.
        copies_gb: That copies may take, in 1e9 bytes; the least recently used are removed.
    """

    address: str
    copies: Path | None = None
    copies_gb: float = 20.0

    def open(self) -> "KeptMaps":
        """Open the cache, and read the index of its shards.

        Raises:
            ValueError: If the address leads nowhere, or copies may take no bytes.
        """
        store = open_store(self.address)
        local = isinstance(store, FolderStore)
        if self.copies is not None:
            if not self.copies_gb > 0:
                raise ValueError(
                    f"copies may take more than 0 GB, got {self.copies_gb:g}; give another number"
                )
            store = LocalCopies(store, self.copies, int(self.copies_gb * 1e9))
        return KeptMaps(store, read_index(store), local)


@dataclass(frozen=True)
class KeptMaps:
    """The maps of images by their names, in single files and in shards.

    Attributes:
        store: Of the files and shards.
        index: Of the shards, as they were when it was read.
        local: Whether the store is a folder, where maps are read to see that they are whole.
    """

    store: Store
    index: ShardIndex
    local: bool

    def read(self, name: str) -> Rounded | None:
        """Give maps; None if there are none, or they are damaged, so that they are made anew.

        Raises:
            ValueError: If the store cannot be used.
        """
        content = self.index.read(name)
        if content is None:
            try:
                content = self.store.read(name)
            except AbsentError:
                return None
        try:
            tensors = parse_checksummed(content, name)
        except ValueError:
            return None
        return tuple(tensors[key] for key in sorted(tensors))

    def has(self, name: str) -> bool:
        """Tell whether there are maps of that name, be they damaged."""
        return name in self.index or self.store.exists(name)

    def write(self, name: str, maps: Sequence[Tensor]) -> None:
        """Write maps into a file of their own.

        Raises:
            ValueError: If the store cannot be used, or is full.
        """
        self.store.write(name, to_content(maps))

    def reopened(self) -> "KeptMaps":
        """Give the same with the shards that there are now."""
        return replace(self, index=read_index(self.store))


def to_content(maps: Sequence[Tensor]) -> bytes:
    """Give the bytes that are kept of maps: a safetensors file with a checksum."""
    return dump_checksummed({str(number): each for number, each in enumerate(maps)})


def open_maps(cache: TeacherCache | Path | str | None) -> KeptMaps | None:
    """Open a teacher cache that is given by its place; None if there is to be none.

    Raises:
        ValueError: If it cannot be opened.
    """
    if cache is None:
        return None
    return (cache if isinstance(cache, TeacherCache) else TeacherCache(str(cache))).open()
