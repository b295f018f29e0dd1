from clip2scene.experiments.provenance import Provenance, shown_command
from clip2scene.io import read_json, write_json


def test_a_command_is_shown_without_the_machines_paths(tmp_path):
    shown = shown_command(["/opt/x/clip2scene", "ablate", "--out", str(tmp_path), "--loss.weight=0.5", "a/b"])
    assert shown == f"clip2scene ablate --out {tmp_path.name} --loss.weight=0.5 a/b"


def test_the_time_of_all_calls_is_added_up(tmp_path):
    write_json(
        tmp_path / "calls.json", [{"command": "x", "workers": 2, "date": "2026-01-02", "seconds": 7200.0}]
    )
    calls = Provenance(tmp_path / "calls.json", workers=3)
    assert calls.describe()["time"] == "2 h 0 min in 2 calls, 2 or 3 at a time"
    calls.save()
    assert len(read_json(tmp_path / "calls.json")) == 2
