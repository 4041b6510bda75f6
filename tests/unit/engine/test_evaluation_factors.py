"""What takes an array to the unit that a script asks for, and which arrays can be used."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from swathe.engine.arrays import SceneArrays, Source, SourceArrays, definition_of, to_utc
from swathe.model.errors import RequestInvalid


def factors(units: Any, unit: str | None, **how: Any) -> tuple[float, float]:
    definition, wanted = definition_of(SourceArrays("s", [], units=units, **how), "B04", unit)
    return definition.factors(wanted)


@pytest.mark.parametrize(
    ("units", "unit", "expected"),
    [
        (None, None, (1, 0)),
        (None, "KELVIN", (1, 0)),
        ({"DN": 10_000}, None, (1, 0)),
        ({"dn": 10_000}, "DN", (10_000, 0)),
        ({"DN": (10_000, 1_000)}, "DN", (10_000, 1_000)),
        ({"B04": {"DN": 5}, "DN": 7}, "DN", (5, 0)),
        ({"B08": {"DN": 5}, "DN": 7}, "DN", (7, 0)),
        ({"B04": "KELVIN"}, "KELVIN", (1, 0)),
        ("DN", "REFLECTANCE", (0.0001, 0)),
        ("reflectance", "DN", (10_000, 0)),
    ],
)
def test_factors(units: Any, unit: str | None, expected: tuple[float, float]) -> None:
    assert factors(units, unit) == expected


def test_a_unit_without_a_way_there() -> None:
    with pytest.raises(RequestInvalid, match="in KELVIN, and source 's' has it in DN"):
        factors("DN", "KELVIN")
    with pytest.raises(RequestInvalid, match="in DN, and source 's' has it in REFLECTANCE"):
        factors("REFLECTANCE", "DN", normalization_factor=None)


def test_times() -> None:
    expected = datetime(2020, 6, 1, 10, tzinfo=UTC)
    for given in (
        "2020-06-01T10:00:00Z",
        "2020-06-01 10:00",
        datetime(2020, 6, 1, 10),
        datetime(2020, 6, 1, 12, tzinfo=timezone(timedelta(hours=2))),
        np.datetime64("2020-06-01T10:00"),
    ):
        assert to_utc(given, "t") == expected  # type: ignore[arg-type]
    assert to_utc(date(2020, 6, 1), "t") == datetime(2020, 6, 1, tzinfo=UTC)
    with pytest.raises(RequestInvalid, match="7 is no time"):
        to_utc(7, "t")  # type: ignore[arg-type]


def array(values: Any) -> np.ndarray:
    return Source(0, SourceArrays("s", [SceneArrays("2020-06-01", {"a": values})]), "mostRecent").array(0, "a")


def test_arrays_become_what_a_script_can_read() -> None:
    masked = np.ma.masked_array(np.array([[1, 2]], np.int16), [[False, True]])
    np.testing.assert_array_equal(array(masked), [[1.0, np.nan]])
    assert array([[1, 2]]).dtype == np.float64
    assert array(np.ones((1, 1), ">i2")).dtype == np.dtype("int16")
    assert array(lambda: np.ones((1, 1), np.uint8)).dtype == np.uint8
    for wrong, message in ((np.ones(3), r"shape \(3,\)"), (np.array([["x"]]), "is no number"), (1.0, "shape")):
        with pytest.raises(RequestInvalid, match=message):
            array(wrong)
