"""The commands for few labels, as the command line calls them."""

import torch

from clip2scene.experiments import label_efficiency
from clip2scene.experiments.label_efficiency import AMOUNTS
from clip2scene.io import read_json
from clip2scene.runs.run import open_run
from clip2scene.student.published import Loaded
from clip2scene.training import finetune as finetuning
from clip2scene.training import train


def test_scenes_are_ranked_and_the_first_one_is_learnt_from(call, tiny_run, tiny_toytown, tmp_path):
    order, out = tmp_path / "order.json", tmp_path / "tuned"
    data = ("--data-root", tiny_toytown)
    code, said, err = call("rank-scenes", tiny_run, *data, "--by", "keyframe", "--out", order)
    assert code == 0, err
    first, *_ = read_json(order)["order"]
    assert said.startswith(first) and said.endswith(f"wrote 2 keyframes to {order}\n")
    words = ("--order", order, "--labels.count", 1, "--labels.absent", "allow", "--steps", 1, "--seed", 7)
    more = ("--tuning.layer-decay", 0.5, "--learning-rate", 0.002)
    code, said, err = call("finetune", *data, "--start", tiny_run, "--out", out, *words, *more)
    assert (code, said) == (0, f"trained toytown-finetuned: {out}\n"), err
    run = open_run(out)
    assert run.subset.tokens == (first,)
    assert (run.recipe.seed, run.recipe.steps, run.recipe.optimiser.learning_rate) == (7, 1, 0.002)
    assert (run.recipe.tuning.layer_decay, run.recipe.tuning.start) == (0.5, "words")
    code, said, err = call("finetune", *data, "--start", tiny_run, "--out", out, "--recipe", "toytown")
    assert (code, said) == (1, "") and "leave --recipe out" in err


def test_what_a_published_file_did_not_load_is_shown(call, tmp_path, monkeypatch):
    plans = []
    loaded = Loaded("someone's layout", 3, left_out=("queue (1 tensors)",))
    monkeypatch.setattr(finetuning, "load_published", lambda path, backbone: loaded)
    monkeypatch.setattr(train, "finetune", lambda recipe, **options: plans.append((recipe, options)))
    file = tmp_path / "weights.pt"
    file.write_bytes(b"")
    words = ("--data-root", tmp_path, "--out", tmp_path / "run", "--recipe", "clip2scene")
    code, said, err = call("finetune", "--start", file, *words, "--network", "spvcnn-corners")
    assert code == 0, err
    assert said.splitlines()[:2] == [
        f"{file}: 3 tensors loaded, layout someone's layout",
        f"{file}: left out: queue (1 tensors)",
    ]
    ((recipe, options),) = plans
    assert (recipe.student.network, recipe.tuning.start) == ("spvcnn-corners", "random")
    assert all(torch.is_tensor(tensor) for tensor in options["start"].weights.values())


def test_the_table_is_asked_for_what_the_options_say(call, tmp_path, monkeypatch):
    asked = []

    def table(recipe, **options):
        asked.append((recipe, options))
        (tmp_path / "table.md").write_text("# Label efficiency")
        return tmp_path / "table.md"

    monkeypatch.setattr(label_efficiency, "label_efficiency", table)
    where = ("--data-root", tmp_path, "--out", tmp_path)
    code, said, err = call("label-efficiency", *where)
    assert code == 0, err
    assert (
        said
        == f"# Label efficiency\nwrote {tmp_path / 'table.md'}, with table.csv and figure.png beside it\n"
    )
    some = ("--amounts", "1 %", "3", "--methods", "ours", "--seeds", 4, "--by", "keyframe")
    assert call("label-efficiency", *where, *some, "--steps", 5, "--tuning-steps", 6, "--workers", 2)[0] == 0
    (usual, plain), (short, chosen) = asked
    assert (plain["amounts"], plain["methods"], plain["seeds"]) == (AMOUNTS, None, (0, 1, 2))
    assert (usual.name, usual.steps, short.steps) == ("toytown", 1350, 5)
    assert (chosen["amounts"], chosen["methods"], chosen["seeds"]) == (("1 %", "3"), ("ours",), (4,))
    assert (chosen["by"], chosen["tuning_steps"], chosen["workers"]) == ("keyframe", 6, 2)
    code, said, err = call("label-efficiency", *where, "--recipe", "toyville")
    assert (code, said) == (1, "") and "unknown recipe 'toyville'" in err
    assert len(asked) == 2
