"""What `host.js` is told about scenes, as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from swathe.evalscript.columns import OrbitInfo, SceneInfo, SourceColumns, SourceScenes
from swathe.evalscript.driver import source_ids
from swathe.evalscript.script import Evalscript


def scenes_request(
    script: Evalscript, sources: Sequence[SourceScenes | SourceColumns], time_from: str, time_to: str
) -> dict[str, Any]:
    """The sources with their orbits or scenes, and the time range."""
    ids = source_ids(script, tuple(source.id for source in sources))
    return {
        "fusion": len(script.inputs) > 1,
        "from": time_from,
        "to": time_to,
        "sources": [
            {
                "id": identifier,
                "mosaicking": source.mosaicking.value,
                "orbits": [_orbit(orbit) for orbit in source.orbits],
                "tiles": [_tile(scene) for scene in source.scenes],
            }
            for identifier, source in zip(ids, sources, strict=True)
        ],
    }


def _orbit(orbit: OrbitInfo) -> dict[str, Any]:
    return {"dateFrom": orbit.date_from, "dateTo": orbit.date_to, "tiles": [_tile(scene) for scene in orbit.scenes]}


def _tile(scene: SceneInfo) -> dict[str, Any]:
    coverage = scene.cloud_coverage
    return {
        "date": scene.date,
        "cloudCoverage": None if coverage is None or math.isnan(coverage) else coverage,
        "dataPath": scene.data_path,
        "shId": scene.sh_id,
        "dataGeometry": scene.data_geometry,
        "dataEnvelope": scene.data_envelope,
    }
