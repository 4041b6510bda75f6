"""Files that tables are written into piece by piece. All pieces of a layer have the same columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swathe.client.exceptions import ClientError
from swathe.client.extras import load
from swathe.client.frame import is_percentile

_PURPOSE = "a Parquet file"
_TEXTS = ("identifier", "output", "band", "error")
_TIMES = ("interval_from", "interval_to")
_COUNTS = ("sampleCount", "noDataCount")
_BATCH = 20_000


class CsvFile:
    """CSV in UTF-8 with a header; times are ISO 8601 with `Z`, what is missing is empty."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._begun = False

    def add(self, layer: str, frame: Any, geometry: Any) -> None:
        """Appends rows; polygons have no place here."""
        written = frame.assign(
            **{name: frame[name].dt.strftime("%Y-%m-%dT%H:%M:%SZ") for name in _TIMES if name in frame.columns}
        )
        written.to_csv(self._file, header=not self._begun, index=False, lineterminator="\n")
        self._begun = True

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


class ParquetFile:
    """Parquet, or GeoParquet with the polygons in a column `geometry`."""

    def __init__(self, path: Path) -> None:
        load("pyarrow.parquet", _PURPOSE)
        self._path = path
        self._writer: Any = None

    def add(self, layer: str, frame: Any, geometry: Any) -> None:
        """Appends rows."""
        arrow, parquet = load("pyarrow", _PURPOSE), load("pyarrow.parquet", _PURPOSE)
        fields = [(name, self._kind(arrow, name)) for name in frame.columns]
        table = arrow.Table.from_pandas(frame, schema=arrow.schema(fields), preserve_index=False)
        if geometry is not None:
            wkb = arrow.array(geometry.to_wkb().to_numpy("object"), arrow.binary())
            table = table.append_column("geometry", wkb)
        if self._writer is None:
            told = {} if geometry is None else {b"geo": json.dumps(_geo(geometry.crs)).encode()}
            self._writer = parquet.ParquetWriter(
                self._path, table.schema.with_metadata(told), compression="zstd", use_dictionary=[*_TEXTS, *_TIMES]
            )
        self._writer.write_table(table.replace_schema_metadata(self._writer.schema.metadata))

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.close()

    @staticmethod
    def _kind(arrow: Any, name: str) -> Any:
        if name == "feature_id":
            return arrow.int64()
        if name in _TIMES:
            return arrow.timestamp("us", "UTC")
        if name in _TEXTS:
            return arrow.string()
        if name in _COUNTS:
            return arrow.int64()
        if name == "histogram":
            one = arrow.struct(
                [("lowEdge", arrow.float64()), ("highEdge", arrow.float64()), ("count", arrow.float64())]
            )
            counts = [("overflowCount", arrow.float64()), ("underflowCount", arrow.float64())]
            return arrow.struct([("bins", arrow.list_(one)), *counts])
        return arrow.float64()


class GeoPackageFile:
    """A GeoPackage: layers with polygons, and tables without."""

    def __init__(self, path: Path) -> None:
        load("geopandas", "a GeoPackage")
        self._path = path
        self._begun: set[str] = set()

    def add(self, layer: str, frame: Any, geometry: Any) -> None:
        """Appends rows to a layer; without polygons to a table."""
        geopandas, pyogrio = load("geopandas", "a GeoPackage"), load("pyogrio", "a GeoPackage")
        frame = frame.rename(columns={name: _plain(name) for name in frame.columns})
        for begin in range(0, len(frame), _BATCH):
            rows = frame.iloc[begin : begin + _BATCH].reset_index(drop=True)
            more: dict[str, Any] = {"geometry_type": None}
            if geometry is not None:
                polygons = geometry.iloc[begin : begin + _BATCH].reset_index(drop=True)
                rows = geopandas.GeoDataFrame(rows, geometry=polygons.values, crs=geometry.crs)
                more = {"promote_to_multi": True, "geometry_type": "MultiPolygon"}
            try:
                pyogrio.write_dataframe(
                    rows, self._path, driver="GPKG", layer=layer, append=layer in self._begun, **more
                )
            except pyogrio.errors.DataSourceError as error:
                raise ClientError(f"the GeoPackage cannot be written: {error}") from error
            self._begun.add(layer)

    def close(self) -> None:
        """Nothing is left open between two pieces."""


def _plain(name: str) -> str:
    """A name without the dot that percentiles have, which SQL would take for a table's: `p50.0` is `p50`."""
    for word in name.split("_"):
        if is_percentile(word):
            return name.replace(word, f"{float(word[1:]):g}".replace(".", "_").join(("p", "")))
    return name


def _geo(crs: Any) -> dict[str, Any]:
    """What makes a Parquet file GeoParquet 1.1."""
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"]}
    column["crs"] = None if crs is None else crs.to_json_dict()
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
