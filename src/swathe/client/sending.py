"""One HTTP request with patience: busy and broken services are asked again, a clear no becomes an error."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx

from swathe import __version__
from swathe.client.config import Connection
from swathe.client.exceptions import ConfigInvalid, RateLimited, RequestFailed, ServiceUnavailable

USER_AGENT = f"swathe-client/{__version__}"
DEFAULT_RETRY_AFTER_MS = 30_000
MIN_RETRY_AFTER_MS = 50
MAX_RETRY_AFTER_MS = 300_000

_PAUSE_GROWTH = 3
_SHOWN_TEXT = 500
# What is shorter guards nothing and stands in other words, too.
_LEAST_SECRET = 8
_LOGGER = logging.getLogger(__name__)


class Sender:
    """Sends requests of one client; safe to use from several threads.

    A refused connection, a time-out and any 5xx are tried again after growing pauses, as often as the connection says.
    After 429 the sender waits as long as the service asks. Neither makes an exception of POST: a batch request whose
    answer was lost may have been created twice, and one of the two is then never started.

    Args:
        connection: attempts, pauses and time-outs.
        transport: in place of the network.
        sleep: takes seconds; in place of the real pause.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.connection = connection
        self._sleep = sleep
        self._http = httpx.Client(
            headers={"User-Agent": USER_AGENT},
            timeout=connection.timeout_s,
            transport=transport,
        )

    def close(self) -> None:
        """Gives back the connections; a later request opens new ones no more."""
        self._http.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Any = None,
        form: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
    ) -> httpx.Response:
        """The first answer that is neither 429 nor 5xx.

        Args:
            method: GET, POST, …
            url: whole, with its query.
            headers: beside the sender's own.
            body: sent as JSON unless None.
            form: sent as a form in place of a body.
            secrets: texts that must not show up in an error message.

        Raises:
            RateLimited: 429 again and again.
            ServiceUnavailable: no connection or 5xx, again and again.
            ConfigInvalid: the URL is none.
        """
        failures = refusals = 0
        pause_s = self.connection.first_pause_s
        while True:
            try:
                # A form holds the client's secret, which is for the named place only.
                follow = form is None
                response = self._http.request(
                    method, url, headers=headers, json=body, data=form, follow_redirects=follow
                )
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise ConfigInvalid(f"'{shown_url(url)}' is no http(s) URL: {error}") from None
            except httpx.RequestError as error:
                status, problem = 0, f"{type(error).__name__}: {error}"
            else:
                status = response.status_code
                if status < 500 and status != 429:
                    return response
                problem = describe_answer(response)
            problem = redact(problem, secrets)
            if status == 429:
                refusals += 1
                if refusals > self.connection.rate_limit_retries:
                    raise RateLimited(f"{method} {shown_url(url)}: {problem} ({refusals} times)", status)
                wait_s = retry_after_ms(response.headers) / 1000
                _LOGGER.info("%s %s: rate limit, waiting %.1f s", method, shown_url(url), wait_s)
                self._sleep(wait_s)
                continue
            failures += 1
            if failures >= self.connection.attempts:
                raise ServiceUnavailable(f"{method} {shown_url(url)}: {problem} ({failures} attempts)", status)
            _LOGGER.info("%s %s: %s, trying again in %.1f s", method, shown_url(url), problem, pause_s)
            self._sleep(pause_s)
            pause_s *= _PAUSE_GROWTH


def retry_after_ms(headers: Mapping[str, str]) -> int:
    """How long the service asks to wait, bounded; `Retry-After` is in milliseconds on this wire."""
    try:
        asked_ms = int(headers.get("Retry-After", ""))
    except ValueError:
        asked_ms = DEFAULT_RETRY_AFTER_MS
    return min(max(asked_ms, MIN_RETRY_AFTER_MS), MAX_RETRY_AFTER_MS)


def request_failed(response: httpx.Response, method: str, url: str, secrets: Iterable[str]) -> RequestFailed:
    """The error for a 4xx: status, the provider's message and its code."""
    message = redact(f"{method} {shown_url(url)}: {describe_answer(response)}", secrets)
    return RequestFailed(message, response.status_code, _error_code(response))


def describe_answer(response: httpx.Response) -> str:
    """`400 Bad Request: message (CODE)`, from any of the error shapes of this wire."""
    error = _error_object(response)
    parts = [f"{response.status_code} {response.reason_phrase}".strip()]
    message = error.get("message") or error.get("description")
    if message:
        parts.append(f": {message}")
    details = error.get("errors")
    if details and not _is_said(details, str(message or "")):
        parts.append(f" {json.dumps(details)}")
    code = _error_code(response)
    if code:
        parts.append(f" ({code})")
    return "".join(parts)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced; a short one, such as a stand-in `any`, only where it is a word of its own."""
    for secret in secrets:
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, "********")
        elif secret:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "********", text)
    return text


def _is_said(details: Any, message: str) -> bool:
    """Whether the message has all that the details would add."""
    if not isinstance(details, Mapping):
        return False
    rest = {name: value for name, value in details.items() if name not in ("parameter", "violation")}
    return not rest and all(str(details.get(name, "")) in message for name in ("parameter", "violation"))


def shown_url(url: str) -> str:
    """The URL without its query and without a user's name and password."""
    try:
        return str(httpx.URL(url).copy_with(query=None, fragment=None, userinfo=b""))
    except (httpx.InvalidURL, TypeError, UnicodeError):
        return url.partition("?")[0].rpartition("@")[2]


def _error_code(response: httpx.Response) -> str:
    error = _error_object(response)
    code = error.get("code", "")
    return code if isinstance(code, str) and code != str(response.status_code) else ""


def _error_object(response: httpx.Response) -> dict[str, Any]:
    """Error as one flat object: the provider's, OAuth's (`error` is a text), or whatever text came."""
    try:
        answer = response.json()
    except ValueError:
        text = response.text.strip()
        return {"message": text[:_SHOWN_TEXT]} if text and "<html" not in text[:200].lower() else {}
    if not isinstance(answer, dict):
        return {"message": json.dumps(answer)[:_SHOWN_TEXT]}
    error = answer.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"code": error, "message": answer.get("error_description", "")}
    if "detail" in answer and "message" not in answer:
        return {"message": json.dumps(answer["detail"])[:_SHOWN_TEXT]}
    return answer
