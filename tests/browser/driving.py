"""A real browser on a real server: finds Chromium, opens pages, notes what they complain about."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
PATIENCE_MS = 60_000
AXE = Path(__file__).parent / "axe" / "axe.min.js"


def find_browser() -> str:
    """Where Chromium is; skips where it is not."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip("needs Chromium or Chrome on the PATH (apt-get install chromium)")


@contextmanager
def open_browser() -> Iterator[Any]:
    """The browser, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = find_browser()
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Console:
    """The console in a tab of its own. `complaints` are errors of scripts, of the policy, and answers from 400 on."""

    def __init__(self, browser: Any, url: str, client: dict[str, str], **how: Any) -> None:
        how.setdefault("viewport", {"width": 1180, "height": 760})
        self.context = browser.new_context(**how)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.url, self.client = url, client
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.tokens: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda told: told.type == "error" and self.complaints.append(told.text))
        self.page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if request.url.startswith("http"):
            self.hosts.add(request.url.split("/")[2])
        header = request.headers.get("authorization", "")
        if header.startswith("Bearer ") and header[7:] not in self.tokens:
            self.tokens.append(header[7:])

    def open(self, path: str = "#/jobs") -> Any:
        """Opens a page and signs in."""
        self.page.goto(f"{self.url}/{path}")
        self.sign_in()
        return self.page

    def sign_in(self, secret: str | None = None) -> None:
        page = self.page
        page.get_by_label("Client id").fill(self.client["client_id"])
        page.get_by_label("Client secret").fill(self.client["client_secret"] if secret is None else secret)
        page.get_by_role("button", name="Sign in").click()
        if secret is None:
            page.locator("#sign-in").wait_for(state="hidden")

    def drawn(self) -> None:
        """Waits until the map shows all that it is to show."""
        self.page.wait_for_timeout(300)  # a change of the time is not asked for at once
        self.page.locator(".map[aria-busy=false]").wait_for()

    def violations(self) -> list[str]:
        """What axe finds that people with a screen reader or without a mouse could not use."""
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    def close(self) -> None:
        self.context.close()


def forget_answer(console: Console, *statuses: int) -> None:
    """The browser itself complains about every answer from 400 on; these were wanted."""
    told = tuple(f"the server responded with a status of {status}" for status in statuses)
    console.complaints[:] = [one for one in console.complaints if not any(text in one for text in told)]


def mercator(lon: float, lat: float) -> tuple[float, float]:
    return math.radians(lon), math.log(math.tan(math.pi / 4 + math.radians(lat) / 2))


def place_on_map(
    box: dict[str, float], bounds: list[float], place: tuple[float, float], padding: float = 30
) -> tuple[float, float]:
    """Where a place (longitude, latitude) lies in a window on a map that shows `bounds`, by Mercator's formulas.

    `box` is the map in the window, `padding` what is left free around the bounds, in pixels.
    """
    (west, south), (east, north) = mercator(*bounds[:2]), mercator(*bounds[2:])
    inner = [box["width"] - 2 * padding, box["height"] - 2 * padding]
    scale = min(inner[0] / (east - west), inner[1] / (north - south))
    x, y = mercator(*place)
    middle = (west + east) / 2, (south + north) / 2
    return (
        box["x"] + box["width"] / 2 + (x - middle[0]) * scale,
        box["y"] + box["height"] / 2 - (y - middle[1]) * scale,
    )
