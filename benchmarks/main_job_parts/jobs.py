"""The jobs that are measured: which scenes, which parcels, what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from main_job_parts.scenes import Storage

NDVI = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"]}],
    output: [{id: "ndvi", bands: ["value"]}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s) {
  return {ndvi: [(s.B08 - s.B04) / (s.B08 + s.B04)], dataMask: [s.dataMask]}
}
"""
NDMI = NDVI.replace("B04", "B11").replace("ndvi", "ndmi")
BEST = """//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"]}],
    output: [{id: "best", bands: ["value"]}, {id: "dataMask", bands: 1}],
    mosaicking: "ORBIT"
  }
}
function evaluatePixel(samples) {
  let best = -1, found = 0;
  for (let i = 0; i < samples.length; i++) {
    const s = samples[i];
    if (s.dataMask === 0) continue;
    const value = (s.B08 - s.B04) / (s.B08 + s.B04);
    found = 1;
    if (value > best) best = value;
  }
  return {best: [best], dataMask: [found]};
}
"""
DISTRIBUTION = {
    "default": {
        "statistics": {"default": {"percentiles": {"k": [5, 25, 50, 75, 95]}}},
        "histograms": {"default": {"nBins": 20, "lowEdge": -1, "highEdge": 1}},
    }
}
MOST_DATES = 61  # June and July
_DEGREES_Y = 10.0 / 111_150.0  # 10 m at 46 degrees north, where the granules lie
_DEGREES_X = 10.0 / 77_450.0


@dataclass(frozen=True)
class Job:
    """One `swathe statistics` over made-up scenes. `granules` is `a` or `ab`; `limit` is the allowed multiple of the
    floor, where one is set."""

    name: str
    storage: Storage
    parcels: int
    dates: int
    workers: int
    granules: str = "a"
    bands: tuple[str, ...] = ("B04", "B08")
    script: str = NDVI
    interval: str = "P1D"
    lonlat: bool = False
    remote: bool = False
    calculations: dict[str, Any] = field(default_factory=dict)
    limit: float | None = None

    def request(self) -> dict[str, Any]:
        """The body of the batch request, over June and July."""
        body: dict[str, Any] = {
            "input": {"data": [{"type": "sentinel-2-l2a"}]},
            "aggregation": {
                "timeRange": {"from": "2020-06-01T00:00:00Z", "to": "2020-08-01T00:00:00Z"},
                "aggregationInterval": {"of": self.interval},
                "evalscript": self.script,
                "resx": _DEGREES_X if self.lonlat else 10,
                "resy": _DEGREES_Y if self.lonlat else 10,
            },
        }
        if self.calculations:
            body["calculations"] = self.calculations
        return body

    @property
    def scenes_name(self) -> str:
        """The same for all jobs over the same scenes."""
        return f"{self.granules}-{self.dates}-{'-'.join(self.bands)}"


def jobs_of(base: Job) -> dict[str, list[Job]]:
    """The variants: the jobs of each, those they are compared with first."""
    base = replace(base, limit=2.0)
    percentiles = replace(base, name="percentiles", calculations=DISTRIBUTION, limit=3.0)
    free = replace(base, limit=None)
    orbit = replace(free, name="best of month", script=BEST, interval="P1M")
    long = replace(orbit, name="one interval", interval="P2M")
    many, few, more = 5 * base.dates, max(1, base.parcels // 10), base.parcels * 10
    return {
        "default": [base],
        "percentiles": [percentiles],
        "orbit": [orbit],
        "lonlat": [base, replace(free, name="lonlat", lonlat=True)],
        "overlap": [replace(free, name="overlap", granules="ab")],
        "mixed": [replace(free, name="mixed", bands=("B08", "B11"), script=NDMI)],
        "blocks1024": [replace(free, name="blocks1024", storage=replace(base.storage, blocks=1024))],
        "s3": [base, replace(free, name="s3", remote=True)],
        "marginal": [
            base,
            replace(free, name="more dates", dates=many),
            long,
            replace(long, name="one interval, more dates", dates=many),
        ],
        "parcels": [
            base,
            replace(free, name="a tenth of the parcels", parcels=few),
            replace(free, name="ten times the parcels", parcels=more),
        ],
        "workers": [base, replace(free, name="other workers", workers=2 if base.workers == 1 else 1)],
    }
