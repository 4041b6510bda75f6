"""Which band of which collection each of the script's inputs means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from swathe.catalog.collections import BandDefinition, Collection, resolve_band
from swathe.catalog.scene import Scene
from swathe.evalscript.script import Evalscript, InputSpec, Mosaicking
from swathe.model.common import DataSource, MosaickingOrder, Processing
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
    `id` is the request's name for the data source.
    """

    spec: InputSpec
    number: int
    collection: Collection
    bands: tuple[BandInput, ...]
    reference: BandInput | None
    order: MosaickingOrder
    id: str | None = None
    processing: Processing = field(default_factory=Processing)

    @property
    def name(self) -> str | None:
        """What a data fusion script calls the source: by its own `datasource`, else by the request's id."""
        return self.spec.datasource if self.spec.datasource is not None else self.id

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
    bound = []
    for spec, number in zip(script.inputs, match_inputs(script, [source.id for source in sources]), strict=True):
        source = sources[number]
        collection = collections[number]
        names = [(name, unit) for name, unit in zip(spec.bands, spec.units, strict=True) if name != DATA_MASK]
        bands = tuple(_band(collection, name, unit) for name, unit in names)
        if source.processing.harmonize_values is False:
            bands = tuple(replace(band, definition=replace(band.definition, harmonized=False)) for band in bands)
        bound.append(
            SourceInput(
                spec,
                number,
                collection,
                bands,
                None if bands else _reference(collection),
                source.data_filter.mosaicking_order or MosaickingOrder.MOST_RECENT,
                source.id,
                source.processing,
            )
        )
    return tuple(bound)


def match_inputs(script: Evalscript, ids: Sequence[str | None]) -> list[int]:
    """The number of the data source that serves each input of the script: by `datasource` = its id, else by order.

    Raises:
        ScriptError: an input has no data source.
    """
    by_id = {name: number for number, name in enumerate(ids) if name is not None}
    numbers = []
    for position, spec in enumerate(script.inputs):
        number = by_id.get(spec.datasource, -1) if spec.datasource is not None else position
        if number < 0 and len(script.inputs) == len(ids) and not by_id:
            number = position
        if not 0 <= number < len(ids):
            known = ", ".join(f"'{name}'" for name in by_id) or "none has an id"
            wanted = (
                f"datasource '{spec.datasource}'" if spec.datasource is not None else f"input number {position + 1}"
            )
            raise ScriptError(
                f"setup() names {wanted}, which no entry of input.data serves (ids there: {known});"
                " give the entry that id or mend the script"
            )
        numbers.append(number)
    return numbers


def _band(collection: Collection, name: str, unit: str | None) -> BandInput:
    return BandInput(name, *resolve_band(collection, name, unit))


def with_reference(source: SourceInput, scenes: Sequence[Scene]) -> SourceInput:
    """The source, its `reference` being a band that most of the scenes have; of those the finest."""
    if source.reference is None or not scenes:
        return source
    having = {
        band.name: sum(scene.asset_for(band) is not None for scene in scenes) for band in _masking(source.collection)
    }
    most = max(having.values())
    common = [name for name, count in having.items() if count == most]
    return replace(source, reference=_reference(source.collection, common))


def _masking(collection: Collection) -> list[BandDefinition]:
    return [band for band in collection.bands.values() if band.masks] or list(collection.bands.values())


def _reference(collection: Collection, among: Sequence[str] | None = None) -> BandInput:
    """The band whose no-data makes dataMask where the script reads nothing else: the finest that masks."""
    bands = [band for band in _masking(collection) if among is None or band.name in among]
    finest = min(bands, key=lambda band: band.resolution_m or 0.0)
    return BandInput(finest.name, finest, finest.default_unit)
