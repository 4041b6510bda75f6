"""Statistics of a feature from those of its pieces.

    W = sum(w)      mean = sum(w m) / W      stDev = sqrt((sum(w s^2) + sum(w (m - mean)^2)) / W)

for pieces of weight w (their valid cells, or the sum of their weights), mean m and standard deviation s; all pieces at once
in place of two by two (Chan, Golub, LeVeque 1979).

Worked example: 1, 2 and 4 have means 1.5 and 4, deviations 0.5 and 0; together the mean 7 / 3 and the deviation
sqrt((0.5 + 2 (5 / 6)^2 + (5 / 3)^2) / 3) = 1.247.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swathe.statistics.distribution import Histograms
from swathe.statistics.summary import Summary


class MismatchedPieces(ValueError):
    """Pieces that are not of one output and band."""


def merge(parts: Sequence[Summary]) -> Summary:
    """Summary of one feature from the summaries of its pieces, each of which may hold several.

    Pieces are merged in their order, so the bytes do not depend on which worker finished first. Counts, minimum and maximum
    are exact; mean and deviation agree with the whole to rounding.

    Raises:
        MismatchedPieces: some are weighted and others not, or their values are of different types.
    """
    if len({(part.weights is None, part.minimum.dtype) for part in parts}) != 1:
        raise MismatchedPieces("The pieces of a feature come from different outputs or bands")
    weight = np.concatenate([part.weight for part in parts])
    means = np.concatenate([part.mean for part in parts])
    deviations = np.concatenate([part.deviation for part in parts])
    some = weight > 0
    weight, means, deviations = weight[some], means[some], deviations[some]
    total = float(weight.sum())
    mean = deviation = np.nan
    if total > 0:
        # beside the first mean, so that equal ones stay what they are
        mean = float(means[0] + (weight * (means - means[0])).sum() / total)
        deviation = float(np.sqrt((weight * (deviations**2 + (means - mean) ** 2)).sum() / total))
    return Summary(
        np.array([sum(int(part.count.sum()) for part in parts)], np.int32),
        None if parts[0].weights is None else np.array([total]),
        np.fmin.reduce(np.concatenate([part.minimum for part in parts]), keepdims=True),
        np.fmax.reduce(np.concatenate([part.maximum for part in parts]), keepdims=True),
        np.array([mean]),
        np.array([deviation]),
    )


def merge_histograms(parts: Sequence[Histograms]) -> Histograms:
    """Histogram of one feature from those of its pieces, which have the same edges.

    Raises:
        MismatchedPieces: they have not.
    """
    first = parts[0].edges[: parts[0].starts[1]]
    bins = len(first) - 1
    counts, under, over = np.zeros(max(0, bins)), 0.0, 0.0
    for part in parts:
        pieces = len(part.under)
        if not np.array_equal(part.edges, np.tile(first, pieces)):
            raise MismatchedPieces("The histograms of a feature's pieces have different edges")
        counts += part.counts.reshape(pieces, max(0, bins)).sum(axis=0)
        under += float(part.under.sum())
        over += float(part.over.sum())
    return Histograms(first, np.array([0, len(first)], np.int64), counts, np.array([under]), np.array([over]))
