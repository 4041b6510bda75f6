"""Cuts a batch request into units: neighbouring tiles together while they are small, a large one alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swathe.engine.values import UnitPlan

_MOST_TILES = 500
_UNITS_A_WORKER = 4
# Along each axis, of the box around all tiles.
_STEPS = 2**16 - 1


def plan_tile_units(
    ids: npt.NDArray[np.int64],
    cells: npt.NDArray[np.int64],
    places: npt.NDArray[np.float64],
    *,
    unit_cells: int,
    workers: int,
) -> tuple[UnitPlan, ...]:
    """The units, each with tiles that lie one behind the other on a curve that fills the area.

    Args:
        ids: of the tiles (n).
        cells: numbers of pixels (n).
        places: centres (n, 2) in longitude and latitude.
        unit_cells: what a unit has at most, unless a single tile has more.
        workers: as many that several units each are there for them, where there are so many tiles.
    """
    if not len(ids):
        return ()
    most = max(1, min(unit_cells, int(cells.sum()) // (_UNITS_A_WORKER * workers)))
    order = np.argsort(_along_curve(places), kind="stable")
    units: list[UnitPlan] = []
    begin = held = 0
    for position, number in enumerate(order.tolist()):
        size = int(cells[number])
        if position > begin and (held + size > most or position - begin >= _MOST_TILES):
            units.append(UnitPlan(len(units), ids[order[begin:position]], held))
            begin, held = position, 0
        held += size
    units.append(UnitPlan(len(units), ids[order[begin:]], held))
    return tuple(units)


def _along_curve(places: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Numbers along a Z-shaped curve (Morton 1966)."""
    low, high = places.min(axis=0), places.max(axis=0)
    steps = ((places - low) / np.maximum(high - low, 1e-12) * _STEPS).astype(np.uint64)
    return _spread(steps[:, 0]) | (_spread(steps[:, 1]) << np.uint64(1))


def _spread(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The bits of numbers below 2^16, with a zero behind each."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        values = (values | (values << np.uint64(shift))) & np.uint64(mask)
    return values
