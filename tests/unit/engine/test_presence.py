"""Which scenes lie over which features: what is seen from afar must not change the answer."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import shapely

from swathe.catalog.scene import Scene
from swathe.engine.presence import reproject, scenes_over, to_wgs84

CENTRES = {32633: (5e5, 5.1e6), 32601: (5e5, 6e6), 3035: (4.3e6, 2.6e6), 4326: (15.0, 46.0), 3857: (1.6e6, 5.8e6)}


def make_scene(footprint: shapely.Geometry | None) -> Scene:
    wkb = None if footprint is None else footprint.wkb
    return Scene("s", "made-up", datetime(2020, 6, 1, tzinfo=UTC), None, (-180, -90, 180, 90), wkb, {})


@pytest.mark.parametrize("epsg", sorted(CENTRES))
@pytest.mark.parametrize("seed", range(4))
def test_as_if_every_polygon_were_taken_to_wgs84(epsg: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = CENTRES[epsg]
    size = (5e3 if seed % 2 else 1e5) * (1 if epsg != 4326 else 1e-5)
    angles = np.sort(random.uniform(0, 2 * np.pi, 7))
    outline = shapely.Polygon(np.stack([x + size * np.cos(angles), y + size * np.sin(angles)], axis=1))
    footprint = reproject(np.array([outline], object), epsg, 4326)[0]
    # along the edge, and anywhere
    near = shapely.get_coordinates(
        shapely.line_interpolate_point(outline.exterior, random.random(300), normalized=True)
    )
    places = np.concatenate(
        [near + random.normal(0, size * 0.003, near.shape), random.uniform(-1.3, 1.3, (300, 2)) * size + [x, y]]
    )
    polygons = np.asarray(shapely.buffer(shapely.points(places), size * 0.002, quad_segs=2), object)
    found = scenes_over(polygons, epsg, [make_scene(footprint), make_scene(None)])
    expected = shapely.intersects(footprint, to_wgs84(polygons, epsg))
    assert 0 < expected.sum() < len(expected)
    assert found[:, 0].tolist() == expected.tolist()
    assert found[:, 1].all()


def test_a_footprint_of_the_whole_world_is_over_everything() -> None:
    polygons = np.array([shapely.box(5e5, 5.1e6, 5e5 + 10, 5.1e6 + 10)], object)
    assert scenes_over(polygons, 32633, [make_scene(shapely.box(-180, -90, 180, 90))]).tolist() == [[True]]


def test_no_polygons() -> None:
    assert scenes_over(np.zeros(0, object), 32633, [make_scene(None)]).shape == (0, 1)
