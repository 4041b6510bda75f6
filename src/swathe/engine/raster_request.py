"""From a process request to an image that can be computed: its script, its sources, its scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from swathe.catalog.collections import Collection
from swathe.catalog.registry import Catalog
from swathe.catalog.scene import Scene
from swathe.engine.inputs import SourceInput, bind_inputs, with_reference
from swathe.engine.raster import RenderedRaster, render
from swathe.engine.raster_run import RasterTools
from swathe.engine.raster_scenes import find_scenes, time_range
from swathe.engine.values import Stopped
from swathe.evalscript.runtime import ScriptHost, ScriptUnwanted
from swathe.evalscript.script import Evalscript, SampleType, is_simple, simple_script
from swathe.grids.raster_grid import RasterGrid
from swathe.model.errors import LimitExceeded, RequestInvalid
from swathe.settings import LimitSettings

if TYPE_CHECKING:
    import shapely

    from swathe.model.process import ProcessRequest


def check_process(request: ProcessRequest, catalog: Catalog, limits: LimitSettings) -> None:
    """Checks what needs neither scenes nor the script.

    Raises:
        RequestInvalid: with the field and the remedy.
    """
    if len(request.evalscript) > limits.script_chars:
        raise LimitExceeded(
            f"The evalscript has {len(request.evalscript):,} characters; at most {limits.script_chars:,} are allowed",
            "evalscript",
        )
    for number, source in enumerate(request.input.data):
        catalog.check_source(source, f"input->data[{number}]")
        time_range(source, number)
    named = [source.id for source in request.input.data if source.id is not None]
    if len(set(named)) < len(named):
        raise RequestInvalid("Two data sources have the same id; name them apart", "input->data")


def script_of(request: ProcessRequest, collections: Mapping[int, Collection], host: ScriptHost) -> Evalscript:
    """The request's script; one without setup() is taken as the body of a function of the bands that it names.

    Raises:
        ScriptError: it cannot be used.
    """
    text = request.evalscript
    if is_simple(text):
        text = simple_script(text, collections[0].bands)
    return host.setup(text, auto=SampleType.AUTO)


def bound_sources(
    request: ProcessRequest,
    catalog: Catalog,
    host: ScriptHost,
    collections: Mapping[int, Collection] | None = None,
) -> tuple[Evalscript, tuple[SourceInput, ...]]:
    """The script and what serves each of its inputs; `collections` are those of a plan, else the catalog's of today.

    Raises:
        SwatheError: the script, a collection or a band cannot be used.
    """
    if collections is None:
        collections = {number: catalog.collection(source.type) for number, source in enumerate(request.input.data)}
    script = script_of(request, collections, host)
    return script, bind_inputs(script, request.input.data, collections)


def begin(
    request: ProcessRequest,
    grid: RasterGrid,
    scenes: Sequence[Sequence[Scene]] | None,
    clip: shapely.Geometry | None,
    catalog: Catalog,
    tools: RasterTools,
    collections: Mapping[int, Collection] | None = None,
) -> RenderedRaster:
    """Begins an image; see `Engine.process_strips`."""
    check_process(request, catalog, tools.limits)
    hosts = [lane.host for lane in tools.lanes.lanes]
    script, sources = bound_sources(request, catalog, hosts[0], collections)
    data = request.input.data
    if scenes is None:
        scenes = find_scenes(sources, data, grid, catalog.choose_scenes)
    sources = tuple(with_reference(source, members) for source, members in zip(sources, scenes, strict=True))
    for host in hosts:
        host.fresh(script)
        host.is_unwanted = tools.should_stop
    tools.reader.reset_counters()

    def finish() -> None:
        for host in hosts:
            host.is_unwanted = _never
        tools.reader.forget_ahead()

    tools = RasterTools(tools.reader, tools.lanes, tools.limits, tools.should_stop, finish)
    try:
        return render(data, script, sources, scenes, grid, clip, tools)
    except BaseException as error:
        finish()
        if isinstance(error, ScriptUnwanted):
            raise Stopped("The job was stopped") from None
        raise


def _never() -> bool:
    return False
