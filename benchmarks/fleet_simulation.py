"""What a fleet of workers makes of a million clouds: a simulation, from times that were measured.

    python benchmarks/fleet_simulation.py [--clouds 1000000] [--workers 1 4 16 64 256] [--seeds 3]
    python benchmarks/fleet_simulation.py --check [--data-root town]

Discrete events, in a heap: each worker starts, claims a chunk of the manifest (one at a time), reads each
cloud through a store of bounded bandwidth and latency, and labels it. Some are slow, some die and start anew;
what a dead one had claimed and not finished is claimed again. ``--check`` labels real clouds with one and two
processes, and compares what they did with what is simulated of the times of one.
"""

import argparse
import heapq
import multiprocessing
import statistics
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clip2scene.runs.cost import describe_machine, today


@dataclass(frozen=True)
class Fleet:
    """What is simulated; times in seconds.

    Attributes:
        clouds: To be labelled.
        workers: That label them.
        seconds: To label a cloud, on average.
        spread: Standard deviation between clouds, as a share of that; drawn from a gamma distribution.
        start: Of a worker: Python, torch and the student.
        chunk: Clouds that are claimed at once.
        claim: To claim one in the manifest; others wait meanwhile.
        bytes: Read of a cloud.
        bandwidth: Of the store, in bytes a second, all workers together; reads queue for it.
        latency: Of a read, beside its transfer; reads wait for theirs at once.
        slow_share: Share of the workers that are stragglers.
        slow_by: How many times as long these take.
        life: Mean time to the death of a worker, exponential; infinite for none.
        notice: After which the clouds of a dead one are free again, and another worker is begun in its place.
    """

    clouds: int = 1_000_000
    workers: int = 16
    seconds: float = 0.14
    spread: float = 0.1
    start: float = 2.4
    chunk: int = 64
    claim: float = 0.02
    bytes: float = 0.0
    bandwidth: float = float("inf")
    latency: float = 0.0
    slow_share: float = 0.0
    slow_by: float = 3.0
    life: float = float("inf")
    notice: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        seconds: Until the last cloud was labelled.
        done: How often each cloud was finished.
        wasted: Seconds of labelling that died with their workers.
        deaths: How many died.
    """

    seconds: float
    done: np.ndarray
    wasted: float
    deaths: int


def simulate(fleet: Fleet, seed: int = 0) -> Outcome:
    """Let a fleet work until every cloud is labelled."""
    draw = np.random.default_rng(seed)
    slow = draw.random(fleet.workers) < fleet.slow_share
    pace = np.where(slow, fleet.slow_by, 1.0)
    shape = np.inf if fleet.spread == 0 else fleet.spread**-2
    times = np.full(fleet.clouds, fleet.seconds)
    if np.isfinite(shape):
        times = draw.gamma(shape, fleet.seconds / shape, fleet.clouds)
    chunks = deque((at, min(at + fleet.chunk, fleet.clouds)) for at in range(0, fleet.clouds, fleet.chunk))
    done = np.zeros(fleet.clouds, dtype=np.int64)
    transfer = fleet.bytes / fleet.bandwidth
    dies = [_later(draw, fleet.life, 0.0) for _ in range(fleet.workers)]
    events = [(fleet.start, worker, 0, 0) for worker in range(fleet.workers)]  # when, who, next cloud, end
    heapq.heapify(events)
    store_free = manifest_free = end = wasted = 0.0
    deaths, left = 0, fleet.clouds
    while left:
        now, worker, cloud, stop = heapq.heappop(events)
        if worker < 0:  # a death is noticed: what was claimed is free, and another worker begins in its place
            worker = -1 - worker
            if cloud < stop:
                chunks.appendleft((cloud, stop))
            dies[worker] = _later(draw, fleet.life, now)
            heapq.heappush(events, (now + fleet.start, worker, 0, 0))
            continue
        if cloud == stop:
            if not chunks:
                if events:  # others may yet die, and leave something
                    heapq.heappush(events, (max(now, events[0][0]) + 1.0, worker, 0, 0))
                continue
            cloud, stop = chunks.popleft()
            manifest_free = max(now, manifest_free) + fleet.claim
            heapq.heappush(events, (manifest_free, worker, cloud, stop))  # its read queues from then on
            continue
        began = max(now, store_free)  # reads queue for the bandwidth, in the order that they are asked for
        store_free = began + transfer
        finished = store_free + fleet.latency + times[cloud] * pace[worker]
        if finished > dies[worker]:
            deaths += 1
            wasted += max(0.0, dies[worker] - now)
            heapq.heappush(events, (max(now, dies[worker]) + fleet.notice, -1 - worker, cloud, stop))
            continue
        done[cloud] += 1
        left -= 1
        end = max(end, finished)
        heapq.heappush(events, (finished, worker, cloud + 1, stop))
    return Outcome(end, done, wasted, deaths)


def _later(draw: np.random.Generator, mean: float, now: float) -> float:
    """Draw a moment after now."""
    return now + draw.exponential(mean) if np.isfinite(mean) else float("inf")


def table(fleet: Fleet, sizes: list[int], seeds: int) -> None:
    """Print throughput, efficiency and the spread over seeds for some sizes of a fleet."""
    print("| workers | hours | clouds a second | efficiency | deaths | spread of the hours over seeds |")
    print("|---:|---:|---:|---:|---:|---:|")
    for workers in sizes:
        found = [simulate(replace(fleet, workers=workers), seed) for seed in range(seeds)]
        assert all((each.done == 1).all() for each in found)
        hours = [each.seconds / 3600 for each in found]
        rate = fleet.clouds / (3600 * statistics.mean(hours))
        share = 100 * rate * fleet.seconds / workers
        deaths = statistics.mean(each.deaths for each in found)
        spread = statistics.stdev(hours) if seeds > 1 else 0.0
        hour = f"{statistics.mean(hours):.2f} | {rate:,.0f} | {share:.0f} %"
        print(f"| {workers} | {hour} | {deaths:,.0f} | {spread:.3f} |")


def _label(root: str, number: int, barrier, times) -> None:  # noqa: ANN001 - of a context's own types
    """Label clouds of a data set with one thread, and send the seconds of each."""
    import torch

    from clip2scene.datasets.nuscenes.loader import NuScenes
    from clip2scene.inference.segmenter import Segmenter

    torch.set_num_threads(1)
    dataset, segmenter = NuScenes(Path(root), split="train", labels=False), Segmenter.load("builtin")
    segmenter.segment(dataset[0].cloud)
    barrier.wait()
    took = []
    for place in range(number):
        began, computed = time.perf_counter(), time.process_time()
        segmenter.segment(dataset[place % len(dataset)].cloud)
        took.append((time.perf_counter() - began, time.process_time() - computed))
    times.put(took)


def check(root: Path, number: int = 60) -> None:
    """Label clouds with one and two processes, and compare with what is simulated of the times of one.

    Once by the clock, which other work on the machine holds up, and once in the processes' own CPU seconds.
    """
    context = multiprocessing.get_context("spawn")
    found = {}
    for workers in (1, 2):
        barrier, times = context.Barrier(workers + 1), context.Queue()
        each = (str(root), number, barrier, times)
        processes = [context.Process(target=_label, args=each) for _ in range(workers)]
        for process in processes:
            process.start()
        barrier.wait()
        found[workers] = np.array([times.get() for _ in processes])  # workers, clouds, by clock and CPU
        for process in processes:
            process.join()
    for column, by in enumerate(("by the clock", "in CPU seconds")):
        of_one = found[1][0, :, column]
        mean, spread = float(of_one.mean()), float(of_one.std(ddof=1))
        print(f"{by}: one takes {1000 * mean:.0f} +- {1000 * spread:.0f} ms a cloud", end="")
        for workers, took in found.items():
            fleet = Fleet(number * workers, workers, mean, spread / mean, start=0.0, chunk=number, claim=0.0)
            rates = [fleet.clouds / simulate(fleet, seed).seconds for seed in range(10)]
            measured = number * workers / took[:, :, column].sum(1).max()
            simulated = f"{statistics.mean(rates):.2f} +- {statistics.stdev(rates):.2f}"
            print(f"; {workers} workers: {measured:.2f} clouds a second, simulated {simulated}", end="")
        print()


def main() -> None:
    """Simulate, and print tables; or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clouds", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=0.14)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--data-root", type=Path)
    asked = parser.parse_args()
    if asked.check and asked.data_root is None:
        parser.error("--check needs a toytown in nuScenes' layout: --data-root")
    print(f"{describe_machine('cpu')}, {today()}")
    if asked.check:
        check(asked.data_root)
        return
    plain = Fleet(clouds=asked.clouds, seconds=asked.seconds)
    real = replace(plain, slow_share=0.05, life=4 * 3600.0)
    slow_store = replace(real, bytes=400_000.0, bandwidth=100e6, latency=0.02)
    for title, fleet in (
        ("nothing goes wrong", plain),
        ("5 % three times as slow, each dies after 4 hours on average", real),
        ("the same, a store of 100 MB/s and 20 ms", slow_store),
    ):
        began = time.perf_counter()
        print(f"\n{title}:\n")
        table(fleet, asked.workers, asked.seeds)
        print(f"\n({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
