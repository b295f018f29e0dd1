import pytest
import torch
from tests.student.sparse.voxels import EDGE, assert_close, pyramid_of, random_voxels, sparse_tensor
from torch.nn import functional as F

from clip2scene.student.sparse import SparseConv3d, SparseTensor, sparse_convolution
from clip2scene.student.sparse.finish import Finish


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
    layer = SparseConv3d(inputs, outputs, kernel, stride=2 if kernel == 2 else 1, transposed=kind == "up").to(
        dtype
    )
    with torch.no_grad():
        layer.weight.normal_(generator=generator).div_((inputs * kernel**3) ** 0.5)
    pyramid = pyramid_of(coordinates)
    level = 1 if kind == "up" else 0
    here = pyramid.coordinates(level)
    features = torch.randn(len(here), inputs, dtype=dtype, generator=generator)
    edges = {"down": (EDGE, EDGE // 2), "up": (EDGE // 2, EDGE)}.get(kind, (EDGE, EDGE))
    corners = {"down": (corner, corner // 2), "up": (corner // 2, corner)}.get(kind, (corner, corner))

    def by_engine(rows):
        out = layer(SparseTensor(rows, pyramid, level))
        return out.features, out.pyramid.coordinates(out.level)

    def by_torch(rows, there):
        dense = to_dense(rows, here, corners[0], edges[0])
        weight = dense_weight(layer.weight, kernel)
        if kind == "up":
            out = F.conv_transpose3d(dense, weight.transpose(0, 1), None, stride=2)
        elif kind == "down":
            out = F.conv3d(dense, weight, None, stride=2)
        else:
            out = F.conv3d(dense, weight, None, padding=kernel // 2)
        return from_dense(out, there, corners[1])

    return layer, features, by_engine, by_torch


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
    pyramid = pyramid_of(coordinates)
    pairs = pyramid.neighbours(0, 3) if kind == "submanifold" else pyramid.descent(0)
    if kind == "up":
        pairs = pairs.transposed
    rows = torch.randn(pairs.num_sources, 3, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(len(pairs.counts), 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, w: sparse_convolution(r, w, pairs), (rows, weight))


@pytest.mark.parametrize(("options", "inputs"), [({}, 27 * 8), ({"kernel_size": 2, "stride": 2}, 8 * 8)])
def test_initial_weights_are_even_within_one_over_the_root_of_the_inputs(options, inputs):
    """As torch draws those of its dense layers: up to 1 / sqrt(channels * kernel cells), mean 0."""
    torch.manual_seed(0)
    weights, bound = SparseConv3d(8, 64, **options).weight.detach(), inputs**-0.5
    dense = torch.nn.Conv3d(8, 64, options.get("kernel_size", 3)).weight.detach()
    for each in (weights, dense):
        assert 0.98 * bound < each.abs().max() <= bound
        assert each.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert abs(each.mean().item()) < 0.05 * bound


def test_a_layer_that_goes_up_counts_its_outputs():
    """Torch counts the same way, and that is how such layers were always drawn here."""
    torch.manual_seed(0)
    largest = SparseConv3d(8, 64, 2, stride=2, transposed=True).weight.abs().max().item()
    dense = torch.nn.ConvTranspose3d(8, 64, 2, stride=2).weight.abs().max().item()
    assert largest == pytest.approx((64 * 8) ** -0.5, rel=0.02)
    assert dense == pytest.approx(largest, rel=0.02)


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
    "options", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2}, {"transposed": True}]
)
def test_unsupported_convolutions_are_refused(options):
    with pytest.raises(ValueError, match="Unsupported sparse convolution"):
        SparseConv3d(1, 1, **options)


def test_going_up_from_the_finest_level_is_refused():
    tensor, _ = sparse_tensor(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="finest level"):
        SparseConv3d(1, 1, 2, stride=2, transposed=True)(tensor)


@pytest.mark.parametrize("relu", [True, False])
def test_scale_shift_and_relu_end_a_convolution_as_they_would_after_it(relu, path):
    generator = torch.Generator().manual_seed(3)
    inputs = sparse_tensor(coordinates := random_voxels(generator), torch.randn(len(coordinates), 3))[0]
    inputs.features[5, 1] = torch.nan
    layer, finish = SparseConv3d(3, 32), Finish(torch.randn(32), torch.randn(32), relu)
    with torch.no_grad():
        before, after = layer(inputs).features, layer(inputs, finish).features
    expected = before * finish.scale + finish.shift
    assert torch.equal(after.isnan(), before.isnan()) and after.isnan().any()
    assert_close(after.nan_to_num(), (F.relu(expected) if relu else expected).nan_to_num(), 1e-6)
