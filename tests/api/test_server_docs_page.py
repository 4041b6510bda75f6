"""The page at /docs: served with its files, by address and policy of its own, and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from swathe.server.app import create_app
from swathe.server.docs_page import FOLDER, POLICY
from swathe.settings import Settings


def open_client(folder: Path, **server: str) -> TestClient:
    return TestClient(create_app(Settings.model_validate({"server": server}), folder / "home", runs_jobs=False))


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return open_client(tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize(("public_url", "base"), [("", ""), ("https://eo.example.org/swathe", "/swathe")])
def test_all_that_the_page_needs_is_below_its_own_address(tmp_path: Path, public_url: str, base: str) -> None:
    http = open_client(tmp_path, **({"public_url": public_url} if public_url else {}))
    answer = http.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert len(named) == 6
    for address in named:
        if address != "data:,":  # no picture
            assert address.startswith(f"{base}/"), address
            assert http.get(address.removeprefix(base)).status_code == 200, address
    assert f'data-base="{base}"' in answer.text


def test_the_page_may_load_nothing_from_elsewhere_and_have_no_script_within(http: TestClient) -> None:
    answer = http.get("/docs/")
    assert answer.headers["content-security-policy"] == POLICY
    assert "script-src 'self';" in POLICY
    assert "connect-src 'self';" in POLICY
    assert re.findall(r"<script(?! src=)", answer.text) == []
    for name in ("page.js", "page.css", "index.html"):
        assert re.findall(r"https?://|//[a-z]+\.[a-z]+", (FOLDER / name).read_text("utf-8")) == []


def test_the_licence_is_beside_what_is_vendored(http: TestClient) -> None:
    assert "Apache License" in http.get("/docs/files/swagger-ui/LICENSE").text
    assert http.get("/docs/files/swagger-ui/NOTICE").status_code == 200
    assert http.get("/docs/files/../docs_page.py").status_code == 404
    assert http.get("/docs/files/%2e%2e/%2e%2e/app.py").status_code == 404


def test_the_catalog_links_to_the_page(http: TestClient) -> None:
    links = http.get("/api/v1/catalog/1.0.0").json()["links"]
    assert [link["href"] for link in links if link["rel"] == "service-doc"] == ["http://testserver/docs"]
