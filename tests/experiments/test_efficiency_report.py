import pytest

from clip2scene.experiments.efficiency_report import Cell, markdown


def cell(method, amount, seed, miou):
    labels = {"subset": {"units": ["a"], "tokens": ["a0", "a1"]}, "fingerprint": "f"}
    done = {"machine": "2 cores", "date": "2026-11-21"}
    return Cell(method, amount, seed, {"columns": {"student": {"miou": miou}}}, done, labels)


def test_gains_are_paired_by_seed():
    cells = [cell("scratch", "1 %", seed, 0.4 + seed / 10) for seed in (0, 1, 2)]
    cells += [cell("ours", "1 %", seed, 0.5 + seed / 10 + seed / 1000) for seed in (0, 1, 2)]
    text = markdown(cells, by="scene", layout=None)
    assert "+10.1 (p 0.000)" in text or "+10.1 (p 0.001)" in text
    assert "| scratch | 50.0 ± 10.0 |" in " ".join(text.split())


@pytest.mark.parametrize(
    ("layout", "by", "number", "other"),
    [
        ("nuscenes", "scene", "38.3", "56.3"),
        ("nuscenes", "keyframe", "56.3", "38.3"),
        ("semantic-kitti", "keyframe", "42.6", "38.3"),
        ("semantic-kitti", "keyframe", "44.6", "56.3"),  # SLidR too takes every hundredth scan there
        ("scannet", "scene", "48.4", "56.3"),
    ],
)
def test_published_values_of_the_right_protocol_stand_beside_the_papers_data(layout, by, number, other):
    text = markdown([cell("scratch", "1 %", 0, 0.4)], by=by, layout=layout)
    assert "## Published" in text
    assert number in text and other not in text
    assert "none of it was run here" in text


def test_nothing_is_published_for_other_data():
    for layout in (None, "pandaset", "semantic-kitti"):  # nobody labels whole drives of SemanticKITTI
        assert "Published" not in markdown([cell("scratch", "1 %", 0, 0.4)], by="scene", layout=layout)
