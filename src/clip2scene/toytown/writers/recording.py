"""What a drive through a town records, and when: the same in every layout."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clip2scene.toytown.lidars import LIDARS, Lidar, draw_lidar
from clip2scene.toytown.sensors import Render, RigCamera, Sweep, lidar_sweep, render_camera
from clip2scene.toytown.town.world import Town, build_town

KEYFRAME_US = 500_000
SWEEP_US = 50_000
EXPOSURE_LEAD_US = {
    "CAM_FRONT_LEFT": 43_000,
    "CAM_FRONT": 35_500,
    "CAM_FRONT_RIGHT": 27_500,
    "CAM_BACK_RIGHT": 20_000,
    "CAM_BACK": 10_500,
    "CAM_BACK_LEFT": 500,
}
"""How long before the end of the lidar's revolution each camera takes its image, in microseconds.

As in nuScenes, a camera is triggered when the lidar's beam passes the middle of its view.
"""


@dataclass(frozen=True)
class Recording:
    """What a drive through a town records.

    Attributes:
        keyframes_per_scene: Keyframes of one drive, at 2 Hz: 1 to 20.
        sweeps_per_keyframe: Lidar sweeps up to and with each keyframe, at 20 Hz; 10 leave no gap, 1 is the
            keyframe alone.
        width: Of the images, in pixels.
        height: Of the images, in pixels.
        azimuth_steps: Lidar firings per sweep and beam; drawn lidars have as much more or fewer of theirs.
        ground_truth: Whether to write the true class of every pixel, as ``groundtruth/CHANNEL/IMAGE.png``: a
            nuScenes train id, 255 for the sky. nuScenes itself has no such folder.
        missing_kinds: Chance of each kind of countable thing (bus, bicycle, ...) to be missing from a whole
            town: streets differ, and what is rare is found in few.
        varied: Whether to drive through varied towns, each with a lidar of its own.
        lidar: The lidar of all drives; None takes the plain world's, or draws one for each varied town.
    """

    keyframes_per_scene: int = 8
    sweeps_per_keyframe: int = 10
    width: int = 400
    height: int = 224
    azimuth_steps: int = 720
    ground_truth: bool = False
    missing_kinds: float = 0.0
    varied: bool = False
    lidar: Lidar | None = None

    def __post_init__(self) -> None:
        """Refuse impossible recordings."""
        if not 1 <= self.sweeps_per_keyframe <= KEYFRAME_US // SWEEP_US:
            raise ValueError(f"sweeps_per_keyframe must lie in 1..10, got {self.sweeps_per_keyframe}")
        for name in ("keyframes_per_scene", "width", "height", "azimuth_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.missing_kinds <= 1:
            raise ValueError(f"missing_kinds must lie in 0..1, got {self.missing_kinds}")
        most = int(Town.duration_s * 1e6) // KEYFRAME_US
        if self.keyframes_per_scene > most:
            raise ValueError(
                f"keyframes_per_scene must be at most {most}, got {self.keyframes_per_scene}: a town is laid "
                f"out for {Town.duration_s:g} s; make more scenes"
            )

    def build_town(self, seed: int) -> Town:
        """Build the town of a seed as this recording wants it."""
        return build_town(seed, missing_kinds=self.missing_kinds, varied=self.varied)

    def lidar_of(self, town_seed: int) -> Lidar:
        """Give the lidar of the drive through a town."""
        if self.lidar is not None:
            return self.lidar
        return draw_lidar(np.random.default_rng([town_seed, 4])) if self.varied else LIDARS["spinning-32"]


def take_sweep(town: Town, time_us: int, recording: Recording) -> Sweep:
    """Record the lidar's sweep that ends at ``time_us`` (microseconds); its noise follows from both."""
    rng, lidar = np.random.default_rng([town.seed, 1, time_us]), recording.lidar_of(town.seed)
    steps = round(lidar.azimuth_steps * recording.azimuth_steps / 720)
    return lidar_sweep(town, time_us / 1e6, rng, lidar=lidar, azimuth_steps=max(1, steps))


def take_image(town: Town, time_us: int, camera: RigCamera) -> Render:
    """Render one camera of the rig at ``time_us`` (microseconds); its noise follows from town and time."""
    return render_camera(
        town.at(time_us / 1e6),
        town.world_from_ego(time_us / 1e6) @ camera.ego_from_camera,
        camera.intrinsics,
        camera.width,
        camera.height,
        np.random.default_rng([town.seed, 2, time_us]),
    )


def in_folder(path: Path) -> Path:
    """Make the folder of a file that is about to be written, and give the path back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
