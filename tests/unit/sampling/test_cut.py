"""Cells of one feature cut along the blocks of its sources: every cell once, and each block's cells together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from swathe.engine.strips import strips
from swathe.grids.cover import cover, cover_rows
from swathe.grids.sample_grid import SampleGrids, feature_grids
from swathe.model.statistical import Cover
from swathe.rasters.source import SourceGrid
from swathe.sampling.cut import BlockGrid, Pieces, cut_cells, take_spans
from swathe.sampling.locate import block_numbers

LEFT, TOP = 500_000.0, 5_100_000.0
SHAPE = shapely.Polygon(
    [(LEFT + x, TOP - y) for x, y in [(-500, 300), (7_000, -410), (25_200, 4_000), (19_000, 18_700), (210, 13_330)]],
    [[(LEFT + x, TOP - y) for x, y in [(5_000, 5_000), (8_110, 5_200), (6_400, 7_770)]]],
)
SMALL = BlockGrid(SourceGrid(32633, (10, 0, LEFT, 0, -10, TOP), 1_100, 1_300), 256, 128)
COARSE = BlockGrid(SourceGrid(32633, (20, 0, LEFT + 9_000, 0, -20, TOP - 3_000), 900, 900), 300, 300)


def make_grid(epsg: int) -> tuple[shapely.Polygon, SampleGrids]:
    if epsg == 32633:
        return SHAPE, feature_grids(np.array([SHAPE.bounds]), epsg, resolution=(10, 10))
    change = Transformer.from_crs(32633, epsg, always_xy=True)
    moved = shapely.transform(SHAPE, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1))
    return moved, feature_grids(np.array([moved.bounds]), epsg, resolution=(10 / 77_450, 10 / 111_150))


def cells_of(runs: np.ndarray, width: int) -> np.ndarray:
    """A number for every cell, sorted."""
    lengths = (runs[:, 2] - runs[:, 1]).astype(np.int64)
    begin = runs[:, 0].astype(np.int64) * width + runs[:, 1]
    return np.sort(np.repeat(begin - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum()))


@pytest.mark.parametrize("epsg", [32633, 4326])
def test_every_cell_is_in_one_piece_and_a_piece_in_one_block(epsg: int) -> None:
    polygon, grid = make_grid(epsg)
    whole = cover(np.array([polygon], object), grid, Cover.SERVICE)
    pieces = cut_cells(whole.runs, grid, [SMALL, COARSE], 5_000)
    width = int(grid.width[0])
    assert np.array_equal(cells_of(pieces.runs, width), cells_of(whole.runs, width))
    assert np.diff(pieces.starts).max() < 5_000 + 1_024
    assert (np.diff(pieces.block) >= 0).all()
    assert (np.diff(pieces.block_row) >= 0).all()
    everything = pieces.cells(0, len(pieces))
    alike = grid.take(np.zeros(len(pieces), np.int64))
    first = block_numbers(everything, alike, SMALL.grid, SMALL.block_width, SMALL.block_height)
    second = block_numbers(everything, alike, COARSE.grid, COARSE.block_width, COARSE.block_height)
    expected = np.where(first >= 0, first, np.where(second >= 0, SMALL.count + second, -1))
    given = np.repeat(pieces.block, np.diff(pieces.starts))
    assert (first >= 0).any()
    assert ((first < 0) & (second >= 0)).any()
    assert (expected < 0).any()
    given = np.where(given >= SMALL.count + COARSE.count, -1, given)
    # in another CRS a centre within a hundred thousandth of a pixel of a border may be put on either side
    assert (given != expected).mean() <= (0 if epsg == 32633 else 1e-5)


def make_pieces(cells: list[int], block: list[int], row: list[int]) -> Pieces:
    starts = np.concatenate([[0], np.cumsum(cells)])
    runs = np.array([[0, a, b] for a, b in itertools.pairwise(starts.tolist())], np.int32)
    return Pieces(runs, np.arange(len(cells) + 1), starts, np.array(block), np.array(row))


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (100, [(0, 8)]),
        (45, [(0, 4), (4, 8)]),  # 40 and 40: the end of a row
        (70, [(0, 4), (4, 8)]),  # 60 would fit, but the row ends at 40
        (90, [(0, 8)]),
        (30, [(0, 2), (2, 4), (4, 6), (6, 8)]),  # no row fits, so blocks do
        (15, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8)]),  # no block fits
        (1, [(n, n + 1) for n in range(8)]),
    ],
)
def test_strips_end_between_rows_of_blocks_or_blocks(most: int, expected: list[tuple[int, int]]) -> None:
    pieces = make_pieces([10] * 8, [0, 0, 1, 1, 4, 4, 5, 5], [0, 0, 0, 0, 1, 1, 1, 1])
    assert list(strips(pieces, most)) == expected


@pytest.mark.parametrize("rule", [Cover.COVERAGE, Cover.ALL_TOUCHED])
def test_rows_are_covered_as_in_the_whole(rule: Cover) -> None:
    polygon, grid = make_grid(32633)
    whole = cover(np.array([polygon], object), grid, rule)
    height = int(grid.height[0])
    parts = [cover_rows(polygon, grid, rule, row, min(row + 77, height)) for row in range(0, height, 77)]
    assert np.array_equal(np.concatenate([part.runs for part in parts]), whole.runs)
    if rule is Cover.COVERAGE:
        weights = [part.weights for part in parts if part.weights is not None]
        assert np.array_equal(np.concatenate(weights), whole.weights)


def test_weights_of_parts_of_rows() -> None:
    runs = np.array([[0, 2, 5], [0, 8, 10], [3, 0, 4]], np.int32)
    values = np.arange(9, dtype=np.float64)
    wanted = np.array([[3, 1, 3], [0, 8, 9], [0, 3, 5]], np.int32)
    assert take_spans(runs, values, wanted).tolist() == [6, 7, 3, 1, 2]
