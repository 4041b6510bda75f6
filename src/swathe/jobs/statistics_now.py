"""The Statistical API's work: the engine of the batch with a single feature, in a process of the workshop."""

from __future__ import annotations

import numpy as np
import shapely

from swathe.engine.compute import Engine
from swathe.engine.values import Document, Stopped
from swathe.features.given import GivenFeatures
from swathe.grids.sample_grid import feature_grids
from swathe.jobs.request_area import BOUNDS, area_of, check_sides
from swathe.jobs.workshop import Deadline
from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.model.statistical import Grid, StatisticsRequest
from swathe.model.statistical_area import AreaStatisticsRequest
from swathe.outputs.documents import document_head, document_tail

_STATUSES = ("OK", "PARTIAL", "FAILED")
_DEFAULT_SIZE = (256, 256)


def compute(engine: Engine, deadline: Deadline, request: AreaStatisticsRequest) -> tuple[bytes, float]:
    """The response about one area, as in a document of the batch, and what it cost.

    Raises:
        LimitExceeded: there would be too many cells a side, or it would take too long; nothing was computed.
        TookTooLong: it did.
        SwatheError: whatever makes the request impossible as a whole.
    """
    area = area_of(request.input.bounds)
    _check_size(engine, request, area)
    features = GivenFeatures(request.input.bounds.to_epsg(), (shapely.to_wkb(area),))
    wanted = request.without_area
    analysis = engine.analyse(wanted, features)
    expected_s = analysis.report.get("estimatedSeconds", 0.0)
    if expected_s > deadline.seconds:
        raise LimitExceeded(
            f"The request would take about {expected_s:,.0f} s; at most {deadline.seconds:g} s are allowed;"
            " ask for fewer cells or a shorter time range, or use the Batch Statistical API",
            "aggregation",
        )
    documents: list[Document] = []
    cost_pu = 0.0
    try:
        for plan in analysis.units:
            unit = engine.make_unit(wanted, analysis, features, plan.index)
            cost_pu += engine.run(unit, deliver=documents.extend, should_stop=deadline).cost_pu
    except Stopped:
        raise deadline.error() from None
    (document,) = documents
    return _response_of(document, wanted), cost_pu


def _check_size(engine: Engine, request: AreaStatisticsRequest, area: shapely.Geometry) -> None:
    """Of cells that follow the source nothing is known yet; the estimate of the time bounds them."""
    aggregation = request.aggregation
    most = engine.settings.limits.image_px
    if aggregation.resx is not None and aggregation.resy is not None:
        bounds = np.array([area.bounds])
        grid = feature_grids(bounds, request.input.bounds.to_epsg(), resolution=(aggregation.resx, aggregation.resy))
        check_sides(int(grid.width[0]), int(grid.height[0]), most, "aggregation", named=False)
    elif aggregation.sampling.grid is not Grid.SOURCE:
        width, height = aggregation.width or _DEFAULT_SIZE[0], aggregation.height or _DEFAULT_SIZE[1]
        check_sides(width, height, most, "aggregation")


def _response_of(document: Document, request: StatisticsRequest) -> bytes:
    """The response within a document.

    Raises:
        RequestInvalid: there is none, because nothing could be computed at all.
    """
    head = document_head(document.feature_id, document.identifier)
    if not document.data.startswith(head):
        raise RequestInvalid(document.failure or "The area cannot be used", BOUNDS)
    start = len(head) - len(b'{"data":[')
    for status in _STATUSES:
        tail = document_tail(status, request.aggregation.sampling)
        if document.data.endswith(tail):
            end = len(document.data) - len(tail) + len(f'],"status":"{status}"}}')
            return document.data[start:end]
    raise RuntimeError("a document ends in no known way")
