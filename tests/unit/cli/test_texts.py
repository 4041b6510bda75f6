from __future__ import annotations

import pytest

from swathe.cli.texts import bytes_text, plan_lines, seconds_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (86399, "1 d 0 h"),
        (273600, "3 d 4 h"),
    ],
)
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_600, "1.0 MB"), (123e9, "123 GB"), (2.5e15, "2.5 PB")],
)
def test_bytes(count, text):
    assert bytes_text(count) == text


def test_a_plan_leaves_out_what_is_not_known():
    assert plan_lines({"features": 20000.0, "units": 8.0}) == [("features", "20,000"), ("units", "8")]
    whole = plan_lines({"blocks": 1234.0, "bytesToRead": 2.5e9, "estimatedSeconds": 90.0, "estimatedPU": 0.5})
    assert whole == [
        ("blocks to read", "about 1,234, 2.5 GB in files"),
        ("time", "about 1 min 30 s"),
        ("processing units", "at most 0.50"),
    ]
