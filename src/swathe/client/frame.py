"""Documents of statistics as one tidy table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from swathe.client.extras import load
from swathe.client.types import JsonDict

_KEYS = ("feature_id", "identifier", "interval_from", "interval_to", "output", "band")
_NUMBERS = ("min", "max", "mean", "stDev")
_COUNTS = ("sampleCount", "noDataCount")


def to_dataframe(documents: Iterable[JsonDict]) -> Any:
    """A pandas frame with a row for every feature, interval, output and band.

    Columns: `feature_id`, `identifier`, `interval_from`, `interval_to` (UTC timestamps), `output`, `band`, `min`,
    `max`, `mean`, `stDev`, `sampleCount`, `noDataCount`, `p<percent>` such as `p50.0` for each percentile that occurs,
    `histogram` (the bins as the document has them) if any band has one, further statistics if there are any, and
    `error`.

    Nothing vanishes: a feature or an interval that failed has a row with the reason in `error`, and a feature without
    any interval has a row of its own, all of them without statistics. The text `"NaN"` of the wire becomes NaN. Rows
    are sorted by feature.

    Args:
        documents: of a batch job, or answers of the Statistical API, which have no `feature_id`.

    Raises:
        ImportError: pandas is not installed.
    """
    pd = load("pandas", "a table")
    columns: dict[str, list[Any]] = {name: [] for name in (*_KEYS, *_NUMBERS, *_COUNTS, "error")}
    count = 0
    for document in documents:
        for row in _document_rows(document):
            for name in row:
                if name not in columns:
                    columns[name] = [None] * count
            count += 1
            for name, values in columns.items():
                values.append(row.get(name))
    order = column_order(columns)
    frame = pd.DataFrame({name: _typed_column(pd, name, columns[name]) for name in order}, columns=order)
    ids = columns["feature_id"]
    if all(isinstance(one, int) for one in ids):
        frame["feature_id"] = frame["feature_id"].astype("int64")
        frame = frame.sort_values("feature_id", kind="stable", ignore_index=True)
    return frame


def _document_rows(document: JsonDict) -> Iterator[JsonDict]:
    feature: JsonDict = {"feature_id": document.get("id"), "identifier": document.get("identifier")}
    response = document if "response" not in document and "data" in document else document.get("response") or {}
    failure = document.get("error") or response.get("error")
    intervals = response.get("data") or []
    if failure or not intervals:
        status = response.get("status")
        yield {**feature, "error": _error_text(failure) if failure else status if status == "FAILED" else None}
    for entry in intervals:
        interval = entry.get("interval") or {}
        row = {**feature, "interval_from": interval.get("from"), "interval_to": interval.get("to")}
        bands = [
            {**row, "output": output, "band": band, **_band_values(values)}
            for output, parts in (entry.get("outputs") or {}).items()
            for band, values in parts["bands"].items()
        ]
        if entry.get("error") or not bands:
            yield {**row, "error": _error_text(entry["error"]) if entry.get("error") else None}
        yield from bands


def _band_values(values: JsonDict) -> JsonDict:
    row: JsonDict = {}
    for name, value in values["stats"].items():
        if name == "percentiles":
            row.update({f"p{percent}": _number(number) for percent, number in value.items()})
        else:
            row[name] = _number(value)
    if values.get("histogram") is not None:
        row["histogram"] = _numbers(values["histogram"])
    return row


def _number(value: Any) -> Any:
    return math.nan if value == "NaN" else value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return _number(value)


def _error_text(error: Any) -> str:
    """`TYPE: message` of an error object, a text as it is."""
    if isinstance(error, dict):
        parts = [str(error[name]) for name in ("type", "code", "message", "reason") if error.get(name)]
        return ": ".join(parts) if parts else json.dumps(error)
    return str(error)


def column_order(columns: Iterable[str]) -> list[str]:
    """The columns of a tidy frame in their order: keys, statistics, percentiles as numbers, the rest, `error`."""
    known = (*_KEYS, *_NUMBERS, *_COUNTS)
    others = [name for name in columns if name not in (*known, "histogram", "error")]
    percentiles = sorted(
        (name for name in others if _percent(name) is not None), key=lambda name: _percent(name) or 0.0
    )
    rest = [name for name in others if name not in percentiles]
    return [*known, *percentiles, *rest, *(["histogram"] if "histogram" in columns else []), "error"]


def is_percentile(name: str) -> bool:
    """Whether a column holds a percentile, as `p50.0` does."""
    return _percent(name) is not None


def _percent(name: str) -> float | None:
    try:
        return float(name[1:]) if name.startswith("p") else None
    except ValueError:
        return None


def _typed_column(pd: Any, name: str, values: list[Any]) -> Any:
    if name in ("interval_from", "interval_to"):
        return pd.to_datetime(pd.Series(values, dtype="object"), utc=True, format="ISO8601")
    if name in _COUNTS:
        return pd.array(values, dtype="Int64")
    if name in (*_NUMBERS, "weightSum") or _percent(name) is not None:
        return pd.array([math.nan if value is None else float(value) for value in values], dtype="float64")
    if name in (*_KEYS, "error") and any(isinstance(one, str) for one in values):
        return pd.Series(values)  # pandas' own type of texts
    return pd.Series(values, dtype="object")
