"""Parts done by actors under Ray Data. Nothing else in the package knows Ray."""

import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from clip2scene.inference.fleet.manifest import Unit
from clip2scene.inference.fleet.part import Done, Task, Worker
from clip2scene.io import in_a_sentence

_STORE_BYTES = 128 << 20  # of Ray's own memory here; what passes through it are numbers of parts
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
_OF_WORKERS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY", "OMP_WAIT_POLICY")


def check_ray() -> None:
    """Refuse to begin without Ray.

    Raises:
        ValueError: If it is not installed.
    """
    if find_spec("ray") is None:
        raise ValueError("--engine ray needs the library ray; install clip2scene[ray], or use --engine local")


def label_on_ray(
    task: Task, units: Sequence[Unit], *, workers: int, device: str = "cpu"
) -> Generator[Done, None, None]:
    """Do parts with actors of Ray, each of which holds the model.

    The cluster is the one that ``RAY_ADDRESS`` names, or that this process has joined; else one of this
    machine alone, for as long as this lasts. An actor that dies is begun anew by Ray, and its part given
    again.

    Args:
        task: What to do; all machines need the run and the data under these names.
        units: The parts.
        workers: How many actors, each with a core.
        device: With ``cuda``, each actor has a GPU (*not run*).

    Yields:
        What came of a part.

    Raises:
        ValueError: If Ray cannot be started, or does not give what the actors need.
    """
    check_ray()
    with _cluster(workers):
        import ray

        context = ray.data.DataContext.get_current()
        for logger in (logging.getLogger("ray.data"), logging.getLogger("ray")):
            for handler in logger.handlers:
                if type(handler).__module__.startswith("ray."):  # others may listen too
                    handler.setLevel(logging.ERROR)
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        on_gpu = device.startswith("cuda")
        given = ray.data.from_items([unit._asdict() for unit in units], override_num_blocks=len(units))
        done = given.map_batches(
            _Actor,
            fn_constructor_args=(task, device),
            batch_size=None,  # a block is a part
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(units)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=1,
            num_gpus=1 if on_gpu else 0,
        )
        try:
            for row in done.iter_rows():
                yield Done(**row)
        except ray.exceptions.RayError as error:
            raise ValueError(f"Ray gave up ({in_a_sentence(error)}); what is done is kept") from None


class _Actor:
    """A worker as Ray Data calls it: with a batch of parts, here of one."""

    def __init__(self, task: Task, device: str) -> None:
        self.worker = Worker(task, device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        units = [
            Unit(int(part), int(generation))
            for part, generation in zip(batch["part"], batch["generation"], strict=True)
        ]
        found = [asdict(self.worker.do(unit)) for unit in units]
        return {name: [each[name] for each in found] for name in found[0]}


@contextmanager
def _cluster(workers: int) -> Iterator[None]:
    """Join a cluster, or begin one of this machine, which ends with the block; nothing of it is left."""
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update({name: before[name] or value for name, value in _QUIET.items()})
    import ray

    if ray.is_initialized():
        yield
        return
    folder = tempfile.mkdtemp(prefix="ray-")
    try:
        try:
            ray.init(**_options(workers, folder))
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ValueError(f"Ray cannot be used here ({in_a_sentence(error)})") from None
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _options(workers: int, folder: str) -> dict[str, Any]:
    """Say how Ray is begun: without a dashboard; or joined, where ``RAY_ADDRESS`` names a cluster."""
    passed = {name: os.environ[name] for name in _OF_WORKERS if name in os.environ}
    common = {
        "logging_level": "ERROR",
        "log_to_driver": False,
        "runtime_env": {"env_vars": {**passed, "OMP_NUM_THREADS": "1"}},
    }
    if os.environ.get("RAY_ADDRESS"):
        return common
    own = {"num_cpus": workers, "object_store_memory": _STORE_BYTES, "_temp_dir": folder}
    return {**common, **own, "include_dashboard": False}
