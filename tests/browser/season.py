"""A year over a village: scenes in which fields grow, each in its own time, under clouds that pass; and its parcels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import shapely

from builders import make_catalog, make_geopackage, make_request, make_scene

SIZE = 128
ACROSS = 8
PITCH_M = 150
ORIGIN = (500_000.0, 5_100_000.0)
FIRST = datetime(2023, 1, 5, 10, tzinfo=UTC)
EVERY_DAYS = 10
DATES = 36
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><b>field</b>"
SCRIPT = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"]}],
    output: [
      {id: "ndvi", bands: ["value"], sampleType: "FLOAT32"},
      {id: "dataMask", bands: 1}
    ]
  }
}
// <script>document.title = "owned"</script>
function evaluatePixel(s) {
  return {ndvi: [(s.B08 - s.B04) / (s.B08 + s.B04)], dataMask: [s.dataMask]}
}
"""


def parcels() -> list[shapely.Geometry]:
    """Fields in rows, no two of one shape; the last one crosses itself, so it fails."""
    made: list[shapely.Geometry] = []
    for number in range(ACROSS * ACROSS):
        row, column = divmod(number, ACROSS)
        x, y = ORIGIN[0] + 20 + PITCH_M * column, ORIGIN[1] - 20 - PITCH_M * row
        lean = 12 * np.sin(number * 2.1)
        corners = [
            (x + lean, y),
            (x + 130, y - 4),
            (x + 126 - lean, y - 132),
            (x + 70, y - 120 - lean),
            (x + 3, y - 128),
        ]
        made.append(shapely.Polygon(corners))
    x, y = made[-1].bounds[:2]
    made[-1] = shapely.Polygon([(x, y), (x + 100, y + 100), (x + 100, y), (x, y + 100)])
    return made


def peak_of(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The day of the year on which a field is greenest: winter grain here, maize there."""
    return np.where((rows + 2 * columns) % 3 == 0, 135.0, np.where((rows + columns) % 2 == 0, 175.0, 215.0))


def make_season(folder: Path, *, dates: int = DATES) -> tuple[Path, list[shapely.Geometry]]:
    """Writes the scenes and gives their catalog and the parcels."""
    rng = np.random.default_rng(11)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] * 10 // PITCH_M
    peak = peak_of(rows, columns)
    items = []
    for number in range(dates):
        when = FIRST + timedelta(days=EVERY_DAYS * number)
        day = when.timetuple().tm_yday
        ndvi = 0.18 + 0.62 * np.exp(-(((day - peak) / 42.0) ** 2)) + rng.normal(0, 0.02, (SIZE, SIZE))
        red = 900 + rng.normal(0, 25, (SIZE, SIZE))
        near = red * (1 + ndvi) / (1 - ndvi)
        bands = {"B04": red.astype("u2"), "B08": np.clip(near, 1, 20_000).astype("u2")}
        if number % 4 == 1:  # a cloud: no data there
            middle = rng.uniform(0, SIZE, 2)
            cloud = np.hypot(*(np.mgrid[0:SIZE, 0:SIZE] - middle[:, None, None])) < SIZE * 0.45
            for values in bands.values():
                values[cloud] = 0
        items.append(make_scene(folder, f"S{number:03}", when.strftime("%Y-%m-%dT%H:%M:%SZ"), bands, origin=ORIGIN))
    return make_catalog(folder, items), parcels()


def write_parcels(path: Path, fields: list[shapely.Geometry]) -> Path:
    names = [f"field {number:03}" for number in range(1, len(fields) + 1)]
    names[1] = HOSTILE
    return make_geopackage(path, fields, identifiers=names)


def season_request(*, of: str = "P10D", description: str = "A season of NDVI") -> dict:
    """The body of the batch request."""
    body = make_request(
        SCRIPT,
        start="2023-01-01T00:00:00Z",
        end="2023-12-27T00:00:00Z",
        of=of,
        calculations={"ndvi": {"statistics": {"default": {"percentiles": {"k": [10, 50, 90]}}}}},
    )
    body["input"]["features"] = {"s3": {"url": "s3://in/parcels.gpkg"}}
    body["output"] = {"s3": {"url": "s3://out/results"}}
    body["description"] = description
    return body
