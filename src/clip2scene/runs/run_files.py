"""The JSON files of a run's folder and of a table of runs, checked when they are read."""

from pathlib import Path
from typing import Any

from clip2scene.config import Recipe, from_dict
from clip2scene.io import in_a_sentence, read_json

_TEXT, _WHOLE, _FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_TEXTS, _PERHAPS = {"type": "array", "items": _TEXT}, {"type": ["number", "null"]}


def _entries(required: dict[str, Any], **optional: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of a schema
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _each(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": value}


_SCORES = _entries({"miou": _PERHAPS}, iou=_each(_PERHAPS))
_POINTS = {"type": ["object", "null"], "additionalProperties": _WHOLE}
_SUBSET = _entries(
    {
        **{"units": _TEXTS, "tokens": _TEXTS, "held_out": _TEXTS},
        **{"points": _POINTS, "draw": {"type": "integer"}},
    }
)
_START = _entries({"sha256": _TEXT, "knows_words": _FLAG, "classes": _TEXTS}, origin=_TEXT)
_SHARES = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}}
_CALL = _entries({"command": _TEXT, "workers": _WHOLE, "seconds": {"type": "number"}})
_COST = _entries(
    {"work": _TEXT, "stages": _each({"type": "number", "minimum": 0})},
    **{
        "call": _TEXT,
        "command": _TEXT,
        "date": _TEXT,
        "machine": _TEXT,
        "instructions": _TEXT,
        "commit": _TEXT,
    },
    **{"steps": {"type": "array", "items": _WHOLE, "maxItems": 2}, "versions": _each(_TEXT)},
    **{"memory_peak": _PERHAPS, "gpu_memory_peak": _PERHAPS},
)
_SENT = _entries({"sent": _WHOLE, "key": _TEXT})
_CHANNELS = {"type": "integer", "minimum": 0, "maximum": 65536}
_SCHEMAS: dict[str, Any] = {
    "prompts.json": _entries({"classes": _TEXTS, "names": _TEXTS}),
    "labels.json": _entries(
        {"fingerprint": _TEXT, "subset": _SUBSET}, seen_by_hash=_each(_TEXT), corrections=_TEXT
    ),
    "sources.json": _entries(
        {
            "teacher_weights": {"type": ["string", "null"]},
            "data_root": _TEXT,
            "num_samples": _WHOLE,
            "in_channels": _CHANNELS,
            "teacher_hash": _TEXT,
        },
        **{"text_space": _TEXT, "pixel_channels": _CHANNELS, "backbone_hash": _TEXT, "start": _START},
        **{
            "versions": {"type": "object"},
            "inputs": _TEXT,
            "seal": _TEXT,
            "proxy": _TEXT,
            "proxy_hash": _TEXT,
            "also": _TEXTS,
            "second_round": _entries({"sha256": _TEXT}, origin=_TEXT),
        },
    ),
    "choice.json": _each({"type": "number"}),
    "teachers.json": _entries({"teachers": {"type": "array", "items": _entries({"weights": _SHARES})}}),
    "confidence.json": _entries({"temperature": {"type": "number", "minimum": 0.01, "maximum": 100}}),
    "metrics.json": _entries({"split": _TEXT, "columns": _each(_SCORES)}, classes=_TEXTS),
    "done.json": _entries({"minutes": _PERHAPS, "machine": _TEXT, "versions": _each(_TEXT), "date": _TEXT}),
    "cost.json": _entries({"calls": {"type": "array", "items": _COST}}),
    "sinks.json": _each(_SENT),
    "calls.json": {"type": "array", "items": _CALL},
    "unfinished.json": _entries({"files": _TEXTS}),
}
"""What is relied on, by the name of the file; more may be in them."""


def read_run_json(path: Path) -> Any:  # noqa: ANN401 - as its schema says
    """Read a JSON file of a run or a table, and check what is relied on.

    Args:
        path: Its name is one of those of :data:`_SCHEMAS`.

    Raises:
        ValueError: If it is missing, no JSON, or lacks something; the message names it.
    """
    from clip2scene.datasets.drive_log.json_schema import find_fault  # jsonschema takes a while to import

    content = read_json(path)
    fault = find_fault(content, _SCHEMAS[path.name])
    if fault:
        raise ValueError(f"{path} is not what was written: {fault}; restore it, or train anew")
    return content


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe of a run.

    Raises:
        ValueError: If it is missing or damaged, or has settings that this version does not know.
    """
    path = folder / "recipe.json"
    content = read_json(path)
    try:
        return from_dict(content)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} holds no recipe: {in_a_sentence(error)}") from None
