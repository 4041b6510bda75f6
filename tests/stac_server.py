"""A STAC API in a process of its own: pages, throttles, hands out tokens for its files, and tells what it was asked.

`python stac_server.py FOLDER` serves `FOLDER/items.json` and the files below `FOLDER`, and prints its address. `POST /control`
changes how it behaves (see `Behaviour`); `GET /log` is what it was asked since.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from urllib.request import Request, urlopen


@dataclass
class Behaviour:
    """`paging` is how a page leads to the next: "merge", "body" (both POST), "get", or "elsewhere" (another host).

    `refusals` are answered to the next searches, one each: `[status, Retry-After or None]`. `sorts`: whether it can sort;
    if not, items come as they lie. `expiry_s` is how long tokens are good for; `key` makes older ones invalid when it changes.
    """

    paging: str = "merge"
    sorts: bool = True
    refusals: list[list[Any]] = field(default_factory=list)
    header: str | None = None
    expiry_s: float = 3600.0
    key: str = "one"
    only_get: bool = False


class Api:
    """A running server, as tests see it."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def stac(self) -> str:
        """The API's landing page."""
        return f"{self.url}/stac"

    def behave(self, **how: Any) -> None:
        """Changes how it behaves, and forgets what it was asked."""
        request = Request(f"{self.url}/control", json.dumps(how).encode(), method="POST")
        urlopen(request, timeout=10).close()

    def asked(self, part: str = "") -> list[dict[str, Any]]:
        """What was asked since `behave`: method, path with query, body; those whose path has a part."""
        with urlopen(f"{self.url}/log", timeout=10) as answer:
            return [one for one in json.load(answer) if part in one["path"]]


@contextmanager
def stac_server(folder: Path, items: Sequence[dict[str, Any]]) -> Iterator[Api]:
    """Serves items, whose hrefs may begin with `{server}`, and the files of a folder."""
    (folder / "items.json").write_text(json.dumps(list(items)))
    arguments = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Api(process.stdout.readline().strip())
        finally:
            process.kill()


def _serve(folder: Path) -> None:
    lock = threading.Lock()
    behaviour = Behaviour()
    log: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_HEAD(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}"))

        def _answer(self, body: dict[str, Any]) -> None:
            nonlocal behaviour
            parts = urlsplit(self.path)
            if parts.path == "/control":
                with lock:
                    behaviour = Behaviour(**body)
                    log.clear()
                self._send(200, {})
            elif parts.path == "/log":
                self._send(200, log)
            else:
                with lock:
                    log.append({"method": self.command, "path": self.path, "body": body})
                if parts.path.startswith("/stac"):
                    self._stac(parts.path.removeprefix("/stac"), dict(parse_qsl(parts.query)), body)
                elif parts.path.startswith("/sas/"):
                    self._token(parts.path.split("/")[2:])
                else:
                    self._file(parts.path, dict(parse_qsl(parts.query)))

        def _stac(self, path: str, query: dict[str, str], body: dict[str, Any]) -> None:
            if behaviour.header and self.headers.get("X-Key") != behaviour.header:
                self._send(401, {"code": 401, "description": "who are you"})
                return
            root = f"{url}/stac"
            if path in ("", "/"):
                sort = ["https://api.stacspec.org/v1.0.0/item-search#sort"] if behaviour.sorts else []
                methods = ["GET"] if behaviour.only_get else ["GET", "POST"]
                search = [{"rel": "search", "href": f"{root}/search", "method": method} for method in methods]
                links = [{"rel": "root", "href": root}, {"rel": "self", "href": root}, *search]
                conforms = ["https://api.stacspec.org/v1.0.0/item-search", *sort]
                self._send(200, {"type": "Catalog", "id": "test", "conformsTo": conforms, "links": links})
            elif path == "/collections/sentinel-2-l2a":
                links = [{"rel": "items", "href": f"{root}{path}/items"}, {"rel": "root", "href": root}]
                extent = {
                    "spatial": {"bbox": [[0, 0, 60, 60]]},
                    "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]},
                }
                self._send(200, {"type": "Collection", "id": "sentinel-2-l2a", "extent": extent, "links": links})
            elif path == "/search":
                self._search(query, body)
            else:
                self._send(404, {"code": 404, "description": "there is none"})

        def _search(self, query: dict[str, str], body: dict[str, Any]) -> None:
            if behaviour.refusals:
                with lock:
                    status, after = behaviour.refusals.pop(0)
                self._send(status, {"message": "slow down"}, {} if after is None else {"Retry-After": str(after)})
                return
            told = body if self.command == "POST" else _of_query(query)
            found = [item for item in items if _fits(item, told)]
            if told.get("sortby"):
                found.sort(key=lambda item: item["properties"]["datetime"], reverse=True)
            first, limit = int(told.get("token") or 0), int(told.get("limit") or 10)
            page: dict[str, Any] = {"type": "FeatureCollection", "features": found[first : first + limit], "links": []}
            if first + limit < len(found):
                link: dict[str, Any] = {"rel": "next", "href": f"{url}/stac/search"}
                rest = {"token": str(first + limit)}
                if behaviour.paging == "merge":
                    link |= {"method": "POST", "merge": True, "body": rest}
                elif behaviour.paging == "body":
                    link |= {"method": "POST", "body": {**told, **rest}}
                elif behaviour.paging == "get":
                    link["href"] += "?" + urlencode(_to_query({**told, **rest}))
                elif behaviour.paging == "elsewhere":
                    link["href"] = f"http://localhost:{server.server_port}/stac/search?token=2"
                elif behaviour.paging == "circle":
                    link |= {"method": "POST", "body": told}
                page["links"].append(link)
            self._send(200, page)

        def _token(self, place: list[str]) -> None:
            expiry = datetime.now(UTC) + timedelta(seconds=behaviour.expiry_s)
            token = f"sv=2021&sp=r&sig={quote(_signature(behaviour.key, place[1]), safe='')}"
            self._send(200, {"token": token, "msft:expiry": expiry.isoformat().replace("+00:00", "Z")})

        def _file(self, path: str, query: dict[str, str]) -> None:
            container = path.lstrip("/").split("/")[0]
            if query.get("sig") != _signature(behaviour.key, container):
                self._send(403, {"code": "AuthenticationFailed"})
                return
            data = (folder / path.lstrip("/")).read_bytes()
            status, headers = 200, {}
            if wanted := self.headers.get("Range"):
                start, _, end = wanted.removeprefix("bytes=").partition("-")
                last = min(int(end or len(data)), len(data) - 1)
                headers = {"Content-Range": f"bytes {start}-{last}/{len(data)}"}
                status, data = 206, data[int(start) : last + 1]
            self._send(status, data, headers)

        def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                "Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT",
                "ETag": '"0"',
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    url = f"http://127.0.0.1:{server.server_port}"
    items = json.loads((folder / "items.json").read_text().replace("{server}", url))
    print(url, flush=True)
    server.serve_forever()


def _signature(key: str, container: str) -> str:
    return base64.b64encode(f"{key}+{container}??".encode()).decode()


def _fits(item: dict[str, Any], told: dict[str, Any]) -> bool:
    if told.get("collections") and item["collection"] not in told["collections"]:
        return False
    if told.get("ids") and item["id"] not in told["ids"]:
        return False
    if box := told.get("bbox"):
        west, south, east, north = item["bbox"]
        if west > box[2] or east < box[0] or south > box[3] or north < box[1]:
            return False
    start, _, end = str(told.get("datetime") or "../..").partition("/")
    when = item["properties"]["datetime"]
    if (start != ".." and when < start) or (end != ".." and when > end):
        return False
    platforms = (told.get("query") or {}).get("platform", {})
    return not platforms or item["properties"].get("platform") == platforms.get("eq")


def _to_query(told: dict[str, Any]) -> dict[str, str]:
    return {name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in told.items()}


def _of_query(query: dict[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = dict(query)
    for name in ("collections", "ids"):
        if name in told:
            told[name] = told[name].split(",")
    if "bbox" in told:
        told["bbox"] = [float(side) for side in told["bbox"].split(",")]
    return told


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
