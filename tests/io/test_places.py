from pathlib import Path

import pytest

from clip2scene.io import without_place, without_places


def test_of_a_setting_that_is_a_path_the_last_part_is_left():
    assert without_place("/home/me/weights/") == "weights" and without_place("../x/town") == "town"
    assert without_place("C:\\data\\town") == "town" and without_place(("/a/b", "/c/d")) == "b, d"
    assert without_place("hf:google/siglip") == "hf:google/siglip" and without_place(0.5) == "0.5"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("2 of /srv/me/town/a.bin are empty", "2 of a.bin are empty"),
        ("none to judge by: /srv/town/.", "none to judge by: town."),
        ("wrote '~/x/y z', C:\\me\\town and ../up/there", "wrote 'y z', town and there"),
        ("5 m/s at 3 / 4, https://x.org/a/b and hf:google/siglip", None),
    ],
)
def test_paths_in_a_text_lose_their_folders_and_nothing_else_is_changed(text, left):
    assert without_places(text) == (text if left is None else left)


def test_a_known_folder_is_found_with_spaces_in_its_name():
    assert without_places("in /srv/my data/town/a.bin", Path("/srv/my data/town")) == "in town/a.bin"
    assert without_places("a d of d", Path("d")) == "a d of d"
