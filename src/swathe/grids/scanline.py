"""Compiled scanlines: polygons in cell coordinates -> the runs of cells that belong to them.

Coordinates are in cells, x to the right and y down from the upper left corner of the feature's grid. A polygon is a set
of closed rings under the even-odd rule. Edges are kept in order of their upper end and only those that cross the present
row are looked at, so cost grows with rows and crossings, not with rows times edges.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SERVICE, CENTRE = 0, 1
_SUBLINES = 8
_POSITIONS = 256
_VISIBLE = 7


@njit(cache=True, nogil=True)
def _collect_edges(xy, ring_starts, first_ring, last_ring):  # type: ignore[no-untyped-def]
    """Edges as (y_top, x_top, y_bottom, x_bottom, +1 if it runs down or -1), sorted by y_top; level ones left out."""
    count = 0
    for ring in range(first_ring, last_ring):
        count += max(0, ring_starts[ring + 1] - ring_starts[ring] - 1)
    edges = np.empty((count, 5), np.float64)
    k = 0
    for ring in range(first_ring, last_ring):
        for i in range(ring_starts[ring], ring_starts[ring + 1] - 1):
            xa, ya, xb, yb = xy[i, 0], xy[i, 1], xy[i + 1, 0], xy[i + 1, 1]
            if ya == yb:
                continue
            if ya < yb:
                edges[k, 0], edges[k, 1], edges[k, 2], edges[k, 3], edges[k, 4] = ya, xa, yb, xb, 1.0
            else:
                edges[k, 0], edges[k, 1], edges[k, 2], edges[k, 3], edges[k, 4] = yb, xb, ya, xa, -1.0
            k += 1
    edges = edges[:k]
    return edges[np.argsort(edges[:, 0])]


@njit(cache=True, nogil=True)
def _level_edges(xy, ring_starts, first_ring, last_ring):  # type: ignore[no-untyped-def]
    """Level edges that GDAL fills by themselves: those through cell centres that bound their ring from below.

    Gives (row, first column, column behind the last). GDAL walks rings clockwise and fills an edge that runs left.
    """
    found = np.empty((0, 3), np.int64)
    for ring in range(first_ring, last_ring):
        begin, end = ring_starts[ring], ring_starts[ring + 1] - 1
        area = 0.0
        count = 0
        for i in range(begin, end):
            area += (xy[i, 0] - xy[begin, 0]) * (xy[i + 1, 1] - xy[begin, 1])
            area -= (xy[i + 1, 0] - xy[begin, 0]) * (xy[i, 1] - xy[begin, 1])
            if xy[i, 1] == xy[i + 1, 1] and xy[i, 1] - np.floor(xy[i, 1]) == 0.5:
                count += 1
        if count == 0:
            continue
        own = np.empty((count, 3), np.int64)
        k = 0
        for i in range(begin, end):
            y = xy[i, 1]
            if y == xy[i + 1, 1] and y - np.floor(y) == 0.5:
                # y runs down here, so a negative area is counter-clockwise on the map: walk it backwards
                before, after = (xy[i + 1, 0], xy[i, 0]) if area < 0 else (xy[i, 0], xy[i + 1, 0])
                if before > after:
                    own[k, 0] = int(np.floor(y))
                    own[k, 1] = int(np.floor(after + 0.5))
                    own[k, 2] = int(np.floor(before + 0.5))
                    k += 1
        found = np.concatenate((found, own[:k]))
    return found


@njit(cache=True, nogil=True)
def _advance(edges, active, n_active, coming, row):  # type: ignore[no-untyped-def]
    """Takes in the edges that begin in a row and lets go of those that ended above it: how many are active, what comes."""
    while coming < len(edges) and edges[coming, 0] < row + 1:
        active[n_active] = coming
        n_active += 1
        coming += 1
    kept = 0
    for j in range(n_active):
        if edges[active[j], 2] > row:
            active[kept] = active[j]
            kept += 1
    return kept, coming


@njit(cache=True, nogil=True)
def _crossings(edges, active, n_active, y, out):  # type: ignore[no-untyped-def]
    """x where the active edges cross the line `y`, sorted into `out`; the upper end belongs to an edge, the lower not."""
    n = 0
    for j in range(n_active):
        e = active[j]
        y0, y1 = edges[e, 0], edges[e, 2]
        if y0 <= y < y1:
            x = (y - y0) * (edges[e, 3] - edges[e, 1]) / (y1 - y0) + edges[e, 1]
            i = n
            while i > 0 and out[i - 1] > x:
                out[i] = out[i - 1]
                i -= 1
            out[i] = x
            n += 1
    return n


@njit(cache=True, nogil=True)
def _grow(runs):  # type: ignore[no-untyped-def]
    bigger = np.empty((2 * len(runs), 3), np.int32)
    bigger[: len(runs)] = runs
    return bigger


@njit(cache=True, nogil=True)
def runs_of_polygons(xy, ring_starts, feature_rings, width, height, rule):  # type: ignore[no-untyped-def]
    """Runs (row, first column, column behind the last) of the cells that belong to each feature, by row.

    Args:
        xy: (vertices, 2) cell coordinates; ring_starts: (rings + 1); feature_rings: (features + 1), into rings.
        width, height: (features) size of each grid in cells.
        rule: SERVICE (at least 7 of 8 x 256 sampled positions inside) or CENTRE (GDAL's rule for a cell's centre).

    Returns:
        runs: (runs, 3) int32, and run_starts: (features + 1) int64.
    """
    features = len(feature_rings) - 1
    run_starts = np.zeros(features + 1, np.int64)
    runs = np.empty((max(16, 32 * features), 3), np.int32)
    n_runs = 0
    sublines = _SUBLINES if rule == SERVICE else 1
    needed = _VISIBLE if rule == SERVICE else 1
    for f in range(features):
        w, h = width[f], height[f]
        edges = _collect_edges(xy, ring_starts, feature_rings[f], feature_rings[f + 1])
        level = np.empty((0, 3), np.int64)
        if rule == CENTRE:
            level = _level_edges(xy, ring_starts, feature_rings[f], feature_rings[f + 1])
        n_edges = len(edges)
        active = np.empty(n_edges, np.int64)
        crossing = np.empty(n_edges, np.float64)
        partial = np.zeros(w + 1, np.int32)
        step = np.zeros(w + 2, np.int32)
        n_active = 0
        coming = 0
        top = 0
        if n_edges:
            top = max(0, int(np.floor(edges[0, 0])))
        for row in range(top, h):
            if coming == n_edges and n_active == 0 and len(level) == 0:
                break
            n_active, coming = _advance(edges, active, n_active, coming, row)
            low, high = w, 0
            for k in range(sublines):
                y = row + (k + 0.5) / sublines
                n = _crossings(edges, active, n_active, y, crossing)
                for i in range(0, n - 1, 2):
                    if rule == SERVICE:
                        p0 = int(np.ceil(crossing[i] * _POSITIONS - 0.5))
                        p1 = int(np.ceil(crossing[i + 1] * _POSITIONS - 0.5))
                        p0 = max(p0, 0)
                        p1 = min(p1, w * _POSITIONS)
                        if p1 <= p0:
                            continue
                        c0 = p0 // _POSITIONS
                        c1 = (p1 - 1) // _POSITIONS
                        if c0 == c1:
                            partial[c0] += p1 - p0
                        else:
                            partial[c0] += _POSITIONS - p0 % _POSITIONS
                            partial[c1] += (p1 - 1) % _POSITIONS + 1
                            step[c0 + 1] += _POSITIONS
                            step[c1] -= _POSITIONS
                    else:
                        c0 = max(0, int(np.floor(crossing[i] + 0.5)))
                        c1 = min(w, int(np.floor(crossing[i + 1] + 0.5))) - 1
                        if c1 < c0:
                            continue
                        step[c0] += 1
                        step[c1 + 1] -= 1
                    low = min(low, c0)
                    high = max(high, c1 + 1)
            for j in range(len(level)):
                if level[j, 0] == row:
                    c0 = max(0, level[j, 1])
                    c1 = min(w, level[j, 2]) - 1
                    if c1 >= c0:
                        step[c0] += 1
                        step[c1 + 1] -= 1
                        low = min(low, c0)
                        high = max(high, c1 + 1)
            inside = 0
            begin = -1
            for c in range(low, high + 1):
                inside += step[c]
                if c < high and inside + partial[c] >= needed:
                    if begin < 0:
                        begin = c
                elif begin >= 0:
                    if n_runs == len(runs):
                        runs = _grow(runs)
                    runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2] = row, begin, c
                    n_runs += 1
                    begin = -1
                step[c] = 0
                if c < w:
                    partial[c] = 0
            if high + 1 < w + 2:
                step[high + 1] = 0
        run_starts[f + 1] = n_runs
    return runs[:n_runs].copy(), run_starts


@njit(cache=True, nogil=True)
def _add_segment(area, x0, y0, x1, y1, w):  # type: ignore[no-untyped-def]
    """Adds a piece of an edge within one row to `area`, whose running sum is the signed part right of the edge."""
    dy = y1 - y0
    if dy == 0.0:
        return
    x0 = min(max(x0, 0.0), float(w))
    x1 = min(max(x1, 0.0), float(w))
    left, right = min(x0, x1), max(x0, x1)
    c0 = min(int(np.floor(left)), w)
    c1 = min(int(np.floor(right)), w)
    if c0 == c1:
        mean = 0.5 * (x0 + x1) - c0
        area[c0] += dy * (1.0 - mean)
        area[c0 + 1] += dy * mean
        return
    per_x = dy / (right - left)
    for c in range(c0, c1 + 1):
        a = max(left, float(c))
        b = min(right, float(c + 1))
        if b <= a:
            continue
        part = per_x * (b - a)
        mean = 0.5 * (a + b) - c
        area[c] += part * (1.0 - mean)
        area[c + 1] += part * mean


@njit(cache=True, nogil=True)
def coverage_of_polygons(xy, ring_starts, feature_rings, width, first_row, last_row, least):  # type: ignore[no-untyped-def]
    """Runs of cells that share more than `least` of their area with each feature, and each cell's covered fraction.

    Rows `first_row` to `last_row` (excluded) of each grid; what a row has does not depend on the others.

    Exact: the signed area to the right of every edge is summed per cell. Rings must be oriented (shells one way, holes
    the other). Returns runs (runs, 3) int32, run_starts (features + 1), and fractions (cells) float64 in run order.
    """
    features = len(feature_rings) - 1
    run_starts = np.zeros(features + 1, np.int64)
    runs = np.empty((max(16, 32 * features), 3), np.int32)
    fractions = np.empty(max(64, 256 * features), np.float64)
    n_runs = 0
    n_cells = 0
    for f in range(features):
        w = width[f]
        edges = _collect_edges(xy, ring_starts, feature_rings[f], feature_rings[f + 1])
        n_edges = len(edges)
        active = np.empty(n_edges, np.int64)
        area = np.zeros(w + 2, np.float64)
        n_active = 0
        coming = 0
        for row in range(first_row[f], last_row[f]):
            n_active, coming = _advance(edges, active, n_active, coming, row)
            if n_active == 0:
                continue
            area[:] = 0.0
            for j in range(n_active):
                e = active[j]
                y0, x0, y1, x1 = edges[e, 0], edges[e, 1], edges[e, 2], edges[e, 3]
                slope = (x1 - x0) / (y1 - y0)
                a = max(y0, float(row))
                b = min(y1, float(row + 1))
                xa = x0 if a == y0 else x0 + (a - y0) * slope
                xb = x1 if b == y1 else x0 + (b - y0) * slope
                if edges[e, 4] > 0:
                    _add_segment(area, xa, a, xb, b, w)
                else:
                    _add_segment(area, xa, b, xb, a, w)
            total = 0.0
            begin = -1
            for c in range(w + 1):
                if c < w:
                    total += area[c]
                share = min(1.0, abs(total)) if c < w else 0.0
                if share > least:
                    if begin < 0:
                        begin = c
                    if n_cells == len(fractions):
                        wider = np.empty(2 * len(fractions), np.float64)
                        wider[:n_cells] = fractions
                        fractions = wider
                    fractions[n_cells] = share
                    n_cells += 1
                elif begin >= 0:
                    if n_runs == len(runs):
                        runs = _grow(runs)
                    runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2] = row, begin, c
                    n_runs += 1
                    begin = -1
        run_starts[f + 1] = n_runs
    return runs[:n_runs].copy(), run_starts, fractions[:n_cells].copy()
