import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from tests.inference.fleet.answers import labels_of, rows_of
from tests.inference.fleet.conftest import RUN, SWEEPS, one_by_one
from tests.snippets import snippets

from clip2scene.datasets.label_layer import open_layers
from clip2scene.inference.fleet import job, local, on_ray
from clip2scene.inference.fleet import parquet as parquet_module
from clip2scene.inference.fleet.job import Crew, label_samples
from clip2scene.inference.fleet.label import Labeller, LabelOptions
from clip2scene.inference.fleet.manifest import Manifest, Unit
from clip2scene.io.store import FolderStore
from clip2scene.viewer.corrections import Corrections


def stops_after(count):
    """An engine that is interrupted after some parts."""

    def work(*words, **options):
        for number, done in enumerate(one_by_one(*words, **options)):
            if number == count:
                raise KeyboardInterrupt
            yield done

    return work


def test_every_sample_has_its_labels_and_a_row_that_tells_of_them(asked, whole):
    labeller = Labeller(RUN, asked["data_root"], "val", asked["how"])
    rows, files = rows_of(whole), labels_of(whole)
    assert sorted(rows) == sorted(labeller.tokens) and len(files) == SWEEPS
    token = labeller.tokens[3]
    assert files[f"{token}.labels.npz"] == labeller.label(labeller.read(3))
    row = rows[token]
    assert (row["scene"], row["timestamp_us"], row["labels"]) == ("08", 300_000, f"labels/{token}.labels.npz")
    counted = [value for name, value in row.items() if name.startswith("points_")]
    assert sum(counted) == row["points"] == len(labeller.read(3).cloud) and max(counted) < row["points"]
    assert 0 < row["mean_confidence"] < 1 and row["seconds"] > 0 and row["error"] is None


def test_labels_are_a_layer_for_the_viewer_for_export_and_for_compare(call, asked, whole, tmp_path):
    labeller = Labeller(RUN, asked["data_root"], "val", asked["how"])
    layers = open_layers(whole / "labels", labeller.tokens)
    sample = labeller.read(0)
    given = layers.of(sample, labeller.dataset.class_set.classes)
    shown = Corrections(whole / "labels", labeller.dataset.class_set, read_only="looked at").layer(sample)
    assert (shown.labels == given).all() and len(given.unique()) > 1
    data = ("--data-root", asked["data_root"], "--layer", whole / "labels")
    code, said, err = call("export", *data, "--to", "point-labeler", "--out", tmp_path / "handed")
    assert code == 0 and f"wrote {SWEEPS} clouds of 1 scenes" in said, err
    code, said, err = call("compare", whole / "labels", whole / "labels")
    assert code == 0 and "100.0" in said and "road" in said, err


def test_the_query_of_the_page_is_answered(whole, tmp_path, monkeypatch):
    (tmp_path / "labelled").symlink_to(whole)
    monkeypatch.chdir(tmp_path)
    (program,) = (each for each in snippets("docs/fleet.md") if each.language == "python")
    names = {}
    exec(compile(program.text, str(program), "exec"), names)
    (points,) = names["by_scene"]["points_sum"].to_pylist()
    assert points == sum(row["points"] for row in rows_of(whole).values())


def test_an_interrupted_job_goes_on_and_does_nothing_twice(asked, whole, tmp_path, monkeypatch):
    labelled, label = [], Labeller.label
    monkeypatch.setattr(Labeller, "label", lambda self, s: (labelled.append(s.token), label(self, s))[1])
    monkeypatch.setattr(local, "label_in_pool", stops_after(4))
    with pytest.raises(KeyboardInterrupt):
        label_samples(**asked, out=str(tmp_path / "out"))
    monkeypatch.setattr(local, "label_in_pool", one_by_one)
    done = label_samples(**asked, out=str(tmp_path / "out"))
    assert done.samples == SWEEPS and done.labelled == SWEEPS - 5 and not done.failed
    assert "5 were labelled before or by another job" in done.sentence()
    assert len(labelled) == len(set(labelled)) == SWEEPS
    assert labels_of(tmp_path / "out") == labels_of(whole)
    assert label_samples(**asked, out=str(tmp_path / "out")).labelled == 0 and len(labelled) == SWEEPS
    assert not (tmp_path / "out" / "jobs").exists()


@pytest.mark.usefixtures("in_this_process")
def test_two_jobs_share_the_work(asked, whole, tmp_path):
    found, out = [], str(tmp_path / "out")
    threads = [
        threading.Thread(target=lambda: found.append(label_samples(**asked, out=out))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.labelled for each in found) == SWEEPS and all(each.labelled for each in found)
    assert labels_of(tmp_path / "out") == labels_of(whole) and len(rows_of(tmp_path / "out")) == SWEEPS


@pytest.mark.usefixtures("in_this_process")
def test_parts_of_a_job_that_died_are_taken_over_and_those_of_one_at_work_waited_for(
    asked, tmp_path, monkeypatch
):
    store, key = FolderStore(tmp_path / "out"), Labeller(RUN, asked["data_root"], "val", asked["how"]).key()
    dead, alive = (Manifest.open(store, key, SWEEPS, {}) for _ in range(2))
    assert dead.claim(Unit(2, 0)) == alive.claim(Unit(5, 0)) == "new"
    slept = []
    with alive.at_work():

        def sleep(seconds):  # meanwhile the other one does its part
            slept.append(seconds)
            assert len(alive.done()) == SWEEPS - 1
            alive.finish(5, b"PAR1", {}, again=False)

        monkeypatch.setattr(job.time, "sleep", sleep)
        done = label_samples(**asked, out=str(tmp_path / "out"))
    assert done.labelled == SWEEPS - 1 and len(slept) == 1
    assert (tmp_path / "out" / "claims" / "00000002.0001.json").exists()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"how": LabelOptions(quality="medium")}, "quality 'low', not 'medium'"),
        ({"how": LabelOptions(("road", "car"), quality="low")}, "words False, not True"),
        ({"how": LabelOptions(abstain=0.5, quality="low")}, "abstain 0.0, not 0.5"),
    ],
)
def test_labels_of_other_settings_are_never_mixed(asked, whole, other, named):
    with pytest.raises(ValueError, match=f"of another run, words, settings or samples .*{named}"):
        label_samples(**{**asked, **other}, out=str(whole))


def test_what_no_job_wrote_is_left_alone(asked, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.npz").write_text("mine")
    with pytest.raises(ValueError, match="holds labels that no job wrote; name another --out"):
        label_samples(**asked, out=str(tmp_path))
    (tmp_path / "labels" / "mine.npz").unlink()
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(ValueError, match="is of something else; name another --out"):
        label_samples(**asked, out=str(tmp_path))


@pytest.mark.usefixtures("in_this_process")
def test_a_damaged_sample_is_named_the_others_are_done_and_it_once_it_is_mended(call, drive, whole, tmp_path):
    shutil.copytree(drive, tmp_path / "data")
    cloud = tmp_path / "data" / "sequences" / "08" / "velodyne" / "000004.bin"
    content = cloud.read_bytes()
    cloud.write_bytes(content[:-3])
    words = ("label", RUN, "--data-root", tmp_path / "data", "--out", tmp_path / "out", "--quality", "low")
    code, said, _ = call(*words, "--unlike", "accept")
    assert code == 1 and "1 could not be labelled: 08-000004 (" in said
    assert f"labelled {SWEEPS - 1} of {SWEEPS} samples" in said and "give the same command" in said
    row = rows_of(tmp_path / "out")["08-000004"]
    assert row["points"] is None and row["points_car"] is None and "000004.bin" in row["error"]
    cloud.write_bytes(content)
    code, said, _ = call(*words, "--unlike", "accept")
    assert code == 0 and f"labelled 1 of {SWEEPS} samples" in said
    assert labels_of(tmp_path / "out").keys() == labels_of(whole).keys()
    assert rows_of(tmp_path / "out")["08-000004"]["points"] > 1000
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"job.json", "labels", "parts", "claims"}


def test_a_worker_without_the_model_says_so_and_others_do_its_parts(asked, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("clip2scene.inference.fleet.part._WAIT_S", 0.0)
    notes = []

    def half_unfit(task, units, *, workers, device):
        unfit = job.Task(**{**vars(task), "run": tmp_path / "nowhere"})
        yield from one_by_one(unfit, units[: len(units) // 2], workers=1, device=device)
        yield from one_by_one(task, units[len(units) // 2 :], workers=1, device=device)

    monkeypatch.setattr(local, "label_in_pool", half_unfit)
    done = label_samples(**asked, out=str(tmp_path / "out"), note=notes.append)
    assert done.labelled == SWEEPS and labels_of(tmp_path / "out") == labels_of(whole)
    assert len([note for note in notes if "nowhere" in note and note.startswith("worker ")]) == 1
    monkeypatch.setattr(
        local,
        "label_in_pool",
        lambda task, units, **options: one_by_one(
            job.Task(**{**vars(task), "key": "other"}), units, **options
        ),
    )
    with pytest.raises(ValueError, match="no worker can work: worker .* are others here than where the job"):
        label_samples(**asked, out=str(tmp_path / "new"))


@pytest.mark.usefixtures("in_this_process")
def test_a_store_that_denies_ends_the_job_with_its_sentence(asked, tmp_path, monkeypatch):
    write = FolderStore.write

    def deny(self, name, content):
        if name.startswith("labels/08-000003"):
            raise ValueError("s3://fleet: access denied")
        write(self, name, content)

    monkeypatch.setattr(FolderStore, "write", deny)
    with pytest.raises(ValueError, match="^s3://fleet: access denied; the same command goes on"):
        label_samples(**asked, out=str(tmp_path / "out"))
    monkeypatch.setattr(FolderStore, "write", write)
    assert label_samples(**asked, out=str(tmp_path / "out")).labelled == SWEEPS - 3


def test_what_cannot_work_is_refused_before_anything_is_written(asked, tmp_path, monkeypatch, call):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="zebra"):
        label_samples(**{**asked, "run": Path("builtin"), "how": LabelOptions(("zebra",))}, out=str(out))
    with pytest.raises(ValueError, match="--workers is 0"):
        Crew(workers=0)
    with pytest.raises(ValueError, match="--words and --background are about words"):
        LabelOptions(background="none")
    with pytest.raises(ValueError, match="cannot compute on device 'abacus'"):
        label_samples(**asked, out=str(out), crew=Crew(device="abacus"))
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    code, _, err = call("label", RUN, "--data-root", asked["data_root"], "--out", out, "--engine", "ray")
    assert code == 1 and "install clip2scene[ray], or use --engine local" in err and "Traceback" not in err
    monkeypatch.setattr(parquet_module, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"install clip2scene\[fleet\]"):
        label_samples(**asked, out=str(out))
    assert not out.exists()


@pytest.mark.usefixtures("in_this_process")
def test_words_of_the_users_label_the_points(asked, tmp_path):
    how = LabelOptions(("road", "house"), background="none", quality="low")
    label_samples(**{**asked, "how": how}, out=str(tmp_path / "out"))
    row = rows_of(tmp_path / "out")["08-000000"]
    assert row["points_road"] and row["points_road"] + row["points_house"] == row["points"]
    with np.load(tmp_path / "out" / "labels" / "08-000000.labels.npz") as arrays:
        assert arrays["classes"].tolist() == ["road", "house"] and arrays["scores"].dtype == np.float16
    asked_for = json.loads((tmp_path / "out" / "job.json").read_text())["asked"]
    assert asked_for["classes"] == ["road", "house"] and asked_for["background"] == "none"
