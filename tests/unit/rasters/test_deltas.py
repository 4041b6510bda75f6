"""Predictor 2 undone: running sums along the rows, modulo the range of the type."""

from __future__ import annotations

import numpy as np
import pytest

from swathe.rasters.deltas import undo_deltas, undo_deltas_apart

TYPES = ("uint8", "uint16", "uint32", "uint64")


def test_each_number_is_added_to_the_one_before() -> None:
    rows = np.array([[5, 1, 255], [0, 0, 7]], np.uint8)
    undo_deltas(rows)
    assert rows.tolist() == [[5, 6, 5], [0, 0, 7]]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (4, 1), (8, 64), (9, 33)])
def test_sums_run_over_at_the_end_of_the_range(dtype: str, height: int, width: int) -> None:
    stored = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (height, width), dtype, endpoint=True)
    wanted = np.cumsum(stored, axis=1, dtype=dtype)
    undo_deltas(stored)
    assert (stored == wanted).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_samples_of_a_pixel_come_apart_in_the_order_asked_for_and_cut(dtype: str) -> None:
    stored = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (6, 7, 3), dtype, endpoint=True)
    wanted = np.cumsum(stored, axis=1, dtype=dtype)
    out = np.zeros((3, 5, 4), dtype)
    undo_deltas_apart(stored, np.array([2, 0, 2]), out)
    for plane, sample in zip(out, (2, 0, 2), strict=True):
        assert (plane == wanted[:5, :4, sample]).all()
