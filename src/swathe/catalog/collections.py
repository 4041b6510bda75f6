"""Collections as values: their bands, what the numbers mean, and which asset of a scene holds them.

A definition is data (`definitions/*.toml`); a deployment's settings change it or add to it; a custom collection
(`byoc-<id>`) without bands in its settings has those of its scenes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swathe.catalog.scene import Asset, BandSource, Scene
from swathe.model.errors import BandMissing, RequestInvalid, SettingsInvalid, SourceError
from swathe.model.filters import Held
from swathe.settings import BandSettings, CollectionSettings

DN = "DN"
REFLECTANCE = "REFLECTANCE"
_RAW: Mapping[str, tuple[float, float]] = {DN: (1.0, 0.0)}
_FORMATS = {"uint8": "UINT8", "uint16": "UINT16", "int16": "INT16", "float32": "FLOAT32", "float64": "FLOAT32"}


@dataclass(frozen=True)
class BandDefinition:
    """A band of a collection.

    `assets` are the keys under which catalogs list it, the first that a scene has is used; `index` is the band in that
    file, from 1. `units` maps a unit's name in capitals to `(scale, offset)`: value = stored * scale + offset; a scale of
    0 is one that only an item or the configuration can tell. `item_units` are the units for which the scale that an item
    declares goes first. `nodata` is the stored value that means no data where neither item nor file say; `masks`:
    whether it makes `dataMask` 0. `resolution_m` is the native pixel, None where unknown. `harmonized`: DN is comparable
    between baselines, and neither DN nor REFLECTANCE is negative. `follows_baseline`: of an item that declares no scale the
    processing baseline tells it.
    """

    name: str
    assets: tuple[str, ...]
    index: int = 1
    units: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(_RAW), hash=False)
    default_unit: str = DN
    nodata: float | None = None
    resolution_m: float | None = None
    masks: bool = True
    sample_format: str = "UINT16"
    item_units: tuple[str, ...] = field(default=(REFLECTANCE,), compare=False)
    harmonized: bool = False
    follows_baseline: bool = False

    def factors(self, unit: str, source: BandSource | None = None) -> tuple[float, float]:
        """`(scale, offset)` from a scene's stored values to a unit.

        REFLECTANCE, and whatever else is in `item_units`, is what the item declares, where it declares it: baselines
        and archives differ in their offset. Of everything else, and of items that say nothing, the definition knows. DN
        is the stored number; `harmonized` it is reflectance in the definition's own steps, 10,000 times for Sentinel-2.

        Raises:
            SourceError: neither item nor definition say what the stored numbers are in that unit.
        """
        scale, offset = self.units[unit]
        if unit in self.item_units and source is not None and source.scale is not None:
            return source.scale, source.offset or 0.0
        if unit == DN and self.harmonized and source is not None and source.scale is not None:
            step = self.units[REFLECTANCE][0]
            return round(source.scale / step, 9), round((source.offset or 0.0) / step, 9)
        if not scale:
            raise SourceError(
                f"Neither the scenes' items nor the definition of the collection say what takes the stored numbers of band"
                f" {self.name} to {unit}; give the band `unit`, `scale` and `offset` in the collection's configuration"
            )
        return scale, offset


@dataclass(frozen=True)
class Collection:
    """A collection a request may name.

    `normalization_factor` takes DN to reflectance, as evalscripts are told. `nodata_is_nan`: a cell without data is
    NaN rather than 0. `mask_asset` is the asset whose zeros make `dataMask` 0. `aliases` are other names of the type.
    `timeless`: its scenes are used whatever time is asked for. `keys` are those of `catalog.request_keys` that concern it,
    None for all; `holds` is what its files hold of what these may ask for.
    """

    type: str
    title: str
    bands: Mapping[str, BandDefinition] = field(hash=False)
    source: str = ""
    normalization_factor: float | None = None
    nodata_is_nan: bool = False
    mask_asset: str | None = None
    aliases: tuple[str, ...] = ()
    timeless: bool = False
    keys: tuple[str, ...] | None = None
    holds: Held = field(default=Held(), hash=False)

    def is_named(self, type_name: str) -> bool:
        """Whether a request's `type` means this collection; letter case does not matter."""
        return type_name.casefold() in (name.casefold() for name in (self.type, *self.aliases))


def resolve_band(collection: Collection, name: str, unit: str | None = None) -> tuple[BandDefinition, str]:
    """A band and the unit it is wanted in, by the names an evalscript gives; no unit is the band's default.

    Raises:
        BandMissing: the collection has no such band.
        RequestInvalid: the band has no such unit.
    """
    band = collection.bands.get(name)
    if band is None:
        known = ", ".join(collection.bands) or "none"
        raise BandMissing(f"Collection {collection.type} has no band '{name}'; it has: {known}, dataMask")
    wanted = (unit or band.default_unit).upper()
    if wanted not in band.units:
        raise RequestInvalid(
            f"Band '{name}' of collection {collection.type} has no unit '{unit}'; it has: {', '.join(band.units)}",
            "evalscript",
        )
    return band, wanted


def parse_definition(values: Mapping[str, Any]) -> Collection:
    """A collection from a definition file's tables (`definitions/sentinel-2-l2a.toml` shows all of them)."""
    tables = values.get("units", {})
    units = {name: _parse_units(table) for name, table in tables.items()}
    bands = {}
    for name, band in values["bands"].items():
        kind = band.get("units", "raw")
        bands[name] = BandDefinition(
            name=name,
            assets=tuple(band.get("assets", [name])),
            index=band.get("index", 1),
            units=units.get(kind, dict(_RAW)),
            default_unit=next(iter(units.get(kind, _RAW))),
            nodata=band.get("nodata"),
            resolution_m=band.get("resolution_m"),
            masks=band.get("masks", True),
            sample_format=band.get("sample_format", "UINT16"),
            harmonized=any(f.get("harmonized", False) for f in tables.get(kind, {}).values()),
            follows_baseline=any(f.get("harmonized", False) for f in tables.get(kind, {}).values()),
            item_units=tuple(unit for unit, f in tables.get(kind, {}).items() if f.get("item", unit == REFLECTANCE)),
        )
    return Collection(
        type=values["type"],
        title=values["title"],
        bands=bands,
        normalization_factor=values.get("normalization_factor"),
        nodata_is_nan=values.get("nodata_is_nan", False),
        mask_asset=values.get("mask_asset"),
        aliases=tuple(values.get("aliases", ())),
        timeless=values.get("timeless", False),
        keys=tuple(values.get("keys", ())),
        holds=Held.model_validate(values.get("holds", {})),
    )


def _parse_units(table: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {unit: (float(f.get("scale", 0)), float(f.get("offset", 0))) for unit, f in table.items()}


def make_collection(
    settings: CollectionSettings, definitions: Iterable[Collection], scenes: Iterable[Scene] = ()
) -> Collection:
    """The collection a deployment configured: a shipped definition, or a custom one with the bands of its scenes.

    Raises:
        SettingsInvalid: the type is neither shipped nor `byoc-<id>`, and the settings list no bands.
    """
    base = next((known for known in definitions if known.is_named(settings.type)), None)
    if base is None:
        if not settings.type.startswith("byoc-") and not settings.bands:
            raise SettingsInvalid(
                f"Collection type '{settings.type}' is not one that is shipped; name it byoc-<id>, or list its bands"
            )
        bands = {} if settings.bands else bands_of(scenes, mask_asset=settings.mask_asset)
        base = Collection(type=settings.type, title=settings.type, bands=bands)
    bands = dict(base.bands)
    for name, band in settings.bands.items():
        bands[name] = _configured(name, band, bands.get(name))
    return replace(
        base,
        title=settings.title or base.title,
        bands=bands,
        source=settings.source,
        nodata_is_nan=base.nodata_is_nan if settings.nodata_is_nan is None else settings.nodata_is_nan,
        mask_asset=settings.mask_asset or base.mask_asset,
        timeless=base.timeless if settings.timeless is None else settings.timeless,
        holds=settings.holds.over(base.holds),
    )


def _configured(name: str, settings: BandSettings, base: BandDefinition | None) -> BandDefinition:
    band = base or BandDefinition(name, (name,))
    if settings.asset is not None:
        assets = (settings.asset,) if isinstance(settings.asset, str) else tuple(settings.asset)
        band = replace(band, assets=assets, index=settings.index)
    elif "index" in settings.model_fields_set:
        band = replace(band, index=settings.index)
    if settings.unit is not None or settings.scale is not None or settings.offset is not None:
        unit = (settings.unit or band.default_unit).upper()
        scale, offset = band.units.get(unit, (1.0, 0.0))
        factors = (
            scale if settings.scale is None else settings.scale,
            offset if settings.offset is None else settings.offset,
        )
        own = (
            tuple(other for other in band.item_units if other != unit)
            if settings.scale is not None
            else band.item_units
        )
        band = replace(band, units={**band.units, unit: factors}, default_unit=unit, item_units=own, harmonized=False)
        band = replace(band, follows_baseline=False)
    if settings.nodata is not None:
        try:
            band = replace(band, nodata=float(settings.nodata))
        except ValueError:
            raise SettingsInvalid(f"Band {name}: nodata '{settings.nodata}' is no number") from None
    if settings.resolution_m is not None:
        band = replace(band, resolution_m=settings.resolution_m)
    return band if settings.mask is None else replace(band, masks=settings.mask)


def bands_of(scenes: Iterable[Scene], *, mask_asset: str | None = None) -> dict[str, BandDefinition]:
    """The bands that scenes have, in the order in which they turn up.

    A file of one band gives a band of the asset's key; a file of several named bands gives each of them. Asset
    `dataMask` (and whatever `mask_asset` names) is no band. The default unit is DN, the stored number; where the item
    declares a scale or an offset that is not 1 and 0, REFLECTANCE is offered too.
    """
    bands: dict[str, BandDefinition] = {}
    for scene in scenes:
        for key, asset in scene.assets.items():
            if not asset.is_data or key in ("dataMask", mask_asset):
                continue
            named = [band.name for band in asset.bands]
            if len(named) > 1 and all(named) and len(set(named)) == len(named):
                for index, name in enumerate(named, 1):
                    if name != "dataMask" and name not in bands:
                        bands[name] = _derived(name, key, asset, index)
            elif key not in bands:
                bands[key] = _derived(key, key, asset, 1)
    return bands


def _derived(name: str, key: str, asset: Asset, index: int) -> BandDefinition:
    units = dict(_RAW)
    band = asset.bands[index - 1] if len(asset.bands) >= index else None
    if band is not None and band.scale is not None and (band.scale, band.offset or 0.0) != (1.0, 0.0):
        units[REFLECTANCE] = (band.scale, band.offset or 0.0)
    size = asset.grid.pixel_size[0] if asset.grid is not None and asset.grid.epsg != 4326 else math.nan
    return BandDefinition(
        name=name,
        assets=(key,),
        index=index,
        units=units,
        nodata=band.nodata if band else None,
        resolution_m=None if math.isnan(size) else size,
        sample_format=_FORMATS.get(band.data_type or "" if band else "", "FLOAT32"),
    )
