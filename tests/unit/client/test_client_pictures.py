"""What the pictures show, read from what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
geopandas = pytest.importorskip("geopandas")
pytest.importorskip("matplotlib")
import matplotlib  # noqa: E402
import matplotlib.dates  # noqa: E402
import matplotlib.pyplot  # noqa: E402
import shapely  # noqa: E402

from swathe.client.exceptions import WrongArgument  # noqa: E402
from swathe.client.heatmap_plot import draw_heatmap  # noqa: E402
from swathe.client.map_plot import Colours, draw_map  # noqa: E402
from swathe.client.measures import Measure, Wanted, find_interval, interval_text, measure_of  # noqa: E402
from swathe.client.series_plot import draw_series  # noqa: E402
from swathe.client.shapes import Shapes  # noqa: E402

DAYS = pd.date_range("2024-06-01", periods=4, freq="D", tz="UTC")


@pytest.fixture(autouse=True)
def _no_display() -> Iterator[None]:
    matplotlib.use("Agg")
    yield
    matplotlib.pyplot.close("all")


def make_frame(values: Any, *, valid: Any = None) -> Any:
    """A frame of `values` (feature, day); NaN has no valid sample."""
    values = np.asarray(values, float)
    count, days = values.shape
    samples = np.where(np.isnan(values), 0, 10) if valid is None else np.asarray(valid)
    return pd.DataFrame(
        {
            "feature_id": np.repeat(np.arange(1, count + 1), days),
            "identifier": np.repeat([f"field {number}" for number in range(1, count + 1)], days),
            "interval_from": np.tile(DAYS[:days], count),
            "interval_to": np.tile(DAYS[:days] + pd.Timedelta(days=1), count),
            "output": "ndvi",
            "band": "B0",
            "mean": values.ravel(),
            "p90.0": values.ravel() + 1,
            "stDev": 0.5,
            "sampleCount": pd.array(np.full(values.size, 20), "Int64"),
            "noDataCount": pd.array(20 - samples.ravel(), "Int64"),
        }
    )


def measure(values: Any, **wanted: Any) -> Measure:
    valid = wanted.pop("valid", None)
    return measure_of(make_frame(values, valid=valid), Wanted(**wanted))


def make_shapes(*polygons: Any, crs: int = 32633) -> Shapes:
    ids = np.arange(1, len(polygons) + 1)
    return Shapes(ids, np.full(len(ids), None), geopandas.GeoSeries(list(polygons), crs=crs))


def is_coloured(ax: Any, point: tuple[float, float]) -> bool:
    """Whether the picture has another colour than white at a point of the map."""
    ax.figure.canvas.draw()
    picture = np.asarray(ax.figure.canvas.buffer_rgba())
    column, row = ax.transData.transform(point)
    return bool((picture[picture.shape[0] - 1 - int(row), int(column), :3] != 255).any())


def test_intervals_with_few_samples_can_be_left_out() -> None:
    valid = [[10, 4, 6, 0]]
    assert measure([[1, 2, 3, 4]], valid=valid).frame["value"].tolist() == [1, 2, 3]
    assert measure([[1, 2, 3, 4]], valid=valid, min_valid=0.5).frame["value"].tolist() == [1, 3]
    with pytest.raises(WrongArgument, match="between 0 and 1"):
        measure([[1]], min_valid=50)


def test_names_of_statistics() -> None:
    assert measure([[1.0]], statistic="p90").frame["value"].tolist() == [2.0]
    assert measure([[1.0]], statistic="p90").label == "90 % percentile of ndvi"
    assert measure([[1.0]], label="leaf area").label == "Leaf area"
    with pytest.raises(WrongArgument, match=r"there is no statistic 'mena'; there are mean, p90\.0"):
        measure([[1.0]], statistic="mena")
    with pytest.raises(WrongArgument, match="no output and band 'evi'; there are ndvi/B0"):
        measure([[1.0]], output="evi")


def test_the_interval_of_a_map_is_that_with_most_values() -> None:
    found = measure([[1, 2, np.nan, 4], [np.nan, 2, 3, 4], [1, 2, np.nan, np.nan]])
    assert find_interval(found, None)[0] == DAYS[1]
    assert find_interval(found, "2024-06-03")[0] == DAYS[2]
    assert find_interval(found, "2024-06-03T23:59:59Z")[0] == DAYS[2]
    with pytest.raises(WrongArgument, match="nearest begins on 2024-06-04"):
        find_interval(found, "2024-07-01")
    with pytest.raises(WrongArgument, match="'june' is no time"):
        find_interval(found, "june")


def test_intervals_as_text() -> None:
    start = DAYS[0]
    assert interval_text(start, DAYS[1]) == "2024-06-01"
    assert interval_text(start, start + pd.Timedelta(days=30)) == "2024-06-01 to 2024-06-30"
    assert interval_text(start, start + pd.Timedelta(hours=6)) == "2024-06-01 00:00 to 06:00 UTC"


def test_values_stand_in_the_middle_of_their_intervals() -> None:
    ax = draw_series(measure([[1, np.nan, 3]]))
    times = matplotlib.dates.date2num(ax.get_lines()[0].get_xdata())
    assert [f"{time:%m-%d %H}" for time in matplotlib.dates.num2date(times)] == ["06-01 12", "06-03 12"]
    assert ax.get_title("left") == "field 1, ± standard deviation"
    assert ax.get_legend() is None
    with pytest.raises(WrongArgument, match="no value of ndvi to draw"):
        draw_series(measure([[np.nan]]))


def test_many_features_are_drawn_as_ranges() -> None:
    values = np.column_stack([np.arange(1, 102), np.arange(1, 102) + 10, np.full(101, np.nan)])
    values[0, 2] = 5  # a single feature says nothing of a hundred
    ax = draw_series(measure(values))
    assert ax.get_lines()[0].get_ydata().tolist() == [51, 61]
    wide, half = (patch.get_paths()[0].vertices[:, 1] for patch in ax.collections)
    assert (wide.min(), wide.max(), half.min(), half.max()) == (6, 106, 26, 86)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["nine tenths of the features", "half of the features", "median"]
    assert ax.get_title("left") == "101 features"


def test_a_map_leaves_holes_open_and_shows_what_is_missing() -> None:
    ring = shapely.box(0, 0, 300, 300).difference(shapely.box(100, 100, 200, 200))
    pair = shapely.MultiPolygon([shapely.box(400, 0, 500, 100), shapely.box(400, 200, 500, 300)])
    shapes = make_shapes(ring, pair, shapely.box(600, 0, 700, 300), None)
    found = measure([[1.0], [2.0], [np.nan], [4.0]])
    ax = draw_map(found, shapes, find_interval(found, None), Colours())
    missing, shown = ax.collections
    assert shown.get_array().tolist() == [1, 2]
    for point, is_filled in (
        ((50, 50), True),
        ((150, 150), False),
        ((450, 50), True),
        ((450, 250), True),
        ((450, 150), False),
    ):
        assert is_coloured(ax, point) is is_filled, point
    assert missing.get_paths()[0].contains_point((650, 150))
    assert missing.get_hatch()
    assert ax.get_aspect() == 1
    assert [text.get_text() for text in ax.texts] == ["100 m"]
    assert ax.get_legend().get_texts()[0].get_text() == "no value"


def test_a_map_in_degrees_is_not_stretched() -> None:
    shapes = make_shapes(shapely.box(15, 60, 15.1, 60.1), crs=4326)
    found = measure([[1.0]])
    ax = draw_map(found, shapes, find_interval(found, None), Colours())
    assert ax.get_aspect() == pytest.approx(2, abs=0.01)
    assert [text.get_text() for text in ax.texts] == ["1 km"]


def test_a_map_of_very_many_features_puts_those_of_a_colour_together() -> None:
    count = 4_000
    boxes = shapely.box(np.arange(count) * 10, 0, np.arange(count) * 10 + 8, 8)
    values = np.where(np.arange(count) % 2, 1.0, 3.0)
    found = measure(values[:, None])
    ax = draw_map(found, make_shapes(*boxes), find_interval(found, None), Colours(vmin=0, vmax=4))
    (shown,) = ax.collections
    assert len(shown.get_paths()) < 10
    assert sum(int((path.codes == path.MOVETO).sum()) for path in shown.get_paths()) == count
    for path, value in zip(shown.get_paths(), shown.get_array(), strict=True):
        feature = int(path.vertices[0, 0] // 10)
        assert value == pytest.approx(values[feature], abs=0.02)


def test_odd_values_do_not_take_all_the_colours() -> None:
    values = np.concatenate([np.linspace(0, 1, 200), [1000]])
    norm, arrows = Colours().norm(values)
    assert norm.vmax < 1.01
    assert arrows == "both"
    norm, arrows = Colours().norm(values[:50])
    assert (norm.vmin, norm.vmax, arrows) == (0, values[49], "neither")
    assert Colours(vmin=-1, vmax=2).norm(values[:50])[0].vmin == -1
    with pytest.raises(WrongArgument, match="no colour map 'rainbw'"):
        Colours("rainbw").norm(values)


def test_rows_of_a_heat_map_are_sorted() -> None:
    values = [[1, 5, 1, np.nan], [9, 9, 1, np.nan], [0, 0, 17, np.nan], [np.nan] * 4]
    for sort, names in (
        ("value", ["field 2", "field 3", "field 1"]),
        ("peak", ["field 2", "field 1", "field 3"]),
        ("id", ["field 1", "field 2", "field 3"]),
    ):
        ax = draw_heatmap(measure(values), sort, Colours())
        assert [text.get_text() for text in ax.get_yticklabels()] == names
        assert ax.images[0].get_array().shape == (3, 3)  # no column for the day without any value
        assert "1 without any value left out" in ax.get_title("left")
    with pytest.raises(WrongArgument, match="sorted by value, peak, id"):
        draw_heatmap(measure(values), "name", Colours())


def test_a_row_of_a_heat_map_of_very_many_features_is_their_mean() -> None:
    values = np.column_stack([np.arange(2_000.0), np.full(2_000, np.nan)])
    values[::2, 1] = 4
    ax = draw_heatmap(measure(values), "id", Colours())
    grid = ax.images[0].get_array()
    assert grid.shape == (1_000, 2)
    assert grid[:2].tolist() == [[0.5, 4], [2.5, 4]]
    assert ax.get_ylabel() == "2,000 features, 2 to a row"
