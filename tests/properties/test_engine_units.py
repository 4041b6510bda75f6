"""What always holds of the engine: results do not depend on how the work is cut, ordered or repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from builders import make_geopackage, make_request
from engines import LEFT, TOP, World, run, value_script
from swathe.engine.compute import Engine
from swathe.model.statistical import StatisticsRequest
from swathe.rasters.blocks import BlockReader
from swathe.settings import LimitSettings, Settings

SUMS = "let n = 0, t = 0; for (const x of s) if (x.dataMask) { n++; t += x.B04 } return {v: [t, n], dataMask: [n > 0]}"
SCRIPTS = {
    "SIMPLE": value_script(
        body="return {v: [s.B04, 1], dataMask: [s.dataMask]}",
        outputs='{id: "v", bands: 2, sampleType: TYPE}, {id: "dataMask", bands: 1}',
    ),
    "ORBIT": value_script(
        mosaicking="ORBIT", body=SUMS, outputs='{id: "v", bands: 2, sampleType: TYPE}, {id: "dataMask", bands: 1}'
    ),
    "TILE": value_script(
        mosaicking="TILE", body=SUMS, outputs='{id: "v", bands: 2, sampleType: TYPE}, {id: "dataMask", bands: 1}'
    ),
}
CALCULATIONS = {
    "default": {"statistics": {"default": {"percentiles": {"k": [10, 50]}}}, "histograms": {"default": {"nBins": 3}}}
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Scenes that overlap, lie side by side, have holes and footprints smaller than their rasters; one is broken."""
    rng = np.random.default_rng(11)
    made = World(tmp_path_factory.mktemp("world"))

    def values() -> np.ndarray:
        return np.where(rng.random((60, 60)) < 0.1, 0, rng.integers(1, 60_000, (60, 60))).astype(np.uint16)

    for number, (day, hour, column, row) in enumerate(
        [
            (1, 10, 0, 0),
            (1, 11, 40, 0),
            (1, 12, 20, 30),
            (2, 10, 0, 30),
            (3, 10, 40, 30),
            (3, 10, 0, 0),
            (4, 9, 20, 10),
            (4, 9, 20, 20),
        ]
    ):
        when = f"2020-06-0{day}T{hour:02}:00:00Z"
        origin = (LEFT + 10 * column, TOP - 10 * row)
        made.scene(f"s{number}", when, {"B04": values()}, origin=origin, cloud_cover=float(rng.integers(0, 3)))
    # the footprint of one is a triangle, while its raster has values everywhere
    [ring] = made.items[2]["geometry"]["coordinates"]
    made.items[2]["geometry"]["coordinates"] = [[ring[0], ring[1], ring[2], ring[0]]]
    (made.files / "s7/B04.tif").write_bytes(b"broken")
    return made


@pytest.fixture(scope="module")
def engines(world: World) -> Any:
    """Engines with large and with small units, kept over all examples."""
    plain = world.settings()
    cuts = {"large": LimitSettings(), "small": LimitSettings(unit_cells=40), "single": LimitSettings(unit_rows=1)}
    made: dict[str, tuple[Settings, Engine]] = {}
    for name, limits in cuts.items():
        cut = plain.model_copy(update={"limits": limits})
        made[name] = (cut, Engine(cut))
    yield made
    for _, engine in made.values():
        engine.close()


@st.composite
def polygons(draw: st.DrawFn) -> list[shapely.Polygon]:
    found = []
    for _ in range(draw(st.integers(1, 9))):
        x, y = draw(st.floats(-5, 105)), draw(st.floats(-5, 95))
        width, height = draw(st.floats(0.3, 25)), draw(st.floats(0.3, 25))
        box = (LEFT + 10 * x, TOP - 10 * (y + height), LEFT + 10 * (x + width), TOP - 10 * y)
        shape = shapely.box(*box)
        if draw(st.booleans()):
            shape = shapely.Polygon([(box[0], box[1]), (box[2], box[1]), (box[0], box[3])])
        found.append(shape)
    return found


FEW = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
REQUESTS = {
    "script": st.sampled_from(sorted(SCRIPTS)),
    "of": st.sampled_from(["P1D", "P2D", "P10D"]),
    "sampling": st.sampled_from([{}, {"cover": "coverage"}, {"grid": "source", "cover": "centre"}]),
    "order": st.sampled_from(["mostRecent", "leastRecent", "leastCC"]),
    "degrees": st.booleans(),
}


def body(script: str, of: str, sampling: dict[str, str], order: str, degrees: bool) -> dict[str, Any]:
    size: dict[str, Any] = {"sampling": sampling}
    if sampling.get("grid") != "source":
        side = 0.0001 if degrees else 10
        size |= {"resx": side, "resy": side}
    data = [{"type": "sentinel-2-l2a", "dataFilter": {"mosaickingOrder": order}}]
    return make_request(
        SCRIPTS[script], of=of, end="2020-06-11T00:00:00Z", data=data, calculations=CALCULATIONS, **size
    )


def write(path: Path, shapes: list[shapely.Polygon], degrees: bool, ids: list[int] | None = None) -> Path:
    path.unlink(missing_ok=True)
    if degrees:
        from pyproj import Transformer

        change = Transformer.from_crs(32633, 4326, always_xy=True)
        shapes = [
            shapely.transform(s, lambda xy: np.stack(change.transform(xy[:, 0], xy[:, 1]), axis=1)) for s in shapes
        ]
    return make_geopackage(path, shapes, epsg=4326 if degrees else 32633, ids=ids)


@FEW
@given(shapes=polygons(), **REQUESTS)
def test_documents_do_not_depend_on_how_units_are_cut(
    engines: Any,
    world: World,
    shapes: list[shapely.Polygon],
    script: str,
    of: str,
    sampling: dict[str, str],
    order: str,
    degrees: bool,
) -> None:
    path = write(world.folder / "cut.gpkg", shapes, degrees)
    request = body(script, of, sampling, order, degrees)
    whole, small, single = (
        run(*(engines[cut][0], path, request), engine=engines[cut][1]) for cut in ("large", "small", "single")
    )
    assert len(single.analysis.units) == len(shapes)
    assert sorted(whole.data) == list(range(1, len(shapes) + 1))
    assert whole.data == small.data
    assert whole.data == single.data
    assert whole.cost_pu == pytest.approx(single.cost_pu)


@FEW
@given(shapes=polygons(), data=st.data(), **REQUESTS)
def test_documents_do_not_depend_on_the_order_of_features(
    engines: Any,
    world: World,
    shapes: list[shapely.Polygon],
    data: st.DataObject,
    script: str,
    of: str,
    sampling: dict[str, str],
    order: str,
    degrees: bool,
) -> None:
    places = data.draw(st.permutations(range(len(shapes))))
    request = body(script, of, sampling, order, degrees)
    plain, engine = engines["large"]
    path = world.folder / "order.gpkg"
    one = run(plain, write(path, shapes, degrees), request, engine=engine)
    ids = [place + 1 for place in places]
    two = run(plain, write(path, [shapes[place] for place in places], degrees, ids), request, engine=engine)
    assert one.data == two.data


@FEW
@given(shapes=polygons(), **REQUESTS)
def test_a_unit_that_runs_twice_gives_the_same_bytes(
    engines: Any,
    world: World,
    shapes: list[shapely.Polygon],
    script: str,
    of: str,
    sampling: dict[str, str],
    order: str,
    degrees: bool,
) -> None:
    path = write(world.folder / "twice.gpkg", shapes, degrees)
    request = body(script, of, sampling, order, degrees)
    plain, engine = engines["large"]
    assert run(plain, path, request, engine=engine).data == run(plain, path, request).data


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_each_block_is_read_once_in_a_unit(
    world: World, engines: Any, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, tuple[int, int]]] = []
    original = BlockReader.read_blocks

    def watch(self: BlockReader, href: str, bands: Any, blocks: Any, level: int = 0) -> Any:
        for block, pixels in original(self, href, bands, blocks, level):
            read.append((href, block))
            yield block, pixels

    monkeypatch.setattr(BlockReader, "read_blocks", watch)
    corners = [(LEFT + x, TOP - y) for x in range(0, 1_000, 50) for y in range(0, 900, 50)]
    path = write(world.folder / "blocks.gpkg", [shapely.box(x, y - 35, x + 35, y) for x, y in corners], False)
    _, engine = engines["large"]
    # without the last day, whose broken raster is tried again and again
    made = body(script, "P3D", {}, "mostRecent", False)
    made["aggregation"]["timeRange"]["to"] = "2020-06-04T00:00:00Z"
    request = StatisticsRequest.model_validate(made)
    analysis = engine.analyse(request, path)
    assert analysis.units
    blocks = 0
    for plan in analysis.units:
        unit = engine.make_unit(request, analysis, path, plan.index)
        read.clear()
        report = engine.run(unit, deliver=lambda documents: None)
        assert len(read) == len(set(read)) > 0
        blocks = max(blocks, len(read))
        assert report.counters["blocks"] == len(read)
    # scenes of 60 x 60 pixels in blocks of 32 have 4 blocks
    assert blocks <= 6 * 4
