"""Access tokens by OAuth2 client credentials: fetched once, shared by all who ask with the same credentials."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import lru_cache

from swathe.client.exceptions import AuthenticationFailed, ConfigInvalid
from swathe.client.sending import Sender, describe_answer, redact, shown_url

RENEW_BEFORE_EXPIRY_S = 120


class TokenSource:
    """The access token of one client id; renewed when it has 120 s or less to live.

    Threads that ask while a token is being fetched wait for that one.

    Args:
        token_url: where tokens are given.
        client_id: OAuth2 client id.
        client_secret: OAuth2 client secret.
        clock: seconds that only grow.
    """

    def __init__(
        self, token_url: str, client_id: str, client_secret: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.token_url = token_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._expires_at_s = 0.0

    def get(self, sender: Sender) -> str:
        """A token that is good for a while.

        Raises:
            ConfigInvalid: there are no credentials.
            AuthenticationFailed: the credentials are not accepted.
            ServiceUnavailable: the token endpoint does not answer.
        """
        with self._lock:
            if not self._token or self._expires_at_s - self._clock() <= RENEW_BEFORE_EXPIRY_S:
                self._fetch(sender)
            return self._token

    def renew(self, sender: Sender, refused: str) -> str:
        """A token other than the refused one; many threads that were refused together fetch one new token."""
        with self._lock:
            if self._token == refused:
                self._fetch(sender)
            return self._token

    def _fetch(self, sender: Sender) -> None:
        if not (self._client_id and self._client_secret):
            raise ConfigInvalid(
                "there are no credentials: set sh_client_id and sh_client_secret in SHConfig,"
                " or the environment variables SH_CLIENT_ID and SH_CLIENT_SECRET"
            )
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
        }
        secrets = (self._client_secret,)
        headers = {"Accept": "application/json"}
        response = sender.send("POST", self.token_url, headers=headers, form=form, secrets=secrets)
        place = f"no token from {shown_url(self.token_url)} for client id '{self._client_id}'"
        if not response.is_success:
            message = redact(f"{place}: {describe_answer(response)}", secrets)
            raise AuthenticationFailed(message, response.status_code)
        try:
            answer = response.json()
            token, lifetime_s = answer["access_token"], float(answer.get("expires_in", 0))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AuthenticationFailed(f"{place}: the answer holds no access_token", response.status_code) from None
        self._token, self._expires_at_s = token, self._clock() + lifetime_s


@lru_cache(maxsize=64)
def shared_tokens(token_url: str, client_id: str, client_secret: str) -> TokenSource:
    """The process's token source for these credentials; a loop over requests does not fetch a token for each."""
    return TokenSource(token_url, client_id, client_secret)
