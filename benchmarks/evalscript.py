"""Evalscripts: cells a second through the generated loop, beside a hand-written one, and through the whole host.

The hand-written loop calls the same evaluatePixel over typed arrays of the same kind and does for the result what the
output's sample type asks for, but checks nothing. Both run in this process, in a context each; take the ratios of one
run, not the figures of two. Run with `python benchmarks/evalscript.py [million cells]`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np
from py_mini_racer import _mini_racer, init_mini_racer

from swathe.evalscript import child, driver
from swathe.evalscript.columns import BandColumn, Batch, OrbitInfo, SourceColumns
from swathe.evalscript.runtime import ScriptHost, ScriptLimits
from swathe.evalscript.script import Mosaicking, parse_setup

ROUNDS = 9
CHUNK_CELLS = 1_000_000
FROM, TO = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"


@dataclass(frozen=True)
class Case:
    """A script, what it returns as its setup(), its samples per cell, and how a person would store its result."""

    name: str
    setup: str
    pixel: str
    store: str
    samples: int = 1


CASES = (
    Case(
        "NDVI",
        '{"input": ["B04", "B08", "dataMask"], "output": {"bands": 1, "sampleType": "FLOAT32"}}',
        "(s) { return [(s.B08 - s.B04) / (s.B08 + s.B04)] }",
        "o[i] = r[0];",
    ),
    Case(
        "NDVI and mask",
        '{"input": ["B04", "B08", "dataMask"], "output": [{"id": "ndvi", "bands": 1, "sampleType": "FLOAT32"},'
        ' {"id": "dataMask", "bands": 1, "sampleType": "UINT8"}]}',
        "(s) { return {ndvi: [index(s.B08, s.B04)], dataMask: [s.dataMask]} }",
        "o[i] = r.ndvi[0]; const x = r.dataMask[0]; p[i] = x >= 0 && x <= 255 ? Math.round(x) : x > 255 ? 255 : 0;",
    ),
    Case(
        "best of 12 orbits",
        '{"input": ["B04", "B08", "dataMask"], "output": {"bands": 1, "sampleType": "FLOAT32"}, "mosaicking": "ORBIT"}',
        """(samples) { let best = -1;
        for (let i = 0; i < samples.length; i++) { const s = samples[i];
          if (s.dataMask === 0) continue;
          const v = (s.B08 - s.B04) / (s.B08 + s.B04); if (v > best) best = v; }
        return [best] }""",
        "o[i] = r[0];",
        samples=12,
    ),
)


def make_batch(case: Case, cells: int) -> Batch:
    """Reflectances as uint16 and a mask without two thirds of nothing."""
    random = np.random.default_rng(1)
    shape = (case.samples, cells)
    bands = {
        name: BandColumn(random.integers(1, 9000, shape, dtype=np.uint16), scale=0.0001) for name in ("B04", "B08")
    }
    mask = (random.integers(0, 3, shape, dtype=np.uint8) > 0).astype(np.uint8)
    orbits = tuple(OrbitInfo(FROM, TO) for _ in range(case.samples)) if case.samples > 1 else ()
    mosaicking = Mosaicking.ORBIT if orbits else Mosaicking.SIMPLE
    return Batch((SourceColumns(None, mosaicking, bands, mask, orbits=orbits),), FROM, TO)


def part_of(batch: Batch, first: int, last: int) -> Batch:
    """Some cells of a batch of one source."""
    source = batch.sources[0]
    bands = {name: replace(band, values=band.values[:, first:last]) for name, band in source.bands.items()}
    return replace(batch, sources=(replace(source, bands=bands, data_mask=source.data_mask[:, first:last]),))


def best_rate(cells: int, run: Callable[[], object]) -> float:
    """Million cells a second in the best of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return cells / min(seconds) / 1e6


def context_of(case: Case) -> child.Context:
    context = child.Context(2**30)
    builtins, host = (
        resources.files("swathe.evalscript").joinpath(name).read_text() for name in ("builtins.js", "host.js")
    )
    context.load(builtins, host, f"function setup() {{ return {case.setup} }}\nfunction evaluatePixel{case.pixel}")
    return context


def generated(case: Case, batch: Batch) -> float:
    """The loop of `driver.javascript`."""
    cells = batch.cells
    script = parse_setup(json.loads(case.setup), "")
    layout = driver.layout_of(script, batch)
    context = context_of(case)
    offsets = layout.offsets(cells)
    with tempfile.TemporaryFile() as nothing:
        arena = context.reserve(offsets[-1], nothing.fileno()).buffer
    source = batch.sources[0]
    columns = [source.bands["B04"].values, source.bands["B08"].values, source.data_mask]
    for column, offset in zip(columns, offsets, strict=False):
        np.frombuffer(arena, column.dtype, column.size, offset)[:] = column.ravel()
    begin = {"fusion": False, "from": FROM, "to": TO, "serviceVersion": "1", "sources": [{"mosaicking": "SIMPLE"}]}
    step = {"operation": "step", "driver": 0, "cells": cells, "end": False}
    first = {**step, "begin": begin, "text": driver.javascript(layout), "offsets": offsets, "stride": cells}
    context.call(json.dumps(first))
    return best_rate(cells, lambda: context.call(json.dumps(step)))


def hand_written(case: Case, batch: Batch) -> float:
    """What a person would write for this script."""
    cells = batch.cells
    context = context_of(case)
    sample = "{B04: a[@] * 0.0001, B08: b[@] * 0.0001, dataMask: d[@]}"
    if case.samples == 1:
        argument = sample.replace("@", "i")
    else:
        argument = "[" + ", ".join(sample.replace("@", f"{k} * n + i") for k in range(case.samples)) + "]"
    run = context.racer.eval(f"""(function () {{
      const n = {cells}, m = {cells * case.samples};
      const a = new Uint16Array(m), b = new Uint16Array(m), d = new Uint8Array(m);
      const o = new Float32Array(n), p = new Uint8Array(n);
      for (let i = 0; i < m; i++) {{ a[i] = 1 + Math.random() * 8999; b[i] = 1 + Math.random() * 8999;
        d[i] = Math.random() < 0.667 ? 1 : 0; }}
      return function () {{ for (let i = 0; i < n; i++) {{ const r = evaluatePixel({argument}); {case.store} }} }};
    }})()""")
    return best_rate(cells, run)


def whole(case: Case, batch: Batch) -> float:
    """`ScriptHost.evaluate` as the engine calls it: a chunk at a time into the shared memory, run, looked at there."""
    parts = [
        part_of(batch, first, min(first + CHUNK_CELLS, batch.cells)) for first in range(0, batch.cells, CHUNK_CELLS)
    ]
    with ScriptHost(ScriptLimits()) as host:
        script = host.setup(f"function setup() {{ return {case.setup} }}\nfunction evaluatePixel{case.pixel}")
        return best_rate(batch.cells, lambda: [host.evaluate(script, part, borrow=True) for part in parts])


def main() -> None:
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 16.0
    if hasattr(_mini_racer, "INSTALL_SET_TIMEOUT"):
        _mini_racer.INSTALL_SET_TIMEOUT = "0"
    init_mini_racer(flags=child.V8_FLAGS)
    heads = ("generated", "by hand", "by hand/generated", "whole host")
    print(f"{'million cells a second':24s} {heads[0]:>10s} {heads[1]:>10s} {heads[2]:>18s} {heads[3]:>11s}")
    for case in CASES:
        batch = make_batch(case, int(millions * 1e6 / (1 if case.samples == 1 else 8)))
        ours, theirs = generated(case, batch), hand_written(case, batch)
        print(f"{case.name:24s} {ours:10.1f} {theirs:10.1f} {theirs / ours:18.2f} {whole(case, batch):11.1f}")


if __name__ == "__main__":
    main()
