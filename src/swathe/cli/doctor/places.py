"""Checks of what lies elsewhere: object stores, collections, and whether the clocks agree."""

from __future__ import annotations

import os
import re
import time
import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from swathe.cli.doctor.findings import Finding, Patient, ok, problem, warning
from swathe.model.errors import AccessDenied, ObjectNotFound, StorageError, SwatheError

if TYPE_CHECKING:
    from swathe.catalog.collections import Collection
    from swathe.catalog.scene import Scene
    from swathe.settings import CollectionSettings, StorageSettings
    from swathe.storage import ObjectStores

_TIMEOUT_S = 5.0
_SKEW_S, _MUCH_SKEW_S = 60.0, 600.0
_NAMES = {"SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken"}
_STORE = {"endpoint_url", "region", "access_key", "local_root"}
_WEB = ("http://", "https://")


def check_storage(patient: Patient) -> list[Finding]:
    """Where buckets are: the folder, or the endpoint; whether it is there."""
    storage = patient.settings.storage
    root = local_root(patient)
    if root is not None:
        return _check_folder(root)
    if not storage.model_fields_set & _STORE:
        return [ok("storage", "none is configured: `swathe serve` keeps buckets as folders in its home")]
    endpoint = storage.endpoint_url or f"https://s3.{storage.region}.amazonaws.com"
    keys = "with an access key" if storage.access_key else "without keys: requests are unsigned"
    shown = _without_keys(endpoint)
    reason = _ask(endpoint)[1]
    if reason is not None:
        return [problem("storage", f"{shown} does not answer: {reason}", "see [storage] endpoint_url and the network")]
    return [ok("storage", f"{shown} answers; {keys}")]


def check_bucket(patient: Patient, url: str) -> list[Finding]:
    """Whether a bucket, or a folder in one, can be listed; with `write`, whether an object can be put and removed."""
    from swathe.storage import SourceFiles

    if local_root(patient) is None and not patient.settings.storage.model_fields_set & _STORE:
        return [problem("bucket", f"{url}: no store is configured", "give --home for its buckets, or see [storage]")]
    stores = _stores(patient)
    address = f"{url.rstrip('/')}/"
    try:
        first = next(iter(SourceFiles(stores).list_files(address)), None)
        found = [ok("bucket", f"{url} is read" if first else f"{url} is empty, or has no such folder")]
    except StorageError as error:
        is_policy = isinstance(error, AccessDenied) and not any(name in error.message for name in _NAMES)
        say = warning if is_policy and patient.settings.storage.access_key else problem
        remedy = (
            "allow listing and reading to these keys" if say is warning else "see [storage] and the bucket's policy"
        )
        found = [say("bucket", error.message, remedy)]
    if patient.write and not any(finding.level == "problem" for finding in found):
        found.append(_probe(stores, url))
    return found


def check_collection(patient: Patient, number: int) -> list[Finding]:
    """Whether a configured collection's source answers, has scenes, and a block of the first one can be read."""
    entry = patient.settings.collections[number]
    name = f"collection {entry.type}"
    source = f"{_without_keys(entry.source)}"
    try:
        collection, scenes, count = _scenes(entry, patient)
    except SwatheError as error:
        return [problem(name, error.message, "see its source in [[collections]]")]
    if not scenes:
        return [problem(name, f"{source} answers and has no scenes", "see its source, and stac_collections or filter")]
    scene = scenes[0]
    text = f"{source} has {count}; bands {_few(list(collection.bands))}"
    bands = [found for band in collection.bands.values() if (found := scene.asset_for(band)) is not None]
    if not bands:
        remedy = "list its bands in the configuration, with the keys of the assets"
        return [problem(name, f"{text}, of which scene {scene.id} has none", remedy)]
    started = time.perf_counter()
    try:
        _read_block(bands[0].asset.href, _stores(patient))
    except SwatheError as error:
        remedy = "see that this machine may read what the items name ([storage], docs/sources.md)"
        return [problem(name, f"{text}; but {error.message}", remedy)]
    return [ok(name, f"{text}; a block of {scene.id} was read in {time.perf_counter() - started:.2f} s")]


def check_clock(patient: Patient) -> list[Finding]:
    """Whether this machine's clock agrees with the servers it talks to: stores refuse requests that are minutes off."""
    storage = patient.settings.storage
    addresses = [storage.endpoint_url or ""] + [entry.source for entry in patient.settings.collections]
    if storage.model_fields_set & {"region", "access_key"} and local_root(patient) is None:
        addresses.append(f"https://s3.{storage.region}.amazonaws.com")
    for address in dict.fromkeys(address for address in addresses if address.startswith(_WEB)):
        date = _ask(address)[0]
        if date is None:
            continue
        skew = (datetime.now(UTC) - date).total_seconds()
        text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {urlsplit(address).hostname}"
        if abs(skew) > _SKEW_S:
            say = problem if abs(skew) > _MUCH_SKEW_S else warning
            return [say("clock", f"this machine's clock is {text}", "set it, and keep it set by NTP")]
        return [ok("clock", f"agrees with {urlsplit(address).hostname}")]
    built = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    now = datetime.now(UTC)
    if now < built:
        return [problem("clock", f"it is {now:%Y-%m-%d %H:%M}Z here, before Swathe was installed", "set the clock")]
    return [ok("clock", f"{now:%Y-%m-%d %H:%M}Z; there was no server to compare it with")]


def buckets_of(patient: Patient) -> list[str]:
    """The buckets to look at: those asked for, those that requests may name, and those with scenes."""
    storage = patient.settings.storage
    named = [f"s3://{name}" for name in storage.buckets or () if not set(name) & set("*?[")]
    scenes = [entry.source.partition("?")[0] for entry in patient.settings.collections]
    places = ["s3://" + source.removeprefix("s3://").split("/")[0] for source in scenes if source.startswith("s3://")]
    return list(dict.fromkeys([*patient.buckets, *named, *places, *(f"s3://{name}" for name in storage.sources)]))


def local_root(patient: Patient) -> Path | None:
    """The folder that holds the buckets, if there is one: the configured one, or the home's when no store is."""
    storage = patient.settings.storage
    if storage.local_root is None and patient.home is not None and not storage.model_fields_set & _STORE:
        return patient.home / "buckets"
    return storage.local_root


def _stores(patient: Patient) -> ObjectStores:
    from swathe.storage import ObjectStores

    return ObjectStores(_quick(patient))


def _quick(patient: Patient) -> StorageSettings:
    """The deployment's storage, with little patience."""
    changes = {"timeout_s": _TIMEOUT_S, "retries": 0, "patience_s": 0.0, "local_root": local_root(patient)}
    return patient.settings.storage.model_copy(update=changes)


def _scenes(entry: CollectionSettings, patient: Patient) -> tuple[Collection, list[Scene], str]:
    """The collection, some of its scenes, and how many there are in words."""
    from swathe.catalog.collections import make_collection
    from swathe.catalog.definitions import read_definitions
    from swathe.catalog.opening import open_catalog
    from swathe.catalog.search import CatalogSource

    changes = {"cache": None, "timeout_s": 2 * _TIMEOUT_S, "patience_s": 0.0, "search_s": 30.0, "page_items": 10}
    source = open_catalog(entry, _stores(patient), patient.settings.catalog.model_copy(update=changes))
    if isinstance(source, CatalogSource):
        scenes = list(source.sample_scenes())
        count = f"{len(scenes):,} scene{'s' if len(scenes) != 1 else ''}"
    else:
        start, end = datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC)
        scenes = list(islice(source.newest_scenes(start=start, end=end, boxes=None, ids=None), 1))
        count = f"scenes, the newest of {scenes[0].datetime:%Y-%m-%d}" if scenes else "none"
    return make_collection(entry, read_definitions(), scenes), scenes, count


def _read_block(href: str, stores: ObjectStores) -> None:
    from swathe.rasters.blocks import BlockReader

    reader = BlockReader(stores)
    info = reader.info(href)
    rows, columns = info.block_counts()
    for _ in reader.read_blocks(href, (1,), [(rows // 2, columns // 2)]):
        return


def _check_folder(root: Path) -> list[Finding]:
    if not root.exists():
        above = next(path for path in root.absolute().parents if path.exists())
        if os.access(above, os.W_OK | os.X_OK):
            return [ok("storage", f"buckets are folders in {root}, which is made when first written to")]
        return [problem("storage", f"{root} is not there and cannot be made", f"make it, or allow writing to {above}")]
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        return [problem("storage", f"{root} may not be written to", "allow it, or set [storage] local_root to another")]
    return [ok("storage", f"buckets are folders in {root}")]


def _probe(stores: ObjectStores, url: str) -> Finding:
    """Puts an object, reads it back and removes it."""
    place = f"{url.rstrip('/')}/.swathe-doctor-{uuid.uuid4().hex}"
    content = b"a probe of swathe doctor; it may be removed"
    doing = "put"
    try:
        stores.write(place, content)
        doing = "read back"
        same = bytes(stores.read(place)) == content
        doing = "removed"
        stores.delete(place)
    except ObjectNotFound as error:
        return problem("bucket", f"a probe cannot be {doing}: {error.message}", "make the bucket")
    except StorageError as error:
        remedy = "allow these keys to put, get and delete objects there"
        return problem("bucket", f"a probe cannot be {doing}: {error.message}", remedy)
    if not same:
        return problem(
            "bucket", f"{url}: a probe came back with other content", "see what lies between this and the store"
        )
    return ok("bucket", f"{url}: a probe was put, read and removed")


def _ask(address: str) -> tuple[datetime | None, str | None]:
    """The time by a web server, and why it does not answer, if it does not. Any answer will do."""
    import httpx

    try:
        with httpx.stream("GET", address, timeout=_TIMEOUT_S, trust_env=False) as answer:
            said = answer.headers.get("date")
    except httpx.TimeoutException:
        return None, f"nothing came within {_TIMEOUT_S:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        return None, re.sub(r"\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    try:
        date = parsedate_to_datetime(said) if said else None
    except ValueError:
        date = None
    return date, None


def _without_keys(address: str) -> str:
    """An address without what may be a secret in it."""
    if not address.startswith(_WEB):
        return address.partition("?")[0] if "://" in address else address
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"
