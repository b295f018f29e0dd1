import pytest
import torch
from torch.nn import functional as F

from clip2scene.student.sparse import (
    Pyramid,
    SparseConv3d,
    SparseTensor,
    conv,
    sparse_convolution,
    sparse_tensor,
)
from clip2scene.student.sparse import cpu_kernels as compiled
from clip2scene.student.sparse import keys as packed
from clip2scene.student.sparse.kernel_map import submanifold_map

EDGE = 8


@pytest.fixture(params=["plain torch", "compiled"])
def path(request):
    """Run a test on both paths; the compiled one is skipped where there is no C compiler."""
    with compiled.compiled_kernels(request.param == "compiled"):
        if request.param == "compiled" and not compiled.usable(torch.zeros(1, 16), 16):
            pytest.skip("no C compiler here")
        yield request.param


def random_voxels(generator, *, batches=2, most=120, corner=0):
    """Unique (batch, x, y, z) in a cube of EDGE cells whose lowest corner is (corner, corner, corner)."""
    count = int(torch.randint(1, most, (1,), generator=generator))
    chosen = torch.randperm(batches * EDGE**3, generator=generator)[:count]
    cells = [chosen // EDGE**2 % EDGE, chosen // EDGE % EDGE, chosen % EDGE]
    return torch.stack([chosen // EDGE**3, *(axis + corner for axis in cells)], dim=1)


def to_dense(rows, coordinates, corner, edge, batches=2):
    dense = rows.new_zeros(batches, edge, edge, edge, rows.shape[1])
    batch, x, y, z = coordinates.t()
    return dense.index_put((batch, x - corner, y - corner, z - corner), rows).permute(0, 4, 1, 2, 3)


def from_dense(dense, coordinates, corner):
    batch, x, y, z = coordinates.t()
    return dense.permute(0, 2, 3, 4, 1)[batch, x - corner, y - corner, z - corner]


def dense_weight(weight, kernel):
    return weight.unflatten(0, (kernel, kernel, kernel)).permute(4, 3, 0, 1, 2)


def sparse_and_dense(kind, seed, dtype):
    """The same convolution twice: by the engine on voxels, and by torch on the dense cube."""
    generator = torch.Generator().manual_seed(seed)
    corner = 2 * int(torch.randint(-9, 9, (1,), generator=generator))
    inputs, outputs = ((1, 3, 17, 32, 48, 80)[n] for n in torch.randint(6, (2,), generator=generator))
    kernel = 2 if kind in ("down", "up") else (1, 3, 5)[seed % 3]
    coordinates = random_voxels(generator, corner=corner)
    layer = SparseConv3d(
        inputs, outputs, kernel, stride=2 if kernel == 2 else 1, transposed=kind == "up", bias=seed % 2 == 1
    ).to(dtype)
    with torch.no_grad():
        layer.weight.normal_(generator=generator).div_((inputs * kernel**3) ** 0.5)
        if layer.bias is not None:
            layer.bias.normal_(generator=generator)
    pyramid = sparse_tensor(coordinates, torch.zeros(len(coordinates), 1))[0].pyramid
    level = 1 if kind == "up" else 0
    here = pyramid.coordinates(level)
    features = torch.randn(len(here), inputs, dtype=dtype, generator=generator)
    edges = {"down": (EDGE, EDGE // 2), "up": (EDGE // 2, EDGE)}.get(kind, (EDGE, EDGE))
    corners = {"down": (corner, corner // 2), "up": (corner // 2, corner)}.get(kind, (corner, corner))

    def by_engine(rows):
        out = layer(SparseTensor(rows, pyramid, level))
        return out.features, out.coordinates

    def by_torch(rows, there):
        dense = to_dense(rows, here, corners[0], edges[0])
        weight = dense_weight(layer.weight, kernel)
        if kind == "up":
            out = F.conv_transpose3d(dense, weight.transpose(0, 1), layer.bias, stride=2)
        elif kind == "down":
            out = F.conv3d(dense, weight, layer.bias, stride=2)
        else:
            out = F.conv3d(dense, weight, layer.bias, padding=kernel // 2)
        return from_dense(out, there, corners[1])

    return layer, features, by_engine, by_torch


def assert_close(actual, expected, tolerance):
    scale = expected.abs().max().clamp(min=1)  # all inputs are of order one
    torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["submanifold", "down", "up"])
@pytest.mark.parametrize("decade", range(10))
def test_values_and_gradients_equal_those_of_dense_convolution(kind, decade, path):
    for seed in range(10 * decade, 10 * decade + 10):
        layer, features, by_engine, by_torch = sparse_and_dense(kind, seed, torch.float32)
        results = []
        upward = None
        there = None
        for run in (by_engine, by_torch):
            rows = features.clone().requires_grad_()
            out, there = run(rows) if run is by_engine else (run(rows, there), there)
            upward = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
            layer.zero_grad()
            out.backward(upward)
            results.append((out.detach(), rows.grad, *(p.grad.clone() for p in layer.parameters())))
        for actual, expected in zip(*results, strict=True):
            assert_close(actual, expected, 1e-5)


@pytest.mark.parametrize("kind", ["submanifold", "down", "up"])
@pytest.mark.parametrize("seed", range(4))
def test_gradients_pass_gradcheck_in_double(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    coordinates = random_voxels(generator, most=30)
    pyramid = sparse_tensor(coordinates, torch.zeros(len(coordinates), 1))[0].pyramid
    pairs = pyramid.neighbours(0, 3) if kind == "submanifold" else pyramid.descent(0)
    if kind == "up":
        pairs = pairs.transposed
    rows = torch.randn(pairs.num_sources, 3, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(len(pairs.counts), 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, w: sparse_convolution(r, w, pairs), (rows, weight))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_the_submanifold_map_holds_exactly_the_neighbours_and_is_symmetric(kernel, seed, path):
    generator = torch.Generator().manual_seed(seed)
    coordinates = random_voxels(generator, most=300, corner=-4)
    pairs = submanifold_map(torch.sort(packed.pack(coordinates))[0], kernel)
    ordered = sorted(map(tuple, coordinates.tolist()))
    row_of = {voxel: row for row, voxel in enumerate(ordered)}
    expected = []
    for offset in range(kernel**3):
        x, y, z = offset // kernel**2, offset // kernel % kernel, offset % kernel
        moved = [(b, i + x - kernel // 2, j + y - kernel // 2, k + z - kernel // 2) for b, i, j, k in ordered]
        found = {(row_of[m], target) for target, m in enumerate(moved) if m in row_of}
        expected.append(set() if offset == kernel**3 // 2 else found)
    split = zip(pairs.sources.split(pairs.counts), pairs.targets.split(pairs.counts), strict=True)
    actual = [set(zip(s.tolist(), t.tolist(), strict=True)) for s, t in split]
    assert actual == expected
    assert sum(pairs.counts) == sum(map(len, expected))
    assert [{(t, s) for s, t in group} for group in actual] == actual[::-1]


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_compiled_map_is_that_of_plain_torch_to_the_last_bit(kernel, path):
    generator = torch.Generator().manual_seed(kernel)
    keys = torch.unique(packed.pack(torch.randint(-9, 9, (3000, 4), generator=generator).abs()))
    fast = submanifold_map(keys, kernel)
    with compiled.compiled_kernels(False):
        slow = submanifold_map(keys, kernel)
    assert torch.equal(fast.sources, slow.sources) and torch.equal(fast.targets, slow.targets)
    assert fast.counts == slow.counts and len(fast.counts) == kernel**3


@pytest.mark.parametrize("seed", range(5))
def test_going_up_is_the_adjoint_of_going_down(seed):
    generator = torch.Generator().manual_seed(seed)
    coordinates = random_voxels(generator)
    down = sparse_tensor(coordinates, torch.zeros(len(coordinates), 1))[0].pyramid.descent(0)
    weight = torch.randn(8, 5, 7, generator=generator, dtype=torch.float64)
    fine = torch.randn(down.num_sources, 5, generator=generator, dtype=torch.float64)
    coarse = torch.randn(down.num_targets, 7, generator=generator, dtype=torch.float64)
    there = (sparse_convolution(fine, weight, down) * coarse).sum()
    back = (sparse_convolution(coarse, weight.transpose(1, 2).contiguous(), down.transposed) * fine).sum()
    torch.testing.assert_close(there, back)


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
            assert compiled.usable(rows, columns[1])
            expected = conv.gather_multiply_scatter(rows, weight, pairs)
            assert_close(compiled.convolve(rows, weight, pairs), expected, 1e-5)
            expected = conv.weight_gradient(rows, upward, pairs)
            assert_close(compiled.weight_gradient(rows, upward, pairs), expected, 1e-5)
    finally:
        torch.set_num_threads(before)


def test_without_a_compiler_plain_torch_runs(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    compiled._library.cache_clear()
    try:
        assert not compiled.usable(torch.zeros(1, 16), 16)
    finally:
        monkeypatch.undo()
        compiled._library.cache_clear()


def test_a_compiler_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled._library.cache_clear()
    try:
        assert not compiled.usable(torch.zeros(1, 16), 16)
        assert not list(tmp_path.rglob("*.so"))
    finally:
        monkeypatch.undo()
        compiled._library.cache_clear()


def test_coordinates_of_coarser_levels_are_floored_also_below_zero():
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(-70_000, 70_000, (500, 3), generator=generator)
    coordinates = torch.cat([torch.randint(0, 512, (500, 1), generator=generator), cells], dim=1)
    pyramid = Pyramid(torch.unique(packed.pack(coordinates)))
    for level in range(6):
        expected = torch.cat([coordinates[:, :1], cells.div(2**level, rounding_mode="floor")], dim=1)
        assert torch.equal(pyramid.coordinates(level), torch.unique(expected, dim=0))


def test_voxels_at_the_far_ends_of_the_range_have_no_neighbours_across_it(path):
    most = packed.MAX_COORDINATE
    ends = torch.cartesian_prod(torch.tensor([0, 1, 511]), *[torch.tensor([-most, most])] * 3)
    pyramid = Pyramid(torch.unique(packed.pack(ends)))
    for level in range(4):
        assert pyramid.neighbours(level, 5).num_pairs == len(ends)


def test_items_of_a_batch_never_mix():
    generator = torch.Generator().manual_seed(3)
    coordinates = random_voxels(generator, batches=4, most=400)
    features = torch.randn(len(coordinates), 4, generator=generator)
    layers = [SparseConv3d(4, 6), SparseConv3d(6, 5, 2, stride=2), SparseConv3d(5, 5)]
    layers.append(SparseConv3d(5, 3, 2, stride=2, transposed=True))
    run = torch.nn.Sequential(*layers)
    together, order = sparse_tensor(coordinates, features)
    together = run(together)
    for item in range(4):
        of_item = coordinates[:, 0] == item
        alone, _ = sparse_tensor(coordinates[of_item], features[of_item])
        assert_close(together.features[of_item[order]], run(alone).features, 1e-5)


def test_the_order_of_the_voxels_does_not_matter():
    generator = torch.Generator().manual_seed(4)
    coordinates = random_voxels(generator)
    features = torch.randn(len(coordinates), 2, generator=generator)
    shuffled = torch.randperm(len(coordinates), generator=generator)
    one, order = sparse_tensor(coordinates, features)
    other, other_order = sparse_tensor(coordinates[shuffled], features[shuffled])
    assert torch.equal(one.features, other.features)
    assert torch.equal(order, shuffled[other_order])


def test_maps_are_made_once_per_level():
    coordinates = random_voxels(torch.Generator().manual_seed(5))
    pyramid = Pyramid(torch.unique(packed.pack(coordinates)))
    assert pyramid.neighbours(1, 3) is pyramid.neighbours(1, 3)
    assert pyramid.descent(0).transposed is pyramid.descent(0).transposed


def test_autocast_multiplies_in_bfloat16_and_sums_in_float32():
    layer, features, by_engine, by_torch = sparse_and_dense("submanifold", 1, torch.float32)
    out, there = by_engine(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = by_engine(features)
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), out, 2e-2)
    half.float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("coordinates", "message"),
    [
        (torch.zeros(0, 4, dtype=torch.long), "No voxels"),
        (torch.zeros(2, 4, dtype=torch.long), "given twice"),
        (torch.tensor([[0, 2**17, 0, 0]]), "out of range"),
        (torch.tensor([[0, 0, 0, -(2**40)]]), "out of range"),
        (torch.tensor([[-1, 0, 0, 0]]), "Batch index out of range"),
        (torch.tensor([[512, 0, 0, 0]]), "Batch index out of range"),
    ],
)
def test_impossible_coordinates_are_refused(coordinates, message):
    with pytest.raises(ValueError, match=message):
        sparse_tensor(coordinates, torch.zeros(len(coordinates), 1))


@pytest.mark.parametrize(
    "options", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2}, {"transposed": True}]
)
def test_unsupported_convolutions_are_refused(options):
    with pytest.raises(ValueError, match="Unsupported sparse convolution"):
        SparseConv3d(1, 1, **options)


def test_going_up_from_the_finest_level_is_refused():
    tensor, _ = sparse_tensor(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="finest level"):
        SparseConv3d(1, 1, 2, stride=2, transposed=True)(tensor)
