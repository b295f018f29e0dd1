import pytest

from clip2scene.datasets.rigs.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1, 2]\nb: [*x, *x]\n", "it refers to parts of itself"),
        ("a: !!python/object/apply:os.system ['true']\n", "cannot be read as YAML .*it has the tag"),
        ("%YAML:1.0\nM: !!opencv-matrix\n   rows: 3\n", "OpenCV's own YAML is not read"),
        ("a: !!bool maybe\n", "it has the tag tag:yaml.org,2002:bool"),
        ("a: !!timestamp x\n", "it has the tag"),
        ("a: !!int ''\n", "it has the tag"),
        ("a: !!seq [1]\n", "it has the tag"),
        ("a: 2024-99-99\n", "cannot be read as YAML"),
        ("a: " + "1:" * 200 + "1.5\n", "cannot be read as YAML"),
        ("? [1]\n: 2\n", "cannot be read as YAML"),
        ("a: " + "1" * (1 << 18), "has 0.3 MB, which no calibration needs"),
        ("a: [1, 2\n", "cannot be read as YAML"),
        ("[1, 2]\n", "holds list, expected names with values"),
        ("", "holds NoneType"),
        ("a: " + "[" * 5000, "cannot be read as YAML"),
        ("\0", "cannot be read as YAML"),
    ],
)
def test_what_is_not_plain_is_refused_in_one_sentence(tmp_path, text, words):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_plain_values_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("cam0:\n  intrinsics: [1.5, 2]\n  name: 'front'\n")
    assert read_yaml(tmp_path / "a.yaml") == {"cam0": {"intrinsics": [1.5, 2], "name": "front"}}
