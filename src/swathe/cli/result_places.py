"""Where the commands on results find them: a folder, an address, or a request of a server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swathe.cli.job_desks import open_desk
from swathe.model.errors import SettingsInvalid

if TYPE_CHECKING:
    from swathe.client.access import AccessSpecification
    from swathe.client.results import BatchStatisticalResults
    from swathe.settings import StorageSettings

# If none of these is configured, a server keeps its buckets as folders in its home.
_STORAGE_KEYS = {"endpoint_url", "region", "access_key", "local_root"}


@dataclass(frozen=True)
class Server:
    """What the command line says of a server, and of where its buckets are."""

    home: Path | None = None
    config: Path | None = None
    url: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    buckets: Path | None = None

    def results(self, job: str) -> BatchStatisticalResults:
        """The results in a folder, at an address `s3://…`, or of the request whose id begins like this.

        Raises:
            SettingsInvalid: it is none of these.
            NotFound: the server has no such request.
            StorageError: the place cannot be read from here.
        """
        from swathe.client.locations import find_location
        from swathe.client.results import BatchStatisticalResults

        named: dict[str, Any] = self._storage()
        if "://" in job or Path(job).is_dir():
            access = named.pop("access")
            return BatchStatisticalResults.from_address(job, output=access, **named)
        if self.home is None and self.config is None and self.url is None:
            raise SettingsInvalid(
                f"There is no folder {job}. Name the folder of the results or its address s3://…; for the id of a request"
                " give --home or --config of its server, or --url, --client-id and --client-secret"
            )
        found = open_desk(self.home, self.config, self.url, self.client_id, self.client_secret).job(job)
        output: Mapping[str, Any] = found["request"].get("output") or {}
        if not isinstance(output.get("s3"), Mapping):
            raise SettingsInvalid(f"Request {found['id']} computes no statistics; `swathe results` reads those alone")
        return BatchStatisticalResults(find_location(output, found["id"], **named))

    def _storage(self) -> dict[str, Any]:
        """Where buckets are and with which keys, for the functions that find results."""
        if self.home is None and self.config is None:
            return {"local_root": self.buckets, "access": None}
        from swathe.settings import load_settings

        storage = load_settings(self.config).storage
        root = self.buckets or storage.local_root
        if root is None and self.home is not None and not storage.model_fields_set & _STORAGE_KEYS:
            root = self.home / "buckets"
        return {"local_root": root, "endpoint_url": storage.endpoint_url, "access": _access(storage)}


def _access(storage: StorageSettings) -> AccessSpecification | None:
    """The deployment's keys, unless the user has some of their own in the environment."""
    if storage.access_key is None or storage.secret_access_key is None or os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    secret = storage.secret_access_key.get_secret_value()
    return {"s3": {"url": "", "accessKey": storage.access_key, "secretAccessKey": secret, "region": storage.region}}
