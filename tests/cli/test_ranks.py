import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.runs.cost import read_cost

ROOT = Path(__file__).parents[2]
TRAIN = (
    *("--steps", "5", "--batch-size", "2", "--seed", "3", "--save-every", "2", "--data.sweeps", "1"),
    *("--student.width", "0.25", "--student.voxel-size", "0.5", "--student.no-level"),
    *("--teacher.attention", "maskclip", "--teacher.refine", "none", "--teacher.no-consolidate"),
    *("--teacher.scales", "1.0", "--optimiser.name", "sgd", "--optimiser.learning-rate", "0.05"),
)


def environment(**more):
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **more}


def two_ranks(first, second):
    """Start a command as each of two ranks; the exit codes, and all that both print."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "clip2scene", *map(str, words)],
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2", **where),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, words in enumerate((first, second))
    ]
    try:
        said = [rank.communicate(timeout=240)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [rank.returncode for rank in ranks], "".join(said)


def test_two_processes_of_which_one_is_killed_end_as_one_process_does(tiny_toytown, tmp_path, call):
    command = ("pretrain", "toytown", "--data-root", tiny_toytown, *TRAIN, "--out")
    code, _, error = call(*command, tmp_path / "alone")
    assert code == 0, error
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--max-restarts", 1)
    words = (sys.executable, *torchrun, ROOT / "tests" / "fragile_rank.py", *command, tmp_path / "two")
    done = subprocess.run(
        list(map(str, words)), env=environment(), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"trained toytown: {tmp_path / 'two'}\n"  # once
    assert "Traceback" not in done.stderr

    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("alone", "two")]
    alone, two = ([json.loads(line) for line in log] for log in logs)
    assert [line["step"] for line in two] == [1, 2, 3, 4, 5]  # each once: the first alone writes
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in alone], rel=1e-2)
    assert [call["steps"] for call in read_cost(tmp_path / "two")] == [[0, 2], [2, 5]]
    ends = [load_checkpoint(tmp_path / name / "checkpoint.safetensors").model for name in ("alone", "two")]
    expected, found = (torch.cat([each.double().flatten() for each in end.values()]) for end in ends)
    assert (found - expected).norm() < 0.01 * expected.norm()


def test_what_one_process_does_is_refused_to_several_once(tiny_run, tiny_toytown, tmp_path):
    command = ("lift", "toytown", "--data-root", tiny_toytown, "--out", tmp_path / "run")
    codes, said = two_ranks(command, command)
    assert codes == [1, 1]
    assert said.count("clip2scene: lift is done by one process, and 2 were started; start it without") == 1
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_two_processes_evaluate_as_one_does(tiny_run, tiny_toytown, tmp_path, call):
    command = ("evaluate", tiny_run, "--data-root", tiny_toytown, "--pictures", 1, "--out")
    code, _, error = call(*command, tmp_path / "alone")  # rounded as a command rounds
    assert code == 0, error
    codes, said = two_ranks((*command, tmp_path / "run"), (*command, tmp_path / "run"))
    assert codes == [0, 0], said
    assert said.count("wrote ") == said.count("-above.png") == 1 and "Traceback" not in said
    found, alone = (
        json.loads((run / "metrics.json").read_text()) for run in (tmp_path / "run", tmp_path / "alone")
    )
    mine, theirs = found.pop("confidence"), alone.pop("confidence")
    assert found == alone
    assert mine["calibration_error"] == pytest.approx(theirs["calibration_error"], rel=1e-6)
    assert mine["points"] == theirs["points"] == found["num_points"]
    assert len(read_cost(tmp_path / "run")) == 1


def test_a_rank_that_lacks_the_start_says_so_alone(tiny_run, tiny_toytown, tmp_path):
    command = ("finetune", "--data-root", tiny_toytown, "--out", tmp_path / "run", "--start")
    codes, said = two_ranks((*command, tiny_run), (*command, tmp_path / "absent"))
    assert codes == [1, 1]
    assert said.count("clip2scene: ") == 1 and "Traceback" not in said
    assert "clip2scene: rank 1 of 2 on " in said and f"{tmp_path / 'absent'} is not a run" in said
    assert not (tmp_path / "run").exists()
