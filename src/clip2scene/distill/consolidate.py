"""Consolidation: the pseudo-labels of a whole drive vote on what stands at each place.

A teacher sees a wall from many places, and errs from some of them. Where the poses are known, its answers
of all cameras and moments are gathered per place (:class:`~clip2scene.geometry.place_votes.PlaceVotes`). The
superpoints of a moment vote first, as they do without a drive; then the moments vote on each place; then the
superpoints of each moment decide on what their places hold. So votes go through space by superpoints, which
come from one moment each and join no two things that were apart there, and through time by places. Points
that no camera saw at their own moment get a label where another moment's camera saw their place.

What moves is no place: points that another moment of the drive sees through vote by themselves, with the
superpoint they belong to, as they do without a drive.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from clip2scene.datasets.drives import Moment
from clip2scene.distill.lifted import LiftedSample, load_lifted, read_keyframe, save_consolidated
from clip2scene.geometry.dynamic_points import free_space
from clip2scene.geometry.place_votes import PlaceVotes
from clip2scene.geometry.projection import invert_rigid, transform_points, voxelize
from clip2scene.geometry.superpoints import average_within, height_above_ground
from clip2scene.io import write_json
from clip2scene.parallel import file_lock, parallel_for
from clip2scene.types import IGNORE_LABEL

FORMAT = 1
"""Of the files of consolidated pseudo-labels; to be raised whenever other code would make others."""

LOOKS_US = (-2_000_000, -1_000_000, -500_000, 500_000, 1_000_000, 2_000_000)
"""How much earlier and later a drive is looked at to see what has moved, in microseconds."""

MOVED = 0.3
"""Share of a superpoint's points that is seen through at another moment where it moves."""

NEIGHBOURS = 48
"""Keyframes whose free space is kept in memory while others are compared with it: 4 MB each."""

STANDS_M = 0.5
"""Points this far above the ground are of something that stands on it, in metres."""

PLACE_M = 0.5
"""Edge of the places on which something stands, in metres."""

MOST_SEEN_THROUGH = 0.2
"""Share of the places on which something stands that other moments may see through; more is no traffic.

Half a second apart it was 1.8 to 9.6 % on ten pairs of toytown's training streets (median 3.9), and 1.1 to
2.4 % on three pairs of PandaSet; 14 % in a street of traffic with a beam a degree. With poses turned by 20
degrees it was 21.7 to 41.5, and 20.8 to 22.4 %. Errors of a metre or three degrees are not found out.
"""


@dataclass(frozen=True)
class ConsolidateOptions:
    """How the pseudo-labels of a drive are gathered.

    Attributes:
        place_size: Edge of a place, in metres.
        least_share: Share of the votes that a class must have to become a pseudo-label, in 0..1.
    """

    place_size: float = 0.4
    least_share: float = 0.4


def consolidate_split(
    drives: Mapping[str, Sequence[Moment]],
    paths: Sequence[Path],
    *,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
    options: ConsolidateOptions = ConsolidateOptions(),  # noqa: B008 - frozen
) -> list[Path]:
    """Gather the pseudo-labels of each drive, and write what they agree on beside the lifted samples.

    Files of an earlier call are kept. A drive of one moment has nothing to gather: its sample stays as it is.
    Several processes share the drives.

    Args:
        drives: The drives of the split (:func:`clip2scene.datasets.drives.find_drives`).
        paths: Its lifted samples (:func:`clip2scene.distill.lift.lift_split`).
        viewpoint: Where the lidar stands in the clouds' frame, in metres.
        options: How they are gathered.

    Returns:
        One path a sample, for :func:`~clip2scene.distill.lifted.load_lifted`, in the order of ``paths``.

    Raises:
        ValueError: If the poses of a drive contradict what its clouds show.
    """
    moments_of = list(drives.values())
    key = {"format": FORMAT, **asdict(options), "poses": hash_poses(drives)}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = paths[0].parent / f"consolidated-{digest}"
    write_json(folder / "manifest.json", key)
    found = list(paths)
    for moments in moments_of:
        for moment in moments if len(moments) > 1 else ():
            found[moment.number] = folder / paths[moment.number].name
    with file_lock(folder / "lock"):
        missing = incomplete_drives(moments_of, found)
        work = partial(_consolidate_drive, moments_of, paths, found, viewpoint, options)
        parallel_for(work, missing, title="consolidate", unit="drive")
    return found


def incomplete_drives(drives: Sequence[Sequence[Moment]], files: Sequence[Path]) -> list[int]:
    """List the drives of which a moment's file is missing."""
    return [
        number
        for number, moments in enumerate(drives)
        if not all(files[moment.number].exists() for moment in moments)
    ]


def hash_poses(drives: Mapping[str, Sequence[Moment]]) -> str:
    """Hash where all samples were recorded, and when."""
    told = hashlib.sha256()
    for name, moments in drives.items():
        told.update(json.dumps([name, [[each.number, each.time_us] for each in moments]]).encode())
        told.update(torch.stack([each.drive_from_cloud for each in moments]).numpy().tobytes())
    return told.hexdigest()


def _consolidate_drive(
    drives: Sequence[Sequence[Moment]],
    paths: Sequence[Path],
    found: Sequence[Path],
    viewpoint: tuple[float, float, float],
    options: ConsolidateOptions,
    drive: int,
) -> None:
    """Let a drive's moments vote, then write what each of them learns from the votes."""
    moments = drives[drive]
    of_moment = [paths[moment.number] for moment in moments]
    classes = load_lifted(of_moment[0]).pair_logits.shape[1]
    gathered = gather_drive(
        moments,
        of_moment,
        lambda _, lifted: scores_of(lifted),
        columns=classes,
        viewpoint=viewpoint,
        place_size=options.place_size,
    )
    for moment, (_, shares) in zip(moments, gathered, strict=True):
        save_consolidated(found[moment.number], decide(shares, options.least_share))


def gather_drive(
    moments: Sequence[Moment],
    paths: Sequence[Path],
    scores: Callable[[int, LiftedSample], Float[Tensor, "points columns"]],
    *,
    columns: int,
    viewpoint: tuple[float, float, float],
    place_size: float,
) -> Iterator[tuple[LiftedSample, Float[Tensor, "points columns"]]]:
    """Let a drive's moments vote on its places.

    Args:
        moments: Of the drive, in order of time; two at least.
        paths: Their lifted samples.
        scores: Gives the scores of a moment's points, by its number among ``moments``; not negative, all zero
            where a point has no vote.
        columns: What is voted on.
        viewpoint: Where the lidar stands in the clouds' frame, in metres.
        place_size: Edge of a place, in metres.

    Yields:
        Each moment, and the shares of the votes on the place of each of its points, or on the point itself if
        it moves; the mean within each superpoint. They add up to 1, and to 0 where nobody voted.

    Raises:
        ValueError: If the poses contradict what the clouds show.
    """
    apart = find_moving(moments, paths, viewpoint)
    with PlaceVotes(place_size, columns) as votes:
        for number, (moment, path, moving) in enumerate(zip(moments, paths, apart, strict=True)):
            lifted = load_lifted(path)
            own = scores(number, lifted)
            voters = own.any(1) & ~moving
            votes.add(in_drive(moment, lifted)[voters], own[voters])
        for number, (moment, path, moving) in enumerate(zip(moments, paths, apart, strict=True)):
            lifted = load_lifted(path)
            on_place = votes.at(in_drive(moment, lifted))
            yield lifted, _shares(lifted, torch.where(moving[:, None], scores(number, lifted), on_place))


def _shares(lifted: LiftedSample, votes: Float[Tensor, "points columns"]) -> Float[Tensor, "points columns"]:
    """Share the votes on each point among the columns, then average within superpoints."""
    shares = votes / votes.sum(1, keepdim=True).clamp(min=torch.finfo(votes.dtype).tiny)
    return shares if lifted.superpoints is None else average_within(lifted.superpoints, shares)


def in_drive(moment: Moment, lifted: LiftedSample) -> Float64[Tensor, "points 3"]:
    """Bring a moment's points into the frame of its drive."""
    return transform_points(moment.drive_from_cloud, lifted.cloud.positions.double())


def scores_of(lifted: LiftedSample) -> Float[Tensor, "points classes"]:
    """Give each point the teacher's scores at its moment, the softmax of logits summed over cameras.

    Points of a superpoint share the mean over all of them. Where nobody saw any, scores are zero.
    """
    scores = lifted.summed_scores()
    return scores if lifted.superpoints is None else average_within(lifted.superpoints, scores)


def decide(shares: Float[Tensor, "points classes"], least_share: float) -> Int[Tensor, " points"]:
    """Give each point of a moment the class that its place, and its superpoint if it has one, agree on.

    Args:
        shares: Of the votes (:func:`gather_drive`).
        least_share: Share of the votes that the class must have.

    Returns:
        Train ids; ``IGNORE_LABEL`` where nobody voted, or no class has that share.
    """
    total, (most, labels) = shares.sum(1), shares.max(1)
    return torch.where((total > 0) & (most >= least_share * total), labels, IGNORE_LABEL)


def find_moving(
    moments: Sequence[Moment], paths: Sequence[Path], viewpoint: tuple[float, float, float]
) -> list[Bool[Tensor, " points"]]:
    """Find the points of each moment that move, and what is of one superpoint with enough of them.

    Args:
        moments: Of one drive, in order of time.
        paths: Their lifted samples.
        viewpoint: Where the lidar stands in their clouds' frame, in metres.

    Returns:
        A mask a moment.

    Raises:
        ValueError: If so much is seen through that the poses cannot be right.
    """
    free_at = lru_cache(NEIGHBOURS)(
        lambda number: free_space(read_keyframe(paths[number]), viewpoint=viewpoint)
    )
    found: list[Bool[Tensor, " points"]] = []
    shares: list[list[float]] = []
    for number, moment in enumerate(moments):
        lifted = load_lifted(paths[number])
        moved = torch.zeros(len(lifted.cloud), dtype=torch.bool)
        standing = _Standing(lifted.cloud.positions)
        shares.append([])
        for other in other_moments(moments, number):
            there_from_here = invert_rigid(moments[other].drive_from_cloud) @ moment.drive_from_cloud
            positions = transform_points(there_from_here, lifted.cloud.positions)
            gone = free_at(other).seen_through(positions)
            shares[-1].append(standing.share(gone))
            moved |= gone
        found.append(_with_superpoint(moved, lifted.superpoints))
    _check_poses(shares, [path.stem for path in paths])
    return found


class _Standing:
    """The places of a moment on which something stands; near things have more points there, not more places.

    Args:
        positions: Of the moment's points, in metres.
    """

    def __init__(self, positions: Float[Tensor, "points 3"]) -> None:
        self.points = height_above_ground(positions) > STANDS_M
        self.places = voxelize(positions[self.points], PLACE_M)[1]

    def share(self, gone: Bool[Tensor, " points"]) -> float:
        """Average the share of points that are gone over the places."""
        if not len(self.places):
            return 0.0
        counts = torch.bincount(self.places)
        return float((torch.bincount(self.places, weights=gone[self.points].double()) / counts).mean())


def _check_poses(shares: Sequence[Sequence[float]], names: Sequence[str]) -> None:
    """Refuse poses under which the moments of a drive see through each other's walls.

    Args:
        shares: Of the places on which something stands at each moment, how many each of some others sees
            through.
        names: Of the moments.
    """
    means = [sum(each) / len(each) for each in shares]
    worst = max(range(len(means)), key=lambda number: min(shares[number]))
    if max(sum(means) / len(means), min(shares[worst])) > MOST_SEEN_THROUGH:
        raise ValueError(
            f"the poses of the drive with sample {names[worst]} contradict its clouds: under them, other "
            f"moments see through {100 * sum(means) / len(means):.0f} % of all that stands there and "
            f"{100 * min(shares[worst]):.0f} % of this sample, expected at most "
            f"{100 * MOST_SEEN_THROUGH:.0f} %; correct the poses or the calibration between lidar and "
            "vehicle, or set --teacher.no-consolidate and no --teacher.also"
        )


def other_moments(moments: Sequence[Moment], number: int) -> list[int]:
    """Choose the moments of a drive that see what moved at one of them: about :data:`LOOKS_US` away."""
    times_us = torch.tensor([moment.time_us for moment in moments])
    wanted = times_us[number] + torch.tensor(LOOKS_US)
    nearest = (times_us[None] - wanted[:, None]).abs().argmin(1)
    return sorted(set(nearest.tolist()) - {number})


def _with_superpoint(
    moved: Bool[Tensor, " points"], superpoints: Int[Tensor, " points"] | None
) -> Bool[Tensor, " points"]:
    """Let all points of a superpoint move of which enough do, and none of another one."""
    if superpoints is None:
        return moved
    return average_within(superpoints, moved.float()[:, None])[:, 0] > MOVED
