import numpy as np
import pytest

from clip2scene.classes.tables import SCANNET
from clip2scene.toytown.rooms import furniture
from clip2scene.toytown.rooms.furniture import NYU40_OF_NOUN

MAKERS = (
    *(furniture.bed, furniture.chair, furniture.couch, furniture.table, furniture.desk, furniture.cabinet),
    *(furniture.wardrobe, furniture.bookshelf, furniture.counter, furniture.washbasin, furniture.toilet),
    *(furniture.refrigerator, furniture.bathtub, furniture.door, furniture.window, furniture.lamp),
)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_piece_stands_on_the_floor_fits_a_room_and_has_the_id_of_its_noun(maker):
    for seed in range(5):
        piece = maker(np.random.default_rng(seed))
        vertices = np.concatenate([part.mesh.vertices for part in piece.parts])
        size = np.ptp(vertices, axis=0)
        assert -0.01 < vertices[:, 2].min() < 1.0 and vertices[:, 2].max() < 2.2
        assert (size[:2] < 2.5).all()
        assert piece.label == NYU40_OF_NOUN[piece.noun]


def test_nouns_have_the_ids_of_scannets_classes_of_their_name():
    for raw, train_id in SCANNET.train_id_of_raw.items():
        name = SCANNET.classes[train_id]
        if name in NYU40_OF_NOUN:
            assert NYU40_OF_NOUN[name] == raw
