"""A unit that was broken off while it delivered goes on where it was."""

from __future__ import annotations

import json

import numpy as np
from jobs_fake_engine import make_fake_engine

from swathe.engine.values import WorkUnit
from swathe.jobs.tasks import UnitInHand, UnitTask, run_unit
from swathe.settings import Settings


class Shelf:
    def __init__(self) -> None:
        self.documents = []
        self.tables = []

    def write(self, documents):
        self.documents += [document.feature_id for document in documents]

    def write_table(self, table):
        self.tables.append(table.index)


def run(tmp_path, **about):
    request = {
        "input": {"data": [{"type": "x"}]},
        "aggregation": {
            "timeRange": {"from": "2020-01-01", "to": "2020-02-01"},
            "aggregationInterval": {"of": "P1D"},
            "evalscript": "//",
            "width": 1,
            "height": 1,
        },
    }
    (tmp_path / "job").mkdir(exist_ok=True)
    unit = WorkUnit(
        3,
        json.dumps(request),
        json.dumps({"folder": str(tmp_path / "job")}).encode(),
        4326,
        np.arange(10, 16, dtype=np.int64),
        tuple("abcdef"),
        (b"",) * 6,
    )
    shelf, told = Shelf(), []
    task = UnitTask("statistics", "run", 3, UnitInHand(unit), shelf, Settings(), make_engine=make_fake_engine, **about)
    outcome = run_unit(task, on_progress=lambda fraction, delivered: told.append((fraction, delivered)))
    assert outcome.error is None, outcome
    return shelf, outcome


def test_all_documents_of_a_fresh_unit_are_delivered(tmp_path):
    shelf, outcome = run(tmp_path)
    assert (shelf.documents, shelf.tables) == ([10, 11, 12, 13, 14, 15], [3])
    assert outcome.result.done == 6


def test_those_that_are_delivered_are_not_delivered_again(tmp_path):
    shelf, outcome = run(tmp_path, delivered=4)
    assert (shelf.documents, shelf.tables) == ([14, 15], [3])
    assert outcome.result.done == 6


def test_where_all_were_delivered_the_unit_is_done(tmp_path):
    shelf, outcome = run(tmp_path, delivered=6)
    assert (shelf.documents, outcome.result.done) == ([], 6)


def test_documents_that_say_a_unit_is_given_up_replace_all(tmp_path):
    shelf, outcome = run(tmp_path, delivered=4, given_up="it kills its worker")
    assert shelf.documents == [10, 11, 12, 13, 14, 15]
    assert outcome.result.failed == 6
