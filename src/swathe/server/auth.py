"""OAuth2 client credentials: the token endpoints, and who a request is from."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.security import OAuth2
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from swathe.jobs.clients import ClientStore
from swathe.jobs.records import Client
from swathe.model.errors import Unauthorized
from swathe.server.answers import JsonAnswer
from swathe.server.tokens import TokenIssuer

REALMS = ("main", "CDSE")
TOKEN_PATHS = ("/oauth/token", *(f"/auth/realms/{realm}/protocol/openid-connect/token" for realm in REALMS))
KEY_PATHS = (
    "/oauth/certs",
    "/.well-known/jwks.json",
    *(f"/auth/realms/{realm}/protocol/openid-connect/certs" for realm in REALMS),
)
_FORM = "application/x-www-form-urlencoded"
_FORM_SCHEMA = {
    "required": True,
    "content": {
        _FORM: {
            "schema": {
                "type": "object",
                "required": ["grant_type"],
                "properties": {name: {"type": "string"} for name in ("grant_type", "client_id", "client_secret")},
            }
        }
    },
}

router = APIRouter(tags=["authentication"])
_scheme = OAuth2(
    flows={"clientCredentials": {"tokenUrl": TOKEN_PATHS[1], "scopes": {}}},
    scheme_name="OAuth2",
    auto_error=False,
)


class OAuthError(Exception):
    """A refusal in OAuth's own shape (RFC 6749, section 5.2)."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.answer = JsonAnswer(
            {"error": error, "error_description": description},
            status_code=status,
            headers={"Cache-Control": "no-store", "Pragma": "no-cache"}
            | ({"WWW-Authenticate": 'Basic realm="swathe"'} if status == 401 else {}),
        )


async def current_client(request: Request, authorization: Annotated[str | None, Depends(_scheme)]) -> Client:
    """Who the request is from.

    Raises:
        Unauthorized: no token, or one that is malformed, expired, foreign, or of a client that is gone.
    """
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("This needs an access token: Authorization: Bearer …")
    tokens: TokenIssuer = request.app.state.tokens
    clients: ClientStore = request.app.state.clients
    claims = tokens.check(token.strip())
    client = await run_in_threadpool(clients.get, claims.client_id)
    if client is None:
        raise Unauthorized("The client of this access token does not exist any more")
    return client


CurrentClient = Annotated[Client, Depends(current_client)]


async def issue_token(request: Request) -> JsonAnswer:
    """An access token for a client's id and secret, given in the form or by HTTP Basic."""
    try:
        return await _issue_token(request)
    except OAuthError as error:
        return error.answer


for _path in TOKEN_PATHS:
    router.add_api_route(_path, issue_token, methods=["POST"], openapi_extra={"requestBody": _FORM_SCHEMA})


async def public_keys(request: Request) -> JsonAnswer:
    """The keys that access tokens are signed with."""
    tokens: TokenIssuer = request.app.state.tokens
    return JsonAnswer(tokens.public_keys(), headers={"Cache-Control": "public, max-age=3600"})


for _path in KEY_PATHS:
    router.add_api_route(_path, public_keys, methods=["GET"])


@router.get("/auth/realms/{realm}/.well-known/openid-configuration")
async def openid_configuration(realm: str, request: Request) -> JsonAnswer:
    """Where the token endpoint and the keys are."""
    tokens: TokenIssuer = request.app.state.tokens
    base = (request.app.state.settings.server.public_url or str(request.base_url)).rstrip("/")
    realm = realm if realm in REALMS else REALMS[0]
    return JsonAnswer(
        {
            "issuer": tokens.issuer,
            "token_endpoint": f"{base}/auth/realms/{realm}/protocol/openid-connect/token",
            "jwks_uri": f"{base}/auth/realms/{realm}/protocol/openid-connect/certs",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
        }
    )


async def _issue_token(request: Request) -> JsonAnswer:
    form = await _read_form(request)
    client_id, secret = _credentials(request, form)
    grant = form.get("grant_type")
    if not grant:
        raise OAuthError(400, "invalid_request", "grant_type is missing")
    if grant != "client_credentials":
        raise OAuthError(400, "unsupported_grant_type", "only grant_type=client_credentials is supported")
    if not client_id:
        raise OAuthError(401, "invalid_client", "client_id and client_secret are missing")
    clients: ClientStore = request.app.state.clients
    client = await run_in_threadpool(clients.check_secret, client_id, secret)
    if client is None:
        raise OAuthError(401, "invalid_client", "Unknown client, or a wrong secret")
    tokens: TokenIssuer = request.app.state.tokens
    answer: dict[str, Any] = {
        "access_token": tokens.issue(client),
        "expires_in": tokens.lifetime_s,
        "token_type": "Bearer",
        "scope": "SH",
    }
    return JsonAnswer(answer, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


async def _read_form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", _FORM).split(";")[0].strip().lower()
    if kind != _FORM:
        raise OAuthError(400, "invalid_request", f"the body must be {_FORM}")
    try:
        form = await request.form()
    except (HTTPException, UnicodeDecodeError, ValueError):
        raise OAuthError(400, "invalid_request", "the form cannot be read") from None
    return {name: value for name, value in form.items() if not isinstance(value, UploadFile)}


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Id and secret, from HTTP Basic if it is there; it is taken as it stands, as clients do not percent-encode it."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise OAuthError(401, "invalid_client", "the Authorization header is no HTTP Basic") from None
        return name, secret
    return form.get("client_id", ""), form.get("client_secret", "")
