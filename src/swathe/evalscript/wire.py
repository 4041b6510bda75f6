"""What `host.js` is told, and what it answers, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from swathe.evalscript.columns import Batch, OrbitInfo, SceneInfo, SourceColumns, SourceScenes
from swathe.evalscript.driver import source_ids
from swathe.evalscript.script import Evalscript
from swathe.model.errors import ScriptError

SERVICE_VERSION = "1.0"


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


def beginning(script: Evalscript, batch: Batch) -> dict[str, Any]:
    """What `host.js` is told before the first cell of a batch."""
    factors = (source.normalization_factor for source in batch.sources)
    return {
        **scenes_request(script, batch.sources, batch.time_from, batch.time_to),
        "serviceVersion": SERVICE_VERSION,
        "normalizationFactor": next((factor for factor in factors if factor is not None), None),
    }


def parsed(text: str, what: str) -> object:
    """The value of a JSON text from a script, which may be nested as deep, or hold such strings, as nobody else's."""
    try:
        value: object = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ScriptError(f"{what} is nested too deep.") from None
    except UnicodeEncodeError:
        raise ScriptError(f"{what} holds characters that are no Unicode text.") from None
    return value


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
