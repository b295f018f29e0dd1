"""The tables of nuScenes v1.0 as toytown fills them: what every recording shares, tokens and chains."""

from hashlib import blake2b
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from clip2scene.classes.tables import NUSCENES, NUSCENES_CATEGORIES
from clip2scene.toytown.writers.recording import EXPOSURE_LEAD_US

VERSION = "v1.0-trainval"
"""Name of the folder of tables."""

ATTRIBUTES = (
    *("vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider"),
    *("pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving"),
)
VISIBILITIES = {"1": (0.4, "v0-40"), "2": (0.6, "v40-60"), "3": (0.8, "v60-80"), "4": (2.0, "v80-100")}
"""By token: the fraction of a box below which it is in the bin, and the bin's name."""

MOVING_M_S = 0.2

Tables = dict[str, list[dict[str, Any]]]


def fixed_tables() -> Tables:
    """Return the tables that are the same for every recording."""
    channels = {"LIDAR_TOP": "lidar", **dict.fromkeys(EXPOSURE_LEAD_US, "camera")}
    return {
        "category": [
            {"token": token_of(f"category/{name}"), "name": name, "description": name, "index": index}
            for index, name in enumerate(NUSCENES_CATEGORIES)
        ],
        "attribute": [
            {"token": token_of(f"attribute/{name}"), "name": name, "description": name} for name in ATTRIBUTES
        ],
        "visibility": [
            {"token": token, "level": level, "description": f"visibility of {level} percent"}
            for token, (_, level) in VISIBILITIES.items()
        ],
        "sensor": [
            {"token": token_of(f"sensor/{channel}"), "channel": channel, "modality": modality}
            for channel, modality in channels.items()
        ],
        "instance": [],
        "sample_annotation": [],
    }


def token_of(what: str) -> str:
    """Return the 32 hexadecimal digits that name a record; the same words give the same token."""
    return blake2b(what.encode(), digest_size=16).hexdigest()


def rigid_fields(a_from_b: Float[np.ndarray, "4 4"]) -> dict[str, list[float]]:
    """Write a rigid motion as nuScenes does: translation, and rotation as a quaternion w x y z."""
    x, y, z, w = Rotation.from_matrix(a_from_b[:3, :3]).as_quat().tolist()
    return {"translation": a_from_b[:3, 3].tolist(), "rotation": [w, x, y, z]}


def link(rows: list[dict[str, Any]], chain: str) -> None:
    """Set ``prev`` and ``next`` of rows in order of time; rows that agree in field ``chain`` form a chain."""
    last: dict[str, dict[str, Any]] = {}
    for row in rows:
        row["prev"], row["next"] = "", ""
        before = last.get(row[chain])
        if before is not None:
            before["next"], row["prev"] = row["token"], before["token"]
        last[row[chain]] = row


def attributes_of(label: int, speed: float) -> list[str]:
    """Name what a box does, in nuScenes' words."""
    name = NUSCENES.classes[label]
    if name in {"car", "bus", "truck", "trailer", "construction vehicle"}:
        return ["vehicle.moving" if speed > MOVING_M_S else "vehicle.parked"]
    if name in {"bicycle", "motorcycle"}:
        return ["cycle.with_rider" if speed > MOVING_M_S else "cycle.without_rider"]
    if name == "pedestrian":
        return ["pedestrian.moving" if speed > MOVING_M_S else "pedestrian.standing"]
    return []
