import hashlib
import json

import pytest
import torch

from clip2scene.build_teacher import SMALL_CLIP
from clip2scene.io import writing
from clip2scene.teacher import cache
from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.kept_maps import open_maps
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.types import Camera, PointCloud, Sample

CLIP = load_clip(SMALL_CLIP)


class CountingMaskClip(MaskClip):
    """Counts its forward passes, one an image."""

    passes = 0

    def embed_image(self, image):
        CountingMaskClip.passes += 1
        return super().embed_image(image)


@pytest.fixture(autouse=True)
def start_counting():
    CountingMaskClip.passes = 0


def make_sample(*seeds):
    images = [
        torch.randint(0, 255, (40, 48, 3), generator=torch.Generator().manual_seed(seed)).byte()
        for seed in seeds
    ]
    camera = Camera(
        "front", torch.eye(3), torch.eye(4), 96, 80
    )  # pixels of pairs may be finer than the image's
    cloud = PointCloud(torch.zeros(1, 3), torch.ones(1, 1))
    return Sample("a", cloud, (camera,) * len(seeds), images.__getitem__)


def cached(folder, weights_hash="w", precision="float16", **settings):
    return CachedTeacher(CountingMaskClip(CLIP, **settings), weights_hash, open_maps(folder), precision)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.embeddings, other.embeddings, strict=True))


def test_the_forward_pass_runs_once_an_image_and_no_result_depends_on_the_cache(tmp_path):
    sample = make_sample(0, 1)
    first = cached(tmp_path)(sample)
    assert CountingMaskClip.passes == 2
    again = cached(tmp_path)(sample)
    assert CountingMaskClip.passes == 2
    without = cached(None)(sample)
    assert CountingMaskClip.passes == 4
    assert same(first, again) and same(first, without)
    assert first.sizes == again.sizes == ((80, 96), (80, 96))
    exact = MaskClip(CLIP)(sample)
    for kept, true in zip(first.embeddings, exact.embeddings, strict=True):
        torch.testing.assert_close(kept, true, atol=1e-3, rtol=0)


def test_an_image_is_identified_by_its_pixels_wherever_it_comes_from(tmp_path):
    cached(tmp_path)(make_sample(0, 1))
    cached(tmp_path)(make_sample(1, 1, 0))
    assert CountingMaskClip.passes == 2


@pytest.mark.parametrize(
    "change",
    [
        {"scales": (0.5,)},
        {"window": 32},
        {"window": 32, "overlap": 0.0},
        {"working_size": (32, 32)},
        {"precision": "int8"},
        {"attention": "cells"},
    ],
)
def test_other_settings_are_another_forward_pass(tmp_path, change):
    sample = make_sample(0)
    cached(tmp_path)(sample)
    cached(tmp_path, **change)(sample)
    assert CountingMaskClip.passes == 2


def test_a_file_of_plain_maskclip_has_the_name_that_it_had_before_there_were_others(tmp_path):
    (image,) = (make_sample(0).read_image(0),)
    settings = {
        **{"working_size": None, "scales": [1.0], "window": None, "overlap": 0.5, "keys": False},
        **{"size": [40, 48, 3], "precision": "float16", "format": 2},
    }
    digest = hashlib.sha256(json.dumps(["w", settings], sort_keys=True).encode())
    digest.update(image.numpy().tobytes())
    name = digest.hexdigest()[:32]
    cached(tmp_path)(make_sample(0))
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == [f"{name[2:]}.safetensors"]


def test_eight_bits_take_half_the_space_and_keep_the_direction_of_every_cell(tmp_path):
    sample = make_sample(0)
    (exact,) = MaskClip(CLIP)(sample).embeddings
    sizes = {}
    for precision, alike in (("float16", 1 - 1e-6), ("int8", 1 - 1e-4)):
        (kept,) = cached(tmp_path / precision, precision=precision)(sample).embeddings
        (again,) = cached(tmp_path / precision, precision=precision)(sample).embeddings
        (without,) = cached(None, precision=precision)(sample).embeddings
        assert torch.equal(kept, again) and torch.equal(kept, without)
        assert (kept * exact).sum(0).min() > alike
        torch.testing.assert_close(kept.norm(dim=0), torch.ones(kept.shape[1:]))
        sizes[precision] = sum(path.stat().st_size for path in tmp_path.rglob(f"{precision}/*/*"))
    assert sizes["int8"] < 0.55 * sizes["float16"]


def test_other_weights_are_another_forward_pass(tmp_path):
    cached(tmp_path)(make_sample(0))
    cached(tmp_path, weights_hash="v")(make_sample(0))
    assert CountingMaskClip.passes == 2


def test_another_format_is_another_forward_pass(tmp_path, monkeypatch):
    cached(tmp_path)(make_sample(0))
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    cached(tmp_path)(make_sample(0))
    assert CountingMaskClip.passes == 2


def test_refinements_of_logits_share_a_forward_pass_and_keys_are_cached_for_key_smoothing(tmp_path):
    sample = make_sample(0)
    plain = cached(tmp_path)(sample)
    denoised = cached(tmp_path, prompt_denoising=0.5)(sample)
    assert CountingMaskClip.passes == 1
    assert same(plain, denoised) and denoised.prompt_denoising == 0.5
    smoothed = cached(tmp_path, key_smoothing=1.0)(sample)
    again = cached(tmp_path, key_smoothing=0.5)(sample)
    assert CountingMaskClip.passes == 2
    assert torch.equal(smoothed.keys[0], again.keys[0])
    assert plain.keys is None


def test_a_damaged_file_is_made_anew(tmp_path):
    sample = make_sample(0)
    first = cached(tmp_path)(sample)
    (path,) = (each for each in tmp_path.rglob("*") if each.is_file())
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert same(cached(tmp_path)(sample), first)
    assert CountingMaskClip.passes == 2 and path.read_bytes() == whole


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_file_with_one_changed_bit_is_made_anew(tmp_path, precision):
    sample = make_sample(0)
    first = cached(tmp_path, precision=precision)(sample)
    (path,) = (each for each in tmp_path.rglob("*") if each.is_file())
    whole = path.read_bytes()
    for number in range(30):
        bits = bytearray(whole)
        bits[-1 - number * 37] ^= 1 << number % 8
        path.write_bytes(bits)
        assert same(cached(tmp_path, precision=precision)(sample), first)
        assert CountingMaskClip.passes == 2 + number and path.read_bytes() == whole


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path)(make_sample(0))
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]
