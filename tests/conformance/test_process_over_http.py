"""The published package's whole flow of Batch Processing V2, unchanged, against a running server."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import sentinelhub
import shapely
from pyproj import Transformer
from sentinelhub.api.batch import utils as published_utils

import swathe.client
from builders import make_catalog, make_scene
from serving import Serving, write_config

pytestmark = pytest.mark.xdist_group("http")

LEFT, TOP, PIXEL = 390_000, 5_180_000, 150
ROWS, COLUMNS = 1600, 1800
B04 = 1000
B08 = (1000 + np.arange(ROWS)[:, None] + np.arange(COLUMNS)).astype(np.uint16)
SECRET = "the-hidden-key"
NDVI = """//VERSION=3
function setup() {
  return {input: ["B04", "B08"], output: [{id: "ndvi", bands: 1, sampleType: "FLOAT32"},
                                          {id: "b08", bands: 1, sampleType: "UINT16"}]}
}
function evaluatePixel(s) {
  return {ndvi: [(s.B08 - s.B04) / (s.B08 + s.B04)], b08: [Math.round(s.B08 * 10000)]}
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with buckets in a folder and one coarse scene (EPSG:32633) whose B08 tells rows and columns."""
    folder = tmp_path_factory.mktemp("process")
    scene = make_scene(
        folder / "scenes",
        "S1",
        "2020-06-01T10:00:00Z",
        {"B04": np.full_like(B08, B04), "B08": B08},
        origin=(LEFT, TOP),
        pixel=PIXEL,
    )
    buckets = folder / "buckets"
    (buckets / "in").mkdir(parents=True)
    catalog = make_catalog(folder / "scenes", [scene])
    config = write_config(folder / "config.toml", catalog, "[storage]", f'local_root = "{buckets}"')
    with Serving(folder / "home", config=config) as running:
        running.buckets = buckets
        yield running


@pytest.fixture
def config(server: Serving, monkeypatch: pytest.MonkeyPatch) -> sentinelhub.SHConfig:
    """Of a new client of the server; the package's waiting is made to look more often than it otherwise may."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    clock = SimpleNamespace(sleep=lambda seconds: time.sleep(0.2))
    monkeypatch.setattr(published_utils, "time", clock)
    made = server.client("published")
    config = sentinelhub.SHConfig(use_defaults=True)
    config.sh_client_id, config.sh_client_secret = made["client_id"], made["client_secret"]
    config.sh_base_url, config.sh_token_url = server.url, f"{server.url}/oauth/token"
    return config


@pytest.fixture
def client(config: sentinelhub.SHConfig) -> sentinelhub.BatchProcessClient:
    return sentinelhub.BatchProcessClient(config)


def make_render(
    server: Serving, config: sentinelhub.SHConfig, mime: str, *names: str, bbox: tuple[float, ...], epsg: int = 32633
) -> sentinelhub.SentinelHubRequest:
    """What a user of the package makes to say what is rendered."""
    responses = [{"identifier": name, "format": {"type": mime}} for name in names]
    return sentinelhub.SentinelHubRequest(
        evalscript=NDVI,
        input_data=[
            sentinelhub.SentinelHubRequest.input_data(
                sentinelhub.DataCollection.SENTINEL2_L2A.define_from(f"S2 at {server.url}", service_url=server.url),
                time_interval=("2020-06-01", "2020-06-30"),
            )
        ],
        responses=responses,
        bbox=sentinelhub.BBox(bbox, crs=sentinelhub.CRS(str(epsg))),
        config=config,
    )


def delivery_to(client: Any, url: str) -> dict[str, Any]:
    return dict(client.s3_specification(url, access_key="an-access-key", secret_access_key=SECRET))


def expected_b08(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """B08 of the scene's pixels that hold these places (EPSG:32633)."""
    columns, rows = np.floor((x - LEFT) / PIXEL).astype(int), np.floor((TOP - y) / PIXEL).astype(int)
    values: npt.NDArray[np.uint16] = B08[rows, columns]
    return values


def check_image(path: Path, size: tuple[int, int], resolution: float) -> dict[str, Any]:
    """That a GeoTIFF is where it says and holds what the scene has there: its profile; `size` is width, height."""
    with rasterio.open(path) as image:
        assert image.crs.to_epsg() == 32633
        assert (image.width, image.height, image.count) == (*size, 1)
        assert (image.transform.a, image.transform.e) == (resolution, -resolution)
        values = image.read(1)
        columns, rows = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
        b08 = expected_b08(image.transform.c + columns * resolution, image.transform.f - rows * resolution)
        if path.name.startswith("ndvi"):
            assert image.dtypes == ("float32",)
            wanted = (b08.astype(float) - B04) / (b08.astype(float) + B04)
            np.testing.assert_allclose(values, wanted, rtol=2e-6, atol=1e-7)
        else:
            assert image.dtypes == ("uint16",)
            np.testing.assert_array_equal(values, b08)
        return dict(image.profile)


def test_tiles_of_a_grid_from_the_first_call_to_the_last(
    server: Serving, config: sentinelhub.SHConfig, client: sentinelhub.BatchProcessClient
) -> None:
    grids = {grid["id"]: grid for grid in client.iter_tiling_grids()}
    assert client.get_tiling_grid(0) == grids[0]
    request = client.create(
        make_render(server, config, "image/tiff", "ndvi", "b08", bbox=(495_000, 5_000_000, 505_000, 5_010_000)),
        input=client.tiling_grid_input(0, 60),
        output=client.raster_output(delivery_to(client, "s3://out/tiles")),
        description="first words",
    )
    assert (request.status.value, request.user_action.value, request.cost_PU) == ("CREATED", "NONE", 0)
    client.update_request(request, "other words")
    client.start_analysis(request)
    analysed = sentinelhub.monitor_batch_process_analysis(request, client, sleep_time=5)
    assert analysed.status is sentinelhub.BatchRequestStatus.ANALYSIS_DONE
    assert analysed.request["description"] == "other words"
    task = request.request_id
    folder = server.buckets / "out/tiles" / task
    assert not list(folder.rglob("*.tif"))
    (manifest,) = server.buckets.rglob(f"featureManifest-{task}.gpkg")
    client.start_job(request)
    done = sentinelhub.monitor_batch_process_job(request, client, sleep_time=60)
    assert done.status is sentinelhub.BatchRequestStatus.DONE
    assert (done.completion_percentage, done.error) == (100, None)
    assert done.cost_PU > 0
    assert done.user_action is sentinelhub.BatchUserAction.START
    assert done.request_id in [one.request_id for one in client.iter_requests(sort="created:desc")]

    names = set(gpd.read_file(manifest)["identifier"])
    found = {file.parent.name for file in folder.rglob("*.tif")}
    assert found == names
    assert names
    for name in names:
        for output in ("ndvi", "b08"):
            check_image(folder / name / f"{output}.tif", (334, 334), 60.0)
    (execution,) = server.buckets.rglob(f"execution-{task}.sqlite")
    with sqlite3.connect(execution) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    beside = [file for file in server.buckets.rglob("*") if file.is_file() and task in str(file)]
    assert not [file for file in beside if SECRET.encode() in file.read_bytes()]
    assert SECRET not in server.log.read_text()


def test_features_of_a_geopackage_stopped_and_started_again(
    server: Serving, config: sentinelhub.SHConfig, client: sentinelhub.BatchProcessClient
) -> None:
    boxes = [shapely.box(500_000 + 3000 * k, 5_000_000, 501_500 + 3000 * k, 5_000_900) for k in range(3)]
    frame = gpd.GeoDataFrame(
        {"id": [1, 2, 3], "identifier": ["north", "middle", "south"], "resolution": [30.0, 10.0, 30.0]},
        geometry=boxes,
        crs="EPSG:32633",
    )
    frame.to_file(server.buckets / "in" / "areas.gpkg", layer="areas", driver="GPKG")
    request = client.create(
        make_render(server, config, "image/tiff", "ndvi", bbox=(490_000, 4_990_000, 520_000, 5_010_000)),
        input=client.geopackage_input(delivery_to(client, "s3://in/areas.gpkg")),
        output=client.raster_output(
            delivery_to(client, "s3://out/areas/<requestId>/<outputId>-<tileName>.<format>"),
            cog_output=True,
            cog_parameters={"blockxsize": 64, "blockysize": 64},
        ),
    )
    client.start_analysis(request)
    sentinelhub.monitor_batch_process_analysis(request, client, sleep_time=5)
    client.stop_job(request)
    stopped = client.get_request(request)
    assert (stopped.status.value, stopped.stopped_status_reason.value) == ("STOPPED", "USER_ACTION")
    ours = swathe.client.BatchProcessClient(config)
    with pytest.raises(swathe.client.JobStopped, match=r"STOPPED \(USER_ACTION\)"):
        ours.wait(request.request_id, progress=False)
    client.start_job(request)
    assert ours.wait(request.request_id, progress=False, timeout=120).status.value == "DONE"
    folder = server.buckets / "out/areas" / request.request_id
    for name, size, resolution in (("north", (50, 30), 30), ("middle", (150, 90), 10), ("south", (50, 30), 30)):
        profile = check_image(folder / f"ndvi-{name}.tif", size, resolution)
        assert (profile["tiled"], profile["blockxsize"], profile["blockysize"]) == (True, 64, 64)
    assert len(list(folder.glob("*.tif"))) == 3


def test_zarr_of_a_grid(server: Serving, config: sentinelhub.SHConfig, client: sentinelhub.BatchProcessClient) -> None:
    xarray = pytest.importorskip("xarray")
    # Within one tile of 100 km, as the scene has data all over it.
    to_utm = Transformer.from_crs(3035, 32633, always_xy=True)
    # The package knows no Zarr as a format of a response; its users change the payload.
    render = make_render(
        server, config, "image/tiff", "ndvi", bbox=(4_730_000, 2_530_000, 4_740_000, 2_540_000), epsg=3035
    )
    payload = render.download_list[0].post_values
    payload["output"]["responses"] = [{"identifier": "ndvi", "format": {"type": "zarr/array"}}]
    request = client.create(
        payload,
        input=client.tiling_grid_input(6, 100),
        output=client.zarr_output(
            delivery_to(client, "s3://out/zarr/<requestId>"),
            group={"zarr_format": 2},
            array_parameters={"dtype": "<f4", "order": "C", "chunks": [1, 500, 500], "fill_value": "NaN"},
        ),
    )
    client.start_job(request)
    done = sentinelhub.monitor_batch_process_job(request, client, sleep_time=60)
    assert done.status is sentinelhub.BatchRequestStatus.DONE, done
    found = xarray.open_zarr(server.buckets / "out/zarr" / request.request_id, consolidated=True)
    image = found["ndvi"]
    assert image.dims == ("time", "y", "x")
    assert image.shape == (1, 1000, 1000)
    assert (float(found.x[0]), float(found.y[0])) == (4_700_050, 2_599_950)
    x, y = np.meshgrid(found.x.values, found.y.values)
    b08 = expected_b08(*to_utm.transform(x, y)).astype(float)
    wanted = (b08 - B04) / (b08 + B04)
    assert (np.abs(image.values[0] - wanted) < 2e-6).mean() > 0.999


def test_what_is_wrong_reaches_the_user_of_the_package(
    server: Serving, config: sentinelhub.SHConfig, client: sentinelhub.BatchProcessClient
) -> None:
    render = make_render(server, config, "image/tiff", "ndvi", bbox=(495_000, 5_000_000, 505_000, 5_010_000))
    output = client.raster_output(delivery_to(client, "s3://out/none"))
    with pytest.raises(sentinelhub.DownloadFailedException) as caught:
        client.create(render, input=client.tiling_grid_input(0, 15), output=output)
    assert json.dumps("input->resolution")[1:-1] in str(caught.value)
    request = client.create(render, input=client.tiling_grid_input(0, 60), output=output)
    with pytest.raises(
        sentinelhub.DownloadFailedException, match="STOP is not possible for a request in status CREATED"
    ):
        client.stop_job(request)
    assert client.get_request(request).status is sentinelhub.BatchRequestStatus.CREATED
