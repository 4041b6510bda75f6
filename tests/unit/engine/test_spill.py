"""Samples of a large feature in a temporary file: read as they were written, in the order of the pieces."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from swathe.engine import spill
from swathe.engine.spill import Spill, SpillFailed

STARTS = np.array([0, 3, 7, 7, 12], np.int64)


def read(kept: Spill, name: str) -> tuple[list[float], list[float] | None]:
    parts = list(kept.read(name))
    values = [value for some, _ in parts for value in some.tolist()]
    return values, None if parts[0][1] is None else [w for _, weights in parts for w in weights.tolist()]  # type: ignore[union-attr]


@pytest.mark.parametrize("at_once", [1, 4, 1_000])
def test_samples_come_back_in_the_order_of_the_pieces(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_READ_AT_ONCE", at_once)
    with Spill(STARTS) as kept:
        assert kept.count("a") == 0
        # of the last piece 4 of 5 samples are valid, of the first 1, of the second none
        kept.write("a", 2, np.array([5, 6, 7, 8], np.uint16), None, np.array([0, 4]))
        weights = np.array([0.1, 0.2, 0.3])
        kept.write("b", 0, np.array([1.5, 2.5, 3.5], np.float32), weights, np.array([1, 3]))
        kept.write("a", 0, np.array([9], np.uint16), None, np.array([1, 1]))
        kept.write("b", 2, np.zeros(0, np.float32), np.zeros(0), np.array([0, 0]))
        assert read(kept, "a") == ([9, 5, 6, 7, 8], None)
        assert read(kept, "b") == ([1.5, 2.5, 3.5], [0.1, 0.2, 0.3])
        assert (kept.count("a"), kept.count("b")) == (5, 3)
        assert next(kept.read("a"))[0].dtype == np.uint16
        kept.clear()
        assert kept.count("a") == 0
        kept.write("a", 1, np.array([4], np.uint8), None, np.array([1]))
        assert read(kept, "a") == ([4], None)


def test_the_file_has_no_name_and_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    with Spill(STARTS) as kept:
        assert len(os.listdir("/proc/self/fd")) == before  # made when it is needed
        kept.write("a", 0, np.array([9], np.uint16), None, np.array([1]))
        assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with Spill(STARTS) as kept, pytest.raises(SpillFailed, match=r"kept in .*nowhere: No such file.* TMPDIR") as found:
        kept.write("a", 0, np.array([9], np.uint16), None, np.array([1]))
    assert found.value.retryable


def test_a_full_disk_is_said() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with Spill(STARTS) as kept, open("/dev/full", "wb", buffering=0) as full:
        kept._file = full.fileno()
        with pytest.raises(SpillFailed, match="No space left on device; make room there"):
            kept.write("a", 0, np.array([9], np.uint16), None, np.array([1]))
