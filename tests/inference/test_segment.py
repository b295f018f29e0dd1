import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.inference.figures import word_colours
from clip2scene.inference.segment import picture_sample, segment_files
from clip2scene.inference.segmenter import Segmenter
from clip2scene.runs.run import open_run


@pytest.fixture(scope="module")
def sample(tiny_toytown):
    return NuScenes(tiny_toytown, split="val", labels=False)[0]


@pytest.fixture
def files(sample, tmp_path):
    """Two files of the same cloud, the second without its last point."""
    points = torch.cat([sample.cloud.positions, sample.cloud.features], dim=1).numpy()
    paths = [tmp_path / "one.npy", tmp_path / "two.npy"]
    for path, rows in zip(paths, (points, points[:-1]), strict=True):
        np.save(path, rows)
    return paths


def test_every_file_gets_its_labels_a_coloured_cloud_and_a_picture(tiny_run, sample, files, tmp_path):
    out = tmp_path / "out"
    written = segment_files(tiny_run, files, ["road", "tree"], out)
    assert written == [out / f"{stem}{kind}" for stem in ("one", "two") for kind in (".npz", ".ply", ".png")]
    segmenter = Segmenter.load(tiny_run)
    segmenter.set_prompts(["road", "tree"])
    expected = segmenter.segment(sample.cloud)
    found = np.load(out / "one.npz")
    assert found["names"].tolist() == ["road", "tree"]
    assert np.array_equal(found["labels"], expected.labels)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-3)
    assert len(np.load(out / "two.npz")["labels"]) == len(sample.cloud) - 1


def test_a_bad_file_is_named_and_nothing_is_written(tiny_run, files, tmp_path):
    points = np.load(files[1])
    points[3, 0] = np.nan
    np.save(files[1], points)
    with pytest.raises(ValueError, match="two.npy.*finite|two.npy.*NaN"):
        segment_files(tiny_run, files, ["road"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_one_name_and_no_files_are_refused(tiny_run, tmp_path):
    for clouds in ([], [tmp_path / "a" / "one.bin", tmp_path / "b" / "one.npy"]):
        with pytest.raises(ValueError, match="one or more clouds of different names"):
            segment_files(tiny_run, clouds, ["road"], tmp_path / "out")


def test_a_sample_is_pictured_in_words_that_the_run_was_never_trained_on(tiny_run, sample, tmp_path):
    run = open_run(shutil.copytree(tiny_run, tmp_path / "run"))
    path = picture_sample(run, sample, ("house", "tree", "road"))
    assert path == run.folder / "pictures" / f"{sample.token}-words.png"
    with Image.open(path) as picture:
        shown = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert any(tuple(colour) in shown for colour in word_colours(3).tolist())
    with pytest.raises(ValueError, match="zebra"):
        picture_sample(run, sample, ("zebra",))
