import numpy as np
import onnx
import pytest
import torch
from tests.onnx_students import make_cloud, make_model, make_prompts, make_student, open_session

from clip2scene.inference.predict import predict
from clip2scene.onnx_runner.voxels import Voxels
from clip2scene.types import PointCloud

WANTED = ["name_logits", "scores", "labels", "embeddings"]


def answers(model, about, points, features, wanted=WANTED, **more):
    session = open_session(model)
    names = [each.name for each in session.get_inputs() if each.name != "features"]
    feed = dict(Voxels(points.numpy(), about.voxel_size).inputs(iter(names)))
    return session.run(list(wanted), {"features": features.numpy(), **feed, **more})


@pytest.mark.parametrize("cosine", [None, 0.1])
def test_logits_scores_and_labels_are_those_of_torch(cosine):
    student = make_student(cosine=cosine)
    model, about = make_model(student)
    onnx.checker.check_model(model, full_check=True)
    points, features = make_cloud()
    found = predict(student, make_prompts(), PointCloud(points, features), with_embeddings=True)
    logits, scores, labels, embeddings = answers(model, about, points, features)
    assert np.allclose(logits.max(2), found.text_logits, atol=1e-4)
    assert np.allclose(embeddings, found.embeddings, atol=1e-4)
    expected = (found.text_logits / about.temperature).softmax(1)
    assert np.allclose(scores, expected, atol=1e-4)
    assert (labels == expected.argmax(1).numpy()).mean() > 0.99


def test_other_words_of_the_file_can_be_chosen_at_run_time():
    student = make_student()
    model, about = make_model(student)
    points, features = make_cloud()
    (every,) = answers(model, about, points, features, ["name_logits"])
    (two,) = answers(model, about, points, features, ["name_logits"], chosen=np.array([[3], [1]]))
    assert two.shape == (len(points), 2, 1)
    assert np.allclose(two[:, 0, 0], every[:, 2, 0], atol=1e-5) and np.allclose(
        two[:, 1, 0], every[:, 0, 1], atol=1e-5
    )


def test_a_classifier_decides_where_there_is_one():
    student = make_student(num_classes=3)
    model, about = make_model(student)
    points, features = make_cloud()
    found = predict(student, make_prompts(), PointCloud(points, features))
    scores, logits = answers(model, about, points, features, ["scores", "classifier_logits"])
    assert np.allclose(logits, found.classifier_logits, atol=1e-4)
    assert np.allclose(scores, (found.classifier_logits / about.temperature).softmax(1), atol=1e-4)
    assert not torch.allclose(found.classifier_logits, found.text_logits, atol=1e-2)
