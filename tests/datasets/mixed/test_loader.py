import pytest
import torch

from clip2scene.datasets.dataset import Dataset, OpenOptions, stamp_sensors
from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.datasets.mixed.loader import Mixed, source_of
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.pandaset.loader import PandaSet
from clip2scene.datasets.streets import STREETS
from clip2scene.geometry.projection import transform_points
from clip2scene.types import IGNORE_LABEL

TOWN = OpenOptions("val", "toytown", True)


@pytest.fixture
def town(tiny_toytown):
    return {"root": str(tiny_toytown), "layout": "nuscenes", "name": "town"}


@pytest.fixture
def kitti(tiny_kitti):
    return {"root": str(tiny_kitti), "layout": "semantic-kitti", "name": "kitti", "classes": "town"}


def test_samples_of_two_layouts_are_those_of_their_own_loaders(
    write_mix, town, kitti, tiny_toytown, tiny_kitti
):
    mixed = Mixed.open(write_mix(town, kitti), TOWN)
    parts = NuScenes.open(tiny_toytown, TOWN), SemanticKitti.open(tiny_kitti, TOWN)
    assert isinstance(mixed, Dataset)
    assert len(mixed) == len(mixed.tokens) == sum(len(part.tokens) for part in parts)
    names = [
        f"{name}.{token}"
        for name, part in zip(["town", "kitti"], parts, strict=True)
        for token in part.tokens
    ]
    assert list(mixed.tokens) == names and list(mixed.tokens[1:]) == names[1:]
    for number, (part, own) in ((0, (parts[0], 0)), (len(mixed) - 1, (parts[1], len(parts[1].tokens) - 1))):
        sample, alone, source = mixed[number], part[own], mixed.sources[number > 0]
        assert sample.token == mixed.tokens[number]
        assert sample.cloud.positions.equal(alone.cloud.positions)
        assert sample.cloud.features.equal(alone.cloud.features)
        assert sample.read_image(0).equal(alone.read_image(0))
        for ours, own_id in set(zip(sample.labels.tolist(), alone.labels.tolist(), strict=True)):
            name = None if own_id < 0 else source.class_name(part.class_set.classes[own_id])
            assert (None if ours < 0 else mixed.class_set.classes[ours]) == name
        assert (sample.labels[alone.labels < 0] == IGNORE_LABEL).all()
        assert mixed.timestamps(number).drive.startswith(source_of(sample.token) + ".")
        assert mixed.scene_of(sample.token) == f"{source_of(sample.token)}.{part.scene_of(alone.token)}"
        assert mixed.has_image(sample.token) == part.has_image(alone.token)
        assert mixed.label_map_path(sample.token, 0) == part.label_map_path(alone.token, 0)
    with pytest.raises(ValueError, match="expected one of this data set"):
        mixed.has_image("boat.1")


def test_a_source_names_the_classes_that_it_has_and_no_others(write_mix, town, kitti):
    mixed = Mixed.open(write_mix(town, kitti), TOWN)
    assert mixed.named_by("town") == frozenset(range(len(mixed.class_set)))
    assert mixed.named_by("kitti") < mixed.named_by("town")


def test_labels_are_read_of_the_samples_that_are_named(write_mix, town, kitti, tiny_toytown):
    tokens = Mixed.open(write_mix(town, kitti), TOWN).tokens
    mixed = Mixed.open(write_mix(town, kitti), OpenOptions("val", "toytown", {tokens[0]}))
    assert mixed[0].labels is not None and mixed[len(mixed) - 1].labels is None


def test_all_files_of_the_sources_count_and_the_table_where_labels_do(write_mix, town, kitti):
    root = write_mix(town, kitti)
    mixed = Mixed.open(root, TOWN)
    files = mixed.input_files(labels=False, class_maps=False)
    parts = [
        STREETS[each.layout].open(each.root, TOWN).input_files(labels=False, class_maps=False)
        for each in mixed.sources
    ]
    assert files == [*parts[0], *parts[1]] and all(parts)
    assert root / "mix.json" in mixed.input_files(labels=True, class_maps=False)
    assert len(stamp_sensors(root, mixed)) == 32


def test_a_lidar_that_is_not_at_the_origin_is_brought_there_with_cameras_and_poses(write_mix, real_data):
    root = real_data / "pandaset-002"
    mixed = Mixed.open(write_mix({"root": str(root), "layout": "pandaset"}), OpenOptions("train"))
    alone = PandaSet.open(root, OpenOptions("train"))
    (mine, theirs), seat = (mixed[0], alone[0]), torch.tensor(alone.viewpoint)
    assert seat.any()
    torch.testing.assert_close(mine.cloud.positions + seat, theirs.cloud.positions)
    for one, other in zip(mine.cameras, theirs.cameras, strict=True):
        torch.testing.assert_close(
            transform_points(one.camera_from_lidar, mine.cloud.positions),
            transform_points(other.camera_from_lidar, theirs.cloud.positions),
            rtol=1e-4,
            atol=1e-3,
        )
    poses = [each.timestamps(0).world_from_cloud.double() for each in (mixed, alone)]
    torch.testing.assert_close(
        transform_points(poses[0], mine.cloud.positions.double()),
        transform_points(poses[1], theirs.cloud.positions.double()),
        rtol=1e-6,
        atol=1e-3,
    )


def test_two_real_sequences_are_mixed(write_mix, real_data):
    roots = sorted(real_data.glob("pandaset-*"))
    if len(roots) < 2:
        pytest.skip(f"{real_data} has {len(roots)} sequence of PandaSet, and two are needed")
    mixed = Mixed.open(
        write_mix(*({"root": str(each), "layout": "pandaset"} for each in roots)), OpenOptions("train")
    )
    assert mixed.class_set.name == "pandaset"


def test_a_source_may_have_another_name_for_a_split_or_none(write_mix, town, kitti):
    only = {**kitti, "splits": {"val": None}}
    mixed = Mixed.open(write_mix(town, only), TOWN)
    assert {source_of(each) for each in mixed.tokens} == {"town"} == {each.name for each in mixed.parts}
    swapped = Mixed.open(write_mix({**town, "splits": {"val": "train"}}, kitti), TOWN)
    assert swapped.tokens[0] != mixed.tokens[0]
    with pytest.raises(ValueError, match="no source has a split 'val'"):
        Mixed.open(write_mix({**town, "splits": {"val": None}}, only, name="none"), TOWN)


def test_a_source_that_is_gone_is_named(write_mix, town, kitti, tmp_path):
    gone = {**kitti, "root": str(tmp_path / "gone")}
    with pytest.raises(ValueError, match=r"source 'kitti': .*gone is no folder; mount it"):
        Mixed.open(write_mix(town, gone), TOWN)


def test_a_source_in_another_layout_than_is_said_is_named(write_mix, town, kitti):
    with pytest.raises(
        ValueError, match="source 'kitti': .*looks like a data set in the layout semantic-kitti"
    ):
        Mixed.open(write_mix(town, {**kitti, "layout": "drive-log"}), TOWN)


def test_a_source_without_images_is_refused_where_they_are_needed(
    write_mix, town, kitti, tiny_kitti, tmp_path
):
    blind = tmp_path / "blind"
    for folder in ("velodyne", "labels"):
        for source in tiny_kitti.glob(f"sequences/*/{folder}/*"):
            place = blind / source.relative_to(tiny_kitti)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
    for source in tiny_kitti.glob("sequences/*/*.txt"):
        (blind / source.relative_to(tiny_kitti)).symlink_to(source)
    options = OpenOptions("train", "toytown", need_images=True)
    with pytest.raises(ValueError, match="source 'kitti': .*image"):
        Mixed.open(write_mix(town, {**kitti, "root": str(blind)}), options)


def test_a_folder_without_the_file_says_that_it_is_missing(tmp_path):
    with pytest.raises(ValueError, match="mix.json is missing"):
        Mixed.class_set_of("own", tmp_path)
    with pytest.raises(ValueError, match="name its folder"):
        Mixed.class_set_of("own")
