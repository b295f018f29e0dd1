import json

import pytest
import torch

from clip2scene.student.sparse import conv, cpu_kernels, measured


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Where the times of a machine are kept that was never measured."""
    monkeypatch.setattr(cpu_kernels, "library_path", lambda: tmp_path / "kernels.so")
    measured.compiled_wins.cache_clear()
    yield tmp_path / "kernels.json"
    measured.compiled_wins.cache_clear()


@pytest.fixture
def takes(monkeypatch):
    """Say how long the paths take; gives what was asked for."""
    asked, times = [], {"plain": 1.0, "compiled": 1.0}

    def milliseconds(work, width, plain, compiled):
        asked.append((work, width))
        return dict(times)

    monkeypatch.setattr(measured, "_milliseconds", milliseconds)
    return asked, times


def chosen(width=96):
    return measured.compiled_wins("convolve", width, *conv._PATHS["convolve"])


@pytest.mark.parametrize(("plain", "compiled"), [(2.0, True), (0.9, True), (0.5, False)])
def test_the_compiled_path_is_taken_unless_plain_torch_is_clearly_faster(kept, takes, plain, compiled):
    takes[1]["plain"] = plain
    assert chosen() is compiled


def test_a_machine_is_measured_once_for_each_work_and_width(kept, takes):
    asked, times = takes
    chosen(96), chosen(100), chosen(128), chosen(129)
    assert asked == [("convolve", 128), ("convolve", 256)]
    measured.compiled_wins.cache_clear()  # another process
    times["plain"] = 0.1
    assert chosen(96) and len(asked) == 2
    assert json.loads(kept.read_text()).keys() == {"convolve 128", "convolve 256"}


@pytest.mark.parametrize("damage", ["{", "[]", '{"convolve 128": 3}', "a folder"])
def test_what_cannot_be_kept_is_measured_by_each_process(kept, takes, damage):
    kept.mkdir() if damage == "a folder" else kept.write_text(damage)
    takes[1]["plain"] = 0.5
    assert not chosen()
    assert len(takes[0]) >= 1


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
@pytest.mark.parametrize("work", ["convolve", "weight_gradient"])
def test_both_paths_are_timed_in_full_precision_and_all_is_as_before(path, work):
    seen = []
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()

    def watched(*inputs):
        seen.append((torch.get_num_threads(), torch.get_float32_matmul_precision()))
        return conv._PATHS[work][0](*inputs)

    times = measured._milliseconds(work, 16, watched, conv._PATHS[work][1])
    assert times.keys() == {"plain", "compiled"} and min(times.values()) > 0
    assert set(seen) == {(1, "highest")}
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
@pytest.mark.parametrize("wins", [True, False])
def test_a_convolution_goes_the_way_that_was_chosen(path, monkeypatch, wins):
    monkeypatch.setattr(conv, "compiled_wins", lambda *work: wins)
    rows = torch.zeros(3, 16)
    for work, paths in conv._PATHS.items():
        assert conv._choose(work, rows, 32) is paths[wins]
        assert conv._choose(work, rows.double(), 32) is paths[False]
