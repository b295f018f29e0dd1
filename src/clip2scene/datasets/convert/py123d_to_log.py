"""Logs of 123D become drive logs: what py123d has converted, of Waymo, Argoverse 2, nuPlan and others."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.clouds import Spread, intensity_max
from clip2scene.datasets.convert.arrow_batches import open_arrow_file
from clip2scene.datasets.convert.nearest import nearest_clouds
from clip2scene.datasets.convert.py123d_clouds import by_library, inside, read_cloud
from clip2scene.datasets.convert.py123d_log import (
    Lens,
    camera_name,
    check_log,
    check_rising,
    choose_cameras,
    choose_lidar,
    column,
    ego_from_view,
    list_logs,
    read_lens,
    read_lidars,
    read_log_name,
    read_moments,
    read_times,
    read_way,
    streams,
)
from clip2scene.datasets.drive_log.files import check_drive, read_calibration, read_poses
from clip2scene.datasets.drive_log.writer import (
    Converted,
    new_log,
    write_calibration,
    write_cloud,
    write_image,
    write_image_times,
    write_poses,
)
from clip2scene.geometry.trajectory import MOST_GAP_US, Trajectory
from clip2scene.images import read_colours, suffix_of
from clip2scene.parallel import progress_bar
from clip2scene.types import Camera

_BYTES = 255.0  # the highest intensity of a byte


@dataclass
class _Written:
    """What has become of a log so far.

    Attributes:
        names: Name of the cloud of a moment.
        image_times: By camera and name.
        poses: ``world_from_ego`` by moment.
        spreads: Of each cloud's intensities.
        counts: Whether all intensities are bytes.
        dropped: Points that are not finite.
        skipped: How many clouds and images were left out, by reason.
    """

    names: dict[int, str] = field(default_factory=dict)
    image_times: dict[tuple[str, str], int] = field(default_factory=dict)
    poses: dict[int, Float[Tensor, "4 4"]] = field(default_factory=dict)
    spreads: list[Spread] = field(default_factory=list)
    counts: bool = True
    dropped: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, what: str) -> None:
        """Count something that is left out."""
        self.skipped[what] = self.skipped.get(what, 0) + 1

    def place(self, way: Trajectory | None, moments: Sequence[int], what: str) -> bool:
        """Note where the vehicle was; say whether it is known, or nobody wants to know."""
        if way is None:
            return True
        try:
            self.poses |= {moment: way.world_from_ego(moment) for moment in moments}
        except ValueError:
            self.skip(f"{what} taken when no pose is known")
            return False
        return True


def list_123d(folder: Path) -> str:
    """List the sensors of a log, or the logs of a folder, one a line.

    Raises:
        ValueError: If it is neither.
    """
    logs = list_logs(folder)
    if logs == [folder]:
        return "\n".join(streams(folder))
    if not logs:
        check_log(folder)
    return "\n".join(map(str, logs))


def convert_123d(
    recording: Path,
    out: Path,
    *,
    lidar: str | None = None,
    cameras: tuple[str, ...] = (),
    sensor_root: Path | None = None,
    most_apart_ms: float = 50.0,
) -> Converted:
    """Turn a log of 123D into a drive log; py123d itself is needed only where the log holds no clouds.

    Clouds keep the vehicle's axes and get their origin at the lidar, at the top one where several are merged.
    Each image goes to the cloud nearest in time, and a cloud takes one image of each camera: the nearest.
    Points stay where the log has them: whether the vehicle's motion was taken out is up to the data set.
    Boxes, maps and labels of points are left out.

    Args:
        recording: Folder of a log, which holds ``sync.arrow``.
        out: New folder for the drive log; it appears when it is whole.
        lidar: The file of the clouds, such as lidar.lidar_top; by default the merged or the only one.
        cameras: Files of cameras, such as camera.pcam_f0; by default all whose lens is known.
        sensor_root: Folder of the data set, for logs that name its files instead of holding them.
        most_apart_ms: The farthest that an image may be from its cloud, in milliseconds.

    Raises:
        ValueError: If it is no log, lacks a lidar or cameras, or one of its files is broken or not read.
    """
    if not 0 <= most_apart_ms <= 1000:
        raise ValueError(f"--most-apart-ms must lie in 0..1000, got {most_apart_ms:g}")
    recording = Path(recording)
    check_log(recording)
    stream = choose_lidar(recording, lidar)
    lenses, notes = _lenses(recording, choose_cameras(recording, cameras), wanted=bool(cameras))
    lidars = read_lidars(recording, stream)
    view = ego_from_view(lidars, recording / f"{stream}.arrow")
    moments = read_moments(recording, stream)
    check_rising([moments[row] for row in sorted(moments)], recording / "sync.arrow")
    way = read_way(recording)
    with new_log(out) as log:
        written = _Written()
        _write_clouds(recording, stream, moments, view, way, sensor_root, log, written)
        for name, lens in lenses.items():
            _write_images(recording, name, lens, way, sensor_root, round(1000 * most_apart_ms), log, written)
        if not written.image_times:
            raise ValueError(
                f"{recording}: no image belongs to a cloud ({_reasons(written.skipped)}); where "
                "they are far from clouds, raise --most-apart-ms, else convert the log again"
            )
        _write_small_files(recording, lenses, view, way, log, written)
    return Converted(
        len(written.names),
        len(written.image_times),
        tuple([*notes, *_notes(recording, stream, way, written)]),
    )


def _lenses(folder: Path, names: list[str], *, wanted: bool) -> tuple[dict[str, Lens], list[str]]:
    """Read how the cameras see; those that are not read are left out and named, unless they are wanted."""
    lenses: dict[str, Lens] = {}
    notes = []
    for name in names:
        try:
            lenses[name] = read_lens(folder, name)
        except ValueError as error:
            if wanted:
                raise
            notes.append(f"left out: {error}")
    if not lenses:
        raise ValueError(f"{folder} has no camera that is read: {notes[0].removeprefix('left out: ')}")
    return lenses, notes


def _write_clouds(
    folder: Path,
    stream: str,
    moments: dict[int, int],
    view: Float[Tensor, "4 4"],
    way: Trajectory | None,
    root: Path | None,
    log: Path,
    written: _Written,
) -> None:
    """Write the clouds that the table of moments knows."""
    path = folder / f"{stream}.arrow"
    read_named = None
    for row, _, content in progress_bar(_rows(path, stream), desc=stream, unit="cloud", total=len(moments)):
        what = f"{path}, row {row}"
        if row not in moments:
            written.skip("clouds that sync.arrow does not know")
            continue
        if content is None:
            written.skip("clouds that are not there")
            continue
        if not written.place(way, [moments[row]], "clouds"):
            continue
        if isinstance(content, str):
            read_named = read_named or by_library(
                read_log_name(folder), read_lidars(folder, stream), root, path
            )
            cloud = read_named(content, what)
        else:
            cloud = read_cloud(content, what)
        kept = np.isfinite(cloud.positions).all(1) & np.isfinite(cloud.intensity)
        written.dropped += int((~kept).sum())
        if not kept.any():
            written.skip("clouds without a point")
            continue
        name = f"{row:06d}"
        positions = cloud.positions[kept] - view[:3, 3].numpy().astype(np.float32)
        write_cloud(log, name, positions, cloud.intensity[kept])
        written.names[moments[row]] = name
        written.spreads.append(Spread.of(cloud.intensity[kept]))
        written.counts = written.counts and cloud.counts
    if not written.names:
        raise ValueError(
            f"{path} has no cloud that can be used: {_reasons(written.skipped)}; convert it again"
        )


def _write_images(
    folder: Path,
    stream: str,
    lens: Lens,
    way: Trajectory | None,
    root: Path | None,
    most_apart_us: int,
    log: Path,
    written: _Written,
) -> None:
    """Write the images of a camera that belong to clouds."""
    path, camera = folder / f"{stream}.arrow", camera_name(stream)
    times: list[int] = []
    there: list[bool] = []
    with open_arrow_file(path) as batches:
        for batch in batches:
            times += read_times(batch, f"{stream}.timestamp_us", path)
            there += column(batch, f"{stream}.data", path).is_valid().to_pylist()
    check_rising(times, path)
    images = list(compress(times, there))
    for _ in range(len(times) - len(images)):
        written.skip(f"images of {camera} that are not there")
    clouds = nearest_clouds(sorted(written.names), images, most_apart_us)
    for _ in range(len(images) - len(clouds)):
        written.skip(f"images of {camera} that are not the nearest of a cloud")
    for row, time_us, content in progress_bar(
        _rows(path, stream), desc=stream, unit="image", total=len(times)
    ):
        if time_us not in clouds:
            continue
        if not written.place(way, [time_us], f"images of {camera}"):
            continue
        name = written.names[clouds[time_us]]
        _write_picture(content, f"{path}, row {row}", lens, root, log, camera, name)
        written.image_times[camera, name] = time_us


def _write_picture(
    content: Any,  # noqa: ANN401 - whatever a row holds
    what: str,
    lens: Lens,
    root: Path | None,
    log: Path,
    camera: str,
    name: str,
) -> None:
    """Write an image that has the size of its calibration."""
    size = lens.width, lens.height
    if isinstance(content, bytes):
        read_colours(content, what, size)
        write_image(log, camera, name, suffix_of(content), content)
    elif isinstance(content, str):
        if root is None:
            raise ValueError(
                f"{what} holds no image but names {content[:200]!r}; say by --sensor-root where the data set "
                "lies, or convert the log again with camera_store_option: jpeg_binary"
            )
        file = inside(root, content, what)
        read_colours(file, str(file), size)
        target = log / "images" / camera / f"{name}{file.suffix.lower()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    else:
        raise ValueError(
            f"{what} is a picture of a video, which is not read; convert the log again with "
            "camera_store_option: jpeg_binary"
        )


def _rows(path: Path, stream: str) -> Iterator[tuple[int, int, Any]]:
    """Read the rows of a sensor: number, time in microseconds, and what was measured."""
    row = 0
    with open_arrow_file(path) as batches:
        for batch in batches:
            times = read_times(batch, f"{stream}.timestamp_us", path)
            for time_us, content in zip(times, column(batch, f"{stream}.data", path), strict=True):
                yield row, time_us, content.as_py()
                row += 1


def _write_small_files(
    folder: Path,
    lenses: dict[str, Lens],
    view: Float[Tensor, "4 4"],
    way: Trajectory | None,
    log: Path,
    written: _Written,
) -> None:
    """Write calibration and, if there are any, poses and times of images; read them as the loader will."""
    lidar = {
        "axes": "FLU",
        "intensity_max": _BYTES if written.counts else intensity_max(written.spreads),
        "ego_from_lidar": view.tolist(),
    }
    with_images = {camera for camera, _ in written.image_times}
    seen = {camera_name(name): lens for name, lens in lenses.items() if camera_name(name) in with_images}
    write_calibration(
        log / "calibration.json",
        lidar,
        [
            Camera(name, lens.intrinsics, lens.camera_from_ego @ view, lens.width, lens.height)
            for name, lens in seen.items()
        ],
        {name: lens.distortion for name, lens in seen.items() if lens.distortion is not None},
    )
    if way is not None:
        write_poses(log, written.poses, written.names)
        write_image_times(log, written.image_times)
    try:
        read_calibration(log / "calibration.json")
        if way is not None:
            check_drive(log / "poses.csv", *read_poses(log / "poses.csv"))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}".replace(f"{log}/", "")) from None


def _notes(folder: Path, stream: str, way: Trajectory | None, written: _Written) -> list[str]:
    """Say what was found and what was left out."""
    name = read_log_name(folder)
    notes = [f"log {name.log_name} of {name.split}, clouds of {stream}, written by py123d {name.version}"]
    if way is None:
        notes.append("no poses in it: one sweep a sample, and images count as taken when their clouds were")
    gaps = int((np.diff(sorted(written.names)) > MOST_GAP_US).sum())
    if gaps:
        notes.append(f"{gaps} gaps of more than {MOST_GAP_US / 1e6:g} s; earlier sweeps do not cross them")
    if written.skipped:
        notes.append(f"left out {_reasons(written.skipped)}")
    if written.dropped:
        notes.append(f"dropped {written.dropped} points that are not finite")
    return notes


def _reasons(skipped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "there are none"
