import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene.datasets.clouds import CloudOptions, las, read_ply
from clip2scene.datasets.clouds import read as read_module
from clip2scene.datasets.clouds.labelled import NO_LABEL
from clip2scene.datasets.clouds.labelled import las as labelled_las
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.geometry.mount import ground_of_mount
from clip2scene.inference import first_look, memory, segment
from clip2scene.inference.figures import word_colours, word_palette
from clip2scene.inference.segment import SegmentOptions, picture_sample, segment_files
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.tile_store import TileStore
from clip2scene.io import read_json, write_json
from clip2scene.runs.run import open_run

KINDS = (".npz", ".ply", ".label", ".classes.json", ".png")
"""Of a cloud that names no fields."""


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
    assert written == [out / f"{stem}{kind}" for stem in ("one", "two") for kind in KINDS]
    segmenter = Segmenter.load(tiny_run)
    segmenter.set_prompts(["road", "tree"])
    expected = segmenter.segment(sample.cloud)
    found = np.load(out / "one.npz")
    assert found["names"].tolist() == ["road", "tree"]
    assert np.array_equal(found["labels"], expected.labels)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-3)
    assert len(np.load(out / "two.npz")["labels"]) == len(sample.cloud) - 1


def test_a_cloud_need_not_be_drawn(tiny_run, files, tmp_path):
    written = segment_files(tiny_run, files[:1], ["road"], tmp_path / "out", SegmentOptions(picture=False))
    assert written == [tmp_path / "out" / f"one{kind}" for kind in KINDS[:-1]]
    assert sorted((tmp_path / "out").iterdir()) == sorted(written)


def test_a_bad_file_is_named_and_nothing_is_written(tiny_run, files, tmp_path):
    points = np.load(files[1])
    points[3, 0] = np.nan
    np.save(files[1], points)
    with pytest.raises(ValueError, match="two.npy.*finite|two.npy.*NaN"):
        segment_files(tiny_run, files, ["road"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("axes", ["FLU", "RDF"])
def test_the_ply_lies_where_the_file_has_its_points_with_a_label_each(tiny_run, sample, tmp_path, axes):
    points = torch.cat([sample.cloud.positions, sample.cloud.features], dim=1).double().numpy()
    if axes == "RDF":
        points[:, :3] = points[:, :3] @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    points[:, :3] *= 100
    points[:, 0] += 5e7
    np.save(tmp_path / "one.npy", points)
    said = []
    segment_files(
        tiny_run,
        [tmp_path / "one.npy"],
        ["road", "tree"],
        tmp_path / "out",
        SegmentOptions(files=CloudOptions(axes=axes, unit="cm")),
        note=said.append,
    )
    columns = read_ply(tmp_path / "out" / "one.ply")
    np.testing.assert_array_equal(np.stack([columns[axis] for axis in "xyz"], 1), points[:, :3])
    labels = np.load(tmp_path / "out" / "one.npz")["labels"]
    assert np.array_equal(columns["label"], np.where(labels < 0, NO_LABEL, labels))
    assert np.array_equal(
        np.stack([columns["red"], columns["blue"]], 1), word_palette(2).numpy()[labels][:, ::2]
    )
    assert len(said) == 1 and "one.npy: its coordinates are a map's" in said[0]


def test_a_cloud_too_large_for_the_memory_is_refused_before_any_is_labelled(
    tiny_run, files, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "free_memory", lambda device: 1e5)
    with pytest.raises(ValueError, match=r"one\.npy: labelling .* points with \d+ words needs about"):
        segment_files(tiny_run, files, ["road"], tmp_path / "out")
    monkeypatch.undo()

    def run_out(self, cloud, **_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(Segmenter, "segment", run_out)
    with pytest.raises(ValueError, match=r"one\.npy: memory ran out while"):
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


def test_clouds_unlike_the_training_clouds_are_noted_together(tiny_run, files, tmp_path):
    for path in files:
        np.save(path, np.load(path) + np.float32([0, 0, 0.3, 0]))
    notes = []
    segment_files(tiny_run, files, ["road"], tmp_path / "out", note=notes.append)
    (note,) = [each for each in notes if "unlike" in each]
    assert note.startswith(f"{files[0]} and 1 more: unlike the training clouds, the ground lies at z = -1.5")


def test_a_cloud_in_centimetres_is_refused_with_its_unit_which_mends_it(tiny_run, files, tmp_path):
    right = tmp_path / "right"
    segment_files(tiny_run, files[:1], ["road", "tree"], right)
    np.save(files[0], np.load(files[0]).astype("f8") * [100, 100, 100, 1])
    notes, out = [], tmp_path / "out"
    with pytest.raises(ValueError, match=r"one.npy.*centimetres.*--unit cm, or .*--unlike accept"):
        segment_files(tiny_run, files[:1], ["road", "tree"], out)
    assert not out.exists()
    segment_files(tiny_run, files[:1], ["road", "tree"], out, SegmentOptions(files=CloudOptions(unit="cm")))
    assert np.array_equal(np.load(out / "one.npz")["labels"], np.load(right / "one.npz")["labels"])
    segment_files(tiny_run, files[:1], ["road"], out, SegmentOptions(unlike="accept"), note=notes.append)
    assert any("centimetres" in note for note in notes)


def test_a_map_is_brought_to_the_ground_that_the_run_learnt_from(tiny_run, files, tmp_path):
    np.save(files[0], np.load(files[0]).astype("f8") + [4e5, 5e6, 300, 0])
    notes = []
    segment_files(tiny_run, files[:1], ["road"], tmp_path / "out", note=notes.append)
    assert not any("unlike" in note and "ground" in note for note in notes)


def changed(run, folder, **settings):
    """A copy of a run with other settings of its student."""
    shutil.copytree(run, folder)
    recipe = read_json(folder / "recipe.json")
    write_json(folder / "recipe.json", {**recipe, "student": {**recipe["student"], **settings}})
    return folder


def test_the_mount_takes_the_place_of_the_estimated_ground(tiny_run, files, tmp_path, monkeypatch):
    run, given = changed(tiny_run, tmp_path / "run", level=True), []
    real = Segmenter.segment
    monkeypatch.setattr(
        Segmenter,
        "segment",
        lambda self, cloud, *, ground, **_: given.append(ground) or real(self, cloud, ground=ground),
    )
    mount = ground_of_mount(1.84)
    segment_files(
        run, files[:1], ["road", "tree"], tmp_path / "told", SegmentOptions(mount=mount, picture=False)
    )
    segment_files(run, files[:1], ["road", "tree"], tmp_path / "found", SegmentOptions(picture=False))
    assert given == [mount, None]
    told, found = (np.load(tmp_path / name / "one.npz")["labels"] for name in ("told", "found"))
    assert (told == found).mean() > 0.9
    wrong = ground_of_mount(0.4)
    segment_files(
        run, files[:1], ["road", "tree"], tmp_path / "wrong", SegmentOptions(mount=wrong, picture=False)
    )
    assert not np.array_equal(np.load(tmp_path / "wrong" / "one.npz")["scores"], found)


def test_a_student_that_takes_clouds_as_they_are_refuses_a_mount(tiny_run, files, tmp_path, call):
    words = ("segment", tiny_run, files[0], "--prompts", "road", "--out", tmp_path / "out")
    code, _, err = call(*words, "--height", 1.8)
    assert code == 1 and "takes clouds as they are, whatever the mount; leave --height" in err
    code, _, err = call(*words, "--pitch", 2)
    assert code == 1 and "--pitch and --roll are told with the sensor's --height" in err


def test_a_folder_of_clouds_is_answered_in_its_formats_and_its_folders(tiny_run, sample, tmp_path):
    laspy = pytest.importorskip("laspy")
    points = torch.cat([sample.cloud.positions, (sample.cloud.features * 65535).round()], dim=1).numpy()
    drive = tmp_path / "drive"
    for name in ("00", "01"):
        (drive / name).mkdir(parents=True)
    points.tofile(drive / "00" / "sweep.bin")
    data = laspy.create(point_format=6, file_version="1.4")
    data.header.scales = [1e-4] * 3
    data.xyz, data.intensity = points[:, :3].astype(np.float64), points[:, 3]
    data.write(drive / "01" / "sweep.las")
    out = tmp_path / "out"
    written = segment_files(
        tiny_run, [drive], ["road", "tree"], out, SegmentOptions(picture=False, unlike="accept")
    )
    assert {path.relative_to(out).as_posix() for path in written} == {
        *(f"00/sweep{kind}" for kind in KINDS[:-1]),
        *(f"01/sweep{kind}" for kind in (".npz", ".ply", ".las", ".classes.json")),
    }
    found = np.load(out / "00" / "sweep.npz")["labels"]
    raw = np.fromfile(out / "00" / "sweep.label", "<u4")
    assert np.array_equal(raw, np.array([40, 70, 0])[found])  # SemanticKITTI's road and vegetation
    with np.load(out / "01" / "sweep.npz") as numbers:
        labels, scores = numbers["labels"], numbers["scores"]
    answer, given = laspy.read(out / "01" / "sweep.las"), laspy.read(drive / "01" / "sweep.las")
    assert np.array_equal(answer.classification, np.array([64, 65, 1])[labels])
    np.testing.assert_allclose(answer["confidence"], scores.max(1), atol=1e-3)
    assert np.array_equal(answer.xyz, given.xyz) and np.array_equal(answer.intensity, given.intensity)


def test_a_cloud_is_not_written_over(tiny_run, files, tmp_path):
    from clip2scene.datasets.clouds import write_ply

    points = torch.from_numpy(np.load(files[0]))
    write_ply(tmp_path / "sweep.ply", points[:, :3])
    with pytest.raises(ValueError, match=r"written over .*sweep.ply; name another folder by --out"):
        segment_files(tiny_run, [tmp_path / "sweep.ply"], ["road"], tmp_path, SegmentOptions(unlike="accept"))


def test_raw_labels_are_kept_in_every_format_and_a_quality_changes_scores(tiny_run, sample, tmp_path, call):
    points = np.zeros(len(sample.cloud), [(name, "f4") for name in ("x", "y", "z", "intensity")])
    for number, name in enumerate(points.dtype.names):
        points[name] = torch.cat([sample.cloud.positions, sample.cloud.features], 1)[:, number]
    np.save(tmp_path / "one.npy", points)
    words = ("segment", tiny_run, tmp_path / "one.npy", "--prompts", "road,tree,car", "--no-picture")
    scores = {}
    for quality in ("low", "medium", "high"):
        out = tmp_path / quality
        code, _, err = call(*words, "--quality", quality, "--keep-raw", "--out", out)
        assert code == 0, err
        with np.load(out / "one.npz") as found:
            raw, scores[quality] = found["raw_labels"], found["scores"]
        answer = np.load(out / "one.npy")
        assert np.array_equal(answer["label_raw"], np.where(raw < 0, NO_LABEL, raw))
        segmenter = Segmenter.load(tiny_run)
        segmenter.set_prompts(["road", "tree", "car"])
        segmenter.student.superpoint_mean = False
        expected = segmenter.segment(sample.cloud, quality=quality).labels.numpy()
        assert np.mean(raw == expected) > 0.999  # a command multiplies with fewer digits
    assert not np.array_equal(scores["low"], scores["high"])


def test_a_large_las_file_is_read_in_pieces_and_labelled_as_one_in_memory(
    tiny_run, sample, tmp_path, monkeypatch
):
    laspy = pytest.importorskip("laspy")
    data = laspy.create(point_format=6, file_version="1.4")
    data.header.scales, data.header.offsets = [1e-4] * 3, [4.5e5, 5.4e6, 0]
    data.x, data.y, data.z = (sample.cloud.positions.double().numpy() + [4.5e5, 5.4e6, 0]).T
    data.intensity = (sample.cloud.features[:, 0] * 65535).round().numpy()
    data.write(tmp_path / "map.laz")
    given = (tiny_run, [tmp_path / "map.laz"], ["road", "tree"])
    options = SegmentOptions(unlike="accept", files=CloudOptions(intensity_max=65535.0))
    segment_files(*given, tmp_path / "whole", replace(options, tile=0.0), note=print)
    for module in (las, labelled_las):
        monkeypatch.setattr(module, "CHUNK", 3000)
    monkeypatch.setattr(segment, "MOST_KEPT", 9000)  # so every second point is looked at first
    made = segment_files(*given, tmp_path / "tiles", options, note=print)
    assert made == [tmp_path / "tiles" / f"map{kind}" for kind in (".laz", ".classes.json", ".png")]
    assert sorted((tmp_path / "tiles").iterdir()) == sorted(made)
    whole, tiles = (laspy.read(tmp_path / name / "map.laz") for name in ("whole", "tiles"))
    assert np.array_equal(whole.xyz, tiles.xyz) and np.array_equal(whole.intensity, tiles.intensity)
    assert len(np.unique(whole.classification)) > 1
    # their origins, medians of all and of every second point, lie some centimetres apart, and so do voxels
    assert np.mean(np.asarray(whole.classification) == np.asarray(tiles.classification)) > 0.9


def test_a_cloud_too_large_for_the_memory_is_cut_into_tiles(tiny_run, files, tmp_path, monkeypatch):
    segment_files(tiny_run, files[:1], ["road", "tree"], tmp_path / "whole", SegmentOptions(picture=False))
    monkeypatch.setattr(memory, "free_memory", lambda device: 1e5)
    monkeypatch.setattr(first_look, "MOST_VOXELS", 1000)
    made = segment_files(tiny_run, files[:1], ["road", "tree"], tmp_path / "tiles")
    assert [path.name for path in made] == ["one.label", "one.classes.json", "one.png"]
    whole, tiles = (np.fromfile(tmp_path / name / "one.label", "<u4") for name in ("whole", "tiles"))
    assert np.mean(whole == tiles) > 0.99
    with pytest.raises(ValueError, match=r"one\.npy: labelling .* words needs about"):
        segment_files(tiny_run, files[:1], ["road"], tmp_path / "none", SegmentOptions(tile=0.0))
    with pytest.raises(ValueError, match="--tile is -1, expected the edge"):
        SegmentOptions(tile=-1.0)


def test_an_interrupted_command_is_gone_on_with_and_another_one_is_not(
    tiny_run, files, tmp_path, monkeypatch
):
    out, given, notes = tmp_path / "out", [], []
    real = Segmenter.segment

    def segment(self, cloud, **options):
        if len(given) == 1:
            raise KeyboardInterrupt
        given.append(cloud)
        return real(self, cloud, **options)

    monkeypatch.setattr(Segmenter, "segment", segment)
    with pytest.raises(KeyboardInterrupt):
        segment_files(tiny_run, files, ["road", "tree"], out)
    monkeypatch.setattr(
        Segmenter, "segment", lambda self, cloud, **_: given.append(cloud) or real(self, cloud)
    )
    first = (out / "one.npz").stat().st_mtime_ns
    made = segment_files(tiny_run, files, ["road", "tree"], out, note=notes.append)
    assert made == [out / f"{stem}{kind}" for stem in ("one", "two") for kind in KINDS]
    assert len(given) == 2 and (out / "one.npz").stat().st_mtime_ns == first
    assert notes == [f"{files[0]}: answered by the same command before; kept"]
    (out / "two.png").unlink()  # so that answer is not whole
    segment_files(tiny_run, files, ["road", "tree"], out)
    segment_files(tiny_run, files, ["road"], out)
    np.save(files[0], np.load(files[0])[1:])
    segment_files(tiny_run, files, ["road"], out)
    assert len(given) == 2 + 1 + 2 + 1


def test_the_tiles_of_an_interrupted_cloud_are_kept(tiny_run, files, tmp_path, monkeypatch):
    out, options, seen = tmp_path / "out", SegmentOptions(tile=40.0, picture=False), []
    real = Segmenter.segment_prepared

    def until_the_third(self, *args, **more):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(self, *args, **more)

    monkeypatch.setattr(Segmenter, "segment_prepared", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        segment_files(tiny_run, files[:1], ["road", "tree"], out, options)
    assert not (out / "one.label").exists()
    made = segment_files(tiny_run, files[:1], ["road", "tree"], out, options)
    tiles = len(seen) - 1
    segment_files(tiny_run, files[:1], ["road", "tree"], tmp_path / "whole", options)
    assert len(seen) == 1 + 2 * tiles
    assert made == sorted(out.iterdir(), reverse=True)
    assert (out / "one.label").read_bytes() == (tmp_path / "whole" / "one.label").read_bytes()


@pytest.mark.parametrize("failing", ["write_tiled", "save_png"])
def test_tiles_are_kept_until_the_answer_is_written(tiny_run, files, tmp_path, monkeypatch, failing):
    out, options, seen = tmp_path / "out", SegmentOptions(tile=40.0), []
    real = Segmenter.segment_prepared

    def counted(self, *args, **more):
        seen.append(1)
        return real(self, *args, **more)

    def fails(*_, **__):
        raise ValueError("no")

    monkeypatch.setattr(Segmenter, "segment_prepared", counted)
    with monkeypatch.context() as broken:
        broken.setattr(segment, failing, fails)
        with pytest.raises(ValueError, match="no"):
            segment_files(tiny_run, files[:1], ["road", "tree"], out, options)
    tiles = len(seen)
    made = segment_files(tiny_run, files[:1], ["road", "tree"], out, options)
    assert len(seen) == tiles and sorted(out.iterdir()) == sorted(made)
    monkeypatch.setattr(TileStore, "add", fails)
    with pytest.raises(ValueError, match="no"):
        segment_files(tiny_run, files[:1], ["road"], out, options)
    assert not any(out.iterdir())  # of points that are not sorted, nothing is kept


def test_half_an_answer_beside_half_of_another_is_never_taken_for_one(tiny_run, files, tmp_path, monkeypatch):
    out, one, two = tmp_path / "out", (["road", "tree"],), (["car"],)
    segment_files(tiny_run, files[:1], *one, out)
    right = (out / "one.label").read_bytes()

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(segment, "save_png", stop)  # all is written but the picture, and the table
        with pytest.raises(KeyboardInterrupt):
            segment_files(tiny_run, files[:1], *two, out)
    assert not (out / "one.png").exists()
    segment_files(tiny_run, files[:1], *one, out)
    assert (out / "one.label").read_bytes() == right


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_file_is_read_no_second_time_before_it_is_labelled(
    tiny_run, files, tmp_path, monkeypatch, count
):
    real, read = read_module._read_table, []
    monkeypatch.setattr(read_module, "_read_table", lambda *args: read.append(args[0]) or real(*args))
    segment_files(tiny_run, files[:count], ["road"], tmp_path / "out")
    assert read == (files[:1] if count == 1 else 2 * files)
