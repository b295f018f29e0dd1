import errno
import json
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.training.conftest import log_steps

from clip2scene.training.sending import sending
from clip2scene.training.sinks import TENSORBOARD, MlflowSink, TensorBoardSink, WandbSink

anyhow = pytest.mark.filterwarnings("default")  # of libraries that these bring along


@pytest.fixture
def read_events():
    """TensorBoard's own reader: step and value of each loss in a folder."""
    pytest.importorskip("tensorboardX", reason="it writes the events")
    module = "tensorboard.backend.event_processing.event_accumulator"
    reader = pytest.importorskip(module, reason="TensorBoard reads events back")

    def read(folder, name="train/loss"):
        found = reader.EventAccumulator(str(folder), size_guidance={"scalars": 0})
        found.Reload()
        return [(each.step, each.value) for each in found.Scalars(name)]

    return read


@anyhow
def test_tensorboard_reads_every_term_of_every_step(run, read_events):
    with sending(run, ["tensorboard"]):
        log_steps(run, 1, 40)
    found = read_events(run.folder / TENSORBOARD)
    assert found == [(step, pytest.approx(1 / step)) for step in range(1, 41)]
    assert read_events(run.folder / TENSORBOARD, "train/scr")[-1] == (40, 0.5)


@anyhow
def test_a_killed_call_leaves_no_step_twice_in_tensorboard(run, read_events):
    with sending(run, ["tensorboard"]):
        log_steps(run, 1, 20)
    notes = run.folder / "sinks.json"
    notes.write_text(json.dumps({"tensorboard": {"key": "", "sent": 12}}))  # killed before it was written
    with sending(run, ["tensorboard"]):
        log_steps(run, 11, 30)
    assert [step for step, _ in read_events(run.folder / TENSORBOARD)] == list(range(1, 31))


@anyhow
def test_deleted_events_are_written_anew(run, read_events):
    with sending(run, ["tensorboard"]):
        log_steps(run, 1, 5)
    shutil.rmtree(run.folder / TENSORBOARD)
    with sending(run, ["tensorboard"]):
        pass
    assert len(read_events(run.folder / TENSORBOARD)) == 5


@anyhow
def test_a_full_disk_in_the_middle_of_an_event_costs_no_step(run, read_events, monkeypatch):
    from clip2scene.training import sending as module

    monkeypatch.setattr(module, "EVERY_S", 0.01)
    log_steps(run, 1, 10)
    whole, failed = TensorBoardSink.send, []

    def fill_up(self, steps):
        if failed:
            return whole(self, steps)
        whole(self, steps[:4])
        self._writer._writer.write(b"a record that was cut")
        failed.append(True)
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(TensorBoardSink, "send", fill_up)
    with sending(run, ["tensorboard"]):
        pass
    if len(list((run.folder / TENSORBOARD).iterdir())) == 1:  # it ended before it was tried again
        with sending(run, ["tensorboard"]):
            pass
    assert failed and [step for step, _ in read_events(run.folder / TENSORBOARD)] == list(range(1, 11))


class PretendedClient:
    """What is asked of MLflow's client, kept; its first batch is lost on the way."""

    def __init__(self):
        self.made, self.params, self.steps, self.failures = [], {}, [], 1

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="1")

    def create_run(self, experiment, run_name):
        self.made.append(run_name)
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run {len(self.made)}"))

    def update_run(self, key, status):
        assert key == "run 1" and status == "RUNNING"

    def get_metric_history(self, key, name):
        return [SimpleNamespace(step=step) for step in self.steps]

    def log_batch(self, key, metrics=(), params=()):
        if self.failures:
            self.failures -= 1
            raise OSError("the server is away")
        self.params |= {each.key: each.value for each in params}
        self.steps += [each.step for each in metrics if each.key == "train/loss"]

    def set_terminated(self, key, status):
        self.status = status


@pytest.fixture
def pretended_mlflow(monkeypatch):
    """Stands for the package, which need not be installed."""
    client = PretendedClient()
    entities = SimpleNamespace(
        Param=lambda key, value: SimpleNamespace(key=key, value=value),
        Metric=lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step),
    )
    module = SimpleNamespace(MlflowClient=lambda: client, entities=entities)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    for name in (
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        "MLFLOW_HTTP_REQUEST_TIMEOUT",
        "MLFLOW_DISABLE_TELEMETRY",
    ):
        monkeypatch.setenv(name, "1")  # what is set by the sink is taken back
    return client


def with_places(run):
    """The run with settings that name folders of this machine."""
    teacher = replace(run.recipe.teacher, also=("/srv/me/lift",))
    return replace(run, recipe=replace(run.recipe, teacher=teacher))


def test_a_server_that_fails_after_a_run_was_made_gets_no_second_one(run, pretended_mlflow, monkeypatch):
    from clip2scene.training import sending as module

    monkeypatch.setattr(module, "EVERY_S", 0.01)
    log_steps(run, 1, 3)
    for _ in range(2):  # of which the first may end before it tries again
        with sending(run, ["mlflow"]):
            pass
    assert pretended_mlflow.made == ["run"] and pretended_mlflow.steps == [1, 2, 3]
    assert pretended_mlflow.params["student.voxel-size"] == str(run.recipe.student.voxel_size)


def test_mlflow_is_told_no_folder_of_this_machine(run, pretended_mlflow):
    pretended_mlflow.failures = 0
    MlflowSink(with_places(run), "", 0).send([{"step": 1, "loss": 1.0}])
    assert pretended_mlflow.params["teacher.also"] == "lift"


def test_wandb_is_told_no_folder_of_this_machine_and_every_attempt_opens_the_same_run(run, monkeypatch):
    asked, finished = [], []

    def init(**options):
        asked.append(options)
        if len(asked) == 1:
            raise OSError("the server is away")
        return SimpleNamespace(log=lambda *_, **__: None, finish=lambda exit_code: finished.append(exit_code))

    pretended = SimpleNamespace(init=init, login=lambda prompt: True, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", pretended)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    sink = WandbSink(with_places(run), "", 0)
    for _ in range(2):
        with suppress(OSError):
            sink.send([{"step": 1, "loss": 1.0}])
    sink.close(finished=True)
    assert [options["id"] for options in asked] == [sink.key] * 2 and finished == [0]
    assert asked[0]["config"]["teacher.also"] == "lift" and asked[0]["name"] == "run"


@anyhow
def test_mlflow_has_each_step_once_in_one_run(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for first, last in ((1, 400), (391, 700)):
        with sending(run, ["mlflow"]):
            log_steps(run, first, last)
    key = json.loads((run.folder / "sinks.json").read_text())["mlflow"]["key"]
    client = mlflow.MlflowClient()
    steps = [each.step for each in client.get_metric_history(key, "train/loss")]
    assert steps == list(range(1, 701))
    assert client.get_run(key).data.params["student.width"] == str(run.recipe.student.width)
    sink = MlflowSink(run, key, 650)  # killed after it had sent, before that was written down
    sink.send([{"step": 690, "loss": 1.0}, {"step": 701, "loss": 2.0}])
    assert [each.step for each in client.get_metric_history(key, "train/loss")][-2:] == [700, 701]


@anyhow
def test_wandb_offline_goes_on_in_the_same_run(run, monkeypatch):
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for first, last in ((1, 20), (11, 30)):
        with sending(run, ["wandb"]):
            log_steps(run, first, last)
    notes = json.loads((run.folder / "sinks.json").read_text())["wandb"]
    assert notes["sent"] == 30
    folders = sorted(path.name for path in (run.folder / "wandb").glob("offline-run-*"))
    assert len(folders) == 2 and all(name.endswith(notes["key"]) for name in folders)
