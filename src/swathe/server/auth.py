"""OAuth2 client credentials: access tokens issued, revoked and looked into, and who a request is from."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Security
from fastapi.security import OAuth2
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from swathe.jobs.clients import ADMIN, SCOPES, ClientStore
from swathe.jobs.records import Client
from swathe.model.errors import NotAllowed, Unauthorized
from swathe.server.answers import JsonAnswer
from swathe.server.rates import Guesses, count_request
from swathe.server.tokens import SERVICES, TokenClaims, TokenIssuer, scopes_of

REALMS = ("main", "CDSE")
TOKEN_PATHS = ("/oauth/token", *(f"/auth/realms/{realm}/protocol/openid-connect/token" for realm in REALMS))
REVOKE_PATHS = ("/oauth/revoke", *(f"/auth/realms/{realm}/protocol/openid-connect/revoke" for realm in REALMS))
INTROSPECT_PATHS = (
    "/oauth/introspect",
    *(f"/auth/realms/{realm}/protocol/openid-connect/token/introspect" for realm in REALMS),
)
KEY_PATHS = (
    "/oauth/certs",
    "/.well-known/jwks.json",
    *(f"/auth/realms/{realm}/protocol/openid-connect/certs" for realm in REALMS),
)
SCHEME = "OAuth2"
_NOT_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FORM = "application/x-www-form-urlencoded"


def _form_schema(first: str, *others: str) -> dict[str, Any]:
    """The description of a form; the first field is required."""
    fields = {name: {"type": "string"} for name in (first, *others)}
    return {
        "required": True,
        "content": {_FORM: {"schema": {"type": "object", "required": [first], "properties": fields}}},
    }


router = APIRouter(tags=["authentication"])
_scheme = OAuth2(
    flows={"clientCredentials": {"tokenUrl": TOKEN_PATHS[1], "scopes": {SERVICES: "Use the services", **SCOPES}}},
    scheme_name=SCHEME,
    auto_error=False,
)


class OAuthError(Exception):
    """A refusal in OAuth's own shape (RFC 6749, section 5.2)."""

    def __init__(self, status: int, error: str, description: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(description)
        self.answer = JsonAnswer(
            {"error": error, "error_description": description},
            status_code=status,
            headers={**_NOT_KEPT, **(headers or {})}
            | ({"WWW-Authenticate": 'Basic realm="swathe"'} if status == 401 else {}),
        )


async def current_client(request: Request, authorization: Annotated[str | None, Depends(_scheme)]) -> Client:
    """Who the request is from, which counts.

    Raises:
        Unauthorized: no token, or one that is malformed, expired, revoked, foreign, or of a client that is gone.
        NotAllowed: the token is not for the services.
        RateExceeded: the client sends more requests than it may.
    """
    client, scopes = await _find_bearer(request, authorization)
    if SERVICES not in scopes:
        raise NotAllowed(f"This access token was narrowed to other scopes; get one with the scope {SERVICES}")
    count_request(request, client.id)
    return client


async def current_admin(request: Request, authorization: Annotated[str | None, Depends(_scheme)]) -> Client:
    """The operator that the request is from; it does not count.

    Raises:
        Unauthorized: as for `current_client`.
        NotAllowed: the client, or this token of its, has not the scope.
    """
    client, scopes = await _find_bearer(request, authorization)
    if ADMIN not in scopes:
        raise NotAllowed(f"This needs an access token with the scope {ADMIN}")
    return client


CurrentClient = Annotated[Client, Depends(current_client)]
CurrentAdmin = Annotated[Client, Security(current_admin, scopes=[ADMIN])]


async def _find_bearer(request: Request, authorization: str | None) -> tuple[Client, frozenset[str]]:
    """Who a token is for and what it allows."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("This needs an access token: Authorization: Bearer …")
    tokens: TokenIssuer = request.app.state.tokens
    claims = tokens.check(token.strip())
    client = await run_in_threadpool(_find_client, request, claims)
    return client, claims.scopes & frozenset(scopes_of(client))


def _find_client(request: Request, claims: TokenClaims) -> Client:
    """The client of a token, which is still good. Reads the store."""
    clients: ClientStore = request.app.state.clients
    client, revoked = clients.find_bearer(claims.client_id, claims.id)
    if client is None:
        raise Unauthorized("The client of this access token does not exist any more")
    if revoked:
        raise Unauthorized("The access token was revoked; get a new one")
    if claims.generation != client.generation:
        raise Unauthorized("The client has a new secret since this access token was made; get a new one")
    return client


async def issue_token(request: Request) -> JsonAnswer:
    """An access token for a client's id and secret, given in the form or by HTTP Basic."""
    return await _answered(request, _issue_token)


async def revoke_token(request: Request) -> JsonAnswer:
    """Has an access token refused from now on (RFC 7009): the client's own, or as an operator anybody's."""
    return await _answered(request, _revoke_token)


async def introspect_token(request: Request) -> JsonAnswer:
    """Whether an access token is good, and for what (RFC 7662): the client's own, or as an operator anybody's."""
    return await _answered(request, _introspect_token)


for _paths, _endpoint, _schema in (
    (TOKEN_PATHS, issue_token, _form_schema("grant_type", "client_id", "client_secret", "scope")),
    (REVOKE_PATHS, revoke_token, _form_schema("token", "token_type_hint", "client_id", "client_secret")),
    (INTROSPECT_PATHS, introspect_token, _form_schema("token", "token_type_hint", "client_id", "client_secret")),
):
    for _path in _paths:
        router.add_api_route(_path, _endpoint, methods=["POST"], openapi_extra={"requestBody": _schema})


@router.get("/oauth/tokeninfo")
async def token_info(request: Request, authorization: Annotated[str | None, Depends(_scheme)]) -> JsonAnswer:
    """What the access token in the Authorization header says."""
    await _find_bearer(request, authorization)
    tokens: TokenIssuer = request.app.state.tokens
    return JsonAnswer(tokens.claims((authorization or "").partition(" ")[2].strip()), headers=_NOT_KEPT)


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
    place = f"{base}/auth/realms/{realm if realm in REALMS else REALMS[0]}/protocol/openid-connect"
    return JsonAnswer(
        {
            "issuer": tokens.issuer,
            "token_endpoint": f"{place}/token",
            "revocation_endpoint": f"{place}/revoke",
            "introspection_endpoint": f"{place}/token/introspect",
            "jwks_uri": f"{place}/certs",
            "scopes_supported": [SERVICES, *SCOPES],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
        }
    )


async def _answered(request: Request, answer: Callable[[Request], Awaitable[JsonAnswer]]) -> JsonAnswer:
    try:
        return await answer(request)
    except OAuthError as error:
        return error.answer


async def _issue_token(request: Request) -> JsonAnswer:
    form = await _read_form(request)
    credentials = _credentials(request, form)
    grant = form.get("grant_type")
    if not grant:
        raise OAuthError(400, "invalid_request", "grant_type is missing")
    if grant != "client_credentials":
        raise OAuthError(400, "unsupported_grant_type", "only grant_type=client_credentials is supported")
    client = await _check_client(request, *credentials)
    scopes = _narrow(client, form.get("scope", ""))
    tokens: TokenIssuer = request.app.state.tokens
    answer: dict[str, Any] = {
        "access_token": tokens.issue(client, scopes),
        "expires_in": tokens.lifetime_s,
        "token_type": "Bearer",
        "scope": " ".join(scopes),
    }
    return JsonAnswer(answer, headers=_NOT_KEPT)


async def _revoke_token(request: Request) -> JsonAnswer:
    claims, client = await _read_token(request)
    if claims is None:  # of somebody else, or over: it will not be accepted, which is what was asked for
        return JsonAnswer({}, headers=_NOT_KEPT)
    if claims.client_id != client.id and ADMIN not in client.scopes:
        raise OAuthError(400, "unauthorized_client", "The token is another client's")
    clients: ClientStore = request.app.state.clients
    if claims.id:
        await run_in_threadpool(clients.revoke, claims.id, claims.expires)
    return JsonAnswer({}, headers=_NOT_KEPT)


async def _introspect_token(request: Request) -> JsonAnswer:
    claims, client = await _read_token(request)
    answer: dict[str, Any] = {"active": False}
    if claims is not None and (claims.client_id == client.id or ADMIN in client.scopes):
        try:
            of = await run_in_threadpool(_find_client, request, claims)
        except Unauthorized:
            return JsonAnswer(answer, headers=_NOT_KEPT)
        tokens: TokenIssuer = request.app.state.tokens
        answer = {
            "active": True,
            "scope": " ".join(scope for scope in scopes_of(of) if scope in claims.scopes),
            "client_id": of.id,
            "sub": of.id,
            "iss": tokens.issuer,
            "iat": claims.issued,
            "exp": claims.expires,
            "jti": claims.id,
            "token_type": "Bearer",
        }
    return JsonAnswer(answer, headers=_NOT_KEPT)


async def _read_token(request: Request) -> tuple[TokenClaims | None, Client]:
    """What the token in the form says, None when it is none of ours or over, and the client that asks about it."""
    form = await _read_form(request)
    client = await _check_client(request, *_credentials(request, form))
    token = form.get("token", "").strip()
    if not token:
        raise OAuthError(400, "invalid_request", "token is missing")
    tokens: TokenIssuer = request.app.state.tokens
    try:
        return tokens.check(token), client
    except Unauthorized:
        return None, client


async def _check_client(request: Request, client_id: str, secret: str) -> Client:
    """The client with this id and secret; wrong ones are counted."""
    if not client_id:
        raise OAuthError(401, "invalid_client", "client_id and client_secret are missing")
    guesses: Guesses = request.app.state.guesses
    if wait_ms := guesses.wait_ms(client_id, secret):
        text = f"Too many wrong secrets for this client; try again in {wait_ms} ms"
        raise OAuthError(429, "temporarily_unavailable", text, {"Retry-After": str(wait_ms)})
    clients: ClientStore = request.app.state.clients
    client = await run_in_threadpool(clients.check_secret, client_id, secret)
    if client is None:
        guesses.was_wrong(client_id)
        raise OAuthError(401, "invalid_client", "Unknown client, or a wrong secret")
    guesses.was_right(client_id, secret)
    return client


def _narrow(client: Client, wanted: str) -> tuple[str, ...]:
    """The scopes of a token: all that the client has, or those wanted among them."""
    had, names = scopes_of(client), frozenset(wanted.split())
    if unknown := sorted(names - frozenset(had)):
        text = f"The client has no scope {unknown[0][:64]!a}; it has {' '.join(had)}"
        raise OAuthError(400, "invalid_scope", text)
    return tuple(scope for scope in had if scope in names) if names else had


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
