"""Files that are either whole or absent; and strangers' files, read with suspicion."""

from clip2scene.io.arrow import read_feather
from clip2scene.io.places import without_place, without_places
from clip2scene.io.reading import (
    hash_files,
    in_a_sentence,
    parse_arrays,
    read_all_arrays,
    read_array,
    read_arrays,
    read_json,
    read_text,
    regular_file,
    without_repeats,
)
from clip2scene.io.store import AbsentError, Store, open_store
from clip2scene.io.tensors import (
    dump_checksummed,
    fingerprint,
    hash_points,
    load_checksummed,
    parse_checksummed,
    save_checksummed,
    sort_header,
)
from clip2scene.io.torch_files import check_plain_tensors, read_torch
from clip2scene.io.writing import PARTIAL, new_folder, telling_of_a_full_disk, write_atomically, write_json

__all__ = [
    "PARTIAL",
    "AbsentError",
    "Store",
    "check_plain_tensors",
    "dump_checksummed",
    "fingerprint",
    "hash_files",
    "hash_points",
    "in_a_sentence",
    "load_checksummed",
    "new_folder",
    "open_store",
    "parse_checksummed",
    "read_array",
    "read_all_arrays",
    "parse_arrays",
    "read_arrays",
    "read_feather",
    "read_json",
    "read_text",
    "read_torch",
    "regular_file",
    "save_checksummed",
    "sort_header",
    "telling_of_a_full_disk",
    "without_place",
    "without_places",
    "without_repeats",
    "write_atomically",
    "write_json",
]
