"""The analysis of a batch request: its images as a manifest, their scenes, the units. And the manifest once more.

Doing it again, after a break or on another server, gives the same manifest, or an error that says what has changed.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swathe.engine.values import Analysis
from swathe.grids.tiling import grid_of
from swathe.jobs.process_delivery import ProcessDelivery, request_name
from swathe.jobs.process_manifest import Tile, manifest_name, write_manifest
from swathe.jobs.process_payload import ProcessPlan
from swathe.jobs.process_tiles import TileSource
from swathe.jobs.process_units import plan_tile_units
from swathe.model.errors import FeaturesInvalid, RequestInvalid
from swathe.model.process import BatchProcessRequest, TilingGridInput
from swathe.model.process_checks import check_script_outputs
from swathe.model.process_output import DELIVERY, RasterOutput, Response
from swathe.model.process_zarr import ZarrOutput
from swathe.model.time import TimeRange

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.raster import RasterOutputSpec
    from swathe.engine.raster_analysis import Footprints
    from swathe.grids.raster_grid import RasterGrid
    from swathe.jobs.byoc import ByocCollection
    from swathe.outputs.zarr_plan import ZarrPlan
    from swathe.settings import LimitSettings


@dataclass(frozen=True)
class ProcessOrder:
    """A batch request as its analysis needs it. `body` is what lies beside the results, without secrets.

    `manifest` is where the manifest goes, `geopackage` the user's features, fetched; `created` is the job's. `collection`
    is the one whose tiles the images are to become, where there is one already.
    """

    request: BatchProcessRequest = field(repr=False)
    body: Mapping[str, Any] | None = field(repr=False)
    delivery: ProcessDelivery
    manifest: Path
    geopackage: Path | None
    created: datetime
    collection: ByocCollection | None = None

    @property
    def responses(self) -> tuple[Response, ...]:
        """What each tile becomes."""
        return self.request.process_request.output.responses


def check_request(request: BatchProcessRequest) -> None:
    """Checks what needs neither the catalog nor the script, and is no matter of form.

    Raises:
        RequestInvalid: with the field and the remedy.
    """
    if isinstance(request.input, TilingGridInput):
        grid_of(request.input)


def analyse(engine: Engine, order: ProcessOrder) -> Analysis:
    """Checks the script, writes and delivers the manifest, finds the scenes, plans the units; begins the Zarr group.

    Raises:
        SwatheError: whatever makes the job impossible as a whole.
    """
    from swathe.outputs.zarr_write import create_group

    check_request(order.request)
    limits = engine.settings.limits
    planner = engine.process_planner(order.request.process_request)
    outputs = _check_outputs(order, planner.outputs, is_fixed=planner.has_fixed_outputs)
    source = TileSource(order.request, order.geopackage, limits)
    skipped = _find_skipped(order, source)
    seen = _Seen(keeps_grids=isinstance(order.request.output, ZarrOutput))
    digest = write_manifest(
        order.manifest,
        _without(source, skipped),
        [response.identifier for response in order.responses],
        lambda identifier, number: order.delivery.address(identifier, order.responses[number]),
        modified=order.created,
        on_tile=seen.add,
    )
    footprints = seen.footprints()
    found = planner.analyse(footprints)
    units = plan_tile_units(
        seen.ids,
        footprints.cells,
        found.places,
        unit_cells=limits.unit_cells,
        workers=engine.settings.dask.workers,
    )
    zarr = _plan_zarr(order, outputs, seen.grids, limits)
    plan = ProcessPlan(found.payload, digest, skipped, zarr)
    if zarr is not None:
        _check_group_place(order.delivery, zarr)
        create_group(zarr, order.delivery.stores, credentials=order.delivery.credentials)
    _deliver(order)
    cost = float(found.cost_pu.sum())
    notes = [f"{len(skipped):,} images are there already and are left alone"] if skipped else []
    report = {
        "features": float(len(seen.ids)),
        "scenes": float(found.scenes),
        "units": float(len(units)),
        "pixels": float(footprints.cells.sum()),
        "estimatedPU": cost,
    }
    return Analysis(len(seen.ids), found.scenes, units, cost, plan.to_bytes(), (*found.notes, *notes), report)


def restore(order: ProcessOrder, payload: bytes, limits: LimitSettings) -> None:
    """Writes the manifest of an analysis again.

    Raises:
        FeaturesInvalid: it is another one, because the user's GeoPackage has changed.
        SwatheError: the tiles cannot be made any more.
    """
    plan = ProcessPlan.from_bytes(payload)
    digest = write_manifest(
        order.manifest,
        _without(TileSource(order.request, order.geopackage, limits), plan.skipped),
        [response.identifier for response in order.responses],
        lambda identifier, number: order.delivery.address(identifier, order.responses[number]),
        modified=order.created,
    )
    if digest != plan.digest:
        order.manifest.unlink()
        raise FeaturesInvalid(
            "The GeoPackage is not the one that was analysed any more; put that one back, or make a new request"
        )


class _Seen:
    """What is known of the tiles that went into the manifest, which may be many; `grids` are kept if asked for."""

    def __init__(self, *, keeps_grids: bool) -> None:
        self._keeps_grids = keeps_grids
        self._ids = array("q")
        self._whole = array("q")
        self._bounds = array("d")
        self.grids: list[RasterGrid] = []

    def add(self, number: int, tile: Tile) -> None:
        self._ids.append(number)
        self._whole.extend((tile.grid.epsg, tile.grid.cells))
        self._bounds.extend(tile.grid.bounds)
        if self._keeps_grids:
            self.grids.append(tile.grid)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        return np.array(self._ids, np.int64)

    def footprints(self) -> Footprints:
        from swathe.engine.raster_analysis import Footprints

        whole = np.array(self._whole, np.int64).reshape(-1, 2)
        return Footprints(whole[:, 0], np.array(self._bounds, np.float64).reshape(-1, 4), whole[:, 1])


def _check_outputs(
    order: ProcessOrder, outputs: Sequence[RasterOutputSpec], *, is_fixed: bool
) -> tuple[RasterOutputSpec, ...]:
    """The outputs that the request has responses for; that each can be written as it is asked for."""
    from swathe.jobs.process_images import encode_options
    from swathe.rasters.encode import check_image

    by_name = {output.id: output for output in outputs}
    said = {output.id: (output.bands, output.sample_type.upper()) for output in outputs}
    check_script_outputs(order.request.output, order.responses, said)
    wanted = tuple(by_name[response.identifier] for response in order.responses if not response.is_userdata)
    if isinstance(order.request.output, RasterOutput) and is_fixed:
        for response in order.responses:
            if not response.is_userdata:
                options = encode_options(order.request.output, response)
                check_image(response.format.type, by_name[response.identifier], options)
        if order.collection is not None:
            _check_collection(order, order.collection, by_name)
    return wanted


def _check_collection(order: ProcessOrder, collection: ByocCollection, by_name: Mapping[str, RasterOutputSpec]) -> None:
    """That the images can be tiles of the collection, as far as that is known before they are made."""
    from swathe.jobs.byoc_results import check_bands, make_bands
    from swathe.model.byoc import FORMATS, ByocBand

    found: dict[str, ByocBand] = {}
    for response in order.responses:
        if not response.is_userdata:
            output = by_name[response.identifier]
            dtype = output.sample_type.lower()
            if dtype not in FORMATS:
                return
            found |= make_bands(response, dtype, output.bands)
    check_bands(collection, found)


def _find_skipped(order: ProcessOrder, tiles: Iterable[Tile]) -> tuple[int, ...]:
    """The places of tiles that have all their files.

    Raises:
        RequestInvalid: files are there that the request does not allow to be replaced.
    """
    output = order.request.output
    if isinstance(output, ZarrOutput) or order.delivery.is_of_its_own:
        return ()
    if output.overwrite and not output.skip_existing:
        return ()
    addresses = ([order.delivery.address(tile.identifier, response) for response in order.responses] for tile in tiles)
    all_addresses = list(addresses)
    there = order.delivery.existing(url for urls in all_addresses for url in urls)
    skipped = []
    for place, urls in enumerate(all_addresses):
        count = sum(url in there for url in urls)
        if output.skip_existing and count == len(urls):
            skipped.append(place)
        elif count and not output.overwrite:
            url = next(url for url in urls if url in there)
            some = "some of the files of a tile are" if output.skip_existing else "a file is"
            raise RequestInvalid(
                f"{url} exists, and {some} not replaced unless overwrite is true;"
                " set it, remove the files, or put <requestId> into the address",
                DELIVERY,
            )
    return tuple(skipped)


def _without(tiles: Iterable[Tile], skipped: Sequence[int]) -> Iterator[Tile]:
    left_out = frozenset(skipped)
    return (tile for place, tile in enumerate(tiles) if place not in left_out)


def _plan_zarr(
    order: ProcessOrder, outputs: Sequence[RasterOutputSpec], grids: Sequence[RasterGrid], limits: LimitSettings
) -> ZarrPlan | None:
    from swathe.outputs.zarr_plan import plan_zarr

    if not isinstance(order.request.output, ZarrOutput):
        return None
    return plan_zarr(
        order.request.output,
        outputs,
        grids,
        times=[_time_of(order)],
        url=order.delivery.folder,
        modified=order.created,
        most_held_bytes=limits.unit_bytes,
    )


def _time_of(order: ProcessOrder) -> TimeRange:
    """The time that the images are of, as far as the data sources say; else that of the job."""
    said = [
        source.data_filter.time_range.to_range(f"processRequest->input->data[{number}]->dataFilter->timeRange")
        for number, source in enumerate(order.request.process_request.input.data)
        if source.data_filter.time_range is not None
    ]
    starts = [span.start for span in said if span.start > datetime.min.replace(tzinfo=UTC)]
    ends = [span.end for span in said if span.end < datetime.max.replace(tzinfo=UTC)]
    start = min(starts, default=order.created)
    return TimeRange(start, max(ends, default=max(start, order.created)))


def _check_group_place(delivery: ProcessDelivery, plan: ZarrPlan) -> None:
    """Nothing may lie where the group goes but what an earlier try of this very analysis left there."""
    from swathe.outputs.zarr_metadata import describe
    from swathe.outputs.zarr_write import check_place

    own = (*delivery.own_names, *describe(plan))
    check_place(delivery.stores, plan.url, own, credentials=delivery.credentials)


def _deliver(order: ProcessOrder) -> None:
    delivery = order.delivery
    delivery.upload(manifest_name(delivery.request_id), order.manifest)
    if order.body is not None:
        text = json.dumps(order.body, indent=2, ensure_ascii=False)
        url = f"{delivery.folder}/{request_name(delivery.request_id)}"
        delivery.stores.write(url, text.encode("utf-8", "replace"), credentials=delivery.credentials)
