import pytest
import torch
from tests.student.published.engines import answer_of, assert_close, loaded, stored

from clip2scene.student.published.spconv import SPCONV


def test_files_of_spconv_1_keep_the_outputs_last(tmp_path):
    state, tensors = stored("spconv")
    older = {
        name: value
        if value.ndim < 5
        else value.reshape(1, 1, 1, value.shape[-1], value.shape[0])
        if value.shape[1] == 1
        else value.permute(1, 2, 3, 4, 0)
        for name, value in state.items()
    }
    report, backbone = loaded(tmp_path, "spconv", older)
    assert_close(answer_of(backbone, tensors), tensors["expected"])
    assert torch.equal(
        report.heads["final"].weight, loaded(tmp_path, "spconv", state)[0].heads["final"].weight
    )


def test_kernels_of_both_versions_become_offsets_in_out():
    ours = torch.randn(27, 4, 5)
    spconv1 = ours.unflatten(0, (3, 3, 3))
    for theirs in (spconv1, spconv1.permute(4, 0, 1, 2, 3)):
        assert torch.equal(SPCONV.to_ours(theirs, ours.shape), ours)
    with pytest.raises(ValueError, match="another number of offsets"):
        SPCONV.to_ours(torch.randn(2, 2, 2, 4, 5), ours.shape)


def test_a_lone_offset_of_spconv_2_is_read_in_the_order_on_the_disk():
    theirs = torch.arange(20.0).reshape(5, 1, 1, 1, 4)
    assert torch.equal(SPCONV.to_ours(theirs, torch.Size((1, 4, 5)))[0], torch.arange(20.0).reshape(4, 5))
    assert torch.equal(SPCONV.to_matrix(theirs), torch.arange(20.0).reshape(4, 5).T)


def test_the_decoder_is_numbered_from_the_finest_stage():
    assert SPCONV.rename(["ascents", "0", "up"]) == ("up.3.0", "up.3.1")
    assert SPCONV.rename(["ascents", "3", "blocks", "1", "first"]) == (
        "dec.0.block1.conv1",
        "dec.0.block1.bn1",
    )
    assert SPCONV.rename(["point_layers", "0"]) is None
