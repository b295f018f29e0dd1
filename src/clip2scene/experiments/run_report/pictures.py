"""Pictures inside a page: read with suspicion, made small, and written as data URIs."""

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from clip2scene.images import read_colours, read_size
from clip2scene.inference.figures import draw_predictions
from clip2scene.inference.predict import open_split
from clip2scene.runs.run import open_run

MOST_PICTURES = 12
"""Of a run that are shown."""
MOST_PIXELS = 40_000_000
"""Of a picture that is read; a larger one is left out."""

_WIDTH, _QUALITY = 1600, 82
_KINDS = {
    "above": "from above: student, teacher, truth, errors",
    "cameras": "over images: student and truth",
    "carried": "over images: the teacher's pseudo-labels",
}


@dataclass(frozen=True)
class Picture:
    """A picture, ready to stand in a page.

    Attributes:
        title: What it shows.
        uri: A data URI of a JPEG.
        width: In pixels.
        height: In pixels.
    """

    title: str
    uri: str
    width: int
    height: int


def kept_pictures(folder: Path, faults: dict[str, str]) -> list[Picture]:
    """Take the pictures that ``evaluate`` has left in a run's folder; what cannot be read is noted."""
    found = []
    paths = sorted(path for path in (folder / "pictures").glob("*.png") if path.is_file())
    if len(paths) > MOST_PICTURES:
        faults["pictures"] = f"pictures/ has {len(paths)}; the first {MOST_PICTURES} are shown"
    for path in paths[:MOST_PICTURES]:
        token, _, kind = path.stem.rpartition("-")
        try:
            width, height = read_size(path, path.name)
            if width * height > MOST_PIXELS:
                raise ValueError(f"{path.name} has {width} x {height} pixels, too many for a page")
            picture = Image.fromarray(read_colours(path, path.name))
        except ValueError as error:
            faults[path.name] = str(error)
            continue
        found.append(inlined(picture, f"{token}, {_KINDS.get(kind, kind)}"))
    return found


def drawn_pictures(folder: Path, data_root: Path, split: str, *, count: int) -> list[Picture]:
    """Draw what the student says of some samples of a split.

    Raises:
        ValueError: If the run or the data cannot be read.
    """
    run = open_run(folder)
    images = draw_predictions(run, open_split(run, data_root, split), count=count)
    return [inlined(image, f"student on split {split}, drawn for this report") for image in images]


def inlined(image: Image.Image, title: str) -> Picture:
    """Write a picture as a data URI, at most 1600 pixels wide."""
    if image.width > _WIDTH:
        height = max(1, round(image.height * _WIDTH / image.width))
        image = image.resize((_WIDTH, height), Image.Resampling.LANCZOS)
    content = BytesIO()
    image.convert("RGB").save(content, format="JPEG", quality=_QUALITY, optimize=True)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    return Picture(title, f"data:image/jpeg;base64,{encoded}", image.width, image.height)
