"""Asking the batch API as a client does."""

from __future__ import annotations

import json
import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

_OPENER = build_opener(ProxyHandler({}))


class Http:
    """Asks the servers as a client does that tries again when nobody answers."""

    def __init__(self, url: str, client: tuple[str, str]) -> None:
        self._url = url
        self._client = client
        self._token = ""
        self.refused = 0

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer, decoded; None for an empty one.

        Raises:
            OSError: nobody answers now.
        """
        if not self._token:
            form = {"grant_type": "client_credentials", "client_id": self._client[0], "client_secret": self._client[1]}
            request = Request(f"{self._url}/oauth/token", data=urlencode(form).encode(), method="POST")
            with _OPENER.open(request, timeout=10) as answer:
                self._token = json.load(answer)["access_token"]
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self._url}/api/v1/statistics/batch{path}", data=data, headers=headers, method=method)
        try:
            with _OPENER.open(request, timeout=10) as answer:
                text = answer.read()
        except HTTPError as error:
            if error.code == 503:
                raise ConnectionError(f"{method} {path}: not now") from None
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from None
        return json.loads(text) if text else None

    def ask_until(self, method: str, path: str, body: Any = None) -> Any:
        """As `ask`, again and again until somebody answers."""
        while True:
            try:
                return self.ask(method, path, body)
            except (OSError, HTTPException):  # nobody there, or killed in the middle of its answer
                self.refused += 1
                time.sleep(0.2)
