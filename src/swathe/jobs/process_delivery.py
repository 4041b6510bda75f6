"""Where the images of a batch request go, and what lies beside them: manifest, execution database, the request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.jobs.delivery import escape_name
from swathe.jobs.execution import database_name
from swathe.model.process_output import RasterOutput, Response
from swathe.model.process_zarr import ZarrOutput
from swathe.settings import StorageSettings

if TYPE_CHECKING:
    from swathe.storage import Credentials, ObjectStores

# So many addresses are asked for one by one; for more, what is there is listed once.
_ASKED_SINGLY = 64


def request_name(request_id: str) -> str:
    """What the request is called in the output folder."""
    return f"request-{request_id}.json"


@dataclass(frozen=True)
class ProcessDelivery:
    """Writes the results of a batch request. Travels to workers; the keys in `output` show in no `repr`."""

    storage: StorageSettings = field(repr=False)
    output: RasterOutput | ZarrOutput = field(repr=False)
    request_id: str

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("storage", "output", "request_id")}

    @cached_property
    def stores(self) -> ObjectStores:
        """The object stores."""
        from swathe.storage import ObjectStores

        return ObjectStores(self.storage)

    @cached_property
    def credentials(self) -> Credentials | None:
        """The keys that the request brought."""
        from swathe.storage import from_place

        return from_place(self.output.delivery.s3, self.storage)

    @property
    def folder(self) -> str:
        """The URL of the folder with what concerns all images; with Zarr, the group."""
        if isinstance(self.output, ZarrOutput):
            return self.output.address(self.request_id)
        return self.output.root.replace("<requestId>", self.request_id)

    def address(self, identifier: str, response: Response) -> str:
        """Where a response of a tile goes; with Zarr, the group."""
        if isinstance(self.output, ZarrOutput):
            return self.folder
        return self.output.address(self.request_id, escape_name(identifier), response)

    @property
    def own_names(self) -> tuple[str, ...]:
        """Files of the job in its folder that are no results."""
        from swathe.jobs.process_manifest import manifest_name

        return (
            manifest_name(self.request_id),
            database_name(self.request_id),
            request_name(self.request_id),
            ".swathe-write-check",
        )

    @property
    def is_of_its_own(self) -> bool:
        """Whether no other request has the same addresses."""
        return isinstance(self.output, RasterOutput) and "<requestId>" in self.output.template

    def check(self) -> None:
        """Finds out before the work whether the output place can be written to.

        Raises:
            StorageError: it cannot.
        """
        self.stores.check_writable(self.folder, credentials=self.credentials)

    def existing(self, addresses: Iterable[str]) -> set[str]:
        """Those of some addresses that there is an object at.

        Raises:
            StorageError: the place cannot be looked at.
        """
        wanted = set(addresses)
        if len(wanted) <= _ASKED_SINGLY:
            return {url for url in wanted if self.stores.exists(url, credentials=self.credentials)}
        listed = self.stores.list_keys(f"{self.folder}/", credentials=self.credentials)
        return {url for url in listed if url in wanted}

    def upload(self, name: str, file: Path) -> None:
        """Puts a file of this machine into the folder of what concerns all images.

        Raises:
            StorageError: the store did not take it, or the file cannot be read.
        """
        self.put(f"{self.folder}/{name}", file)

    def put(self, url: str, file: Path) -> None:
        """Puts a file of this machine, whole or not at all, in bounded memory; replaces one of an earlier attempt.

        Raises:
            StorageError: the store did not take it, or the file cannot be read.
        """
        self.stores.upload(url, file, credentials=self.credentials)
