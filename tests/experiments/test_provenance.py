from clip2scene.experiments.provenance import Provenance
from clip2scene.io import read_json, write_json


def test_the_time_of_all_calls_is_added_up(tmp_path):
    write_json(
        tmp_path / "calls.json", [{"command": "x", "workers": 2, "date": "2026-01-02", "seconds": 7200.0}]
    )
    calls = Provenance(tmp_path / "calls.json", workers=3)
    assert calls.describe()["time"] == "2 h 0 min in 2 calls, 2 or 3 at a time"
    calls.save()
    assert len(read_json(tmp_path / "calls.json")) == 2
