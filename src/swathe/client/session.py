"""JSON over HTTP with a token: what every client of this package speaks through."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import httpx

from swathe.client.config import SHConfig, connection_of
from swathe.client.exceptions import AnswerInvalid, AuthenticationFailed
from swathe.client.sending import Sender, request_failed, shown_url
from swathe.client.tokens import TokenSource, shared_tokens
from swathe.client.types import Json, JsonDict

_SECRET_KEYS = frozenset({"secretAccessKey", "credentials"})


class Session:
    """Authorized requests to one deployment; safe to use from several threads.

    Args:
        config: ours or the published client's; None reads the environment and the profile.
        tokens: in place of the process's token source for these credentials.
        transport: in place of the network.
        sleep: takes seconds; in place of real pauses between attempts.
    """

    def __init__(
        self,
        config: Any = None,
        *,
        tokens: TokenSource | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        connection = connection_of(SHConfig() if config is None else config)
        self.base_url = connection.base_url
        self._client_secret = connection.client_secret
        self._sender = Sender(connection, transport=transport, sleep=sleep)
        self._tokens = tokens or shared_tokens(connection.token_url, connection.client_id, connection.client_secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back the connections."""
        self._sender.close()

    def request(self, method: str, url: str, *, body: Any = None) -> Json:
        """The parsed answer, `""` for an answer without a body.

        A token that is refused is renewed once.

        Raises:
            RequestFailed: 4xx.
            AuthenticationFailed: 401 with a fresh token too, or no token to be had.
            RateLimited: 429 for too long.
            ServiceUnavailable: no connection or 5xx on every attempt.
            AnswerInvalid: the answer is not JSON.
        """
        token = self._tokens.get(self._sender)
        response = self._send(method, url, body, token)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            token = self._tokens.renew(self._sender, token)
            response = self._send(method, url, body, token)
        if not response.is_success:
            failure = request_failed(response, method, url, self._secrets(body, token))
            if response.status_code == httpx.codes.UNAUTHORIZED:
                raise AuthenticationFailed(failure.message, failure.status, failure.error_code)
            raise failure
        if not response.content:
            return ""
        try:
            answer: Json = response.json()
        except ValueError:
            raise AnswerInvalid(f"{method} {shown_url(url)}: the answer is not JSON; is this the right URL?") from None
        return answer

    def request_dict(self, method: str, url: str, *, body: Any = None) -> JsonDict:
        """As `request`, for answers that are objects.

        Raises:
            AnswerInvalid: the answer is something else.
        """
        answer = self.request(method, url, body=body)
        if not isinstance(answer, dict):
            raise AnswerInvalid(f"{method} {shown_url(url)}: the answer is a {type(answer).__name__}, not an object")
        return answer

    def _send(self, method: str, url: str, body: Any, token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if method != "GET":
            headers["Content-Type"] = "application/json"
        return self._sender.send(method, url, headers=headers, body=body, secrets=self._secrets(body, token))

    def _secrets(self, body: Any, token: str) -> list[str]:
        return [self._client_secret, token, *_find_secrets(body)]


def _find_secrets(body: Any) -> Iterator[str]:
    """Secrets that a request body carries for the service; a message of the service may repeat them."""
    if isinstance(body, dict):
        for name, value in body.items():
            if name in _SECRET_KEYS and isinstance(value, str):
                yield value
            else:
                yield from _find_secrets(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _find_secrets(value)
