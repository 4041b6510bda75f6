"""Quick checks of requests before they are kept: everything that needs neither scenes, features nor the script."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from swathe.engine.compute import Engine
from swathe.grids.aoi import make_aoi
from swathe.grids.tiling import grid_of
from swathe.jobs.byoc_sources import list_types
from swathe.jobs.process_analysis import check_request
from swathe.model.common import S3Place
from swathe.model.errors import RequestInvalid, StorageError
from swathe.model.process import BatchProcessRequest, GeoPackageInput, TilingGridInput
from swathe.model.process_checks import check_chunks
from swathe.model.process_output import DELIVERY, RasterOutput
from swathe.model.process_zarr import ZarrOutput
from swathe.model.statistical import BatchStatisticsRequest, StatisticsRequest
from swathe.settings import Settings
from swathe.storage.credentials import bucket_of, from_place
from swathe.storage.doors import DoorClosed, check_bucket
from swathe.storage.urls import parse_object_url

_RENDERED = "processRequest"


def check_place(settings: Settings, place: S3Place, parameter: str, *, is_object: bool = False) -> None:
    """That a request's place, of an object or of results, is one, and that the deployment opens it to the request.

    Raises:
        RequestInvalid: it is not, or the deployment does not.
    """
    try:
        parse_object_url(place.url if is_object else f"s3://{bucket_of(place)}", folder=not is_object)
        from_place(place, settings.storage)
    except StorageError as error:
        raise RequestInvalid(error.message, parameter) from None


def check_own_bucket(settings: Settings, bucket: str, parameter: str = "s3Bucket") -> None:
    """That the deployment opens a bucket to users' own collections, which have no keys.

    Raises:
        RequestInvalid: it does not.
    """
    try:
        check_bucket(settings.storage, bucket, has_keys=False, takes_keys=False)
    except DoorClosed as error:
        raise RequestInvalid(f"A collection has no keys of its own: {error.message}", parameter) from None


class Checks:
    """The checks with an engine of their own; for any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = Engine(settings)
        self._lock = threading.Lock()

    def statistics(self, request: StatisticsRequest, own: Sequence[str] = ()) -> None:
        """Checks a statistical request; `own` are the types of the project's collections that it names.

        Raises:
            RequestInvalid: with the field and the remedy.
        """
        if isinstance(request, BatchStatisticsRequest):
            check_place(self._settings, request.input.features.s3, "input->features->s3->url", is_object=True)
            check_place(self._settings, request.output.s3, "output->s3->url")
        with self._lock:
            self._engine_for(own).check(request)

    def batch_process(self, request: BatchProcessRequest, own: Sequence[str] = ()) -> None:
        """Checks a request of Batch Processing V2: what is rendered, the area, the grid, and Zarr's chunks on it.

        `own` are as for `statistics`.

        Raises:
            RequestInvalid: with the field and the remedy.
        """
        check_request(request)
        if isinstance(request.input, GeoPackageInput):
            check_place(self._settings, request.input.features.s3, "input->features->s3->url", is_object=True)
        check_place(self._settings, request.output.delivery.s3, DELIVERY)
        if isinstance(request.output, RasterOutput) and request.output.makes_tiles_of_a_collection:
            # it is read without the request's keys
            check_own_bucket(self._settings, bucket_of(request.output.delivery.s3), DELIVERY)
        rendered = request.process_request
        try:
            with self._lock:
                self._engine_for(own).check_process(rendered)
        except RequestInvalid as error:
            where = f"{_RENDERED}->{error.parameter}" if error.parameter else _RENDERED
            raise type(error)(error.message, where) from None
        where = f"{_RENDERED}->input->bounds"
        bounds = rendered.input.bounds
        make_aoi(bounds.bbox, bounds.polygons, bounds.to_epsg(where), parameter=where)
        if isinstance(request.input, TilingGridInput):
            grid = grid_of(request.input)
            if isinstance(request.output, ZarrOutput):
                width, height = (round(size / request.input.resolution) for size in (grid.tile_width, grid.tile_height))
                check_chunks(request.output, rendered.output.responses, width, height)

    def _engine_for(self, own: Sequence[str]) -> Engine:
        return Engine(list_types(self._settings, own)) if own else self._engine
