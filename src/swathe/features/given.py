"""Polygons that come with a request, for those who otherwise read a GeoPackage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swathe.features.geopackage import FeatureBatch, FeatureFile, FeatureTable
from swathe.features.polygons import polygons_from_wkb


@dataclass(frozen=True)
class GivenFeatures:
    """Features 1, 2, … as WKB in the CRS `epsg`; few enough to be held in memory."""

    epsg: int
    wkb: tuple[bytes, ...]

    @property
    def file(self) -> FeatureFile:
        """What stands in for the file that they do not lie in."""
        table = FeatureTable("request", "geom", "fid", None, self.epsg, len(self.wkb))
        return FeatureFile(Path(), (table,), self.epsg)

    @property
    def batch(self) -> FeatureBatch:
        """All of them."""
        polygons, problems = polygons_from_wkb(self.wkb)
        count = len(self.wkb)
        return FeatureBatch(np.arange(1, count + 1, dtype=np.int64), (None,) * count, self.wkb, polygons, problems)
