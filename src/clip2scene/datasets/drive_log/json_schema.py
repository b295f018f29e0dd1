"""JSON checked by ``jsonschema``, with faults in the words of this package."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

_EXPECTED = {
    **{"type": "be of type {}", "oneOf": "be of type {}", "const": "be {}", "pattern": "match {}"},
    "enum": "be one of {}",
    **{"minimum": "be at least {}", "maximum": "be at most {}", "exclusiveMinimum": "be above {}"},
    **{"minItems": "have at least {} entries", "maxItems": "have at most {} entries"},
}


def find_fault(value: Any, schema: Mapping[str, Any]) -> str:  # noqa: ANN401
    """Check a JSON value against a JSON Schema (draft 2020-12), and say what is wrong with it.

    Numbers must be finite and fit a float, whole numbers must be written without a point, and the ``$`` of a
    pattern is the very end of a text.

    Args:
        value: What :func:`json.loads` returned.
        schema: What it should be.

    Returns:
        The most telling fault: its place, what was expected there and what was got. Empty without a fault.

    Example:
        >>> find_fault({"sizes": [1, "two"]}, {"properties": {"sizes": {"items": {"type": "integer"}}}})
        'sizes[1] should be of type integer, got "two"'
    """
    try:
        error = best_match(_Validator(schema).iter_errors(value))
        return "" if error is None else _say(error)
    except RecursionError:
        return "the file is nested too deeply"


def _say(error: ValidationError) -> str:
    where, limit, got = (
        error.json_path[1:].removeprefix(".") or "the file",
        error.validator_value,
        error.instance,
    )
    if error.validator == "required":
        return f"{where} lacks {', '.join(name for name in limit if name not in got)}"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        name = next(name for name in got if name not in known)
        return f"{where} has an unknown entry {name!r}, expected some of {', '.join(known)}"
    if error.validator == "oneOf":
        limit = " or ".join(choice["type"] for choice in limit)
    elif error.validator == "const":
        limit = json.dumps(limit)
    elif error.validator == "enum":
        limit = ", ".join(limit)
    shown = json.dumps(len(got) if error.validator.endswith("Items") else got)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"{where} should {_EXPECTED[error.validator].format(limit)}, got {shown}"


def _is_number(_: object, value: Any) -> bool:  # noqa: ANN401
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and _is_number(_, value)


def _match(_: object, pattern: str, value: object, __: object) -> Iterator[ValidationError]:
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError(f"no match for {pattern}")


_Validator = extend(
    Draft202012Validator,
    {"pattern": _match},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": _is_number, "integer": _is_integer}
    ),
)
