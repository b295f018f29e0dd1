import errno
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from clip2scene.parallel import (
    count_cores,
    end_progress,
    environment_of_worker,
    file_lock,
    parallel_for,
    prefetch,
    progress_bar,
    run_isolated,
)


def act(task):
    """What the tasks of these tests do, named by their first word."""
    what, file = task
    if what == "tell":
        threads, quiet = os.environ["OMP_NUM_THREADS"], os.environ["TQDM_DISABLE"]
        file.write_text(f"{os.getpid()} {threads} {torch.get_num_threads()} {quiet}")
    if what == "refuse":
        raise ValueError("the data\nare missing")
    if what == "break":
        raise KeyError("lidar")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sleep":
        file.write_text(str(os.getpid()))
        time.sleep(600)
    if what == "interrupt":
        raise KeyboardInterrupt


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_worker_works_here_in_order_and_a_fault_does_not_stop_the_others(tmp_path):
    tasks = [("refuse", tmp_path), ("break", tmp_path), ("nothing", tmp_path)]
    ended = list(run_isolated(act, tasks, workers=1))
    assert [task for task, _ in ended] == tasks
    assert [reason for _, reason in ended] == ["the data are missing", "KeyError: 'lidar'", ""]


def test_an_interruption_here_reaches_the_caller(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        list(run_isolated(act, [("interrupt", tmp_path)], workers=1))


def test_each_process_has_its_share_of_the_cores_and_takes_nothing_along_when_it_dies(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ("sleep", "tell", "die", "refuse")
    tasks = [(name, tmp_path / name) for name in names]
    running = run_isolated(act, tasks, workers=3)  # refuse starts when another has ended
    reasons = {}
    while len(reasons) < 3:
        (name, _), reasons[name] = next(running)
    sleeper = int((tmp_path / "sleep").read_text())
    assert is_running(sleeper)
    running.close()  # as an interruption does
    assert not is_running(sleeper)
    assert reasons["tell"] == "" and reasons["refuse"] == "the data are missing"
    assert "ended with code -9: it was killed" in reasons["die"]
    pid, *threads, quiet = (tmp_path / "tell").read_text().split()
    share = str(max(1, count_cores() // 3))
    assert threads == [share, share] and quiet == "1"
    assert int(pid) != os.getpid()
    assert "OMP_NUM_THREADS" not in os.environ and "TQDM_DISABLE" not in os.environ


def test_a_smaller_number_of_threads_that_the_user_set_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with environment_of_worker(8):
        assert os.environ["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    with environment_of_worker(8):
        assert os.environ["OMP_NUM_THREADS"] == "8"
    assert os.environ["OMP_NUM_THREADS"] == "16"


def test_a_block_is_entered_one_at_a_time_and_left_open_by_a_fault(tmp_path):
    order = []

    def enter(name):
        with file_lock(tmp_path / "new" / "lock"):
            order.append(name)
            time.sleep(0.05)
            order.append(name)

    with pytest.raises(ValueError, match="fault"), file_lock(tmp_path / "new" / "lock"):
        raise ValueError("fault")
    with file_lock(tmp_path / "new" / "lock"):
        late = file_lock(tmp_path / "new" / "lock", wait=False)
        with pytest.raises(ValueError, match="another process works in .*new; wait until it is done"), late:
            pass
    threads = [threading.Thread(target=enter, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[0::2] == order[1::2] and sorted(order[0::2]) == ["a", "b", "c"]


def test_many_that_wait_for_one_file_enter_one_at_a_time_though_each_removes_it(tmp_path):
    inside, most = [], []

    def enter():
        for _ in range(50):
            with file_lock(tmp_path / "new" / "lock"):
                inside.append(1)
                time.sleep(0.0001)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 300 and set(most) == {1}
    assert not (tmp_path / "new" / "lock").exists()


def test_a_folder_keeps_what_else_was_written_in_the_block(tmp_path):
    with file_lock(tmp_path / "new" / "lock"):
        (tmp_path / "new" / "answer").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["answer"]


HOLDER = """
import sys, time
from pathlib import Path
from clip2scene.parallel import file_lock
with file_lock(Path(sys.argv[1])):
    print("inside", flush=True)
    time.sleep(600)
"""


def test_a_process_that_is_killed_in_the_block_lets_the_next_one_in(tmp_path):
    path = tmp_path / "new" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"inside\n"
        with pytest.raises(ValueError, match="another process works"), file_lock(path, wait=False):
            pass
        holder.kill()
    with file_lock(path, wait=False):
        assert path.exists()
    assert not path.exists()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_a_process_that_is_forked_in_the_block_does_not_open_it(tmp_path):
    with file_lock(tmp_path / "lock"):
        child = multiprocessing.get_context("fork").Process(target=str)
        child.start()
        child.join()
        call = [
            sys.executable,
            "-c",
            HOLDER.replace("sys.argv[1])", "sys.argv[1]), wait=False"),
            tmp_path / "lock",
        ]
        ended = subprocess.run(call, capture_output=True, text=True, check=False)
        assert "another process works" in ended.stderr


def die_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_among_those_that_share_is_a_sentence():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="a process of 'look' was killed.*what is done is kept"):
            parallel_for(die_at_three, range(8), title="look", unit="image")
    finally:
        torch.set_num_threads(before)


def test_there_may_be_nothing_to_share():
    parallel_for(die_at_three, [], title="look", unit="image")


def fill_the_disk(number):
    raise OSError(errno.ENOSPC, "No space left on device", f"{number}.safetensors")


def err(number):
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize("processes", [0, 1])
def test_a_full_disk_is_a_sentence_wherever_the_work_is_done(processes):
    with pytest.raises(ValueError, match=r"No space left on device: '0\.safetensors'") as raised:
        list(prefetch(fill_the_disk, range(2), processes=processes, title="look"))
    assert "Traceback" not in str(raised.value)


def test_a_fault_of_ours_in_another_process_is_not_said_to_be_a_killed_process():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(prefetch(err, range(2), processes=1, title="look"))


def test_a_progress_bar_in_a_log_file_is_a_line_now_and_then(capsys, monkeypatch):
    for number in progress_bar(range(1000), desc="steps"):
        assert number < 1000
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("steps:   0%") and "1000/1000" in last
    monkeypatch.setattr("clip2scene.parallel._SECONDS_BETWEEN_LINES", 0.05)
    with progress_bar(total=30, desc="slow") as bar:
        for _ in range(30):
            time.sleep(0.01)
            bar.set_postfix(loss="0.5", refresh=False)
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 12 and all(line.startswith("slow: ") for line in lines)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_is_said_after_a_bar_that_a_fault_left_open_begins_on_a_line_of_its_own(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    steps = iter(progress_bar(range(10), desc="steps"))
    next(steps)
    assert terminal.getvalue().startswith("\rsteps:") and not terminal.getvalue().endswith("\n")
    end_progress()
    end_progress()
    assert terminal.getvalue().endswith("\n") and terminal.getvalue().count("\n") == 1
