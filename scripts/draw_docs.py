"""Draws the pictures of docs/: the cover rules as the engine finds the cells, and the drawings of docs/concepts.md.

    python scripts/draw_docs.py            # writes docs/images/*.svg

The same text comes out each time: a test compares it with the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import shapely

from swathe.grids.cover import cover
from swathe.grids.sample_grid import feature_grids
from swathe.model.statistical import Cover

IMAGES = Path(__file__).parents[1] / "docs/images"

VALUES = ((3, 5, 8, 4), (6, 9, 12, 7), (5, 11, 15, 0), (2, 4, 10, 3))
"""The raster of the worked example in docs/statistics.md, north up; 0 is no data."""
CORNERS = ((0, 0.6), (2.2, 0), (4, 2.1), (1.3, 4))
"""Its polygon in cells, x to the right, y down."""

INK, SOFT, LINE, PAPER = "#1d3340", "#5c7482", "#8aa0ac", "#f7fafa"
FILL, STRONG, WARM = "#cfe8e4", "#3f9c8f", "#f3d9a4"
FONT = "font-family='system-ui, sans-serif'"


def polygon(cell: float = 10.0, left: float = 0.0, top: float = 40.0) -> shapely.Polygon:
    """The example's polygon in metres, y up."""
    return shapely.Polygon([(left + x * cell, top - y * cell) for x, y in CORNERS])


def weights(rule: Cover) -> np.ndarray:
    """(4, 4) weight of each cell under a rule, 0 for those that do not belong."""
    shape = polygon()
    grid = feature_grids(np.array([shape.bounds]), 32633, resolution=(10, 10))
    cells = cover(np.array([shape], object), grid, rule)
    out, start = np.zeros((4, 4)), 0
    for row, first, behind in cells.runs:
        count = behind - first
        out[row, first:behind] = 1 if cells.weights is None else cells.weights[start : start + count]
        start += count
    return out


# --- pieces


def text(
    x: float, y: float, words: str, *, size: int = 14, fill: str = INK, anchor: str = "middle", bold: bool = False
) -> str:
    look = f"{FONT} font-size='{size}' fill='{fill}' text-anchor='{anchor}'" + (" font-weight='600'" if bold else "")
    return f"<text x='{x:g}' y='{y:g}' {look}>{escape(words)}</text>"


def rect(
    x: float, y: float, w: float, h: float, fill: str, *, opacity: str = "1", line: str = "none", round_: int = 0
) -> str:
    where = f"x='{x:g}' y='{y:g}' width='{w:g}' height='{h:g}' rx='{round_}'"
    return f"<rect {where} fill='{fill}' fill-opacity='{opacity}' stroke='{line}'/>"


def box(x: float, y: float, w: float, h: float, *lines: str, fill: str = "#ffffff", size: int = 14) -> str:
    """A rounded box, its first line bold, the others small."""
    out = [f"<rect x='{x:g}' y='{y:g}' width='{w:g}' height='{h:g}' rx='6' fill='{fill}' stroke='{LINE}'/>"]
    height = size + 15 * (len(lines) - 1)
    base = y + h / 2 - height / 2 + size * 0.8
    for number, words in enumerate(lines):
        small = number > 0
        out.append(
            text(
                x + w / 2,
                base + 16 * number,
                words,
                size=12 if small else size,
                fill=SOFT if small else INK,
                bold=not small,
            )
        )
    return "".join(out)


def arrow(*points: tuple[float, float], dashed: bool = False) -> str:
    way = " ".join(f"{x:g},{y:g}" for x, y in points)
    dash = " stroke-dasharray='5 4'" if dashed else ""
    return f"<polyline points='{way}' fill='none' stroke='{SOFT}' stroke-width='1.5' marker-end='url(#tip)'{dash}/>"


def drawing(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    tip = (
        "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        f"<path d='M0,0 L8,4 L0,8 z' fill='{SOFT}'/></marker></defs>"
    )
    paper = f"<rect width='{width}' height='{height}' rx='8' fill='{PAPER}'/>"
    body = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' role='img'>"
        f"<title>{escape(title)}</title>{tip}\n{paper}\n{body}\n</svg>\n"
    )


# --- pictures


def cover_rules() -> str:
    """The four rules side by side."""
    side, gap, top = 40, 40, 66
    parts = []
    for number, rule in enumerate((Cover.SERVICE, Cover.CENTRE, Cover.ALL_TOUCHED, Cover.COVERAGE)):
        left = 28 + number * (4 * side + gap)
        share = weights(rule)
        belong = int((share > 0).sum())
        what = f"{belong} cells" if rule is not Cover.COVERAGE else f"{belong} cells, weight {share.sum():.2f}"
        parts.append(text(left + 2 * side, 30, rule.value, bold=True))
        parts.append(text(left + 2 * side, 50, what, size=12, fill=SOFT))
        for row in range(4):
            for column in range(4):
                x, y, part = left + column * side, top + row * side, share[row, column]
                opacity = f"{0.15 + 0.75 * part:.3f}" if part else "0"
                parts.append(rect(x, y, side, side, STRONG, opacity=opacity, line=LINE))
                words = str(VALUES[row][column] or "–")
                if rule is Cover.COVERAGE and part:
                    words = f"{part:.2f}" if part >= 0.005 else f"{part:.3f}"
                parts.append(text(x + side / 2, y + side / 2 + 4, words, size=12, fill=INK if part else LINE))
        outline = " ".join(f"{left + x * side:g},{top + y * side:g}" for x, y in CORNERS)
        parts.append(f"<polygon points='{outline}' fill='none' stroke='#b4452c' stroke-width='2'/>")
    return drawing(
        4 * 4 * side + 3 * gap + 56, top + 4 * side + 24, "Cells that belong to a polygon, by cover rule", parts
    )


def layers() -> str:
    """Who is called by whom."""
    rows: Sequence[tuple[str, str]] = (
        ("jobs", "lifecycle, durable store, runner, delivery"),
        ("engine", "request → plan → units of work → results"),
        ("sampling · outputs", "values out of blocks, mosaics; documents and tables"),
        ("catalog · evalscript · statistics", "scenes; V8 in a process of its own; summaries"),
        ("features · rasters · grids", "GeoPackage; files and blocks; cells of a polygon"),
        ("storage · settings", "object stores and files; the deployment's configuration"),
    )
    parts = [
        box(40, 20, 150, 46, "swathe …", "command line"),
        box(225, 20, 150, 46, "browser", "console, /docs"),
        box(410, 20, 310, 46, "notebooks and programs", "swathe.client, sentinelhub, sentinelhub-js, GIS"),
        box(225, 112, 495, 46, "server", "HTTP: the provider's paths, tokens, limits", fill=WARM),
        arrow((300, 66), (300, 110)),
        arrow((565, 66), (565, 110)),
        text(600, 93, "HTTP", size=12, fill=SOFT),
        arrow((115, 66), (115, 196)),
        arrow((470, 158), (470, 196)),
    ]
    y = 200
    for name, what in rows:
        parts.append(box(40, y, 680, 46, name, what, fill=FILL if name == "engine" else "#ffffff"))
        y += 52
    parts.append(box(40, y, 680, 46, "model", "the contract: requests and answers, time, CRS names, errors", fill=FILL))
    parts.append(text(380, y + 72, "A layer uses those below it, never one above.", size=13, fill=SOFT))
    return drawing(760, y + 92, "The layers of Swathe", parts)


def road() -> str:
    """What becomes of data in a unit of work."""
    steps = (
        ("cells", "of each polygon: a run, no image"),
        ("blocks", "each read and decoded once"),
        ("columns", "values at the cells, by band"),
        ("mosaic", "until every cell has a value"),
        ("evalscript", "in V8, over the columns"),
        ("statistics", "per feature: its cells are a run"),
    )
    parts = [
        box(20, 26, 170, 50, "polygons", "GeoPackage", fill=WARM),
        box(20, 146, 170, 50, "scenes", "STAC, COGs", fill=WARM),
    ]
    places = [(260, 26), (260, 146), (520, 86), (520, 206), (260, 266), (20, 266)]
    for (name, what), (x, y) in zip(steps, places, strict=True):
        parts.append(box(x, y, 230 if x > 20 else 170, 50, name, what if x > 20 else "per feature", fill=FILL))
    parts += [
        arrow((190, 51), (258, 51)),
        arrow((190, 171), (258, 171)),
        arrow((490, 51), (635, 51), (635, 84)),
        arrow((490, 171), (575, 171), (575, 138)),
        arrow((635, 136), (635, 204)),
        arrow((635, 256), (635, 291), (492, 291)),
        arrow((260, 291), (192, 291)),
        box(20, 356, 230, 50, "documents", "one JSON per feature", fill=WARM),
        box(290, 356, 230, 50, "statistics/part-….parquet", "all rows as one table", fill=WARM, size=13),
        arrow((105, 316), (105, 354)),
        arrow((105, 334), (405, 334), (405, 354)),
    ]
    return drawing(770, 426, "The road of the data in a unit of work", parts)


PARCELS = (
    (12, 20, 34, 26), (52, 14, 40, 30), (98, 22, 36, 34), (20, 60, 44, 30),
    (70, 58, 30, 40), (108, 70, 40, 28), (30, 104, 40, 34), (84, 110, 52, 30),
)  # fmt: skip
"""x, y, width, height of the parcels of `blocks`; a block is 80 wide and high."""


def blocks() -> str:
    """Parcels that share blocks: one by one, and as a unit."""
    parts = []
    for left, title, words in (
        (30, "one request per parcel", f"a block is decoded for every parcel in it: {decoded()} times"),
        (390, "one unit of work", "each block is decoded once: 4 times"),
    ):
        single = left == 30
        parts.append(text(left + 165, 30, title, bold=True))
        for row, column in np.ndindex(2, 2):
            x, y = left + 5 + column * 160, 46 + row * 160
            parts.append(rect(x, y, 160, 160, "#ffffff" if single else FILL, line=SOFT))
        for x, y, w, h in PARCELS:
            for row, column in needed(x, y, w, h) if single else ():
                parts.append(rect(left + 5 + column * 160, 46 + row * 160, 160, 160, "#d98b3a", opacity="0.07"))
            colour = "#d98b3a" if single else STRONG
            parts.append(
                rect(left + 5 + x * 2, 46 + y * 2, w * 2, h * 2, colour, opacity="0.75", line="#ffffff", round_=3)
            )
        parts.append(text(left + 165, 392, words, size=13, fill=SOFT))
    return drawing(750, 412, "Blocks decoded once", parts)


def needed(x: int, y: int, w: int, h: int) -> list[tuple[int, int]]:
    """Row and column of each block that a parcel lies in."""
    rows, columns = range(y // 80, (y + h - 1) // 80 + 1), range(x // 80, (x + w - 1) // 80 + 1)
    return [(row, column) for row in rows for column in columns]


def decoded() -> int:
    """Blocks that the parcels need, each for itself."""
    return sum(len(needed(*parcel)) for parcel in PARCELS)


def life() -> str:
    """The states of a job and what leads from one to the next."""
    parts = [
        box(20, 90, 120, 44, "CREATED"),
        box(210, 90, 130, 44, "ANALYSING"),
        box(410, 20, 150, 44, "ANALYSIS_DONE"),
        box(410, 90, 150, 44, "PROCESSING", fill=FILL),
        box(630, 90, 100, 44, "DONE", fill=FILL),
        box(410, 180, 150, 44, "STOPPED", fill=WARM),
        box(210, 180, 130, 44, "FAILED", fill="#f2cfc6"),
        arrow((140, 112), (208, 112)),
        text(174, 84, "analyse", size=12, fill=SOFT),
        text(174, 104, "start", size=12, fill=SOFT),
        arrow((310, 90), (310, 42), (408, 42)),
        text(358, 34, "analyse", size=12, fill=SOFT),
        arrow((340, 112), (408, 112)),
        text(374, 104, "start", size=12, fill=SOFT),
        arrow((485, 64), (485, 88)),
        text(503, 80, "start", size=12, fill=SOFT),
        arrow((560, 112), (628, 112)),
        arrow((460, 134), (460, 178)),
        arrow((520, 180), (520, 136)),
        text(448, 160, "stop, budget, unhealthy", size=12, fill=SOFT, anchor="end"),
        text(532, 160, "start", size=12, fill=SOFT, anchor="start"),
        arrow((250, 134), (250, 178)),
    ]
    return drawing(750, 250, "The life of a job", parts)


PICTURES = {
    "cover-rules.svg": cover_rules,
    "layers.svg": layers,
    "road-of-the-data.svg": road,
    "blocks-once.svg": blocks,
    "life-of-a-job.svg": life,
}


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw(), "utf-8")


if __name__ == "__main__":
    main()
