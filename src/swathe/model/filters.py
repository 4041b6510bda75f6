"""What only some collections can be asked for: keys of `dataFilter` and `processing`, by the provider's names.

The values are those of the provider's description. Which collections a key concerns is said by their definitions; for
others it is left aside, as the provider does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class OrbitDirection(StrEnum):
    """Which way the satellite flew."""

    ASCENDING = "ASCENDING"
    DESCENDING = "DESCENDING"


class AcquisitionMode(StrEnum):
    """How a radar looked."""

    SM = "SM"
    IW = "IW"
    EW = "EW"
    WV = "WV"
    EN = "EN"
    AN = "AN"
    IM = "IM"


class Polarization(StrEnum):
    """What a radar product holds: DV is VV and VH, DH is HH and HV, SV and VV are VV alone, and so on."""

    SH = "SH"
    SV = "SV"
    DH = "DH"
    DV = "DV"
    HH = "HH"
    HV = "HV"
    VV = "VV"
    VH = "VH"


class RadarResolution(StrEnum):
    """The kind of a radar product, by its resolution."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    FULL = "FULL"


class Timeliness(StrEnum):
    """How soon after the acquisition a radar product was made."""

    NRT10M = "NRT10m"
    NRT1H = "NRT1h"
    NRT3H = "NRT3h"
    FAST24H = "Fast24h"
    OFFLINE = "Offline"
    REPROCESSING = "Reprocessing"
    ARCH_NORMAL = "ArchNormal"


class Tiers(StrEnum):
    """Which of Landsat's quality tiers; RT are products whose tier is not known yet."""

    TIER_1 = "TIER_1"
    TIER_1_AND_RT = "TIER_1_AND_RT"
    ALL_TIERS = "ALL_TIERS"


class Constellation(StrEnum):
    """Whose scenes of a harmonised collection."""

    SENTINEL = "SENTINEL"
    LANDSAT = "LANDSAT"


class DemInstance(StrEnum):
    """A digital elevation model."""

    MAPZEN = "MAPZEN"
    COPERNICUS = "COPERNICUS"
    COPERNICUS_30 = "COPERNICUS_30"
    COPERNICUS_90 = "COPERNICUS_90"


class BackCoeff(StrEnum):
    """What backscatter is."""

    BETA0 = "BETA0"
    SIGMA0_ELLIPSOID = "SIGMA0_ELLIPSOID"
    GAMMA0_ELLIPSOID = "GAMMA0_ELLIPSOID"
    GAMMA0_TERRAIN = "GAMMA0_TERRAIN"


class SpeckleFilterType(StrEnum):
    """How speckle is filtered."""

    NONE = "NONE"
    LEE = "LEE"


class View(StrEnum):
    """Where a radiometer looks."""

    NADIR = "NADIR"
    OBLIQUE = "OBLIQUE"


class Held(BaseModel):
    """What the files of a collection hold, in the words of requests: where its items do not say it, or where a request may
    ask for it and it is not computed."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    orbit_direction: OrbitDirection | None = None
    acquisition_mode: AcquisitionMode | None = None
    polarization: Polarization | None = None
    resolution: RadarResolution | None = None
    timeliness: Timeliness | None = None
    tiers: Literal[Tiers.TIER_1] | None = None
    constellation: Constellation | None = None
    dem_instance: DemInstance | None = None
    back_coeff: BackCoeff | None = None
    orthorectify: bool | None = None
    radiometric_terrain_oversampling: float | None = Field(default=None, ge=1, le=4)
    egm: bool | None = None
    clamp_negative: bool | None = None
    view: View | None = None
    min_qa: int | None = Field(default=None, ge=0, le=100)

    def over(self, other: Held) -> Held:
        """This, and where it says nothing the other."""
        return Held.model_validate(other.model_dump(exclude_none=True) | self.model_dump(exclude_none=True))
