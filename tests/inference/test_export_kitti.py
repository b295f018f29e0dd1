import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.lifting import lift

from clip2scene.classes.tables import CITYSCAPES, SEMANTIC_KITTI, TOYTOWN, TOYTOWN_KITTI, train_ids
from clip2scene.config import DataConfig
from clip2scene.datasets import Dataset
from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.evaluation.compare import compare
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.evaluation.metrics import confusion_table, table
from clip2scene.geometry.dynamic_points import seen_through
from clip2scene.inference import predict as predict_module
from clip2scene.inference.export_kitti import export_labels, predictions
from clip2scene.inference.predict import open_split, predict
from clip2scene.inference.segmenter import Segmenter
from clip2scene.runs.run import open_run
from clip2scene.training.train import pretrain
from clip2scene.types import PointCloud, Prompts

SMALL = ("--steps", "4", "--student.width", "0.25", "--student.voxel-size", "0.5")


@pytest.fixture(scope="module")
def run(tiny_kitti, tiny_recipe, tmp_path_factory):
    """A label-free run on a toytown in SemanticKITTI's layout."""
    folder = tmp_path_factory.mktemp("runs") / "kitti"
    data = DataConfig(layout="semantic-kitti", classes="toytown")
    pretrain(replace(tiny_recipe, data=data), data_root=tiny_kitti, out=folder)
    return folder


def test_semantic_kittis_layout_is_trained_on_evaluated_and_exported_from_the_command_line(
    call, tiny_kitti, tmp_path
):
    folder, out, data = tmp_path / "run", tmp_path / "out", ("--data-root", tiny_kitti)
    layout = ("--data.layout", "semantic-kitti")
    code, said, err = call("pretrain", "toytown", *SMALL, *layout, *data, "--out", folder)
    assert (code, said) == (0, f"trained toytown: {folder}\n"), err
    code, said, _ = call("evaluate", folder, *data, "--pictures", 1)
    assert code == 0 and "traffic sign" in said and said.count("drew ") == 3
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["classes"] == list(TOYTOWN_KITTI.classes)
    assert metrics["columns"]["teacher_seen"]["num_points"] > 1000
    code, said, _ = call("export-labels", folder, *data, "--split", "val", "--out", out)
    assert (code, said) == (0, f"wrote 4 label files to {out / 'sequences'}\n")


def test_exported_labels_score_as_the_evaluation_says(run, tiny_kitti, tmp_path):
    scores = evaluate(run, data_root=tiny_kitti)["student"]
    paths = export_labels(run, data_root=tiny_kitti, split="val", out=tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f"sequences/08/predictions/{number:06d}.label" for number in range(4)
    ]
    counts = np.zeros((13, 13), int)
    dataset = SemanticKitti(tiny_kitti, split="val", class_set=TOYTOWN_KITTI)
    for number, path in enumerate(paths):
        raw = np.fromfile(path, "<u4")
        truth = dataset[number].labels
        assert len(raw) == len(truth) and set(raw.tolist()) < set(SEMANTIC_KITTI.train_id_of_raw)
        predicted = train_ids(torch.from_numpy(raw.astype(np.int64)), TOYTOWN_KITTI)
        for true, label in zip(truth[truth >= 0].tolist(), predicted[truth >= 0].tolist(), strict=True):
            counts[true, label] += 1
    assert counts.tolist() == torch.tensor(scores.confusion).tolist()


def test_an_interrupted_export_goes_on_and_two_runs_never_mix(run, tiny_kitti, tmp_path, monkeypatch):
    out, where = tmp_path / "out", {"data_root": tiny_kitti, "split": "val"}
    first = export_labels(run, **where, out=out)
    whole = {path: path.read_bytes() for path in first}
    first[2].unlink()
    asked = []
    monkeypatch.setattr(SemanticKitti, "__getitem__", recorder(asked, SemanticKitti.__getitem__))
    export_labels(run, **where, out=out)
    assert asked == [0, 1, 2, 3, 2]  # a few are compared with the training clouds first
    assert {path: path.read_bytes() for path in first} == whole
    assert not list(out.rglob(".partial*"))
    other = shutil.copytree(run, tmp_path / "other")
    recipe = json.loads((other / "recipe.json").read_text())
    (other / "recipe.json").write_text(json.dumps({**recipe, "seed": 7}))
    with pytest.raises(ValueError, match="predictions of another run"):
        export_labels(other, **where, out=out)
    note = json.loads((out / "export.json").read_text())
    (out / "export.json").write_text(json.dumps({**note, "inputs": "clouds as they were"}))
    with pytest.raises(ValueError, match="or of files that were changed since"):
        export_labels(run, **where, out=out)
    (out / "export.json").unlink()
    with pytest.raises(ValueError, match="sequences that no export wrote"):
        export_labels(run, **where, out=out)


def test_a_split_in_centimetres_is_refused_before_anything_is_written(run, tiny_kitti, tmp_path):
    town = shutil.copytree(tiny_kitti, tmp_path / "kitti")
    for path in town.glob("sequences/*/velodyne/*.bin"):
        (np.fromfile(path, "<f4").reshape(-1, 4) * np.float32([100, 100, 100, 1])).tofile(path)
    with pytest.raises(ValueError, match="clouds of split 'val': unlike .* centimetres.*--unlike accept"):
        export_labels(run, data_root=town, split="val", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def recorder(asked, plain):
    def read(self, index):
        asked.append(index)
        return plain(self, index)

    return read


def test_merged_sweeps_are_labelled_at_the_keyframes_points_alone(
    tiny_recipe, tiny_kitti, tmp_path, monkeypatch
):
    data = DataConfig(layout="semantic-kitti", classes="toytown", sweeps=3, merge_sweeps=True)
    pretrain(replace(tiny_recipe, data=data, steps=2), data_root=tiny_kitti, out=tmp_path / "run")
    sizes, plain = [], predict_module.gather_sweeps

    def gather(sample, *options):
        found = plain(sample, *options)
        sizes.append((len(sample.cloud), len(found[0])))
        assert torch.equal(found[0].positions[: len(sample.cloud)], sample.cloud.positions)
        return found

    monkeypatch.setattr(predict_module, "gather_sweeps", gather)
    paths = export_labels(tmp_path / "run", data_root=tiny_kitti, split="val", out=tmp_path / "out")
    assert [path.stat().st_size // 4 for path in paths] == [keyframe for keyframe, _ in sizes]
    assert all(merged > keyframe for keyframe, merged in sizes[1:])


def test_runs_of_other_layouts_and_unknown_splits_are_refused(
    run, tiny_run, tiny_kitti, tiny_toytown, tmp_path
):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="trained on data in the layout 'nuscenes'"):
        export_labels(tiny_run, data_root=tiny_toytown, split="val", out=out)
    with pytest.raises(ValueError, match="unknown split 'test', expected one of train, val"):
        export_labels(run, data_root=tiny_kitti, split="test", out=out)
    assert not out.exists()


def test_a_split_without_images_cannot_be_trained_on_but_can_be_evaluated(
    run, tiny_kitti, tiny_recipe, tmp_path, call
):
    root = shutil.copytree(tiny_kitti, tmp_path / "kitti")
    for folder in root.glob("sequences/*/image_2"):
        shutil.rmtree(folder)
    words = ("toytown", *SMALL, "--data.layout", "semantic-kitti", "--data-root", root)
    code, _, err = call("pretrain", *words, "--out", tmp_path / "run")
    assert (
        code == 1
        and "none of the sequences 00" in err
        and "has an image in image_2" in err
        and "KITTI offers the colour images apart" in err
    )
    assert not (tmp_path / "run").exists()
    mine = shutil.copytree(run, tmp_path / "mine")
    code, said, err = call("evaluate", mine, "--data-root", root, "--pictures", 1)
    assert code == 0, err
    assert said.count("drew ") == 1
    columns = json.loads((mine / "metrics.json").read_text())["columns"]
    assert columns["student"] == {**evaluate(run, data_root=tiny_kitti)["student"].to_json()}
    assert columns["teacher_seen"]["num_points"] == 0


def test_a_sample_without_its_image_is_not_trained_on_but_is_evaluated(
    run, tiny_kitti, tiny_recipe, tmp_path
):
    root = shutil.copytree(tiny_kitti, tmp_path / "kitti")
    for sequence in ("00", "08"):
        (root / "sequences" / sequence / "image_2" / "000001.png").unlink()
    data = DataConfig(layout="semantic-kitti", classes="toytown")
    for form in ("point-cross-entropy", "superpixel-infonce"):
        balance = 0.5 if form == "point-cross-entropy" else 0.0
        loss = replace(tiny_recipe.loss, form=form, class_balance=balance)
        recipe = replace(tiny_recipe, data=data, loss=loss, steps=2)
        pretrain(recipe, data_root=root, out=tmp_path / form)
        opened = open_run(tmp_path / form)
        assert opened.sources.num_samples == 3
        assert len(lift(opened, root, split="train")) == 3
    mine = shutil.copytree(run, tmp_path / "mine")
    whole, partly = (evaluate(mine, data_root=each) for each in (tiny_kitti, root))
    assert partly["student"] == whole["student"]
    assert 0 < partly["teacher_seen"].num_points < whole["teacher_seen"].num_points


def test_the_loader_offers_what_every_loader_does(tiny_kitti):
    assert isinstance(SemanticKitti(tiny_kitti), Dataset)


def with_data(run, **changes):
    return replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, **changes)))


def test_every_point_gets_what_the_segmenter_says_in_the_data_sets_classes(tiny_run, tiny_toytown):
    run, segmenter = open_run(tiny_run), Segmenter.load(tiny_run)
    dataset = open_split(run, tiny_toytown, "val")
    found = dict(predictions(run, dataset))
    assert tuple(found) == dataset.tokens
    for sample in dataset:
        assert sample.labels is None
        segmented = segmenter.segment(sample.cloud)
        assert [TOYTOWN.classes[label] for label in found[sample.token]] == [
            segmented.names[label] for label in segmented.labels
        ]


def test_logits_that_are_no_numbers_are_never_exported(tiny_run, tiny_toytown):
    run = open_run(tiny_run)
    dataset = open_split(run, tiny_toytown, "val")
    spoilt = run.prompts.embeddings.clone()
    spoilt[0, 0] = torch.nan
    run = replace(run, prompts=replace(run.prompts, embeddings=spoilt))
    with pytest.raises(ValueError, match=f"sample {dataset.tokens[0]}: the student's logits are not finite"):
        next(predictions(run, dataset))


def test_only_the_samples_asked_for_are_predicted(tiny_run, tiny_toytown):
    run = open_run(tiny_run)
    dataset = open_split(run, tiny_toytown, "val")
    assert [token for token, _ in predictions(run, dataset, [1])] == [dataset.tokens[1]]


def test_words_that_are_no_class_of_the_data_set_are_never_predicted(tiny_run, tiny_toytown):
    run = with_data(open_run(tiny_run), words="cityscapes")
    dataset = open_split(run, tiny_toytown, "val")
    generator = torch.Generator().manual_seed(0)
    channels = run.prompts.embeddings.shape[1]
    student = run.student()
    road = predict(student, run.prompts, dataset[0].cloud, with_embeddings=True).embeddings.mean(0)
    other = torch.randn(channels, generator=generator)
    embeddings = torch.nn.functional.normalize(torch.stack([road, -road, other]), dim=1)
    words = ("sky", "car", "road")
    assert set(words) <= set(CITYSCAPES.classes)
    run = replace(run, prompts=Prompts(words, words, torch.arange(3), embeddings))
    (_, labels), _ = predictions(run, dataset)
    assert {TOYTOWN.classes[label] for label in labels.tolist()} == {"driveable surface"}
    run = replace(run, prompts=Prompts(("sky",), ("sky",), torch.arange(1), embeddings[:1]))
    with pytest.raises(ValueError, match="no word of run .* is a class of 'toytown'"):
        next(predictions(run, dataset))


def test_a_student_of_merged_sweeps_takes_them_and_labels_the_keyframe(tiny_run, tiny_toytown):
    run = with_data(open_run(tiny_run), sweeps=2, merge_sweeps=True)
    dataset = open_split(run, tiny_toytown, "val")
    alone = dict(predictions(open_run(tiny_run), open_split(open_run(tiny_run), tiny_toytown, "val")))
    changed = 0
    for token, labels in predictions(run, dataset):
        sample = dataset[dataset.tokens.index(token)]
        (sweep,) = sample.sweeps
        still = ~seen_through(sweep.positions, sample.cloud.positions, viewpoint=NuScenes.viewpoint)
        positions = torch.cat([sample.cloud.positions, sweep.positions[still]])
        features = torch.cat([sample.cloud.features, sweep.features[still]])
        logits = predict(run.student(), run.prompts, PointCloud(positions, features)).logits
        words = [run.prompts.classes[word] for word in logits[: len(sample.cloud)].argmax(1)]
        assert [TOYTOWN.classes[label] for label in labels] == words
        changed += int((labels != alone[token]).sum())
    assert changed


def test_exported_labels_compared_with_the_true_ones_score_as_the_evaluation_says(
    run, tiny_kitti, tmp_path, call
):
    scores = evaluate(run, data_root=tiny_kitti)["student"]
    export_labels(run, data_root=tiny_kitti, split="val", out=tmp_path / "pred")
    shutil.copytree(tiny_kitti / "sequences" / "08", tmp_path / "truth" / "08")
    found = compare(tmp_path / "pred", tmp_path / "truth", truth_classes="toytown-kitti")
    assert found.scores["prediction"] == scores
    words = ("compare", tmp_path / "pred", tmp_path / "truth", "--truth-classes", "toytown-kitti")
    code, said, err = call(*words, "--out", tmp_path / "out")
    assert code == 0, err
    assert table({"prediction": scores, "random": found.scores["random"]}) in said
    assert confusion_table(scores) in said and said.endswith(f"wrote {tmp_path / 'out' / 'confusion.png'}\n")
