"""The arrays that `swathe.evaluate` is given, in the engine's terms: scenes, bands, factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import shape

from swathe.catalog.collections import DN, REFLECTANCE, BandDefinition
from swathe.catalog.scene import Scene
from swathe.engine.inputs import DATA_MASK
from swathe.engine.samples import DATA_PATH, SH_ID
from swathe.model.common import MosaickingOrder
from swathe.model.errors import RequestInvalid
from swathe.model.time import parse_time

Moment = datetime | date | str
"""A time: with a zone, or in UTC; a day is its beginning."""
Factors = float | tuple[float, float]
"""What takes an array to a unit: a factor, or a factor and what is added to the product."""
Units = str | Mapping[str, "str | Factors | Mapping[str, Factors]"]


@dataclass(frozen=True, eq=False)
class SceneArrays:
    """One scene of a source: a product at one time.

    Args:
        datetime: when it was taken, as a `datetime` or an ISO 8601 text; without a zone it is UTC.
        bands: an array (h, w) for each band, or a function that returns it, called only if the script comes to read it.
        data_mask: (h, w), 1 or True where the scene has data. Without it a cell has data where none of the bands that
            the script asks for is NaN; arrays of integers have data everywhere.
        cloud_cover: percent, for `leastCC` and `cloudCoverage`; None if unknown.
        id: what the script finds as `shId`; by default the scene's number in the list.
        data_path: what the script finds as `dataPath`; by default the id.
        geometry: the footprint as GeoJSON in WGS84, for scripts that ask for `metadata: ["bounds"]`.
    """

    datetime: Moment
    bands: Mapping[str, Any]
    data_mask: Any = None
    cloud_cover: float | None = None
    id: str | int | None = None
    data_path: str | None = None
    geometry: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class SourceArrays:
    """One data source of a script, as an entry of a request's `input.data`.

    Args:
        id: what a script of several sources calls it (`datasource`); inputs without `datasource` take the sources in
            their order.
        scenes: in any order. All arrays of all sources have one shape.
        mosaicking_order: which scene lies on top; by default that of the call.
        nodata_is_nan: whether a sample without data has NaN in place of 0, as Landsat collections have.
        units: what the arrays hold. None: whatever unit the script asks for. A unit's name (`"DN"`, `"REFLECTANCE"`):
            the unit of all arrays; asked for the other of these two the script gets them converted by
            `normalization_factor`. A mapping from units to factors (`{"DN": 10_000}`): asked for DN, the script gets the
            arrays times 10,000; a pair `(factor, offset)` adds the offset to the product. A mapping from bands to either
            speaks of single bands.
        normalization_factor: DN to reflectance, which scripts find in `inputMetadata`.
    """

    id: str | None
    scenes: Sequence[SceneArrays]
    mosaicking_order: str | None = None
    nodata_is_nan: bool = False
    units: Units | None = None
    normalization_factor: float | None = 0.0001


class Source:
    """A source with its scenes in the engine's terms."""

    def __init__(self, number: int, source: SourceArrays, order: str) -> None:
        self.number = number
        self.given = source
        self.label = source.id if source.id is not None else str(number)
        self.order = _order(source.mosaicking_order or order)
        self.members = tuple(source.scenes)
        self.scenes = tuple(_scene(position, scene, self.label) for position, scene in enumerate(self.members))
        self.read: dict[str, None] = {}
        self._arrays: dict[tuple[int, str], npt.NDArray[Any]] = {}

    @property
    def band_names(self) -> list[str]:
        """The bands that any scene has."""
        return list(dict.fromkeys(name for scene in self.members for name in scene.bands if name != DATA_MASK))

    def array(self, scene: int, band: str) -> npt.NDArray[Any]:
        """An array as it is, looked at for the first time."""
        key = scene, band
        if key not in self._arrays:
            given = self.members[scene].bands[band]
            self._arrays[key] = _array(given() if callable(given) else given, f"{self.where(scene)}, band {band}")
        return self._arrays[key]

    def where(self, scene: int) -> str:
        return f"source '{self.label}', scene {self.scenes[scene].id}"

    def mask(self, scene: int) -> npt.NDArray[np.bool_] | None:
        """The mask that the scene was given."""
        given = self.members[scene].data_mask
        if given is None and DATA_MASK in self.members[scene].bands:
            return _mask(self.array(scene, DATA_MASK))
        return None if given is None else _mask(_array(given, f"{self.where(scene)}, data_mask"))

    def sizes(self, *, read: bool) -> list[tuple[tuple[int, ...], str]]:
        """The shapes of the arrays that are there, or of one that has to be made."""
        found: list[tuple[tuple[int, ...], str]] = []
        for number, scene in enumerate(self.members):
            arrays = {f"band {name}": value for name, value in scene.bands.items() if not callable(value)}
            if scene.data_mask is not None:
                arrays["data_mask"] = scene.data_mask
            for name, value in arrays.items():
                size = getattr(value, "shape", None)
                size = np.shape(value) if size is None else size
                found.append((tuple(int(side) for side in size), f"{self.where(number)}, {name}"))
        if read and not found:
            for number, scene in enumerate(self.members):
                for name in scene.bands:
                    return [(self.array(number, name).shape, f"{self.where(number)}, band {name}")]
        return found


def common_size(sources: Sequence[Source]) -> tuple[int, int]:
    """Height and width of all arrays."""
    known = [entry for source in sources for entry in source.sizes(read=False)]
    if not known:
        known = [entry for source in sources for entry in source.sizes(read=True)][:1]
    if not known:
        raise RequestInvalid("No source has an array, so there is nothing to run the script over", "sources")
    first, name = known[0]
    for size, other in known:
        if len(size) != 2:
            raise RequestInvalid(f"{other} has the shape {size}; arrays must be (height, width)", "sources")
        if size != first:
            raise RequestInvalid(
                f"Arrays differ in shape: {name} is {first[0]} x {first[1]}, {other} is {size[0]} x {size[1]};"
                " all arrays of all sources must have one",
                "sources",
            )
    return first[0], first[1]


def _array(value: Any, where: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan)
    array = np.asarray(value)
    if array.ndim != 2:
        raise RequestInvalid(f"{where} has the shape {array.shape}; arrays must be (height, width)", "sources")
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "buif":
        raise RequestInvalid(f"{where} holds {array.dtype}, which is no number", "sources")
    if kind == "b":
        return array.astype(np.uint8)
    if kind == "f" and size == 2:
        return array.astype(np.float32)
    if size > 8 or (kind in "ui" and size == 8):
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _mask(array: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((array != 0) & (array == array))


def _scene(position: int, given: SceneArrays, source: str) -> Scene:
    moment = to_utc(given.datetime, f"source '{source}', scene {position}: datetime")
    name = str(position if given.id is None else given.id)
    sh_id = position if given.id is None else given.id
    footprint = None
    if given.geometry is not None:
        footprint = shapely.to_wkb(shape(given.geometry))
    cloud_cover = None if given.cloud_cover is None else float(given.cloud_cover)
    return Scene(
        id=name,
        collection=source,
        datetime=moment,
        cloud_cover=None if cloud_cover is None or cloud_cover != cloud_cover else cloud_cover,
        bbox=(-180.0, -90.0, 180.0, 90.0),
        geometry_wkb=footprint,
        assets={},
        properties={DATA_PATH: given.data_path if given.data_path is not None else name, SH_ID: sh_id},
    )


def to_utc(given: Moment, what: str) -> datetime:
    if isinstance(given, str):
        return parse_time(given, what)
    if isinstance(given, np.datetime64):
        return parse_time(str(given.astype("datetime64[us]")), what)
    if isinstance(given, datetime):
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    if isinstance(given, date):
        return datetime.combine(given, time(), UTC)
    raise RequestInvalid(f"{given!r} is no time; give a datetime or a text like 2020-06-01T10:00:00Z", what)


def _order(name: str) -> MosaickingOrder:
    try:
        return MosaickingOrder(name)
    except ValueError:
        known = ", ".join(MosaickingOrder)
        raise RequestInvalid(f"Unknown mosaicking order '{name}'; known are {known}", "mosaicking_order") from None


def definition_of(source: SourceArrays, band: str, unit: str | None) -> tuple[BandDefinition, str]:
    """A band whose only unit is the one that is asked for."""
    scale, offset = _factors(source, band, unit)
    name = unit or ""
    return BandDefinition(band, (band,), units={name: (scale, offset)}, default_unit=name), name


def _factors(source: SourceArrays, band: str, unit: str | None) -> tuple[float, float]:
    """What takes an array of a band to the unit that is asked for."""
    said: Any = source.units
    if isinstance(said, Mapping) and isinstance(said.get(band), str | Mapping):
        said = said[band]
    elif isinstance(said, Mapping):
        said = {key: value for key, value in said.items() if not isinstance(value, str | Mapping)}
    if unit is None or not said:
        return 1.0, 0.0
    if isinstance(said, str):
        held = said.strip().upper()
        if held == unit:
            return 1.0, 0.0
        factor = source.normalization_factor
        if factor and (held, unit) == (DN, REFLECTANCE):
            return factor, 0.0
        if factor and (held, unit) == (REFLECTANCE, DN):
            return 1.0 / factor, 0.0
        raise RequestInvalid(
            f"The script asks for band '{band}' in {unit}, and source '{source.id}' has it in {held}; say in `units` how"
            f' to convert, like {{"{unit}": 0.01}}',
            "units",
        )
    for name, value in said.items():
        if name.strip().upper() == unit:
            pair = value if isinstance(value, Sequence) else (value, 0.0)
            return float(pair[0]), float(pair[1])
    return 1.0, 0.0
