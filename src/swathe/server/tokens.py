"""Access tokens: RS256 JWTs that any service can verify with the published key."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from swathe.jobs.records import Client
from swathe.model.errors import Unauthorized

ALGORITHM = "RS256"
SERVICES = "SH"
"""The scope that every client has, and every token that was not narrowed: to use the services."""
_LEEWAY_S = 5


@dataclass(frozen=True)
class TokenClaims:
    """Who a token is for and what it allows.

    `generation` is that of the client's secret. `issued` and `expires` are in seconds since 1970. `id` is empty for a
    token without one.
    """

    client_id: str
    project_id: str
    scopes: frozenset[str] = frozenset({SERVICES})
    generation: int = 0
    id: str = ""
    issued: int = 0
    expires: int = 0


def scopes_of(client: Client) -> tuple[str, ...]:
    """All that a client may do."""
    return (SERVICES, *client.scopes)


class TokenIssuer:
    """Issues and checks the tokens of this deployment; servers on one job store share its key."""

    def __init__(self, key_id: str, pem: str, *, issuer: str, lifetime_s: int) -> None:
        self.issuer = issuer
        self.lifetime_s = lifetime_s
        self._key_id = key_id
        self._key = RSAKey.import_key(pem)

    def issue(self, client: Client, scopes: Sequence[str] | None = None) -> str:
        """A token for a client, with `scopes` instead of all that the client has.

        Claims are ASCII without `>`, `?` and `~`: a published client decodes them with the standard base64 alphabet,
        and only these would give characters of the url-safe one.
        """
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": client.id,
            "azp": client.id,
            "account": client.project_id,
            "jti": uuid.uuid4().hex,
            "iat": now,
            "exp": now + self.lifetime_s,
            "typ": "Bearer",
            "scope": " ".join(scopes if scopes is not None else scopes_of(client)),
            "gen": client.generation,
        }
        return jwt.encode({"alg": ALGORITHM, "kid": self._key_id, "typ": "JWT"}, claims, self._key)

    def check(self, token: str) -> TokenClaims:
        """Who the token is for.

        Raises:
            Unauthorized: it is malformed, expired, or not from here.
        """
        claims = self.claims(token)
        expires = claims.get("exp")
        if claims.get("iss") != self.issuer or not isinstance(expires, int):
            raise Unauthorized("The access token is not one of this server's")
        if expires + _LEEWAY_S < time.time():
            raise Unauthorized("The access token has expired; get a new one")
        # Tokens from before there were scopes have none of these claims.
        return TokenClaims(
            client_id=str(claims.get("sub", "")),
            project_id=str(claims.get("account", "")),
            scopes=frozenset(str(claims.get("scope", SERVICES)).split()),
            generation=_whole(claims.get("gen")),
            id=str(claims.get("jti", "")),
            issued=_whole(claims.get("iat")),
            expires=expires,
        )

    def claims(self, token: str) -> dict[str, Any]:
        """What a token of this server's says, whether it has expired or not.

        Raises:
            Unauthorized: it is malformed, or not from here.
        """
        try:
            return dict(jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims)
        except (JoseError, ValueError, TypeError, KeyError):
            raise Unauthorized("The access token is not one of this server's") from None

    def public_keys(self) -> dict[str, Any]:
        """The key set (JWKS) to verify tokens with."""
        public: dict[str, Any] = dict(self._key.as_dict(private=False))
        return {"keys": [{**public, "kid": self._key_id, "use": "sig", "alg": ALGORITHM}]}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
