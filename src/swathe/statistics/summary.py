"""Count, minimum, maximum, mean and standard deviation of every feature.

A sample is valid where its mask is not 0 and its value is a finite number: one NaN would make a whole feature NaN.

    mean = sum(w x) / sum(w)      stDev = sqrt(sum(w (x - mean)^2) / sum(w))

with w = 1 except under `coverage`, where it is the covered fraction. The standard deviation is the population's; sums are
float64 in the order of the cells, in two passes. Minimum and maximum take cells of weight 1e-6 and more.

Worked example: 1, 2, 4 with mask 1, 1, 1 has mean 2.333 and stDev 1.247; with mask 1, 1, 0 mean 1.5 and stDev 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]

_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True)
class Summary:
    """One entry per feature: valid cells, sum of their weights, and statistics, NaN where none is valid.

    A long job holds many of these, so they are no wider than they must be: counts are int32, minimum and maximum float32
    where the values are, all else float64; `weights` is None where every cell weighs 1.
    """

    count: npt.NDArray[np.int32]
    weights: Floats | None
    minimum: npt.NDArray[np.floating]
    maximum: npt.NDArray[np.floating]
    mean: Floats
    deviation: Floats

    @property
    def weight(self) -> Floats:
        """The sum of the valid cells' weights."""
        return self.count.astype(np.float64) if self.weights is None else self.weights


def valid_cells(values: npt.NDArray[np.generic], mask: npt.NDArray[np.generic] | None) -> npt.NDArray[np.uint8]:
    """1 where a sample counts: (cells) uint8 from values (cells) and mask (cells) or None."""
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(len(values), np.bool_)
    if mask is not None:
        # NaN in a mask is no data
        valid &= (mask != 0) & (mask == mask)
    return valid.view(np.uint8)


def summarise(
    values: npt.NDArray[np.generic], valid: npt.NDArray[np.uint8], weights: Floats | None, starts: npt.NDArray[np.int64]
) -> Summary:
    """Statistics of features.

    Args:
        values: (cells) any real dtype; valid: (cells) 1 where a sample counts; weights: (cells) or None.
        starts: (features + 1) where each feature's cells begin.
    """
    count, weight, minimum, maximum, mean, deviation = _summarise(
        values, valid, np.zeros(0) if weights is None else weights, starts
    )
    extreme = np.float32 if values.dtype in (np.float32, np.uint8, np.int8, np.uint16, np.int16) else np.float64
    return Summary(
        count.astype(np.int32),
        None if weights is None else weight,
        minimum.astype(extreme),
        maximum.astype(extreme),
        mean,
        deviation,
    )


@njit(cache=True, nogil=True)
def _summarise(values, valid, weights, starts):  # type: ignore[no-untyped-def]
    features = len(starts) - 1
    count = np.zeros(features, np.int64)
    weight = np.zeros(features)
    minimum = np.full(features, np.nan)
    maximum = np.full(features, np.nan)
    mean = np.full(features, np.nan)
    deviation = np.full(features, np.nan)
    weighted = len(weights) > 0
    for f in range(features):
        n = 0
        low = np.inf
        high = -np.inf
        sum_w = 0.0
        sum_x = 0.0
        for i in range(starts[f], starts[f + 1]):
            if valid[i]:
                x = float(values[i])
                w = weights[i] if weighted else 1.0
                n += 1
                sum_w += w
                sum_x += w * x
                if w >= _LEAST_WEIGHT:
                    low = min(low, x)
                    high = max(high, x)
        count[f] = n
        weight[f] = sum_w
        if n == 0 or sum_w <= 0.0:
            continue
        centre = sum_x / sum_w
        squares = 0.0
        for i in range(starts[f], starts[f + 1]):
            if valid[i]:
                w = weights[i] if weighted else 1.0
                off = float(values[i]) - centre
                squares += w * off * off
        mean[f] = centre
        deviation[f] = np.sqrt(squares / sum_w)
        if low <= high:
            minimum[f] = low
            maximum[f] = high
    return count, weight, minimum, maximum, mean, deviation
