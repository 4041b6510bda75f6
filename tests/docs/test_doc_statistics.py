"""The numbers of docs/statistics.md are the engine's, and so are the pictures."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from builders import make_catalog, make_geopackage, make_scene
from doc_pages import ROOT
from swathe.grids.cover import cover
from swathe.grids.sample_grid import feature_grids
from swathe.jobs.local import run_local
from swathe.model.statistical import Cover, StatisticsRequest
from swathe.settings import CollectionSettings, DaskSettings, Settings

PAGE = (ROOT / "docs/statistics.md").read_text("utf-8")
_spec = importlib.util.spec_from_file_location("draw_docs", ROOT / "scripts/draw_docs.py")
draw_docs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(draw_docs)

SCRIPT = """//VERSION=3
function setup() {
  return {input: [{bands: ["B04", "dataMask"], units: "DN"}], output: [{id: "v", bands: 1}, {id: "dataMask", bands: 1}]}
}
function evaluatePixel(s) { return {v: [s.B04], dataMask: [s.dataMask]} }
"""
CALCULATIONS = {
    "default": {
        "statistics": {"default": {"percentiles": {"k": [50]}}},
        "histograms": {"default": {"bins": [0, 5, 10, 15]}},
    }
}


def table_after(words: str) -> list[list[str]]:
    """The cells of the first table behind some words, header and rule left out."""
    rows = []
    for line in PAGE[PAGE.index(words) :].splitlines():
        if line.startswith("|"):
            rows.append([cell.strip().strip("`*") for cell in line.strip().strip("|").split("|")])
        elif rows:
            break
    return rows[2:]


def computed(folder: Path, values: Any, polygon: Any, rule: str, calculations: Any = CALCULATIONS) -> dict[str, Any]:
    """The bands' result of a job over one scene and one feature, grid 10 m."""
    scene = make_scene(folder / "scenes", "A", "2020-06-01T10:00:00Z", {"B04": np.array(values, "u2")}, scale=None)
    source = str(make_catalog(folder / "scenes", [scene]))
    moved = shapely.affinity.translate(polygon, 500_000, 5_100_000 - 40)
    body = StatisticsRequest.model_validate(
        {
            "input": {"data": [{"type": "sentinel-2-l2a", "processing": {"harmonizeValues": False}}]},
            "aggregation": {
                "timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-06-02T00:00:00Z"},
                "aggregationInterval": {"of": "P1D"},
                "resx": 10,
                "resy": 10,
                "evalscript": SCRIPT,
                "sampling": {"cover": rule},
            },
            "calculations": calculations,
        }
    )
    collections = (CollectionSettings(type="sentinel-2-l2a", source=source),)
    settings = Settings(collections=collections, dask=DaskSettings(workers=1))
    run_local(settings, body, make_geopackage(folder / "p.gpkg", [moved]), folder / "out")
    document = json.loads((folder / "out/1.json").read_text())
    return document["response"]["data"][0]["outputs"]["v"]["bands"]["B0"]


def test_the_worked_example(tmp_path: Path) -> None:
    rows = {row[0]: row[1:] for row in table_after("### A worked example")}
    assert set(rows) == {rule.value for rule in Cover}
    for rule, told in rows.items():
        result = computed(tmp_path / rule, draw_docs.VALUES, draw_docs.polygon(), rule)
        stats, bins = result["stats"], result["histogram"]["bins"]
        share = draw_docs.weights(Cover(rule))
        found = [
            str(int((share > 0).sum())), str(stats["sampleCount"]), str(stats["noDataCount"]), f"{stats['min']:g}",
            f"{stats['max']:g}", f"{stats['mean']:.3f}", f"{stats['stDev']:.3f}", f"{stats['percentiles']['50.0']:g}",
            " / ".join(f"{b['count']:.2f}" if rule == "coverage" else str(b["count"]) for b in bins),
        ]  # fmt: skip
        assert told == found, rule


def test_the_small_polygon_of_the_rules() -> None:
    """The figure of the four rules, printed as on the page."""
    shape = shapely.Polygon([(0, 0), (3, 0), (3, 1), (0, 3)])
    grid = feature_grids(np.array([shape.bounds]), 32633, resolution=(1, 1))
    lines = re.search(r"```text\nservice +centre.*?\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()
    columns = [re.split(r"\s{4,}", line, maxsplit=3) for line in lines[:3]]
    for number, rule in enumerate((Cover.SERVICE, Cover.CENTRE, Cover.ALL_TOUCHED, Cover.COVERAGE)):
        cells, found, start = cover(np.array([shape], object), grid, rule), np.zeros((3, 3)), 0
        for row, first, behind in cells.runs:
            found[row, first:behind] = 1 if cells.weights is None else cells.weights[start : start + behind - first]
            start += behind - first
        told = [[float(word) for word in row[number].split()] for row in columns]
        assert np.allclose(told, found, atol=5e-4), rule


@pytest.mark.parametrize("row", table_after("| box | `resx`, `resy` |") or table_after("| box |"), ids=str)
def test_sizes_of_grids(row: list[str]) -> None:
    wide, high = (float(word) for word in re.findall(r"[\d.]+", row[0])[:2])
    grid = feature_grids(np.array([[0, 0, wide, high]]), 32633, resolution=(10, 10))
    numbers = [int(word) for word in re.findall(r"\d+", row[2])]
    assert [*numbers[:2]] == [grid.width[0], grid.height[0]]
    assert row[3] == f"{grid.dx[0]:.4g} x {grid.dy[0]:.3g} m"


def test_percentiles_of_four_samples(tmp_path: Path) -> None:
    shape = shapely.box(0, 0, 40, 40)
    values = np.repeat([[1, 2, 3, 4]], 4, axis=0)
    ranks = [0, 25, 50, 51, 100]
    told = dict(zip(ranks, (row for row in table_after("Of 1, 2, 3, 4:")[0][1:]), strict=True))
    calculations = {"default": {"statistics": {"default": {"percentiles": {"k": ranks}}}}}
    found = computed(tmp_path, values, shape, "centre", calculations)["stats"]["percentiles"]
    assert {k: f"{found[f'{float(k)}']:g}" for k in ranks} == told


@pytest.mark.parametrize("name", draw_docs.PICTURES)
def test_pictures_are_those_of_the_script(name: str) -> None:
    assert (ROOT / "docs/images" / name).read_text("utf-8") == draw_docs.PICTURES[name](), "run scripts/draw_docs.py"
