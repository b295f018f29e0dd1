"""What an ONNX file says of itself: all that is done with a cloud before and after the network."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

KEY = "clip2scene"
"""The name of this text among the metadata of the file."""
FORMAT = 1
"""Counts up when an older runner could no longer use a new file."""

_NEEDED: dict[str, type | tuple[type, ...]] = {
    **{"version": str, "run_hash": str, "network": str, "weights": str, "at_corners": bool},
    **{"voxel_size": float, "in_channels": int, "superpoint_mean": bool, "temperature": float},
    **{"level": bool, "height": str, "height_unit": float, "intensity": str, "viewpoint": list},
    **{"turns": dict, "names": list, "classes": list, "class_of_name": list, "stands_for": dict},
    **{"by_classifier": bool, "prompts": (list, type(None)), "background": (str, list)},
}


@dataclass(frozen=True)
class About:
    """What stands in the metadata of the file, as JSON.

    Attributes:
        version: Of clip2scene.
        run_hash: Fingerprint of the run's weights.
        network: The backbone's name.
        weights: How they are stored: float32, float16 or int8.
        at_corners: Whether the point branch is at the voxels' corners (SPVCNN of the released code).
        voxel_size: Edge of the finest voxels, in metres.
        in_channels: Features a point that the sensor measures.
        superpoint_mean: Whether logits are averaged within superpoints.
        temperature: What logits are divided by to make scores.
        level: Whether the cloud is brought level.
        height: The height as an input: none, sensor or ground.
        height_unit: In metres.
        intensity: value, quantile or none.
        viewpoint: Where the lidar stands in the clouds' frame, in metres.
        turns: By the name of a quality, the yaws in degrees at which a cloud is seen.
        names: Everything in the file that a point can be compared with: the names of the trained classes
            first, then further words.
        classes: The trained classes.
        class_of_name: Index of the class that each of the first names stands for.
        stands_for: By word, the cosine to each name (its index, as text) of the trained classes that the word
            stands for.
        by_classifier: Whether the labels of the trained classes are those of a classifier.
        prompts: What the file labels with unless asked otherwise; None for the trained classes.
        background: What a point may be beside them: trained, none, or words.
    """

    version: str
    run_hash: str
    network: str
    weights: str
    at_corners: bool
    voxel_size: float
    in_channels: int
    superpoint_mean: bool
    temperature: float
    level: bool
    height: str
    height_unit: float
    intensity: str
    viewpoint: list[float]
    turns: dict[str, list[float]]
    names: list[str]
    classes: list[str]
    class_of_name: list[int]
    stands_for: dict[str, dict[str, float]]
    by_classifier: bool
    prompts: list[str] | None
    background: str | list[str]

    def as_text(self) -> str:
        """Write it as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def read(cls, metadata: Mapping[str, str], path: str) -> "About":
        """Read the metadata of an ONNX file.

        Args:
            metadata: By name.
            path: The file, for messages.

        Raises:
            ValueError: If it is not of clip2scene, of another format, or damaged.
        """
        if KEY not in metadata:
            raise ValueError(
                f"{path} is an ONNX file, but none that clip2scene wrote; make one by clip2scene export-onnx"
            )
        try:
            found: dict[str, Any] = json.loads(metadata[KEY])
            number = found.pop("format")
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            raise ValueError(
                f"what {path} says of itself is damaged; export it again (clip2scene export-onnx RUN)"
            ) from None
        if number != FORMAT:
            raise ValueError(
                f"{path} is of format {number}, written by clip2scene {found.get('version', 'unknown')}, and "
                f"this one reads format {FORMAT}; export it again (clip2scene export-onnx RUN)"
            )
        lacking = [name for name, kind in _NEEDED.items() if not isinstance(found.get(name, ...), kind)]
        about = (
            None
            if lacking or not _hold_their_kinds(found)
            else cls(**{each.name: found[each.name] for each in fields(cls)})
        )
        if about is None or not about._is_whole():
            where = f" at {lacking[0]!r}" if lacking else ""
            raise ValueError(
                f"what {path} says of itself is damaged{where}; export it again (clip2scene export-onnx RUN)"
            )
        return about

    def _is_whole(self) -> bool:
        """Tell whether the parts fit each other."""
        try:
            named = len(self.class_of_name)
            others = {int(other) for each in self.stands_for.values() for other in each}
            angles = [degrees for turns in self.turns.values() for degrees in turns]
            cosines = [cosine for each in self.stands_for.values() for cosine in each.values()]
            sizes = [self.voxel_size, self.temperature, self.height_unit]
            return (
                set(self.class_of_name) == set(range(len(self.classes)))
                and named <= len(self.names)
                and set(self.stands_for) <= set(self.names)
                and others <= set(range(named))
                and {"low", "medium", "high"} == set(self.turns)
                and all(self.turns.values())
                and all(map(math.isfinite, [*angles, *cosines, *self.viewpoint, *sizes]))
                and len(self.viewpoint) == 3
                and min(sizes) > 0
                and self.height in ("none", "sensor", "ground")
                and self.intensity in ("value", "quantile", "none")
            )
        except (TypeError, ValueError, AttributeError):
            return False


def _hold_their_kinds(found: Mapping[str, Any]) -> bool:
    """Tell whether lists and tables hold what they should: texts, whole numbers, and others."""
    try:
        texts = [*found["names"], *found["classes"], *(found["prompts"] or ()), *found["background"]]
        cosines = [cosine for each in found["stands_for"].values() for cosine in each.values()]
        numbers = [
            *found["viewpoint"],
            *cosines,
            *(yaw for turns in found["turns"].values() for yaw in turns),
        ]
    except (TypeError, AttributeError):  # one that should hold others does not
        return False
    held = [(texts, str), (found["class_of_name"], int), (numbers, float)]
    return all(type(each) is kind for values, kind in held for each in values)
