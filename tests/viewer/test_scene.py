from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from clip2scene.distill.lift import find_pairs
from clip2scene.types import PointCloud
from clip2scene.viewer.scene import read_scene
from clip2scene.viewer.source import Reading


def test_all_points_are_shown_where_they_are_few(source):
    scene = read_scene(source, 0, most=10**6)
    assert torch.equal(scene.positions, scene.sample.cloud.positions)
    assert torch.equal(scene.features, scene.sample.cloud.features)
    assert torch.equal(scene.truth, scene.sample.labels)
    assert not any("drawn at random" in note for note in scene.notes)


def test_of_too_many_points_a_random_choice_is_shown_and_the_notes_say_so(source):
    scene = read_scene(source, 0, most=500)
    count = len(scene.sample.cloud)
    assert len(scene.positions) == len(scene.truth) == 500 < count
    assert (scene.shown.diff() > 0).all()
    assert torch.equal(scene.truth, scene.sample.labels[scene.shown])
    assert f"500 of {count:,} points are shown" in scene.notes[0]
    assert torch.equal(scene.shown, read_scene(source, 0, most=500).shown), "the same points each time"


def test_points_that_are_shown_keep_their_pixels_though_all_points_may_hide_them(source):
    scene = read_scene(source, 0, most=500)
    every = find_pairs(scene.sample.cloud.positions, scene.sample, source.pairing)
    kept = torch.isin(every.points, scene.shown)
    assert 0 < len(scene.pairs) == int(kept.sum())
    assert torch.equal(scene.shown[scene.pairs.points], every.points[kept])
    assert torch.equal(scene.pairs.pixels, every.pixels[kept])


def test_points_are_drawn_over_the_image_where_their_camera_sees_them(source):
    scene = read_scene(source, 0, most=10**6)
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).expand(len(scene.shown), 3)
    everywhere = torch.ones(len(scene.shown), dtype=torch.bool)
    drawn = np.asarray(scene.draw_over_image(0, red, everywhere), dtype=int)
    camera = scene.sample.cameras[0]
    assert drawn.shape == (2 * camera.height, 2 * camera.width, 3), "small images are enlarged"
    nothing = np.asarray(scene.draw_over_image(0, red, ~everywhere), dtype=int)
    redder = (drawn[..., 0] - nothing[..., 0]) - (drawn[..., 1] - nothing[..., 1]) > 10
    mine = scene.pairs.views == 0
    u, v = (2 * scene.pairs.pixels[mine] + 1).floor().long().unbind(1)
    there = np.zeros(redder.shape, dtype=bool)
    there[v.clamp(0, 2 * camera.height - 1), u.clamp(0, 2 * camera.width - 1)] = True
    assert redder[there].mean() > 0.9
    assert not redder[~binary_dilation(there, iterations=4)].any()


def test_large_images_are_scaled_down_and_their_pixels_with_them(source):
    def enlarge(image):
        return image.repeat_interleave(10, 0).repeat_interleave(10, 1)

    read = source.read

    def read_large(number):
        sample, notes = read(number)
        scale = torch.diag(torch.tensor([10.0, 10.0, 1.0]))
        cameras = tuple(
            replace(each, intrinsics=scale @ each.intrinsics, width=10 * each.width, height=10 * each.height)
            for each in sample.cameras
        )
        large = replace(sample, cameras=cameras, read_image=lambda view: enlarge(sample.read_image(view)))
        return Reading(large, notes)

    scene = read_scene(replace(source, read=read_large), 0, most=10**6)
    assert scene.sample.cameras[0].width == 1600 and scene.image(0).shape == (384, 640, 3)
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).expand(len(scene.shown), 3)
    drawn = np.asarray(scene.draw_over_image(0, red, torch.ones(len(red), dtype=torch.bool)), dtype=int)
    is_red = (drawn[..., 0] > 200) & (drawn[..., 1] < 60)
    u, v = (scene.pairs.pixels[scene.pairs.views == 0] * 640 / 1600).round().long().unbind(1)
    assert is_red[v.clamp(0, 383), u.clamp(0, 639)].mean() > 0.9


def test_a_cloud_with_numbers_that_are_not_finite_is_refused(source):
    def read_damaged(number):
        sample, notes = source.read(number)
        positions = sample.cloud.positions.clone()
        positions[0, 0] = torch.nan
        return Reading(replace(sample, cloud=PointCloud(positions, sample.cloud.features)), notes)

    with pytest.raises(ValueError, match="NaN or infinite"):
        read_scene(replace(source, read=read_damaged), 0, most=10**6)
