"""Worker processes under every start method: macOS spawns, Linux forks, and from Python 3.14 by a server."""

import json
import multiprocessing
import subprocess
import sys
from dataclasses import replace

import pytest

from clip2scene.config import to_dict

SCRIPT = """
import json, multiprocessing, sys
from pathlib import Path

import torch

from clip2scene import parallel
from clip2scene.config import from_dict
from clip2scene.experiments.ablation import AblationTable, Variant, ablate
from clip2scene.training import train

def read_ahead(*arguments, processes, **options):
    processes_of.append(processes)
    return parallel.prefetch(*arguments, processes=1, **options)

if __name__ == "__main__":
    method, recipe, data, out = sys.argv[1:]
    multiprocessing.set_start_method(method)
    torch.set_num_threads(2)
    parallel._WORTH_A_PROCESS = 1
    processes_of, out = [], Path(out)
    train.prefetch = read_ahead
    recipe = from_dict(json.loads(recipe))
    lifted = out / "lifted"
    train.pretrain(recipe, data_root=Path(data), out=out / "run", lifted=lifted)
    assert processes_of == [0]
    table = AblationTable("two", "Two", "a", (Variant("a", recipe), Variant("b", recipe)))
    ablate(table, data_root=Path(data), out=out / "table", seeds=[0], workers=2, lifted=lifted)
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_training_and_ablations_work_under_every_start_method(tmp_path, tiny_recipe, tiny_toytown, method):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    recipe = json.dumps(to_dict(replace(tiny_recipe, steps=1)))
    call = [sys.executable, script, method, recipe, tiny_toytown, tmp_path / "out"]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    for run in ("run", "table/runs/a/seed-0", "table/runs/b/seed-0"):
        assert (tmp_path / "out" / run / "checkpoint.safetensors").exists()
