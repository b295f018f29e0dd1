import pytest

from clip2scene.experiments.results import Difference
from clip2scene.experiments.run_report.facts import read_facts
from clip2scene.experiments.run_report.groups import compare, differing_settings, find_setups


@pytest.fixture
def read(make_run, scored):
    def make(name, miou, seed, **changed):
        return read_facts(
            make_run(name, seed=seed, metrics=scored(miou, changed.pop("points", 9)), **changed)
        )

    return make


def test_runs_that_differ_by_seed_alone_are_one_setup(read):
    runs = [read("b", 0.5, 1), read("a", 0.4, 0), read("c", 0.6, 2, recipe={"steps": 300, "batch_size": 2})]
    ((group, (first, second)),) = find_setups(runs).items()
    assert group == "No labels, 2D or 3D"
    assert first.title == "A: a, b" and first.seeds == "0, 1" and second.title == "B: c"
    assert first.values("student") == pytest.approx([40, 50])
    assert differing_settings([first, second]) == [("batch-size", ["1", "2"])]


def test_a_seed_that_is_there_twice_counts_once(read):
    (((setup,)),) = find_setups([read("a", 0.4, 0), read("again", 0.4, 0), read("b", 0.5, 1)]).values()
    assert setup.values("student") == pytest.approx([40, 50]) and setup.again == ("again",)


def test_unfinished_runs_and_other_points_are_never_averaged(read, make_run, scored):
    runs = [read("a", 0.4, 0), read("b", 0.5, 1, points=8)]
    folder = make_run("c", seed=2, metrics=scored(0.6, 9), without=("checkpoint.safetensors",))
    ((first, other, unfinished),) = find_setups([*runs, read_facts(folder)]).values()
    assert [len(each.runs) for each in (first, other, unfinished)] == [1, 1, 1]
    assert compare(other, first) == "evaluated on other points or classes"


@pytest.mark.parametrize(
    ("file", "one", "other", "told"),
    [
        ("sources", {"also": ["/a/lift"]}, {"also": ["/b/lift"]}, "other teachers"),
        ("sources", {"proxy_hash": "1" * 8}, {"proxy_hash": "2" * 8}, "proxy's files"),
        ("sources", {"second_round": {"sha256": "1"}}, {"second_round": {"sha256": "2"}}, "second-round"),
        ("sources", {"data_root": "/a/town"}, {"data_root": "/b/town"}, "data's files"),
        ("labels", {"corrections": "1" * 64}, {"corrections": "2" * 64}, "labels by hand"),
    ],
)
def test_runs_that_differ_by_more_than_their_seed_are_never_averaged(read, make_run, file, one, other, told):
    if file == "labels":
        subset = {"units": ["a"], "tokens": ["a"], "held_out": [], "points": None, "draw": 0}
        one, other = ({"fingerprint": "", "subset": subset, **each} for each in (one, other))
    runs = [
        read(name, 0.4, seed, **{file: each})
        for seed, (name, each) in enumerate({"a": one, "b": other}.items())
    ]
    ((first, second),) = find_setups(runs).values()
    ((name, values),) = differing_settings([first, second])
    assert name == told and "/" not in "".join(values)
    alike = [read("c", 0.4, 0, **{file: one}), read("d", 0.5, 1, **{file: one})]
    assert len(find_setups(alike)["No labels, 2D or 3D"]) == 1


def test_unfinished_runs_are_never_averaged_even_at_the_same_step(read):
    runs = [read(name, 0.4, seed, without=("checkpoint.safetensors",)) for seed, name in enumerate("ab")]
    (setups,) = find_setups(runs).values()
    assert [setup.seeds for setup in setups] == ["0", "1"]


def test_setups_are_compared_seed_by_seed(read):
    runs = [read(f"a{seed}", 0.4 + seed / 100, seed) for seed in range(3)]
    runs += [read(f"b{seed}", 0.5 + seed / 50, seed, recipe={"batch_size": 2}) for seed in range(3)]
    ((first, second),) = find_setups(runs).values()
    found = compare(second, first)
    assert isinstance(found, Difference) and found.mean == pytest.approx(11) and found.num_seeds == 3


def test_classes_of_supervision_stand_apart(read, make_run):
    tuned = read_facts(make_run("tuned", kind="finetuned"))
    groups = find_setups([read("a", 0.4, 0), tuned])
    assert list(groups) == ["No labels, 2D or 3D", "Student trained on 3D labels"]
    assert [setup.letter for setups in groups.values() for setup in setups] == ["A", "B"]


def test_a_run_that_was_not_judged_is_not_compared(read, make_run):
    ((first, other),) = find_setups(
        [read("a", 0.4, 0), read_facts(make_run("x", without=("metrics.json",)))]
    ).values()
    assert compare(other, first) == "not evaluated" and other.values("student") == []
