"""Tables of text embeddings: a text space without its text tower, read from a file."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from clip2scene.classes.words import is_text
from clip2scene.io import read_array, read_arrays, read_json, regular_file, write_atomically


@dataclass(frozen=True)
class TextTable:
    """Precomputed text embeddings of a fixed vocabulary, in place of a text tower.

    Attributes:
        names: One for each row; distinct.
        vectors: Unit rows.
        space: Fingerprint of the text space (:attr:`clip2scene.teacher.clip.load.Clip.space`); empty if not
            known.
    """

    names: tuple[str, ...]
    vectors: Float[Tensor, "names channels"]
    space: str = ""

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "texts channels"]:
        """Look up the embeddings of names; unit rows.

        Raises:
            ValueError: If a name is not in the table; the message offers the nearest ones.
        """
        row_of_name = {name: row for row, name in enumerate(self.names)}
        for text in texts:
            if text not in row_of_name:
                near = difflib.get_close_matches(text, self.names, n=3)
                hint = f"; near it are {', '.join(near)}" if near else ""
                raise ValueError(
                    f"the text table has no row for {text!r} among its {len(self.names)} names{hint}. "
                    "Ask for a name that it has"
                )
        return self.vectors[[row_of_name[text] for text in texts]]

    def unknown_words(self, text: str) -> list[str]:
        """Return the text itself if the table lacks it."""
        return [] if text in self.names else [text]

    def save(self, path: Path) -> None:
        """Write the table as one safetensors file, atomically; the names travel in its header.

        The same table gives the same bytes: a header of more than one entry would be written in any order.
        """
        tensors = {"vectors": self.vectors.contiguous()}
        if self.space:
            tensors["space"] = torch.tensor(list(self.space.encode()), dtype=torch.uint8)
        with write_atomically(path) as temporary:
            save_file(tensors, temporary, metadata={"names": "\n".join(self.names)})


def names_of(table: Path) -> str:
    """Say where the names of an ``.npy`` table are looked for: beside it, the part before the first dash.

    Example:
        >>> names_of(Path("lvis1203-clip-vit-b-32.npy")), names_of(Path("words.npy"))
        ('lvis1203-names.json', 'words-names.json')
    """
    return f"{table.stem.split('-')[0]}-names.json"


def read_text_table(path: Path, names_path: Path | None = None) -> TextTable:
    """Read a table of text embeddings; rows are brought to unit length.

    Args:
        path: A ``.safetensors`` file of :meth:`TextTable.save`, or of one tensor for each name; an ``.npz``
            with ``names`` and ``vectors``; or an ``.npy`` of vectors, with the names in ``names_path``.
        names_path: A JSON list of names, one a row, for ``.npy``.

    Raises:
        ValueError: If the file is missing or damaged, or names and rows do not match.
    """
    space, path = "", regular_file(path)
    try:
        if path.suffix == ".safetensors":
            names, vectors, space = _read_safetensors(path)
        elif path.suffix == ".npz":
            arrays = read_arrays(path, ("vectors",), texts=("names",))
            vectors, names = torch.from_numpy(arrays["vectors"]), arrays["names"].tolist()
        else:
            vectors = torch.from_numpy(read_array(path))
            names = list(read_json(names_path)) if names_path is not None else []
    except Exception as error:  # the readers raise many kinds, and all mean that the file is bad
        raise ValueError(
            f"text table {path} cannot be read ({error}); expected .safetensors, .npz or .npy with names"
        ) from None
    if vectors.ndim != 2 or len(names) != len(vectors) or len(set(names)) != len(names):
        raise ValueError(
            f"text table {path} must hold one vector for each of its distinct names, got "
            f"{tuple(vectors.shape)} numbers for {len(set(names))} distinct names; "
            "give the list of names that belongs to it"
        )
    if not names or not all(isinstance(name, str) and name.strip() and is_text(name) for name in names):
        raise ValueError(f"text table {path} must name its rows in words; correct the list of names")
    vectors = vectors.float()
    if not bool(vectors.isfinite().all()) or bool((vectors == 0).all(1).any()):
        raise ValueError(f"text table {path} holds zero or non-finite rows; export it anew")
    return TextTable(tuple(names), F.normalize(vectors, dim=-1), space)


def _read_safetensors(path: Path) -> tuple[list[str], Tensor, str]:
    with safe_open(path, framework="pt") as file:
        header, keys = file.metadata() or {}, list(file.keys())
        if "names" not in header:
            return keys, torch.stack([file.get_tensor(name) for name in keys]), ""
        space = bytes(file.get_tensor("space").tolist()).decode() if "space" in keys else ""
        return header["names"].split("\n"), file.get_tensor("vectors"), space


def add_short_names(table: TextTable) -> TextTable:
    """Add short names: "car" gets the row of "car (automobile)".

    A short name that is in the table already, or that two names share, is not added.
    """
    shorts = [name.split(" (")[0] for name in table.names]
    rows = [
        row
        for row, short in enumerate(shorts)
        if short not in table.names and shorts.count(short) == 1  # few names: a quadratic search will do
    ]
    names = (*table.names, *(shorts[row] for row in rows))
    return TextTable(names, torch.cat([table.vectors, table.vectors[rows]]), table.space)


def add_random_embeddings(table: TextTable, names: Sequence[str]) -> TextTable:
    """Give each name that the table lacks a random embedding, so that its class can be told from the others.

    It is as far from the table's mean as the rows are on average, in a direction drawn from the name alone,
    so that nothing in the table is near it. It carries no meaning of the name.
    """
    missing = [name for name in names if name not in table.names]
    mean = F.normalize(table.vectors.mean(0), dim=0)
    closeness = (table.vectors @ mean).mean().clamp(-1, 1)
    rows = []
    for name in missing:
        drawn = _draw(name, len(mean))
        sideways = F.normalize(drawn - (drawn @ mean) * mean, dim=0)
        rows.append(closeness * mean + (1 - closeness**2).sqrt() * sideways)
    if not rows:
        return table
    vectors = torch.cat([table.vectors, torch.stack(rows)])
    return TextTable((*table.names, *missing), vectors, table.space)


def one_hot_table(names: Sequence[str]) -> TextTable:
    """Make a closed vocabulary of one-hot embeddings, orthogonal to each other."""
    return TextTable(tuple(names), torch.eye(len(names)))


def _draw(name: str, channels: int) -> Float[Tensor, " channels"]:
    """Draw a normal vector, seeded by the name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.randn(channels, generator=torch.Generator().manual_seed(seed))
