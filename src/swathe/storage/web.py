"""JSON from web services that the deployment names, asked for with patience: catalogs, and who gives tokens for files.

Busy and failing services are asked again, as long as they say (`Retry-After`) or with growing pauses. Errors name the
address without its query, and never what was sent.
"""

from __future__ import annotations

import email.utils
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson

from swathe.model.errors import AccessDenied, ObjectNotFound, StorageError, StoreUnavailable
from swathe.storage.urls import shown_url

_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_FIRST_S, _LONGEST_S = 0.5, 15.0
_MOST_BYTES = 128 * 2**20
_MOST_MOVES = 5
_CONNECT_S = 10.0
_TOLD_CHARS = 200


class WebService:
    """Asks one service, which is one host. `headers` are sent to that host alone. May be used by several threads.

    Raises (its methods):
        StoreUnavailable: it does not answer, or is busy, for longer than `patience_s` (retryable).
        AccessDenied, ObjectNotFound, StorageError: it refuses; the sentence names the address.
    """

    def __init__(
        self, url: str, *, timeout_s: float, patience_s: float, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url
        self._host = urlsplit(url).hostname
        self._headers = dict(headers or {})
        self._patience_s = patience_s
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            headers={"User-Agent": "swathe", "Accept": "application/geo+json, application/json"},
            limits=httpx.Limits(max_connections=16),
        )

    def get(self, url: str) -> Any:
        """The JSON at an address."""
        return self.ask("GET", url)

    def ask(self, method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON that answers a request; `url` may be relative to the service's."""
        address = self.own(url)
        end = time.monotonic() + self._patience_s
        pause_s = _FIRST_S
        while True:
            wanted_s: float | None = None
            try:
                status, answer_headers, data = self._once(method, address, body, headers)
                if status == 200:
                    return _json(data, address)
                problem = f"it answers {status}"
                if status not in _AGAIN:
                    raise self._refusal(status, address, data)
                wanted_s = _retry_after_s(answer_headers.get("retry-after"))
            except httpx.TimeoutException:
                problem = "it does not answer in time"
            except httpx.InvalidURL:
                raise StorageError(f"{shown_url(address)} is no usable address") from None
            except httpx.HTTPError:
                problem = "it does not answer"
            wait_s = wanted_s if wanted_s is not None else secrets.SystemRandom().uniform(pause_s / 2, pause_s)
            pause_s = min(2 * pause_s, _LONGEST_S)
            if time.monotonic() + wait_s > end:
                raise StoreUnavailable(f"{shown_url(address)} cannot be asked now: {problem}")
            time.sleep(wait_s)

    def own(self, url: str) -> str:
        """An address of this service, also as its links tell it.

        Raises:
            StorageError: it leads to another host.
        """
        address = urljoin(self.url, url)
        parts, known = urlsplit(address), urlsplit(self.url)
        if parts.scheme not in ("http", "https") or parts.hostname != self._host:
            raise StorageError(
                f"{shown_url(self.url)} leads to {shown_url(address)}, which is another host and is not asked"
            )
        # behind a proxy, services tell links with the scheme and port that they have inside
        return parts._replace(scheme=known.scheme, netloc=known.netloc).geturl()

    def _once(
        self, method: str, address: str, body: Any, headers: Mapping[str, str] | None
    ) -> tuple[int, httpx.Headers, bytes]:
        content = None if body is None else orjson.dumps(body)
        sent = {**(headers or {}), **self._headers}
        if content is not None:
            sent["Content-Type"] = "application/json"
        for _ in range(_MOST_MOVES):
            with self._client.stream(method, address, content=content, headers=sent) as answer:
                if answer.is_redirect and "location" in answer.headers:
                    address = self.own(urljoin(address, answer.headers["location"]))
                    continue
                data = bytearray()
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > _MOST_BYTES:
                        raise StorageError(f"{shown_url(address)} answers with more than {_MOST_BYTES:,} bytes")
                return answer.status_code, answer.headers, bytes(data)
        raise StorageError(f"{shown_url(address)} leads from one address to the next without end")

    def _refusal(self, status: int, address: str, data: bytes) -> StorageError:
        if status in (401, 403):
            return AccessDenied(f"{shown_url(address)} refuses to answer ({status}); it may want other credentials")
        if status == 404:
            return ObjectNotFound(f"There is no {shown_url(address)}")
        return StorageError(f"{shown_url(address)} answers {status}{self._told(data)}")

    def _told(self, data: bytes) -> str:
        """What a refusal says of its reason, unless it repeats something that was sent in confidence."""
        try:
            answer = orjson.loads(data)
        except orjson.JSONDecodeError:
            return ""
        said = [answer.get(key) for key in ("description", "detail", "message")] if isinstance(answer, dict) else []
        text = next((found for found in said if isinstance(found, str) and found), "")[:_TOLD_CHARS]
        hidden = any(part and part in text for value in self._headers.values() for part in value.split())
        return f": {text}" if text.isprintable() and text and not hidden else ""


def _json(data: bytes, address: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise StorageError(f"{shown_url(address)} does not answer with JSON") from None


def _retry_after_s(text: str | None) -> float | None:
    """Seconds that the header asks to wait for: it is a number of them, or a date."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
