"""Where a training's log can be sent beside its own file: TensorBoard, MLflow, Weights & Biases.

Each takes steps in order and may fail in any way: :mod:`clip2scene.training.sending` sees to that.
"""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from clip2scene.config import flat_settings
from clip2scene.runs.log import Step
from clip2scene.runs.run import Run

TENSORBOARD = "tensorboard"
"""Subfolder of a run for TensorBoard's event files."""

_MOST_METRICS, _MOST_SETTINGS = 1000, 100  # that MLflow takes in a call
_MOST_TEXT = 500  # characters of a setting that MLflow is given


class Sink(Protocol):
    """A place that steps are sent to."""

    key: str
    """What finds it again when the run goes on; empty where nothing is needed. It is written down before
    anything is sent, so that whatever fails then opens the same again."""

    def send(self, steps: Sequence[Step]) -> None:
        """Add steps, in their order, and have them kept before it returns."""

    def close(self, *, finished: bool) -> None:
        """Leave it, saying whether the run has taken all of its steps."""


Opener: TypeAlias = Callable[[Run, str, int], Sink]
"""Opens a sink: for a run, the key of an earlier call, and the last step that it has."""


class TensorBoardSink:
    """Event files, one for each time that it is opened; a later one takes back what came after its start.

    Written record by record in this thread: the writers that TensorBoard and torch offer write in a thread of
    their own, and wait for ever when that has died of a full disk.
    """

    key = ""

    def __init__(self, run: Run, key: str, after: int) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter

        folder = (run.folder / TENSORBOARD).resolve()
        folder.mkdir(exist_ok=True)
        self._writer, self._event = RecordWriter(str(_new_name(folder))), Event
        self._write(file_version="brain.Event:2")  # the format in which a start takes back later steps
        self._write(step=after + 1, session_log=SessionLog(status=SessionLog.START))

    def send(self, steps: Sequence[Step]) -> None:
        """Write an event a step, and flush them to the disk."""
        from tensorboardX.proto.summary_pb2 import Summary

        for each in steps:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in _named(each).items()]
            self._write(step=int(each["step"]), summary=Summary(value=values))
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, **parts: Any) -> None:  # noqa: ANN401 - parts of an event
        self._writer.write(self._event(wall_time=time.time(), **parts).SerializeToString())


class MlflowSink:
    """A run of MLflow, where its own settings say (``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``)."""

    def __init__(self, run: Run, key: str, after: int) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # whoever sends tries again by itself
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client, self.key, self._sent = MlflowClient(), key, after
        self._undescribed: Run | None = run
        if key:
            self._client.update_run(key, status="RUNNING")
            known = self._client.get_metric_history(key, "train/loss")  # of a call that was killed, too
            self._sent = max([after, *(each.step for each in known)])
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "clip2scene")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        made = self._client.create_run(experiment, run_name=run.folder.resolve().name)
        self.key = made.info.run_id  # known from here on, so that nothing that fails below makes another

    def _describe(self, run: Run) -> None:
        """Send the settings of the recipe; the same again changes nothing."""
        from mlflow.entities import Param

        settings = [Param(name, str(each)[:_MOST_TEXT]) for name, each in flat_settings(run.recipe).items()]
        for first in range(0, len(settings), _MOST_SETTINGS):
            self._client.log_batch(self.key, params=settings[first : first + _MOST_SETTINGS])

    def send(self, steps: Sequence[Step]) -> None:
        """Send metrics, in as few calls as can be."""
        from mlflow.entities import Metric

        if self._undescribed is not None:
            self._describe(self._undescribed)
            self._undescribed = None
        now = int(1000 * time.time())
        batch: list[Metric] = []
        for each in steps:
            if each["step"] <= self._sent:
                continue
            values = [Metric(name, value, now, int(each["step"])) for name, value in _named(each).items()]
            if len(batch) + len(values) > _MOST_METRICS:
                self._log(batch)
                batch = []
            batch += values
        if batch:
            self._log(batch)

    def _log(self, batch: list[Any]) -> None:
        """Send some metrics; what has arrived is never sent again, where the next call fails."""
        self._client.log_batch(self.key, metrics=batch)
        self._sent = batch[-1].step

    def close(self, *, finished: bool) -> None:
        """Set the state of the run."""
        self._client.set_terminated(self.key, "FINISHED" if finished else "KILLED")


class WandbSink:
    """A run of Weights & Biases, as its own settings say (``WANDB_PROJECT``, ``WANDB_MODE``)."""

    def __init__(self, run: Run, key: str, after: int) -> None:
        self.key = key or secrets.token_hex(4)  # chosen here, so that every attempt opens the same one
        self._about = run
        self._run: Any = None

    def _open(self) -> Any:  # noqa: ANN401 - a run of wandb's
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        chosen = os.environ.get("WANDB_MODE") or wandb.login(prompt=False)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "clip2scene"),
            name=self._about.folder.resolve().name,
            id=self.key,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", str(self._about.folder)),
            config=flat_settings(self._about.recipe),
            mode=None if chosen else "offline",  # without a login it would ask, behind the progress bar
            settings=wandb.Settings(console="off", silent=True),
        )

    def send(self, steps: Sequence[Step]) -> None:
        """Hand metrics to its own process."""
        if self._run is None:
            self._run = self._open()
        for each in steps:
            self._run.log(_named(each), step=int(each["step"]))

    def close(self, *, finished: bool) -> None:
        """Wait until its process has sent all."""
        if self._run is not None:
            self._run.finish(exit_code=0 if finished else 1)


OPENERS: dict[str, Opener] = {"tensorboard": TensorBoardSink, "mlflow": MlflowSink, "wandb": WandbSink}
"""Sinks by the name that ``--log`` takes."""

PACKAGES = {
    "tensorboard": ("tensorboardX", "clip2scene[tensorboard]"),
    "mlflow": ("mlflow", "clip2scene[mlflow]"),
    "wandb": ("wandb", "clip2scene[wandb]"),
}
"""What each imports, and what pip is told to install for it."""


def _named(step: Step) -> dict[str, float]:
    """Name the numbers of a step as such places group them."""
    return {f"train/{name}": float(value) for name, value in step.items() if name != "step"}


def _new_name(folder: Path) -> Path:
    """Name a file that comes after those that are there, as TensorBoard sorts them."""
    for number in count():
        path = folder / f"events.out.tfevents.{int(time.time()):010d}.{number:06d}"
        if not path.exists():
            return path
    raise AssertionError("count never ends")
