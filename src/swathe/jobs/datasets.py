"""The polygons of a job as a GeoParquet file, beside the data set of their statistics.

| column | type | |
|---|---|---|
| `id`, `identifier` | int64, string | the feature, as in the statistics |
| `part` | string | the file of `statistics/` that has the feature's rows |
| `geometry` | binary | WKB in two dimensions; null where the GeoPackage has no polygon |
| `bbox` | struct of float64 | `xmin`, `ymin`, `xmax`, `ymax` |

GeoParquet 1.1, in the CRS of the GeoPackage, rows in the order of their ids, so a feature is found in one group of rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from swathe.jobs.delivery import GEOMETRY, part_name
from swathe.jobs.home import FEATURES_FILE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from swathe.features.geopackage import FeatureBatch, FeatureFile
    from swathe.jobs.delivery import Delivery

_GROUP_ROWS = 5_000
_KINDS = {3: "Polygon", 6: "MultiPolygon"}


def deliver_geometry(
    folder: Path, delivery: Delivery, units: Iterable[tuple[int, bytes, str]], *, most_features: int
) -> None:
    """Puts `geometry.parquet` into the output folder; `units` are (index, feature ids, state).

    Raises:
        StorageError: the output place does not take it.
        FeaturesInvalid: the GeoPackage in the folder cannot be read.
    """
    import numpy as np

    from swathe.features.geopackage import open_features

    made = folder / GEOMETRY
    features = open_features(folder / FEATURES_FILE, max_features=most_features)
    parts = [(index, np.frombuffer(ids, "<i8")) for index, ids, state in units if state == "DONE"]
    with made.open("wb") as file:
        write_geometry(file, features, parts)
    delivery.upload(GEOMETRY, made)
    made.unlink()


def write_geometry(
    file: BinaryIO,
    features: FeatureFile,
    units: Sequence[tuple[int, npt.NDArray[np.int64]]],
    kept: FeatureBatch | None = None,
) -> None:
    """Writes all features of a GeoPackage; `units` are (index, feature ids). Memory is that of one batch.

    `kept` has all features, where they are in memory already.

    Raises:
        FeaturesInvalid: the GeoPackage is damaged.
    """
    from pyarrow import parquet

    from swathe.features.geopackage import read_features

    seen = _Seen()
    part_of = _Parts(units)
    with parquet.ParquetWriter(
        file,
        _schema(),
        compression="zstd",
        compression_level=1,
        use_dictionary=["part"],
        write_statistics=["id", "identifier", "bbox.xmin", "bbox.ymin", "bbox.xmax", "bbox.ymax"],
    ) as writer:
        for batch in read_features(features) if kept is None else [kept]:
            writer.write_table(_table(batch, part_of, seen), row_group_size=_GROUP_ROWS)
        writer.add_key_value_metadata({"geo": json.dumps(seen.metadata(features.epsg))})


class _Parts:
    """Which part of the data set has a feature's rows."""

    def __init__(self, units: Sequence[tuple[int, npt.NDArray[np.int64]]]) -> None:
        import numpy as np

        ids = np.concatenate([ids for _, ids in units]) if units else np.empty(0, np.int64)
        index = np.repeat([index for index, _ in units], [len(ids) for _, ids in units])
        order = np.argsort(ids, kind="stable")
        self._ids, self._index = ids[order], index[order]

    def of(self, ids: npt.NDArray[np.int64]) -> pa.Array:
        """The names of the parts of some features; null for one that is in none."""
        import numpy as np
        import pyarrow as pa

        at = np.searchsorted(self._ids, ids)
        at[at == len(self._ids)] = 0
        known = self._ids[at] == ids if len(self._ids) else np.zeros(len(ids), np.bool_)
        which, place = np.unique(self._index[at[known]], return_inverse=True)
        places = np.zeros(len(ids), np.int32)
        places[known] = place
        names = _texts([part_name(int(index)).encode() for index in which], pa.string())
        return pa.DictionaryArray.from_arrays(_numbers(places, pa.int32(), known), names).cast(pa.string())


class _Seen:
    """What the file's metadata says of all geometries."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.boxes: list[npt.NDArray[np.float64]] = []

    def add(self, kinds: npt.NDArray[np.int32], bounds: npt.NDArray[np.float64]) -> None:
        """Takes in the types of some geometries and the boxes (n, 4) of those that are not empty."""
        import numpy as np

        self.kinds.update(_KINDS[kind] for kind in np.unique(kinds).tolist())
        if len(bounds):
            self.boxes.append(np.concatenate([bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)]))

    def metadata(self, epsg: int) -> dict[str, Any]:
        import numpy as np
        from pyproj import CRS

        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": sorted(self.kinds),
            "crs": CRS.from_epsg(epsg).to_json_dict(),
            "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
        }
        if self.boxes:
            boxes = np.array(self.boxes)
            column["bbox"] = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _schema() -> pa.Schema:
    import pyarrow as pa

    sides = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
    return pa.schema(
        [
            ("id", pa.int64()),
            ("identifier", pa.string()),
            ("part", pa.string()),
            ("geometry", pa.binary()),
            ("bbox", sides),
        ]
    )


def _table(batch: FeatureBatch, part_of: _Parts, seen: _Seen) -> pa.Table:
    import numpy as np
    import pyarrow as pa
    import shapely

    from swathe.features.polygons import checked_polygons

    # as they were drawn, crossing themselves or not
    if batch.polygons is None:
        polygons = checked_polygons(batch.wkb)
    else:
        polygons = batch.polygons.copy()
        left = np.flatnonzero(shapely.is_missing(polygons))
        polygons[left] = checked_polygons([batch.wkb[at] for at in left.tolist()])
    polygons[~np.isin(shapely.get_type_id(polygons), list(_KINDS))] = None
    there = ~shapely.is_missing(polygons)
    filled = there & ~shapely.is_empty(polygons)
    bounds = shapely.bounds(polygons)
    seen.add(shapely.get_type_id(polygons[there]), bounds[filled])
    schema = _schema()
    bodies = np.full(len(polygons), None, np.object_)
    bodies[there] = shapely.to_wkb(polygons[there])
    sides = [_numbers(np.nan_to_num(bounds[:, side]), pa.float64(), filled) for side in range(4)]
    hidden = pa.Array.from_buffers(pa.bool_(), len(filled), [None, _bits(~filled)])
    columns = [
        _numbers(batch.ids, pa.int64()),
        _texts([None if name is None else name.encode() for name in batch.identifiers], pa.string()),
        part_of.of(batch.ids),
        _texts(bodies.tolist(), pa.binary()),
        pa.StructArray.from_arrays(sides, fields=list(schema.field("bbox").type), mask=hidden),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


# Made from buffers, since `pyarrow.array` imports pandas to look for its types.


def _numbers(values: npt.NDArray[Any], kind: pa.DataType, there: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    content = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None if there is None else _bits(there), content])


def _texts(values: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    there = np.fromiter((value is not None for value in values), np.bool_, len(values))
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter((len(value or b"") for value in values), np.int32, len(values)), out=ends[1:])
    content = b"".join(value for value in values if value is not None)
    return pa.Array.from_buffers(kind, len(values), [_bits(there), pa.py_buffer(ends), pa.py_buffer(content)])


def _bits(flags: npt.NDArray[np.bool_]) -> pa.Buffer:
    import numpy as np
    import pyarrow as pa

    return pa.py_buffer(np.packbits(flags, bitorder="little"))
