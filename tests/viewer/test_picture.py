import numpy as np
import torch

from clip2scene.viewer.choices import HEIGHT, Choices, Pick
from clip2scene.viewer.painting import Entry
from clip2scene.viewer.picture import Line, join_legends
from clip2scene.viewer.selection import Eye
from clip2scene.viewer.session import Session

RED, BLUE = (200, 0, 0), (0, 0, 200)


def click_on(picture, layer, place):
    """Click on the point at this place of a layer, from above."""
    target = layer.positions[place] + torch.tensor(layer.offset)
    eye = target + torch.tensor([0.0, 0.0, 30.0])
    return picture.pick(eye.tolist(), (target - eye).tolist())


def test_a_click_finds_the_point_and_numbers_it_among_those_that_are_shown(session):
    picture = session.picture(Choices(number=1))
    layer = picture.layers[0]
    highest = int(layer.positions[:, 2].argmax())
    pick = click_on(picture, layer, highest)
    assert pick == Pick(1, int(layer.points[highest]))
    assert picture.pick((0.0, 0.0, 500.0), (0.0, 0.0, 1.0)) is None


def test_the_clicked_point_is_marked_in_every_cloud_of_its_sample(source, answerer):
    session = Session(source, [answerer, answerer])
    picture = session.picture(Choices(runs=(0, 1), picked=Pick(0, 7)))
    place = picture.scene.positions[7]
    expected = torch.stack([place, place + torch.tensor(picture.layers[1].offset)])
    torch.testing.assert_close(torch.tensor(picture.marks), expected)
    assert session.picture(Choices(number=1, picked=Pick(0, 7))).marks == ()
    assert session.picture(Choices()).marks == ()


def test_hidden_points_cannot_be_clicked(session):
    whole = session.picture(Choices())
    layer = whole.layers[0]
    number = int(layer.positions[:, 2].argmax())
    name = layer.painting.entries[int(layer.painting.kinds[number])].name
    rest = session.picture(Choices(hidden=frozenset({name})))
    pick = click_on(rest, layer, number)
    assert pick is None or layer.painting.entries[int(layer.painting.kinds[pick.point])].name != name


def test_a_click_means_a_whole_piece_of_the_cloud(session):
    picture = session.picture(Choices())
    pieces = picture.scene.pieces
    points = picture.piece_of(Pick(0, 5))
    assert 5 in points and len(pieces[points].unique()) == 1
    assert len(points) == int((pieces == pieces[5]).sum())


def test_a_rectangle_means_the_pieces_or_the_points_in_it_in_any_of_two_clouds(source, answerer):
    picture = Session(source, [answerer, answerer]).picture(Choices(runs=(0, 1)))
    for layer in picture.layers:
        middle = layer.positions.median(dim=0).values
        x, y, _ = (middle + torch.tensor(layer.offset)).tolist()
        # From straight above; to the right of what is seen lies -y.
        eye = Eye((x, y, 60.0), (0.0, -0.7071068, 0.7071068, 0.0), 0.5, 1.0)
        single = picture.within(eye, (0.4, 0.4), (0.6, 0.6), whole=False)
        whole = picture.within(eye, (0.4, 0.4), (0.6, 0.6))
        away = (picture.scene.positions[single] - middle)[:, :2].abs()
        assert 0 < len(single) < len(picture.scene.shown)
        assert float(away.max()) < 0.2 * 65 * 0.2554  # 0.1 of the height of what is seen, on either side
        pieces = picture.scene.pieces
        assert len(whole) and torch.isin(pieces, pieces[whole]).sum() == len(whole)


def test_of_two_runs_side_by_side_each_can_be_clicked(source, answerer):
    session = Session(source, [answerer, answerer])
    picture = session.picture(Choices(runs=(0, 1)))
    for layer in picture.layers:
        highest = int(layer.positions[:, 2].argmax())
        assert click_on(picture, layer, highest) == Pick(0, int(layer.points[highest]))


def test_the_first_run_is_drawn_over_images_without_its_hidden_points(session):
    whole = session.picture(Choices(mode=HEIGHT))
    every = np.asarray(whole.draw_over_image(0), dtype=int)
    names = frozenset(entry.name for entry in whole.layers[0].painting.entries)
    nothing = np.asarray(session.picture(Choices(mode=HEIGHT, hidden=names)).draw_over_image(0), dtype=int)
    assert (every != nothing).any()


def test_legends_are_joined_by_name_with_the_counts_of_each_run():
    first = (Entry("car", RED, 5), Entry("road", BLUE, 3))
    second = (Entry("road", BLUE, 4), Entry("tree", RED, 2))
    assert join_legends([first]) == (Line("car", RED, (5,)), Line("road", BLUE, (3,)))
    assert join_legends([first, second]) == (
        Line("car", RED, (5, 0)),
        Line("road", BLUE, (3, 4)),
        Line("tree", RED, (0, 2)),
    )
