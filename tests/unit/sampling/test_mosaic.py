"""Scenes laid over one another: the first with data wins, and no more is read than is needed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from swathe.sampling.mosaic import Mosaic, SceneBand, mosaic

NAN = float("nan")


def band(
    values: list[float], data: str, dtype: str = "uint16", scale: float = 1.0, offset: float = 0.0, masks: bool = True
) -> SceneBand:
    has_data = np.array([int(c) for c in data], np.uint8)
    return SceneBand(np.array(values, dtype), has_data, scale, offset, masks)


class Scenes:
    """Scenes by number; remembers what was fetched, and with which cells wanted."""

    def __init__(self, *scenes: Mapping[str, SceneBand]) -> None:
        self.scenes = scenes
        self.fetched: list[tuple[int, str]] = []

    def fetch(self, number: int, wanted: np.ndarray | None) -> Mapping[str, SceneBand]:
        self.fetched.append((number, "all" if wanted is None else "".join(map(str, wanted))))
        return self.scenes[number]

    def lay(self, order: list[int], cells: int = 4, *, fill_nan: bool = False) -> Mosaic:
        names = list(self.scenes[0]) if self.scenes else ["a"]
        return mosaic(order, self.fetch, names, cells, fill_nan=fill_nan)


def shown(found: Mosaic, name: str = "a") -> list[float]:
    """What a script sees."""
    values, scale, offset = found.bands[name]
    return (values.astype(float) * scale + offset).tolist()


def test_the_first_scene_with_data_wins() -> None:
    scenes = Scenes(
        {"a": band([1, 1, 1, 1], "1000")}, {"a": band([2, 2, 2, 2], "1100")}, {"a": band([3, 3, 3, 3], "1110")}
    )
    found = scenes.lay([0, 1, 2])
    assert shown(found) == [1, 2, 3, 0]
    assert found.data_mask.tolist() == [1, 1, 1, 0]
    scenes = Scenes(*scenes.scenes)
    assert shown(Scenes({"a": band([1, 1], "10")}, {"a": band([2, 2], "11")}).lay([1, 0], 2)) == [2, 2]


def test_reading_stops_when_no_cell_is_empty() -> None:
    scenes = Scenes(*({"a": band([n, n, n, n], data)} for n, data in enumerate(["1100", "0010", "0001", "1111"], 1)))
    assert shown(scenes.lay([0, 1, 2, 3])) == [1, 1, 2, 3]
    assert scenes.fetched == [(0, "all"), (1, "0011"), (2, "0001")]


def test_one_full_scene_is_read_alone() -> None:
    scenes = Scenes({"a": band([5, 6, 7, 8], "1111")}, {"a": band([0, 0, 0, 0], "1111")})
    assert shown(scenes.lay([0, 1])) == [5, 6, 7, 8]
    assert scenes.fetched == [(0, "all")]


def test_a_scene_has_data_where_every_masking_band_has() -> None:
    top = {"a": band([1, 1, 1, 1], "1100"), "b": band([10, 10, 10, 10], "1010")}
    below = {"a": band([2, 2, 2, 2], "1111"), "b": band([20, 20, 20, 20], "0111")}
    found = Scenes(top, below).lay([0, 1])
    assert (shown(found, "a"), shown(found, "b")) == ([1, 2, 2, 2], [10, 20, 20, 20])
    assert found.data_mask.tolist() == [1, 1, 1, 1]


def test_bands_that_do_not_mask_are_taken_with_the_others() -> None:
    top = {"a": band([1, 1, 1, 1], "1100"), "scl": band([4, 0, 4, 4], "1011", "uint8", masks=False)}
    below = {"a": band([2, 2, 2, 2], "0110"), "scl": band([9, 9, 9, 9], "1111", "uint8", masks=False)}
    found = Scenes(top, below).lay([0, 1])
    assert found.data_mask.tolist() == [1, 1, 1, 0]
    assert (shown(found, "a"), shown(found, "scl")) == ([1, 1, 2, 0], [4, 0, 9, 0])


def test_bands_that_do_not_mask_mask_where_there_are_no_others() -> None:
    found = Scenes({"scl": band([4, 5, 6, 7], "0111", masks=False)}).lay([0])
    assert found.data_mask.tolist() == [0, 1, 1, 1]


def test_scenes_of_one_meaning_stay_as_they_are_stored() -> None:
    scenes = Scenes(
        {"a": band([100, 0], "10", scale=0.5, offset=-1)}, {"a": band([0, 300], "01", scale=0.5, offset=-1)}
    )
    values, scale, offset = scenes.lay([0, 1], 2).bands["a"]
    assert (values.dtype.name, values.tolist(), scale, offset) == ("uint16", [100, 300], 0.5, -1)


@pytest.mark.parametrize(
    "below",
    [
        band([0, 300], "01", scale=0.1, offset=-7.0),
        band([0, 230], "01", scale=0.1),
        band([0, 23.0], "01", "float32"),
        band([0, 46], "01", "uint8", scale=0.5),
    ],
)
def test_scenes_of_different_meaning_meet_as_what_they_mean(below: SceneBand) -> None:
    found = Scenes({"a": band([100, 0], "10", scale=0.5, offset=-1.0)}, {"a": below}).lay([0, 1], 2)
    assert shown(found) == [49.0, 23.0]


def test_cells_without_data_show_zero_whatever_scale_and_offset() -> None:
    stored = {"a": band([1_000, 65_535], "10", scale=0.0001, offset=-0.1)}
    assert shown(Scenes(stored).lay([0], 2)) == pytest.approx([0.0, 0.0])
    plain = {"a": band([1_000, 65_535], "10", scale=0.0001)}
    found = Scenes(plain).lay([0], 2)
    assert shown(found) == [0.1, 0.0]
    assert found.bands["a"][0].dtype == np.uint16


def test_cells_without_data_show_nan_where_the_collection_says_so() -> None:
    scenes = Scenes({"a": band([7, 0, 3, 0], "1010", "int16")}, {"a": band([0, 8, 0, 0], "0100", "int16", scale=2.0)})
    np.testing.assert_equal(shown(scenes.lay([0, 1], fill_nan=True)), [7, 16, 3, NAN])


def test_no_data_that_is_nan_shows_zero() -> None:
    found = Scenes({"a": band([1.5, NAN], "10", "float32")}).lay([0], 2)
    assert shown(found) == [1.5, 0.0]


def test_without_scenes_nothing_has_data() -> None:
    found = Scenes().lay([], 3)
    assert (found.data_mask.tolist(), shown(found)) == ([0, 0, 0], [0, 0, 0])
    np.testing.assert_equal(shown(Scenes().lay([], 3, fill_nan=True)), [NAN] * 3)


def test_no_cells_need_no_scene() -> None:
    scenes = Scenes({"a": band([], "")}, {"a": band([], "")})
    assert scenes.lay([0, 1], 0).data_mask.tolist() == []
    assert scenes.fetched == []


def test_a_scene_gives_values_only_to_the_cells_it_lies_over() -> None:
    scenes = Scenes({"a": band([1, 1, 1, 1], "1111")}, {"a": band([2, 2, 2, 2], "1111")}, {"a": band([3] * 4, "1111")})
    over = {
        0: np.array([0, 1, 0, 0], np.uint8),
        1: np.array([0, 1, 1, 0], np.uint8),
        2: np.array([0, 1, 1, 0], np.uint8),
    }
    found = mosaic([0, 1, 2], scenes.fetch, ["a"], 4, fill_nan=False, over=over.__getitem__)
    assert (shown(found), found.data_mask.tolist()) == ([0, 1, 2, 0], [0, 1, 1, 0])
    assert scenes.fetched == [(0, "0100"), (1, "0010")]
