"""Values of pixels by GetFeatureInfo, and several layers in one map: the Process API's own numbers, asked for by `owslib`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from xml.etree import ElementTree as Xml

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService
from pyproj import Transformer

from builders import make_catalog, make_scene, make_telling_scenes, telling_band
from serving import Serving, write_config

pytestmark = [
    pytest.mark.xdist_group("http"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

LEFT, TOP, SIDE = 500_000, 5_100_000, 128
BOX = (LEFT + 200.0, TOP - 1480.0, LEFT + 1480.0, TOP - 200.0)
SIZE = (64, 48)
PROCESS, INSTANCES = "/api/v1/process", "/api/v2/configuration/instances"
INDEX = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04", "B08", "dataMask"], units: "DN"}],
          output: [{id: "default", bands: 1, sampleType: "FLOAT32"},
                   {id: "raw", bands: ["red", "nir"], sampleType: "UINT16"},
                   {id: "layer", bands: 1, sampleType: "UINT8"}]}
}
function evaluatePixel(s) {
  return {default: [s.dataMask ? (s.B08 - s.B04) / (s.B08 + s.B04) : NaN], raw: [s.B04, s.B08], layer: [s.dataMask]}
}
"""
PICTURE = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04", "B08"], units: "DN"}], output: {bands: 3, sampleType: "UINT8"}}
}
function evaluatePixel(s) { return [s.B04 % 256, s.B08 % 256, 9] }
"""
VEIL = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04"], units: "DN"}], output: {bands: 4, sampleType: "UINT8"}}
}
function evaluatePixel(s) { return [255, s.B04 % 256, 0, s.B04 % 3 == 0 ? 128 : 255] }
"""
GREY = """//VERSION=3
function setup() { return {input: ["B04"], output: {bands: 1, sampleType: "UINT8"}} }
function evaluatePixel(s) { return [200] }
"""
LAYERS: list[dict[str, Any]] = [
    {"id": "INDEX", "title": "Index <b> & more", "styles": [{"evalScript": INDEX}]},
    {"id": "PICTURE", "styles": [{"evalScript": PICTURE}], "datasourceDefaults": {"time": "2020-06-01"}},
    {
        "id": "VEIL",
        "styles": [{"name": "veil", "evalScript": VEIL}, {"name": "grey", "evalScript": GREY}],
        "datasourceDefaults": {"time": "2020-06-04"},
    },
]
ASK = {
    "SERVICE": "WMS",
    "CRS": "EPSG:32633",
    "WIDTH": str(SIZE[0]),
    "HEIGHT": str(SIZE[1]),
    "BBOX": ",".join(map(repr, BOX)),
}
INFO = {**ASK, "REQUEST": "GetFeatureInfo", "LAYERS": "INDEX", "QUERY_LAYERS": "INDEX", "I": "3", "J": "4"}
OGC, WMS = "{http://www.opengis.net/ogc}", "{http://www.opengis.net/wms}"


def band(number: int, day: int) -> npt.NDArray[np.uint16]:
    """On the later day the east has no data."""
    values = telling_band(number, day, SIDE)
    if day == 4:
        values[:, 70:] = 0
    return values


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("values")
    days = {1: 5.0, 4: 10.0}
    scenes = make_telling_scenes(folder / "scenes", days, band, clock="10:00:00.125Z", origin=(LEFT, TOP))
    away = make_scene(folder / "scenes", "AWAY", "2020-06-05T10:00:00Z", {"B04": band(1, 1)}, origin=(LEFT + 9000, TOP))
    catalog = make_catalog(folder / "scenes", [*scenes, away])
    config = write_config(folder / "config.toml", catalog, "[services]", "processes = 1", "threads = 1")
    with Serving(folder / "home", config=config) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Serving) -> Iterator[httpx.Client]:
    with closing(server.session(server.client("values"))) as session:
        yield session


@pytest.fixture(scope="module")
def address(server: Serving, http: httpx.Client) -> str:
    name = http.post(INSTANCES, json={"name": "Values"}).json()["id"]
    for layer in LAYERS:
        made = http.post(f"{INSTANCES}/{name}/layers", json={"collectionType": "S2L2A", **layer})
        assert made.status_code == 201, made.text
    return f"{server.url}/ogc/wms/{name}"


def process(
    http: httpx.Client,
    script: str,
    box: tuple[float, ...],
    epsg: int,
    output: str,
    *,
    size: tuple[int, int] = SIZE,
    **where: Any,
) -> Any:
    """The Process API's numbers of one output as (bands, rows, columns)."""
    wanted = {
        "input": {
            "bounds": {"bbox": box, "properties": {"crs": f"http://www.opengis.net/def/crs/EPSG/0/{epsg}"}},
            "data": [{"type": "sentinel-2-l2a", "dataFilter": where}],
        },
        "output": {
            "width": size[0],
            "height": size[1],
            "responses": [{"identifier": output, "format": {"type": "image/tiff"}}],
        },
        "evalscript": script,
    }
    answer = http.post(PROCESS, json=wanted)
    assert answer.status_code == 200, answer.text
    with rasterio.open(io.BytesIO(answer.content)) as image:
        return image.read()


def day(number: int) -> dict[str, Any]:
    return {"timeRange": {"from": f"2020-06-{number:02}T00:00:00Z", "to": f"2020-06-{number:02}T23:59:59Z"}}


def picture(address: str, **more: str) -> npt.NDArray[Any]:
    answer = httpx.get(address, params={**ASK, "REQUEST": "GetMap", **more}, timeout=60)
    assert answer.status_code == 200, answer.text
    with rasterio.open(io.BytesIO(answer.content)) as image:
        return image.read()


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
@pytest.mark.parametrize("epsg", [32633, 4326, 3857])
def test_owslib_finds_the_process_apis_numbers(http: httpx.Client, address: str, version: str, epsg: int) -> None:
    service = WebMapService(address, version=version)
    assert {layer.queryable for layer in service.contents.values()} == {1}
    assert "application/json" in service.getOperationByName("GetFeatureInfo").formatOptions
    change = Transformer.from_crs(32633, epsg, always_xy=True)
    box = tuple(round(value, 8) for value in change.transform_bounds(*BOX))
    expected = {name: process(http, INDEX, box, epsg, name) for name in ("default", "raw", "layer")}
    # the newer day on top, the older one where that has nothing, neither in a hole, and no scene at all
    places = ((0, 0), (20, 10), (30, 45), (8, 17), (47, 63))
    assert [expected["layer"][0, row, column] for row, column in places] == [1, 1, 1, 0, 0]
    for row, column in places:
        answer = service.getfeatureinfo(
            layers=["INDEX"],
            srs=f"EPSG:{epsg}",
            bbox=box,
            size=SIZE,
            format="image/png",
            xy=(column, row),
            info_format="application/json",
            feature_count=1,
        )
        found = json.loads(answer.read())
        (feature,) = found["features"]
        told = feature["properties"]
        index, raw = expected["default"][0, row, column], expected["raw"][:, row, column].tolist()
        assert told["default"] is None if np.isnan(index) else np.float32(told["default"]) == index
        assert [told["raw_red"], told["raw_nir"]] == raw
        assert (told["layer"], told["layer_B0"]) == ("INDEX", expected["layer"][0, row, column])
        assert told["hasData"] == bool(raw[0])
        dx, dy = (box[2] - box[0]) / SIZE[0], (box[3] - box[1]) / SIZE[1]
        x, y = box[0] + (column + 0.5) * dx, box[3] - (row + 0.5) * dy
        place = Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)
        assert feature["geometry"]["coordinates"] == pytest.approx(place, abs=1e-7)
        x, y = Transformer.from_crs(epsg, 32633, always_xy=True).transform(x, y)
        newest = {"id": "S4", "date": "2020-06-04", "time": "10:00:00", "cloudCoverPercentage": 10.0}
        # the box goes beyond the scenes
        assert told["scenes"] == ([newest] if x < LEFT + 10 * SIDE and y > TOP - 10 * SIDE else [])


def test_a_tile_tells_its_values_too(http: httpx.Client, address: str) -> None:
    tiles = address.replace("/wms/", "/wmts/")
    service = WebMapTileService(tiles)
    assert "GetFeatureInfo" in [operation.name for operation in service.operations]
    assert "application/json" in service.contents["INDEX"].infoformats
    x, y = Transformer.from_crs(32633, 3857, always_xy=True).transform(LEFT + 500, TOP - 700)
    half, level = 20_037_508.342789244, 14
    side = 2 * half / 2**level
    column, row = int((x + half) // side), int((half - y) // side)
    left, top = column * side - half, half - row * side
    i, j = int((x - left) / side * 256), int((top - y) / side * 256)
    tile = {"TILEMATRIXSET": "PopularWebMercator256", "TILEMATRIX": level, "TILEROW": row, "TILECOL": column}
    wanted = {"SERVICE": "WMTS", "REQUEST": "GetFeatureInfo", "LAYER": "INDEX", "I": i, "J": j, **tile}
    answer = httpx.get(tiles, params={**wanted, "InfoFormat": "application/json"}, timeout=60)
    told = answer.json()["features"][0]["properties"]
    pixel = side / 256
    box = (left + i * pixel, top - (j + 1) * pixel, left + (i + 1) * pixel, top - j * pixel)
    assert [told["raw_red"], told["raw_nir"]] == process(http, INDEX, box, 3857, "raw", size=(1, 1))[:, 0, 0].tolist()
    assert told["hasData"]
    with rasterio.open(f"WMTS:{tiles},layer=INDEX,tilematrixset=PopularWebMercator256,zoom_level={level}") as layer:
        at_row, at_column = layer.index(x, y)
        by_gdal = layer.get_tag_item(f"Pixel_{at_column}_{at_row}", "LocationInfo", bidx=1)
    values = {element.tag: element.text for element in Xml.fromstring(by_gdal).iter()}
    assert (values["raw_red"], values["default"]) == (str(told["raw_red"]), repr(told["default"]))
    beyond = httpx.get(tiles, params={**wanted, "I": 256}, timeout=60)
    assert (beyond.status_code, "InvalidPoint" in beyond.text) == (400, True)


def test_times_orders_and_shapes_are_those_of_the_map(http: httpx.Client, address: str) -> None:
    def ask(**more: str) -> dict[str, Any]:
        answer = httpx.get(address, params={**INFO, "FEATURE_COUNT": "10", **more}, timeout=60)
        assert float(answer.headers["X-ProcessingUnits-Spent"]) > 0
        properties: dict[str, Any] = answer.json()["features"][0]["properties"]
        return properties

    assert [scene["id"] for scene in ask()["scenes"]] == ["S4", "S1"]
    turned = ask(PRIORITY="leastRecent")
    assert [scene["id"] for scene in turned["scenes"]] == ["S1", "S4"]
    first = process(http, INDEX, BOX, 32633, "raw", **day(1))[:, 4, 3].tolist()
    assert [turned["raw_red"], turned["raw_nir"]] == first
    dated = ask(TIME="2020-06-01")
    assert (dated["time"], [dated["raw_red"], dated["raw_nir"]]) == ("2020-06-01", first)
    assert [scene["id"] for scene in ask(MAXCC="7")["scenes"]] == ["S1"]
    corners = ((LEFT + x, TOP - y) for x, y in ((900, 900), (950, 900), (950, 950), (900, 900)))
    outside = ask(GEOMETRY=f"POLYGON(({', '.join(f'{x} {y}' for x, y in corners)}))")
    assert (outside["hasData"], outside["raw_red"], outside["default"]) == (False, 0, None)


def test_layers_that_are_pictures_tell_their_components_layer_by_layer(http: httpx.Client, address: str) -> None:
    more = {"LAYERS": "PICTURE,VEIL,INDEX", "STYLES": ",grey,", "QUERY_LAYERS": "VEIL,PICTURE"}
    found = httpx.get(address, params={**INFO, **more}, timeout=60).json()["features"]
    assert [(one["id"], one["properties"]["style"]) for one in found] == [("VEIL", "grey"), ("PICTURE", "default")]
    assert found[0]["properties"]["default"] == 200
    expected = process(http, PICTURE, BOX, 32633, "default", **day(1))[:, 4, 3].tolist()
    assert [found[1]["properties"][f"default_B{number}"] for number in range(3)] == expected
    assert [one["properties"]["time"] for one in found] == ["2020-06-04", "2020-06-01"]


def test_values_as_text_and_as_a_page_in_which_titles_are_text(address: str) -> None:
    text = httpx.get(address, params={**INFO, "INFO_FORMAT": "text/plain"}, timeout=60)
    assert text.headers["content-type"].startswith("text/plain")
    lines = text.text.splitlines()
    assert lines[0] == "layer: INDEX"
    assert "hasData: true" in lines
    assert "scene: S4 (2020-06-04 10:00:00, 10 % clouds)" in lines
    page = httpx.get(address, params={**INFO, "INFO_FORMAT": "text/html"}, timeout=60)
    assert page.headers["content-type"].startswith("text/html")
    assert "Index &lt;b&gt; &amp; more" in page.text
    assert "<b>" not in page.text
    assert "sandbox" in page.headers["content-security-policy"]
    gml = httpx.get(
        address, params={**INFO, "INFO_FORMAT": "application/vnd.ogc.gml", "FEATURE_COUNT": "2"}, timeout=60
    )
    (feature,) = Xml.fromstring(gml.content).findall("{http://www.opengis.net/gml}featureMember/INDEX")
    told = {element.tag: element.text for element in feature}
    assert (told["layer"], told["layer_B0"], told["hasData"]) == ("INDEX", "1", "true")
    assert told["scene"] == "S4 (2020-06-04 10:00:00, 10 % clouds)"
    assert told["scene_2"] == "S1 (2020-06-01 10:00:00, 5 % clouds)"
    geojson = httpx.get(address, params={**INFO, "INFO_FORMAT": "application/geo+json"}, timeout=60)
    assert geojson.headers["content-type"] == "application/geo+json"


@pytest.mark.parametrize(
    ("more", "code", "locator", "told"),
    [
        ({"QUERY_LAYERS": ""}, "MissingParameterValue", "QUERY_LAYERS", "missing"),
        ({"QUERY_LAYERS": "X"}, "LayerNotDefined", "QUERY_LAYERS", "INDEX, PICTURE, VEIL"),
        ({"QUERY_LAYERS": "VEIL"}, "InvalidParameterValue", "QUERY_LAYERS", "LAYERS has not"),
        ({"I": ""}, "MissingParameterValue", "I", "from 0"),
        ({"I": "64"}, "InvalidPoint", "I", "from 0 to 63"),
        ({"J": "48"}, "InvalidPoint", "J", "from 0 to 47"),
        ({"J": "-1"}, "InvalidPoint", "J", "whole number"),
        ({"J": "1.5"}, "InvalidPoint", "J", "whole number"),
        ({"INFO_FORMAT": "image/png"}, "InvalidFormat", "INFO_FORMAT", "text/plain"),
        ({"FEATURE_COUNT": "0"}, "InvalidParameterValue", "FEATURE_COUNT", "from 1"),
        ({"WIDTH": "9999"}, None, None, "at most 2,500"),
        ({"REQUEST": "GetMap", "LAYERS": ",".join(["VEIL"] * 11)}, "InvalidParameterValue", "LAYERS", "at most 10"),
        ({"REQUEST": "GetMap", "STYLES": "a,b"}, "InvalidParameterValue", "STYLES", "one for each"),
        ({"REQUEST": "GetMap", "LAYERS": "VEIL,X"}, "LayerNotDefined", "LAYERS", "there are"),
        ({"REQUEST": "GetMap", "LAYERS": "PICTURE,INDEX"}, None, None, "'INDEX' has 1 of FLOAT32"),
    ],
)
def test_errors_name_the_parameter(
    address: str, more: dict[str, str], code: str | None, locator: str | None, told: str
) -> None:
    answer = httpx.get(address, params={**INFO, **more}, timeout=60)
    assert answer.status_code == 400
    (exception,) = Xml.fromstring(answer.content).findall(f"{OGC}ServiceException")
    assert (exception.get("code"), exception.get("locator")) == (code, locator)
    assert told in (exception.text or "")


def test_several_layers_lie_over_one_another_in_their_order(http: httpx.Client, address: str) -> None:
    below, above = (
        process(http, script, BOX, 32633, "default", **day(number)).astype(float)
        for script, number in ((PICTURE, 1), (VEIL, 4))
    )
    seen = [process(http, INDEX, BOX, 32633, "layer", **day(number))[0] for number in (1, 4)]
    share = above[3] / 255 * seen[1]
    assert {0.0, 128 / 255, 1.0} == set(np.unique(share))
    both = {"LAYERS": "PICTURE,VEIL", "STYLES": ",veil", "FORMAT": "image/png", "TRANSPARENT": "TRUE"}
    found = picture(address, **both)
    np.testing.assert_array_equal(found[3], np.where(seen[0] | (share == 1), 255, np.rint(share * 255)))
    visible = found[3] > 0
    colours = above[:3] * share + below * (1 - share)
    assert np.abs(found[:3] - colours)[:, seen[0] == 1].max() <= 0.501
    assert not found[:, ~visible].any()
    assert 0 < (~visible).sum() < visible.sum()
    # the other way round the picture hides the veil
    turned = picture(address, **{**both, "LAYERS": "VEIL,PICTURE", "STYLES": ""})
    np.testing.assert_array_equal(turned[:3][:, seen[0] == 1], below[:, seen[0] == 1])


def test_without_transparency_all_lies_on_a_background(http: httpx.Client, address: str) -> None:
    both = {"LAYERS": "PICTURE,VEIL", "STYLES": ",grey"}
    below = process(http, PICTURE, BOX, 32633, "default", **day(1))
    seen = [process(http, INDEX, BOX, 32633, "layer", **day(number))[0] == 1 for number in (1, 4)]
    for more, background in (({}, (255, 255, 255)), ({"BGCOLOR": "0x0A0B0C"}, (10, 11, 12))):
        expected = np.where(seen[0], below, np.array(background)[:, None, None])
        found = picture(address, **both, **more)
        np.testing.assert_array_equal(found, np.where(seen[1], 200, expected))
    jpeg = picture(address, **both, FORMAT="image/jpeg", TRANSPARENT="TRUE")
    assert jpeg.shape[0] == 3
    assert picture(address, **both, FORMAT="image/tiff", TRANSPARENT="TRUE").shape[0] == 4


def test_gdal_reads_several_layers_at_once(address: str) -> None:
    root = Xml.fromstring(httpx.get(address, params={"REQUEST": "GetCapabilities"}).content)
    assert root.findtext(f"{WMS}Service/{WMS}LayerLimit") == "10"
    where = f"&CRS=EPSG:32633&BBOX={ASK['BBOX']}&FORMAT=image/png&TRANSPARENT=TRUE"
    with rasterio.open(f"WMS:{address}?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=PICTURE,VEIL{where}") as layer:
        assert layer.count == 4
        assert layer.read(4, out_shape=(64, 64)).any()
