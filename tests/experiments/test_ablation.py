from dataclasses import replace

import pytest
from PIL import Image

from clip2scene.config import to_dict
from clip2scene.experiments import jobs, report
from clip2scene.experiments.ablation import AblationTable, Variant, ablate, train_and_evaluate
from clip2scene.io import read_json, write_json
from clip2scene.parallel import file_lock
from clip2scene.recipes import supervised
from clip2scene.runs.folder import announce
from clip2scene.runs.sources import Sources

NAMES = ("plain", "Two sweeps", "w/o S3")


def table(recipe, **changes):
    """Three variants that differ in their steps; ``changes`` by name of variant."""
    variants = (
        Variant(name, changes.get(name, replace(recipe, name=name, steps=number + 1)))
        for number, name in enumerate(NAMES)
    )
    return AblationTable("ingredients", "The ingredients", "plain", tuple(variants))


class Pretence:
    """Stands for training and evaluation: writes what a run leaves behind, and remembers which ones it did.

    Args:
        faults: What to raise, by name of variant and seed.
    """

    def __init__(self, **faults):
        self.faults = faults
        self.did = []

    def __call__(self, job):
        seed = job.recipe.seed
        self.did.append((job.variant, seed))
        Sources(job.teacher_weights, str(job.data_root.resolve()), 1, 1, "").write(job.folder)
        write_json(job.folder / "recipe.json", to_dict(job.recipe))
        (job.folder / "log.jsonl").write_text('{"step": 1, "loss": 0.5, "seconds": 90.0}\n')
        fault = self.faults.get(f"{job.folder.parent.name}_{seed}")
        if fault is not None:
            raise fault
        score = {"miou": 0.5 + 0.1 * NAMES.index(job.variant) + 0.01 * seed, "iou": {"car": 0.5}}
        columns = dict.fromkeys(("student", "student_seen", "student_unseen", "teacher_seen"), score)
        about = {"split": "val", "classes": ["car"], "num_points": 10}
        write_json(job.folder / "metrics.json", {**about, "columns": columns})


@pytest.fixture
def call(monkeypatch, tiny_recipe, tmp_path):
    """Run a table on data that nobody opens, and draw nothing: a figure takes longer than all else."""
    monkeypatch.setattr(jobs, "check_data", lambda _: None)
    monkeypatch.setattr(report, "figure", lambda _: Image.new("RGB", (8, 8)))

    def run(work, *, changes=None, **options):
        options = {"data_root": tmp_path / "data", "out": tmp_path / "out", **options}
        return ablate(replace(table(tiny_recipe, **(changes or {})), work=work), **options)

    return run


def everything(seeds=(0, 1, 2)):
    return [(name, seed) for seed in seeds for name in NAMES]


def row(text, name):
    line = next(line for line in text.splitlines() if line.startswith("| ") and name in line.split("|")[1])
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_variant_is_run_with_the_first_seed_before_any_with_the_second(call):
    work = Pretence()
    text = call(work).read_text()
    assert work.did == everything()
    assert row(text, "Two sweeps")[1] == "61.0 ± 1.0"
    assert row(text, "Two sweeps")[6] == "+10.0 [+10.0, +10.0], n = 3"
    assert row(text, "plain")[-1] == "1.5"  # minutes
    assert "* seeds: 0, 1 and 2" in text and "* data: data, evaluated on split val" in text


def test_a_whole_table_is_there_after_the_first_seed(call, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        call(Pretence(plain_1=KeyboardInterrupt()))
    text = (tmp_path / "out" / "table.md").read_text()
    assert [row(text, name)[1] for name in NAMES] == ["50.0", "60.0", "70.0"]
    assert [row(text, name)[-2] for name in NAMES] == ["1 of 3"] * 3
    assert "* plain, seed 1: not run yet" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"table.csv", "figure.png"}


def test_an_interrupted_table_goes_on_with_the_run_that_it_stopped_in(call):
    with pytest.raises(KeyboardInterrupt):
        call(Pretence(**{"two-sweeps_1": KeyboardInterrupt()}))
    work = Pretence()
    text = call(work).read_text()
    assert work.did == everything()[4:]
    assert "Not finished" not in text and "in 2 calls" in text


def test_a_finished_table_is_written_anew_without_any_run(call):
    text = call(Pretence()).read_text()
    work = Pretence()
    again = call(work).read_text()
    assert not work.did
    assert "in 1 call," in again
    assert again.splitlines()[4:] == text.splitlines()[4:]  # above it, the time


def test_more_seeds_can_be_added_later(call):
    call(Pretence(), seeds=(0, 1))
    work = Pretence()
    call(work, seeds=(0, 1, 5))
    assert work.did == everything(seeds=(5,))


def test_a_failed_run_is_reported_and_stops_nothing_and_is_tried_again(call, tmp_path):
    fault = ValueError(f"{tmp_path / 'data'}/x.bin is damaged")
    work = Pretence(**{"w-o-s3_0": fault, "plain_2": RuntimeError("out of memory")})
    with pytest.raises(
        ValueError, match="2 of 9 runs failed, w/o S3 with seed 0 because: .*x.bin is damaged"
    ):
        call(work)
    assert work.did == everything()
    text = (tmp_path / "out" / "table.md").read_text()
    assert "* w/o S3, seed 0: failed: data/x.bin is damaged" in text
    assert "* plain, seed 2: failed: RuntimeError: out of memory" in text
    assert str(tmp_path) not in text
    assert row(text, "w/o S3")[-2] == "2 of 3 (1 failed)"
    work = Pretence()
    assert "failed" not in call(work).read_text()
    assert work.did == [("w/o S3", 0), ("plain", 2)]


def test_a_run_judged_on_another_split_since_is_judged_again(call, tmp_path):
    call(Pretence(), seeds=(0,))
    path = tmp_path / "out" / "runs" / "plain" / "seed-0" / "metrics.json"
    write_json(path, {**read_json(path), "split": "train"})
    work = Pretence()
    call(work, seeds=(0,))
    assert work.did == [("plain", 0)]


def test_runs_of_another_recipe_teacher_or_data_set_are_refused_before_any_training(
    call, tiny_recipe, tmp_path
):
    call(Pretence(), seeds=(0,))
    work = Pretence()
    changed = {"w/o S3": replace(tiny_recipe, steps=9)}
    for what, options in {
        "recipe": {"changes": changed},
        "teacher": {"teacher_weights": "another"},
        "data set": {"data_root": tmp_path / "elsewhere"},
    }.items():
        with pytest.raises(ValueError, match=f"seed-0 holds a run of another {what} "):
            call(work, seeds=(0, 1), **options)
    assert not work.did


def test_what_a_call_left_before_a_run_had_begun_is_cleared_away_but_nothing_else(call, tmp_path):
    folder = tmp_path / "out" / "runs" / "plain" / "seed-0"
    announce(folder, ["prompts.json"])
    write_json(folder / "prompts.json", {})
    (folder / ".partial-x.json").touch()
    seen = []
    call(lambda job: (seen.extend(job.folder.glob("*")), Pretence()(job)), seeds=(0,))
    assert not seen
    own = tmp_path / "out" / "runs" / "plain" / "seed-1"
    write_json(own / "prompts.json", {})
    call(lambda job: (seen.extend(job.folder.glob("*")), Pretence()(job)), seeds=(1,))
    assert {path.name for path in seen} == {"prompts.json"}


def test_a_second_call_touches_nothing_while_the_first_one_works(call, tmp_path):
    own = tmp_path / "out" / "runs" / "plain" / "seed-0"
    announce(own, ["prompts.json"])
    write_json(own / "prompts.json", {})  # the first call is about to begin a run
    work = Pretence()
    with file_lock(tmp_path / "out" / "lock"), pytest.raises(ValueError, match="another process works"):
        call(work)
    assert (own / "prompts.json").exists() and not work.did
    call(work)
    assert work.did and not (tmp_path / "out" / "lock").exists()


def test_bad_options_are_refused_before_any_training(call, tmp_path):
    work = Pretence()
    for options in ({"seeds": ()}, {"seeds": (1, 1)}, {"workers": 0}):
        with pytest.raises(ValueError, match="one or more different --seeds and one or more --workers"):
            call(work, **options)
    with pytest.raises(ValueError, match="cannot compute on device 'gpu7'"):
        call(work, device="gpu7")
    assert not work.did and not (tmp_path / "out").exists()


def test_names_that_share_a_folder_or_lack_a_baseline_are_refused(tiny_recipe):
    with pytest.raises(ValueError, match="names that differ in their letters and digits, got 'a b', 'A-b'"):
        AblationTable("t", "T", "a b", (Variant("a b", tiny_recipe), Variant("A-b", tiny_recipe)))
    with pytest.raises(ValueError, match="baseline of table t must be one of its variants, got 'c'"):
        AblationTable("t", "T", "c", (Variant("a", tiny_recipe),))


def test_rows_can_be_picked_and_the_baseline_stays(tiny_recipe):
    table = AblationTable("t", "T", "a", tuple(Variant(name, tiny_recipe) for name in "abc"))
    assert [variant.name for variant in table.only(["c"]).variants] == ["a", "c"]
    with pytest.raises(ValueError, match="no variant 'd'; expected among a, b, c"):
        table.only(["d"])


def test_variants_that_the_data_or_the_teacher_cannot_serve_are_named_before_any_training(
    tiny_recipe, tiny_toytown, tmp_path
):
    work = Pretence()

    def run(name, changed, **options):
        ablate(replace(table(tiny_recipe, **{name: changed}), work=work), out=tmp_path, **options)

    many = replace(tiny_recipe, data=replace(tiny_recipe.data, sweeps=9))
    with pytest.raises(ValueError, match="variant 'Two sweeps': .*sweeps"):
        run("Two sweeps", many, data_root=tiny_toytown)
    with pytest.raises(ValueError, match="variant 'plain': .*nowhere"):
        run("w/o S3", tiny_recipe, data_root=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="variant 'plain': .*no-model"):
        run("w/o S3", tiny_recipe, data_root=tiny_toytown, teacher_weights=str(tmp_path / "no-model"))
    assert not work.did


def test_published_values_stand_beside_ours_on_the_papers_data_set_only(
    call, monkeypatch, tiny_recipe, tmp_path
):
    published = AblationTable("t", "T", "a", (Variant("a", tiny_recipe, {"nuscenes": 15.1}),))

    def run():
        options = {"data_root": tmp_path, "out": tmp_path / "out", "seeds": (0,)}
        return ablate(replace(published, work=lambda job: None), **options).read_text()

    assert "15.1" not in run()
    monkeypatch.setattr(jobs, "check_data", lambda _: "nuscenes")
    assert row(run(), "a")[-1] == "15.1 (published)"


def test_a_table_of_real_runs_is_made_resumed_and_judged(tiny_recipe, tiny_toytown, tmp_path):
    small = replace(tiny_recipe, steps=2)
    variants = (Variant("taught", replace(small, name="taught")), Variant("ceiling", supervised(small)))
    two = AblationTable("small", "Two ways", "taught", variants)
    done = []

    def stop_after_one(job):
        if done:
            raise KeyboardInterrupt
        train_and_evaluate(job)
        done.append(job)

    options = {"data_root": tiny_toytown, "out": tmp_path / "out", "seeds": (1,)}
    with pytest.raises(KeyboardInterrupt):
        ablate(replace(two, work=stop_after_one), **options)
    weights = tmp_path / "out" / "runs" / "taught" / "seed-1" / "checkpoint.safetensors"
    before = weights.stat().st_mtime_ns
    text = ablate(two, **options).read_text()
    assert weights.stat().st_mtime_ns == before
    found = read_json(weights.parent / "metrics.json")
    assert found["recipe"] == "taught" and found["seed"] == 1
    assert text.index("## No labels, 2D or 3D") < text.index("## Student trained on 3D labels")
    assert row(text, "taught")[-2] == "1"
    assert "Not finished" not in text and str(tmp_path) not in text
    assert not (weights.parent / "carried").exists()  # the teacher's answers are shared
