"""Addresses that are read with a short-lived token (SAS): asked for where the deployment says, kept until it expires.

A token is for one account and one container, which the address of a file tells: `https://ACCOUNT.…/CONTAINER/…` is signed
with what `sas_url/ACCOUNT/CONTAINER` answers, `{"token": …, "msft:expiry": …}`. It is added when a file is read, so it
stands in no plan and no item; errors and logs have the bare address.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from swathe.model.errors import StorageError
from swathe.settings import StorageSettings

if TYPE_CHECKING:
    from swathe.storage.web import WebService

# A token this near its end is not begun to be used.
_MARGIN_S = 60.0
_UNKNOWN_LIFE_S = 300.0


@dataclass(frozen=True)
class _Token:
    text: str
    expires_at: float


class SasTokens:
    """The tokens of one process. May be used by several threads; two that want the same one ask once."""

    def __init__(self, settings: StorageSettings) -> None:
        self._url = settings.sas_url.rstrip("/") if settings.sas_url else None
        self._hosts = tuple(host.lower() for host in settings.sas_hosts)
        self._service: WebService | None = None
        if self._url:
            from swathe.storage.web import WebService  # its library takes a moment that most deployments need not wait

            self._service = WebService(f"{self._url}/", timeout_s=settings.timeout_s, patience_s=settings.patience_s)
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def token(self, href: str) -> str | None:
        """The query that opens a file; None for one that is read as it is.

        Raises:
            StorageError: the service gives none; `retryable` where it may later.
        """
        place = self._place(href)
        if place is None or self._service is None:
            return None
        with self._lock:
            lock = self._locks.setdefault(place, threading.Lock())
        with lock:
            known = self._tokens.get(place)
            if known is None or known.expires_at - _MARGIN_S < time.time():
                known = self._tokens[place] = self._ask(self._service, place)
            return known.text

    def forget(self, href: str, token: str) -> None:
        """Notes that a token is not accepted any more."""
        place = self._place(href)
        with self._lock:
            if place is not None and (known := self._tokens.get(place)) is not None and known.text == token:
                del self._tokens[place]

    def _place(self, href: str) -> tuple[str, str] | None:
        """Account and container of an address that wants a token."""
        if self._url is None:
            return None
        parts = urlsplit(href)
        host = (parts.hostname or "").lower()
        container = parts.path.lstrip("/").split("/")[0]
        if not container or not host.endswith(self._hosts):
            return None
        return host.split(".")[0], container

    def _ask(self, service: WebService, place: tuple[str, str]) -> _Token:
        address = f"{self._url}/{quote(place[0], safe='')}/{quote(place[1], safe='')}"
        answer: Any = service.get(address)
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise StorageError(f"{address} gives no token; check storage.sas_url")
        return _Token(token.lstrip("?"), _expiry(answer.get("msft:expiry")))


def _expiry(text: Any) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
    except (TypeError, ValueError):
        return time.time() + _MARGIN_S + _UNKNOWN_LIFE_S
