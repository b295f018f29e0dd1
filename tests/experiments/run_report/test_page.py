from html.parser import HTMLParser

import pytest

from clip2scene.experiments.run_report.facts import read_facts
from clip2scene.experiments.run_report.page import Extras, render
from clip2scene.experiments.run_report.pictures import Picture

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Reader(HTMLParser):
    """What a browser would make of a page: its tags, their attributes, its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_data(self, data):
        self.text += data


def with_evil_names(make_run, name="run"):
    folder = make_run(name)
    for file in ("prompts.json", "metrics.json"):
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace('"barrier"', '"' + EVIL.replace('"', '\\"') + '"'))
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"step": 301, "loss": 1.0, "<script>": 0.5}\n')
    return folder


@pytest.mark.parametrize("count", [1, 2])
def test_names_of_strangers_stay_text(make_run, count):
    folders = [with_evil_names(make_run, name) for name in ("run", "other")[:count]]
    findings = [{"mark": EVIL, "about": EVIL, "text": EVIL}]
    extras = Extras([Picture(EVIL, "data:,", 1, 1)], findings, {EVIL: EVIL})
    read = Reader(render([read_facts(each, EVIL) for each in folders], [extras] * count))
    assert "script" not in read.tags and read.tags.count("img") == count
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert read.text.count(EVIL) > 10


def test_nothing_is_fetched_and_no_script_may_run(make_run):
    read = Reader(render([read_facts(make_run())], [Extras()]))
    places = [value for _, name, value in read.attributes if name in ("src", "href", "srcset", "action")]
    assert all(value.startswith("data:") for value in places)
    (policy,) = [value for tag, name, value in read.attributes if tag == "meta" and "default-src" in value]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert "url(" not in read.text and "@import" not in read.text


def test_every_section_is_there_or_says_why_not(make_run):
    whole = Reader(render([read_facts(make_run())], [Extras()])).text
    for words in (
        "What was learned",
        "What is taken for what",
        "Not measured",
        "Nobody looked",
        "not recorded",
    ):
        assert words in whole
    folder = make_run("new", without=("metrics.json", "log.jsonl", "checkpoint.safetensors"))
    fresh = Reader(render([read_facts(folder)], [Extras()])).text
    assert "Not finished: it has taken 0 of 300 steps" in fresh and "This run was not evaluated" in fresh
    assert "nothing was trained yet" in fresh and "What is taken for what" not in fresh


def test_a_comparison_tells_spread_differences_and_kinds_of_labels(make_run, scored):
    runs = [make_run(f"a{seed}", seed=seed, metrics=scored(0.4 + seed / 100)) for seed in range(2)]
    runs += [
        make_run(f"b{seed}", seed=seed, metrics=scored(0.5), recipe={"batch_size": 2}) for seed in range(2)
    ]
    runs += [
        make_run("c", metrics=scored(0.6), recipe={"batch_size": 3}),
        make_run("tuned", kind="finetuned"),
    ]
    text = Reader(render([read_facts(run) for run in runs], [Extras()] * len(runs))).text
    assert "40.5 ± 0.7" in text and "2 seeds in common" in text
    assert "one seed in common, which says nothing of chance" in text
    assert "Student trained on 3D labels" in text and "batch-size" in text
    assert "Not drawn" not in text


def test_what_a_comparison_has_no_room_for_is_named(make_run, scored):
    runs = [make_run(f"r{size}", metrics=scored(0.5), recipe={"batch_size": size}) for size in range(1, 10)]
    content = scored(0.5)
    for column in content["columns"].values():
        column["iou"] = {"thing": 0.5}
    runs.append(make_run("other", metrics={"classes": ["thing"], **content}))
    text = Reader(render([read_facts(run) for run in runs], [Extras()] * len(runs))).text
    assert "Evaluated in other classes, and not drawn: J." in text
    assert "want of room: runs G, H, I." in text and "want of room: runs r9, other." in text
