"""Which band of which collection each of the script's inputs means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swathe.catalog.collections import BandDefinition, Collection, resolve_band
from swathe.evalscript.script import Evalscript, InputSpec, Mosaicking
from swathe.model.common import DataSource, MosaickingOrder
from swathe.model.errors import ScriptError

DATA_MASK = "dataMask"


@dataclass(frozen=True)
class BandInput:
    """A band as the script asks for it; `unit` is one that the band has."""

    name: str
    definition: BandDefinition
    unit: str


@dataclass(frozen=True)
class SourceInput:
    """One input of the script with the data source that serves it.

    `bands` are handed to the script; `reference` is read besides, for its mask, where the script asks for dataMask alone.
    """

    spec: InputSpec
    number: int
    collection: Collection
    bands: tuple[BandInput, ...]
    reference: BandInput | None
    order: MosaickingOrder

    @property
    def mosaicking(self) -> Mosaicking:
        return self.spec.mosaicking

    @property
    def reads(self) -> tuple[BandInput, ...]:
        """Every band that is read."""
        return self.bands if self.reference is None else (*self.bands, self.reference)

    @property
    def charged_bands(self) -> int:
        """Bands that cost: dataMask only where it is alone."""
        return max(1, len(self.bands))


def bind_inputs(
    script: Evalscript, sources: Sequence[DataSource], collections: Mapping[int, Collection]
) -> tuple[SourceInput, ...]:
    """The script's inputs with their data sources: by `datasource` = the source's `id`, else by order.

    Args:
        collections: by the number of the data source in the request.

    Raises:
        ScriptError: an input has no data source.
        BandMissing, RequestInvalid: a collection lacks a band or a unit.
    """
    by_id = {source.id: number for number, source in enumerate(sources) if source.id is not None}
    bound = []
    for position, spec in enumerate(script.inputs):
        number = by_id.get(spec.datasource, -1) if spec.datasource is not None else position
        if number < 0 and len(script.inputs) == len(sources) and not by_id:
            number = position
        if not 0 <= number < len(sources):
            known = ", ".join(f"'{name}'" for name in by_id) or "none has an id"
            wanted = (
                f"datasource '{spec.datasource}'" if spec.datasource is not None else f"input number {position + 1}"
            )
            raise ScriptError(
                f"setup() names {wanted}, which no entry of input.data serves (ids there: {known});"
                " give the entry that id or mend the script"
            )
        source = sources[number]
        collection = collections[number]
        names = [(name, unit) for name, unit in zip(spec.bands, spec.units, strict=True) if name != DATA_MASK]
        bands = tuple(_band(collection, name, unit) for name, unit in names)
        bound.append(
            SourceInput(
                spec,
                number,
                collection,
                bands,
                None if bands else _reference(collection),
                source.data_filter.mosaicking_order or MosaickingOrder.MOST_RECENT,
            )
        )
    return tuple(bound)


def _band(collection: Collection, name: str, unit: str | None) -> BandInput:
    return BandInput(name, *resolve_band(collection, name, unit))


def _reference(collection: Collection) -> BandInput:
    """The band whose no-data makes dataMask where the script reads nothing else: the finest that masks."""
    masking = [band for band in collection.bands.values() if band.masks] or list(collection.bands.values())
    finest = min(masking, key=lambda band: band.resolution_m or 0.0)
    return BandInput(finest.name, finest, finest.default_unit)
