import pytest

from clip2scene.io.addresses import hide_secrets, plain_name, protocol_of, without_secrets


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://bucket/cache", "s3://bucket/cache"),
        ("s3://KEY:SECRET@bucket/cache", "s3://bucket/cache"),
        ("sftp://me:hid/den@host:22/a", "sftp://host:22/a"),
        ("ftp://me:p@ss@host/a@b", "ftp://host/a@b"),
        ("https://host/a?signature=SECRET", "https://host/a"),
        ("folder/a@b", "folder/a@b"),
    ],
)
def test_a_message_names_an_address_without_its_secrets(address, said):
    assert without_secrets(address) == said


def test_secrets_are_taken_out_of_what_a_driver_says():
    raw = "sftp://me:hidden@host/a?token=also-hidden"
    said = hide_secrets(f"cannot reach {raw}: hidden and also-hidden were refused", raw)
    assert "hidden" not in said and said.startswith("cannot reach sftp://host/a")
    assert hide_secrets("disk of /a is full", "/a") == "disk of /a is full"


def test_a_protocol_is_what_stands_before_two_slashes():
    found = [protocol_of(each) for each in ("S3://a", "a/b", "C:\\a", "file:///a", "memory://")]
    assert found == ["s3", "file", "file", "file", "memory"]


@pytest.mark.parametrize(
    "name", ["", "/a", "a//b", "a/../b", "..", "./a", "a/", "a\\b", "C:a", "a\nb", "s3://a"]
)
def test_a_name_that_may_lead_out_of_the_store_is_refused(name):
    with pytest.raises(ValueError, match="is no name within a store; expected parts between single slashes"):
        plain_name(name)
    assert plain_name("a/b..c/.d.json") == "a/b..c/.d.json"
