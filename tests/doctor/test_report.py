from clip2scene.doctor.report import Line, report_json, report_text


def test_reports_count_their_marks():
    lines = [Line("ok", "files", "fine"), Line("fault", "labels", "broken", (("share", 0.5),))]
    assert report_text(lines).endswith("1 ok, 0 note, 1 fault")
    found = report_json(lines)
    assert found["healthy"] is False and found["findings"][1]["numbers"] == {"share": 0.5}
