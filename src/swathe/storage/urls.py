"""Addresses of objects, as values: `s3://bucket/key`, and the file a mapped bucket keeps it in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from swathe.model.errors import AccessDenied, StorageError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_MAX_KEY_BYTES = 1024


@dataclass(frozen=True)
class ObjectUrl:
    """A bucket and a key in it. A folder's key ends without a slash; the bucket as a whole has the key ``""``."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def parse_object_url(url: str, *, folder: bool = False) -> ObjectUrl:
    """Takes `s3://bucket/key` apart. Keys are plain text: `%20` is those three characters, as in S3 itself.

    A slash at the end of a folder's address is dropped; an object's key has none. Keys with empty parts, `.` or `..`
    are refused: stores, proxies and file systems disagree about what they name.

    Raises:
        StorageError: it is no such address, or its bucket or key has a form that is refused.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme != "s3":
        raise StorageError(f"'{url}' is no s3:// address; write it like s3://bucket/folder/object")
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise StorageError(f"'{url}' has no usable bucket name; write it like s3://bucket/folder/object")
    if folder:
        key = key.removesuffix("/")
    if not key:
        if folder:
            return ObjectUrl(bucket, "")
        raise StorageError(f"'{url}' names a bucket, not an object in it; write it like s3://bucket/folder/object")
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY_BYTES:
        raise StorageError(f"'{url[:80]}…' has a key longer than {_MAX_KEY_BYTES} bytes, the most S3 allows")
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise StorageError(f"'{url}' has an empty part, '.' or '..' in its key, which is refused")
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in key):
        raise StorageError(f"'{url!r}' has a control character in its key, which is refused")
    return ObjectUrl(bucket, key)


def shown_url(url: str) -> str:
    """An address as it may be told: without the query and the password, which may be secret."""
    if "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in ("http", "https"):
        return url
    place, slash, path = rest.partition("#")[0].partition("?")[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def to_file(root: Path, url: ObjectUrl) -> Path:
    """The file of an object in a mapped bucket: `root/bucket/key`, symbolic links followed as far as they exist.

    Raises:
        AccessDenied: a symbolic link leads out of `root`.
    """
    home = root.resolve()
    path = (home / url.bucket / url.key).resolve() if url.key else (home / url.bucket).resolve()
    if not path.is_relative_to(home):
        raise AccessDenied(f"{url} leads out of the folder that holds this deployment's buckets")
    return path
