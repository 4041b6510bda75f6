"""One unit of a batch request: its tiles rendered in strips, written into files here, then delivered under their names.

A tile is delivered when all its files are complete, while the next is made. With Zarr its chunks go out as they fill.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely

from swathe.engine.raster_analysis import planned_scenes
from swathe.engine.values import Stopped, UnitPlan, UnitReport
from swathe.grids.raster_grid import RasterGrid
from swathe.jobs.process_manifest import read_tiles
from swathe.jobs.process_outbox import Outbox
from swathe.jobs.process_payload import ProcessPlan
from swathe.jobs.process_tiles import pixel_of
from swathe.jobs.records import NO_DATA
from swathe.model.errors import ScriptError, StorageError, SwatheError
from swathe.model.process import BatchProcessRequest, read_batch_process
from swathe.model.process_output import EXTENSIONS, RasterOutput, Response
from swathe.outputs.zarr_plan import ZarrPlan
from swathe.outputs.zarr_write import TileWriter
from swathe.rasters.encode import CogOptions, EncodeOptions, Writer, open_writer

if TYPE_CHECKING:
    from swathe.engine.compute import Engine
    from swathe.engine.raster import RenderedRaster, Strip
    from swathe.jobs.kinds import UnitRun
    from swathe.jobs.process_delivery import ProcessDelivery

_BOX_TOLERANCE = 1e-9


class ScratchUnwritable(SwatheError):
    """The disk of the machine that computes does not take an image; another machine, or later, may."""

    retryable = True


@dataclass(frozen=True)
class TileTask:
    """One image: `clip` is the WKB of the polygon that it is cut out by, in the grid's CRS; None for the whole box."""

    id: int
    identifier: str
    grid: RasterGrid
    clip: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ProcessUnit:
    """Some tiles, with all that a worker needs to compute them; holds no secret.

    `request` is the body as JSON, `sources` the collections and scenes; `scratch` is a folder for files on the way, where
    the worker has it.
    """

    index: int
    request: str = field(repr=False)
    sources: bytes = field(repr=False)
    zarr: ZarrPlan | None
    tiles: tuple[TileTask, ...] = field(repr=False)
    scratch: Path | None = None

    @property
    def feature_ids(self) -> npt.NDArray[np.int64]:
        """The tiles' ids."""
        return np.array([tile.id for tile in self.tiles], np.int64)


def make_unit(request: str, payload: bytes, manifest: Path, plan: UnitPlan) -> ProcessUnit:
    """A unit with its tiles from the manifest."""
    wanted = ProcessPlan.from_bytes(payload)
    body = read_batch_process(json.loads(request))
    pixel = pixel_of(body)
    tiles = tuple(
        TileTask(tile.id, tile.identifier, tile.grid, _clip(tile.geometry) if pixel is None else None)
        for tile in read_tiles(manifest, plan.feature_ids.tolist(), pixel=pixel)
    )
    scenes = planned_scenes(wanted.sources)
    sources = scenes.repack([tile.grid for tile in tiles])
    return ProcessUnit(plan.index, request, sources, wanted.zarr, tiles, manifest.parent)


def run_unit(engine: Engine, unit: ProcessUnit, run: UnitRun) -> UnitReport:
    """Computes and delivers the tiles of a unit.

    Raises:
        Stopped: `run.should_stop` said so.
        SwatheError: one that may pass, or one of the output place; a tile's own trouble is in the report.
    """
    request = read_batch_process(json.loads(unit.request))
    progress = _Progress(sum(tile.grid.cells for tile in unit.tiles), run.on_progress)
    failures: dict[int, str] = {}
    empty: dict[int, str] = {}
    counters: dict[str, float] = {}
    cost_pu = 0.0
    with _scratch(unit) as folder, Outbox(run.delivering) as outbox:
        for tile in unit.tiles:
            if run.should_stop():
                raise Stopped("The job was stopped")
            image = _Image(engine, unit, request, tile, run)
            try:
                raster = image.make(folder, outbox, progress)
            except Stopped:
                raise
            except SwatheError as error:
                if error.retryable or image.is_undeliverable or outbox.has_failed:
                    raise
                failures[tile.id] = error.message
            else:
                cost_pu += raster.cost_pu
                if not image.has_data:
                    empty[tile.id] = NO_DATA
                for name, value in raster.counters.items():
                    counters[name] = counters.get(name, 0.0) + value
            progress.finish(tile.grid.cells)
    done = len(unit.tiles) - len(failures)
    return UnitReport(unit.index, done, len(failures), cost_pu, {**failures, **empty}, counters)


def encode_options(output: RasterOutput, response: Response) -> EncodeOptions:
    """How a response is written."""
    cog = CogOptions.of(output.cog_parameters) if output.cog_output else None
    return EncodeOptions(quality=response.format.quality, cog=cog)


class _Progress:
    """How much of a unit is done."""

    def __init__(self, cells: int, tell: Callable[[float], None]) -> None:
        self._all, self._tell = max(1, cells), tell
        self._before = 0

    def show(self, cells: int) -> None:
        """So many cells of the tile under way are done."""
        self._tell((self._before + cells) / self._all)

    def finish(self, cells: int) -> None:
        """The tile under way is over."""
        self._before += cells
        self.show(0)


class _Image:
    """A tile on its way."""

    def __init__(
        self, engine: Engine, unit: ProcessUnit, request: BatchProcessRequest, tile: TileTask, run: UnitRun
    ) -> None:
        self._engine, self._unit, self._request, self._tile, self._run = engine, unit, request, tile, run
        self._responses = request.process_request.output.responses
        self.is_undeliverable = False
        self.has_data = False

    def make(self, folder: Path, outbox: Outbox, progress: _Progress) -> RenderedRaster:
        """Renders the tile, and delivers it or has it delivered."""
        if self._unit.zarr is not None:
            return self._deliver_chunks(self._unit.zarr, progress)
        files = self._paths(folder)
        try:
            raster = self._render(files, progress)
        except BaseException:
            for path in files.values():
                path.unlink(missing_ok=True)
            raise
        outbox.put([(self._tile.identifier, response, files[response.identifier]) for response in self._responses])
        return raster

    @contextmanager
    def _delivering(self) -> Iterator[ProcessDelivery]:
        """Notes that it is the output place that does not take the image."""
        try:
            with self._run.delivering() as delivery:
                yield delivery
        except StorageError:
            self.is_undeliverable = True
            raise

    def _begin(self) -> RenderedRaster:
        sources = planned_scenes(self._unit.sources)
        grid = self._tile.grid
        return self._engine.process_strips(
            self._request.process_request,
            grid,
            scenes=sources.near(grid),
            collections=sources.collections,
            clip=None if self._tile.clip is None else shapely.from_wkb(self._tile.clip),
            should_stop=self._run.should_stop,
        )

    def _strips(self, raster: RenderedRaster, progress: _Progress) -> Generator[Strip, None, None]:
        """The strips; the work on them ends when this is closed."""
        strips: Any = raster.strips
        with closing(strips):
            for strip in strips:
                yield strip
                self.has_data = self.has_data or bool(strip.data_mask.any())
                progress.show((strip.first_row + len(strip.data_mask)) * raster.grid.width)
                if self._run.should_stop():
                    raise Stopped("The job was stopped")

    def _paths(self, folder: Path) -> dict[str, Path]:
        return {
            response.identifier: folder / f"{self._tile.id}-{number}.{EXTENSIONS[response.format.type]}"
            for number, response in enumerate(self._responses)
        }

    def _render(self, files: Mapping[str, Path], progress: _Progress) -> RenderedRaster:
        """Writes all files of the tile."""
        output = self._request.output
        if not isinstance(output, RasterOutput):
            raise TypeError("a Zarr group is not written into files")
        raster = self._begin()
        specs = {spec.id: spec for spec in raster.outputs}
        writers: dict[str, Writer] = {}
        try:
            for response in self._responses:
                if not response.is_userdata:
                    name = response.identifier
                    with _writing():
                        options = encode_options(output, response)
                        writers[name] = open_writer(
                            response.format.type, files[name], raster.grid, specs[name], options
                        )
            with closing(self._strips(raster, progress)) as strips:
                for strip in strips:
                    for name, writer in writers.items():
                        with _writing():
                            writer.write(strip.arrays[name], strip.first_row)
            for writer in writers.values():
                with _writing():
                    writer.close()
        except BaseException:
            for writer in writers.values():
                writer.abort()
            raise
        for response in self._responses:
            if response.is_userdata:
                data = {} if raster.user_data is None else raster.user_data
                with _writing():
                    files[response.identifier].write_text(json.dumps(data, ensure_ascii=False), "utf-8")
        return raster

    def _deliver_chunks(self, plan: ZarrPlan, progress: _Progress) -> RenderedRaster:
        raster = self._begin()
        for spec in raster.outputs:
            if spec.bands != 1 and any(array.name == spec.id for array in plan.arrays):
                raise ScriptError(
                    f"updateOutput() gives '{spec.id}' {spec.bands} bands; with Zarr every output has one"
                )
        with self._delivering() as delivery:
            writer = TileWriter(plan, delivery.stores, self._tile.grid, credentials=delivery.credentials)
        with closing(self._strips(raster, progress)) as strips:
            for strip in strips:
                with self._delivering():
                    writer.write(strip.first_row, {array.name: strip.arrays[array.name] for array in plan.arrays})
        writer.close()
        return raster


def _scratch(unit: ProcessUnit) -> _Folder:
    """A folder for files on the way: the job's own, which goes with the job, or one of the system's."""
    place = unit.scratch if unit.scratch is not None and unit.scratch.is_dir() else None
    try:
        return _Folder(tempfile.TemporaryDirectory(prefix=f"unit-{unit.index}-", dir=place))
    except OSError as error:
        raise ScratchUnwritable(f"No folder can be made for images on the way: {error.strerror}") from None


@dataclass
class _Folder:
    """A temporary folder as a path."""

    folder: tempfile.TemporaryDirectory[str]

    def __enter__(self) -> Path:
        return Path(self.folder.name)

    def __exit__(self, *error: object) -> None:
        self.folder.cleanup()


@contextmanager
def _writing() -> Iterator[None]:
    """Trouble with the disk here is neither the tile's nor the output place's."""
    try:
        yield
    except StorageError as error:
        raise ScratchUnwritable(f"{error.message}; look at the disk that the server's home or TMPDIR is on") from None
    except OSError as error:
        raise ScratchUnwritable(f"No image can be written on the way: {error.strerror}") from None


def _clip(geometry: Any) -> bytes | None:
    """A feature's polygon as WKB, unless it is its own bounding box."""
    box = shapely.box(*geometry.bounds)
    if abs(geometry.area - box.area) <= _BOX_TOLERANCE * box.area:
        return None
    body: bytes = shapely.to_wkb(geometry)
    return body
