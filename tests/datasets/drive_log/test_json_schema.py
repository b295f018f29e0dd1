import json
from pathlib import Path

import pytest

from clip2scene.datasets.drive_log.json_schema import find_fault

SCHEMA = Path(__file__).resolve().parents[3] / "src" / "clip2scene" / "assets" / "drive-log.schema.json"
WHOLE = {
    "$defs": {
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "either": {"oneOf": [{"type": "array", "maxItems": 1}, {"type": "object", "required": ["x"]}]},
    }
}
NESTED = {"properties": {"b": {"items": {"type": "string"}}}}
CLOSED = {"properties": {"a": {}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        (3, {"type": "integer"}, ""),
        (3.0, {"type": "integer"}, "the file should be of type integer, got 3.0"),
        (True, {"type": "integer"}, "the file should be of type integer, got true"),
        (3, {"type": "number"}, ""),
        (float("inf"), {"type": "number"}, "the file should be of type number, got Infinity"),
        (10**400, {"type": "number"}, f"the file should be of type number, got 1{56 * '0'}..."),
        (float("nan"), {"type": "number"}, "the file should be of type number, got NaN"),
        ("abc", {"$ref": "#/$defs/name"}, ""),
        ("abc\n", {"$ref": "#/$defs/name"}, r'the file should match ^[a-z]+$, got "abc\n"'),
        (0, {"exclusiveMinimum": 0}, "the file should be above 0, got 0"),
        ("v2", {"const": "v1"}, 'the file should be "v1", got "v2"'),
        (True, {"const": 1}, "the file should be 1, got true"),
        ([1, 2], {"minItems": 3}, "the file should have at least 3 entries, got 2"),
        ([1, 2], {"$ref": "#/$defs/either"}, "the file should have at most 1 entries, got 2"),
        ({}, {"$ref": "#/$defs/either"}, "the file lacks x"),
        (None, {"$ref": "#/$defs/either"}, "the file should be of type array or object, got null"),
        ({"a": {"b": ["x", 1]}}, {"properties": {"a": NESTED}}, "a.b[1] should be of type string, got 1"),
        ({"a": 1, "c": 2}, CLOSED, "the file has an unknown entry 'c', expected some of a"),
        ({"a": 1}, {"additionalProperties": {"type": "string"}}, "a should be of type string, got 1"),
    ],
)
def test_values_are_as_described_or_the_fault_is_named(value, schema, fault):
    assert find_fault(value, schema, WHOLE) == fault


def test_a_keyword_that_would_not_be_checked_is_not_used():
    with pytest.raises(AssertionError, match="uniqueItems"):
        find_fault([], {"uniqueItems": True}, {})


def keywords(schema):
    """List every schema within a schema."""
    yield schema
    for part in (*schema.get("properties", {}).values(), *schema.get("oneOf", ()), schema.get("items")):
        if isinstance(part, dict):
            yield from keywords(part)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from keywords(schema["additionalProperties"])


def test_the_shipped_schema_uses_checked_keywords_alone_and_leads_nowhere_else():
    whole = json.loads(SCHEMA.read_text())
    for definition in whole["$defs"].values():
        for schema in keywords(definition):
            reference = schema.get("$ref", "#/$defs/name")
            assert reference.removeprefix("#/$defs/") in whole["$defs"]
            bare = {key: value for key, value in schema.items() if key not in ("$ref", "oneOf")}
            find_fault(None, bare, whole)  # asserts that keywords are known
