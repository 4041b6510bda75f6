"""What an error is answered with depends on whose fault it is."""

from __future__ import annotations

import json

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from swathe.catalog.failures import SourceUnavailable
from swathe.jobs.database import DatabaseUnavailable
from swathe.jobs.workshop import Abandoned
from swathe.model.errors import (
    AccessDenied,
    BandMissing,
    ObjectNotFound,
    SceneUnreadable,
    StoreUnavailable,
    SwatheError,
)
from swathe.rasters.failures import RasterCorrupt, RasterMissing
from swathe.server.catalog_links import CatalogRoute
from swathe.server.errors import answer_to


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SceneUnreadable("away"), 503),
        (SourceUnavailable("away"), 503),
        (StoreUnavailable("away"), 503),
        (RasterCorrupt("broken"), 400),
        (RasterMissing("not there"), 400),
        (BandMissing("B99"), 400),
        (ObjectNotFound("none"), 400),
        (AccessDenied("no"), 400),
        (Abandoned("gone"), 408),
    ],
)
def test_what_may_pass_is_not_the_requests_fault(error: SwatheError, status: int) -> None:
    answer = answer_to(error)
    body = json.loads(bytes(answer.body))["error"]
    assert (answer.status_code, body["status"], body["message"]) == (status, status, error.message)
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(("error", "status"), [(DatabaseUnavailable("away"), 503), (KeyError("a bug"), 500)])
def test_the_catalog_tells_outages_and_bugs_in_its_own_shape(error: Exception, status: int) -> None:
    app, router = FastAPI(), APIRouter(route_class=CatalogRoute)

    @router.get("/")
    def fail() -> None:
        raise error

    app.include_router(router, prefix="/catalog")
    answer = TestClient(app, raise_server_exceptions=False).get("/catalog/")
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "description"}
    assert answer.json()["code"] == str(status)
    assert "bug" not in answer.json()["description"].replace("internal error", "")
    assert ("retry-after" in answer.headers) == (status == 503)
