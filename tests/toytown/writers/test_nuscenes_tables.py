import numpy as np
import pytest

from clip2scene.classes.tables import NUSCENES
from clip2scene.toytown.writers.nuscenes_tables import attributes_of, link, rigid_fields, token_of


def test_the_same_words_give_the_same_token_of_32_digits():
    assert token_of("scene") == token_of("scene") != token_of("scenes")
    assert len(token_of("scene")) == 32 and set(token_of("scene")) <= set("0123456789abcdef")


def test_a_rigid_motion_is_a_translation_and_a_quaternion_with_w_first():
    motion = np.eye(4)
    motion[:3, 3] = 1, 2, 3
    motion[:2, :2] = [[0, -1], [1, 0]]  # a quarter turn about z
    fields = rigid_fields(motion)
    assert fields["translation"] == [1, 2, 3]
    assert fields["rotation"] == pytest.approx([0.5**0.5, 0, 0, 0.5**0.5])


def test_rows_of_a_chain_are_linked_in_their_order():
    rows = [{"token": token, "scene": scene} for token, scene in ("aX", "bY", "cX", "dX")]
    link(rows, "scene")
    assert [(row["prev"], row["next"]) for row in rows] == [("", "c"), ("", ""), ("a", "d"), ("c", "")]


@pytest.mark.parametrize(
    ("name", "speed", "attributes"),
    [
        ("car", 3.0, ["vehicle.moving"]),
        ("truck", 0.0, ["vehicle.parked"]),
        ("bicycle", 3.0, ["cycle.with_rider"]),
        ("pedestrian", 0.1, ["pedestrian.standing"]),
        ("barrier", 0.0, []),
    ],
)
def test_attributes_say_whether_a_thing_moves(name, speed, attributes):
    assert attributes_of(NUSCENES.classes.index(name), speed) == attributes
