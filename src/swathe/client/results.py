"""The documents of a batch job, one for each feature, streamed from where the job wrote them."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from swathe.client.frame import to_dataframe
from swathe.client.locations import DocumentLocation, find_location
from swathe.client.types import JsonDict
from swathe.model.errors import ObjectNotFound, StorageError


class BatchStatisticalResults:
    """Iterates over a job's documents: `{"id", "identifier", "response" or "error"}`, in the order of the store.

    Every iteration reads anew. At most `concurrency` documents are in memory at a time, whatever the number of
    features. Other JSON files beside the documents, and what lies in subfolders, is passed over. An iteration that
    finds no document at all raises `ObjectNotFound`.

    Args:
        location: where the documents are.
        feature_ids: only these; each must have a document.
        concurrency: how many documents are fetched at the same time.
    """

    def __init__(
        self, location: DocumentLocation, *, feature_ids: Iterable[int | str] | None = None, concurrency: int = 8
    ) -> None:
        self.location = location
        self.feature_ids = None if feature_ids is None else list(dict.fromkeys(feature_ids))
        self.concurrency = max(1, concurrency)

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        feature_ids: Iterable[int | str] | None = None,
        concurrency: int = 8,
    ) -> BatchStatisticalResults:
        """The documents `<feature id>.json` of a folder on this machine."""
        return cls(find_location({}, "", folder=folder), feature_ids=feature_ids, concurrency=concurrency)

    def __iter__(self) -> Iterator[JsonDict]:
        wanted = None if self.feature_ids is None else {str(feature_id) for feature_id in self.feature_ids}
        missing, found = set(wanted or ()), False
        for document in self._read_all(self._find_keys(wanted)):
            feature_id = str(document["id"])
            if wanted is None or feature_id in wanted:
                missing.discard(feature_id)
                found = True
                yield document
        if missing:
            raise ObjectNotFound(f"there is no document at {self.location.root} for the features {_first_few(missing)}")
        if not found and wanted is None:
            place = f"{self.location.root}/{self.location.template}"
            raise ObjectNotFound(f"there are no documents {place}; has the job written its results there?")

    def to_dataframe(self) -> Any:
        """A tidy pandas frame of all documents; `swathe.client.to_dataframe` says what is in it."""
        return to_dataframe(self)

    def _find_keys(self, wanted: set[str] | None) -> Iterator[str]:
        if self.feature_ids is not None:
            keys = [self.location.key_of(feature_id) for feature_id in self.feature_ids]
            if all(key is not None for key in keys):
                yield from (key for key in keys if key is not None)
                return
        for key, feature_id in self.location.list_keys():
            if wanted is None or feature_id is None or feature_id in wanted:
                yield key

    def _read_all(self, keys: Iterable[str]) -> Iterator[JsonDict]:
        pending: deque[Future[JsonDict | None]] = deque()
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="swathe-results") as pool:
            try:
                for key in keys:
                    pending.append(pool.submit(self._read_document, key))
                    if len(pending) >= self.concurrency and (document := pending.popleft().result()) is not None:
                        yield document
                while pending:
                    if (document := pending.popleft().result()) is not None:
                        yield document
            finally:
                for future in pending:
                    future.cancel()

    def _read_document(self, key: str) -> JsonDict | None:
        """The document at a key, None if that JSON is something else."""
        try:
            document = json.loads(self.location.read(key))
        except ValueError as error:
            raise StorageError(f"{self.location.root}/{key} is not JSON: {error}") from None
        if isinstance(document, dict) and "id" in document and ("response" in document or "error" in document):
            return document
        return None


def _first_few(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:10]) + (f" and {len(ordered) - 10} more" if len(ordered) > 10 else "")
