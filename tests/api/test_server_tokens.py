from __future__ import annotations

import base64
import json
import shutil
import time

import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from swathe.server.app import create_app
from swathe.settings import Settings

TOKEN_PATHS = [
    "/oauth/token",
    "/auth/realms/main/protocol/openid-connect/token",
    "/auth/realms/CDSE/protocol/openid-connect/token",
]
LIST = "/api/v1/statistics/batch"


@pytest.fixture(scope="module")
def used_home(tmp_path_factory):
    """A home that has a signing key, which takes a while to make."""
    folder = tmp_path_factory.mktemp("used")
    create_app(Settings(), folder, runs_jobs=False).state.store.close()
    return folder


@pytest.fixture
def app(tmp_path, used_home):
    shutil.copytree(used_home, tmp_path / "home")
    return create_app(Settings(), tmp_path / "home", runs_jobs=False)


@pytest.fixture
def http(app):
    with TestClient(app) as http:
        yield http


@pytest.fixture
def credentials(app):
    client, secret = app.state.clients.create("me")
    return {"grant_type": "client_credentials", "client_id": client.id, "client_secret": secret}


@pytest.mark.parametrize("path", TOKEN_PATHS)
def test_token_by_form(http, credentials, path):
    answer = http.post(path, data={**credentials, "audience": "ignored"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"], type(body["scope"])) == ("Bearer", 3600, str)
    assert answer.headers["cache-control"] == "no-store"
    assert http.get(LIST, headers={"Authorization": f"Bearer {body['access_token']}"}).status_code == 200


def test_token_by_http_basic(http, credentials):
    basic = (credentials["client_id"], credentials["client_secret"])
    answer = http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=basic)
    assert answer.status_code == 200


def test_two_requests_give_different_tokens(http, credentials):
    tokens = {http.post("/oauth/token", data=credentials).json()["access_token"] for _ in range(3)}
    assert len(tokens) == 3


def test_claims_are_what_clients_read_in_standard_base64(http, credentials):
    token = http.post("/oauth/token", data=credentials).json()["access_token"]
    payload = token.split(".")[1]
    assert not set(payload) & set("-_")
    claims = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["azp"] == claims["sub"] == credentials["client_id"]
    assert claims["exp"] > time.time() + 3000
    assert {"jti", "iss", "account"} <= set(claims)


def test_token_can_be_verified_with_the_published_key(http, credentials):
    token = http.post("/oauth/token", data=credentials).json()["access_token"]
    realm = "/auth/realms/main/protocol/openid-connect/certs"
    sets = [http.get(path).json() for path in ("/oauth/certs", "/.well-known/jwks.json", realm)]
    assert sets[0] == sets[1] == sets[2]
    assert "d" not in sets[0]["keys"][0]
    assert jwt.decode(token, KeySet.import_key_set(sets[0]), algorithms=["RS256"]).claims["azp"]
    configuration = http.get("/auth/realms/main/.well-known/openid-configuration").json()
    assert configuration["jwks_uri"].endswith(realm)


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_id": "unknown"}, 401, "invalid_client"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "", "client_secret": ""}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
    ],
)
def test_errors_have_the_shape_of_oauth(http, credentials, change, status, error):
    answer = http.post("/oauth/token", data={**credentials, **change})
    assert answer.status_code == status
    assert answer.json()["error"] == error
    assert isinstance(answer.json()["error_description"], str)


def test_body_that_is_no_form_is_an_invalid_request(http):
    answer = http.post("/oauth/token", json={"grant_type": "client_credentials"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer a.b.c", "Basic eDp5", "Bearer x", "token"])
def test_missing_or_malformed_token_is_401_in_the_providers_shape(http, header):
    answer = http.get(LIST, headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "COMMON_UNAUTHORIZED"
    assert answer.headers["content-type"] == "application/json"


def _claims(app, **change):
    client, _ = app.state.clients.create("x")
    claims = {"iss": "urn:swathe", "sub": client.id, "azp": client.id, "account": "a", "exp": int(time.time()) + 999}
    return {**claims, **change}


def test_expired_token_is_refused(app, http):
    tokens = app.state.tokens
    claims = _claims(app)
    good = jwt.encode({"alg": "RS256"}, claims, tokens._key)
    assert http.get(LIST, headers={"Authorization": f"Bearer {good}"}).status_code == 200
    for change in ({"exp": int(time.time()) - 60}, {"iss": "urn:other"}, {"exp": None}):
        token = jwt.encode({"alg": "RS256"}, {**claims, **change}, tokens._key)
        assert http.get(LIST, headers={"Authorization": f"Bearer {token}"}).status_code == 401, change


def test_token_of_a_foreign_key_or_algorithm_is_refused(app, http):
    claims = _claims(app)
    foreign = jwt.encode({"alg": "RS256"}, claims, RSAKey.generate_key(2048))
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")  # noqa: E731
    unsigned = f"{part({'alg': 'none'})}.{part(claims)}."
    for token in (foreign, unsigned):
        assert http.get(LIST, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_token_of_a_deleted_client_is_refused(app, http, credentials):
    token = http.post("/oauth/token", data=credentials).json()["access_token"]
    app.state.clients.delete(credentials["client_id"])
    assert http.get(LIST, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_tokens_stay_good_after_a_restart(tmp_path, app, http, credentials):
    token = http.post("/oauth/token", data=credentials).json()["access_token"]
    with TestClient(create_app(Settings(), tmp_path / "home", runs_jobs=False)) as again:
        assert again.get(LIST, headers={"Authorization": f"Bearer {token}"}).status_code == 200
