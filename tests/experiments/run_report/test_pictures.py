import base64
import io

import numpy as np
import pytest
from PIL import Image

from clip2scene.experiments.run_report import pictures
from clip2scene.experiments.run_report.pictures import drawn_pictures, kept_pictures


def save(folder, name, size=(20, 10)):
    (folder / "pictures").mkdir(exist_ok=True)
    Image.new("RGB", size, (200, 30, 30)).save(folder / "pictures" / name)


def opened(picture):
    head, content = picture.uri.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_pictures_of_an_evaluation_are_inlined_and_not_wider_than_a_page(tmp_path):
    save(tmp_path, "t-above.png", (3200, 100))
    save(tmp_path, "t-cameras.png")
    first, second = kept_pictures(tmp_path, faults := {})
    assert opened(first).size == (first.width, first.height) == (1600, 50)
    assert "errors" in first.title and second.title.startswith("t, over images") and not faults
    assert abs(np.asarray(opened(first)).mean((0, 1)) - (200, 30, 30)).max() < 8


def test_what_is_no_picture_is_named_and_never_opened(tmp_path):
    save(tmp_path, "a-above.png")
    (tmp_path / "pictures" / "b-above.png").write_bytes(b"%!PS-Adobe-3.0")
    (tmp_path / "pictures" / "c-above.png").mkdir()
    assert len(kept_pictures(tmp_path, faults := {})) == 1
    assert "PostScript" in faults["b-above.png"]


def test_pictures_without_end_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PICTURES", 2)
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1000)
    save(tmp_path, "a-above.png", (100, 100))
    save(tmp_path, "b-above.png")
    save(tmp_path, "c-above.png")
    (found,) = kept_pictures(tmp_path, faults := {})
    assert (
        found.title.startswith("b") and "too many" in faults["a-above.png"] and "has 3" in faults["pictures"]
    )


def test_a_run_without_pictures_gets_some_from_the_data(tiny_run, tiny_toytown):
    above, cameras = drawn_pictures(tiny_run, tiny_toytown, "val", count=1)
    assert "drawn for this report" in above.title and cameras.width == 1600
    with pytest.raises(ValueError):
        drawn_pictures(tiny_run, tiny_toytown / "nothing", "val", count=1)
