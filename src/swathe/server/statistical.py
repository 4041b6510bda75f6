"""The Statistical API: statistics of one area, answered at once."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from swathe.jobs.records import Client
from swathe.jobs.services import compute_statistics
from swathe.jobs.workshop import TooManyRequests
from swathe.model.statistical_area import AreaStatisticsRequest
from swathe.model.validation import explain_validation
from swathe.server.answers import ErrorAnswer
from swathe.server.auth import CurrentClient
from swathe.server.batch_jobs import ERRORS
from swathe.server.bodies import described_body, read_json_or_form
from swathe.server.computing import COST, busy_answer, charge, compute, cost_text
from swathe.server.own_collections import own_of

PATHS = ("/api/v1/statistics", "/statistics/v1")
_SCRIPT = ("aggregation", "evalscript")

router = APIRouter(
    tags=["statistical"],
    responses={
        **{status: ERRORS[status] for status in (400, 401)},
        200: {
            "description": "The statistics of every interval that has data",
            "content": {"application/json": {"schema": {"type": "object"}}},
            "headers": {COST: {"description": "What it cost", "schema": {"type": "string"}}},
        },
        403: {"model": ErrorAnswer, "description": "Nothing left to spend"},
        429: {"model": ErrorAnswer, "description": "Too many requests"},
    },
)


@router.post("", response_class=Response, openapi_extra=described_body("StatisticalRequest"))
async def statistics(request: Request, client: CurrentClient) -> Response:
    """Statistics of an area over time; what a document of the batch has as its response."""
    body = await read_json_or_form(request, _SCRIPT)
    try:
        wanted = AreaStatisticsRequest.model_validate(body)
    except ValidationError as error:
        raise explain_validation(error) from None
    await run_in_threadpool(_check, request, client, wanted)
    try:
        found = await compute(request, client, compute_statistics, wanted)
    except TooManyRequests as error:
        return busy_answer(error)
    await charge(request, client, found.cost_pu)
    return Response(found.response, media_type="application/json", headers={COST: cost_text(found.cost_pu)})


def _check(request: Request, client: Client, wanted: AreaStatisticsRequest) -> None:
    request.app.state.check(wanted, own_of(request, client, wanted.input.data))
