"""Results as an xarray Dataset, feature by time by band.

| | over | |
|---|---|---|
| `feature` | `feature` | int64, the ids in ascending order; an index |
| `identifier` | `feature` | text, empty where there is none |
| `geometry` | `feature` | shapely polygons, an empty one where there is none; an index, `attrs["crs"]` its CRS as text |
| `time` | `time` | datetime64 in UTC, where the interval begins; an index |
| `interval_end` | `time` | datetime64 in UTC |
| `band` | `band` | text, `B0`; `output:B0` where the script has several outputs; an index |
| `percentile` | `percentile` | float64, where percentiles were asked for; an index |
| `mean`, `stDev`, … | `feature`, `time`, `band` | float64, NaN where there is no value |
| `percentiles` | `feature`, `time`, `band`, `percentile` | float64 |

`dataset.xvec.set_geom_indexes("geometry", crs=dataset["geometry"].attrs["crs"])` makes the polygons an index of xvec. Its
queries want them as the dimension: `to_xarray(dimension="geometry")` has `geometry` in place of `feature` as that.
"""

from __future__ import annotations

from typing import Any

from swathe.client.exceptions import WrongArgument
from swathe.client.extras import load
from swathe.client.frame import is_percentile
from swathe.client.selection import KEYS
from swathe.client.shapes import Shapes

_PURPOSE = "a Dataset"


def to_cube(frame: Any, shapes: Shapes | None, dimension: str = "feature") -> Any:
    """The Dataset of a tidy frame, with the polygons if there are any; `dimension` is `feature` or `geometry`.

    Features without any value are there, too.

    Raises:
        WrongArgument: the features' ids are not whole numbers.
    """
    numpy, pandas, xarray = (load(name, _PURPOSE) for name in ("numpy", "pandas", "xarray"))
    if frame["feature_id"].dtype.kind != "i":
        raise WrongArgument("results without ids of features are no Dataset; use to_dataframe()")
    ids, first = numpy.unique(frame["feature_id"].to_numpy(), return_index=True)
    rows = frame[frame["output"].notna()]
    outputs = rows["output"].unique()
    names = rows["band"] if len(outputs) < 2 else rows["output"] + ":" + rows["band"]
    band_places, bands = pandas.factorize(names, sort=False)
    time_places, starts = pandas.factorize(rows["interval_from"], sort=True)
    ends = rows["interval_to"].groupby(time_places).first()
    shape = (len(ids), len(starts), len(bands))
    place = (numpy.searchsorted(ids, rows["feature_id"].to_numpy()), time_places, band_places)

    def filled(column: str) -> Any:
        values = numpy.full(shape, numpy.nan)
        values[place] = rows[column].astype("Float64").to_numpy("float64", na_value=numpy.nan)
        return values

    dims = ("feature", "time", "band")
    columns = [name for name in frame.columns if name not in KEYS]
    percents = [name for name in columns if is_percentile(name)]
    variables: dict[str, Any] = {name: (dims, filled(name)) for name in columns if name not in percents}
    coordinates: dict[str, Any] = {
        "feature": ids,
        "identifier": ("feature", frame["identifier"].iloc[first].fillna("").astype(str).to_numpy(dtype="object")),
        "time": _naive(starts),
        "interval_end": ("time", _naive(pandas.DatetimeIndex(ends))),
        "band": numpy.asarray(bands, dtype="object"),
    }
    if percents:
        variables["percentiles"] = ((*dims, "percentile"), numpy.stack([filled(name) for name in percents], axis=-1))
        coordinates["percentile"] = [float(name[1:]) for name in percents]
    dataset = xarray.Dataset(variables, coordinates)
    return dataset if shapes is None else _with_polygons(dataset, ids, shapes, dimension)


def _with_polygons(dataset: Any, ids: Any, shapes: Shapes, dimension: str) -> Any:
    numpy, shapely = load("numpy", _PURPOSE), load("shapely", _PURPOSE)
    geometry = numpy.asarray(shapes.at(ids).values, dtype="object")
    # An index of polygons has no place for nothing.
    geometry[shapely.is_missing(geometry)] = shapely.Polygon()
    crs = shapes.geometry.crs
    attributes = {} if crs is None else {"crs": crs.to_string() if crs.to_authority() else crs.to_wkt()}
    variable = load("xarray", _PURPOSE).Variable("feature", geometry, attributes)
    located = dataset.assign_coords(geometry=variable)
    if dimension == "geometry":
        return located.swap_dims(feature="geometry").set_xindex("feature")
    return located.set_xindex("geometry")


def _naive(times: Any) -> Any:
    """Times in UTC without saying so, as xarray has them."""
    return times.tz_convert("UTC").tz_localize(None).to_numpy(dtype="datetime64[ns]")
