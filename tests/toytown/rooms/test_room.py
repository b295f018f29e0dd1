import numpy as np
import pytest

from clip2scene.classes.tables import SCANNET
from clip2scene.toytown.rooms.furniture import NYU40_OF_NOUN
from clip2scene.toytown.rooms.room import HEIGHT, Room
from clip2scene.toytown.rooms.room_scan import Walk, hand_held
from clip2scene.toytown.sensors import render_camera


@pytest.mark.parametrize("seed", range(5))
def test_rooms_are_furnished_closed_and_seen_from_within(seed):
    room = Room(seed)
    nouns = room.town.instances.nouns[1:]
    classes = {SCANNET.train_id_of_raw.get(NYU40_OF_NOUN[noun]) for noun in nouns} - {None}
    assert len(classes) >= 18, sorted(SCANNET.classes[each] for each in set(range(20)) - classes)
    poses = hand_held(room, seed, 8)
    low, high = poses[:, :3, 3].min(0), poses[:, :3, 3].max(0)
    assert (low > 1).all()
    assert (high < [room.length - 1, room.width - 1, HEIGHT - 0.5]).all()
    snapshot = room.town.at(0.0)
    for pose in poses[::4]:
        render = render_camera(
            snapshot, pose, Walk(width=128, height=96).intrinsics[0], 128, 96, np.random.default_rng(0)
        )
        assert (render.instances > 0).all()  # 0 is the land outside
        assert np.isfinite(render.depth).all()
        assert 30 < render.rgb.mean() < 225


def test_things_at_the_walls_do_not_stand_in_each_other():
    room = Room(3)
    placed = [item for item in room._placed if item.height == 0 and item.thing.noun in ("bed", "wardrobe")]
    assert len(placed) == 2
    taken = np.array(room._taken)
    for number, place in enumerate(taken):
        others = np.delete(taken, number, 0)
        apart = (place[0] >= others[:, 1]) | (others[:, 0] >= place[1])
        assert apart.any(1).all()
        assert (place[1] > -0.01).all()
        assert (place[0] < [room.length, room.width, HEIGHT]).all()
