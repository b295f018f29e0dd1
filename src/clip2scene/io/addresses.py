"""Addresses of stores, told apart from folders and written without their secrets; names within a store."""

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SECRET = "***"


def protocol_of(address: str) -> str:
    """Give the protocol of an address in small letters; of a path without one, ``file``.

    Example:
        >>> protocol_of("s3://bucket/cache"), protocol_of("some/folder"), protocol_of("C:/folder")
        ('s3', 'file', 'file')
    """
    found = _SCHEME.match(address)
    return found.group(1).lower() if found else "file"


def without_secrets(address: str) -> str:
    """Write an address for messages: without user, password and query.

    Example:
        >>> without_secrets("sftp://me:hidden@host:22/cache?key=hidden#x"), without_secrets("s3://bucket/a")
        ('sftp://host:22/cache', 's3://bucket/a')
    """
    if protocol_of(address) == "file":
        return address
    scheme, _, rest = address.partition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    place, slash, path = rest.partition("/")
    if "@" in path and "@" not in place and ":" in place:  # a password with a slash in it
        place, slash, path = path.rpartition("@")[2].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def hide_secrets(text: str, address: str) -> str:
    """Take the secrets of an address out of what its driver says.

    Example:
        >>> hide_secrets("ftp://me:hidden@host failed: hidden is wrong", "ftp://me:hidden@host")
        'ftp://host failed: *** is wrong'
    """
    if protocol_of(address) == "file":
        return text
    text = text.replace(address, without_secrets(address))
    rest = address.partition("://")[2]
    secrets = [re.split(r"[?#]", rest, maxsplit=1)[0].rpartition("@")[0]]
    secrets += secrets[0].split(":", 1)[1:]
    try:
        query = urlsplit(address).query
    except ValueError:  # brackets that are no address of version 6
        query = rest.partition("?")[2]
    secrets += [query, *(part.partition("=")[2] for part in query.split("&"))]
    for secret in sorted((each for each in secrets if len(each) > 2), key=len, reverse=True):
        text = text.replace(secret, _SECRET)
    return text


def plain_name(name: str) -> str:
    """Give back a name within a store, if it cannot lead out of it: parts between single slashes.

    Example:
        >>> plain_name("claims/3.json")
        'claims/3.json'

    Raises:
        ValueError: If it is empty, absolute, or has empty parts, ``.``, ``..``, backslashes, colons or
            control characters.
    """
    parts = name.split("/")
    odd = any(character in "\\:" or ord(character) < 32 for character in name)
    if odd or any(part in ("", ".", "..") for part in parts) or PurePosixPath(name).is_absolute():
        raise ValueError(
            f"{name!r} is no name within a store; expected parts between single slashes, such as a/b.json, "
            "without .., backslashes and colons"
        )
    return name
