"""JSON checked against a schema: as much of JSON Schema (2020-12) as the schemas of this package use."""

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
}
_KNOWN = {
    *("$ref", "oneOf", "type", "const", "properties", "required", "additionalProperties", "items"),
    *("minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "pattern", "description"),
}


def find_fault(value: Any, schema: Mapping[str, Any], whole: Mapping[str, Any], where: str = "") -> str:  # noqa: ANN401
    """Say what is wrong with a JSON value.

    Numbers must be finite and fit a float, and whole numbers must be written without a point.

    Args:
        value: What :func:`json.loads` returned.
        schema: What it should be.
        whole: The document that ``schema`` is part of, for ``$ref``.
        where: Where in the file the value stands.

    Returns:
        The first fault and its place, or nothing.

    Example:
        >>> find_fault({"sizes": [1, "two"]}, {"properties": {"sizes": {"items": {"type": "integer"}}}}, {})
        'sizes[1] should be of type integer, got "two"'
    """
    unknown = set(schema) - _KNOWN
    assert not unknown, f"the schema has keywords that are not checked: {unknown}"
    where = where or "the file"
    fault = ""
    if "$ref" in schema:
        fault = find_fault(value, _resolve(schema["$ref"], whole), whole, where)
    if not fault and "oneOf" in schema:
        fault = _fault_of_choice(value, schema["oneOf"], whole, where)
    if not fault and "type" in schema and not _is_of(value, schema["type"]):
        fault = f"{where} should be of type {schema['type']}, got {_shown(value)}"
    if not fault and "const" in schema and (value != schema["const"] or isinstance(value, bool)):
        fault = f"{where} should be {_shown(schema['const'])}, got {_shown(value)}"
    if fault:
        return fault
    if isinstance(value, dict):
        return _fault_of_object(value, schema, whole, where)
    if isinstance(value, list):
        return _fault_of_array(value, schema, whole, where)
    return _fault_of_scalar(value, schema, where)


def _resolve(reference: str, whole: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = whole
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def _is_of(value: Any, kind: str) -> bool:  # noqa: ANN401
    finite = not isinstance(value, int | float) or abs(value) <= sys.float_info.max
    return isinstance(value, _TYPES[kind]) and not isinstance(value, bool) and finite


def _shown(value: Any) -> str:  # noqa: ANN401
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fault_of_choice(
    value: Any,  # noqa: ANN401
    choices: list[Mapping[str, Any]],
    whole: Mapping[str, Any],
    where: str,
) -> str:
    """Judge a value by the one alternative that has its type."""
    for choice in choices:
        if _is_of(value, choice["type"]):
            return find_fault(value, choice, whole, where)
    kinds = " or ".join(choice["type"] for choice in choices)
    return f"{where} should be of type {kinds}, got {_shown(value)}"


def _fault_of_object(
    value: dict[str, Any], schema: Mapping[str, Any], whole: Mapping[str, Any], where: str
) -> str:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    lacking = [name for name in schema.get("required", ()) if name not in value]
    if lacking:
        return f"{where} lacks {', '.join(lacking)}"
    prefix = "" if where == "the file" else f"{where}."
    for name, part in value.items():
        if name not in properties and others is False:
            return f"{where} has an unknown entry {name!r}, expected some of {', '.join(properties)}"
        expected = properties.get(name, {} if others is True else others)
        fault = find_fault(part, expected, whole, f"{prefix}{name}")
        if fault:
            return fault
    return ""


def _fault_of_array(value: list[Any], schema: Mapping[str, Any], whole: Mapping[str, Any], where: str) -> str:
    fewest, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if not fewest <= len(value) <= most:
        bound = f"at least {fewest}" if len(value) < fewest else f"at most {most}"
        wanted = f"{fewest}" if fewest == most else bound
        return f"{where} should have {wanted} entries, got {len(value)}"
    if "items" in schema:
        for number, part in enumerate(value):
            fault = find_fault(part, schema["items"], whole, f"{where}[{number}]")
            if fault:
                return fault
    return ""


def _fault_of_scalar(value: Any, schema: Mapping[str, Any], where: str) -> str:  # noqa: ANN401
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):
            return f"{where} should match {schema['pattern']}, got {_shown(value)}"
    elif isinstance(value, int | float):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if not low <= value <= high:
            return f"{where} should lie in {low}..{high}, got {_shown(value)}"
        if value <= schema.get("exclusiveMinimum", -math.inf):
            return f"{where} should be above {schema['exclusiveMinimum']}, got {_shown(value)}"
    return ""
