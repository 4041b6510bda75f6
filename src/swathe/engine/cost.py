"""Processing units, as the provider's public page on them says.

    PU of a feature = max(0.01, W * H / (512 * 512)) * input bands / 3 * samples

`dataMask` is no band unless it is the only one. Samples are the intervals that had data under SIMPLE mosaicking, else the
scenes handed to the script. Nothing is added for float outputs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_AREA_CELLS = 512 * 512
_LEAST_AREA = 0.01
_BANDS = 3


def area_factor(sample_count: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The part of a processing unit that a feature's size stands for; `sample_count` is W * H."""
    return np.maximum(_LEAST_AREA, sample_count / _AREA_CELLS)


def band_factor(bands: int) -> float:
    """The factor for the number of input bands (without dataMask, unless there is no other)."""
    return max(1, bands) / _BANDS
