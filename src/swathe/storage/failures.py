"""What an object store's refusals mean, in our words.

The library's texts are never passed on: they hold debug output, and a store's XML answer may repeat the access key.
Only a store's error code (`NoSuchBucket`, `SignatureDoesNotMatch`) is taken from them, by name.
"""

from __future__ import annotations

import re

from obstore import exceptions as store_errors

from swathe.model.errors import AccessDenied, ObjectNotFound, StorageError, StoreUnavailable

_CODE = re.compile(r"<Code>([A-Za-z]{3,64})</Code>")
_STATUS = re.compile(r"(?:status code:|status client error \(|status server error \() ?(\d{3})")
_BUSY_CODES = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Busy", "TooManyRequests"}
_KEY_CODES = {
    "InvalidAccessKeyId": "the access key is not known there; check it and the endpoint",
    "SignatureDoesNotMatch": "the secret access key does not belong to the access key; give the one that does",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; give its region",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "ExpiredToken": "the keys have expired; give new ones",
    "AccessDenied": "the keys do not allow it; allow it in the bucket's policy, or use other keys",
    "PermanentRedirect": "the bucket lies in another region; give its region",
}


def explain(error: Exception, url: str, doing: str) -> StorageError:
    """The error to raise for what the store library raised while `doing` ("read", "written", …) `url`."""
    text = str(error)
    code = match.group(1) if (match := _CODE.search(text)) else ""
    status = int(match.group(1)) if (match := _STATUS.search(text)) else 0
    if code == "NoSuchBucket":
        bucket = url.split("/")[2] if url.count("/") > 1 else url
        return ObjectNotFound(f"{url} cannot be {doing}: there is no bucket '{bucket}'; make it first")
    if isinstance(error, FileNotFoundError) or status == 404:
        return ObjectNotFound(f"{url} cannot be {doing}: there is no such object")
    denied = isinstance(error, store_errors.PermissionDeniedError | store_errors.UnauthenticatedError)
    if denied or code in _KEY_CODES or status in (301, 307, 401, 403):
        reason = _KEY_CODES.get(code, "the store refuses it; check the keys and what they may do")
        return AccessDenied(f"{url} cannot be {doing}: {reason}" + (f" ({code or status})" if code or status else ""))
    if code == "InvalidRange" or status == 416:
        return StorageError(f"{url} cannot be {doing}: it ends before the part that is asked for")
    if code in _BUSY_CODES or status >= 500 or status in (408, 429):
        return StoreUnavailable(f"{url} cannot be {doing} now: the store is busy or ill ({code or status})")
    if status:
        return StorageError(f"{url} cannot be {doing}: the store answers {code or status}")
    if isinstance(error, store_errors.NotSupportedError) or "source: NotPartial" in text:
        return StorageError(f"{url} cannot be {doing}: the store does not answer requests for parts of an object")
    if isinstance(error, ValueError | store_errors.InvalidPathError):
        return StorageError(f"{url} cannot be {doing}: the address has a form that the store cannot use")
    if "source: Header" in text:
        return StorageError(f"{url} cannot be {doing}: what answers there is no object store (its headers are wrong)")
    if "builder error" in text or "URL scheme is not allowed" in text:
        return StorageError(f"{url} cannot be {doing}: the deployment's storage.endpoint_url is no usable address")
    if "kind: Timeout" in text:
        return StoreUnavailable(f"{url} cannot be {doing} now: the store did not answer in time")
    return StoreUnavailable(f"{url} cannot be {doing} now: the store does not answer")


def explain_status(status: int, url: str, doing: str) -> StorageError:
    """The error to raise for what a web server answers."""
    if status in (404, 410):
        return ObjectNotFound(f"{url} cannot be {doing}: there is no such object")
    if status in (401, 403):
        return AccessDenied(f"{url} cannot be {doing}: the server refuses it ({status})")
    if status == 416:
        return StorageError(f"{url} cannot be {doing}: it ends before the part that is asked for")
    if status >= 500 or status in (408, 429):
        return StoreUnavailable(f"{url} cannot be {doing} now: the store is busy or ill ({status})")
    return StorageError(f"{url} cannot be {doing}: the server answers {status}")


def explain_file(error: OSError, url: str, doing: str) -> StorageError:
    """The error to raise for what the file system said about a mapped bucket's object."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return ObjectNotFound(f"{url} cannot be {doing}: there is no such object")
    if isinstance(error, PermissionError):
        return AccessDenied(f"{url} cannot be {doing}: the folder's permissions do not allow it")
    return StoreUnavailable(f"{url} cannot be {doing} now: {error.strerror or 'the file system failed'}")
