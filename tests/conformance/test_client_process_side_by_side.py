"""Batch Processing V2: the published `sentinelhub` package and our client, with the same calls to the same server."""

from __future__ import annotations

import inspect
import json
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sentinelhub

import swathe.client as ours

REQUEST_ID = "9ac2a6a7-9b77-4f2a-b9d3-1d1e1c2f3a4b"
PROCESS = "/api/v2/batch/process"
GRIDS = "/api/v2/batch/tilinggrids"
GRID = {
    "id": 1,
    "name": "UTM 10km grid",
    "properties": {"tileWidth": 10000.0, "tileHeight": 10000.0, "resolutions": [10.0, 20.0], "unit": "METRE"},
}
DOCUMENT: dict[str, Any] = {
    "id": REQUEST_ID,
    "domainAccountId": "5c0fc6b4-8a46-4c54-a3d5-21c2f2f0a2b3",
    "projectId": "5c0fc6b4-8a46-4c54-a3d5-21c2f2f0a2b3",
    "workspaceId": "5c0fc6b4-8a46-4c54-a3d5-21c2f2f0a2b3",
    "request": {"input": {"type": "tiling-grid", "id": 1, "resolution": 10.0}},
    "status": "STOPPED",
    "userAction": "STOP",
    "userActionUpdated": "2021-04-27T10:30:00Z",
    "created": "2021-04-27T10:27:51.123Z",
    "lastUpdated": "2021-04-27T10:31:00.5Z",
    "completionPercentage": 12.5,
    "costPU": 42,
    "stoppedStatusReason": "OUT_OF_PU",
}


@dataclass
class Service:
    """A server with scripted answers by (method, path), and what it was sent."""

    url: str = ""
    answers: dict[tuple[str, str], Callable[[dict[str, list[str]]], Any]] = field(default_factory=dict)
    sent: list[tuple[str, str, dict[str, list[str]], Any]] = field(default_factory=list)

    def take(self) -> list[tuple[str, str, dict[str, list[str]], Any]]:
        taken, self.sent = self.sent, []
        return taken

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if path.endswith("/token"):
            return 200, {"access_token": "aaa.bbb.ccc", "expires_in": 3600, "token_type": "Bearer"}
        self.sent.append((method, path, query, body))
        if (scripted := self.answers.get((method, path))) is not None:
            return 200, scripted(query)
        if (method, path) == ("POST", PROCESS):
            return 201, {**DOCUMENT, "status": "CREATED", "userAction": "NONE", "stoppedStatusReason": None}
        if path == f"{PROCESS}/{REQUEST_ID}":
            return 200, DOCUMENT
        if path == f"{GRIDS}/1":
            return 200, GRID
        return (204, None) if method == "POST" else (404, {"error": {"status": 404, "message": "no"}})


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            body = json.loads(raw) if raw and not parts.path.endswith("/token") else None
            status, answer = running.answer(self.command, parts.path, parse_qs(parts.query), body)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def do_PUT(self) -> None:
            self._handle()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _plain_http_and_no_user_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("SH_CLIENT_ID", "SH_CLIENT_SECRET", "SH_PROFILE", "SH_BASE_URL", "SH_TOKEN_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def published(service: Service) -> sentinelhub.BatchProcessClient:
    return sentinelhub.BatchProcessClient(published_config(service))


@pytest.fixture
def client(service: Service) -> Iterator[ours.BatchProcessClient]:
    config = ours.SHConfig(
        use_defaults=True,
        sh_client_id="me",
        sh_client_secret="hush",
        sh_base_url=service.url,
        sh_auth_base_url=service.url,
    )
    with ours.BatchProcessClient(config) as running:
        yield running


def published_config(service: Service) -> sentinelhub.SHConfig:
    return sentinelhub.SHConfig(
        use_defaults=True,
        sh_client_id="me",
        sh_client_secret="hush",
        sh_base_url=service.url,
        sh_token_url=f"{service.url}/auth/realms/main/protocol/openid-connect/token",
        download_sleep_time=0.01,
    )


def outcomes(service: Service, *calls: Callable[[], Any]) -> list[tuple[Any, Any]]:
    """What each call sent and gave back."""
    found = []
    for call in calls:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = call()
        found.append((service.take(), value))
    return found


def same_fields(first: Any, second: Any) -> bool:
    """Equal attribute by attribute, enum members by value."""
    one, two = (
        {name: getattr(value, "value", value) for name, value in vars(request).items()} for request in (first, second)
    )
    return one == two


def process_request(service: Service) -> sentinelhub.SentinelHubRequest:
    """What users of the published package hand over."""
    return sentinelhub.SentinelHubRequest(
        evalscript="//VERSION=3",
        # a plain entry: the published data collections carry a service URL that overrides the configured one
        input_data=[{"type": "sentinel-2-l2a", "dataFilter": {"maxCloudCoverage": 20}}],
        responses=[sentinelhub.SentinelHubRequest.output_response("default", sentinelhub.MimeType.TIFF)],
        bbox=sentinelhub.BBox((14.0, 45.8, 14.2, 46.0), sentinelhub.CRS.WGS84),
        config=published_config(service),
    )


ACCESS = {"url": "s3://out/<tileName>.tif", "access_key": "AK", "secret_access_key": "SK"}


@pytest.mark.parametrize("as_payload", [False, True])
def test_create_sends_and_parses_the_same(service: Service, published: Any, client: Any, as_payload: bool) -> None:
    request: Any = process_request(service)
    if as_payload:
        request = request.download_list[0].post_values
    service.take()

    def create(which: Any) -> Callable[[], Any]:
        return lambda: which.create(
            request,
            input=which.tiling_grid_input(1, 10, buffer_x=5, buffer_y=None, more=1),
            output=which.raster_output(which.s3_specification(**ACCESS, region="eu"), cog_output=True),
            description="tutorial",
            nothing=None,
        )

    (theirs, their_request), (mine, my_request) = outcomes(service, create(published), create(client))
    assert theirs == mine
    assert len(mine) == 1
    assert mine[0][3]["instanceType"] == "normal"
    assert mine[0][3]["processRequest"]["input"]["bounds"]["bbox"] == [14.0, 45.8, 14.2, 46.0]
    assert same_fields(their_request, my_request)
    assert (my_request.request_id, my_request.status) == (REQUEST_ID, ours.BatchRequestStatus.CREATED)


def test_what_is_no_request_is_refused_as_the_published_client_does(published: Any, client: Any) -> None:
    for which in (published, client):
        with pytest.raises(ValueError, match="SentinelHubRequest"):
            which.create("a request", input={}, output={})


@pytest.mark.parametrize(
    ("method", "arguments", "options"),
    [
        ("tiling_grid_input", (0, 60.0), {}),
        ("tiling_grid_input", (0, 60.0, 1, 2), {"extra": True}),
        ("geopackage_input", ({"s3": {"url": "s3://a/b"}},), {}),
        ("raster_output", ({"s3": {}},), {}),
        (
            "raster_output",
            ({"s3": {}},),
            {
                "overwrite": False,
                "skip_existing": True,
                "cog_output": True,
                "cog_parameters": {"blockxsize": 512},
                "create_collection": True,
                "collection_id": "c",
                "extra": 1,
            },
        ),
        ("zarr_output", ({"s3": {}},), {"group": {"zarr_format": 2}, "array_overrides": {"a": {}}, "extra": 1}),
        ("s3_specification", ("s3://a", "k", "s"), {"region": "eu"}),
        ("s3_specification", ("s3://a",), {"iam_role_arn": "arn:aws:iam::1:role/x"}),
    ],
)
def test_parts_of_a_payload_are_the_same(method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    theirs = getattr(sentinelhub.BatchProcessClient, method)(*arguments, **options)
    mine = getattr(ours.BatchProcessClient, method)(*arguments, **options)
    assert theirs == mine


def test_array_parameters_have_the_name_that_the_service_describes() -> None:
    """The published client writes `arrayParameter`, which the service's description does not have."""
    arguments = ({"s3": {}},)
    theirs = sentinelhub.BatchProcessClient.zarr_output(*arguments, array_parameters={"dtype": "<f4"})
    mine = ours.BatchProcessClient.zarr_output(*arguments, array_parameters={"dtype": "<f4"})
    assert mine["arrayParameters"] == theirs.pop("arrayParameter")
    assert {name: value for name, value in mine.items() if name != "arrayParameters"} == theirs


@pytest.mark.parametrize(
    "keys", [{}, {"access_key": "k"}, {"access_key": "k", "secret_access_key": "s", "iam_role_arn": "r"}]
)
def test_keys_and_roles_exclude_each_other(keys: dict[str, str]) -> None:
    for which in (sentinelhub.BatchProcessClient, ours.BatchProcessClient):
        with pytest.raises(ValueError, match="iam_role_arn"):
            which.s3_specification("s3://a", **keys)


@pytest.mark.parametrize("form", ["id", "payload", "object"])
@pytest.mark.parametrize("method", ["get_request", "start_analysis", "start_job", "stop_job", "update_request"])
def test_calls_on_a_request_send_and_give_the_same(
    service: Service, published: Any, client: Any, method: str, form: str
) -> None:
    forms: dict[str, tuple[Any, Any]] = {
        "id": (REQUEST_ID, REQUEST_ID),
        "payload": (DOCUMENT, DOCUMENT),
        "object": (
            sentinelhub.BatchProcessRequest.from_dict(DOCUMENT),
            ours.BatchProcessRequest.from_dict(DOCUMENT),
        ),
    }
    more = ("new words",) if method == "update_request" else ()
    their_form, my_form = forms[form]
    (theirs, their_value), (mine, my_value) = outcomes(
        service,
        lambda: getattr(published, method)(their_form, *more),
        lambda: getattr(client, method)(my_form, *more),
    )
    assert theirs == mine
    assert len(mine) == 1
    if method == "get_request":
        assert same_fields(their_value, my_value)
    else:
        assert their_value == my_value
    if method == "update_request":
        assert (mine[0][0], mine[0][3]) == ("PUT", {"description": "new words"})


def test_a_request_is_written_and_shown_as_the_published_one() -> None:
    theirs, mine = sentinelhub.BatchProcessRequest.from_dict(DOCUMENT), ours.BatchProcessRequest.from_dict(DOCUMENT)
    assert same_fields(theirs, mine)
    assert json.loads(json.dumps(theirs.to_dict())) == json.loads(json.dumps(mine.to_dict()))
    assert repr(theirs) == repr(mine)
    assert mine.stopped_status_reason is ours.StoppedStatusReason.OUT_OF_PU
    assert mine.cost_PU == 42
    assert mine.other_data == {"projectId": DOCUMENT["projectId"], "workspaceId": DOCUMENT["workspaceId"]}


def paged(*pages: dict[str, Any]) -> Callable[[dict[str, list[str]]], Any]:
    return lambda query: pages[int(query.get("viewtoken", ["0"])[0])]


def test_requests_and_grids_are_walked_page_by_page(service: Service, published: Any, client: Any) -> None:
    named = [{**DOCUMENT, "id": name} for name in "abc"]
    service.answers["GET", PROCESS] = paged(
        {"data": named[:2], "links": {"nextToken": "1"}}, {"data": named[2:], "links": {}}
    )
    service.answers["GET", GRIDS] = paged(
        {"data": [GRID], "links": {"nextToken": "1"}}, {"data": [{**GRID, "id": 2}], "links": {}}
    )

    def ids(which: Any) -> Callable[[], list[str]]:
        return lambda: [one.request_id for one in which.iter_requests(sort="created:desc", count=2)]

    def grids(which: Any) -> Callable[[], list[Any]]:
        return lambda: list(which.iter_tiling_grids(count=1))

    for calls in (ids, grids):
        theirs, mine = outcomes(service, calls(published), calls(client))
        assert theirs == mine
        assert len(mine[0]) == 2
    assert mine[1] == [GRID, {**GRID, "id": 2}]


def test_one_grid_is_given_as_it_is(service: Service, published: Any, client: Any) -> None:
    theirs, mine = outcomes(service, lambda: published.get_tiling_grid(1), lambda: client.get_tiling_grid(1))
    assert theirs == mine
    assert mine[1] == GRID


def test_every_public_method_has_the_published_signature() -> None:
    for name, theirs in inspect.getmembers(sentinelhub.BatchProcessClient, callable):
        if name.startswith("_"):
            continue
        mine = inspect.signature(getattr(ours.BatchProcessClient, name)).parameters
        for parameter in inspect.signature(theirs).parameters.values():
            assert parameter.name in mine, (name, parameter.name)
            assert mine[parameter.name].kind == parameter.kind, (name, parameter.name)
            assert mine[parameter.name].default == parameter.default, (name, parameter.name)


def test_a_job_is_waited_for(service: Service, client: Any) -> None:
    steps = iter([("ANALYSING", 0), ("PROCESSING", 50), ("DONE", 100)])
    service.answers["GET", f"{PROCESS}/{REQUEST_ID}"] = lambda query: dict(
        zip(("status", "completionPercentage"), next(steps), strict=True), **{k: DOCUMENT[k] for k in KEPT}
    )
    client.start_job(REQUEST_ID)
    final = client.wait(REQUEST_ID, progress=False, pace=ours.Pace(first_s=0.01, longest_s=0.01))
    assert (final.status, final.completion_percentage) == (ours.BatchRequestStatus.DONE, 100)


KEPT = ("id", "request", "domainAccountId")


def test_a_failed_job_ends_the_waiting_with_its_reason(service: Service, client: Any) -> None:
    failed = {**DOCUMENT, "status": "FAILED", "error": "evalscript: B99 is no band"}
    service.answers["GET", f"{PROCESS}/{REQUEST_ID}"] = lambda query: failed
    with pytest.raises(ours.JobFailed, match="B99 is no band"):
        client.wait(REQUEST_ID, progress=False)
    stopped = {**DOCUMENT, "stoppedStatusReason": "OUT_OF_PU"}
    service.answers["GET", f"{PROCESS}/{REQUEST_ID}"] = lambda query: stopped
    with pytest.raises(ours.JobStopped, match=r"is STOPPED \(OUT_OF_PU\) at 12\.5 %"):
        client.wait(REQUEST_ID, progress=False)
