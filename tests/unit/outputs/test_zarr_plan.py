"""What a Zarr group is decided to be, and what is refused before anything is written."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.model.process_zarr import ZarrOutput
from swathe.outputs.zarr_codecs import decode, encode
from swathe.outputs.zarr_metadata import describe
from swathe.outputs.zarr_plan import plan_zarr
from swathe.outputs.zarr_write import encode_region
from zarr_cases import HEIGHT, MODIFIED, SPAN, TILES, WIDTH, Image, make_plan, moved, picture, tile, wire


def _json(plan: Any, key: str) -> Any:
    return json.loads(describe(plan)[key])


def test_the_group_is_the_smallest_grid_of_whole_tiles() -> None:
    plan = make_plan()
    assert plan.shape == (1, 2 * HEIGHT, 3 * WIDTH)
    assert plan.grid.bounds == (4_300_000.0, 2_597_600.0, 4_302_400.0, 2_600_000.0)
    assert [plan.place(one) for one in TILES] == [(0, 8), (12, 0), (12, 16), (12, 8)]


def test_the_order_of_tiles_says_nothing() -> None:
    assert make_plan(tiles=TILES) == make_plan(tiles=TILES[::-1])


def test_a_plan_can_be_sent_to_a_worker() -> None:
    plan = make_plan(arrayParameters={"filters": [{"id": "delta", "dtype": "<u2"}]})
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_parameters_of_an_array_come_before_those_of_all() -> None:
    plan = make_plan(
        (Image("red"), Image("ndvi", "float32")),
        arrayParameters={"compressor": {"id": "zlib", "level": 2}},
        arrayOverrides={
            "ndvi": {"dtype": "<f4", "fill_value": "NaN", "chunks": [1, 6, 8], "customAttributes": {"units": "1"}}
        },
    )
    red, ndvi = _json(plan, "red/.zarray"), _json(plan, "ndvi/.zarray")
    assert red == {
        "zarr_format": 2,
        "shape": [1, 24, 24],
        "chunks": [1, 4, 4],
        "dtype": "<u2",
        "compressor": {"id": "zlib", "level": 2},
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": ".",
    }
    assert ndvi == red | {"chunks": [1, 6, 8], "dtype": "<f4", "fill_value": "NaN"}
    assert _json(plan, "ndvi/.zattrs")["units"] == "1"
    assert _json(plan, "red/.zattrs")["_ARRAY_DIMENSIONS"] == ["time", "y", "x"]


def test_without_a_compressor_the_documented_one_is_taken_and_null_means_none() -> None:
    documented = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
    assert _json(make_plan(), "red/.zarray")["compressor"] == documented
    assert _json(make_plan(arrayParameters={"compressor": None}), "red/.zarray")["compressor"] is None


def test_the_group_tells_its_extent_and_times_unless_the_user_says_otherwise() -> None:
    plan = make_plan(group={"customAttributes": {"copyright": "me", "date_modified": "never"}})
    attributes = _json(plan, ".zattrs")
    assert attributes["copyright"] == "me"
    assert attributes["date_modified"] == "never"
    assert _json(make_plan(), ".zattrs")["date_modified"] == "2026-01-02T03:04:05Z"
    assert attributes["time_coverage_start"] == "2019-04-01T00:00:00Z"
    assert attributes["time_coverage_end"] == "2019-06-30T00:00:00Z"
    assert 46.4 < attributes["geospatial_lat_min"] < attributes["geospatial_lat_max"] < 46.6
    assert 9.7 < attributes["geospatial_lon_min"] < attributes["geospatial_lon_max"] < 9.8


def test_dimensions_may_be_overridden_as_documented() -> None:
    plan = make_plan(arrayOverrides={"red": {"customAttributes": {"_ARRAY_DIMENSIONS": ["t", "lat", "lon"]}}})
    assert _json(plan, "red/.zattrs")["_ARRAY_DIMENSIONS"] == ["t", "lat", "lon"]


def test_all_metadata_are_in_one_object_which_comes_last() -> None:
    objects = describe(make_plan())
    assert list(objects)[-1] == ".zmetadata"
    together = json.loads(objects[".zmetadata"])
    assert together["zarr_consolidated_format"] == 1
    alone = {key: json.loads(data) for key, data in objects.items() if key.rsplit("/")[-1] in (".zarray", ".zattrs")}
    assert together["metadata"] == alone | {".zgroup": {"zarr_format": 2}}


def test_a_chunk_belongs_to_one_tile() -> None:
    for origin in ("topLeft", "bottomLeft"):
        plan = make_plan(group={"coordinates": {"origin": origin}})
        keys = []
        for one in TILES:
            row, column = plan.place(one)
            keys += [key for key, _ in encode_region(plan, "red", picture(one), first_row=row, first_column=column)]
        assert len(keys) == len(set(keys)) == 4 * 3 * 2
        corner = {"topLeft": "red/0.0.0", "bottomLeft": "red/0.5.0"}[origin]
        assert corner not in keys


def test_chunks_of_nothing_but_the_fill_value_are_not_written() -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    values[5, 6] = 1
    found = dict(encode_region(make_plan(), "red", values, first_row=0, first_column=0))
    assert list(found) == ["red/0.1.1"]
    plan = make_plan((Image("ndvi", "float32"),), arrayParameters={"dtype": "<f4", "fill_value": "NaN"})
    empty = np.full((4, 8), np.nan, np.float32)
    empty[0, 0] = 0.0
    assert [key for key, _ in encode_region(plan, "ndvi", empty, first_row=0, first_column=0)] == ["ndvi/0.0.0"]


@pytest.mark.parametrize("place", [{"first_row": 2, "first_column": 0}, {"first_row": 24, "first_column": 0}])
def test_regions_that_are_no_whole_chunks_of_the_array_are_bugs(place: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="red"):
        list(encode_region(make_plan(), "red", np.ones((4, 4)), **place))


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ((), "no tiles"),
        ((TILES[0], tile(0, 0, epsg=4326, pixel=0.0001)), "one CRS, but the tiles are in EPSG:3035 and EPSG:4326"),
        ((TILES[0], moved(TILES[1], width=7)), "same size .* 8 x 12 pixels .* 7 x 12"),
        ((TILES[0], moved(TILES[1], dx=50.0)), "same size and resolution"),
        ((TILES[0], moved(TILES[0], x0=TILES[0].x0 + 600)), "not overlap; leave out bufferX"),
        ((TILES[0], TILES[1], TILES[0]), "not overlap"),
        ((TILES[0], moved(TILES[1], y0=TILES[1].y0 + 50.0)), "pixels of all tiles must be those of one grid"),
    ],
)
def test_tiles_that_make_no_grid_are_refused(tiles: Any, message: str) -> None:
    with pytest.raises(RequestInvalid, match=message):
        make_plan(tiles=tiles)


@pytest.mark.parametrize(
    ("image", "parameters", "message"),
    [
        (Image("red", bands=3), {}, "3 bands; with Zarr every output has one"),
        (Image("x"), {}, "no array can be called 'x'"),
        (Image(".hidden"), {}, "no array can be called"),
        (Image("red", "float32"), {}, "cannot hold FLOAT32 as <u2; use one of <f4"),
        (Image("red", "int16"), {}, "cannot hold INT16 as <u2"),
        (Image("red"), {"chunks": [1, 5, 4]}, "5 rows .* do not divide the 12 rows of a tile; 4 or 6 would"),
        (Image("red"), {"chunks": [1, 4, 9]}, "9 columns .* do not divide the 8 columns of a tile; 8 would"),
        (Image("red"), {"dtype": "<f4", "fill_value": 1e39}, "fill_value 1e.39 .* is no <f4"),
        (Image("red"), {"compressor": {"id": "blosc", "cname": "snow"}}, "cannot be stored as <u2"),
        (Image("red"), {"compressor": {"id": "zlib", "level": 77}}, "cannot be stored"),
        (Image("red"), {"compressor": {"id": "lzma", "filters": []}}, "'lzma' of array 'red' has no setting 'filters'"),
        (Image("red"), {"filters": [{"id": "pickle"}]}, "filter of array 'red' needs an id, one of delta"),
        (Image("red"), {"filters": [{"id": "delta", "dtype": "<f4"}]}, "has the dtype <f4, but the array is <u2"),
        (Image("red"), {"filters": [{"id": "delta", "dtype": "?!"}]}, "has the dtype"),
        (Image("red"), {"filters": [{"id": "delta"}]}, "cannot be stored"),
        (
            Image("red"),
            {"filters": [{"id": "crc32"}, {"id": "delta", "dtype": "<u2"}]},
            "take bytes and come after",
        ),
    ],
)
def test_arrays_that_cannot_be_stored_are_refused(image: Image, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestInvalid, match=message):
        make_plan((image,), arrayParameters=parameters)


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="customAttributes of the group hold nan"):
        make_plan(group={"customAttributes": {"a": [{"b": math.nan}]}})


def test_what_a_worker_would_have_to_hold_has_a_limit() -> None:
    output = ZarrOutput.model_validate(wire())
    images = (Image("red"), Image("nir"))
    with pytest.raises(LimitExceeded, match="128 bytes in all arrays, and 127 is the most"):
        plan_zarr(output, images, TILES, times=[SPAN], url="s3://b/k", modified=MODIFIED, most_held_bytes=127)


def test_format_three_takes_filters_of_little_endian_numbers_only() -> None:
    filters = {"dtype": ">u2", "filters": [{"id": "delta", "dtype": ">u2"}]}
    make_plan(arrayParameters=filters)
    with pytest.raises(RequestInvalid, match="such as <u2, not >u2"):
        make_plan(arrayParameters=filters, zarr_format=3)


@pytest.mark.parametrize("compressor", [{"id": "blosc", "cname": "zstd"}, {"id": "gzip", "level": 5}])
def test_the_same_values_give_the_same_bytes(compressor: dict[str, Any]) -> None:
    values = np.random.default_rng(3).integers(0, 900, (1, 1000, 1000), np.uint16)
    first = encode(values, (), compressor)
    assert {encode(values, (), compressor) for _ in range(5)} == {first}
    assert compressor["id"] != "gzip" or first[4:8] == b"\0\0\0\0"


@given(
    st.sampled_from(["|u1", "|i1", "<u2", ">u2", "<i2", ">i2", "<f4", ">f4", "<f8", ">f8"]),
    st.sampled_from(["blosc", "zlib", "gzip", "bz2", "lzma", "lz4", "zstd", None]),
    st.lists(st.sampled_from(["shuffle", "crc32", "adler32"]), max_size=2),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_what_goes_in_comes_out(dtype: str, compressor: str | None, byte_filters: list[str], delta: bool) -> None:
    values = np.arange(96).reshape(1, 8, 12).astype(dtype)
    config = None if compressor is None else {"id": compressor}
    filters: list[dict[str, Any]] = [{"id": "delta", "dtype": dtype}] if delta else []
    filters += [{"id": name} for name in byte_filters]
    found = decode(encode(values, filters, config), dtype, filters, config)
    np.testing.assert_array_equal(found.reshape(values.shape), values)
