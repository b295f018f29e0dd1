import pytest
import torch
from tests.student.sparse.voxels import assert_close

from clip2scene.student.sparse import Pyramid, conv, cpu_kernels
from clip2scene.student.sparse import keys as packed
from clip2scene.student.sparse.tensor import submanifold_map


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_compiled_map_is_that_of_plain_torch_to_the_last_bit(kernel, path, monkeypatch):
    generator = torch.Generator().manual_seed(kernel)
    keys = torch.unique(packed.pack(torch.randint(-9, 9, (3000, 4), generator=generator).abs()))
    fast = submanifold_map(keys, kernel)
    monkeypatch.setattr(cpu_kernels, "switched_on", False)
    slow = submanifold_map(keys, kernel)
    assert torch.equal(fast.sources, slow.sources) and torch.equal(fast.targets, slow.targets)
    assert fast.counts == slow.counts and len(fast.counts) == kernel**3


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("columns", [(1, 16), (16, 32), (48, 64), (96, 112), (272, 144), (16, 512)])
def test_the_compiled_kernels_give_the_numbers_of_plain_torch(columns, threads, path):
    generator = torch.Generator().manual_seed(columns[0])
    pyramid = Pyramid(torch.unique(packed.pack(torch.randint(-9, 9, (3000, 4), generator=generator).abs())))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        maps = [pyramid.neighbours(0, 3), pyramid.neighbours(1, 1), pyramid.descent(0)]
        for pairs in [*maps, pyramid.descent(0).transposed]:
            rows = torch.randn(pairs.num_sources, columns[0], generator=generator)
            upward = torch.randn(pairs.num_targets, columns[1], generator=generator)
            weight = torch.randn(len(pairs.counts), *columns, generator=generator)
            assert cpu_kernels.usable(rows, columns[1])
            expected = conv.gather_multiply_scatter(rows, weight, pairs)
            assert_close(cpu_kernels.convolve(rows, weight, pairs), expected, 1e-5)
            expected = conv.weight_gradient(rows, upward, pairs)
            assert_close(cpu_kernels.weight_gradient(rows, upward, pairs), expected, 1e-5)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
def test_narrower_vectors_give_the_same_bits(path, monkeypatch, tmp_path):
    generator = torch.Generator().manual_seed(0)
    pyramid = Pyramid(torch.unique(packed.pack(torch.randint(-9, 9, (3000, 4), generator=generator).abs())))
    pairs, results = pyramid.neighbours(0, 3), []
    shapes = [(1, 16), (16, 32), (48, 80), (96, 112), (272, 144), (384, 256)]
    inputs = [
        [
            torch.randn(shape, generator=generator)
            for shape in ((pairs.num_sources, i), (27, i, o), (pairs.num_targets, o))
        ]
        for i, o in shapes
    ]
    for flags in ((), ("-mno-avx512f",)):
        monkeypatch.setattr(cpu_kernels, "FLAGS", (*cpu_kernels.FLAGS, *flags))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        cpu_kernels._library.cache_clear()
        try:
            if cpu_kernels._library() is None:
                pytest.skip("this processor has no such flag")
            made = [
                (cpu_kernels.convolve(rows, weight, pairs), cpu_kernels.weight_gradient(rows, upward, pairs))
                for rows, weight, upward in inputs
            ]
        finally:
            cpu_kernels._library.cache_clear()
        results.append(made)
    for wide, narrow in zip(*results, strict=True):
        assert all(map(torch.equal, wide, narrow))


def test_without_a_compiler_plain_torch_runs(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    cpu_kernels._library.cache_clear()
    try:
        assert not cpu_kernels.usable(torch.zeros(1, 16), 16)
    finally:
        monkeypatch.undo()
        cpu_kernels._library.cache_clear()


def test_a_compiler_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cpu_kernels._library.cache_clear()
    try:
        assert not cpu_kernels.usable(torch.zeros(1, 16), 16)
        assert not list(tmp_path.rglob("*.so"))
    finally:
        monkeypatch.undo()
        cpu_kernels._library.cache_clear()
