import json

import pytest
import torch
from tests.datasets.rooms.conftest import EVERY, LABELLED, MESH, SCENE, VERTICES, write_ply

from clip2scene.build import open_dataset
from clip2scene.classes.tables import SCANNET, SCANNET_200
from clip2scene.config import DataConfig
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.types import IGNORE_LABEL


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_meshes_are_read_as_text_and_as_bytes(scene, tmp_path, form):
    write_ply(scene / f"{SCENE}_vh_clean_2.ply", form=form)
    write_ply(scene / f"{SCENE}_vh_clean_2.labels.ply", form=form, labels=True)
    assert ScanNet(tmp_path)[0].labels.tolist() == [0, 4, 4, IGNORE_LABEL, IGNORE_LABEL]
    assert torch.equal(ScanNet(tmp_path)[0].cloud.positions, torch.tensor(VERTICES))


@pytest.fixture
def things(scene, tmp_path):
    """The scene's five vertices as the segments 7, 7, 9, 9 and 4, of a lamp, and two that nobody knows."""
    segments = {"sceneId": f"scannet.{SCENE}", "segIndices": [7, 7, 9, 9, 4]}
    (scene / f"{SCENE}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(segments))
    groups = [{"segments": [7], "label": "lamp"}, {"segments": [9], "label": "my thing"}]
    (scene / f"{SCENE}.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    rows = ["id\traw_category\tcategory\tnyu40id", "28\tlamp\tlamp\t35", '7\t"odd\tcabinet\t3']
    (tmp_path / "scannetv2-labels.combined.tsv").write_text("\n".join(rows) + "\n")
    return scene


def test_categories_are_read_through_words_and_segments(things, tmp_path, caplog):
    data = DataConfig(layout="scannet", classes="scannet-200")
    dataset = open_dataset(data, tmp_path, split="train", labels=True)
    lamp = SCANNET_200.classes.index("lamp")
    assert dataset[0].labels.tolist() == [lamp, lamp, *[IGNORE_LABEL] * 3]
    assert "1 things have a word that is in no table" in caplog.text
    with pytest.raises(ValueError, match="--data.classes must be own or toytown"):
        DataConfig(classes="scannet-200")


def edited(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


SEGMENTS, THINGS = f"{SCENE}_vh_clean_2.0.010000.segs.json", f"{SCENE}.aggregation.json"


WORD_FAULTS = {
    "no table": (lambda s: (s / "../../scannetv2-labels.combined.tsv").unlink(), "tsv is missing"),
    "a table of other columns": (
        lambda s: (s / "../../scannetv2-labels.combined.tsv").write_text("id\tword\n1\twall\n"),
        "the columns id and raw_category",
    ),
    "a table cut short": (
        lambda s: (s / "../../scannetv2-labels.combined.tsv").write_text("id\traw_category\n"),
        "the columns id and raw_category",
    ),
    "no segments": (lambda s: (s / SEGMENTS).unlink(), "lacks .*segs.json"),
    "no things": (lambda s: (s / THINGS).unlink(), "lacks .*aggregation.json"),
    "fewer segments": (lambda s: edited(s / SEGMENTS, segIndices=[7, 7, 9, 9]), "4 vertices, but the mesh 5"),
    "segments as words": (lambda s: edited(s / SEGMENTS, segIndices=["7"] * 5), "list of whole numbers"),
    "segments as parts": (lambda s: edited(s / SEGMENTS, segIndices=[7.5] * 5), "list of whole numbers"),
    "huge segments": (lambda s: edited(s / SEGMENTS, segIndices=[10**30] * 5), "list of whole numbers"),
    "ragged segments": (lambda s: edited(s / SEGMENTS, segIndices=[[1], [1, 2]]), "list of whole numbers"),
    "a list instead": (lambda s: (s / SEGMENTS).write_text("[1]"), "an entry called segIndices"),
    "cut short": (lambda s: (s / THINGS).write_text('{"segGroups": [{"la'), "not valid JSON"),
    "one group": (lambda s: edited(s / THINGS, segGroups={}), "a list segGroups"),
    "a group without a word": (lambda s: edited(s / THINGS, segGroups=[{"segments": [7]}]), "called label"),
    "a word that is a number": (
        lambda s: edited(s / THINGS, segGroups=[{"segments": [7], "label": 3}]),
        "has no word",
    ),
    "a segment that is not there": (
        lambda s: edited(s / THINGS, segGroups=[{"segments": [7, 8], "label": "lamp"}]),
        "a segment that .* lacks",
    ),
}


@pytest.mark.parametrize("fault", WORD_FAULTS)
def test_a_fault_in_words_and_segments_is_one_sentence(things, tmp_path, fault):
    spoil, message = WORD_FAULTS[fault]
    spoil(things)
    with pytest.raises(ValueError, match=message) as caught:
        ScanNet(tmp_path, class_set=SCANNET_200, choice=EVERY)[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("foreign", "refused"), [(4, False), (5, True)])
def test_a_few_ids_that_are_none_of_nyu40s_are_not_judged(scene, tmp_path, caplog, foreign, refused):
    """Official scenes have a few vertices with ids like 50 and 149: less than 1 % is let pass."""
    rows = [(0.01 * number, 0.0, 2.0) for number in range(500)]
    write_ply(scene / MESH, rows=rows)
    write_ply(scene / LABELLED, rows=rows, labels=True, form="ascii")
    header, table = (scene / LABELLED).read_text().split("end_header\n")
    lines = [line.split() for line in table.splitlines()]
    for line in lines[:foreign]:
        line[-1] = "149"
    table = "".join(" ".join(line) + "\n" for line in lines)
    (scene / LABELLED).write_text(f"{header}end_header\n{table}")
    if refused:
        with pytest.raises(ValueError, match="5 of 500 vertices have labels like 149"):
            ScanNet(tmp_path)[0]
        return
    labels = ScanNet(tmp_path)[0].labels
    assert (labels[:foreign] == IGNORE_LABEL).all() and int(labels[5]) == SCANNET.classes.index("wall")
    assert "4 of 500 vertices have labels like 149" in caplog.text
