import json
from pathlib import Path

import pytest
from tests.chromium import CHROMIUM, MARKS

from clip2scene.experiments.run_report.report import report


def test_the_command_writes_one_file_for_a_run(tiny_run, tmp_path, call):
    out = tmp_path / "new" / "report.html"
    code, said, wrong = call("report", tiny_run, "--out", out)
    assert code == 0 and f"wrote {out}" in said and not wrong
    text = out.read_text()
    assert "lift" in text and "expected calibration error" in text
    assert str(tmp_path) not in text and str(tiny_run.parent) not in text  # of this machine
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_with_the_data_the_doctor_looks_and_samples_are_drawn(tiny_run, tiny_toytown, tmp_path):
    out = report((tiny_run,), out=tmp_path / "r.html", data_root=tiny_toytown, pictures=1)
    text = out.read_text()
    assert "drawn for this report" in text and "share of points in percent" in text
    assert str(tiny_toytown) not in text


def test_findings_that_were_kept_in_the_run_are_shown(make_run, tmp_path):
    found = {
        "healthy": True,
        "findings": [
            {"mark": "note", "about": "times", "text": "no times in /srv/me/town/a.json", "numbers": {}}
        ],
    }
    out = report((make_run(doctor=found),), out=tmp_path / "r.html")
    text = out.read_text()
    assert "no times in a.json" in text and "Nobody looked" not in text and "/srv" not in text


def test_packed_fine_tuned_unfinished_and_old_runs_are_told_together(make_run, tmp_path):
    folders = [
        make_run(),
        make_run("tuned", kind="finetuned"),
        make_run("half", without=("checkpoint.safetensors",)),
    ]
    out = report((Path("builtin"), *folders), out=tmp_path / "r.html")
    text = out.read_text()
    assert all(name in text for name in ("builtin", "tuned", "(unfinished)", "(copy)"))
    assert "What its maker found when it was packed" in text


def test_runs_of_one_name_are_told_apart_and_one_that_is_named_twice_is_one(make_run, tmp_path):
    one, other = make_run("x/run", seed=0), make_run("y/run", seed=1)
    text = report((one, other, one), out=tmp_path / "r.html").read_text()
    assert "x/run, y/run" in text and "2 runs" in text


def test_a_damaged_file_is_named_without_its_place(make_run, tmp_path):
    folder = make_run()
    (folder / "metrics.json").write_text("{")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a-above.png").write_bytes(b"no picture")
    text = report((folder,), out=tmp_path / "r.html").read_text()
    assert "metrics.json is not valid JSON" in text and "cannot be read as JPEG or PNG" in text
    assert str(tmp_path) not in text


def test_half_characters_do_not_stop_it(make_run, tmp_path):
    folder = make_run()
    for file in ("prompts.json", "metrics.json"):
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace('"barrier"', json.dumps("a\ud800half\u0000c")))
    assert "a?half" in report((folder,), out=tmp_path / "r.html").read_text()


@pytest.mark.parametrize("name", ["r.txt", "report", "folder.html"])
def test_a_file_of_another_kind_is_refused(make_run, tmp_path, name):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match=r"a file that ends in \.html"):
        report((make_run(),), out=tmp_path / name)


def test_a_place_that_cannot_be_written_is_named(make_run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"r\.html cannot be written"):
        report((make_run(),), out=tmp_path / "file" / "r.html")


def test_mistakes_are_one_sentence_and_leave_no_file(tmp_path, call):
    (tmp_path / "empty").mkdir()
    for run in ("empty", "nothing"):
        code, _, wrong = call("report", tmp_path / run, "--out", tmp_path / "r.html")
        assert code == 1 and wrong.count("\n") == 1 and "name a" in wrong
    with pytest.raises(ValueError, match="there is no run"):
        report((), out=tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@MARKS[0]
@MARKS[1]
def test_a_browser_shows_it_without_network_errors_or_sideways_scrolling(tiny_run, make_run, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    folder = make_run("<script>document.title = 'taken'<")
    single = report((tiny_run,), out=tmp_path / "one.html")
    several = report((folder, tiny_run), out=tmp_path / "two.html")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for page, width, scheme in ((single, 1280, "light"), (several, 400, "dark")):
            tab = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            asked, said = [], []
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            tab.on("console", lambda message, said=said: said.append(message.text))
            tab.on("pageerror", lambda error, said=said: said.append(str(error)))
            tab.goto(page.as_uri())
            assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
            assert said == [] and tab.title().endswith(": report")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.locator("svg").count() > 2
            assert tab.evaluate("[...document.images].every(each => each.complete && each.naturalWidth)")
        chromium.close()
