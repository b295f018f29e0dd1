import re
from pathlib import Path

import pytest

from clip2scene.classes.class_set import ClassSet, keep_classes
from clip2scene.classes.mapping import map_classes
from clip2scene.classes.tables import (
    ALL,
    CITYSCAPES,
    CLASS_SETS,
    NUSCENES,
    PANDASET,
    SCANNET,
    SCANNET_200,
    SEMANTIC_KITTI,
    TOYTOWN,
)
from clip2scene.types import IGNORE_LABEL

DOCS = Path(__file__).resolve().parents[2] / "docs" / "words.md"
PROMPTED = [NUSCENES, SEMANTIC_KITTI, CITYSCAPES, SCANNET, ALL]
EVALUATED = [NUSCENES, TOYTOWN, CITYSCAPES, PANDASET, SEMANTIC_KITTI]
TITLES = {"nuScenes": NUSCENES, "SemanticKITTI": SEMANTIC_KITTI, "Cityscapes": CITYSCAPES, "ScanNet": SCANNET}


def by_name(prompted, evaluated):
    found = map_classes(prompted, evaluated).tolist()
    return {
        word: evaluated.classes[i] if i >= 0 else "-" for word, i in zip(prompted.classes, found, strict=True)
    }


def tables(text):
    """Rows of every table of a Markdown text: heading above, header, cells."""
    heading = ""
    header = None
    for line in text.splitlines():
        if line.startswith("#"):
            heading, header = line.lstrip("# "), None
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if header is None:
                header = cells
            elif not re.fullmatch(r"-+:?", cells[0]):
                yield heading, dict(zip(header, cells, strict=True))
        else:
            header = None


@pytest.mark.parametrize("prompted", PROMPTED, ids=lambda each: each.name)
@pytest.mark.parametrize("evaluated", EVALUATED, ids=lambda each: each.name)
def test_every_word_has_an_answer_or_none_in_every_street(prompted, evaluated):
    found = map_classes(prompted, evaluated)
    assert found.shape == (len(prompted),)
    assert found.min() >= IGNORE_LABEL and found.max() < len(evaluated)


@pytest.mark.parametrize("class_set", CLASS_SETS.values(), ids=CLASS_SETS)
def test_a_set_judged_in_itself_stays_as_it_is(class_set):
    assert map_classes(class_set, class_set).tolist() == list(range(len(class_set)))


def test_finer_words_become_one_class():
    found = by_name(SEMANTIC_KITTI, NUSCENES)
    assert {found[word] for word in ("building", "fence", "pole", "traffic sign")} == {"manmade"}
    assert found["trunk"] == found["vegetation"] == "vegetation"
    assert found["road"] == found["parking"] == "driveable surface"
    assert found["person"] == "pedestrian" and found["bicyclist"] == "bicycle"


def test_a_word_means_the_same_in_the_union_as_in_its_own_set():
    for evaluated in EVALUATED:
        union = by_name(ALL, evaluated)
        for prompted in (NUSCENES, SEMANTIC_KITTI, CITYSCAPES, SCANNET):
            assert by_name(prompted, evaluated).items() <= union.items()


def test_toytown_judges_as_nuscenes_does_where_it_has_the_class():
    for prompted in PROMPTED:
        whole, part = by_name(prompted, NUSCENES), by_name(prompted, TOYTOWN)
        for word, answer in whole.items():
            assert part[word] == (answer if answer in TOYTOWN.classes else "-")


def test_pandaset_judges_as_cityscapes_does():
    for prompted in PROMPTED:
        assert by_name(prompted, PANDASET) == by_name(prompted, CITYSCAPES)


def test_a_part_of_a_set_is_judged_as_the_whole():
    part = keep_classes(SEMANTIC_KITTI, "semantic-kitti", {"pole": ("pole",), "car": ("car",)})
    assert by_name(part, TOYTOWN) == {"pole": "manmade", "car": "car"}


def test_words_without_a_table_are_refused():
    mine = ClassSet("mine", ("car", "dragon"), (("car",), ("dragon",)), ((0, 0, 0), (1, 1, 1)), {})
    with pytest.raises(ValueError, match="'dragon' of class set 'mine' is in 'nuscenes'"):
        map_classes(mine, NUSCENES)
    with pytest.raises(ValueError, match="'road' of class set 'cityscapes' is in 'scannet'"):
        map_classes(CITYSCAPES, SCANNET)
    cars = keep_classes(CITYSCAPES, "cars", {"car": ("car",)})
    assert map_classes(cars, mine).tolist() == [0]


def test_the_documents_tables_are_complete_and_true():
    written = {name: {} for name in ("nuscenes", "toytown", "cityscapes", "semantic-kitti")}
    for heading, row in tables(DOCS.read_text(encoding="utf-8")):
        for name, answers in written.items():
            if f"in {name}" in row:
                answers.setdefault(heading, {})[row["word"]] = row[f"in {name}"]
    for name, by_heading in written.items():
        evaluated = CLASS_SETS[name]
        for heading, rows in by_heading.items():
            prompted = TITLES.get(heading, ALL)
            true = by_name(prompted, evaluated)
            assert rows.items() <= true.items(), (evaluated.name, heading)
            unsaid = {word: answer for word, answer in true.items() if word not in rows and answer != word}
            furniture = set(SCANNET.classes) if prompted is ALL else set()
            assert all(answer == "-" and word in furniture for word, answer in unsaid.items()), unsaid
    assert set(written["nuscenes"]) == set(written["toytown"]) == set(TITLES)


def test_the_documents_counts_are_true():
    counts = {
        row["set"].strip("`"): row for _, row in tables(DOCS.read_text(encoding="utf-8")) if "set" in row
    }
    known = {**CLASS_SETS, SCANNET_200.name: SCANNET_200}
    assert counts.keys() == known.keys()
    for name, row in counts.items():
        names = sum(map(len, known[name].prompts))
        assert (int(row["classes"]), int(row["names"])) == (len(known[name]), names), (name, names)
