"""Where the features of a job are to be had, whether it runs or has ended. Runs in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swathe.jobs.delivery import GEOMETRY
from swathe.jobs.home import FEATURES_FILE
from swathe.model.common import S3Place
from swathe.model.errors import FeaturesInvalid, RequestInvalid, StorageError
from swathe.settings import LimitSettings, StorageSettings


@dataclass(frozen=True)
class BuildOrder:
    """What is to be made ready: the features of a job, in `folder`.

    `job_folder` is the job's while it is under way, `delivery` its kind's, `features` the place of its GeoPackage.
    """

    kind: str
    job_folder: Path
    folder: Path
    storage: StorageSettings = field(repr=False)
    limits: LimitSettings
    features: S3Place | None = field(repr=False)
    delivery: Any
    done: bool


def build_shapes(order: BuildOrder) -> None:
    """Makes the arrays of `looking_shapes` from the job's own file, else from what it delivered, else from its input.

    Raises:
        StorageError, FeaturesInvalid: the features are not to be had any more.
        RequestInvalid: the job is of a kind without features.
    """
    from swathe.jobs import looking_build

    is_process = order.kind == "process"
    if order.kind not in ("statistics", "process"):
        raise RequestInvalid("A request of this kind has no features")
    kept = order.folder.with_name(FEATURES_FILE)
    for file in (order.job_folder / FEATURES_FILE, kept):
        if not file.exists():
            continue
        try:
            if is_process:
                looking_build.build_from_manifest(file, order.folder)
            else:
                looking_build.build_from_geopackage(file, order.folder, order.limits.features)
            kept.unlink(missing_ok=True)
            return
        except (FeaturesInvalid, OSError):
            if file.exists():
                raise
            # the job ended just now, and its folder with it
    if is_process:
        _from_manifest(order)
    else:
        _from_results(order)


def _from_manifest(order: BuildOrder) -> None:
    from swathe.jobs import looking_build
    from swathe.jobs.process_manifest import manifest_name

    delivery = order.delivery
    url = f"{delivery.folder}/{manifest_name(delivery.request_id)}"
    fetched = order.folder.with_name("manifest.gpkg")
    try:
        delivery.stores.download(url, fetched, order.limits.geopackage_bytes, credentials=delivery.credentials)
        looking_build.build_from_manifest(fetched, order.folder)
    finally:
        fetched.unlink(missing_ok=True)


def _from_results(order: BuildOrder) -> None:
    from swathe.jobs import looking_build
    from swathe.storage import ObjectStores, from_place

    stores, delivery = ObjectStores(order.storage), order.delivery
    fetched = order.folder.with_name("fetched")
    most = order.limits.geopackage_bytes
    refusal: StorageError | None = None
    try:
        if order.done:
            try:
                url = f"{delivery.folder}/{GEOMETRY}"
                stores.download(url, fetched, most, credentials=from_place(delivery.place, order.storage))
                looking_build.build_from_parquet(fetched, order.folder)
                return
            except StorageError as error:  # as of a job that failed: its input says the same
                refusal = error
        if order.features is None:
            raise refusal or RequestInvalid("The request names no GeoPackage", "input->features")
        try:
            stores.download(order.features.url, fetched, most, credentials=from_place(order.features, order.storage))
        except StorageError as error:
            if not order.done:
                raise
            raise StorageError(
                f"The features of this request are not to be had any more: {error.message}. With the end of a request"
                " its keys are removed; let the deployment's own ([storage] access_key) read its bucket and list it in"
                " [storage] buckets"
            ) from None
        looking_build.build_from_geopackage(fetched, order.folder, order.limits.features)
    finally:
        fetched.unlink(missing_ok=True)
