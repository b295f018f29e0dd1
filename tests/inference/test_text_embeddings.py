import json
import shutil
from dataclasses import replace
from io import BytesIO, TextIOWrapper

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tests import openai_clip

from clip2scene import build, build_teacher, cli
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.text_embeddings import check_space, embed_words, read_words
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.run import open_run
from clip2scene.runs.trust import trust_run
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.clip.openai import load_openai_model
from clip2scene.teacher.clip.tokenizer import vocabulary_of
from clip2scene.teacher.text_table import TextTable, read_text_table
from clip2scene.types import PointCloud, Prompts

WORDS = ["car", "tree", "red car"]


def cloud():
    generator = torch.Generator().manual_seed(0)
    return PointCloud(torch.rand(60, 3, generator=generator) * 20, torch.rand(60, 1, generator=generator))


@pytest.fixture
def robot(tiny_run, tmp_path):
    """A run that was carried to where its image-text model is not."""
    run = shutil.copytree(tiny_run, tmp_path / "robot", ignore=shutil.ignore_patterns("carried"))
    sources = json.loads((run / "sources.json").read_text())
    (run / "sources.json").write_text(json.dumps({**sources, "teacher_weights": str(tmp_path / "nowhere")}))
    return run


def test_a_student_labels_by_a_table_as_by_the_encoder_that_made_it(tiny_run, robot, tmp_path):
    embed_words(WORDS, run=tiny_run).save(tmp_path / "table.safetensors")
    here, there = Segmenter.load(tiny_run), Segmenter.load(robot, words=tmp_path / "table.safetensors")
    for segmenter in (here, there):
        segmenter.set_prompts(WORDS[::-1])
    torch.testing.assert_close(there.prompts.embeddings, here.prompts.embeddings)
    torch.testing.assert_close(there.segment(cloud()).scores, here.segment(cloud()).scores)
    with pytest.raises(ValueError, match="knows no name of class 'trees'"):
        there.set_prompts(["trees"])


def test_a_student_without_its_encoder_knows_the_words_it_was_taught(robot, tiny_run):
    segmenter = Segmenter.load(robot)
    expected = Segmenter.load(tiny_run).segment(cloud())
    assert torch.equal(segmenter.segment(cloud()).labels, expected.labels)
    with pytest.raises(ValueError, match="robot was not made by you on this machine.*trust-run"):
        segmenter.set_prompts(["car", "tree"])
    trust_run(robot)
    with pytest.raises(ValueError, match="there is no folder"):
        Segmenter.load(robot).set_prompts(["car", "tree"])


def test_a_table_of_numpys_with_names_beside_it_serves_too(tiny_run, robot, tmp_path):
    import numpy as np

    table = embed_words(WORDS, run=tiny_run)
    np.save(tmp_path / "words-small.npy", table.vectors.half().numpy())
    (tmp_path / "words-names.json").write_text(json.dumps([*WORDS[:2], "red car (automobile)"]))
    segmenter = Segmenter.load(robot, words=tmp_path / "words-small.npy")
    placed = segmenter.place_words(WORDS)
    torch.testing.assert_close(placed.embeddings, table.vectors, atol=1e-3, rtol=0)


def table(rows, space=""):
    return TextTable(tuple(rows), F.normalize(torch.tensor(list(rows.values())), dim=1), space)


TAUGHT = Prompts(("car", "tree"), ("car", "tree"), torch.arange(2), torch.eye(3)[:2])


def test_a_table_of_another_model_is_refused_as_far_as_can_be_known():
    fits = {"car": [1.0, 0.3, 0.0], "dog": [0.0, 0.0, 1.0]}
    strange = {"car": [0.1, 0.2, 1.0], "tree": [1.0, 0.1, 0.3]}
    check_space(table(fits), TAUGHT, "a")
    check_space(table(fits, "a"), TAUGHT, "a")
    check_space(table({"dog": strange["car"]}), TAUGHT, "a")  # nobody can know
    check_space(table({**strange, "tree": [0.1, 0.9, 0.0]}), TAUGHT, "")  # one name may be a stand-in
    with pytest.raises(ValueError, match="made by another image-text model"):
        check_space(table(fits, "b"), TAUGHT, "a")
    with pytest.raises(ValueError, match="made by another image-text model"):
        check_space(table(strange), TAUGHT, "")
    with pytest.raises(ValueError, match="vectors of 2 channels, but the student was trained in 3"):
        check_space(table({"car": [1.0, 0.0]}), TAUGHT, "")


def test_words_are_refused_that_are_none_or_repeated(tiny_run):
    for words in ([], [""], ["car", "car "]):
        with pytest.raises(ValueError, match="all different and not empty"):
            embed_words(words, run=tiny_run)
    with pytest.raises(ValueError, match="name either --run or --teacher-weights"):
        embed_words(["car"], run=tiny_run, teacher_weights="x")
    with pytest.raises(ValueError, match="never taught zeppelin"):
        embed_words(["zeppelin"])


def test_words_are_read_from_a_file_one_a_line(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "words.txt").write_text("car\n\n street sign \n", encoding=encoding)
        assert read_words(str(tmp_path / "words.txt")) == ["car", "street sign"]
    (tmp_path / "words.txt").write_text('wall, low\n"road, wide"\n')
    assert read_words(str(tmp_path / "words.txt")) == ["wall, low", "road, wide"]
    with pytest.raises(ValueError, match="none.txt is missing"):
        read_words(str(tmp_path / "none.txt"))


def test_words_alike_to_the_model_are_told():
    with pytest.raises(ValueError, match="'car' and 'Car' are the same to the image-text model"):
        embed_words(["tree", "car", "Car"])
    long = "a car and " * 20
    with pytest.raises(ValueError, match="reads the beginning of a text alone"):
        embed_words([long + "tree", long + "bus"])
    with pytest.raises(ValueError, match="holds a control character"):
        embed_words(["car", "bus\x1b[31m"])


def call(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["clip2scene", *map(str, words)])
    cli.main()


def test_a_phrase_with_a_comma_is_written_in_quotes_or_on_a_line_of_a_file(
    tiny_run, robot, tmp_path, monkeypatch
):
    made = embed_words(["car", "tree"], run=tiny_run)
    replace(made, names=("car", "wall, low")).save(tmp_path / "table.safetensors")
    points = torch.cat([cloud().positions, cloud().features], 1)
    points.numpy().astype("<f4").tofile(tmp_path / "sweep.bin")
    (tmp_path / "words.txt").write_text("car\nwall, low\n", encoding="utf-8-sig")
    for number, prompts in enumerate(('car,"wall, low"', tmp_path / "words.txt")):
        words = ("--prompts", prompts, "--words", tmp_path / "table.safetensors")
        call(
            monkeypatch, "segment", robot, tmp_path / "sweep.bin", *words, "--out", tmp_path / f"out{number}"
        )
        with np.load(tmp_path / f"out{number}" / "sweep.npz") as found:
            assert found["names"].tolist() == ["car", "wall, low"]


def test_a_console_that_cannot_show_a_word_gets_its_numbers(tmp_path, monkeypatch):
    narrow = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", narrow)
    call(monkeypatch, "embed-words", "car", "--out", tmp_path / "東京.safetensors")
    narrow.flush()
    assert narrow.buffer.getvalue().strip().endswith(b"\\u6771\\u4eac.safetensors")


def test_the_commands_make_a_table_and_label_a_cloud_with_it(tiny_run, robot, tmp_path, monkeypatch, capsys):
    points = torch.cat([cloud().positions, cloud().features], 1)
    points.numpy().astype("<f4").tofile(tmp_path / "sweep.bin")
    out = tmp_path / "out"
    call(monkeypatch, "embed-words", "car, tree", "--run", tiny_run, "--out", tmp_path / "table.safetensors")
    assert "wrote 2 words of 128 channels" in capsys.readouterr().out
    made = read_text_table(tmp_path / "table.safetensors")
    assert made.space == load_clip(build_teacher.SMALL_CLIP).space
    words = ("--prompts", "tree,car", "--words", tmp_path / "table.safetensors")
    call(monkeypatch, "segment", robot, tmp_path / "sweep.bin", *words, "--out", out)
    assert (out / "sweep.npz").exists()
    replace(made, space="f" * 16).save(tmp_path / "table.safetensors")
    with pytest.raises(SystemExit):
        call(monkeypatch, "segment", robot, tmp_path / "sweep.bin", *words, "--out", tmp_path / "none")
    assert "made by another image-text model" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    with pytest.raises(SystemExit):
        call(monkeypatch, "embed-words", "car", "--out", tmp_path / "table.txt")
    assert "must end in .safetensors" in capsys.readouterr().err


MERGES = [("c", "a"), ("ca", "r</w>")]
SIZES = dict(embed=32, text=64, tokens=512 + len(MERGES) + 2, context=16, layers=1)
VIT = dict(image=32, vision=1, width=64, patch=8, **SIZES)
RESNET = dict(image=64, vision=(1, 1, 1, 1), width=16, **SIZES)


@pytest.mark.parametrize("sizes", [VIT, RESNET])
def test_a_model_is_known_again_in_any_layout_and_precision(tmp_path, sizes):
    model = openai_clip.make(**sizes)
    torch.save(openai_clip.state_dict(model), tmp_path / "model.pt")
    write_vocabulary(tmp_path)
    space = load_clip(tmp_path / "model.pt").space
    assert len(space) == 16
    state = {
        name: value.bfloat16() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    torch.save(state, tmp_path / "bf16.pt")
    assert load_clip(tmp_path / "bf16.pt").space == space
    with torch.no_grad():
        model.text_projection.neg_()
    torch.save(openai_clip.state_dict(model), tmp_path / "other.pt")
    assert load_clip(tmp_path / "other.pt").space != space
    if sizes is VIT:
        folder = tmp_path / "saved"
        load_openai_model(tmp_path / "model.pt").save_pretrained(folder)
        write_vocabulary(folder)
        assert load_clip(folder).space == space


def write_vocabulary(folder):
    (folder / "vocab.json").write_text(json.dumps(vocabulary_of(MERGES)), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca r</w>\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


def test_a_table_beside_the_weights_stands_in_for_the_text_tower(tmp_path, tiny_toytown, tiny_recipe):
    torch.save(openai_clip.state_dict(openai_clip.make(**VIT)), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="holds no tokenizer"):
        load_clip(tmp_path / "model.pt")
    names = [name for each in build.prompt_classes(tiny_recipe.data).prompts for name in each]
    vectors = F.normalize(torch.randn(len(names), 32, generator=torch.Generator().manual_seed(0)), dim=1)
    words = TextTable(tuple(names), vectors)
    words.save(tmp_path / "words.safetensors")
    clip = load_clip(tmp_path / "model.pt")
    torch.testing.assert_close(clip.encode_text(names[3:5]), vectors[3:5])
    assert clip.unknown_words("zeppelin") == ["zeppelin"]
    assert clip.encode_image(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).shape == (1, 32)
    run = tmp_path / "run"
    create_or_resume(tiny_recipe, data_root=tiny_toytown, out=run, teacher_weights=str(tmp_path / "model.pt"))
    opened = open_run(run)
    torch.testing.assert_close(opened.prompts.embeddings, vectors)
    assert opened.sources.text_space == clip.space == opened.text_space().space
    replace(words, vectors=vectors.roll(1, 0)).save(tmp_path / "words.safetensors")
    with pytest.raises(ValueError, match="is not the one that"):
        opened.text_space()


def test_a_table_of_another_model_beside_the_weights_is_refused(tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(build_teacher.SMALL_CLIP, folder)
    embed_words(WORDS).save(folder / "words.safetensors")
    assert load_clip(folder).unknown_words("a car") == ["a car"]
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "text_projection": -weights["text_projection"]}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="made by another image-text model than the image tower"):
        load_clip(folder)
    TextTable(("car",), torch.ones(1, 5)).save(folder / "words.safetensors")
    with pytest.raises(ValueError, match="vectors of 5 channels, the image tower beside it 128"):
        load_clip(folder)
