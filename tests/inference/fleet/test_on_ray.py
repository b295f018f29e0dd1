import logging
import os

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("ray", reason="Ray is not installed")

from tests.inference.fleet.answers import Killer, labels_of, rows_of
from tests.inference.fleet.conftest import SWEEPS

from clip2scene.inference.fleet.job import Crew, label_samples


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_on_two_workers_of_a_real_cluster_one_is_killed_nothing_is_lost_and_nothing_is_done_twice(
    asked, whole, tmp_path, monkeypatch, caplog
):
    import ray

    init, told = ray.init, []
    monkeypatch.setattr(ray, "init", lambda **words: (told.append({**os.environ, **words}), init(**words))[1])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    killer = Killer(tmp_path / "out")
    done = label_samples(**asked, out=str(tmp_path / "out"), crew=Crew("ray", workers=2))
    assert killer.pid is not None and 0 < killer.parts < SWEEPS - 2
    assert done.samples == SWEEPS and not done.failed
    rows = rows_of(tmp_path / "out")
    assert len(rows) == SWEEPS and len({row["worker"] for row in rows.values()} - {None}) > 1
    assert labels_of(tmp_path / "out") == labels_of(whole)
    (how,) = told
    assert how["RAY_USAGE_STATS_ENABLED"] == "0" and how["include_dashboard"] is False
    assert not ray.is_initialized() and not os.path.exists(how["_temp_dir"])
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ
    logging.getLogger("clip2scene").warning("still heard")
    assert "still heard" in caplog.text


def test_a_cluster_that_is_not_there_is_one_sentence(asked, tmp_path, monkeypatch):
    import ray

    def refuse(**words):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ValueError, match="Ray cannot be used here .Could not find any running Ray instance"):
        label_samples(**asked, out=str(tmp_path / "out"), crew=Crew("ray", workers=1))
