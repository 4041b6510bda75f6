"""Web servers that sources lie on: GET and HEAD with ranges, over connections that are kept.

A connection goes to an address that was looked at after the name was resolved, and to no other, so neither a name that
resolves to a machine of the deployment's network nor one that resolves differently the next time leads there. Redirections
are told to the caller, who judges their target in the same way. No proxy and no key of the environment is used.
"""

from __future__ import annotations

import random
import re
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import quote, urljoin, urlsplit

from swathe.model.errors import StorageError, StoreUnavailable
from swathe.settings import StorageSettings
from swathe.storage.doors import DoorClosed, is_listed, is_public
from swathe.storage.failures import explain_status
from swathe.storage.urls import shown_url

_CONNECT_S = 10.0
_KEPT = 32
_MOST_BYTES = 2**30
_MOST_REDIRECTIONS = 5
_REDIRECTIONS = (301, 302, 303, 307, 308)
_BUSY = (408, 429, 500, 502, 503, 504)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_ASKED_S = 0.1, 5.0, 20.0
_SKIPPED_BYTES = 2**16
# What an address may have as it is; anything else is written with per cent signs.
_PLAIN = "/%:=&?~+!$,;'@()*[]"
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

_READ = "read"


@dataclass(frozen=True)
class _Answer:
    """Status, the headers by their small names, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sites:
    """Reads what lies at `http(s)://` addresses. For any thread.

    Raises (all methods):
        DoorClosed: the host is none of the deployment's, and has no public address.
        StorageError: as `ObjectStores` raises them.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._idle: dict[tuple[str, str], deque[HTTPConnection]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def read(self, href: str) -> bytes:
        """The whole file."""
        return self._ask("GET", href, {}).body

    def size(self, href: str) -> int:
        """Its length in bytes."""
        answer = self._ask("HEAD", href, {})
        length = answer.headers.get("content-length", "")
        if not length.isdigit():
            raise StorageError(f"{shown_url(href)} cannot be {_READ}: the server does not say how long it is")
        return int(length)

    def read_part(self, href: str, start: int, length: int) -> memoryview:
        """The bytes from `start` on, fewer than `length` where the file ends."""
        if not length:
            return memoryview(b"")
        answer = self._ask("GET", href, {"Range": f"bytes={start}-{start + length - 1}"}, length)
        told = _RANGE.match(answer.headers.get("content-range", ""))
        if answer.status != 206 or told is None or int(told[1]) != start:
            raise StorageError(
                f"{shown_url(href)} cannot be {_READ}: the store does not answer requests for parts of an object"
            )
        return memoryview(answer.body)[:length]

    def read_parts(self, href: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """The bytes of `(start, length)` ranges, a request each, side by side."""
        if len(ranges) < 2:
            return [self.read_part(href, *one) for one in ranges]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_KEPT, "sites")
            waiting = [self._pool.submit(self.read_part, href, *one) for one in ranges]
        return [one.result() for one in waiting]

    def _ask(self, method: str, href: str, headers: Mapping[str, str], most: int = _MOST_BYTES) -> _Answer:
        """The answer, of another address where it lies elsewhere."""
        at = href
        for _ in range(_MOST_REDIRECTIONS + 1):
            answer = self._try(method, at, headers, most)
            target = answer.headers.get("location")
            if answer.status not in _REDIRECTIONS or not target:
                if answer.status >= 300:
                    raise explain_status(answer.status, shown_url(href), _READ)
                return answer
            last, at = at, urljoin(at, target)
            if last.startswith("https://") and not at.startswith("https://"):
                raise DoorClosed(f"{shown_url(href)} cannot be {_READ}: it leads away from https, to {shown_url(at)}")
        raise StorageError(f"{shown_url(href)} cannot be {_READ}: it leads from one address to the next without end")

    def _try(self, method: str, href: str, headers: Mapping[str, str], most: int) -> _Answer:
        """The answer of one address; what passes is tried again for a while."""
        pause_s = _FIRST_PAUSE_S
        for attempt in range(self._settings.retries + 1):
            last = attempt == self._settings.retries
            try:
                answer = self._ask_once(method, href, headers, most)
            except (OSError, HTTPException) as error:
                if last or isinstance(error, ssl.SSLCertVerificationError):
                    raise _away(href, error) from None
                asked_s = 0.0
            else:
                if answer.status not in _BUSY or last:
                    return answer
                asked = answer.headers.get("retry-after", "")
                asked_s = min(float(asked), _LONGEST_ASKED_S) if asked.isdigit() else 0.0
            time.sleep(max(asked_s, random.uniform(pause_s / 2, pause_s)))  # noqa: S311  pauses are no secret
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        raise StoreUnavailable(f"{shown_url(href)} cannot be {_READ} now")  # never: the last attempt answers or raises

    def _ask_once(self, method: str, href: str, headers: Mapping[str, str], most: int) -> _Answer:
        scheme, netloc, target = _take_apart(href)
        while True:
            connection, is_kept = self._take(scheme, netloc)
            try:
                connection.request(
                    method, target, headers={"User-Agent": "swathe", "Accept-Encoding": "identity", **headers}
                )
                response = connection.getresponse()
            except (OSError, HTTPException):
                connection.close()
                if is_kept:  # the server has ended it meanwhile
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            try:
                answer = _take_in(response, href, most, is_part="Range" in headers)
            except BaseException:
                connection.close()
                raise
            self._give_back(scheme, netloc, connection, response)
            return answer

    def _take(self, scheme: str, netloc: str) -> tuple[HTTPConnection, bool]:
        with self._lock:
            idle = self._idle.get((scheme, netloc))
            if idle:
                return idle.pop(), True
        parts = urlsplit(f"{scheme}://{netloc}")
        return _Connection(parts.hostname or "", parts.port, self._settings, is_tls=scheme == "https"), False

    def _give_back(self, scheme: str, netloc: str, connection: HTTPConnection, response: HTTPResponse) -> None:
        if response.will_close or not response.isclosed():
            connection.close()
            return
        with self._lock:
            idle = self._idle.setdefault((scheme, netloc), deque())
            idle.append(connection)
            surplus = [idle.popleft() for _ in range(len(idle) - _KEPT)]
        for one in surplus:
            one.close()


class _Connection(HTTPConnection):
    """A connection to an address that may be reached."""

    def __init__(self, host: str, port: int | None, settings: StorageSettings, *, is_tls: bool) -> None:
        super().__init__(host, port or (443 if is_tls else 80), timeout=settings.timeout_s)
        self.default_port = 443 if is_tls else 80
        self._settings, self._is_tls = settings, is_tls

    def connect(self) -> None:
        connected = _connect(self.host, self.port, self._settings)
        try:
            connected.settimeout(self._settings.timeout_s)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = _tls().wrap_socket(connected, server_hostname=self.host) if self._is_tls else connected
        except BaseException:
            connected.close()
            raise


def _connect(host: str, port: int, settings: StorageSettings) -> socket.socket:
    is_known = is_listed(settings, host)
    failure: OSError | None = None
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise StorageError(f"The host '{host}' cannot be asked: it has no usable name") from None
    for family, kind, protocol, _, place in places:
        if not is_known and not is_public(str(place[0])):
            continue
        one = socket.socket(family, kind, protocol)
        try:
            one.settimeout(min(_CONNECT_S, settings.timeout_s))
            one.connect(place)
        except OSError as error:
            one.close()
            failure = error
            continue
        return one
    if failure is not None:
        raise failure
    raise DoorClosed(
        f"The host '{host}' has no public address, and is none that this deployment reads from; if it should, its operator"
        " lists it in storage.hosts"
    )


@cache
def _tls() -> ssl.SSLContext:
    """Trusts whom the system trusts, and the usual authorities where it knows none."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _take_apart(href: str) -> tuple[str, str, str]:
    """Scheme, host with port, and what to ask there for."""
    try:
        parts = urlsplit(href)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable or any(ord(letter) <= 32 or ord(letter) == 127 for letter in parts.netloc):
        raise StorageError(f"{shown_url(href)} cannot be {_READ}: sources are files, or http(s):// or s3:// addresses")
    if parts.username is not None or parts.password is not None:
        raise StorageError(f"{shown_url(href)} cannot be {_READ}: addresses with a password are not supported")
    target = quote(parts.path or "/", safe=_PLAIN)
    return parts.scheme, parts.netloc, f"{target}?{quote(parts.query, safe=_PLAIN)}" if parts.query else target


def _take_in(response: HTTPResponse, href: str, most: int, *, is_part: bool) -> _Answer:
    """The answer with its body; that of an error, and a whole file where a part was asked for, is left where it is."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    if response.status >= 300 or (is_part and response.status != 206):
        response.read(_SKIPPED_BYTES)
        return _Answer(response.status, headers, b"")
    told = headers.get("content-length", "")
    body = response.read(most if is_part else most + 1)
    if len(body) > most:
        raise StorageError(f"{shown_url(href)} cannot be {_READ}: it has more than {most} bytes")
    if told.isdigit() and len(body) < min(int(told), most) and not response.isclosed():
        raise HTTPException("cut short")
    return _Answer(response.status, headers, body)


def _away(href: str, error: Exception) -> StorageError:
    url = shown_url(href)
    if isinstance(error, ssl.SSLCertVerificationError):
        return StorageError(f"{url} cannot be {_READ}: the server's certificate is not trusted")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{url} cannot be {_READ} now: the store did not answer in time")
    return StoreUnavailable(f"{url} cannot be {_READ} now: the store does not answer")
