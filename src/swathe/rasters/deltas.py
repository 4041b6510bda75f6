"""Undoes TIFF's predictor 2, differences along the rows, in one pass over the numbers. Reads nothing."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def undo_deltas(rows):  # type: ignore[no-untyped-def]
    """Running sums along each row, in place, modulo the type's range: `[5, 1, 255]` as uint8 becomes `[5, 6, 5]`.

    `rows` is `(height, width)` of an unsigned type. Four rows at a time: one sum need not wait for another.
    """
    height, width = rows.shape
    whole = height - height % 4
    for y in range(0, whole, 4):
        first, second, third, fourth = rows[y], rows[y + 1], rows[y + 2], rows[y + 3]
        a, b, c, d = first[0], second[0], third[0], fourth[0]
        for x in range(1, width):
            a += first[x]
            b += second[x]
            c += third[x]
            d += fourth[x]
            first[x] = a
            second[x] = b
            third[x] = c
            fourth[x] = d
    for y in range(whole, height):
        row = rows[y]
        a = row[0]
        for x in range(1, width):
            a += row[x]
            row[x] = a


@njit(cache=True, nogil=True)
def undo_deltas_apart(pixels, samples, out):  # type: ignore[no-untyped-def]
    """Running sums of some samples of each pixel, each sample into a plane of its own.

    `pixels` is `(rows, columns, all samples)`; `samples` says which of them (from 0) `out`, `(samples, height, width)`
    of the same unsigned type, is to hold; rows and columns beyond `out` are left aside.
    """
    count, height, width = out.shape
    for y in range(height):
        row = pixels[y]
        for k in range(count):
            sample = samples[k]
            line = out[k, y]
            a = row[0, sample]
            line[0] = a
            for x in range(1, width):
                a += row[x, sample]
                line[x] = a
