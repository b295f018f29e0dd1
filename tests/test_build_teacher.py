import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clip2scene import build, build_teacher
from clip2scene.classes.tables import PANDASET, TOYTOWN, ClassSet
from clip2scene.config import (
    DataConfig,
    TeacherConfig,
)
from clip2scene.teacher.clip.load import Clip
from clip2scene.teacher.clip.tokenizer import WholeTokenizer, word_tokenizer
from clip2scene.teacher.guided_filter import GuidedFilter
from clip2scene.teacher.pamr import PixelAdaptive
from clip2scene.teacher.refine import Refinement, SuperpixelMean
from clip2scene.teacher.text_table import TextTable

LABEL_MAPS = TeacherConfig(kind="label-maps")
CLASSES = ClassSet(
    "three", ("car", "sky", "zebra crossing"), (("automobile",), ("sky",), ("stripes",)), ((1, 2, 3),) * 3, {}
)


def write_table(folder, names):
    vectors = np.random.default_rng(0).standard_normal((len(names), 16)).astype(np.float32)
    np.save(folder / "words-of-mine.npy", vectors)
    (folder / "words-names.json").write_text(json.dumps(names))
    return str(folder / "words-of-mine.npy"), F.normalize(torch.from_numpy(vectors), dim=1)


def test_the_teacher_is_read_as_its_settings_say():
    settings = TeacherConfig(
        working_size=(64, 96),
        scales=(0.5, 1.0),
        window=32,
        window_overlap=0.25,
        key_smoothing=0.75,
        prompt_denoising=0.4,
        attention="cells",
    )
    teacher = build_teacher.build_mask_clip(settings, build_teacher.load_clip(build_teacher.SMALL_CLIP))
    read = (teacher.working_size, teacher.scales, teacher.window, teacher.overlap, teacher.attention)
    assert read == ((64, 96), (0.5, 1.0), 32, 0.25, "cells")
    assert teacher.proxy is None
    assert (teacher.key_smoothing, teacher.prompt_denoising) == (0.75, 0.4)
    dense = teacher.dense_embeddings([(torch.ones(1, 1, 1), torch.ones(1, 1, 1))], [(8, 8)])
    assert (dense.key_smoothing, dense.prompt_denoising) == (0.75, 0.4)


@pytest.mark.parametrize(
    ("width", "attention", "notes"), [(1024, "maskclip", 1), (768, "maskclip", 0), (1024, "naclip", 0)]
)
def test_maskclip_over_a_large_transformer_is_warned_of_once(caplog, width, attention, notes):
    vision = SimpleNamespace(hidden_size=width)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    words = WholeTokenizer(word_tokenizer(["a"], 8))
    clip = Clip("vit", model, words, torch.zeros(3), torch.ones(3), 224, 14)
    build_teacher._say_that_it_collapses.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            build_teacher.build_mask_clip(TeacherConfig(attention=attention), clip)
    assert caplog.text.count("take a ViT-B/16 as --teacher-weights, or another --teacher.attention") == notes


def test_a_proxy_that_is_no_vision_model_is_refused_by_the_options_name(tmp_path):
    clip = build_teacher.load_clip(build_teacher.SMALL_CLIP)
    with pytest.raises(ValueError, match="--teacher.proxy: .*nowhere is not a folder"):
        build_teacher.build_mask_clip(TeacherConfig(proxy=str(tmp_path / "nowhere")), clip)
    with pytest.raises(ValueError, match="--teacher.proxy: .*holds no weights that are safe to read"):
        build_teacher.build_mask_clip(TeacherConfig(proxy=str(tmp_path)), clip)
    with pytest.raises(ValueError, match="--teacher.attention must be maskclip or cells for a CLIP ResNet"):
        build_teacher.build_mask_clip(TeacherConfig(attention="naclip"), clip)


def test_maps_are_refined_as_the_settings_say():
    assert build_teacher.build_refinement(TeacherConfig()) is None
    settings = TeacherConfig(refine_pixels=500, refine_rounds=3, refine_dilations=(1, 4), refine_radius=2)
    settings = replace(settings, refine_epsilon=0.1, refine_segments=7)
    methods = {
        "pamr": PixelAdaptive(3, (1, 4)),
        "guided": GuidedFilter(2, 0.1),
        "superpixels": SuperpixelMean(7),
    }
    for name, method in methods.items():
        found = build_teacher.build_refinement(replace(settings, refine=name))
        assert found == Refinement(method, 500)


def test_names_with_an_explanation_in_brackets_are_found_without_it(tmp_path):
    path, vectors = write_table(tmp_path, ["automobile (a vehicle)", "sky", "stripes"])
    space = build_teacher.open_text_space(LABEL_MAPS, path, CLASSES)
    assert torch.equal(space.encode_text(["automobile"]), vectors[:1])
    assert torch.equal(space.encode_text(["automobile (a vehicle)"]), vectors[:1])
    prompts = build_teacher.build_prompts(LABEL_MAPS, space, CLASSES)
    assert prompts.names == ("automobile", "sky", "stripes")
    torch.testing.assert_close(prompts.embeddings, vectors)


def test_classes_that_a_table_lacks_get_stand_ins_and_a_warning(tmp_path, caplog):
    path, _ = write_table(tmp_path, ["sky", "car", "automobile", "tree"])
    with caplog.at_level(logging.WARNING):
        space = build_teacher.open_text_space(LABEL_MAPS, path, CLASSES)
    assert "no text embedding for zebra crossing:" in caplog.text
    prompts = build_teacher.build_prompts(LABEL_MAPS, space, CLASSES)
    assert prompts.names == ("car", "sky", "zebra crossing")  # the class's own name goes before its others
    assert space.unknown_words("giraffe") == ["giraffe"]


def test_a_whole_vocabulary_needs_no_warning(tmp_path, caplog):
    path, _ = write_table(tmp_path, ["sky", "car", "stripes"])
    with caplog.at_level(logging.WARNING):
        build_teacher.open_text_space(LABEL_MAPS, path, CLASSES)
    assert not caplog.text


def test_without_a_table_label_maps_have_a_vocabulary_of_their_classes_alone():
    space = build_teacher.open_text_space(LABEL_MAPS, None, PANDASET)
    assert isinstance(space, TextTable)
    prompts = build_teacher.build_prompts(LABEL_MAPS, space, PANDASET)
    assert prompts.names == prompts.classes == PANDASET.classes
    assert torch.equal(prompts.embeddings, torch.eye(len(PANDASET)))


def test_a_table_without_its_list_of_names_is_refused(tmp_path):
    path, _ = write_table(tmp_path, ["sky"])
    (tmp_path / "words-names.json").unlink()
    with pytest.raises(ValueError, match="words-of-mine.npy cannot be read .*words-names.json is missing"):
        build_teacher.open_text_space(LABEL_MAPS, path, CLASSES)


def test_the_small_clip_is_the_teacher_when_no_other_is_named():
    space = build_teacher.open_text_space(TeacherConfig(), None, TOYTOWN)
    prompts = build_teacher.place_words(TeacherConfig(templates="toytown"), space, ["car", "person"])
    assert prompts.classes == prompts.names == ("car", "person")
    torch.testing.assert_close(prompts.embeddings.norm(dim=1), torch.ones(2))
    with pytest.raises(ValueError, match="zeppelin"):
        build_teacher.place_words(TeacherConfig(), space, ["car", "zeppelin"])


def test_a_segmenter_of_boxes_gets_the_model_that_draws_their_masks(tiny_toytown, monkeypatch):
    asked = {}

    def load(source, words, **settings):
        asked.update(source=source, words=words, **settings)
        raise ValueError("it was asked for")

    monkeypatch.setattr(build_teacher, "load_segmenter", load)
    settings = TeacherConfig(kind="segmenter", trained_on_2d_labels=True, proxy="sam2")
    dataset = build.open_dataset(DataConfig(classes="toytown"), tiny_toytown, split="val")
    space = build_teacher.open_text_space(settings, None, TOYTOWN)
    prompts = build_teacher.build_prompts(settings, space, TOYTOWN)
    with pytest.raises(ValueError, match="it was asked for"):
        build_teacher.build_teacher(settings, space, prompts, dataset, "owlv2")
    words = [name for names in TOYTOWN.prompts for name in names]
    assert asked == {"source": "owlv2", "words": words, "working_size": None, "masks": "sam2"}
