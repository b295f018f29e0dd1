import pytest

from clip2scene.datasets.drive_log.files import HEADER
from clip2scene.datasets.mixed.table import ids_among_all, join_classes, read_sources, sources_to_json
from clip2scene.io import write_json


def log(folder, *classes):
    """A drive log as far as its classes are concerned: (name, prompts...) each."""
    folder.mkdir(exist_ok=True)
    rows = [{"name": name, "prompts": [name, *more], "ids": [n]} for n, (name, *more) in enumerate(classes)]
    write_json(folder / "classes.json", HEADER | {"classes": rows})
    return {"root": str(folder), "layout": "drive-log"}


@pytest.fixture
def two(tmp_path):
    return (
        log(tmp_path / "a", ("car", "van"), ("road",)),
        log(tmp_path / "b", ("street",), ("car", "taxi"), ("pole",)),
    )


def read(folder):
    return read_sources(folder)


def test_the_same_word_is_one_class_with_the_prompts_of_all(write_mix, two):
    sources = read(write_mix(*two))
    union = join_classes(sources)
    assert union.classes == ("car", "road", "street", "pole")
    assert union.prompts[0] == ("car", "van", "taxi")
    assert [ids_among_all(each, union).tolist() for each in sources] == [[0, 1], [2, 0, 3]]


def test_synonyms_become_one_class_and_what_is_left_out_has_no_label(write_mix, two):
    sources = read(write_mix(two[0], {**two[1], "classes": {"street": "road", "pole": None}}))
    union = join_classes(sources)
    assert union.classes == ("car", "road") and union.prompts[1] == ("road", "street")
    assert ids_among_all(sources[1], union).tolist() == [1, 0, -1]


def test_the_table_of_words_maps_one_source_to_another(write_mix, tmp_path):
    kitti = {"root": str(tmp_path / "kitti"), "layout": "semantic-kitti", "classes": "log"}
    streets = {**log(tmp_path / "log"), "layout": "nuscenes"}
    sources = read(write_mix(streets, kitti))
    assert sources[1].class_name("building") == "manmade"
    assert join_classes(sources).classes == sources[0].class_set.classes


def test_sources_with_the_same_classes_keep_them_with_their_numbers(write_mix, tmp_path):
    rows = [log(tmp_path / name, ("car",), ("road",)) for name in "ab"]
    sources = read(write_mix(*rows))
    assert join_classes(sources) == sources[0].class_set
    assert join_classes(sources).train_id_of_raw == {0: 0, 1: 1}


def test_what_a_run_keeps_is_read_without_the_data(write_mix, two, tmp_path):
    sources = read(write_mix({**two[0], "weight": 3, "name": "first"}, two[1]))
    write_json(tmp_path / "run" / "mix.json", sources_to_json(sources))
    for name in "ab":
        (tmp_path / name / "classes.json").unlink()
    kept = read(tmp_path / "run")
    assert join_classes(kept) == join_classes(sources)
    assert [(each.name, each.weight) for each in kept] == [("first", 3.0), ("b", 1.0)]
    assert sources_to_json(kept) == sources_to_json(sources)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weight": 0}, '"weight" 0, expected above 0'),
        ({"weight": -1}, "expected above 0"),
        ({"weight": True}, "expected above 0"),
        ({"weight": "2"}, "expected above 0"),
        ({"weight": 10**400}, "expected above 0, below 1e9"),
        ({"weight": 5000}, "a share of 0.001 or more"),
        ({"layout": "scannet"}, "rooms, and mixtures in mixtures, are not mixed"),
        ({"layout": "mix"}, "rooms, and mixtures in mixtures, are not mixed"),
        ({"layout": []}, "has the layout []"),
        ({"layout": None}, "has the layout None"),
        ({"name": "a.b"}, "letters, digits, _ and -"),
        ({"name": "b"}, "calls two sources 'b'"),
        ({"wieght": 2}, "has the key 'wieght'"),
        ({"root": 3}, 'an object with a "root"'),
        ({"splits": ["train"]}, "must give names or null by name"),
        ({"classes": {"boat": "car"}}, "renames 'boat', but it has car, road"),
        ({"classes": "c"}, "expected the name of another source, one of b"),
        ({"class_set": "birds"}, "source 'a'"),
        ({"table": {"name": 1}}, "is damaged"),
    ],
)
def test_a_bad_source_is_refused_in_a_sentence(write_mix, two, change, message):
    if "class_set" in change:
        two = ({**two[0], "layout": "nuscenes"}, two[1])
    with pytest.raises(ValueError, match=r"mix.json") as refused:
        read(write_mix({**two[0], **change}, two[1]))
    assert message in str(refused.value)


def test_a_root_that_is_there_twice_is_refused_whatever_it_is_called(write_mix, two, tmp_path):
    again = {"root": f"{tmp_path}/b/../a", "layout": "drive-log", "name": "other"}
    with pytest.raises(
        ValueError, match="twice, as 'a' and 'other'; a source that is to be drawn more often"
    ):
        read(write_mix(*two, again))


@pytest.mark.parametrize("content", [[], {}, {"sources": []}, {"sources": "a"}])
def test_a_file_without_sources_is_refused(tmp_path, content):
    write_json(tmp_path / "mix.json", content)
    with pytest.raises(ValueError, match="with one source or more"):
        read(tmp_path)


def test_a_word_that_is_two_classes_is_refused_until_one_is_renamed(write_mix, tmp_path):
    rows = log(tmp_path / "a", ("vehicle", "car")), log(tmp_path / "b", ("car",), ("road",))
    with pytest.raises(ValueError, match="'car' is of class 'vehicle' in source 'a', and of class 'car' in"):
        join_classes(read(write_mix(*rows)))
    renamed = join_classes(read(write_mix(rows[0], {**rows[1], "classes": {"car": "vehicle"}})))
    assert renamed.classes == ("vehicle", "road")


def test_a_source_that_leaves_out_every_class_is_refused(write_mix, two):
    with pytest.raises(ValueError, match="leaves out all of its classes"):
        join_classes(read(write_mix({**two[0], "classes": {"car": None, "road": None}}, two[1])))
