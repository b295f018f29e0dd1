import json
import math
import random
import shutil
from pathlib import Path

import pytest
import torch

from clip2scene.inference.predict import predict_labels
from clip2scene.io import write_json
from clip2scene.runs.folder import check_folder
from clip2scene.runs.init_weights import initial_student
from clip2scene.runs.run import open_run
from clip2scene.runs.run_files import read_recipe, read_run_json
from clip2scene.runs.training_clouds import read_statistics
from clip2scene.types import PointCloud

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = [(run, path.name) for run in ("run", "finetuned") for path in sorted((GOLDEN / run).glob("*.json"))]
MUTATIONS = 17
"""Of each file, so that there are about 150."""
VALUES = [
    None,
    True,
    -1,
    0,
    3,
    1.5,
    1e300,
    10**400,
    math.nan,
    "",
    "x",
    "../..",
    [],
    {},
    [None],
    [[1]],
    {"a": 1},
]
CLOUD = PointCloud(torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) * 4, torch.zeros(40, 1))


def places(value, found):
    """List every container and key in a JSON value."""
    for key, inner in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        found.append((value, key))
        if isinstance(inner, (dict, list)) and inner:
            places(inner, found)
    return found


def mutate(text, rng):
    """Change one place of a JSON text: another value, a key that lacks or is renamed, or broken text."""
    content, kind = json.loads(text), rng.randrange(8)
    if kind == 0:
        return text[: rng.randrange(len(text))]
    if kind == 1:
        return text.replace("{", '{"a": 1, "a": 2, ', 1)
    if kind == 2:
        return json.dumps(rng.choice(VALUES))
    holder, key = rng.choice(places(content, []))
    if kind == 3 and isinstance(holder, dict):
        del holder[key]
    elif kind == 4 and isinstance(holder, dict):
        holder[f"{key}s"] = holder.pop(key)
    else:
        holder[key] = rng.choice(VALUES)
    return json.dumps(content)


def use(folder):
    """Open a run and use all that its JSON files say."""
    run = open_run(folder)
    _ = run.subset, run.labels_used(), run.class_mapping, run.knows_words, run.label_mask
    labels = predict_labels(run.student(), run.prompts, CLOUD, temperature=run.temperature).labels
    assert len(labels) == len(CLOUD)
    initial_student(run)
    read_run_json(folder / "metrics.json")
    read_statistics(folder)
    try:
        check_folder(folder, run.recipe, data_root=Path("town"), teacher_weights=None)
    except ValueError as error:
        assert "holds a run of another" in str(error), error


@pytest.mark.parametrize(("run", "name"), FILES)
def test_a_mutated_file_of_a_run_is_one_sentence_that_names_it(run, name, tmp_path):
    folder = shutil.copytree(GOLDEN / run, tmp_path / "run")
    use(folder)
    whole, rng = (folder / name).read_text(), random.Random(f"{run} {name}")
    refused = 0
    for _ in range(MUTATIONS):
        (folder / name).write_text(mutate(whole, rng))
        try:
            use(folder)
        except ValueError as error:
            refused += 1
            assert name in str(error) or "checkpoint.safetensors do not fit" in str(error), error
            assert "\n" not in str(error) and len(str(error)) < 2000
    assert refused > MUTATIONS // 4


def test_a_byte_order_mark_changes_nothing(tmp_path):
    folder = shutil.copytree(GOLDEN / "run", tmp_path / "run")
    for path in folder.glob("*.json"):
        path.write_text(path.read_text(), encoding="utf-8-sig")
    use(folder)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("done.json", {"minutes": "1"}, "done.json is not what was written"),
        ("calls.json", [{"command": "a", "workers": 1, "seconds": None}], "calls.json is not what"),
        ("unfinished.json", {"files": "prompts.json"}, "unfinished.json is not what"),
        ("choice.json", {"500": None}, "choice.json is not what"),
        (
            "recipe.json",
            {"name": "a", "optimiser": {"learning_rate": 10**400}},
            "recipe.json holds no recipe",
        ),
    ],
)
def test_other_files_of_runs_and_tables_are_named_too(tmp_path, name, content, fault):
    write_json(tmp_path / name, content)
    with pytest.raises(ValueError, match=fault):
        read_recipe(tmp_path) if name == "recipe.json" else read_run_json(tmp_path / name)
