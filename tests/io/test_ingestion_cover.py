"""The area of data that is found from a tile's values: all of it, in few vertices, valid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely

from builders import make_cog
from swathe.jobs.ingestion_cover import MOST_VERTICES, Layer, find_data
from swathe.rasters.blocks import BlockReader
from swathe.settings import StorageSettings
from swathe.storage import ObjectStores

LEFT, TOP = 500_000.0, 5_100_000.0


@pytest.fixture
def reader() -> Iterator[BlockReader]:
    made = BlockReader(ObjectStores(StorageSettings()))
    yield made
    made.close()


def found(
    reader: BlockReader, folder: Path, *bands: np.ndarray, nodata: float | None = 0, **how: float
) -> shapely.Geometry | None:
    layers = []
    for number, values in enumerate(bands):
        make_cog(folder / f"{number}.tif", values, **how)
        layers.append(Layer(reader.info(str(folder / f"{number}.tif")), 1, nodata))
    height, width = bands[0].shape
    return find_data(reader, layers, shapely.box(LEFT, TOP - 10 * height, LEFT + 10 * width, TOP))


def pixels(values: np.ndarray) -> shapely.Geometry:
    """The pixels that are not 0, one by one."""
    rows, columns = np.nonzero(values)
    left, top = LEFT + 10 * columns, TOP - 10 * rows
    return shapely.union_all(shapely.box(left, top - 10, left + 10, top))


def test_cover_by_hand(reader: BlockReader, tmp_path: Path) -> None:
    values = np.zeros((40, 50), np.uint8)
    values[3:10, 5:21] = 7
    values[30:, 48:] = 1
    assert found(reader, tmp_path, values).equals(pixels(values))


def test_data_is_what_any_band_has(reader: BlockReader, tmp_path: Path) -> None:
    one, two = np.zeros((40, 50), np.uint8), np.zeros((40, 50), np.uint8)
    one[:10, :10], two[20:30, 20:30] = 1, 1
    assert found(reader, tmp_path, one, two).equals(pixels(one | two))


def test_nan_is_no_data_and_without_a_value_for_none_all_is(reader: BlockReader, tmp_path: Path) -> None:
    values = np.full((40, 50), np.nan, np.float32)
    values[3:10, 5:21] = 0.0
    assert found(reader, tmp_path, values, nodata=None).equals(pixels(~np.isnan(values)))
    whole = found(reader, tmp_path, np.zeros((40, 50), np.uint8), nodata=None)
    assert whole.equals(shapely.box(LEFT, TOP - 400, LEFT + 500, TOP))
    assert found(reader, tmp_path, np.zeros((40, 50), np.uint8)) is None


@pytest.mark.parametrize("kind", ["swath", "clouds", "specks"])
def test_cover_holds_all_data_in_few_vertices(reader: BlockReader, tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(4)
    rows, columns = np.mgrid[:1100, :1300]
    values = {
        "swath": (np.abs(rows - 2.1 * columns + 600) < 700).astype(np.uint8),
        "clouds": (np.sin(rows / 31) + np.sin(columns / 23) > 0.9).astype(np.uint8),
        "specks": (random.random((1100, 1300)) < 0.03).astype(np.uint8),
    }[kind]
    area = found(reader, tmp_path, values)
    assert area.is_valid
    assert shapely.get_num_coordinates(area) <= MOST_VERTICES
    where = np.argwhere(values)
    if kind == "specks":
        where = where[random.choice(len(where), 2000)]
    x, y = LEFT + 10 * (where[:, 1] + 0.5), TOP - 10 * (where[:, 0] + 0.5)
    shapely.prepare(area)
    assert shapely.intersects_xy(area, x, y).all()
    if kind == "swath":
        assert area.area < 1.02 * 100 * values.sum()
