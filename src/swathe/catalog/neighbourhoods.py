"""Where to look for scenes: a few boxes around many features, in place of one around all of them or one around each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bbox = tuple[float, float, float, float]
Boxes = npt.NDArray[np.float64]

# A cut has to save this share of the area that is searched, else one more search is not worth it.
_LEAST_SAVED = 0.1
_MARGIN_CELLS = 4


def neighbourhoods(boxes: Boxes, most: int, cell: float) -> list[Bbox]:
    """At most `most` boxes that together hold all of `boxes` (n, 4; west, south, east, north in any units).

    Those that begin in the same square of side `cell`, which should be far smaller than a scene, are taken as one.
    Begins with one box around all and cuts, each time where the most area is saved, so that islands and a country's empty
    corners are not searched. Boxes that are not finite are left aside. The same boxes in any order give the same answer.
    """
    finite = boxes[np.isfinite(boxes).all(axis=1)]
    if not len(finite):
        return []
    parts = [_Part(_squares(finite, cell), cell)]
    while len(parts) < most:
        best = max(parts, key=lambda part: part.saved)
        if best.saved <= 0 or best.saved < _LEAST_SAVED * sum(part.area for part in parts):
            break
        parts.remove(best)
        parts += best.cut()
    return [_tuple(part.cells) for part in parts]


class _Part:
    """Boxes (n, 4) that are searched together, and the cut that saves the most area."""

    def __init__(self, cells: Boxes, cell: float) -> None:
        self.cells = cells
        self._cell = cell
        low, high = _ends(cells)
        self.area = float(_areas(low[None], high[None], cell)[0])
        self.saved, self._order, self._at = 0.0, np.arange(len(cells)), 0
        for axis in (0, 1):
            if len(cells) < 2:
                break
            order = np.argsort(cells[:, axis], kind="stable")
            sorted_ = cells[order]
            low, high = np.minimum.accumulate(sorted_[:, :2]), np.maximum.accumulate(sorted_[:, 2:])
            low_after = np.minimum.accumulate(sorted_[::-1, :2])[::-1]
            high_after = np.maximum.accumulate(sorted_[::-1, 2:])[::-1]
            areas = _areas(low[:-1], high[:-1], cell) + _areas(low_after[1:], high_after[1:], cell)
            at = int(np.argmin(areas))
            if self.area - areas[at] > self.saved:
                self.saved, self._order, self._at = float(self.area - areas[at]), order, at + 1

    def cut(self) -> list[_Part]:
        """The two parts."""
        parts = self._order[: self._at], self._order[self._at :]
        return [_Part(self.cells[part], self._cell) for part in parts]


def _squares(boxes: Boxes, cell: float) -> Boxes:
    """Boxes around those that begin in the same square; few, however many there are."""
    column, row = np.floor((boxes[:, :2] - boxes[:, :2].min(axis=0)) / cell).T
    _, member = np.unique(row * (column.max() + 1) + column, return_inverse=True)
    count = int(member.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    for axis in (0, 1):
        np.minimum.at(low[:, axis], member, boxes[:, axis])
        np.maximum.at(high[:, axis], member, boxes[:, 2 + axis])
    return np.concatenate([low, high], axis=1)


def _areas(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], cell: float) -> npt.NDArray[np.float64]:
    """Areas with a margin, as a search finds all scenes that reach into it, and none is without its costs."""
    return np.asarray(np.prod(high - low + _MARGIN_CELLS * cell, axis=1))


def _ends(cells: Boxes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return cells[:, :2].min(axis=0), cells[:, 2:].max(axis=0)


def _tuple(cells: Boxes) -> Bbox:
    low, high = _ends(cells)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
