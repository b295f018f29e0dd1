import pytest
import torch
from tests.student.published.engines import (
    BACKBONES,
    LAYERS_34,
    PLANES,
    STORED,
    answer_of,
    assert_close,
    loaded,
    saved,
    stored,
)

from clip2scene.student import (
    SPVCNN,
    MinkUNet,
    minkunet14a,
    minkunet18_spvnas,
    minkunet34,
    spunet34,
)
from clip2scene.student.published import load_published
from clip2scene.student.published.load import LAYOUTS


def test_an_answer_of_every_engine_is_stored():
    assert set(STORED) == set(BACKBONES)


@pytest.mark.parametrize("network", STORED)
def test_our_forward_is_the_original_engines_up_to_rounding(tmp_path, network):
    state, tensors = stored(network)
    report, backbone = loaded(tmp_path, network, state)
    ours = answer_of(backbone, tensors)
    assert_close(ours, tensors["expected"])
    assert report.tensors == len(backbone.state_dict())
    (head,) = report.heads.values()
    assert_close(torch.nn.functional.linear(ours, head.weight, head.bias), tensors["answer"])


@pytest.mark.parametrize("network", ["minkowski", "spvcnn"])
def test_intensities_of_0_to_1_give_what_those_of_0_to_255_gave(tmp_path, network):
    state, tensors = stored(network)
    features = torch.rand(tensors["features"].shape, generator=torch.Generator().manual_seed(0))
    _, plain = loaded(tmp_path, network, state)
    ours = BACKBONES[network]()
    report = load_published(saved(tmp_path, state), ours)
    assert "0..255" in report.describe()
    expected = answer_of(plain, tensors | {"features": 255 * features})
    assert_close(answer_of(ours, tensors | {"features": features}), expected)
    assert (answer_of(plain, tensors | {"features": features}) - expected).abs().max() > 0.1


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        ("torchsparse", {}),  # four channels: places and an intensity of 0..1
        ("spconv", {}),
        ("minkowski", {"config": {"dataset": "SemanticKITTI"}}),
        ("spvcnn", {"config": {"dataset": "kitti"}}),
    ],
)
def test_networks_that_saw_0_to_1_are_loaded_as_they_are(tmp_path, network, settings):
    state, tensors = stored(network)
    backbone = BACKBONES[network]()
    report = load_published(saved(tmp_path, {"state_dict": state, **settings}), backbone)
    assert_close(answer_of(backbone, tensors), tensors["expected"])
    assert ("KITTI" in report.describe()) == bool(settings)


def test_variances_below_zero_and_numbers_beyond_single_precision_are_not_finite_either(tmp_path):
    state, _ = stored("torchsparse")
    state["stem.1.running_var"] = torch.full_like(state["stem.1.running_var"], -1.0)
    state["stem.1.bias"] = torch.full_like(state["stem.1.bias"], 1e300, dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"2 with numbers that are not finite \(stem.1.bias, stem.1.running_var"
    ):
        loaded(tmp_path, "torchsparse", state)


def test_a_head_that_is_not_finite_is_left_out(tmp_path):
    state, _ = stored("torchsparse")
    state["classifier.0.weight"] = state["classifier.0.weight"] * float("nan")
    report, _ = loaded(tmp_path, "torchsparse", state)
    assert report.heads == {} and "classifier.0.weight" in report.left_out


def test_points_where_they_are_differ_from_points_at_corners_and_the_report_says_so(tmp_path):
    state, tensors = stored("spvcnn")
    report, backbone = loaded(tmp_path, "spvcnn", state, SPVCNN(1, 0.05, voxel_size=1.0))
    apart = (answer_of(backbone, tensors) - tensors["expected"]).abs().max()
    assert apart > 0.01 * tensors["expected"].abs().max()
    assert "at its corner" in report.describe()
    assert "at its corner" not in loaded(tmp_path, "spvcnn", state)[0].describe()


def test_at_corners_all_points_of_a_voxel_share_what_the_lone_point_would_have(tmp_path):
    state, tensors = stored("spvcnn")
    backbone = loaded(tmp_path, "spvcnn", state)[1].eval()
    coordinates = tensors["coordinates"].long()
    twice = coordinates.repeat(2, 1)
    inside = torch.rand(len(twice), 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        out = backbone(twice[:, 1:] + inside, tensors["features"].repeat(2, 1), twice[:, 0])
    assert_close(out, tensors["expected"].repeat(2, 1))


@pytest.mark.parametrize(
    ("wrap", "left_out"),
    [
        (lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}}, ()),
        (
            lambda state: {
                "model_points": state,
                "model_images": {"encoder.weight": torch.ones(2), "encoder.bias": torch.ones(2)},
                "epoch": 49,
                "config": {"cylindrical_coordinates": True, "voxel_size": 0.1},
            },
            ("model_images (2 tensors)",),
        ),
        (
            lambda state: {
                "state_dict": {f"model_points.{name}": value for name, value in state.items()}
                | {"model_images.weight": torch.ones(2)},
                "optimizer_states": {"state": {0: {"momentum_buffer": torch.ones(2)}}},
            },
            ("state_dict/model_images (1 tensors)", "optimizer_states (1 tensors)"),
        ),
        (lambda state: {"model_state": state, "it": 7}, ()),
    ],
)
def test_prefixes_and_wrappers_do_not_matter_and_other_networks_are_named(tmp_path, wrap, left_out):
    state, tensors = stored("torchsparse")
    report, backbone = loaded(tmp_path, "torchsparse", wrap(state))
    assert_close(answer_of(backbone, tensors), tensors["expected"])
    assert report.left_out == (*left_out, "point_transforms, never used")
    if report.settings:
        assert "cylindrical" in report.describe() and "voxels of 0.1 m" in report.describe()
    assert "head classifier.0, (5, 5): not loaded" in report.describe()


def test_all_that_does_not_fit_is_counted_and_named_and_nothing_is_loaded(tmp_path):
    state, _ = stored("torchsparse")
    for name in ("up1.0.net.0.kernel", "up1.0.net.1.bias"):
        del state[name]
    state["stem.0.kernel"] = state["stem.0.kernel"][:, :1]
    state["stage1.1.net.0.kernel"] = torch.ones(8, 2, 2)
    state["stem.1.bias"] = torch.full_like(state["stem.1.bias"], float("nan"))
    state["stage9.extra"] = torch.ones(1)
    backbone = BACKBONES["torchsparse"]()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit this MinkUNet") as caught:
        load_published(saved(tmp_path, state), backbone)
    said = str(caught.value)
    assert "2 missing (up1.0.net.0.kernel, up1.0.net.1.bias)" in said
    assert "2 of another shape (stem.0.kernel [27, 1, 2], here [27, 4, 2], " in said
    assert "1 with numbers that are not finite (stem.1.bias)" in said
    assert "1 unknown (stage9.extra)" in said
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_a_long_list_is_cut_in_the_sentence_and_whole_below_it(tmp_path):
    state, _ = stored("torchsparse")
    lost = [f"stage{stage + 1}.0.net.0.kernel" for stage in range(4)]
    for name in lost:
        del state[name]
    state["stage9.extra"] = torch.ones(1)
    with pytest.raises(ValueError, match=r"4 missing \(.*, .*, .*, \.\.\. 1 more\)") as caught:
        loaded(tmp_path, "torchsparse", state)
    sentence, *listed = str(caught.value).splitlines()
    assert sentence.endswith("of the file's network")
    assert sorted(listed) == sorted([*(f"  missing: {name}" for name in lost), "  unknown: stage9.extra"])


@pytest.mark.parametrize(
    ("network", "name", "tensor"),
    [
        ("minkowski", "classifier.kernel", torch.ones(27, 4, 5)),
        ("torchsparse", "classifier.1.weight", torch.ones(5)),
        ("spconv", "final.1.weight", torch.ones(5)),
    ],
)
def test_what_stands_among_the_heads_and_is_no_matrix_is_named_as_left_out(tmp_path, network, name, tensor):
    report, _ = loaded(tmp_path, network, stored(network)[0] | {name: tensor})
    assert name in report.left_out
    assert len(report.heads) == 1


def test_files_of_the_wrong_kind_of_student_say_what_differs(tmp_path):
    with pytest.raises(ValueError, match="have nothing like its stem.0;"):
        loaded(tmp_path, "minkowski", stored("minkowski")[0], SPVCNN(1, 0.05))
    with pytest.raises(ValueError, match=r"conv0p1s1.kernel \[27, 1, 3\], here \[27, 2, 3\]"):
        other = MinkUNet(2, LAYERS_34, PLANES, stem_channels=3)
        loaded(tmp_path, "minkowski", stored("minkowski")[0], other)
    with pytest.raises(ValueError, match=r"conv0p1s1.kernel \[125, 3, 3\], here \[27, 3, 3\]"):
        other = MinkUNet(3, (1,) * 8, PLANES, stem_channels=3)
        loaded(tmp_path, "minkowski-stem5", stored("minkowski-stem5")[0], other)
    with pytest.raises(ValueError, match=r"unknown \(block1.1.conv1.kernel"):
        other = MinkUNet(1, (1,) * 8, PLANES, stem_channels=3)
        loaded(tmp_path, "minkowski", stored("minkowski")[0], other)


def test_counters_of_the_normalisations_may_be_missing(tmp_path):
    state, tensors = stored("spconv")
    without = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert_close(answer_of(loaded(tmp_path, "spconv", without)[1], tensors), tensors["expected"])


def test_an_spvcnn_is_no_minkunet_even_where_all_names_fit(tmp_path):
    state, _ = stored("spvcnn")
    with pytest.raises(ValueError, match=r"21 unknown \(point_transforms"):
        loaded(tmp_path, "spvcnn", state, minkunet18_spvnas(1, width=0.05))


@pytest.mark.parametrize(
    ("network", "backbone", "place"),
    [
        ("spconv", lambda: SPVCNN(1, 0.05), "stem.0"),
        ("torchsparse", lambda: minkunet14a(4, width=0.05), "stem"),
    ],
)
def test_a_network_of_another_plan_is_refused(tmp_path, network, backbone, place):
    with pytest.raises(ValueError, match=f"have nothing like its {place};"):
        loaded(tmp_path, network, stored(network)[0], backbone())


def test_a_file_without_a_known_network_is_refused_and_one_with_two_as_well(tmp_path):
    with pytest.raises(ValueError, match="got none among weight, bias"):
        loaded(tmp_path, "spconv", {"weight": torch.ones(1), "bias": torch.ones(1)})
    state, _ = stored("spconv")
    with pytest.raises(ValueError, match=r"got 2: student/\*, teacher/\*; save one"):
        loaded(tmp_path, "spconv", {"student": state, "teacher": state})


@pytest.mark.parametrize(
    ("backbone", "kind"),
    [
        (lambda: minkunet34(1), "MinkowskiEngine"),
        (lambda: minkunet18_spvnas(4), "torchsparse"),
        (lambda: SPVCNN(1), "torchsparse"),
        (lambda: spunet34(6), "spconv"),
    ],
)
def test_every_layer_of_the_published_networks_has_its_place_in_a_layout(backbone, kind):
    (layout,) = (each for each in LAYOUTS if each.title.startswith(kind))
    with torch.device("meta"):
        modules = dict(backbone().named_modules())
    places = [layout.rename(name.split(".")) for name, module in modules.items() if hasattr(module, "norm")]
    assert all(places)
    assert len({name for place in places for name in place}) == 2 * len(places)
