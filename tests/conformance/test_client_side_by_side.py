"""The published `sentinelhub` package and our client, driven with the same calls against the same HTTP server."""

from __future__ import annotations

import copy
import datetime as dt
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
from sentinelhub.api.base import SentinelHubFeatureIterator
from sentinelhub.api.statistical import SentinelHubStatistical as PublishedStatistical

import swathe.client as ours

REQUEST_ID = "9ac2a6a7-9b77-4f2a-b9d3-1d1e1c2f3a4b"

DOCUMENT: dict[str, Any] = {
    "id": REQUEST_ID,
    "domainAccountId": "5c0fc6b4-8a46-4c54-a3d5-21c2f2f0a2b3",
    "projectId": "5c0fc6b4-8a46-4c54-a3d5-21c2f2f0a2b3",
    "request": {
        "input": {"features": {"s3": {"url": "s3://in/parcels.gpkg"}}, "data": [{"type": "sentinel-2-l2a"}]},
        "aggregation": {"timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-07-01T00:00:00Z"}},
        "calculations": {"default": {}},
        "output": {"s3": {"url": "s3://out/results"}},
    },
    "status": "PROCESSING",
    "userId": "f4b8c2f6-90c3-4f5c-8c1d-47d2b6f7a0ce",
    "userAction": "START",
    "userActionUpdated": "2021-04-27T10:30:00Z",
    "created": "2021-04-27T10:27:51.123Z",
    "lastUpdated": "2021-04-27T10:31:00.5Z",
    "completionPercentage": 12.5,
    "costPU": 42,
    "costPu": 42,
    "stoppedStatusReason": None,
}
STATUS = {"id": REQUEST_ID, "status": "PROCESSING", "completionPercentage": 12.5, "userAction": "START"}

Answer = tuple[int, dict[str, str], Any]


@dataclass
class Recorded:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    headers: dict[str, str]

    def wire(self) -> tuple[Any, ...]:
        return self.method, self.path, self.query, self.body, self.headers.get("content-type")


@dataclass
class Service:
    """A scripted service; `answers` may override what a (method, path) gives."""

    url: str
    answers: dict[tuple[str, str], Callable[[Recorded], Answer]] = field(default_factory=dict)
    recorded: list[Recorded] = field(default_factory=list)

    def answer(self, request: Recorded) -> Answer:
        if request.path.endswith("/token"):
            return 200, {}, {"access_token": "aaa.bbb.ccc", "expires_in": 3600, "token_type": "Bearer"}
        self.recorded.append(request)
        if custom := self.answers.get((request.method, request.path)):
            return custom(request)
        if request.path == "/api/v1/statistics/batch" and request.method == "POST":
            return 201, {}, {**DOCUMENT, "status": "CREATED", "userAction": "NONE", "completionPercentage": 0}
        if request.path == f"/api/v1/statistics/batch/{REQUEST_ID}":
            return 200, {}, DOCUMENT
        if request.path.endswith("/status"):
            return 200, {}, STATUS
        if request.method == "POST" and request.path.rpartition("/")[2] in ("analyse", "start", "stop", "cancel"):
            return 204, {}, None
        return 404, {}, {"error": {"status": 404, "reason": "Not Found", "message": "no", "code": "COMMON_NOT_FOUND"}}

    def take(self) -> list[Recorded]:
        taken, self.recorded = self.recorded, []
        return taken


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            is_json = raw and not parts.path.endswith("/token")
            request = Recorded(
                self.command,
                parts.path,
                parse_qs(parts.query),
                json.loads(raw) if is_json else raw.decode(),
                {name.lower(): value for name, value in self.headers.items()},
            )
            status, headers, body = running.answer(request)
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Service(f"http://127.0.0.1:{server.server_port}")
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


def published_config(service: Service) -> sentinelhub.SHConfig:
    return sentinelhub.SHConfig(
        use_defaults=True,
        sh_client_id="me",
        sh_client_secret="hush",
        sh_base_url=service.url,
        sh_token_url=f"{service.url}/auth/realms/main/protocol/openid-connect/token",
        download_sleep_time=0.01,
    )


@pytest.fixture
def published(service: Service) -> sentinelhub.SentinelHubBatchStatistical:
    return sentinelhub.SentinelHubBatchStatistical(published_config(service))


@pytest.fixture
def client(service: Service) -> Iterator[ours.SentinelHubBatchStatistical]:
    config = ours.SHConfig(
        use_defaults=True,
        sh_client_id="me",
        sh_client_secret="hush",
        sh_base_url=service.url + "/",
        sh_auth_base_url=service.url,
    )
    with ours.SentinelHubBatchStatistical(config) as running:
        yield running


def outcomes(service: Service, *calls: Callable[[], Any]) -> list[tuple[list[tuple[Any, ...]], Any]]:
    """What each call sent and gave back."""
    found = []
    for call in calls:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = call()
        found.append(([one.wire() for one in service.take()], value))
    return found


def same_fields(first: Any, second: Any) -> bool:
    """Equal attribute by attribute, enum members by value."""
    one, two = dict(vars(first)), dict(vars(second))
    for values in (one, two):
        values["status"] = values["status"].value
        values["user_action"] = values["user_action"].value if values["user_action"] else None
    return one == two


AGGREGATION = {
    "evalscript": "//VERSION=3\n",
    "time_interval": ("2020-06-01", dt.date(2020, 6, 30)),
    "aggregation_interval": "P1D",
    "resolution": (10, 10),
    "other_args": {"aggregationInterval": {"lastIntervalBehavior": "SHORTEN"}},
}
ACCESS = {"url": "s3://in/parcels.gpkg", "access_key": "AK", "secret_access_key": "SK"}


@pytest.mark.parametrize("calculations", [None, {"default": {"statistics": {"default": {"percentiles": {"k": [5]}}}}}])
def test_create_sends_and_parses_the_same(
    service: Service, published: Any, client: Any, calculations: dict[str, Any] | None
) -> None:
    def create(which: Any, statistical: Any) -> Callable[[], Any]:
        return lambda: which.create(
            input_features=which.s3_specification(**ACCESS, region="eu-central-1"),
            input_data=[{"type": "sentinel-2-l2a", "dataFilter": {"maxCloudCoverage": 20}}],
            aggregation=statistical.aggregation(**AGGREGATION),
            calculations=calculations,
            output=which.s3_specification(**ACCESS),
            description="parcels",
            nothing=None,
        )

    (theirs, their_request), (mine, my_request) = outcomes(
        service, create(published, PublishedStatistical), create(client, ours.SentinelHubStatistical)
    )
    assert theirs == mine
    assert len(mine) == 1
    assert ("calculations" in mine[0][3]) == (calculations is not None)
    assert same_fields(their_request, my_request)


def test_create_from_request_takes_our_request_and_the_published_one(
    service: Service, published: Any, client: Any
) -> None:
    bbox = sentinelhub.BBox((414315, 4958219, 414859, 4958819), sentinelhub.CRS.UTM_33N)
    collection = sentinelhub.DataCollection.SENTINEL2_L2A
    their_statistical = PublishedStatistical(
        PublishedStatistical.aggregation(**AGGREGATION),
        [PublishedStatistical.input_data(collection, maxcc=0.5)],
        bbox=bbox,
        calculations={"default": {}},
        config=published_config(service),
    )
    my_statistical = ours.SentinelHubStatistical(
        ours.SentinelHubStatistical.aggregation(**AGGREGATION),
        [ours.SentinelHubStatistical.input_data(collection, maxcc=0.5)],
        bbox=bbox,
        calculations={"default": {}},
    )
    specification = client.s3_specification(**ACCESS)
    results = outcomes(
        service,
        lambda: published.create_from_request(their_statistical, specification, specification, description="x"),
        lambda: client.create_from_request(their_statistical, specification, specification, description="x"),
        lambda: client.create_from_request(my_statistical, specification, specification, description="x"),
    )
    assert results[0][0] == results[1][0] == results[2][0]
    assert same_fields(results[0][1], results[2][1])


def test_s3_specification_is_the_same_dictionary() -> None:
    for more in ({}, {"region": "eu-central-1"}):
        assert ours.s3_specification(**ACCESS, **more) == sentinelhub.SentinelHubBatchStatistical.s3_specification(
            **ACCESS, **more
        )


@pytest.mark.parametrize("form", ["id", "payload", "object"])
@pytest.mark.parametrize(
    "method", ["get_request", "get_status", "start_analysis", "start_job", "stop_job", "cancel_job"]
)
def test_calls_on_a_request_send_and_give_the_same(
    service: Service, published: Any, client: Any, method: str, form: str
) -> None:
    forms: dict[str, tuple[Any, Any]] = {
        "id": (REQUEST_ID, REQUEST_ID),
        "payload": (DOCUMENT, DOCUMENT),
        "object": (
            sentinelhub.BatchStatisticalRequest.from_dict(DOCUMENT),
            ours.BatchStatisticalRequest.from_dict(DOCUMENT),
        ),
    }
    their_spec, my_spec = forms[form]
    (theirs, their_value), (mine, my_value) = outcomes(
        service, lambda: getattr(published, method)(their_spec), lambda: getattr(client, method)(my_spec)
    )
    assert theirs == mine
    if method == "get_request":
        assert same_fields(their_value, my_value)
    else:
        assert their_value == my_value


def test_our_client_takes_the_published_request_objects(service: Service, client: Any) -> None:
    client.start_job(sentinelhub.BatchStatisticalRequest.from_dict(DOCUMENT))
    assert service.take()[0].path == f"/api/v1/statistics/batch/{REQUEST_ID}/start"


def test_a_job_is_waited_for_over_http(service: Service, client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [("ANALYSING", 0), ("PROCESSING", 0), ("PROCESSING", 60), ("DONE", 100)]
    looks = iter([{**DOCUMENT, "status": status, "completionPercentage": done} for status, done in steps])
    service.answers["GET", f"/api/v1/statistics/batch/{REQUEST_ID}"] = lambda request: (200, {}, next(looks))
    final = client.wait(client.start_job(REQUEST_ID) or REQUEST_ID, pace=ours.Pace(first_s=0.01, longest_s=0.01))
    assert final.status is ours.BatchRequestStatus.DONE
    assert final.completion_percentage == 100
    assert "DONE: 100%" in capsys.readouterr().err


def paged(pages: list[dict[str, Any]]) -> Callable[[Recorded], Answer]:
    def answer(request: Recorded) -> Answer:
        token = request.query.get("viewtoken", ["0"])[0]
        return 200, {}, pages[int(token)]

    return answer


def entries(*names: str) -> list[dict[str, Any]]:
    return [{**DOCUMENT, "id": name} for name in names]


@pytest.mark.parametrize(
    "pages",
    [
        [{"data": entries("a", "b")}],
        [{"data": entries("a", "b"), "links": {"nextToken": "1"}}, {"data": entries("c"), "links": {}}],
        [{"data": entries("a"), "links": {"nextToken": "1"}}, {"data": [], "links": {"nextToken": "0"}}],
        [{"data": [], "links": {}}],
    ],
    ids=["one", "two", "empty-last", "none"],
)
def test_iter_requests_walks_the_pages_as_the_published_iterator_does(
    service: Service, published: Any, client: Any, pages: list[dict[str, Any]]
) -> None:
    service.answers["GET", "/api/v1/statistics/batch"] = paged(pages)
    query = {"userid": "u", "search": "a b", "sort": "created:desc", "count": 2}

    def theirs() -> list[str]:
        iterator = SentinelHubFeatureIterator(client=published.client, url=published.service_url, params=query)
        return [sentinelhub.BatchStatisticalRequest.from_dict(one).request_id for one in iterator]

    def mine() -> list[str]:
        found = client.iter_requests(user_id="u", search="a b", sort="created:desc", count=2)
        return [one.request_id for one in found]

    first, second = outcomes(service, theirs, mine)
    assert first == second
    assert first[1] == [one["id"] for page in pages for one in page["data"]]


def test_published_config_objects_are_taken_as_they_are(service: Service) -> None:
    config = published_config(service)
    assert ours.SentinelHubBatchStatistical(config).get_request(REQUEST_ID).request_id == REQUEST_ID
    with pytest.warns(DeprecationWarning, match="sh_token_url"):
        config = sentinelhub.SHConfig(
            use_defaults=True,
            sh_client_id="me",
            sh_client_secret="hush",
            sh_base_url=service.url,
            sh_auth_base_url=service.url,
        )
    assert ours.SentinelHubBatchStatistical(config).get_request(REQUEST_ID).request_id == REQUEST_ID


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "DONE", "userAction": "NONE", "completionPercentage": 100},
        {"status": "FAILED", "error": "No features", "userAction": "ANALYSE"},
        {"status": "STOPPED", "stoppedStatusReason": "OUT_OF_PU", "unheard": {"a": [1, None]}},
        {"created": "2021-04-27T10:27:51+02:00", "costPU": 0.25, "userActionUpdated": None},
    ],
)
def test_a_request_reads_and_writes_json_as_the_published_class_does(changes: dict[str, Any]) -> None:
    document = {**DOCUMENT, **changes}
    theirs = sentinelhub.BatchStatisticalRequest.from_dict(copy.deepcopy(document))
    mine = ours.BatchStatisticalRequest.from_dict(copy.deepcopy(document))
    assert same_fields(theirs, mine)
    assert theirs.to_dict() == mine.to_dict()
    assert json.loads(theirs.to_json()) == json.loads(mine.to_json())
    assert repr(theirs) == repr(mine)
    assert same_fields(theirs, ours.BatchStatisticalRequest.from_json(theirs.to_json()))
    again = ours.BatchStatisticalRequest.from_dict(mine.to_dict())
    assert again == mine


def test_a_minimal_request_reads_as_the_published_class_reads_it() -> None:
    document = {"id": "a", "request": {}, "status": "CREATED", "completionPercentage": 0}
    theirs, mine = (one.BatchStatisticalRequest.from_dict(document) for one in (sentinelhub, ours))
    assert same_fields(theirs, mine)
    assert theirs.to_dict() == mine.to_dict()


def test_constructor_signatures_are_those_of_the_published_class() -> None:
    theirs, mine = (inspect.signature(one.BatchStatisticalRequest) for one in (sentinelhub, ours))
    assert list(theirs.parameters) == list(mine.parameters)


GEOMETRY = {
    "type": "Polygon",
    "coordinates": [[[5.0, 50.0], [5.1, 50.0], [5.1, 50.1], [5.0, 50.0]]],
}


@pytest.mark.parametrize(
    "interval",
    [
        ("2020-06-01", "2020-06-30"),
        ("2020-06-01T10:00:00Z", "2020-06-30T12:30:00.5Z"),
        ("2020-06-01T10:00:00+02:00", "2020-06-30T12:30:00Z"),
        (dt.date(2020, 6, 1), dt.datetime(2020, 6, 30, 5)),
        (dt.datetime(2020, 6, 1, tzinfo=dt.UTC), None),
        ("..", "2020-06-30"),
        "2020-06-01",
    ],
)
def test_aggregation_is_the_same_payload(interval: Any) -> None:
    for more in (
        {},
        {"size": (512, 256)},
        {"resolution": (10, 20)},
        {"other_args": {"timeRange": {"to": "x"}, "a": 1}},
    ):
        theirs = PublishedStatistical.aggregation("script", interval, "P1M", **more)
        mine = ours.SentinelHubStatistical.aggregation("script", interval, "P1M", **more)
        assert theirs == mine


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"identifier": "a"},
        {"time_interval": ("2020-06-01", "2020-06-30")},
        {"maxcc": 0.29},
        {"maxcc": 0},
        {"mosaicking_order": "leastCC"},
        {"mosaicking_order": sentinelhub.MosaickingOrder.LEAST_RECENT},
        {"upsampling": "bilinear", "downsampling": sentinelhub.ResamplingType.BICUBIC},
        {"maxcc": 0.5, "other_args": {"dataFilter": {"tileId": 7}, "processing": {"upsampling": "NEAREST"}}},
    ],
)
@pytest.mark.parametrize("collection", ["SENTINEL2_L2A", "SENTINEL1_IW_ASC", "DEM_COPERNICUS_30", "byoc"])
def test_input_data_is_the_same_payload(collection: str, arguments: dict[str, Any]) -> None:
    if collection == "byoc":
        chosen = sentinelhub.DataCollection.define_byoc("31df1de4-8bd4-43e0-8c3f-b04262d111b6")
    else:
        chosen = getattr(sentinelhub.DataCollection, collection)
    theirs = PublishedStatistical.input_data(chosen, **arguments)
    assert theirs == ours.SentinelHubStatistical.input_data(chosen, **arguments)
    if collection in ("SENTINEL2_L2A", "byoc"):
        assert theirs == ours.SentinelHubStatistical.input_data(chosen.api_id, **arguments)


def test_bounds_are_the_same_payload_from_objects_and_from_plain_numbers() -> None:
    box = sentinelhub.BBox((5.1, 50.0, 5.0, 50.1), sentinelhub.CRS("32631"))
    shape = sentinelhub.Geometry(GEOMETRY, sentinelhub.CRS("32631"))
    for bbox, geometry in ((box, None), (None, shape), (box, shape)):
        theirs = as_json(PublishedStatistical.bounds(bbox=bbox, geometry=geometry, other_args={"properties": {"a": 1}}))
        mine = ours.SentinelHubStatistical.bounds(bbox=bbox, geometry=geometry, other_args={"properties": {"a": 1}})
        plain = ours.SentinelHubStatistical.bounds(
            bbox=None if bbox is None else [5.0, 50.0, 5.1, 50.1],
            geometry=None if geometry is None else {**GEOMETRY, "crs": {"type": "name"}},
            other_args={"properties": {"a": 1}},
            crs="EPSG:32631",
        )
        assert theirs == as_json(mine) == as_json(plain)


def test_statistical_requests_post_the_same_and_ask_again_for_failed_intervals(service: Service) -> None:
    first = {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"}
    second = {"from": "2020-06-02T00:00:00Z", "to": "2020-06-03T00:00:00Z"}
    outputs = {"default": {"bands": {"B0": {"stats": {"min": 1.0, "max": 2.0, "mean": 1.5, "stDev": 0.5}}}}}

    def answer(request: Recorded) -> Answer:
        if request.body["aggregation"]["timeRange"] == second:
            return 200, {}, {"status": "OK", "data": [{"interval": second, "outputs": outputs}]}
        failed = {"interval": second, "error": {"type": "EXECUTION_ERROR"}}
        return 200, {}, {"status": "PARTIAL", "data": [{"interval": first, "outputs": outputs}, failed]}

    service.answers["POST", "/api/v1/statistics"] = answer
    bbox = sentinelhub.BBox((5.0, 50.0, 5.1, 50.1), sentinelhub.CRS.WGS84)

    def ask(module: Any, config: Any) -> Any:
        # A plain entry: the published data collections carry a service URL that overrides the configured one.
        entry = {"type": "sentinel-2-l2a", "dataFilter": {"mosaickingOrder": "leastCC"}}
        aggregation = module.SentinelHubStatistical.aggregation(**AGGREGATION)
        return module.SentinelHubStatistical(aggregation, [entry], bbox=bbox, config=config).get_data()

    config = published_config(service)
    theirs, mine = outcomes(service, lambda: ask(sentinelhub, config), lambda: ask(ours, config))
    assert theirs == mine
    assert len(mine[0]) == 2
    assert [one["interval"] for one in mine[1][0]["data"] if "outputs" in one] == [first, second]


def as_json(payload: Any) -> Any:
    return json.loads(json.dumps(payload))
