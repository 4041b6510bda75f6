"""Writing results where the request asked for them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.model.common import S3Place
from swathe.model.errors import RequestInvalid
from swathe.settings import StorageSettings

if TYPE_CHECKING:
    from swathe.engine.values import Document, Table
    from swathe.storage import Credentials, ObjectStores

PARAMETER = "output->s3->url"
# The data set of all statistics, a part for each unit, and the features' polygons beside it.
TABLES = "statistics"
GEOMETRY = "geometry.parquet"
_PART = re.compile(r"part-(\d{5,})\.parquet")
_PLACEHOLDER = re.compile(r"<([^<>]*)>")
_KNOWN = ("REQUEST_ID", "ID", "IDENTIFIER")
# What would change the path, or a name that another escaped identifier has.
_ESCAPED = re.compile(r"[/\\%\x00-\x1f\x7f\ud800-\udfff]")
_MAX_NAME_BYTES = 180


@dataclass(frozen=True)
class ResultNames:
    """Where the result of each feature goes: a URL with `<REQUEST_ID>`, `<ID>` and `<IDENTIFIER>` in it."""

    template: str

    @classmethod
    def from_url(cls, url: str) -> ResultNames:
        """The template of an output URL; a URL without placeholders is a folder, `<url>/<request id>/<id>.json`.

        Raises:
            RequestInvalid: the URL has an unknown placeholder, or none that tells features apart.
        """
        names = _PLACEHOLDER.findall(url)
        if not names:
            return cls(f"{url.rstrip('/')}/<REQUEST_ID>/<ID>.json")
        unknown = [name for name in names if name not in _KNOWN]
        if unknown:
            known = ", ".join(f"<{name}>" for name in _KNOWN)
            raise RequestInvalid(f"<{unknown[0]}> is no placeholder of a result's name; use {known}", PARAMETER)
        if "ID" not in names and "IDENTIFIER" not in names:
            raise RequestInvalid(
                "a template must hold <ID> or <IDENTIFIER>, or all features would have the same name", PARAMETER
            )
        if any(name in url.split("://", 1)[-1].split("/", 1)[0] for name in ("<", ">")):
            raise RequestInvalid("placeholders belong into the key, not into the bucket's name", PARAMETER)
        return cls(url)

    @property
    def folder(self) -> str:
        """The part before the first placeholder that is the same for all results, without a slash at its end."""
        return self.template.split("<", 1)[0].rsplit("/", 1)[0]

    def common_folder(self, request_id: str) -> str:
        """Where what concerns all features goes: the folder that all results share, one for each request."""
        shared = re.split("<(?:ID|IDENTIFIER)>", self.template, maxsplit=1)[0].rsplit("/", 1)[0]
        if "<REQUEST_ID>" not in shared:
            shared += "/<REQUEST_ID>"
        return shared.replace("<REQUEST_ID>", request_id)

    def url(self, request_id: str, feature_id: int, identifier: str | None) -> str:
        """The URL of one result. A feature without an identifier goes by its id."""
        values = {
            "REQUEST_ID": request_id,
            "ID": str(feature_id),
            "IDENTIFIER": escape_name(identifier) if identifier else str(feature_id),
        }
        return _PLACEHOLDER.sub(lambda match: values[match.group(1)], self.template)


@dataclass(frozen=True)
class Delivery:
    """Writes documents to a job's output place. Travels to workers; the keys in `place` show in no `repr`."""

    storage: StorageSettings = field(repr=False)
    place: S3Place = field(repr=False)
    request_id: str

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("storage", "place", "request_id")}

    @cached_property
    def names(self) -> ResultNames:
        """Where each result goes."""
        return ResultNames.from_url(self.place.url)

    @cached_property
    def _stores(self) -> ObjectStores:
        from swathe.storage import ObjectStores

        return ObjectStores(self.storage)

    @cached_property
    def _credentials(self) -> Credentials | None:
        from swathe.storage import from_place

        return from_place(self.place, self.storage)

    def url(self, document: Document) -> str:
        """Where a document goes."""
        return self.names.url(self.request_id, document.feature_id, document.identifier)

    def write(self, documents: Sequence[Document]) -> None:
        """Puts the documents; each appears whole or not at all, and replaces one of an earlier attempt.

        Raises:
            StorageError: the store did not take one of them.
        """
        items = ((self.url(document), document.data) for document in documents)
        self._stores.write_many(items, credentials=self._credentials)

    @cached_property
    def folder(self) -> str:
        """The URL of the folder with what concerns all features: the data set, the execution database."""
        return self.names.common_folder(self.request_id)

    def write_table(self, table: Table) -> None:
        """Puts a part of the data set, `statistics/part-<unit>.parquet`; as whole as a document.

        Raises:
            StorageError: the store did not take it.
        """
        url = f"{self.folder}/{TABLES}/{part_name(table.index)}"
        self._stores.write(url, table.data, credentials=self._credentials)

    def keep_tables(self, units: Collection[int]) -> None:
        """Removes the parts of all other units: attempts of one that was split since, or of an earlier plan.

        Raises:
            StorageError: the store does not list or delete.
        """
        for url in self._stores.list_keys(f"{self.folder}/{TABLES}/", credentials=self._credentials):
            index = part_index(url.rsplit("/", 1)[-1])
            if index is not None and index not in units:
                self._stores.delete(url, credentials=self._credentials)

    def upload(self, name: str, file: Path) -> None:
        """Puts a file of this machine into the folder of what concerns all features, in bounded memory.

        Raises:
            StorageError: the store did not take it, or the file cannot be read.
        """
        self._stores.upload(f"{self.folder}/{name}", file, credentials=self._credentials)

    def check(self) -> None:
        """Finds out before the work whether the output place can be written to.

        Raises:
            StorageError: it cannot.
        """
        self._stores.check_writable(self.names.folder, credentials=self._credentials)


def part_name(unit: int) -> str:
    """The name of a unit's part of the data set."""
    return f"part-{unit:05}.parquet"


def part_index(name: str) -> int | None:
    """The unit whose part has this name, or None where it is no part."""
    match = _PART.fullmatch(name)
    return int(match.group(1)) if match else None


def escape_name(identifier: str) -> str:
    """An identifier as one part of a key: it can neither leave its folder nor take another identifier's name."""
    name = _ESCAPED.sub(lambda match: "".join(f"%{byte:02X}" for byte in _bytes(match.group())), identifier)
    if name in (".", ".."):
        name = name.replace(".", "%2E")
    if len(_bytes(name)) > _MAX_NAME_BYTES:
        digest = hashlib.sha256(_bytes(identifier)).hexdigest()
        name = _bytes(name)[:100].decode("utf-8", "ignore") + "%" + digest
    return name


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
