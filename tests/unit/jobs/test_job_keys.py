from __future__ import annotations

import json

from swathe.jobs.keys import KeyPairs, join_secrets, split_secrets

PLACE = {"url": "s3://b/in.gpkg", "region": "eu-west-1"}
KEYS = {"accessKey": "AKIA1", "secretAccessKey": "s1"}
OTHER = {"accessKey": "AKIA2", "secretAccessKey": "s2"}
BODY = {
    "input": {"features": {"s3": PLACE | KEYS}, "data": [{"type": "sentinel-2-l2a", "x": {"secretAccessKey": "s3"}}]},
    "aggregation": {"evalscript": "//"},
    "output": {"s3": {"url": "s3://b/out"} | OTHER, "gs": {"credentials": "s4"}},
    "description": "mine",
}


def test_keys_leave_the_request_and_nothing_else_does():
    shown, keys = split_secrets(BODY)
    assert shown == {
        "input": {"features": {"s3": PLACE}, "data": [{"type": "sentinel-2-l2a", "x": {}}]},
        "aggregation": {"evalscript": "//"},
        "output": {"s3": {"url": "s3://b/out"}},
        "description": "mine",
    }
    assert keys == KeyPairs(features=KEYS, output=OTHER)


def test_keys_come_back_to_their_places():
    shown, keys = split_secrets(BODY)
    whole = join_secrets(shown, KeyPairs.from_text(keys.to_text()))
    assert whole["input"]["features"]["s3"] == PLACE | KEYS
    assert whole["output"]["s3"] == {"url": "s3://b/out"} | OTHER


def test_request_without_keys_keeps_none():
    shown, keys = split_secrets(
        {"input": {"features": {"s3": PLACE}, "data": []}, "output": {"s3": {"url": "s3://b/out"}}}
    )
    assert keys.to_text() is None
    assert join_secrets(shown, KeyPairs.from_text(None)) == shown


def test_key_pairs_show_nothing():
    assert "s1" not in repr(KeyPairs(features=KEYS))
    assert json.loads(KeyPairs(features=KEYS).to_text())["features"] == KEYS
