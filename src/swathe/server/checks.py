"""Quick checks of requests before they are kept: everything that needs neither scenes, features nor the script."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from swathe.engine.compute import Engine
from swathe.grids.aoi import make_aoi
from swathe.grids.tiling import grid_of
from swathe.jobs.byoc_sources import list_types
from swathe.jobs.process_analysis import check_request
from swathe.model.errors import RequestInvalid
from swathe.model.process import BatchProcessRequest, TilingGridInput
from swathe.model.process_checks import check_chunks
from swathe.model.process_zarr import ZarrOutput
from swathe.model.statistical import StatisticsRequest
from swathe.settings import Settings

_RENDERED = "processRequest"


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
        with self._lock:
            self._engine_for(own).check(request)

    def batch_process(self, request: BatchProcessRequest, own: Sequence[str] = ()) -> None:
        """Checks a request of Batch Processing V2: what is rendered, the area, the grid, and Zarr's chunks on it.

        `own` are as for `statistics`.

        Raises:
            RequestInvalid: with the field and the remedy.
        """
        check_request(request)
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
