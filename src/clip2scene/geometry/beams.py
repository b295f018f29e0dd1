"""How far apart a lidar's beams are, read off one of its clouds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

ENOUGH = 200  # gaps, below which a median says little
COLUMN, WEDGE = 0.5, 10.0  # degrees; holds a firing or some, and many
SAMPLE = 20_000  # points are enough, in whole wedges of a larger cloud
_APART = 1000.0  # degrees between groups; more than any gap within one


class BeamSpacing(NamedTuple):
    """The usual gap between neighbouring returns, in degrees.

    Attributes:
        across: Between two firings.
        down: Between two rings.
    """

    across: float
    down: float


def beam_spacing(
    azimuth: Float[np.ndarray, " points"], elevation: Float[np.ndarray, " points"]
) -> BeamSpacing | None:
    """Estimate the gaps between rings and between firings: the medians of what lies between neighbours.

    Neither ring numbers nor an order of the points are needed, and rings may be unevenly spaced, or bent by
    the vehicle's motion. In a cloud of several sweeps the gaps are those of all together.

    Args:
        azimuth: Of each return from where the lidar stands, in degrees.
        elevation: The same.

    Returns:
        None if there are too few neighbours to tell.
    """
    every = max(1, len(azimuth) // SAMPLE)
    if every > 1:
        kept = np.floor((azimuth - azimuth.min()) / WEDGE) % every == 0
        azimuth, elevation = azimuth[kept], elevation[kept]
    down = _usual_gap(azimuth / COLUMN, elevation, least=0.08)
    if down is None:
        return None
    across = _usual_gap(elevation / (down / 2), azimuth, least=0.02)
    return None if across is None else BeamSpacing(across, down)


def _usual_gap(
    groups: Float[np.ndarray, " points"], angles: Float[np.ndarray, " points"], *, least: float
) -> float | None:
    """Give the median gap between neighbours of a group, of those wider than ``least``, in degrees."""
    gaps = np.diff(np.sort(np.floor(groups) * _APART + angles))
    gaps = gaps[(gaps > least) & (gaps < _APART / 2)]
    return float(np.median(gaps)) if len(gaps) >= ENOUGH else None
