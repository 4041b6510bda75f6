"""Boxes that are searched for scenes: few, around the features, and none of them left out."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swathe.catalog.areas import Bbox, boxes_meet, month_after, month_before, plain_boxes, widened
from swathe.catalog.item_cache import Window
from swathe.catalog.neighbourhoods import neighbourhoods

NAN = float("nan")


def test_what_lies_together_is_one_box_and_what_lies_apart_is_another() -> None:
    near = np.array([[15.0, 46.0, 15.1, 46.1], [15.3, 46.2, 15.4, 46.3]])
    assert neighbourhoods(near, 16, 0.25) == [(15.0, 46.0, 15.4, 46.3)]
    far = np.concatenate([near, [[-70.0, -33.0, -69.9, -32.9]], [[NAN] * 4]])
    assert sorted(neighbourhoods(far, 16, 0.25)) == [(-70.0, -33.0, -69.9, -32.9), (15.0, 46.0, 15.4, 46.3)]
    assert neighbourhoods(far, 1, 0.25) == [(-70.0, -33.0, 15.4, 46.3)]
    assert neighbourhoods(np.full((3, 4), NAN), 16, 0.25) == []


def test_a_long_country_is_searched_along_it_and_not_beside_it() -> None:
    steps = np.arange(0, 40, 0.05)
    diagonal = np.stack([steps, steps, steps + 0.01, steps + 0.01], axis=1)
    found = neighbourhoods(diagonal, 16, 0.25)
    assert 4 < len(found) <= 16
    assert sum((east - west) * (north - south) for west, south, east, north in found) < 0.25 * 40 * 40


def test_many_features_are_fast() -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(-90, 90, (700_000, 2))
    assert len(neighbourhoods(np.concatenate([corners, corners + 0.01], axis=1), 16, 0.25)) <= 16


BOX = st.tuples(st.floats(-180, 179), st.floats(-90, 89), st.floats(0, 1), st.floats(0, 1)).map(
    lambda told: (told[0], told[1], told[0] + told[2], told[1] + told[3])
)


@given(st.lists(BOX, min_size=1, max_size=40), st.integers(1, 8), st.randoms())
def test_every_feature_lies_in_a_box_and_order_does_not_matter(
    boxes: list[Bbox], most: int, lots: st.DataObject
) -> None:
    found = neighbourhoods(np.array(boxes), most, 0.25)
    assert len(found) <= most
    for west, south, east, north in boxes:
        assert any(a <= west and b <= south and east <= c and north <= d for a, b, c, d in found)
    shuffled = list(boxes)
    lots.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(neighbourhoods(np.array(shuffled), most, 0.25)) == sorted(found)


@given(BOX)
def test_a_wider_box_holds_the_box_and_is_that_of_its_neighbours(box: Bbox) -> None:
    (plain, *_) = plain_boxes([box])
    wide = widened(plain)
    assert Window(wide, None, None).holds(Window(plain, None, None))
    assert widened(wide) == wide or max(wide[2] - wide[0], wide[3] - wide[1]) > 2
    assert boxes_meet(wide, plain)


@pytest.mark.parametrize(
    ("box", "plain"),
    [
        ((10.0, 0.0, 20.0, 5.0), [(10.0, 0.0, 20.0, 5.0)]),
        ((179.0, 0.0, -179.0, 5.0), [(179.0, 0.0, 180.0, 5.0), (-180.0, 0.0, -179.0, 5.0)]),
        ((178.5, -95.0, 181.0, 5.0), [(178.5, -90.0, 180.0, 5.0), (-180.0, -90.0, -179.0, 5.0)]),
        ((-181.0, 0.0, -179.0, 5.0), [(179.0, 0.0, 180.0, 5.0), (-180.0, 0.0, -179.0, 5.0)]),
        ((-200.0, 0.0, 200.0, 5.0), [(-180.0, 0.0, 180.0, 5.0)]),
        ((-180.0, -90.0, 180.0, 90.0), [(-180.0, -90.0, 180.0, 90.0)]),
    ],
)
def test_boxes_over_the_antimeridian_are_searched_as_two(box: Bbox, plain: list[Bbox]) -> None:
    assert plain_boxes([box]) == plain


def test_months_are_searched_whole() -> None:
    moment = datetime(2020, 12, 5, 10, 30, tzinfo=UTC)
    first, next_year = datetime(2020, 12, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
    assert (month_before(moment), month_after(moment)) == (first, next_year)
    assert (month_before(first), month_after(first)) == (first, first)
    assert month_before(datetime.min.replace(tzinfo=UTC)) is None
    assert month_after(datetime.max.replace(tzinfo=UTC)) is None


def test_a_window_holds_those_within_it() -> None:
    june, july = datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 7, 1, tzinfo=UTC)
    window = Window((10.0, 40.0, 20.0, 50.0), june, july)
    assert window.holds(window)
    assert Window(None, None, None).holds(window)
    assert not window.holds(Window(None, june, july))
    assert not window.holds(Window((10.0, 40.0, 20.1, 50.0), june, july))
    assert not window.holds(Window((10.0, 40.0, 20.0, 50.0), june, None))
    assert not window.holds(Window((10.0, 40.0, 20.0, 50.0), None, july))
