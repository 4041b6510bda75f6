"""One server with a season of scenes, and one browser, for all tests of the console."""

from __future__ import annotations

import httpx
import pytest
from driving import Console, open_browser
from season import make_season, write_parcels

from serving import Serving, write_config

# Between two requests the server may have closed what was kept open.
NO_KEEPING = httpx.Limits(max_keepalive_connections=0)


# Both end with this folder: while Playwright runs, its thread has a loop that other tests could not start beside.
@pytest.fixture(scope="package")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="package")
def server(tmp_path_factory, browser):
    folder = tmp_path_factory.mktemp("pages")
    catalog, fields = make_season(folder / "scenes")
    write_parcels(folder / "buckets" / "in" / "parcels.gpkg", fields)
    lines = ["[storage]", f'local_root = "{folder / "buckets"}"', "[limits]", "unit_rows = 800"]
    with Serving(folder / "home", config=write_config(folder / "config.toml", catalog, *lines)) as server:
        server.fields = fields
        server.credentials = server.client("me")
        server.operator = server.client("operator", "--scope", "admin")
        server.http = server.session(server.credentials, limits=NO_KEEPING)
        yield server


@pytest.fixture
def make_console(browser, server):
    """Opens tabs; none of them may have complained in the end, nor asked another host for anything."""
    opened: list[Console] = []

    def make(*, client: dict[str, str] | None = None, **how) -> Console:
        opened.append(Console(browser, server.url, client or server.credentials, **how))
        return opened[-1]

    yield make
    for console in opened:
        console.close()
        assert console.complaints == []
        assert console.hosts == {server.url.removeprefix("http://")}


@pytest.fixture
def console(make_console):
    return make_console()


@pytest.fixture
def expect(browser):
    from playwright.sync_api import expect

    return expect
