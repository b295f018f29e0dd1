import json

import pytest
from jsonschema import Draft202012Validator

from clip2scene.datasets.drive_log import json_schema
from clip2scene.datasets.drive_log.files import SCHEMA
from clip2scene.datasets.drive_log.json_schema import find_fault

DEFINITIONS = {
    "name": {"type": "string", "pattern": "^[a-z]+$"},
    "either": {"oneOf": [{"type": "array", "maxItems": 1}, {"type": "object", "required": ["x"]}]},
}


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        (3, {"type": "integer"}, ""),
        (3.0, {"type": "integer"}, "the file should be of type integer, got 3.0"),
        (True, {"type": "number"}, "the file should be of type number, got true"),
        (float("inf"), {"type": "number"}, "the file should be of type number, got Infinity"),
        (10**400, {"type": "number"}, f"the file should be of type number, got 1{56 * '0'}..."),
        (float("nan"), {"type": "number"}, "the file should be of type number, got NaN"),
        ("abc", {"$ref": "#/$defs/name"}, ""),
        ("abc\n", {"$ref": "#/$defs/name"}, r'the file should match ^[a-z]+$, got "abc\n"'),
        (0, {"exclusiveMinimum": 0}, "the file should be above 0, got 0"),
        (9, {"maximum": 8}, "the file should be at most 8, got 9"),
        (True, {"const": 1}, "the file should be 1, got true"),
        ("v2", {"const": "v1"}, 'the file should be "v1", got "v2"'),
        ([1, 2], {"$ref": "#/$defs/either"}, "the file should have at most 1 entries, got 2"),
        ({}, {"$ref": "#/$defs/either"}, "the file lacks x"),
        (None, {"$ref": "#/$defs/either"}, "the file should be of type array or object, got null"),
        ({"a": [{"b": 1}]}, {"properties": {"a": {"items": {"properties": {"b": {"type": "string"}}}}}},
         "a[0].b should be of type string, got 1"),
        ({"a": 1, "c": 2}, {"properties": {"a": {}}, "additionalProperties": False},
         "the file has an unknown entry 'c', expected some of a"),
        ({"a": 1}, {"additionalProperties": {"type": "string"}}, "a should be of type string, got 1"),
    ],
)  # fmt: skip
def test_json_is_as_described_or_the_fault_is_named_with_its_place(value, schema, fault):
    assert find_fault(value, {"$defs": DEFINITIONS, **schema}) == fault


def test_deep_nesting_is_a_fault_and_no_crash():
    schema = {"$defs": {"deep": {"items": {"$ref": "#/$defs/deep"}}}, "$ref": "#/$defs/deep"}
    value = json.loads("[" * 500 + "]" * 500)
    assert find_fault(value, schema) == "the file is nested too deeply"


def test_the_shipped_schema_is_one_and_its_keywords_all_have_words():
    whole = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(whole)

    def keywords(schema):
        yield from schema
        parts = [*schema.get("properties", {}).values(), *schema.get("oneOf", ())]
        for part in (*parts, schema.get("items"), schema.get("additionalProperties")):
            yield from keywords(part) if isinstance(part, dict) else ()

    used = {keyword for definition in whole["$defs"].values() for keyword in keywords(definition)}
    silent = {"description", "properties", "items", "$ref", "required", "additionalProperties"}
    assert used - silent <= set(json_schema._EXPECTED)
