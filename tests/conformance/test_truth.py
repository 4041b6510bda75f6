"""Statistics of real Sentinel-2 scenes against independently computed ones: all parcels, all dates, all bands.

The truth beside the checkout was computed with NumPy, GDAL's rasteriser and exactextract, without this engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders import SHARED_DATA, make_request
from swathe.engine.compute import Engine
from swathe.engine.values import Document
from swathe.model.statistical import StatisticsRequest
from swathe.settings import CollectionSettings, Settings

pytestmark = [
    pytest.mark.skipif(not SHARED_DATA.exists(), reason="the reference scenes are not beside the checkout"),
    pytest.mark.xdist_group("truth"),
]

FLANDERS = SHARED_DATA / "s2-l2a-flanders"
SLOVENIA = SHARED_DATA / "s2-l1c-slovenia"
PERCENTS = (5, 10, 25, 50, 75, 95)

# One script gives every band of a resolution, with and without clouds; SCL or CLM says what is a cloud.
SCRIPT = """//VERSION=3
const bands = %(bands)s
function setup() {
  return {
    input: [{bands: [...bands, "%(cloud)s", "dataMask"]}],
    output: [
      {id: "all", bands: %(outputs)s}, {id: "clear", bands: %(outputs)s},
      {id: "dataMask", bands: ["all", "clear"]}
    ]
  }
}
function evaluatePixel(s) {
  const values = bands.map(b => s[b])
  if (%(ndvi)s) values.push((s.B08 - s.B04) / (s.B08 + s.B04))
  const clear = %(clear)s
  return {all: values, clear: values, dataMask: [s.dataMask, s.dataMask && clear]}
}
"""
CLEAR_SCL = "[0, 1, 3, 8, 9, 10].indexOf(s.SCL) < 0"


def script(bands: list[str], cloud: str, clear: str, *, ndvi: bool) -> str:
    outputs = [*bands, "NDVI"] if ndvi else bands
    return SCRIPT % {
        "bands": json.dumps(bands),
        "outputs": json.dumps(outputs),
        "cloud": cloud,
        "clear": clear,
        "ndvi": json.dumps(ndvi),
    }


def compute(settings: Settings, geopackage: Any, body: Mapping[str, Any]) -> pd.DataFrame:
    """One row per feature, interval start, band and variant."""
    request = StatisticsRequest.model_validate(body)
    documents: list[Document] = []
    with Engine(settings) as engine:
        analysis = engine.analyse(request, geopackage)
        for unit in analysis.units:
            engine.run(engine.make_unit(request, analysis, geopackage, unit.index), deliver=documents.extend)
    rows = []
    for document in documents:
        content = json.loads(document.data)
        assert content["response"]["status"] == "OK", content
        for entry in content["response"]["data"]:
            for variant, output in entry["outputs"].items():
                for band, result in output["bands"].items():
                    stats = result["stats"]
                    row = {"id": content["id"], "day": entry["interval"]["from"][:10], "variant": variant, "band": band}
                    row |= {key: float(value) for key, value in stats.items() if key != "percentiles"}
                    row |= {f"nr{float(k):.0f}": v for k, v in stats.get("percentiles", {}).items()}
                    rows.append(row)
    return pd.DataFrame(rows)


def compare(found: pd.DataFrame, truth: pd.DataFrame, *, tolerance: float, count: str, percentiles: bool) -> int:
    """Asserts that every row of the truth is found with the same numbers; gives how many there were."""
    truth = truth.assign(day=pd.to_datetime(truth["datetime"], utc=True).dt.strftime("%Y-%m-%d"))
    # scenes of one day make one interval: only days with one scene can be compared one to one
    scenes = truth.groupby("day")["item"].nunique()
    truth = truth[truth["day"].isin(scenes[scenes == 1].index)]
    merged = truth.merge(found, on=["id", "day", "variant", "band"], how="left", suffixes=("_truth", ""))
    # exactextract leaves fractions of about 1e-10 beside edges that run along pixel borders: no area
    merged["count"] = merged["count"].where(merged["count"] > 1e-6, 0.0)
    absent = merged["mean"].isna() & (merged["count"] > 0)
    assert not absent.any(), merged.loc[absent, ["id", "day", "variant", "band"]].head()
    seen = merged[merged["sampleCount"].notna()] if "sampleCount" in merged else merged
    valid = seen["sampleCount"] - seen["noDataCount"] if count == "count" else seen[count]
    np.testing.assert_allclose(valid, seen["count"], rtol=0, atol=0 if count == "count" else 1e-4)
    full = seen[seen["count"] > 0]
    for ours, theirs in (("min", "min"), ("max", "max"), ("mean", "mean"), ("stDev", "std")):
        expected = full[f"{theirs}_truth"] if f"{theirs}_truth" in full else full[theirs]
        np.testing.assert_allclose(full[ours], expected, rtol=0, atol=tolerance, err_msg=ours)
    if percentiles:
        for percent in PERCENTS:
            np.testing.assert_allclose(full[f"nr{percent}"], full[f"nr{percent}_truth"], rtol=0, atol=tolerance)
    return len(full)


def request(text: str, type_: str, start: str, end: str, **aggregation: Any) -> dict[str, Any]:
    percentiles = {"default": {"percentiles": {"k": list(PERCENTS)}}}
    calculations = {"all": {"statistics": percentiles}, "clear": {"statistics": percentiles}}
    body = make_request(text, start=start, end=end, data=[{"type": type_}], calculations=calculations, **aggregation)
    return body


@pytest.fixture(scope="module")
def flanders() -> Settings:
    return Settings(collections=(CollectionSettings(type="sentinel-2-l2a", source=str(FLANDERS)),))


@pytest.fixture(scope="module")
def slovenia() -> Settings:
    return Settings(
        collections=(
            CollectionSettings(type="sentinel-2-l1c", source=str(SLOVENIA)),
            CollectionSettings(type="byoc-ndvi", source=str(SLOVENIA)),
        )
    )


FLANDERS_TIME = ("2017-08-01T00:00:00Z", "2019-12-01T00:00:00Z")
SLOVENIA_TIME = ("2015-07-01T00:00:00Z", "2018-01-01T00:00:00Z")
RULES = [("centre", 1e-6, "count"), ("coverage", 1e-5, "weightSum")]


# The one pixel of these scenes that a band lacks (B08, one day): dataMask is that of all bands asked for, so B04 is asked
# for by itself, as its truth was computed.
FLANDERS_BANDS = [(("B04",), False), (("B04", "B08"), True), (("B11",), False)]


def compared_bands(bands: tuple[str, ...], ndvi: bool) -> list[str]:
    return ["B08", "NDVI"] if ndvi else list(bands)


@pytest.mark.parametrize(("cover", "tolerance", "count"), RULES)
@pytest.mark.parametrize(("bands", "ndvi"), FLANDERS_BANDS)
def test_flanders_on_the_sources_pixels(
    flanders: Settings, cover: str, tolerance: float, count: str, bands: tuple[str, ...], ndvi: bool
) -> None:
    text = script(list(bands), "SCL", CLEAR_SCL, ndvi=ndvi)
    body = request(text, "sentinel-2-l2a", *FLANDERS_TIME, sampling={"grid": "source", "cover": cover})
    truth = pd.read_parquet(FLANDERS / f"truth/{cover}.parquet")
    truth = truth[truth["band"].isin(compared_bands(bands, ndvi))]
    found = compute(flanders, FLANDERS / "parcels.gpkg", body)
    assert compare(found, truth, tolerance=tolerance, count=count, percentiles=cover == "centre") > 15_000


def test_flanders_parcels_in_degrees_give_the_same(flanders: Settings) -> None:
    text = script(["B04", "B08"], "SCL", CLEAR_SCL, ndvi=True)
    body = request(text, "sentinel-2-l2a", *FLANDERS_TIME, sampling={"grid": "source", "cover": "centre"})
    truth = pd.read_parquet(FLANDERS / "truth/centre.parquet")
    truth = truth[truth["band"].isin(["B08", "NDVI"])]
    found = compute(flanders, FLANDERS / "parcels-4326.gpkg", body)
    assert compare(found, truth, tolerance=1e-6, count="count", percentiles=True) > 30_000


@pytest.mark.parametrize(("bands", "ndvi"), FLANDERS_BANDS)
def test_flanders_on_the_features_own_boxes(flanders: Settings, bands: tuple[str, ...], ndvi: bool) -> None:
    text = script(list(bands), "SCL", CLEAR_SCL, ndvi=ndvi)
    body = request(text, "sentinel-2-l2a", *FLANDERS_TIME, resx=10, resy=10, sampling={"cover": "centre"})
    truth = pd.read_parquet(FLANDERS / "truth/bbox-grid.parquet").rename(
        columns={"sampleCount": "samples", "noDataCount": "without"}
    )
    truth["count"] = truth["samples"] - truth["without"]
    truth = truth[truth["band"].isin(compared_bands(bands, ndvi))]
    found = compute(flanders, FLANDERS / "parcels.gpkg", body)
    assert compare(found, truth, tolerance=1e-6, count="count", percentiles=True) > 15_000


@pytest.mark.parametrize(("cover", "tolerance", "count"), RULES)
def test_slovenia_on_the_sources_pixels(slovenia: Settings, cover: str, tolerance: float, count: str) -> None:
    truth = pd.read_parquet(SLOVENIA / f"truth/{cover}.parquet")
    if cover == "coverage":
        # exactextract 0.3 gives 0 to one cell of parcel 103 that lies wholly inside: 404 of 405 cells, polygon area 405
        truth = truth[truth["id"] != 103]
    text = script(["B04", "B08"], "CLM", "s.CLM == 0", ndvi=True)
    body = request(text, "sentinel-2-l1c", *SLOVENIA_TIME, sampling={"grid": "source", "cover": cover})
    found = compute(slovenia, SLOVENIA / "parcels.gpkg", body)
    bands = truth[truth["band"] != "NDVI_ASSET"]
    assert compare(found, bands, tolerance=tolerance, count=count, percentiles=cover == "centre") > 3_000

    text = script(["NDVI"], "CLM", "s.CLM == 0", ndvi=False)
    body = request(text, "byoc-ndvi", *SLOVENIA_TIME, sampling={"grid": "source", "cover": cover})
    found = compute(slovenia, SLOVENIA / "parcels.gpkg", body)
    asset = truth[truth["band"] == "NDVI_ASSET"].assign(band="NDVI")
    assert compare(found, asset, tolerance=tolerance, count=count, percentiles=cover == "centre") > 9_000


def test_slovenia_on_the_features_own_boxes(slovenia: Settings) -> None:
    truth = pd.read_parquet(SLOVENIA / "truth/bbox-grid.parquet").rename(
        columns={"sampleCount": "samples", "noDataCount": "without"}
    )
    truth["count"] = truth["samples"] - truth["without"]
    text = script(["B04", "B08"], "CLM", "s.CLM == 0", ndvi=True)
    body = request(text, "sentinel-2-l1c", *SLOVENIA_TIME, resx=10, resy=10, sampling={"cover": "centre"})
    found = compute(slovenia, SLOVENIA / "parcels.gpkg", body)
    assert compare(found, truth[truth["band"] != "NDVI_ASSET"], tolerance=1e-6, count="count", percentiles=True) > 3_000
