"""Which scene lies on top, and which belong to one pass."""

from __future__ import annotations

from datetime import UTC, datetime

from swathe.catalog.order import group_orbits, sort_scenes
from swathe.catalog.scene import Scene
from swathe.model.common import MosaickingOrder


def _scene(name: str, day: int, hour: int, cloud_cover: float | None) -> Scene:
    moment = datetime(2020, 6, day, hour, tzinfo=UTC)
    return Scene(name, "c", moment, cloud_cover, (0, 0, 1, 1), None, {})


SCENES = [_scene("a", 1, 10, 20.0), _scene("b", 2, 10, None), _scene("c", 2, 10, 20.0), _scene("d", 2, 11, 0.0)]


def _names(order: MosaickingOrder | None) -> str:
    return "".join(scene.id for scene in sort_scenes(reversed(SCENES), order))


def test_the_one_on_top_comes_first_and_ties_go_by_time_then_id() -> None:
    assert _names(MosaickingOrder.MOST_RECENT) == "dbca"
    assert _names(None) == "dbca"
    assert _names(MosaickingOrder.LEAST_RECENT) == "abcd"
    assert _names(MosaickingOrder.LEAST_CC) == "dcab"


def test_an_orbit_is_a_utc_day_in_the_order_given() -> None:
    orbits = group_orbits(sort_scenes(SCENES))
    assert [(orbit.day.day, "".join(scene.id for scene in orbit.scenes)) for orbit in orbits] == [(2, "dbc"), (1, "a")]
