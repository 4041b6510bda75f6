"""The published package's Process, Statistical and Async Process requests, unchanged, against a running server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import sentinelhub
import shapely
from sentinelhub import CRS, BBox, DataCollection, Geometry, MimeType, SentinelHubRequest, SentinelHubStatistical
from sentinelhub.evalscript import generate_evalscript

from builders import make_catalog, make_geopackage, make_telling_scenes, telling_band
from engines import run
from serving import Serving, write_config
from swathe.settings import load_settings

pytestmark = pytest.mark.xdist_group("http")

LEFT, TOP = 500_000, 5_100_000
SIDE = 256
DAYS = (1, 4, 9)
SCRIPT = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"], units: "DN"}],
    output: [{id: "default", bands: 1, sampleType: "UINT16"}, {id: "ndvi", bands: 1, sampleType: "FLOAT32"},
             {id: "picture", bands: 4, sampleType: "UINT8"}]
  }
}
function updateOutputMetadata(scenes, inputMetadata, outputMetadata) { outputMetadata.userData = {"made": "here"} }
function evaluatePixel(s) {
  return {default: [s.B04], ndvi: [(s.B08 - s.B04) / (s.B08 + s.B04)],
          picture: [s.B04 % 256, 7, 9, s.dataMask * 255]}
}
"""
STATISTICS = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"], units: "DN"}],
    output: [{id: "ndvi", bands: 1, sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s) { return {ndvi: [(s.B08 - s.B04) / (s.B08 + s.B04)], dataMask: [s.dataMask]} }
"""
ENDLESS = (
    "//VERSION=3\nfunction setup() { return {input: ['B04'], output: {bands: 1}} }\nfunction evaluatePixel(s) { %s }"
)
BOX = BBox((LEFT + 200, TOP - 1480, LEFT + 1480, TOP - 200), CRS("32633"))
FIELD = shapely.Polygon([(LEFT + 300, TOP - 300), (LEFT + 900, TOP - 420), (LEFT + 620, TOP - 1180)])


def band(number: int, day: int) -> np.ndarray:
    return telling_band(number, day, SIDE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("services")
    scenes = make_telling_scenes(folder / "scenes", dict.fromkeys(DAYS, 0.0), band, origin=(LEFT, TOP))
    catalog = make_catalog(folder / "scenes", scenes)
    (folder / "buckets" / "out").mkdir(parents=True)
    lines = ["[storage]", f'local_root = "{folder / "buckets"}"', "[services]", "processes = 2", "threads = 2"]
    config = write_config(folder / "config.toml", catalog, *lines)
    with Serving(folder / "home", config=config) as running:
        running.buckets, running.config = folder / "buckets", config
        yield running


@pytest.fixture(scope="module")
def config(server: Serving) -> Iterator[sentinelhub.SHConfig]:
    made = server.client("published")
    config = sentinelhub.SHConfig(use_defaults=True)
    config.sh_client_id, config.sh_client_secret = made["client_id"], made["client_secret"]
    config.sh_base_url, config.sh_token_url = server.url, f"{server.url}/oauth/token"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
        yield config


@pytest.fixture(scope="module")
def collection(server: Serving) -> DataCollection:
    """Sentinel-2 L2A at this server, as the package wants a foreign place to be named."""
    return DataCollection.SENTINEL2_L2A.define_from(f"SENTINEL2_AT_{server.url}", service_url=server.url)


def source(collection: DataCollection = DataCollection.SENTINEL2_L2A) -> dict[str, Any]:
    return SentinelHubRequest.input_data(
        collection, time_interval=("2020-06-01", "2020-06-30"), mosaicking_order="leastRecent"
    )


@pytest.fixture
def image(config: sentinelhub.SHConfig, collection: DataCollection) -> Callable[..., Any]:
    def get(*responses: tuple[str, MimeType], **where: Any) -> Any:
        """What the package makes of the answer."""
        request = SentinelHubRequest(
            evalscript=SCRIPT,
            input_data=[source(collection)],
            responses=[SentinelHubRequest.output_response(*response) for response in responses],
            config=config,
            **(where or {"bbox": BOX, "resolution": (10, 10)}),
        )
        return request.get_data()[0]

    return get


def test_images_in_every_format(image: Callable[..., Any]) -> None:
    b04, b08 = (band(number, 1)[20:148, 20:148].astype(float) for number in (1, 3))
    found = image(("default", MimeType.TIFF))
    assert (found.dtype, found.shape) == (np.uint16, (128, 128))
    np.testing.assert_array_equal(found, b04)
    picture = image(("picture", MimeType.PNG))
    assert picture.shape == (128, 128, 4)
    np.testing.assert_array_equal(picture[..., 0], b04 % 256)
    np.testing.assert_array_equal(picture[..., 3], np.where(b04 == 0, 0, 255))
    files = image(("default", MimeType.TIFF), ("ndvi", MimeType.TIFF), ("userdata", MimeType.JSON))
    assert list(files) == ["default.tif", "ndvi.tif", "userdata.json"]
    assert files["userdata.json"] == {"made": "here"}
    np.testing.assert_array_equal(files["default.tif"], found)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(files["ndvi.tif"], (b08 - b04) / (b08 + b04), rtol=1e-6)
    assert image(("userdata", MimeType.JSON)) == {"made": "here"}


def test_an_image_is_cut_out_by_the_geometry(image: Callable[..., Any]) -> None:
    field = Geometry(FIELD, CRS("32633"))
    found = image(("picture", MimeType.PNG), geometry=field, resolution=(10, 10))
    assert found.shape == (88, 60, 4)
    x, y = np.meshgrid(LEFT + 305.0 + 10 * np.arange(60), TOP - 305.0 - 10 * np.arange(88))
    kept, has_data = found[..., 3] == 255, band(1, 1)[30:118, 30:90] > 0
    assert kept[shapely.contains_xy(FIELD, x, y) & has_data].all()
    assert not kept[~shapely.contains_xy(FIELD.buffer(15), x, y) | ~has_data].any()
    assert found[~kept][:, 0].max() == 0
    whole = image(("picture", MimeType.PNG), bbox=BOX, geometry=field, size=(128, 128))
    assert whole.shape == (128, 128, 4)
    np.testing.assert_array_equal(whole[10:98, 10:70], found)
    assert not whole[98:, :, 3].any()


def body(area: dict[str, Any], epsg: int = 32633) -> dict[str, Any]:
    return {
        "input": {
            "bounds": {**area, "properties": {"crs": f"http://www.opengis.net/def/crs/EPSG/0/{epsg}"}},
            "data": [{"type": "sentinel-2-l2a", "dataFilter": {"mosaickingOrder": "leastRecent"}}],
        },
        "aggregation": {
            "timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-06-11T00:00:00Z"},
            "aggregationInterval": {"of": "P1D"},
            "resx": 10,
            "resy": 10,
            "evalscript": STATISTICS,
        },
        "calculations": {
            "default": {
                "statistics": {"default": {"percentiles": {"k": [5, 50, 95]}}},
                "histograms": {"default": {"nBins": 5, "lowEdge": 0, "highEdge": 1}},
            }
        },
    }


def test_statistics_are_those_of_the_batch_byte_for_byte(server: Serving, tmp_path: Path) -> None:
    wanted = body({"geometry": json.loads(shapely.to_geojson(FIELD))})
    batch = json.loads(json.dumps(wanted))
    del batch["input"]["bounds"]
    made = run(load_settings(server.config), make_geopackage(tmp_path / "one.gpkg", [FIELD]), batch)
    with closing(server.session(server.client("bytes"))) as http:
        answer = http.post("/api/v1/statistics", json=wanted)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == len(DAYS)
    assert made.data[1] == b'{"id":1,"response":' + answer.content + b"}"
    assert float(answer.headers["X-ProcessingUnits-Spent"]) == pytest.approx(made.cost_pu)
    assert made.cost_pu > 0


def test_statistics_by_the_published_package(config: sentinelhub.SHConfig, collection: DataCollection) -> None:
    request = SentinelHubStatistical(
        aggregation=SentinelHubStatistical.aggregation(
            evalscript=STATISTICS,
            time_interval=("2020-06-01", "2020-06-10"),
            aggregation_interval="P1D",
            size=(128, 128),
        ),
        input_data=[
            SentinelHubStatistical.input_data(collection, other_args={"dataFilter": {"mosaickingOrder": "leastRecent"}})
        ],
        bbox=BOX,
        config=config,
    )
    (found,) = request.get_data()
    assert found["status"] == "OK"
    assert [entry["interval"]["from"][:10] for entry in found["data"]] == [f"2020-06-{day:02}" for day in DAYS]
    for entry, day in zip(found["data"], DAYS, strict=True):
        b04, b08 = (band(number, day)[20:148, 20:148].astype(float) for number in (1, 3))
        ndvi = ((b08 - b04) / np.where(b04 > 0, b08 + b04, 1))[b04 > 0]
        stats = entry["outputs"]["ndvi"]["bands"]["B0"]["stats"]
        assert stats["mean"] == pytest.approx(ndvi.mean(), rel=1e-6)
        assert (stats["sampleCount"], stats["noDataCount"]) == (128 * 128, 40)


@pytest.mark.parametrize("what", ["while (true) {}", "let a = []; while (true) { a.push(new Array(1e6).fill(1)) }"])
def test_a_hostile_script_is_an_error_and_the_next_request_is_served(server: Serving, what: str) -> None:
    with closing(server.session(server.client("hostile"))) as http:
        http.timeout = 60
        wanted = {
            "input": {"bounds": {"bbox": list(BOX), "properties": {"crs": "EPSG:32633"}}, "data": [source()]},
            "output": {"width": 16, "height": 16, "responses": [{"format": {"type": "image/tiff"}}]},
            "evalscript": ENDLESS % what,
        }
        answer = http.post("/process/v1", json=wanted)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "RENDERER_EXCEPTION")
        wanted["evalscript"] = ENDLESS % "return [1]"
        assert http.post("/process/v1", json=wanted).status_code == 200


def test_a_generated_script_over_a_box_that_is_a_point(
    collection: DataCollection, config: sentinelhub.SHConfig
) -> None:
    """As the package's own suite asks for it: one output a band in a tar, for 10 x 20 pixels of a single place."""
    script = generate_evalscript(data_collection=collection, bands=["B04", "B08"], meta_bands=["dataMask"])
    request = SentinelHubRequest(
        evalscript=script,
        input_data=[source(collection)],
        responses=[SentinelHubRequest.output_response(name, MimeType.TIFF) for name in ("B04", "B08", "dataMask")],
        bbox=BBox((LEFT + 205, TOP - 305) * 2, CRS("32633")),
        size=(10, 20),
        config=config,
    )
    (files,) = request.get_data()
    assert {name: (values.shape, np.unique(values).tolist()) for name, values in files.items()} == {
        "B04.tif": ((20, 10), [band(1, 1)[30, 20]]),
        "B08.tif": ((20, 10), [band(3, 1)[30, 20]]),
        "dataMask.tif": ((20, 10), [1]),
    }


@pytest.mark.parametrize("name", ["default", "ndvi", "picture"])
def test_tiffs_are_read_with_nothing_but_what_the_package_brings(
    server: Serving, config: sentinelhub.SHConfig, name: str, tmp_path: Path
) -> None:
    """The package depends on `tifffile` alone, which without `imagecodecs` knows few ways of packing."""
    wanted = {
        "input": {"bounds": {"bbox": list(BOX), "properties": {"crs": "EPSG:32633"}}, "data": [source()]},
        "output": {"width": 300, "height": 280, "responses": [{"identifier": name, "format": {"type": "image/tiff"}}]},
        "evalscript": SCRIPT,
    }
    with closing(server.session({"client_id": config.sh_client_id, "client_secret": config.sh_client_secret})) as http:
        answer = http.post("/api/v1/process", json=wanted)
    assert answer.status_code == 200, answer.text
    path = tmp_path / "image.tif"
    path.write_bytes(answer.content)
    bare = "import sys; sys.modules['imagecodecs'] = None; import numpy, tifffile"
    bare += "; numpy.save(sys.argv[2], tifffile.imread(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", bare, str(path), str(tmp_path / "image.npy")], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    with rasterio.open(path) as file:
        by_gdal = file.read() if file.count > 1 else file.read(1)
    found = np.load(tmp_path / "image.npy")
    np.testing.assert_array_equal(found.transpose(2, 0, 1) if found.ndim == 3 else found, by_gdal)


def test_one_acquisition_by_its_time(collection: DataCollection, config: sentinelhub.SHConfig) -> None:
    """The package sends a single time as a range from and to it, as its example of own collections does."""
    request = SentinelHubRequest(
        evalscript=SCRIPT,
        input_data=[SentinelHubRequest.input_data(collection, time_interval=datetime(2020, 6, 4, 10))],
        responses=[SentinelHubRequest.output_response("default", MimeType.TIFF)],
        bbox=BOX,
        resolution=(10, 10),
        config=config,
    )
    np.testing.assert_array_equal(request.get_data()[0], band(1, 4)[20:148, 20:148])


def test_a_collection_without_an_address_is_asked_for_where_the_configuration_says(
    config: sentinelhub.SHConfig,
) -> None:
    """What `docs/coming-from-sentinel-hub.md` gives for whole programs."""
    definition = DataCollection.LANDSAT_OT_L2.value
    before = definition.service_url
    request: dict[str, Any] = {"aggregation": {}, "bbox": BOX, "config": config}
    try:
        for address, wanted in ((before, before), (None, config.sh_base_url)):
            object.__setattr__(definition, "service_url", address)
            source = SentinelHubStatistical.input_data(DataCollection.LANDSAT_OT_L2)
            asked = SentinelHubStatistical(input_data=[source], **request).download_list[0]
            assert asked.url == f"{wanted}/api/v1/statistics"
    finally:
        object.__setattr__(definition, "service_url", before)
    assert before != config.sh_base_url
