import threading
import time

import pytest
from tests.training.conftest import log_steps

from clip2scene.io import read_json
from clip2scene.training import sending as module
from clip2scene.training import sinks
from clip2scene.training.sending import check_sinks, sending


class StandIn:
    """A sink that remembers what it was sent, and fails when it is told to."""

    def __init__(self, run, key, after):
        if self.away:
            raise OSError("the server is away")
        self.opened.append((key, after))
        self.key = "abc"

    def send(self, steps):
        if self.full:
            raise ValueError("the disk is full")
        self.got.extend(steps)

    def close(self, *, finished):
        self.closed.append(finished)


@pytest.fixture
def sink(monkeypatch):
    kind = type("Kind", (StandIn,), {"away": False, "full": False, "opened": [], "got": [], "closed": []})
    monkeypatch.setitem(sinks.OPENERS, "mlflow", kind)
    monkeypatch.setattr(module, "EVERY_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(module, "PATIENCE_S", 5.0)
    return kind


def steps(sink):
    return [each["step"] for each in sink.got]


def until(happens):
    start = time.monotonic()
    while not happens():
        assert time.monotonic() - start < 20, "it never happens"
        time.sleep(0.01)


def test_each_step_arrives_once_while_training_goes_on(run, sink):
    with sending(run, ["mlflow", "mlflow"]):
        log_steps(run, 1, 3)
        until(lambda: steps(sink) == [1, 2, 3])
        log_steps(run, 4, 300)
    assert steps(sink) == list(range(1, 301))
    assert sink.opened == [("", 0)] and sink.closed == [True]


def test_a_resumed_run_goes_on_in_the_same_log_without_steps_that_it_does_again(run, sink):
    with sending(run, ["mlflow"]):
        log_steps(run, 1, 20)
    with sending(run, ["mlflow"]):
        log_steps(run, 11, 30)  # the checkpoint was that of step 10
    assert steps(sink) == list(range(1, 31))
    assert sink.opened == [("", 0), ("abc", 20)] and sink.closed == [False, False]


def test_what_was_trained_before_is_sent_too(run, sink):
    log_steps(run, 1, 1200)
    with sending(run, ["mlflow"]):
        pass
    assert steps(sink) == list(range(1, 1201))


def test_a_server_that_is_away_is_told_once_stops_nothing_and_gets_all_when_it_is_back(run, sink, caplog):
    sink.away = True
    with sending(run, ["mlflow"]):
        log_steps(run, 1, 5)
        until(lambda: "the server is away" in caplog.text)
        time.sleep(0.1)
        sink.away = False
        until(lambda: steps(sink) == [1, 2, 3, 4, 5])
        sink.full = True
        log_steps(run, 6, 7)
        until(lambda: False in sink.closed)
        sink.full = False
    assert steps(sink) == list(range(1, 8))
    assert caplog.text.count("note: mlflow") == 1 and "log.jsonl has all" in caplog.text


def test_what_a_sink_never_took_is_named_and_sent_by_the_next_call(run, sink, caplog):
    with sending(run, ["mlflow"]):
        log_steps(run, 1, 5)
        until(lambda: len(sink.got) == 5)
        sink.full = True
        log_steps(run, 6, 9)
    assert "mlflow has the steps up to 5 of 9" in caplog.text
    assert read_json(run.folder / "sinks.json") == {"mlflow": {"key": "abc", "sent": 5}}
    sink.full = False
    with sending(run, ["mlflow"]):
        pass
    assert steps(sink) == list(range(1, 10))


def test_a_sink_that_hangs_does_not_hold_up_the_end(run, sink, monkeypatch, caplog):
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    free = threading.Event()
    sink.send = lambda self, steps: free.wait(20)
    try:
        with sending(run, ["mlflow"]):
            log_steps(run, 1, 2)
            until(lambda: sink.opened)
        assert "up to 0 of 2" in caplog.text and not sink.closed  # it hangs still
    finally:
        free.set()


def test_a_fault_of_the_training_itself_is_passed_on(run, sink):
    with pytest.raises(KeyboardInterrupt), sending(run, ["mlflow"]):
        log_steps(run, 1, 2)
        raise KeyboardInterrupt
    assert steps(sink) == [1, 2] and sink.closed == [False]


def test_a_missing_package_is_one_sentence_with_the_line_for_pip(monkeypatch, tmp_path):
    monkeypatch.setitem(sinks.PACKAGES, "wandb", ("surely_not_there", "clip2scene[wandb]"))
    with pytest.raises(ValueError, match=r"needs the package surely_not_there; .*'clip2scene\[wandb\]'"):
        check_sinks(["wandb"])
    (tmp_path / "surely_not_there").mkdir()  # as wandb itself makes one, where it is started
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="needs the package"):
        check_sinks(["wandb"])


def test_an_unknown_log_is_refused():
    with pytest.raises(ValueError, match="tensorboard, mlflow, wandb, got 'comet'"):
        check_sinks(["comet"])


def test_notes_are_neither_read_nor_written_where_no_log_is_asked_for(run):
    (run.folder / "sinks.json").write_text("{")  # damaged
    with sending(run, []):
        log_steps(run, 1, 2)
    assert (run.folder / "sinks.json").read_text() == "{"
