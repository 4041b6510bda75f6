"""Scopes of clients and tokens, revoked tokens, guessed secrets, and the operator's interface."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from swathe.jobs.keys import KeyPairs
from swathe.jobs.records import Client, PlannedJob, PlannedUnit
from swathe.jobs.schema import clients
from swathe.jobs.states import Event
from swathe.server.app import create_app
from swathe.settings import Settings

REALM = "/auth/realms/main/protocol/openid-connect"
TOKEN = "/oauth/token"
BATCH = "/api/v1/statistics/batch"
ADMIN = "/admin/v1"
BOTH = pytest.mark.parametrize(
    ("revoke", "introspect"),
    [("/oauth/revoke", "/oauth/introspect"), (f"{REALM}/revoke", f"{REALM}/token/introspect")],
    ids=["short", "realm"],
)
SECRET = "hidden-key"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def app(home: Path) -> FastAPI:
    settings = Settings.model_validate({"rate_limits": {"failed_tokens_per_minute": 3, "requests_per_minute": 1000}})
    return create_app(settings, home, runs_jobs=False)


@pytest.fixture(scope="module")
def http(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as http:
        yield http


class User:
    """A client of the server, by HTTP."""

    def __init__(self, app: FastAPI, http: httpx.Client, *scopes: str) -> None:
        self.app, self.http = app, http
        self.client: Client
        self.client, self.secret = app.state.clients.create("me", scopes=scopes)

    @property
    def credentials(self) -> dict[str, str]:
        return {"client_id": self.client.id, "client_secret": self.secret}

    def token(self, scope: str | None = None) -> str:
        form = {"grant_type": "client_credentials", **self.credentials} | ({} if scope is None else {"scope": scope})
        answer = self.http.post(TOKEN, data=form)
        assert answer.status_code == 200, answer.text
        assert answer.json()["scope"] == claims_of(answer.json()["access_token"])["scope"]
        return str(answer.json()["access_token"])

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self.http.request(method, path, headers=bearer(self.app.state.tokens.issue(self.client)), **how)


@pytest.fixture
def plain(app: FastAPI, http: httpx.Client) -> User:
    return User(app, http)


@pytest.fixture
def operator(app: FastAPI, http: httpx.Client) -> User:
    return User(app, http, "admin")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return dict(json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4))))


def status(http: httpx.Client, token: str, path: str = BATCH) -> int:
    return http.get(path, headers=bearer(token)).status_code


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["status"], error["code"]) == (status, code)
    return dict(error)


# Scopes


def test_token_has_all_that_its_client_may(http: httpx.Client, plain: User, operator: User) -> None:
    assert claims_of(plain.token())["scope"] == "SH"
    assert claims_of(operator.token())["scope"] == "SH admin"


@pytest.mark.parametrize(
    ("scope", "given", "statuses"),
    [
        ("SH", "SH", (200, 403)),
        ("admin", "admin", (403, 200)),
        ("admin SH", "SH admin", (200, 200)),
        ("", "SH admin", (200, 200)),
    ],
)
def test_request_for_a_token_may_narrow_it(
    http: httpx.Client, operator: User, scope: str, given: str, statuses: tuple[int, int]
) -> None:
    token = operator.token(scope)
    assert claims_of(token)["scope"] == given
    assert (status(http, token), status(http, token, f"{ADMIN}/clients")) == statuses


@pytest.mark.parametrize("scope", ["root", "SH root", "admin", "SH admin", "s\u00e9cret"])
def test_scope_that_a_client_has_not_is_invalid(http: httpx.Client, plain: User, scope: str) -> None:
    form = {"grant_type": "client_credentials", **plain.credentials, "scope": scope}
    answer = http.post(TOKEN, data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert "it has SH" in answer.json()["error_description"]


def test_scope_that_a_client_lost_is_lost_to_its_tokens(app: FastAPI, http: httpx.Client, operator: User) -> None:
    token = operator.token()
    with app.state.clients.database.write() as connection:
        connection.execute(update(clients).where(clients.c.id == operator.client.id).values(scopes=""))
    assert (status(http, token), status(http, token, f"{ADMIN}/clients")) == (200, 403)


# Revocation and introspection


@BOTH
def test_revoked_token_is_refused_at_once_by_all_servers_of_the_store(
    home: Path, http: httpx.Client, plain: User, revoke: str, introspect: str
) -> None:
    token, kept = plain.token(), plain.token()
    with TestClient(create_app(Settings(), home, runs_jobs=False)) as elsewhere:
        assert (status(http, token), status(elsewhere, token)) == (200, 200)
        answer = elsewhere.post(revoke, data={**plain.credentials, "token": token, "token_type_hint": "access_token"})
        assert answer.status_code == 200
        for server in (http, elsewhere):
            refused = server.get(BATCH, headers=bearer(token))
            assert "was revoked" in error_of(refused, 401, "COMMON_UNAUTHORIZED")["message"]
            assert server.post(introspect, data={**plain.credentials, "token": token}).json() == {"active": False}
            assert status(server, kept) == 200
        again = http.post(revoke, data={"token": token}, auth=(plain.client.id, plain.secret))
        assert again.status_code == 200


def test_revoking_what_is_no_token_is_no_error(http: httpx.Client, plain: User) -> None:
    for token in ("x", "a.b.c", "\u00e9", plain.token() + "x"):
        assert http.post("/oauth/revoke", data={**plain.credentials, "token": token}).status_code == 200
    answer = http.post("/oauth/revoke", data=plain.credentials)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/oauth/revoke", "/oauth/introspect"])
def test_whoever_asks_about_tokens_must_be_known(http: httpx.Client, plain: User, path: str) -> None:
    for credentials in ({}, {**plain.credentials, "client_secret": "wrong"}, {"client_id": "x", "client_secret": "y"}):
        answer = http.post(path, data={**credentials, "token": "x"})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_tokens_of_others_are_for_operators_alone(
    app: FastAPI, http: httpx.Client, plain: User, operator: User
) -> None:
    stranger, token = User(app, http), plain.token()
    asked = {**stranger.credentials, "token": token}
    assert http.post("/oauth/introspect", data=asked).json() == {"active": False}
    answer = http.post("/oauth/revoke", data=asked)
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    assert status(http, token) == 200
    found = http.post("/oauth/introspect", data={**operator.credentials, "token": token}).json()
    claims = claims_of(token)
    assert found == {
        "active": True,
        "scope": "SH",
        "client_id": plain.client.id,
        "sub": plain.client.id,
        "token_type": "Bearer",
        **{name: claims[name] for name in ("iss", "iat", "exp", "jti")},
    }
    assert http.post("/oauth/revoke", data={**operator.credentials, "token": token}).status_code == 200
    assert status(http, token) == 401


def test_new_secret_refuses_the_old_one_and_its_tokens(app: FastAPI, http: httpx.Client, plain: User) -> None:
    token = plain.token()
    new = app.state.clients.renew_secret(plain.client.id)
    assert status(http, token) == 401
    assert http.post(TOKEN, data={"grant_type": "client_credentials", **plain.credentials}).status_code == 401
    plain.secret = new
    assert status(http, plain.token()) == 200


def test_token_tells_what_it_says_until_it_is_revoked(http: httpx.Client, plain: User) -> None:
    token = plain.token()
    told = http.get("/oauth/tokeninfo", headers={"Authorization": f"Bearer {token}"}).json()
    assert (told["sub"], told["account"], told["scope"]) == (plain.client.id, plain.client.project_id, "SH")
    assert told["exp"] - told["iat"] == 3600
    assert http.get("/oauth/tokeninfo").status_code == 401
    assert http.post("/oauth/revoke", data={**plain.credentials, "token": token}).status_code == 200
    assert http.get("/oauth/tokeninfo", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_configuration_names_the_endpoints(http: httpx.Client) -> None:
    told = http.get("/auth/realms/main/.well-known/openid-configuration").json()
    assert told["revocation_endpoint"].endswith(f"{REALM}/revoke")
    assert told["introspection_endpoint"].endswith(f"{REALM}/token/introspect")
    assert told["scopes_supported"] == ["SH", "admin"]


# Guessing


def test_guessing_a_secret_is_slowed_down_for_the_guesser_alone(app: FastAPI, http: httpx.Client, plain: User) -> None:
    token, fresh, other = plain.token(), User(app, http), User(app, http)
    for user in (plain, fresh):
        wrong = {"grant_type": "client_credentials", "client_id": user.client.id, "client_secret": "guess"}
        assert [http.post(TOKEN, data=wrong).status_code for _ in range(3)] == [401] * 3
        answer = http.post(TOKEN, data=wrong)
        assert (answer.status_code, answer.json()["error"]) == (429, "temporarily_unavailable")
        assert 0 < int(answer.headers["retry-after"]) <= 20_000
    assert status(http, plain.token()) == status(http, token) == 200
    right = {"grant_type": "client_credentials", **fresh.credentials}
    assert http.post(TOKEN, data=right).status_code == 429
    assert status(http, other.token()) == 200


# The operator's interface

OPERATIONS: list[tuple[str, str, Any]] = [
    ("GET", "/clients", None),
    ("POST", "/clients", {"name": "x"}),
    ("GET", f"/clients/{uuid.UUID(int=1)}", None),
    ("DELETE", f"/clients/{uuid.UUID(int=1)}", None),
    ("POST", f"/clients/{uuid.UUID(int=1)}/secret", None),
    ("GET", "/jobs", None),
    ("GET", f"/jobs/{uuid.UUID(int=1)}", None),
    ("POST", f"/jobs/{uuid.UUID(int=1)}/stop", None),
    ("GET", f"/projects/{uuid.UUID(int=1)}/budget", None),
    ("PUT", f"/projects/{uuid.UUID(int=1)}/budget", {"limitPU": 1}),
]


@pytest.fixture
def jobs(app: FastAPI, plain: User) -> Callable[..., str]:
    def make(project: str | None = None, kind: str = "statistics", *events: Event) -> str:
        store = app.state.store
        job = store.create(
            client_id=plain.client.id,
            project_id=project or plain.client.project_id,
            request={"input": {}},
            keys=KeyPairs(output={"accessKey": "A", "secretAccessKey": SECRET}),
            description=None,
            kind=kind,
        )
        if events:
            store.apply(job.id, Event.START)
            unit = PlannedUnit(0, bytes(8), 100)
            store.save_analysis(job.id, PlannedJob(1, 1, 0.5, b"", (unit,)))
        return str(job.id)

    return make


def test_all_operations_are_in_this_list(app: FastAPI) -> None:
    described = app.openapi()["paths"]
    found = {
        (method.upper(), path.removeprefix(ADMIN))
        for path, operations in described.items()
        if path.startswith(f"{ADMIN}/")
        for method in operations
    }
    names = {"/clients/": "{client_id}", "/jobs/": "{request_id}", "/projects/": "{project_id}"}
    listed = set()
    for method, path, _ in OPERATIONS:
        start = next((start for start in names if path.startswith(start)), "")
        listed.add((method, path.replace(str(uuid.UUID(int=1)), names.get(start, ""))))
    assert found == listed


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
def test_without_the_scope_nothing_is_possible(
    http: httpx.Client, plain: User, operator: User, method: str, path: str, body: Any
) -> None:
    refused = http.request(method, ADMIN + path, json=body)
    error_of(refused, 401, "COMMON_UNAUTHORIZED")
    for token in (plain.token(), operator.token("SH")):
        refused = http.request(method, ADMIN + path, json=body, headers=bearer(token))
        assert "scope admin" in error_of(refused, 403, "COMMON_INSUFFICIENT_PERMISSIONS")["message"]


def test_clients_are_made_listed_renewed_and_deleted(app: FastAPI, http: httpx.Client, operator: User) -> None:
    project = str(uuid.uuid4())
    answer = operator.ask("POST", f"{ADMIN}/clients", json={"name": "new", "projectId": project, "scopes": ["admin"]})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    made = answer.json()
    assert (made["name"], made["projectId"], made["scopes"]) == ("new", project, ["admin"])
    user = User(app, http)
    user.client, user.secret = app.state.clients.get(made["id"]), made.pop("clientSecret")
    token = user.token()
    assert status(http, token, f"{ADMIN}/clients") == 200
    assert operator.ask("GET", f"{ADMIN}/clients/{made['id']}").json() == made
    assert made in operator.ask("GET", f"{ADMIN}/clients").json()["data"]
    renewed = operator.ask("POST", f"{ADMIN}/clients/{made['id']}/secret").json()
    assert renewed.pop("clientSecret") != user.secret
    assert (renewed, status(http, token)) == (made, 401)
    assert operator.ask("DELETE", f"{ADMIN}/clients/{made['id']}").status_code == 204
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/secret")):
        error_of(operator.ask(method, f"{ADMIN}/clients/{made['id']}{rest}"), 404, "COMMON_NOT_FOUND")
    error_of(operator.ask("GET", f"{ADMIN}/clients/nobody"), 404, "COMMON_NOT_FOUND")


def test_pages_of_clients_are_followed_by_their_links(app: FastAPI, http: httpx.Client, operator: User) -> None:
    for number in range(4):
        app.state.clients.create(str(number))
    headers, found, url = bearer(operator.token()), [], f"{ADMIN}/clients?count=3"
    while url:
        page = http.get(url, headers=headers).json()
        found.append([client["id"] for client in page["data"]])
        url = page["links"].get("next", "")
    assert {len(page) for page in found[:-1]} == {3}
    assert [name for page in found for name in page] == [client.id for client in app.state.clients.list()]
    error_of(http.get(f"{ADMIN}/clients?viewtoken=x", headers=headers), 400, "COMMON_BAD_PAYLOAD")


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x", "projectId": "mine"}, "projectId"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "scopes": "admin"}, "scopes"),
        ({"name": "x", "scope": "admin"}, "scope"),
    ],
)
def test_client_that_cannot_be_made_is_a_bad_request(operator: User, body: Any, parameter: str) -> None:
    error = error_of(operator.ask("POST", f"{ADMIN}/clients", json=body), 400, "COMMON_BAD_PAYLOAD")
    assert error["errors"]["parameter"] == parameter


def test_requests_of_all_projects_are_seen_and_stopped(operator: User, plain: User, jobs: Callable[..., str]) -> None:
    project = str(uuid.uuid4())
    mine, theirs, running = jobs(), jobs(project, "process"), jobs(project, "statistics", Event.START)
    answer = operator.ask("GET", f"{ADMIN}/jobs")
    assert SECRET not in answer.text
    listed = [job for job in answer.json()["data"] if job["id"] in (mine, theirs, running)]
    assert [(job["id"], job["kind"], job["projectId"]) for job in listed] == [
        (mine, "statistics", plain.client.project_id),
        (theirs, "process", project),
        (running, "statistics", project),
    ]
    for query, expected in {
        f"project={project}": [theirs, running],
        f"project={project.upper()}&kind=process": [theirs],
        f"search={running}": [running],
        f"search=PROCESSING&project={project}": [running],
        "sort=created:desc&count=2": [running, theirs],
        "userid=nobody": [],
    }.items():
        found = operator.ask("GET", f"{ADMIN}/jobs?{query}").json()
        assert [job["id"] for job in found["data"]] == expected, query
    page = operator.ask("GET", f"{ADMIN}/jobs?project={project}&count=1").json()
    after = operator.ask("GET", page["links"]["next"]).json()
    assert [job["id"] for job in after["data"]] == [running]
    assert "next" not in after["links"]
    job = operator.ask("GET", f"{ADMIN}/jobs/{running}").json()
    assert (job["status"], job["completionPercentage"], job["progress"]["features"]) == ("PROCESSING", 0, 1)
    assert operator.ask("POST", f"{ADMIN}/jobs/{running}/stop").status_code == 204
    assert operator.ask("GET", f"{ADMIN}/jobs/{running}").json()["userAction"] == "STOP"


def test_what_cannot_be_seen_or_stopped_says_why(operator: User, jobs: Callable[..., str]) -> None:
    for name in (uuid.uuid4(), "none"):
        error_of(operator.ask("GET", f"{ADMIN}/jobs/{name}"), 404, "COMMON_NOT_FOUND")
        error_of(operator.ask("POST", f"{ADMIN}/jobs/{name}/stop"), 404, "COMMON_NOT_FOUND")
    for kind in ("statistics", "async"):
        refused = operator.ask("POST", f"{ADMIN}/jobs/{jobs(None, kind)}/stop")
        assert "stop" in error_of(refused, 400, "COMMON_BAD_PAYLOAD")["message"].lower()
    for query in ("project=mine", "kind=other", "sort=size", "viewtoken=x", "count=0"):
        error_of(operator.ask("GET", f"{ADMIN}/jobs?{query}"), 400, "COMMON_BAD_PAYLOAD")


def test_budgets_are_read_and_set(app: FastAPI, operator: User) -> None:
    project = str(uuid.uuid4())
    path = f"{ADMIN}/projects/{project.upper()}/budget"
    assert operator.ask("GET", path).json() == {"projectId": project, "limitPU": None, "spentPU": 0.0}
    assert operator.ask("PUT", path, json={"limitPU": 12.5}).json()["limitPU"] == 12.5
    assert app.state.store.budget(project).limit_pu == 12.5
    assert operator.ask("PUT", path, json={"limitPU": None}).json()["limitPU"] is None
    for body in ({}, {"limitPU": -1}, {"limitPU": "x"}, {"limit": 1}, []):
        error_of(operator.ask("PUT", path, json=body), 400, "COMMON_BAD_PAYLOAD")
    error_of(operator.ask("PUT", f"{ADMIN}/projects/mine/budget", json={"limitPU": 1}), 400, "COMMON_BAD_PAYLOAD")


def test_operators_requests_do_not_count_and_others_do(http: httpx.Client, operator: User, plain: User) -> None:
    assert "x-ratelimit-remaining" not in operator.ask("GET", f"{ADMIN}/clients").headers
    assert plain.ask("GET", BATCH).headers["x-ratelimit-remaining"] == "999"
