"""The compiled part of writing documents: constant pieces and numbers, copied side by side into one buffer.

A template is a run of operations, `(kind, a, b)` int64, carried out once for each row of its columns:

    COPY a b       constants[a:b]
    NUMBER a       the text of number a + row; null where it is not finite
    MEASURE a      as NUMBER, but "NaN" where it is NaN
    INTEGER a      integer a + row
    UNLESS_ZERO a b  nothing; where integer a + row is 0, the next b operations are left out
    BINS a b       the bins of histogram a + row; their counts are numbers if b, else integers
"""

from __future__ import annotations

import numpy as np
from numba import njit

COPY, NUMBER, MEASURE, INTEGER, UNLESS_ZERO, BINS = range(6)

# Columns of a histogram's row: its first edge among the numbers, how many bins, its first count, whether the edges are
# written as integers.
HISTOGRAM_COLUMNS = 4

_COMMA = 44
_MINUS = 45
_ZERO = 48
_MOST_DIGITS = 20


@njit(cache=True, nogil=True)
def fill(  # type: ignore[no-untyped-def]
    out,
    ends,
    heads,
    head_starts,
    tails,
    tail_starts,
    status,
    rows,
    templates,
    operations,
    constants,
    text,
    tokens,
    numbers,
    integers,
    histograms,
    bin_parts,
    bin_starts,
):
    """Writes a document for each feature into `out`; `ends` (features) gets where each one ends.

    Args:
        heads, head_starts: the beginning of each document, side by side, and where each begins (features + 1).
        tails, tail_starts, status: the endings, and which one each document has.
        rows: (templates, features) int32, a feature's row in the columns of a template, -1 where it has none.
        templates: (templates + 1) where each one's operations begin.
        text, tokens: the texts of all numbers with a byte between them, and where each begins (numbers + 1).
        histograms: (histograms, 4) as above.
        bin_parts, bin_starts: what stands before, between and after the numbers of a bin (5 starts).

    Returns:
        Whether it all went in: False where `out` is too short.
    """
    size = len(out)
    at = 0
    for feature in range(len(ends)):
        if at + head_starts[feature + 1] - head_starts[feature] > size:
            return False
        at = _copy(out, at, heads, head_starts[feature], head_starts[feature + 1])
        first = True
        for template in range(len(templates) - 1):
            row = rows[template, feature]
            if row < 0:
                continue
            if at >= size:
                return False
            if not first:
                out[at] = _COMMA
                at += 1
            first = False
            step = templates[template]
            while step < templates[template + 1]:
                kind, a, b = operations[step, 0], operations[step, 1], operations[step, 2]
                step += 1
                if kind == COPY:
                    if at + b - a > size:
                        return False
                    at = _copy(out, at, constants, a, b)
                elif kind == INTEGER:
                    if at + _MOST_DIGITS > size:
                        return False
                    at = _integer(out, at, integers[a + row])
                elif kind == UNLESS_ZERO:
                    if integers[a + row] == 0:
                        step += b
                elif kind == BINS:
                    at = _bins(out, at, histograms[a + row], b, bin_parts, bin_starts, text, tokens, numbers, integers)
                    if at < 0:
                        return False
                else:
                    number = a + row
                    if at + tokens[number + 1] - tokens[number] + 8 > size:
                        return False
                    if kind == MEASURE and numbers[number] != numbers[number]:
                        at = _not_a_number(out, at)
                    else:
                        at = _copy(out, at, text, tokens[number], tokens[number + 1] - 1)
        which = status[feature]
        if at + tail_starts[which + 1] - tail_starts[which] > size:
            return False
        at = _copy(out, at, tails, tail_starts[which], tail_starts[which + 1])
        ends[feature] = at
    return True


@njit(cache=True, nogil=True)
def _bins(out, at, histogram, weighted, parts, starts, text, tokens, numbers, integers):  # type: ignore[no-untyped-def]
    """The bins of one histogram with commas between them; -1 where `out` is too short."""
    edge, bins, count, whole = histogram[0], histogram[1], histogram[2], histogram[3]
    constant = starts[4] - starts[0] + 1 + 3 * _MOST_DIGITS
    for number in range(edge, edge + bins):
        room = constant + tokens[number + 2] - tokens[number]
        if weighted:
            room += tokens[count + 1] - tokens[count]
        if at + room > len(out):
            return -1
        if number > edge:
            out[at] = _COMMA
            at += 1
        at = _copy(out, at, parts, starts[0], starts[1])
        if whole:  # noqa: SIM108 - a conditional expression takes twice as long
            at = _integer(out, at, int(numbers[number]))
        else:
            at = _copy(out, at, text, tokens[number], tokens[number + 1] - 1)
        at = _copy(out, at, parts, starts[1], starts[2])
        if whole:
            at = _integer(out, at, int(numbers[number + 1]))
        else:
            at = _copy(out, at, text, tokens[number + 1], tokens[number + 2] - 1)
        at = _copy(out, at, parts, starts[2], starts[3])
        if weighted:  # noqa: SIM108
            at = _copy(out, at, text, tokens[count], tokens[count + 1] - 1)
        else:
            at = _integer(out, at, integers[count])
        at = _copy(out, at, parts, starts[3], starts[4])
        count += 1
    return at


@njit(cache=True, nogil=True)
def _copy(out, at, source, first, last):  # type: ignore[no-untyped-def]
    # unsigned, so that no index can count from the end: twice as fast
    begin, target = source[first:], out[at:]
    for i in range(np.uint64(last - first)):
        target[i] = begin[i]
    return at + last - first


@njit(cache=True, nogil=True)
def _not_a_number(out, at):  # type: ignore[no-untyped-def]
    out[at], out[at + 1], out[at + 2], out[at + 3], out[at + 4] = 34, 78, 97, 78, 34  # "NaN"
    return at + 5


@njit(cache=True, nogil=True)
def _integer(out, at, value):  # type: ignore[no-untyped-def]
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    digits = 1
    rest = value // 10
    while rest > 0:
        digits += 1
        rest //= 10
    for i in range(at + digits - 1, at - 1, -1):
        out[i] = _ZERO + value % 10
        value //= 10
    return at + digits
