"""Runs the whole engine over small made-up catalogs: analyse, make every unit, run it, read the documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from builders import make_catalog, make_geopackage, make_scene
from swathe.engine.compute import Engine
from swathe.engine.values import Analysis, Document, UnitReport
from swathe.model.statistical import StatisticsRequest
from swathe.settings import CollectionSettings, DaskSettings, LimitSettings, Settings

LEFT, TOP = 500_000.0, 5_100_000.0


def value_script(
    *,
    bands: Sequence[str] = ("B04",),
    mosaicking: str = "SIMPLE",
    sample_type: str = "FLOAT32",
    body: str = "return {v: [s.B04], dataMask: [s.dataMask]}",
    outputs: str = '{id: "v", bands: 1, sampleType: TYPE}, {id: "dataMask", bands: 1}',
    more: str = "",
) -> str:
    """A script over stored numbers. In `body`, `s` is the sample, or with ORBIT and TILE the list of samples."""
    listed = json.dumps([*bands, "dataMask"])
    units = json.dumps(["DN"] * len(bands) + ["DN"])
    return f"""//VERSION=3
function setup() {{
  return {{
    input: [{{bands: {listed}, units: {units}}}],
    mosaicking: "{mosaicking}",
    output: [{outputs.replace("TYPE", json.dumps(sample_type))}]
  }}
}}
{more}
function evaluatePixel(s, scenes) {{ {body} }}
"""


def flat(value: float, size: int = 12, dtype: str = "uint16") -> np.ndarray:
    """A band that has one value everywhere."""
    return np.full((size, size), value, dtype)


def box(column: float, row: float, width: float = 2, height: float = 2, *, pixel: float = 10) -> shapely.Polygon:
    """A polygon of whole pixels of the made-up scenes."""
    left, top = LEFT + column * pixel, TOP - row * pixel
    return shapely.box(left, top - height * pixel, left + width * pixel, top)


def deployment(
    folder: Path, items: Sequence[Mapping[str, Any]], *, type_: str = "sentinel-2-l2a", workers: int = 1, **limits: Any
) -> Settings:
    """Settings with one collection, whose catalog is written."""
    source = make_catalog(folder, items)
    return Settings(
        collections=(CollectionSettings(type=type_, source=str(source)),),
        dask=DaskSettings(workers=workers),
        limits=LimitSettings(**limits),
    )


@dataclass
class Run:
    """What a job came to."""

    analysis: Analysis
    data: dict[int, bytes] = field(default_factory=dict)
    delivered: list[Document] = field(default_factory=list)
    reports: list[UnitReport] = field(default_factory=list)

    @property
    def documents(self) -> dict[int, Any]:
        return {key: json.loads(text) for key, text in self.data.items()}

    @property
    def cost_pu(self) -> float:
        return sum(report.cost_pu for report in self.reports)

    def counter(self, name: str) -> float:
        return sum(report.counters[name] for report in self.reports)

    def response(self, feature: int = 1) -> dict[str, Any]:
        found: dict[str, Any] = self.documents[feature]["response"]
        return found

    def error(self, feature: int = 1) -> Any:
        return [entry.get("error") for entry in self.response(feature)["data"]]

    def days(self, feature: int = 1) -> list[str]:
        """The first days of the intervals that a feature has."""
        return [entry["interval"]["from"][:10] for entry in self.response(feature)["data"]]

    def stats(self, feature: int = 1, interval: int = 0, output: str = "v", band: str = "B0") -> dict[str, Any]:
        found: dict[str, Any] = self.response(feature)["data"][interval]["outputs"][output]["bands"][band]["stats"]
        return found

    def means(self, feature: int = 1, output: str = "v", band: str = "B0") -> list[Any]:
        """The mean of every interval, None where it failed."""
        return [
            None if "error" in entry else entry["outputs"][output]["bands"][band]["stats"]["mean"]
            for entry in self.response(feature)["data"]
        ]


def run(settings: Settings, geopackage: Path, body: Mapping[str, Any], *, engine: Engine | None = None) -> Run:
    """A job from end to end; every feature must be delivered exactly once."""
    request = StatisticsRequest.model_validate(body)
    own = Engine(settings) if engine is None else engine
    try:
        found = Run(own.analyse(request, geopackage))
        for plan in found.analysis.units:
            unit = own.make_unit(request, found.analysis, geopackage, plan.index)
            found.reports.append(own.run(unit, deliver=found.delivered.extend))
    finally:
        if engine is None:
            own.close()
    for document in found.delivered:
        assert document.feature_id not in found.data
        found.data[document.feature_id] = document.data
    return found


class World:
    """A folder with scenes and features, for tests that say the rest in a line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items: list[dict[str, Any]] = []
        self.geopackage = folder / "parcels.gpkg"
        self.files = folder / "scenes"

    def scene(self, name: str, when: str, bands: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        """Adds a scene; a number stands for a band that has it everywhere, a list for a matrix."""
        arrays = {
            band: flat(value) if isinstance(value, int) else np.asarray(value, how.get("dtype", "uint16"))
            for band, value in bands.items()
        }
        how.pop("dtype", None)
        when = when if "T" in when else f"{when}T10:00:00Z"
        item = make_scene(self.files, name, when, arrays, **how)
        self.items.append(item)
        return item

    def parcels(self, *polygons: Any, **how: Any) -> None:
        """Writes the features, with the keys 1, 2, …"""
        self.geopackage.unlink(missing_ok=True)
        make_geopackage(self.geopackage, polygons, **how)

    def settings(self, **how: Any) -> Settings:
        return deployment(self.files, self.items, **how)

    def run(self, body: Mapping[str, Any], **how: Any) -> Run:
        return run(self.settings(**how), self.geopackage, body)
