import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

from clip2scene.build_teacher import SMALL_CLIP
from clip2scene.io import open_store
from clip2scene.io.claims import Claims
from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.kept_maps import TeacherCache, open_maps
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.training import fill_cache
from clip2scene.types import Camera, PointCloud, Sample

CLIP = load_clip(SMALL_CLIP)
fork = multiprocessing.get_context("fork")


def image_of(sample, view):
    return torch.randint(
        0, 255, (20, 24, 3), generator=torch.Generator().manual_seed(2 * sample + view)
    ).byte()


@dataclass(frozen=True)
class Drive:
    """Samples of two images each, all different."""

    tokens: tuple = tuple(f"{number:03}" for number in range(12))

    def __getitem__(self, number):
        camera = Camera("front", torch.eye(3), torch.eye(4), 24, 20)
        cloud = PointCloud(torch.zeros(1, 3), torch.ones(1, 1))
        return Sample(self.tokens[number], cloud, (camera, camera), partial(image_of, number))


class LoggedMaskClip(MaskClip):
    """Writes a line for each of its forward passes, and takes its time."""

    log: Path
    pause_s = 0.0

    def embed_image(self, image):
        with self.log.open("a") as log:
            log.write(f"{int(image.long().sum())}\n")
        time.sleep(self.pause_s)
        return super().embed_image(image)


def fill(place, log, weights="w", shard_bytes=None, pause_s=0.0, lease_s=60.0, **settings):
    torch.set_num_threads(1)
    LoggedMaskClip.log, LoggedMaskClip.pause_s = log, pause_s
    kept = open_maps(place)
    teacher = CachedTeacher(LoggedMaskClip(CLIP, **settings), weights, kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill_cache, "Claims", partial(Claims, lease_s=lease_s))
        patch.setattr(fill_cache, "_WAIT_S", 0.05)
        fill_cache.fill_cache(Drive(), teacher, kept, shard_bytes=shard_bytes)


def start(*given, **options):
    process = fork.Process(target=fill, args=given, kwargs=options)
    process.start()
    return process


def passes(log):
    return log.read_text().splitlines() if log.exists() else []


def maps_in(place):
    """Read the maps of all images as a run would, without computing any."""
    teacher = CachedTeacher(MaskClip(CLIP), "w", open_maps(place))
    assert not any(teacher.missing(Drive()[number]) for number in range(12))
    return [teacher(Drive()[number]).embeddings for number in range(12)]


def same(one, other):
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The cache that one process fills, and its maps."""
    folder = tmp_path_factory.mktemp("alone")
    fill(folder / "cache", folder / "log")
    assert len(set(passes(folder / "log"))) == len(passes(folder / "log")) == 24
    return folder / "cache", maps_in(folder / "cache")


@pytest.mark.parametrize("shard_bytes", [None, 2000])
def test_two_processes_compute_every_image_once(alone, tmp_path, shard_bytes):
    options = {"pause_s": 0.02, "shard_bytes": shard_bytes}
    processes = [start(tmp_path / "cache", tmp_path / f"log {n}", **options) for n in range(2)]
    for each in processes:
        each.join()
        assert each.exitcode == 0
    logs = [passes(tmp_path / f"log {n}") for n in range(2)]
    assert sorted(logs[0] + logs[1]) == sorted(passes(alone[0].parent / "log")) and min(map(len, logs)) > 0
    store = open_store(tmp_path / "cache")
    assert store.names("claims/") == [] and not list(tmp_path.rglob(".partial-*"))
    assert len(store.names("shards/")) == len(store.names()) if shard_bytes else not store.names("shards/")
    assert same(maps_in(tmp_path / "cache"), alone[1])


@pytest.mark.parametrize("shard_bytes", [None, 4000])
def test_what_a_killed_process_leaves_another_does(alone, tmp_path, shard_bytes):
    options = {"pause_s": 0.02, "shard_bytes": shard_bytes, "lease_s": 0.6}
    killed = start(tmp_path / "cache", tmp_path / "killed", **options)
    other = start(tmp_path / "cache", tmp_path / "other", **options)
    while len(passes(tmp_path / "killed")) < 5 and killed.is_alive():
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    other.join()
    assert other.exitcode == 0 and killed.exitcode == -signal.SIGKILL
    twice = set(passes(tmp_path / "killed")) & set(passes(tmp_path / "other"))
    assert len(twice) <= (2 if shard_bytes is None else 5)  # what it had computed and not written
    assert same(maps_in(tmp_path / "cache"), alone[1])
    assert open_store(tmp_path / "cache").names("claims/") == []


def test_a_call_that_comes_again_computes_nothing(alone, tmp_path):
    fill(alone[0], tmp_path / "log")
    assert passes(tmp_path / "log") == []


@pytest.mark.parametrize("change", [{"weights": "v"}, {"working_size": (16, 16)}])
def test_workers_with_other_weights_or_settings_share_a_folder_and_nothing_mixes(tmp_path, change, alone):
    changed = start(tmp_path / "cache", tmp_path / "changed", pause_s=0.01, **change)
    fill(tmp_path / "cache", tmp_path / "log", pause_s=0.01)
    changed.join()
    assert len(passes(tmp_path / "changed")) == len(passes(tmp_path / "log")) == 24
    assert len(open_store(tmp_path / "cache").names()) == 48
    assert same(maps_in(tmp_path / "cache"), alone[1])


def test_a_store_elsewhere_is_filled_and_read_with_copies_on_the_local_disk(tmp_path, alone):
    fill("memory://fill/cache", tmp_path / "log", shard_bytes=3000)
    place = TeacherCache("memory://fill/cache", tmp_path / "copies", copies_gb=0.001)
    assert same(maps_in(place), alone[1])
    fill(place, tmp_path / "log")
    assert len(passes(tmp_path / "log")) == 24


def test_a_damaged_entry_of_a_shard_is_computed_anew(tmp_path, alone):
    fill(tmp_path / "cache", tmp_path / "log", shard_bytes=1_000_000)
    (shard,) = (tmp_path / "cache" / "shards").iterdir()
    content = bytearray(shard.read_bytes())
    content[-50] ^= 4
    shard.write_bytes(content)
    fill(tmp_path / "cache", tmp_path / "again", shard_bytes=1_000_000)
    assert len(passes(tmp_path / "again")) == 1 and same(maps_in(tmp_path / "cache"), alone[1])
    shard.write_bytes(content[:20])  # its index too
    (tmp_path / "again").unlink()
    fill(tmp_path / "cache", tmp_path / "again")
    assert len(passes(tmp_path / "again")) == 23 and same(maps_in(tmp_path / "cache"), alone[1])


def test_an_interrupted_process_writes_the_shard_that_it_had_begun(tmp_path, monkeypatch, alone):
    embed = LoggedMaskClip.embed_image

    def interrupt(self, image):
        if len(passes(self.log)) == 7:
            raise KeyboardInterrupt
        return embed(self, image)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LoggedMaskClip, "embed_image", interrupt)
        fill(tmp_path / "cache", tmp_path / "log", shard_bytes=1_000_000)
    assert len(open_store(tmp_path / "cache").names("shards/")) == 1
    fill(tmp_path / "cache", tmp_path / "log", shard_bytes=1_000_000)
    assert len(passes(tmp_path / "log")) == 25  # the sample that was under way had one image computed


@pytest.mark.parametrize("shard_bytes", [None, 3000])
def test_a_full_disk_is_one_sentence_and_what_was_written_is_kept(tmp_path, monkeypatch, shard_bytes, alone):
    written, replace_file = [], os.replace

    def full(source, target):
        if ".safetensors" in str(target):
            written.append(target)
            if len(written) > 2:
                raise OSError(28, "No space left on device")
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("clip2scene.io.writing.os.replace", full)
        with pytest.raises(
            ValueError, match="the disk is full.*free some space, and run the same command again"
        ):
            fill(tmp_path / "cache", tmp_path / "log", shard_bytes=shard_bytes)
    store = open_store(tmp_path / "cache")
    assert len(store.names()) == 2 + len(store.names("claims/"))
    parts = {
        kind: {name.split(".")[0] for name in store.names("claims/") if name.endswith(kind)}
        for kind in (".0", ".done")
    }
    assert parts[".0"] == parts[".done"]  # what was claimed and is not done was given back
    fill(tmp_path / "cache", tmp_path / "log", shard_bytes=shard_bytes)
    assert same(maps_in(tmp_path / "cache"), alone[1]) and store.names("claims/") == []
