import pytest

from clip2scene.config import TeacherConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_overlap": 1.0},
        {"working_size": (-5, 0)},
        {"scales": ()},
        {"key_smoothing": 1.5},
        {"window": 0},
        {"least_score": 1.5, "kind": "label-maps"},
        {"attention": "sclip", "kind": "label-maps"},
        {"proxy": "dinov2", "kind": "label-maps"},
        {"also": ("run", "run")},
        {"also": ("",)},
        {"refine_pixels": 0},
        {"refine_pixels": 10**9},
        {"refine_rounds": 0},
        {"refine_dilations": ()},
        {"refine_dilations": (1, 0)},
        {"refine_dilations": (1, 1000)},
        {"refine_radius": 0},
        {"refine_epsilon": 0.0},
        {"refine_segments": 0},
    ],
)
def test_a_bad_value_is_refused_when_it_is_given(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
        TeacherConfig(**wrong)


@pytest.mark.parametrize("setting", [{"class_table": "table.json"}, {"least_score": 0.5}])
def test_what_is_for_scores_alone_is_refused_elsewhere(setting):
    assert TeacherConfig(kind="label-maps", **setting)
    with pytest.raises(
        ValueError, match=r"--teacher.kind must be label-maps or segmenter where .*, got 'maskclip'"
    ):
        TeacherConfig(**setting)


def test_a_segmenter_saw_2d_labels_and_says_so():
    assert TeacherConfig(kind="segmenter", trained_on_2d_labels=True, text_table="words.safetensors")
    assert TeacherConfig(kind="segmenter", trained_on_2d_labels=True, proxy="sam2")
    with pytest.raises(ValueError, match="--teacher.trained-on-2d-labels must be on for a segmenter"):
        TeacherConfig(kind="segmenter")
    with pytest.raises(ValueError, match="--teacher.kind must be segmenter where a text table is set"):
        TeacherConfig(kind="label-maps", text_table="words.safetensors")
