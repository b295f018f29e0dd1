import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip2scene.datasets.nuscenes import json_stream as module
from clip2scene.datasets.nuscenes.json_stream import json_rows

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=6)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@same_folder
@given(rows=ROWS, indent=st.sampled_from([None, 0, 2]), plain=st.booleans(), chunk=st.integers(1, 40))
def test_records_come_out_as_the_standard_library_reads_them_wherever_a_chunk_ends(
    rows, indent, plain, chunk, tmp_path
):
    path = tmp_path / "rows.json"
    path.write_bytes(json.dumps(rows, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", chunk)
        try:
            truth = json.loads(path.read_bytes().decode())
        except UnicodeDecodeError:  # half a pair of surrogates is no text
            with pytest.raises(ValueError, match="not valid JSON"):
                list(json_rows(path))
        else:
            assert list(json_rows(path)) == truth


def test_a_byte_order_mark_is_stepped_over(tmp_path):
    (tmp_path / "rows.json").write_bytes(b'\xef\xbb\xbf[{"a": 1}]')
    assert list(json_rows(tmp_path / "rows.json")) == [{"a": 1}]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_list_cut_short_anywhere_is_refused(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk)
    content = json.dumps([{"name": "Zürich", "place": [1.5, -2]}, {"name": ""}], ensure_ascii=False).encode()
    path = tmp_path / "rows.json"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"rows\.json is not valid JSON"):
            list(json_rows(path))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "expected a list"),
        (b'{"token": 1}', "expected a list"),
        (b"[1, 2]", "record 0: expected an object, got '1'"),
        (b'[{"a": 1}, "b"]', "record 1: expected an object"),
        (b"[null]", "null"),
        (b'[{"a": 1} {"a": 2}]', "expected ','"),
        (b'[{"a": 1},]', "not valid JSON"),
        (b'[,{"a": 1}]', "not valid JSON"),
        (b'[{"a": 1}] []', "something follows"),
        (b'[{"a": "\xff"}]', "not valid JSON"),
        (b"[]\xc3", "not valid JSON"),
        (b'[{"a": 1, "a": 2}]', "key 'a' stands twice"),
        (b"[" * 100_000, "not valid JSON"),
        (b'[{"a": ' + b"9" * 5000 + b"}]", "not valid JSON"),
    ],
)
def test_what_is_no_list_of_objects_is_refused(tmp_path, content, fault):
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"rows\.json.*{fault}"):
        list(json_rows(tmp_path / "rows.json"))


def test_a_broken_record_is_noticed_before_the_rest_of_a_large_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    monkeypatch.setattr(module, "MOST_RECORD_CHARACTERS", 1000)
    path = tmp_path / "rows.json"
    path.write_text('[{"a": nonsense, ' + '"b": 1, ' * 100_000)
    window = module._Window(path, module.progress_bar(disable=True))
    with window.file, pytest.raises(ValueError, match="not valid JSON"):
        window.open_list()
        window.next_value(first=True)
    assert len(window.text) < 2000


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.json is missing"):
        list(json_rows(tmp_path / "no.json"))
    with pytest.raises(ValueError, match="is a folder"):
        list(json_rows(tmp_path))
