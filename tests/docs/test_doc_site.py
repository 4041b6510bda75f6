"""The site builds strictly, has every page, asks nothing of other hosts, and its reference names what can be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import swathe.client
from doc_pages import ROOT

pytestmark = pytest.mark.xdist_group("notebooks")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason='the site needs pip install "swathe[docs]"')
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_it_builds_strictly_with_every_page(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        name = "index.html" if page.stem == "index" else f"{page.stem}/index.html"
        assert (site / name).exists(), page.name
    pages = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(pages) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?(?:https?:)?//([^\"/ >]+)[^>]*>")
    for page in site.rglob("*.html"):
        tags = [match[0] for match in loads.finditer(page.read_text("utf-8")) if 'rel="canonical"' not in match[0]]
        strange = [
            tag for tag in tags if "canonical" not in tag and 'rel="prev"' not in tag and 'rel="next"' not in tag
        ]
        assert not strange, page.relative_to(site)


def test_the_reference_names_all_of_the_client() -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    named = set(re.findall(r"^::: swathe\.client\.(\w+)$", page, re.MULTILINE))
    assert named == set(swathe.client.__all__)


def test_the_reference_is_not_empty(site: Path) -> None:
    text = (site / "api/index.html").read_text("utf-8")
    for words in ("s3_specification", "to_dataframe", "mosaicking_order", "Raises"):
        assert words in text
