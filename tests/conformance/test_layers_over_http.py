"""Saved layers through GDAL's WMS and WMTS drivers, the published package and plain HTTP: the Process API's own pixels."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as Xml

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import sentinelhub
from pyproj import Transformer
from sentinelhub import CRS, BBox, CustomUrlParam, DataCollection, Geometry, MimeType, WcsRequest, WmsRequest

from builders import make_catalog, make_telling_scenes, telling_band
from serving import Serving, write_config

pytestmark = [
    pytest.mark.xdist_group("http"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

LEFT, TOP, SIDE = 500_000, 5_100_000, 256
DAYS, CLOUDS = (1, 4, 9), (10.0, 5.0, 80.0)
PROCESS, INSTANCES = "/api/v1/process", "/api/v2/configuration/instances"
RGBA = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04", "B08", "dataMask"], units: "DN"}], output: {bands: 4, sampleType: "UINT8"}}
}
function evaluatePixel(s) { return [s.B04 % 256, s.B08 % 256, 9, s.dataMask * 255] }
"""
RGB = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04", "B08"], units: "DN"}], output: {bands: 3, sampleType: "UINT8"}}
}
function evaluatePixel(s) { return [s.B04 % 256, s.B08 % 256, 9] }
"""
LAYER = {
    "id": "FIELDS",
    "title": "Fields < & >",
    "collectionType": "S2L2A",
    "datasourceDefaults": {"type": "S2L2A"},
    "styles": [
        {"name": "alpha", "description": "With alpha", "evalScript": RGBA},
        {"name": "plain", "evalScript": RGB},
        {"name": "wrong", "evalScript": RGB.replace("return [", "throw new Error('on purpose') + [")},
    ],
}
BOX = (LEFT + 200.0, TOP - 1480.0, LEFT + 1480.0, TOP - 200.0)
MAP = {"SERVICE": "WMS", "REQUEST": "GetMap", "LAYERS": "FIELDS", "WIDTH": "128", "HEIGHT": "96", "FORMAT": "image/png"}
WMS, WMTS = "{http://www.opengis.net/wms}", "{http://www.opengis.net/wmts/1.0}"
OGC, OWS = "{http://www.opengis.net/ogc}", "{http://www.opengis.net/ows/1.1}"


def band(number: int, day: int) -> npt.NDArray[np.uint16]:
    return telling_band(number, day, SIDE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("layers")
    days = dict(zip(DAYS, CLOUDS, strict=True))
    scenes = make_telling_scenes(folder / "scenes", days, band, clock="10:00:00.125Z", origin=(LEFT, TOP))
    catalog = make_catalog(folder / "scenes", scenes)
    (folder / "rgb.js").write_text(RGB, "utf-8")
    lines = [
        "[services]",
        "processes = 2",
        "threads = 1",
        "[[layers]]",
        'name = "OPERATOR"',
        'evalscript_file = "rgb.js"',
    ]
    config = write_config(
        folder / "config.toml", catalog, *lines, 'collection = "sentinel-2-l2a"', 'time = "2020-06-01"'
    )
    with Serving(folder / "home", config=config) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Serving) -> Iterator[httpx.Client]:
    with closing(server.session(server.client("layers"))) as session:
        yield session


@pytest.fixture(scope="module")
def instance(http: httpx.Client) -> str:
    made = http.post(INSTANCES, json={"name": "Mine & yours"})
    assert made.status_code == 201, made.text
    name: str = made.json()["id"]
    assert http.post(f"{INSTANCES}/{name}/layers", json=LAYER).status_code == 201
    return name


@pytest.fixture(scope="module")
def maps(server: Serving, instance: str) -> Iterator[httpx.Client]:
    """Without a token: the address is all that it has."""
    with httpx.Client(base_url=f"{server.url}/ogc", timeout=180) as client:
        yield client


def pixels(answer: httpx.Response) -> npt.NDArray[Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("image/")
    with rasterio.open(io.BytesIO(answer.content)) as image:
        return image.read()


def process(
    http: httpx.Client, script: str, bounds: dict[str, Any], epsg: int, size: tuple[int, int], **where: Any
) -> npt.NDArray[Any]:
    """The Process API's picture; of all days, the newest on top, unless `where` filters."""
    crs = f"http://www.opengis.net/def/crs/EPSG/0/{epsg}"
    wanted = {
        "input": {
            "bounds": {**bounds, "properties": {"crs": crs}},
            "data": [{"type": "sentinel-2-l2a", "dataFilter": where}],
        },
        "output": {"width": size[0], "height": size[1], "responses": [{"format": {"type": "image/png"}}]},
        "evalscript": script,
    }
    return pixels(http.post(PROCESS, json=wanted))


def days(first: int, last: int) -> dict[str, str]:
    """Days of June 2020, both included, as a filter has them."""
    return {"from": f"2020-06-{first:02}T00:00:00Z", "to": f"2020-06-{last + 1:02}T00:00:00Z"}


def box_in(epsg: int) -> tuple[float, float, float, float]:
    change = Transformer.from_crs(32633, epsg, always_xy=True)
    west, south, east, north = change.transform_bounds(*BOX)
    return west, south, east, north


def text_of(box: tuple[float, ...], *, swapped: bool = False) -> str:
    west, south, east, north = box
    return ",".join(map(repr, (south, west, north, east) if swapped else (west, south, east, north)))


@pytest.mark.parametrize(
    ("version", "name", "epsg", "swapped"),
    [
        ("1.3.0", "EPSG:32633", 32633, False),
        ("1.3.0", "EPSG:3857", 3857, False),
        ("1.3.0", "", 3857, False),
        ("1.3.0", "EPSG:4326", 4326, True),
        ("1.3.0", "CRS:84", 4326, False),
        ("1.3.0", "EPSG:3035", 3035, True),
        ("1.1.1", "EPSG:4326", 4326, False),
        ("1.1.1", "EPSG:3035", 3035, False),
    ],
)
def test_a_map_has_the_process_apis_pixels(
    http: httpx.Client, maps: httpx.Client, instance: str, version: str, name: str, epsg: int, swapped: bool
) -> None:
    box = box_in(epsg)
    crs = {} if not name else {"CRS" if version == "1.3.0" else "srs": name}
    found = pixels(
        maps.get(f"/wms/{instance}", params={**MAP, "version": version, **crs, "bbox": text_of(box, swapped=swapped)})
    )
    expected = process(http, RGBA, {"bbox": box}, epsg, (128, 96))
    np.testing.assert_array_equal(found, expected)
    assert found[3].any()
    assert found.shape == (4, 96, 128)


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"TIME": "2020-06-04"}, {"timeRange": days(4, 4)}),
        ({"TIME": "2020-06-04T10:00:00Z/2020-06-04T10:00:00Z"}, {"timeRange": days(4, 4)}),
        ({"TIME": "2020-06-01/2020-06-08"}, {"timeRange": days(1, 8)}),
        ({"TIME": "latest"}, {}),
        ({"MAXCC": "50"}, {"maxCloudCoverage": 50}),
        ({"priority": "leastCC"}, {"mosaickingOrder": "leastCC"}),
        ({"Priority": "leastRecent", "SHOWLOGO": "true", "WARNINGS": "YES"}, {"mosaickingOrder": "leastRecent"}),
    ],
)
def test_parameters_filter_as_the_process_api_does(
    http: httpx.Client, maps: httpx.Client, instance: str, more: dict[str, str], where: dict[str, Any]
) -> None:
    wanted = {**MAP, "CRS": "EPSG:32633", "BBOX": text_of(BOX), **more}
    expected = process(http, RGBA, {"bbox": BOX}, 32633, (128, 96), **where)
    np.testing.assert_array_equal(pixels(maps.get(f"/wms/{instance}", params=wanted)), expected)


def test_what_is_outside_the_data_or_a_geometry_is_transparent(
    http: httpx.Client, maps: httpx.Client, instance: str
) -> None:
    wanted = {**MAP, "CRS": "EPSG:32633", "STYLES": "plain", "TRANSPARENT": "true", "WIDTH": "128", "HEIGHT": "128"}
    found = pixels(maps.get(f"/wms/{instance}", params={**wanted, "BBOX": text_of(BOX)}))
    plain = process(http, RGB, {"bbox": BOX}, 32633, (128, 128))
    np.testing.assert_array_equal(found[:3], plain)
    np.testing.assert_array_equal(found[3], np.where(band(1, 9)[20:148, 20:148] > 0, 255, 0))
    far = pixels(maps.get(f"/wms/{instance}", params={**wanted, "BBOX": "700000,5200000,701280,5201280"}))
    assert far.shape == (4, 128, 128)
    assert not far[3].any()
    corner = [[BOX[0], BOX[1]], [BOX[2], BOX[1]], [BOX[2], BOX[3]], [BOX[0], BOX[1]]]
    wkt = f"POLYGON(({', '.join(f'{x} {y}' for x, y in corner)}))"
    cut = pixels(maps.get(f"/wms/{instance}", params={**wanted, "STYLES": "", "BBOX": text_of(BOX), "GEOMETRY": wkt}))
    geometry = {"type": "Polygon", "coordinates": [corner]}
    np.testing.assert_array_equal(cut, process(http, RGBA, {"bbox": BOX, "geometry": geometry}, 32633, (128, 128)))
    assert 0 < np.count_nonzero(cut[3]) < 128 * 128 * 0.55


def test_other_formats_and_a_background(maps: httpx.Client, instance: str) -> None:
    wanted = {**MAP, "CRS": "EPSG:32633", "BBOX": text_of(BOX), "WIDTH": "128", "HEIGHT": "128"}
    jpeg = maps.get(f"/wms/{instance}", params={**wanted, "FORMAT": "image/jpeg"})
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert pixels(jpeg)[:, 21:23, 33:37].mean() > 240  # no data: white behind the script's alpha
    tiff = maps.get(f"/wms/{instance}", params={**wanted, "FORMAT": "image/tiff"})
    with rasterio.open(io.BytesIO(tiff.content)) as image:
        assert (image.crs.to_epsg(), tuple(image.bounds), image.count) == (32633, BOX, 4)
    red = pixels(maps.get(f"/wms/{instance}", params={**wanted, "STYLES": "plain", "BGCOLOR": "0xFF0001"}))
    assert red[:, 22, 35].tolist() == [255, 0, 1]


def test_a_picture_that_the_client_has_is_not_sent_again(maps: httpx.Client, instance: str) -> None:
    wanted = {**MAP, "CRS": "EPSG:32633", "BBOX": text_of(BOX)}
    first = maps.get(f"/wms/{instance}", params=wanted)
    assert first.headers["cache-control"] == "private, max-age=60"
    assert float(first.headers["X-ProcessingUnits-Spent"]) > 0
    tag = first.headers["etag"]
    again = maps.get(f"/wms/{instance}", params=wanted, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = maps.get(f"/wms/{instance}", params={**wanted, "TIME": "2020-06-01"}, headers={"If-None-Match": tag})
    assert other.status_code == 200


def test_layers_of_the_settings_are_shown_by_name(http: httpx.Client, maps: httpx.Client) -> None:
    wanted = {**MAP, "LAYERS": "OPERATOR", "CRS": "EPSG:32633", "BBOX": text_of(BOX)}
    # the layer's own time
    expected = process(http, RGB, {"bbox": BOX}, 32633, (128, 96), timeRange=days(1, 1))
    np.testing.assert_array_equal(pixels(maps.get("/wms/public", params=wanted)), expected)


@pytest.mark.parametrize(
    ("more", "code", "locator", "told"),
    [
        ({"LAYERS": "X"}, "LayerNotDefined", "LAYERS", "there are: FIELDS"),
        ({"LAYERS": "FIELDS,,"}, "LayerNotDefined", "LAYERS", "there are: FIELDS"),
        ({"STYLES": "x"}, "StyleNotDefined", "STYLES", "alpha, plain, wrong"),
        ({"CRS": "EPSG:1"}, "InvalidCRS", "CRS", "EPSG:3857"),
        ({"FORMAT": "image/gif"}, "InvalidFormat", "FORMAT", "image/png"),
        ({"BBOX": "1,2,3"}, "InvalidParameterValue", "BBOX", "4 numbers"),
        ({"BBOX": "3,2,1,4"}, "InvalidParameterValue", "BBOX", "less than"),
        ({"WIDTH": "", "HEIGHT": ""}, "MissingParameterValue", "WIDTH", "missing"),
        ({"WIDTH": "0"}, "InvalidParameterValue", "WIDTH", "whole number"),
        ({"WIDTH": "9999"}, None, None, "at most 2,500"),
        ({"TIME": "soon"}, "InvalidDimensionValue", "TIME", "2020-06-01"),
        ({"MAXCC": "101"}, "InvalidParameterValue", "MAXCC", "from 0 to 100"),
        ({"GEOMETRY": "POINT(1 2)"}, "InvalidParameterValue", "GEOMETRY", "POLYGON"),
        ({"EVALSCRIPT": "cmV0dXJuIFsxXQ=="}, "InvalidParameterValue", "EVALSCRIPT", "saved layers"),
        ({"EVALSCRIPTURL": "https://example.org/a.js"}, "InvalidParameterValue", "EVALSCRIPTURL", "saved layers"),
        ({"REQUEST": "GetLegendGraphic"}, "OperationNotSupported", "REQUEST", "GetMap"),
        ({"STYLES": "wrong"}, None, None, "on purpose"),
    ],
)
def test_errors_are_service_exceptions_that_name_the_parameter(
    maps: httpx.Client, instance: str, more: dict[str, str], code: str | None, locator: str | None, told: str
) -> None:
    wanted = {**MAP, "CRS": "EPSG:32633", "BBOX": text_of(BOX), **more}
    answer = maps.get(f"/wms/{instance}", params=wanted)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/xml")
    root = Xml.fromstring(answer.content)
    (exception,) = root.findall(f"{OGC}ServiceException")
    assert (root.tag, exception.get("code"), exception.get("locator")) == (
        f"{OGC}ServiceExceptionReport",
        code,
        locator,
    )
    assert told in (exception.text or "")


def test_errors_of_the_older_version_and_of_tiles_have_their_own_shape(maps: httpx.Client, instance: str) -> None:
    old = maps.get(f"/wms/{instance}", params={**MAP, "VERSION": "1.1.1", "BBOX": "x"})
    assert old.headers["content-type"].startswith("application/vnd.ogc.se_xml")
    assert Xml.fromstring(old.content).get("version") == "1.1.1"
    tile = {"REQUEST": "GetTile", "LAYER": "FIELDS", "TILEMATRIXSET": "PopularWebMercator256"}
    out = maps.get(f"/wmts/{instance}", params={**tile, "TILEMATRIX": "3", "TILEROW": "8", "TILECOL": "0"})
    (exception,) = Xml.fromstring(out.content).findall(f"{OWS}Exception")
    assert (out.status_code, exception.get("exceptionCode"), exception.get("locator")) == (
        400,
        "TileOutOfRange",
        "TILEROW",
    )
    missing = maps.get("/wms/00000000-0000-4000-8000-000000000000", params=MAP)
    assert missing.status_code == 404
    assert "no instance" in missing.text


def test_the_capabilities_of_wms(server: Serving, maps: httpx.Client, instance: str) -> None:
    answer = maps.get(f"/wms/{instance}", params={"request": "getcapabilities", "service": "wms"})
    root = Xml.fromstring(answer.content)
    assert (root.tag, root.get("version")) == (f"{WMS}WMS_Capabilities", "1.3.0")
    assert [child.tag.removeprefix(WMS) for child in root] == ["Service", "Capability"]
    top = root.find(f"{WMS}Capability/{WMS}Layer")
    assert {"EPSG:4326", "EPSG:3857", "CRS:84", "EPSG:32633"} <= {crs.text for crs in top.findall(f"{WMS}CRS")}
    (layer,) = top.findall(f"{WMS}Layer")
    order = [child.tag.removeprefix(WMS) for child in layer]
    wanted = ["Name", "Title", "EX_GeographicBoundingBox", *["BoundingBox"] * 3, "Dimension", *["Style"] * 3]
    assert order == wanted
    assert layer.findtext(f"{WMS}Title") == "Fields < & >"
    sides = ("minx", "miny", "maxx", "maxy")
    boxes = {box.get("CRS"): [float(box.get(side)) for side in sides] for box in layer.findall(f"{WMS}BoundingBox")}
    west, south, east, north = boxes["CRS:84"]
    assert boxes["EPSG:4326"] == [south, west, north, east]
    change = Transformer.from_crs(4326, 3857, always_xy=True)
    assert boxes["EPSG:3857"] == pytest.approx(
        [*change.transform(west, south), *change.transform(east, north)], abs=0.01
    )
    corner = Transformer.from_crs(32633, 4326, always_xy=True).transform(LEFT, TOP)
    assert (west, north) == pytest.approx(corner, abs=1e-4)
    dimension = layer.find(f"{WMS}Dimension")
    assert (dimension.get("name"), dimension.get("units")) == ("time", "ISO8601")
    assert (dimension.text, dimension.get("default")) == ("2020-06-01/2020-06-09/P1D", "2020-05-11/2020-06-09")
    resource = root.find(f"{WMS}Capability/{WMS}Request/{WMS}GetMap//{WMS}OnlineResource")
    assert resource.get("{http://www.w3.org/1999/xlink}href") == f"{server.url}/ogc/wms/{instance}?"
    old = Xml.fromstring(
        maps.get(f"/wms/{instance}", params={"REQUEST": "GetCapabilities", "VERSION": "1.1.1"}).content
    )
    assert (old.tag, old.get("version")) == ("WMT_MS_Capabilities", "1.1.1")
    assert old.find("Capability/Layer/Layer/LatLonBoundingBox") is not None
    told = maps.get(f"/wms/{instance}", params={"request": "GetCapabilities", "format": "application/json"}).json()
    assert [(one["id"], one["name"], one["dataset"]) for one in told["layers"]] == [("FIELDS", "Fields < & >", "S2L2A")]


def test_gdal_reads_a_layer_through_its_wms_driver(server: Serving, http: httpx.Client, instance: str) -> None:
    with rasterio.open(f"WMS:{server.url}/ogc/wms/{instance}") as service:
        (name,) = service.subdatasets
    assert "LAYERS=FIELDS" in name
    address = f"WMS:{server.url}/ogc/wms/{instance}?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=FIELDS"
    for crs, epsg, swapped in (("EPSG:32633", 32633, False), ("EPSG:4326", 4326, True)):
        west, south, east, north = box_in(epsg)
        side = min(east - west, north - south)
        # GDAL writes eight digits
        box = tuple(round(value, 8) for value in (west, north - side, west + side, north))
        where = f"&CRS={crs}&BBOX={text_of(box, swapped=swapped)}&FORMAT=image/png&TRANSPARENT=TRUE"
        with rasterio.open(address + where) as layer:
            assert (layer.crs.to_epsg(), layer.count) == (epsg, 4)
            found = layer.read(out_shape=(4, 1024, 1024))
        np.testing.assert_array_equal(found, process(http, RGBA, {"bbox": box}, epsg, (1024, 1024)))


@pytest.mark.parametrize(
    ("matrices", "epsg", "zoom"),
    [("PopularWebMercator256", 3857, 13), ("PopularWebMercator512", 3857, 12), ("WGS84", 4326, 12)],
)
def test_gdal_reads_a_layer_through_its_wmts_driver(
    server: Serving, http: httpx.Client, instance: str, matrices: str, epsg: int, zoom: int
) -> None:
    address = f"WMTS:{server.url}/ogc/wmts/{instance}"
    with rasterio.open(f"{address},layer=FIELDS,tilematrixset={matrices},style=alpha,zoom_level={zoom}") as layer:
        assert (layer.crs.to_epsg(), layer.count) == (epsg, 4)
        found, bounds, size = layer.read(), tuple(layer.bounds), (layer.width, layer.height)
    expected = process(http, RGBA, {"bbox": bounds}, epsg, size)
    assert expected[3].any()
    # Centres of pixels that lie on the edge of two of the source's are told apart by rounding
    assert np.mean((found != expected).any(axis=0)) < 0.002


def test_a_tile_is_the_same_by_parameters_and_by_path(maps: httpx.Client, instance: str) -> None:
    capabilities = maps.get(f"/wmts/{instance}/1.0.0/WMTSCapabilities.xml")
    root = Xml.fromstring(capabilities.content)
    assert root.tag == f"{WMTS}Capabilities"
    layer = root.find(f"{WMTS}Contents/{WMTS}Layer")
    template = layer.find(f"{WMTS}ResourceURL").get("template")
    matrix = root.findall(f"{WMTS}Contents/{WMTS}TileMatrixSet/{WMTS}TileMatrix")[0]
    assert float(matrix.findtext(f"{WMTS}ScaleDenominator")) == pytest.approx(559_082_264.0287178)
    longitude, latitude = Transformer.from_crs(32633, 4326, always_xy=True).transform(LEFT + 500, TOP - 500)
    column = int((longitude + 180) / 360 * 2**13)
    row = int((1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * 2**13)
    time = "2020-06-01/2020-06-04"
    told = {"TILEMATRIXSET": "PopularWebMercator256", "TILEMATRIX": "13", "TILEROW": str(row), "TILECOL": str(column)}
    asked = {"SERVICE": "WMTS", "REQUEST": "GetTile", "LAYER": "FIELDS", "STYLE": "plain", "FORMAT": "image/png"}
    by_parameters = maps.get(f"/wmts/{instance}", params={**asked, "TIME": time, **told})
    names = dict(zip(("TileMatrixSet", "TileMatrix", "TileRow", "TileCol"), told.values(), strict=True))
    names |= {"Style": "plain", "Time": time}
    by_path = maps.get(template.format(**names))
    assert pixels(by_path).shape == (4, 256, 256)
    assert by_path.content == by_parameters.content
    assert pixels(by_path)[3].any()
    newest = maps.get(template.format(**{**names, "Time": "default"}))
    assert newest.content != by_path.content
    opaque = maps.get(template.format(**names), params={"TRANSPARENT": "FALSE"})
    assert pixels(opaque).shape == (3, 256, 256)


@pytest.fixture
def config(server: Serving, instance: str) -> sentinelhub.SHConfig:
    """No client, no secret: the package asks map services with the id of the instance alone."""
    config = sentinelhub.SHConfig(use_defaults=True)
    config.sh_base_url, config.instance_id = server.url, instance
    return config


@pytest.fixture(scope="module")
def collection(server: Serving) -> DataCollection:
    return DataCollection.SENTINEL2_L2A.define_from(f"LAYERS_AT_{server.url}", service_url=server.url)


@pytest.mark.parametrize("crs", [CRS("32633"), CRS.WGS84])
def test_the_published_package_unchanged(
    http: httpx.Client, config: sentinelhub.SHConfig, collection: DataCollection, crs: CRS
) -> None:
    box = BBox(BOX, CRS("32633")) if crs is not CRS.WGS84 else BBox(box_in(4326), crs)
    epsg = int(crs.value)
    wanted = WmsRequest(
        data_collection=collection,
        layer="FIELDS",
        bbox=box,
        width=128,
        height=96,
        maxcc=0.5,
        time=("2020-06-01", "2020-06-30"),
        image_format=MimeType.PNG,
        config=config,
    )
    assert wanted.get_dates() == [datetime(2020, 6, day, 10) for day in (1, 4)]
    assert [scene["properties"]["cloudCoverPercentage"] for scene in wanted.get_tiles()] == [5.0, 10.0]
    for found, day in zip(wanted.get_data(), (1, 4), strict=True):
        expected = process(http, RGBA, {"bbox": tuple(box)}, epsg, (128, 96), timeRange=days(day, day))
        np.testing.assert_array_equal(np.moveaxis(found, -1, 0), expected)
    newest = WmsRequest(data_collection=collection, layer="FIELDS", bbox=box, width=128, time="latest", config=config)
    assert newest.get_dates() == [datetime(2020, 6, 9, 10)]
    for shape in newest.get_tiles().get_geometries():
        assert shape.intersects(box.geometry)


def test_the_published_packages_coverage_at_a_resolution(
    http: httpx.Client, config: sentinelhub.SHConfig, collection: DataCollection
) -> None:
    box = BBox(BOX, CRS("32633"))
    clip = Geometry(box.geometry.buffer(-300, join_style="mitre"), box.crs)
    wanted = WcsRequest(
        data_collection=collection,
        layer="FIELDS",
        bbox=box,
        time="2020-06-04",
        resx="10m",
        resy="20m",
        config=config,
        custom_url_params={CustomUrlParam.SHOWLOGO: False, CustomUrlParam.GEOMETRY: clip},
    )
    (found,) = wanted.get_data()
    assert found.shape == (64, 128, 4)
    bounds = {"bbox": BOX, "geometry": clip.geometry.__geo_interface__}
    expected = process(http, RGBA, bounds, 32633, (128, 64), timeRange=days(4, 4))
    np.testing.assert_array_equal(np.moveaxis(found, -1, 0), expected)
    assert 0 < np.count_nonzero(found[..., 3]) < found[..., 3].size / 2


def test_scenes_of_other_collections_are_not_told(maps: httpx.Client, instance: str) -> None:
    wanted = {"REQUEST": "GetFeature", "BBOX": text_of(BOX), "SRSNAME": "EPSG:32633"}
    for name in ("DSS1", "nothing", "byoc-00000000-0000-4000-8000-000000000000"):
        answer = maps.get(f"/wfs/{instance}", params={**wanted, "TYPENAMES": name})
        assert answer.status_code == 400
        assert "No layer of this instance" in answer.text
    page = maps.get(
        f"/wfs/{instance}", params={**wanted, "TYPENAMES": "DSS2", "MAXFEATURES": "1", "FEATURE_OFFSET": "1"}
    )
    assert [feature["id"] for feature in page.json()["features"]] == ["S4"]
