"""Keys of requests of Batch Processing V2."""

from __future__ import annotations

from typing import Any

from swathe.jobs.keys import PROCESS_PLACES, KeyPairs, join_secrets, split_secrets

KEYS = {"accessKey": "AKIA1", "secretAccessKey": "s1"}
OTHER = {"accessKey": "AKIA2", "secretAccessKey": "s2"}
OUTPUT = {"type": "raster", "delivery": {"s3": {"url": "s3://b/out", "region": "eu-west-1"}}, "overwrite": True}


def make_body(**given: Any) -> dict[str, Any]:
    delivery = {"s3": {**OUTPUT["delivery"]["s3"], **OTHER}}
    return {"processRequest": {"evalscript": "//"}, "output": {**OUTPUT, "delivery": delivery}, **given}


def test_keys_of_both_places_leave_the_request_and_come_back() -> None:
    defaults = {"resolution": 10}
    place = {"s3": {"url": "s3://b/in.gpkg"}}
    whole = make_body(input={"type": "geopackage", "features": {"s3": {**place["s3"], **KEYS}}, "defaults": defaults})
    shown, keys = split_secrets(whole, PROCESS_PLACES)
    assert shown == {
        "processRequest": {"evalscript": "//"},
        "input": {"type": "geopackage", "features": place, "defaults": defaults},
        "output": OUTPUT,
    }
    assert keys == KeyPairs(features=KEYS, output=OTHER)
    assert join_secrets(shown, keys, PROCESS_PLACES) == whole


def test_a_tiling_grid_has_one_place_only() -> None:
    whole = make_body(input={"type": "tiling-grid", "id": 0, "resolution": 10})
    shown, keys = split_secrets(whole, PROCESS_PLACES)
    assert keys == KeyPairs(features=None, output=OTHER)
    assert shown["input"] == whole["input"]
    assert join_secrets(shown, keys, PROCESS_PLACES) == whole


def test_keys_that_stand_where_none_belong_are_not_shown() -> None:
    body = make_body(input={"type": "tiling-grid", "id": 0, "resolution": 10, "features": "none"})
    body["output"]["s3"] = {"url": "s3://b/elsewhere", **KEYS}
    shown, keys = split_secrets(body, PROCESS_PLACES)
    assert "s1" not in str(shown)
    assert keys == KeyPairs(features=None, output=OTHER)
