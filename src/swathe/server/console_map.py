"""The console's map: tiles of a job's features, ranges of values, and single features with their series."""

from __future__ import annotations

import gzip
import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs import looking_store
from swathe.jobs.looking import Looker, NotReady, View
from swathe.jobs.looking_columns import Measure, Values
from swathe.jobs.looking_state import FINISHED, NAMES, PARTLY_FAILED
from swathe.jobs.looking_tiles import MOST_ZOOM, TilePlace
from swathe.jobs.records import Job
from swathe.jobs.store import JobStore
from swathe.model.errors import NotFound, ObjectNotFound, RequestInvalid, SwatheError
from swathe.model.time import parse_time
from swathe.server.answers import JsonAnswer
from swathe.server.console_jobs import SeenProject, open_view, patiently, waited

router = APIRouter(include_in_schema=False)

_MVT = "application/vnd.mapbox-vector-tile"
# Values that are nearly there are waited for, so that a small job's map is whole at once.
_PATIENCE_S = 1.5
_CACHE = "private, max-age=2"
_DRAWN_S = 60.0
_MOST_FOUND = 100
_FRESH = {"Cache-Control": "no-store"}


@router.get("/jobs/{job_id}/tiles/{z}/{x}/{y}.mvt")
async def tile(
    request: Request,
    project_id: SeenProject,
    job_id: str,
    z: int,
    x: int,
    y: int,
    by: str = "status",
    output: str | None = None,
    band: str | None = None,
    statistic: str = "mean",
    interval: str | None = None,
) -> Response:
    """A vector tile of a job's features, by their state or with a statistic of an interval."""
    place = TilePlace(z, x, y)
    if not place.is_one:
        raise RequestInvalid(f"there is no tile {z}/{x}/{y}; zooms go from 0 to {MOST_ZOOM}", "z")
    if by not in ("status", "value"):
        raise RequestInvalid(f"must be 'status' or 'value', not '{by[:40]}'", "by")
    job, view = await open_view(request, project_id, job_id)
    looker: Looker = request.app.state.looker
    values = None
    if by == "value":
        if not interval:
            raise RequestInvalid("by=value needs an interval: the time at which it begins", "interval")
        at = _find_interval(view, interval)
        values = (await _values(looker, job, view, _measure(output, band, statistic)), at)
    await run_in_threadpool(view.states.now)
    stamp = await run_in_threadpool(looker.stamp, view, values)
    etag = f'"{hashlib.sha256(f"{job.id} {stamp} {place}".encode()).hexdigest()[:24]}"'
    headers = {"ETag": etag, "Cache-Control": _CACHE, "Vary": "Authorization, Accept-Encoding"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    try:
        drawn = await waited(looker.tile(job, view, place, values, stamp), _DRAWN_S)
    except TimeoutError:
        raise NotReady("The server is busy; ask for the tile again in a moment") from None
    if drawn is None:
        return Response(status_code=204, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
    else:
        drawn = await run_in_threadpool(gzip.decompress, drawn)
    return Response(drawn, media_type=_MVT, headers=headers)


@router.get("/jobs/{job_id}/range")
async def value_range(
    request: Request,
    project_id: SeenProject,
    job_id: str,
    output: str | None = None,
    band: str | None = None,
    statistic: str = "mean",
) -> Response:
    """The range of a statistic so far, how many values each interval has, and what part of the finished work is in it."""
    job, view = await open_view(request, project_id, job_id)
    looker: Looker = request.app.state.looker
    values = await _values(looker, job, view, _measure(output, band, statistic))
    found = await run_in_threadpool(values.range)
    done = len(looker.results(job).within_reach(view.states.done_units))
    answer: dict[str, Any] = dict.fromkeys(("minimum", "maximum", "p02", "p98"))
    counts = [0] * len(view.intervals)
    if found is not None:
        answer = {"minimum": found.minimum, "maximum": found.maximum, "p02": found.p02, "p98": found.p98}
        counts = list(found.counts)
    covered = min(1.0, values.units / done) if done else 0.0
    return JsonAnswer(answer | {"counts": counts, "covered": covered}, headers=_FRESH)


@router.get("/jobs/{job_id}/features")
async def features(
    request: Request,
    project_id: SeenProject,
    job_id: str,
    q: str = "",
    count: Annotated[int, Query(ge=1)] = 20,
) -> Response:
    """Features by their id, or by what their identifier begins with."""
    _, view = await open_view(request, project_id, job_id)

    def find() -> list[dict[str, Any]]:
        return [
            _line(view, place) | {"bounds": view.shapes.box_degrees(place)}
            for place in view.shapes.find(q.strip()[:200], min(count, _MOST_FOUND))
        ]

    return JsonAnswer({"data": await run_in_threadpool(find)}, headers=_FRESH)


@router.get("/jobs/{job_id}/features/{feature_id}")
async def feature(request: Request, project_id: SeenProject, job_id: str, feature_id: str) -> Response:
    """A feature with its polygon and the series of its statistics, empty while it has none."""
    job, view = await open_view(request, project_id, job_id)
    place = _place_of(view, feature_id)
    return JsonAnswer(await run_in_threadpool(_feature, request, job, view, place), headers=_FRESH)


@router.get("/jobs/{job_id}/features/{feature_id}/document")
async def document(request: Request, project_id: SeenProject, job_id: str, feature_id: str) -> Response:
    """A feature's document, byte for byte as it was delivered."""
    job, view = await open_view(request, project_id, job_id)
    place = _place_of(view, feature_id)
    looker: Looker = request.app.state.looker

    def read() -> bytes:
        try:
            return looker.results(job).document(int(view.shapes.ids[place]), view.shapes.name(place))
        except ObjectNotFound:
            raise NotFound(f"Feature {view.shapes.ids[place]} has no document yet") from None

    return Response(await run_in_threadpool(read), media_type="application/json", headers=_FRESH)


async def _values(looker: Looker, job: Job, view: View, measure: Measure) -> Values:
    values, filling = await run_in_threadpool(looker.values, job, view, measure)
    if filling is not None:
        await patiently(filling, _PATIENCE_S)
    return values


def _measure(output: str | None, band: str | None, statistic: str) -> Measure:
    for name, text in (("output", output), ("band", band), ("statistic", statistic)):
        if not text:
            raise RequestInvalid("is missing; the job's page lists outputs, bands and statistics", name)
    return Measure(output or "", band or "", statistic)


def _find_interval(view: View, text: str) -> int:
    start = parse_time(text.replace(" ", "+"), "interval")
    for number, interval in enumerate(view.intervals):
        if interval.start == start:
            return number
    raise RequestInvalid(f"no interval of the request begins at {text[:40]}; take `from` of one of them", "interval")


def _place_of(view: View, feature_id: str) -> int:
    import numpy as np

    digits = feature_id.removeprefix("-")
    if digits.isdecimal() and digits.isascii() and len(digits) < 19:
        place = int(view.shapes.places(np.array([int(feature_id)], np.int64))[0])
        if place >= 0:
            return place
    raise NotFound(f"The request has no feature {feature_id[:40]!r}")


def _line(view: View, place: int) -> dict[str, Any]:
    state = NAMES[int(view.states.now()[place])]
    return {"id": int(view.shapes.ids[place]), "name": view.shapes.name(place), "status": state}


def _feature(request: Request, job: Job, view: View, place: int) -> dict[str, Any]:
    store: JobStore = request.app.state.store
    looker: Looker = request.app.state.looker
    line = _line(view, place)
    line["error"] = looking_store.read_reason(store.database, job.id, line["id"])
    line["geometry"] = view.shapes.geometry(place)
    line["bounds"] = view.shapes.box_degrees(place)
    series: dict[str, Any] = {"intervals": [], "errors": [], "series": {}}
    if job.kind == "statistics":
        try:
            series = looker.series(job, line["id"], line["name"])
        except ObjectNotFound:  # it waits
            pass
        except (SwatheError, ValueError) as error:
            line["resultsError"] = error.message if isinstance(error, SwatheError) else "The document is no JSON"
    if line["status"] == NAMES[FINISHED] and any(series["errors"]):
        line["status"] = NAMES[PARTLY_FAILED]
    return line | series
