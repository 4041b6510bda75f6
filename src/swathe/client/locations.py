"""Where a job's documents lie, and reading them: S3, a folder in place of S3, or a plain folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from swathe.client.access import AccessSpecification
from swathe.client.types import JsonDict
from swathe.model.errors import AccessDenied, ObjectNotFound, StorageError, StoreUnavailable

_PLACEHOLDER = re.compile("(<ID>|<IDENTIFIER>)")
_STATUS = re.compile(r"status code: (\d{3})")
_LIST_CHUNK = 1000
# The hosted service means its own region where a bucket's is not given.
_HOSTED_REGION = "eu-central-1"
_RETRIES = 4
_WHOLE_ANSWER = "non-partial response"


@dataclass(frozen=True)
class DocumentLocation:
    """A store and the template of the documents' keys in it.

    `template` holds `<ID>`, `<IDENTIFIER>` or both; `root` is how the store is called in messages; `shared` is the folder
    in the store with what concerns all features, None for that of the documents.
    """

    store: S3Store | LocalStore
    template: str
    root: str
    shared: str | None = None

    @property
    def folder(self) -> str:
        """Where the data set and the polygons are, if there are any."""
        return self.template[: self.template.index("<")].rpartition("/")[0] if self.shared is None else self.shared

    def list_folder(self, name: str) -> list[tuple[str, int]]:
        """Keys in a folder beside the documents, and their sizes in bytes; none where there is no such folder."""
        place = f"{self.folder}/{name}".strip("/")
        try:
            chunks = obstore.list(self.store, prefix=place or None, chunk_size=_LIST_CHUNK)
            return sorted((entry["path"], entry["size"]) for chunk in chunks for entry in chunk)
        except FileNotFoundError:
            return []
        except (BaseError, OSError) as error:
            if isinstance(self._explain(error, place), ObjectNotFound):
                return []
            raise self._explain(error, place) from error

    def size_of(self, name: str) -> int | None:
        """The size in bytes of a file beside the documents, None where there is none."""
        key = self.key_beside(name)
        try:
            return int(obstore.head(self.store, key)["size"])
        except (BaseError, OSError) as error:
            explained = self._explain(error, key)
            if isinstance(explained, ObjectNotFound):
                return None
            raise explained from error

    def key_beside(self, name: str) -> str:
        """The key of a file beside the documents."""
        return f"{self.folder}/{name}".lstrip("/")

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes of an object; raises as `read` does."""
        try:
            return bytes(obstore.get_range(self.store, key, start=start, end=end))
        except (BaseError, OSError) as error:
            if _WHOLE_ANSWER in str(error):  # some stores know no ranges
                return self.read(key)[start:end]
            raise self._explain(error, key) from error

    def key_of(self, feature_id: int | str) -> str | None:
        """The key of a feature's document, None where the id alone does not tell it."""
        if "<IDENTIFIER>" in self.template:
            return None
        return self.template.replace("<ID>", str(feature_id))

    def list_keys(self) -> Iterator[tuple[str, str | None]]:
        """Keys that fit the template, each with the `<ID>` in it if the template has one, in the store's order."""
        pattern = _key_pattern(self.template)
        folder = self.template[: self.template.index("<")].rpartition("/")[0]
        try:
            for chunk in obstore.list(self.store, prefix=folder or None, chunk_size=_LIST_CHUNK):
                for entry in chunk:
                    if match := pattern.fullmatch(entry["path"]):
                        yield entry["path"], match.groupdict().get("id")
        except (BaseError, OSError) as error:
            raise self._explain(error, folder) from error

    def read(self, key: str) -> bytes:
        """The bytes of a document.

        Raises:
            ObjectNotFound: there is none.
            AccessDenied: the credentials may not read it.
            StoreUnavailable: the store does not answer.
        """
        try:
            return bytes(obstore.get(self.store, key).bytes())
        except (BaseError, OSError) as error:
            raise self._explain(error, key) from error

    def _explain(self, error: Exception, key: str) -> StorageError:
        place = f"{self.root}/{key}"
        # Errors of listings have no class of their own in obstore, only the status in their text.
        found = _STATUS.search(str(error))
        status = found.group(1) if found else ""
        if isinstance(error, NotFoundError | FileNotFoundError) or status == "404":
            return ObjectNotFound(f"there is no {place}; has the job written its results there?")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError) or status in (
            "401",
            "403",
        ):
            return AccessDenied(
                f"{place} may not be read with these credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to"
                " the right ones, or in Python pass `output=` with them"
            )
        if status == "301":
            return StorageError(
                f"the bucket of {place} lies in another region; set AWS_REGION to it, or in Python pass `output=` with it"
            )
        summary = str(error).partition("\n")[0]
        return StoreUnavailable(f"{place} cannot be read: {summary}")


def find_location(
    request_output: Mapping[str, Any],
    request_id: str,
    *,
    access: AccessSpecification | None = None,
    config: Any = None,
    endpoint_url: str | None = None,
    local_root: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> DocumentLocation:
    """The place to which a request's output specification sends its documents.

    Args:
        request_output: the `output` of the request.
        request_id: put in place of `<REQUEST_ID>`.
        access: specification with credentials; its URL counts only where the request has none.
        config: has AWS keys, perhaps.
        endpoint_url: of an S3 other than Amazon's.
        local_root: folder in which each bucket is a folder.
        folder: holds the documents, or a folder named by the request id that does.

    Raises:
        StorageError: the output is nothing that can be read from here.
        ObjectNotFound: the folder is not there.
    """
    if folder is not None:
        return _find_in_folder(Path(folder), request_id)
    own: JsonDict = dict(request_output.get("s3") or {})
    given: JsonDict = dict(access["s3"]) if access else {}
    url = own.get("url") or given.get("url")
    if not url:
        raise StorageError("the request names no S3 output; pass `folder=` or `output=` to say where its results are")
    template = _document_template(url, request_id)
    scheme, separator, rest = template.partition("://")
    if not separator or scheme == "file":
        path = template if not separator else rest
        shared = _shared_folder(url, request_id)
        return _open_folder(path, shared if not separator else shared.partition("://")[2])
    if scheme != "s3":
        raise StorageError(f"results at {scheme}:// cannot be read from here; copy them and pass `folder=`")
    bucket, _, key_template = rest.partition("/")
    if not bucket or {".", ".."} & set(rest.split("/")):
        raise StorageError(f"'{url}' is no S3 URL of the form s3://bucket/key")
    shared = _shared_folder(url, request_id).partition("://")[2].partition("/")[2]
    if local_root is not None:
        place = Path(local_root) / bucket
        return DocumentLocation(_local_store(place), key_template, str(place), shared)
    store = _s3_store(bucket, own=own, given=given, config=config, endpoint_url=endpoint_url)
    return DocumentLocation(store, key_template, f"s3://{bucket}", shared)


def find_address(
    address: str | os.PathLike[str],
    *,
    access: AccessSpecification | None = None,
    config: Any = None,
    endpoint_url: str | None = None,
    local_root: str | os.PathLike[str] | None = None,
) -> DocumentLocation:
    """The folder of a job's results by its address: `s3://bucket/folder`, `file:///folder` or a path.

    Args:
        address: of the folder that has the documents, the data set or both; or with `<ID>` and `<IDENTIFIER>`.
        access: has credentials; its URL does not count.
        config: has AWS keys, perhaps.
        endpoint_url: of an S3 other than Amazon's.
        local_root: folder in which each bucket is a folder.

    Raises:
        StorageError: it is nothing that can be read from here.
        ObjectNotFound: the folder is not there.
    """
    text = os.fspath(address).rstrip("/") or "/"
    if not _PLACEHOLDER.search(text):
        text = f"{text.rstrip('/')}/<ID>.json"
    place = find_location(
        {"s3": {"url": text}},
        "",
        access=access,
        config=config,
        endpoint_url=endpoint_url,
        local_root=local_root,
    )
    # An address names the folder itself: there is no request in it.
    return replace(place, shared=None)


def _document_template(url: str, request_id: str) -> str:
    """The URL of a document with `<ID>` and `<IDENTIFIER>` left open."""
    template = url.replace("<REQUEST_ID>", request_id)
    if _PLACEHOLDER.search(template):
        return template
    return f"{template.rstrip('/')}/{request_id}/<ID>.json"


def _shared_folder(url: str, request_id: str) -> str:
    """The URL of the folder with what concerns all features: that of all documents, one for each request."""
    if not _PLACEHOLDER.search(url):
        return _document_template(url, request_id).rpartition("/")[0]
    shared = _PLACEHOLDER.split(url, maxsplit=1)[0].rpartition("/")[0]
    if "<REQUEST_ID>" not in shared:
        shared += "/<REQUEST_ID>"
    return shared.replace("<REQUEST_ID>", request_id)


def _key_pattern(template: str) -> re.Pattern[str]:
    pattern, seen = "", set()
    for part in _PLACEHOLDER.split(template):
        if part not in ("<ID>", "<IDENTIFIER>"):
            pattern += re.escape(part)
        elif part in seen or part == "<IDENTIFIER>":
            pattern += "[^/]+"
        else:
            pattern += r"(?P<id>-?\d+)"
        seen.add(part)
    return re.compile(pattern)


def _find_in_folder(folder: Path, request_id: str) -> DocumentLocation:
    own = folder / request_id
    chosen = own if request_id and own.is_dir() else folder
    return _open_folder(f"{chosen}/<ID>.json")


def _open_folder(template: str, shared: str | None = None) -> DocumentLocation:
    folder = template[: template.index("<")].rpartition("/")[0]
    within = None if shared is None else shared[len(folder) :].strip("/")
    store = _local_store(Path(folder or "."))
    return DocumentLocation(store, template[len(folder) :].lstrip("/"), folder or ".", within)


def _local_store(folder: Path) -> LocalStore:
    if not folder.is_dir():
        raise ObjectNotFound(f"there is no folder {folder}; has the job written its results there?")
    return LocalStore(str(folder.resolve()))


def _s3_store(bucket: str, *, own: JsonDict, given: JsonDict, config: Any, endpoint_url: str | None) -> S3Store:
    endpoint = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    regions = (
        given.get("region"),
        own.get("region"),
        os.environ.get("AWS_REGION"),
        os.environ.get("AWS_DEFAULT_REGION"),
    )
    options: dict[str, Any] = {
        "region": next((region for region in regions if region), "us-east-1" if endpoint else _HOSTED_REGION),
        "client_options": {"allow_http": True},
        "retry_config": {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=60)},
    }
    if endpoint:
        options["endpoint"] = endpoint
        options["virtual_hosted_style_request"] = False
    keys = _find_keys(given, own, config)
    if keys:
        # A provider, since plain keys are mixed with a session token that the environment has for others.
        options["credential_provider"] = lambda: keys
    elif endpoint:
        options["skip_signature"] = True
    return S3Store(bucket, **options)


def _find_keys(given: JsonDict, own: JsonDict, config: Any) -> dict[str, Any] | None:
    """The nearest complete pair of keys; None leaves it to the machine's role, if it has one."""
    sources = [(place.get("accessKey"), place.get("secretAccessKey"), None) for place in (given, own)]
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    sources.append((*(getattr(config, name, None) for name in names),))  # type: ignore[arg-type]
    sources.append((*(os.environ.get(name.upper()) for name in names),))  # type: ignore[arg-type]
    for access_key, secret_key, token in sources:
        if access_key and secret_key:
            keys = {"access_key_id": access_key, "secret_access_key": secret_key, "token": token or None}
            return {**keys, "expires_at": None}
    return None
