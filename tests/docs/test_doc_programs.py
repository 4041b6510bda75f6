"""The programs of README.md and docs/ run, page by page, as a reader would run them.

Each page has a folder of its own; all share a server, and the one page that wants it an S3 server.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import geopandas
import pytest
import sentinelhub

from doc_pages import ROOT, Block, all_blocks, find_blocks
from doc_tables import INSTALLING, PROGRAMS, RUN_BY_ANOTHER, reason_not_to_run
from doc_world import PageRun, World
from serving import BATCH, wait_for

pytestmark = pytest.mark.xdist_group("docs")

ONE_BAND = """//VERSION=3
function setup() { return {input: ["B08"], output: {bands: 1}} }
function evaluatePixel(s) { return [s.B08] }
"""
SUMMER = {"from": "2018-05-01T00:00:00Z", "to": "2018-10-01T00:00:00Z"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("docs"), stack)


@pytest.fixture
def run(world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageRun]:
    folder = world.folder / re.sub(r"\W+", "-", request.node.name)
    folder.mkdir()
    for name in ("home", "swathe.toml"):
        (folder / name).symlink_to(world.folder / name)
    # The published client looks twice a minute; and its own collections are put back as they were.
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.2)))
    addresses = {c: c.value.service_url for c in sentinelhub.DataCollection}
    yield PageRun(world, folder)
    for collection, address in addresses.items():
        object.__setattr__(collection.value, "service_url", address)


def at_server(run: PageRun) -> None:
    """Addresses on the page are the server's, ids and secrets a client's."""
    world = run.world
    run.replaced |= {
        "http://127.0.0.1:8080": world.server.url,
        "https://swathe.example.org": world.server.url,
        '"the client id"': f'"{world.client["client_id"]}"',
        '"the client secret"': f'"{world.client["client_secret"]}"',
    }
    run.variables |= {
        "OAUTHLIB_INSECURE_TRANSPORT": "1",
        "ID": world.client["client_id"],
        "SECRET": world.client["client_secret"],
        "SWATHE_CLIENT_ID": world.client["client_id"],
        "SWATHE_CLIENT_SECRET": world.client["client_secret"],
    }


def first_steps(line: str) -> bool:
    """Lines of shell programs that are seen to otherwise: installing, and the server, which the world has."""
    words = shlex.split(line, comments=True)
    if words[:2] == ["pip", "install"]:
        table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        for extras in re.findall(r"swathe\[([^\]]*)\]", line):
            assert set(extras.split(",")) <= set(table)
        return True
    if words[:1] == ["make"]:
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        return True
    if words[:2] == ["swathe", "serve"]:
        assert [Path(word).name for word in words[2:]] == [
            "--home",
            "home",
            "--config",
            "swathe.toml",
            "--port",
            "8080",
        ]
        return True
    return False


def request_of(page: str) -> dict[str, Any]:
    """The request that a page shows."""
    bodies = [json.loads(b.text) for b in find_blocks(ROOT / page) if b.language == "json"]
    (body,) = [body for body in bodies if "aggregation" in body]
    return body


def run_page(run: PageRun, page: str, before: Callable[[Block], None] = lambda block: None) -> list[str]:
    """Runs a page's programs that are not in the tables; what each printed."""
    printed = []
    for block in find_blocks(ROOT / page):
        if reason_not_to_run(block) or block.language not in PROGRAMS:
            continue
        before(block)
        if block.language == "python":
            run.python(block)
        else:
            run.printed = ""
            run.shell(block, instead=first_steps)
        printed.append(run.printed)
    return printed


def bring_parcels(run: PageRun) -> None:
    run.world.parcels.rename(columns={"parcel_nr": "identifier"}).to_file(run.folder / "parcels.gpkg", driver="GPKG")


def test_readme(run: PageRun) -> None:
    bring_parcels(run)
    (run.folder / "request.json").write_text(json.dumps(request_of("README.md")))
    at_server(run)
    keys = run.world.client
    run.replaced |= {
        'sh_client_id="…"': f"sh_client_id={keys['client_id']!r}",
        'sh_client_secret="…"': f"sh_client_secret={keys['client_secret']!r}",
    }
    printed = run_page(run, "README.md")
    assert "field 3" in printed[-1]
    assert len(list((run.folder / "results").glob("*.json"))) == 4


def test_quick_start(run: PageRun) -> None:
    world, page = run.world, "docs/quickstart.md"
    world.parcels.to_file(run.folder / "parcels.shp")
    (run.folder / "request.json").write_text(json.dumps(request_of(page)))
    at_server(run)

    def before(block: Block) -> None:
        if "AWS_ENDPOINT_URL_S3" not in block.text:
            return
        (storage,) = [b.text for b in find_blocks(ROOT / page) if b.language == "toml" and "endpoint_url" in b.text]
        serving = world.s3_serving(storage)
        (run.folder / "client.json").write_text(json.dumps(serving.client()))
        run.replaced |= {"http://127.0.0.1:8080": serving.url, "https://s3.example.org": world.s3.url}
        run.variables |= {
            "AWS_ENDPOINT_URL_S3": world.s3.url,
            "AWS_ACCESS_KEY_ID": world.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": world.s3.secret_access_key,
        }

    printed = run_page(run, page, before)
    assert len(run.names["documents"]) == 4
    assert len(run.names["frame"]) == 4 * 4  # the dates of 2018
    assert any("noDataCount" in text for text in printed)


def test_coming_from_sentinel_hub(run: PageRun) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    at_server(run)
    body = batch_body(run)
    (run.folder / "batch.json").write_text(json.dumps(body))
    run.variables["JOB"] = run.world.session.post(BATCH, json=body).json()["id"]
    run_page(run, "docs/coming-from-sentinel-hub.md")
    assert run.names["config"].sh_base_url == run.world.server.url
    assert sentinelhub.DataCollection.SENTINEL2_L2A.service_url is None
    assert wait_for(run.world.session, run.variables["JOB"])["status"] == "DONE"


def batch_body(run: PageRun) -> dict[str, Any]:
    """The quick start's request over the parcels of this world."""
    fields = run.folder / "home/buckets/fields"
    fields.mkdir(parents=True, exist_ok=True)
    run.world.parcels.to_file(fields / "batch.gpkg", driver="GPKG")
    body = request_of("docs/quickstart.md")
    body["input"]["features"] = {"s3": {"url": "s3://fields/batch.gpkg"}}
    return {**body, "output": {"s3": {"url": "s3://fields/batch-results"}}}


def test_evalscripts(run: PageRun) -> None:
    blocks = find_blocks(ROOT / "docs/evalscripts.md")
    script = re.search(r'script = """(.*?)"""', next(b.text for b in blocks if b.language == "python"), re.DOTALL)[1]
    (run.folder / "script.js").write_text(script)
    outputs = "output: [{id: 'ndvi', bands: 1}, {id: 'dataMask', bands: 1}]"
    (run.folder / "statistics.js").write_text(re.sub(r"output: \{.*?\}", outputs, script))
    printed = run_page(run, "docs/evalscripts.md")
    assert next(b.text for b in blocks if b.language == "text") in printed[1]


@pytest.mark.filterwarnings("ignore:The argument 'item_search':UserWarning")
def test_catalog(run: PageRun) -> None:
    at_server(run)
    printed = run_page(run, "docs/catalog.md")
    assert printed == ["['S4']\n"]


def test_layers(run: PageRun) -> None:
    at_server(run)
    run.replaced["--home HOME"] = f"--home home --project {project_of(run.world)}"
    (run.folder / "ndvi.js").write_text(ONE_BAND)
    (printed,) = run_page(run, "docs/layers.md")
    assert "/ogc/wms/" in printed


def tiles_body(collection: str, times: dict[str, str], bbox: list[float], epsg: int) -> dict[str, Any]:
    """A request for images of the tiles of 10 km over a box."""
    crs = {"crs": f"http://www.opengis.net/def/crs/EPSG/0/{epsg}"}
    return {
        "processRequest": {
            "input": {
                "bounds": {"bbox": bbox, "properties": crs},
                "data": [{"type": collection, "dataFilter": {"timeRange": times}}],
            },
            "output": {"responses": [{"identifier": "default", "format": {"type": "image/tiff"}}]},
            "evalscript": ONE_BAND,
        },
        "input": {"type": "tiling-grid", "id": 1, "resolution": 20},
        "output": {"type": "raster", "delivery": {"s3": {"url": "s3://any/where"}}},
    }


def test_process(run: PageRun) -> None:
    run.world.parcels.rename(columns={"parcel_nr": "identifier"}).to_file(run.folder / "areas.gpkg", driver="GPKG")
    body = tiles_body("sentinel-2-l2a", SUMMER, [500_100, 5_099_000, 500_900, 5_099_700], 32631)
    (run.folder / "request.json").write_text(json.dumps(body))
    del body["processRequest"]["input"]["bounds"]
    body["input"] = {
        "type": "geopackage",
        "features": {"s3": {"url": "s3://any/where"}},
        "defaults": {"resolution": 10},
    }
    (run.folder / "fields.json").write_text(json.dumps(body))
    run_page(run, "docs/process.md")
    assert len(list((run.folder / "fields").rglob("*.tif"))) == 4


def two_jobs(run: PageRun) -> tuple[str, str]:
    """The jobs that pages call 13cb and 793d: the first is new, the second is analysed and waits."""
    body, session = batch_body(run), run.world.session
    new, waiting = (session.post(BATCH, json=body).json()["id"] for _ in range(2))
    session.post(f"{BATCH}/{waiting}/analyse")
    wait_for(session, waiting, "ANALYSIS_DONE")
    spare = run.world.server.client("spare")["client_id"]
    run.replaced |= {
        "13cb": new,
        "793d": waiting,
        "secret ID": f"secret {spare}",
        "delete ID": f"delete {spare}",
    }
    return new, waiting


def statuses(world: World, *jobs: str) -> list[str]:
    return [world.session.get(f"{BATCH}/{job}").json()["status"] for job in jobs]


def test_operating(run: PageRun) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    world, page = run.world, "docs/operate.md"
    at_server(run)
    jobs = two_jobs(run)
    run.replaced["PROJECT"] = project_of(world)
    with closing(world.server.session(world.admin)) as admin:
        run.variables["TOKEN"] = admin.headers["Authorization"].removeprefix("Bearer ")
    run_page(run, page)
    assert statuses(world, *jobs) == ["DONE", "STOPPED"]


def test_command_line(run: PageRun) -> None:
    """From the second block on we are in the example's folder; no server runs."""
    world, outer = run.world, run.folder

    def before(block: Block) -> None:
        if run.folder != outer or not (outer / "first").exists():
            return
        run.folder = outer / "first"
        home = run.folder / "home"
        (home / "buckets/results").mkdir(parents=True)
        world.swathe("client", "create", "me", "--home", str(home))
        (run.folder / "picture.js").write_text(ONE_BAND.replace("B08", "red"))
        made = world.swathe(
            "layer", "create", "ndvi", "--home", str(home), "--config", str(run.folder / "swathe.toml"), "--json",
            "--collection", "byoc-landsat", "--evalscript", str(run.folder / "picture.js"),
        )  # fmt: skip
        run.replaced["INSTANCE"] = json.loads(made.stdout)["instance_id"]
        fields = geopandas.read_file(run.folder / "fields.gpkg")
        times = json.loads((run.folder / "request.json").read_text())["aggregation"]["timeRange"]
        body = tiles_body("byoc-landsat", times, list(fields.total_bounds), fields.crs.to_epsg())
        body["processRequest"]["evalscript"] = ONE_BAND.replace("B08", "red")
        (run.folder / "tiles.json").write_text(json.dumps(body))

    printed = run_page(run, "docs/cli.md", before)
    assert (run.folder / "ndvi.png").stat().st_size > 10_000
    assert any('"findings"' in text for text in printed)


def project_of(world: World) -> str:
    clients = json.loads(world.swathe("client", "list", "--home", "home", "--json").stdout)
    return next(c["project_id"] for c in clients if c["client_id"] == world.client["client_id"])


@pytest.mark.parametrize("page", INSTALLING)
def test_pages_that_only_install(run: PageRun, page: str) -> None:
    assert run_page(run, page) == [""]


PAGES_WITH_A_TEST = {
    "README.md", "docs/quickstart.md", "docs/coming-from-sentinel-hub.md", "docs/evalscripts.md", "docs/catalog.md",
    "docs/layers.md", "docs/process.md", "docs/operate.md", "docs/cli.md",
}  # fmt: skip


def test_every_page_with_programs_has_a_test() -> None:
    with_programs = {
        block.page for block in all_blocks() if block.language in PROGRAMS and not reason_not_to_run(block)
    }
    assert with_programs == {*PAGES_WITH_A_TEST, *INSTALLING, *RUN_BY_ANOTHER}
