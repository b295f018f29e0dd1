import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene.classes.tables import NUSCENES, PANDASET, ClassSet
from clip2scene.types import IGNORE_LABEL
from clip2scene.viz import raster as pictures
from clip2scene.viz.raster import (
    ERROR_ENTRIES,
    GROUND,
    NO_LABEL,
    RIGHT,
    RING,
    SHEET,
    WRONG,
    birds_eye,
    camera_overlay,
    class_colours,
    class_entries,
    error_colours,
    heat_colours,
    heat_legend,
    legend,
    panel,
    save_png,
)

RED, BLUE = [255, 0, 0], [0, 0, 255]


def colours(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.uint8).reshape(-1, 3)


def middle_of(picture: Image.Image, colour: list[int]) -> tuple[float, float]:
    """Find the mean (u, v) of the pixels, weighed by how much they differ from the picture's corner."""
    array = np.asarray(picture).astype(float)
    weight = np.abs(array - array[0, 0]).sum(2)
    assert (array[weight.argmax() // array.shape[1], weight.argmax() % array.shape[1]] == colour).all()
    rows, columns = np.mgrid[: array.shape[0], : array.shape[1]]
    return (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()


@pytest.mark.parametrize(
    ("position", "place"),
    [((20, 0), (100, 50)), ((-20, 0), (100, 150)), ((0, 20), (50, 100)), ((0, -30), (175, 100))],
)
def test_from_above_forward_is_up_and_left_is_left(position, place):
    positions = torch.tensor([[*position, 0.0]])
    picture = birds_eye(positions, colours(RED), size=200, extent=40.0, point_radius=4.0, rings=False)
    assert picture.size == (200, 200)
    assert middle_of(picture, RED) == pytest.approx((place[0] - 0.5, place[1] - 0.5), abs=0.3)


def test_higher_points_hide_lower_ones_whatever_their_order():
    for heights in ((0.0, 1.0), (1.0, 0.0)):
        positions = torch.tensor([[5.0, 5.0, heights[0]], [5.0, 5.0, heights[1]]])
        picture = birds_eye(positions, colours(RED, BLUE), size=100, extent=10.0, rings=False)
        assert picture.getpixel((25, 25)) == tuple(BLUE if heights[1] > heights[0] else RED)


def test_points_are_smooth_discs_of_the_asked_size():
    picture = birds_eye(torch.zeros(1, 3), colours([255, 255, 255]), size=101, point_radius=10.0, rings=False)
    cover = (np.asarray(picture)[..., 0] - GROUND[0]) / (255 - GROUND[0])
    assert cover.sum() == pytest.approx(np.pi * 10**2, rel=0.03)
    assert ((cover > 0.1) & (cover < 0.9)).sum() > 30


def test_setting_all_discs_at_once_equals_setting_them_one_by_one():
    generator = np.random.default_rng(0)
    for radius in (0.0, 1.0, 2.5, 6.0):
        places = generator.uniform(-12, 52, (300, 2))
        chosen = generator.integers(0, 256, (300, 3), dtype=np.uint8)
        slow = np.zeros((30, 40, 3), dtype=np.uint8)
        for (x, y), colour in zip(np.floor(places), chosen, strict=True):
            rows, columns = np.mgrid[:30, :40]
            slow[(rows - y) ** 2 + (columns - x) ** 2 <= max(radius, 0.5) ** 2] = colour
        margin = pictures._margin(radius)
        wide = pictures._packed(np.zeros((30 + 2 * margin, 40 + 2 * margin, 3), dtype=np.uint8))
        pictures._set_discs(wide, places + margin, chosen, radius)
        fast = wide.view(np.uint8).reshape(*wide.shape, 4)[margin : margin + 30, margin : margin + 40, :3]
        assert np.array_equal(fast, slow)


def test_distance_circles_are_round_and_lie_under_the_points():
    picture = np.asarray(birds_eye(torch.zeros(0, 3), colours(), size=400, extent=10.0)).astype(int)
    ring = np.abs(picture - RING).sum(2) < 30
    row, column = ring.nonzero()
    distances = np.hypot(row - 199.5, column - 199.5) / 20
    kept = (np.abs(distances - distances.round()) < 0.06) & (distances > 1.5)
    angles = np.degrees(np.arctan2(row, column))[kept]
    assert set(distances[kept].round().tolist()) == {2.0, 4.0, 6.0, 8.0} and len(angles) > 1500
    ahead = torch.tensor([[4.0, 0.0, 0.0]])
    covered = np.asarray(birds_eye(ahead, colours(RED), size=400, extent=10.0, point_radius=6.0))
    assert (covered[119:121, 199:201] == RED).all()


def test_points_beyond_the_picture_or_not_finite_are_left_out():
    far = torch.tensor([[1e9, 0, 0], [float("nan"), 0, 0], [0, float("-inf"), 0]])
    picture = birds_eye(far, colours(RED, RED, RED), size=60, rings=False)
    assert picture.getcolors() == [(3600, GROUND)]


@pytest.mark.parametrize("extent", [0.0, -5.0, float("nan")])
def test_an_extent_that_is_not_positive_is_refused(extent):
    with pytest.raises(ValueError, match="extent must be positive"):
        birds_eye(torch.zeros(1, 3), colours(RED), extent=extent)


@pytest.mark.parametrize("extent", [0.5, 3.0, 40.0, 75.0, 1000.0])
def test_distance_circles_are_few_and_round_at_every_scale(extent):
    distances = pictures._ring_distances(extent)
    assert 2 <= len(distances) <= 6
    assert all(f"{distance:g}".strip("0.")[0] in "1234568" for distance in distances)
    assert distances[-1] < extent


def test_an_empty_cloud_and_a_camera_without_points_can_be_drawn():
    assert birds_eye(torch.zeros(0, 3), colours(), size=120).size == (120, 120)
    image = torch.full((30, 40, 3), 200, dtype=torch.uint8)
    plain = camera_overlay(image, torch.zeros(0, 2), torch.zeros(0), colours(), min_width=1)
    assert plain.getcolors() == [(1200, (100,) * 3)]


@pytest.mark.parametrize("pixel", [(20.0, 10.0), (33.5, 21.25)])
def test_overlaid_points_lie_on_their_pixels_whose_centres_are_integers(pixel):
    image = torch.zeros(40, 60, 3, dtype=torch.uint8)
    picture = camera_overlay(
        image, torch.tensor([pixel]), torch.tensor([15.0]), colours(RED), point_radius=4.0, min_width=1
    )
    assert picture.size == (60, 40)
    assert middle_of(picture, RED) == pytest.approx(pixel, abs=0.34)


def test_nearer_points_are_bigger_and_hide_farther_ones():
    image = torch.zeros(60, 60, 3, dtype=torch.uint8)
    for depths in ((5.0, 30.0), (30.0, 5.0)):
        near = RED if depths[0] < depths[1] else BLUE
        picture = camera_overlay(
            image,
            torch.full((2, 2), 30.0),
            torch.tensor(depths),
            colours(RED, BLUE),
            point_radius=6.0,
            min_width=1,
        )
        assert {colour for _, colour in picture.getcolors() if sum(colour) > 250} == {tuple(near)}
    sizes = []
    for depth in (5.0, 15.0, 60.0):
        picture = camera_overlay(
            image,
            torch.full((1, 2), 30.0),
            torch.tensor([depth]),
            colours(RED),
            point_radius=6.0,
            min_width=1,
        )
        sizes.append(np.count_nonzero(np.asarray(picture)[..., 0]))
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_small_images_are_enlarged_with_their_points():
    image = torch.zeros(30, 40, 3, dtype=torch.uint8)
    picture = camera_overlay(
        image,
        torch.tensor([[10.0, 20.0]]),
        torch.tensor([15.0]),
        colours(RED),
        point_radius=5.0,
        min_width=100,
    )
    assert picture.size == (120, 90)
    assert middle_of(picture, RED) == pytest.approx((10.5 * 3 - 0.5, 20.5 * 3 - 0.5), abs=0.34)


def test_classes_get_their_colours_and_unlabelled_points_are_grey():
    labels = torch.tensor([3, IGNORE_LABEL, 15])
    drawn = class_colours(labels, NUSCENES)
    entries = class_entries(NUSCENES, labels)
    assert [tuple(row) for row in drawn.tolist()] == [entries["car"], NO_LABEL, entries["vegetation"]]
    assert list(entries) == ["car", "vegetation", "no label"]
    assert list(class_entries(NUSCENES)) == list(NUSCENES.classes)


@pytest.mark.parametrize("class_set", [NUSCENES, PANDASET])
def test_every_class_can_be_told_from_the_ground_and_from_the_others(class_set: ClassSet):
    drawn = [*class_entries(class_set).values(), GROUND]
    apart = [
        np.abs(np.subtract(first, second)).sum() for n, first in enumerate(drawn) for second in drawn[:n]
    ]
    assert min(apart) >= 15
    assert min(sum(colour) for colour in drawn[:-1]) > 200


def test_bright_class_colours_are_kept_as_they_are():
    assert class_entries(NUSCENES)["car"] == NUSCENES.colours[NUSCENES.classes.index("car")]


def test_errors_are_green_right_red_wrong_and_grey_where_there_is_no_label():
    predicted = torch.tensor([1, 1, 1, IGNORE_LABEL, IGNORE_LABEL])
    truth = torch.tensor([1, 2, IGNORE_LABEL, 1, IGNORE_LABEL])
    drawn = [tuple(row) for row in error_colours(predicted, truth).tolist()]
    assert drawn == [RIGHT, WRONG, NO_LABEL, NO_LABEL, NO_LABEL]
    assert set(ERROR_ENTRIES.values()) == set(drawn)


def test_heat_grows_brighter_and_stays_within_its_ends():
    drawn = heat_colours(torch.tensor([-5.0, 0.0, 2.5, 5.0, 10.0, 99.0]), low=0.0, high=10.0)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[4], drawn[5])
    brightness = drawn.double() @ torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    assert (brightness[1:5].diff() > 20).all()
    assert tuple(heat_colours(torch.tensor([float("nan")]))[0].tolist()) == NO_LABEL
    with pytest.raises(ValueError, match="low < high"):
        heat_colours(torch.zeros(1), low=1.0, high=1.0)


def test_the_legend_shows_every_colour_and_wraps_to_its_width():
    entries = class_entries(NUSCENES)
    wide, narrow = legend(entries, width=4000), legend(entries, width=420)
    assert narrow.height > 3 * wide.height
    for picture in (wide, narrow):
        shown = {colour for _, colour in picture.getcolors(picture.width * picture.height)}
        assert set(entries.values()) <= shown
    edge = np.asarray(narrow)[:, -3:]
    assert (edge == SHEET).all(), "text is cut off at the right edge"


def test_the_heat_legend_runs_from_one_end_to_the_other():
    shown = {colour for _, colour in heat_legend("0", "1", width=500).getcolors(500 * 36)}
    assert {tuple(row) for row in heat_colours(torch.tensor([0.0, 1.0])).tolist()} <= shown


def test_a_panel_has_the_asked_width_and_holds_every_picture():
    images = [Image.new("RGB", (300, 200), tuple(colour)) for colour in (RED, BLUE, [0, 255, 0])]
    key = legend(class_entries(NUSCENES), width=900)
    drawn = panel(images, ["a", "b", "c"], columns=2, legend=key, heading="Heading", width=1000)
    assert drawn.width == 1000
    counts = {colour: count for count, colour in drawn.getcolors(drawn.width * drawn.height)}
    cell = (1000 - 2 * 28 - 18) // 2
    for colour in (tuple(RED), tuple(BLUE), (0, 255, 0)):
        assert counts[colour] == pytest.approx(cell * round(cell * 2 / 3), rel=0.01)
    assert panel(images, ["a", "b", "c"], width=1000).height < drawn.height
    oversized = legend(class_entries(NUSCENES), width=3000)
    assert panel(images[:1], ["a"], legend=oversized, width=500).width == 500


def test_a_title_too_long_for_its_picture_is_written_smaller():
    images = [Image.new("RGB", (300, 200)), Image.new("RGB", (300, 200))]
    drawn = np.asarray(panel(images, ["a title that goes on and on and on", ""], width=500))
    gap = drawn[:54, 28 + (500 - 2 * 28 - 18) // 2 + 4 :]
    assert (gap == SHEET).all()


def test_a_panel_needs_pictures_and_a_title_for_each():
    with pytest.raises(ValueError, match="a title for each"):
        panel([], [])
    with pytest.raises(ValueError, match="got 1 and 2"):
        panel([Image.new("RGB", (3, 3))], ["a", "b"])


def test_pngs_are_written_whole(tmp_path):
    picture = birds_eye(torch.randn(50, 3) * 10, torch.randint(255, (50, 3), dtype=torch.uint8), size=90)
    save_png(tmp_path / "new" / "cloud.png", picture)
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "cloud.png"]
    with Image.open(tmp_path / "new" / "cloud.png") as read:
        assert read.format == "PNG"
        assert np.array_equal(np.asarray(read), np.asarray(picture))
