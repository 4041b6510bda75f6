"""The console's page at /: served with its files, by address and policy of its own, and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from swathe.server.app import create_app
from swathe.server.console import FOLDER, policy_for
from swathe.settings import Settings


def open_client(folder: Path, **settings: dict[str, object]) -> TestClient:
    return TestClient(create_app(Settings.model_validate(settings), folder / "home", runs_jobs=False))


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return open_client(tmp_path_factory.mktemp("console"))


@pytest.mark.parametrize(("public_url", "base"), [(None, ""), ("https://eo.example.org/swathe", "/swathe")])
def test_all_that_the_page_needs_is_below_its_own_address(tmp_path: Path, public_url: str | None, base: str) -> None:
    http = open_client(tmp_path, server={"public_url": public_url} if public_url else {})
    answer = http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    named = [address for address in re.findall(r'(?:src|href)="([^"]+)"', answer.text) if not address.startswith("#")]
    assert len(named) >= 6
    for address in named:
        assert address.startswith(f"{base}/"), address
        assert http.get(address.removeprefix(base)).status_code == 200, address


def test_modules_import_what_is_there_and_nothing_from_elsewhere(http: TestClient) -> None:
    scripts = sorted((FOLDER / "js").glob("*.js"))
    assert len(scripts) > 10
    for script in scripts:
        text = script.read_text("utf-8")
        assert len(text.splitlines()) < 300, script
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            script
        )
        for module in re.findall(r'from "([^"]+)"', text):
            path = (script.parent / module).resolve().relative_to(FOLDER)
            answer = http.get(f"/console/files/{path}")
            assert answer.status_code == 200, module
            assert "javascript" in answer.headers["content-type"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        elsewhere = [one for one in re.findall(r"https?://[^\s\"'`]+", text) if "opengis.net/def/crs" not in one]
        assert elsewhere == [], script


def test_the_policy_lets_no_script_in_and_nothing_out(http: TestClient) -> None:
    answer = http.get("/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "connect-src 'self';" in policy
    assert "unsafe" not in policy
    assert re.findall(r"<script(?![^>]* src=)|<style|style=|\son\w+=", answer.text) == []
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("style", "opened"),
    [
        ("", ""),
        ("/maps/style.json", ""),
        ("https://maps.example.org/style.json", " https://maps.example.org https:"),
        ("http://maps.lan:8080/style.json", " http://maps.lan:8080 https:"),
        ("https://x.org;script-src * /style.json", " https:"),
    ],
)
def test_a_basemap_from_elsewhere_opens_what_it_needs_alone(style: str, opened: str) -> None:
    policy = policy_for(style)
    assert f"connect-src 'self'{opened};" in policy
    assert f"img-src 'self' data: blob:{opened};" in policy
    assert "script-src 'self';" in policy


def test_the_licences_are_beside_what_is_vendored(http: TestClient) -> None:
    assert "MapLibre" in http.get("/console/files/maplibre-gl/LICENSE.txt").text
    assert "MIT" in http.get("/console/files/uplot/LICENSE").text
    assert http.get("/console/files/../console.py").status_code == 404
    assert http.get("/console/files/%2e%2e/%2e%2e/app.py").status_code == 404


def test_signing_out_needs_a_token(http: TestClient) -> None:
    assert http.post("/console/v1/sign-out").status_code == 401


def test_without_the_console_there_is_no_page(tmp_path: Path) -> None:
    http = open_client(tmp_path, console={"enabled": False})
    assert http.get("/").status_code == 404
    assert http.get("/console/files/console.css").status_code == 404
