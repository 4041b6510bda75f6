"""Checks of what computes: GDAL with its drivers and PROJ, and V8 in its process with its limits."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from swathe.cli.doctor.findings import Finding, Patient, ok, problem, warning

_DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG", "HFA")
_VARIABLES = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
_WHEELS = 'reinstall the wheels: pip install --force-reinstall "swathe[server]"'
_GOOD = "//VERSION=3\nfunction setup() { return {input: ['B1'], output: {bands: 1}} }\nfunction evaluatePixel(s) { return [1] }"
_ENDLESS = "//VERSION=3\nwhile (true) {}\nfunction setup() { return {} }"
_GREEDY = (
    "//VERSION=3\nconst kept = []; while (true) kept.push(new Array(1e5).fill(0.5))\nfunction setup() { return {} }"
)
_ENDLESS_S = 0.5
_HEAP_BYTES = 64 * 2**20


def check_gdal(_patient: Patient) -> list[Finding]:
    """Whether GDAL has its drivers and PROJ its data, and whether a COG and a JPEG 2000 are read right."""
    import pyproj
    import rasterio
    from rasterio.crs import CRS

    found = []
    with rasterio.Env() as env:
        missing = [name for name in _DRIVERS if name not in env.drivers()]
    text = f"GDAL {rasterio.__gdal_version__} (rasterio {rasterio.__version__}), PROJ {pyproj.proj_version_str}"
    if missing:
        found.append(problem("gdal", f"{text} lacks the drivers {', '.join(missing)}", _WHEELS))
    else:
        found.append(ok("gdal", text))
    given = [name for name in _VARIABLES if os.environ.get(name)]
    unset = f"unset {' '.join(given)}" if given else _WHEELS
    try:
        epsg = CRS.from_epsg(32633).to_epsg()
        east, north = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(15.0, 0.0)
        is_right = epsg == 32633 and abs(east - 500_000) < 0.01 and abs(north) < 0.01
    except Exception as error:
        found.append(problem("proj", f"coordinate systems cannot be used: {_one_line(error)}", unset))
    else:
        found.append(ok("proj", "finds its data") if is_right else problem("proj", "gives wrong coordinates", unset))
        if given:
            text = f"{', '.join(given)} of another installation may lead GDAL or PROJ astray"
            found.append(warning("proj", text, unset))
    return found + ([] if missing else _read_back())


def _read_back() -> list[Finding]:
    """Writes small rasters with GDAL, and reads them as jobs do."""
    import numpy as np
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    from swathe.rasters.blocks import BlockReader
    from swathe.settings import StorageSettings
    from swathe.storage import ObjectStores

    pixels = np.arange(64 * 64, dtype="u2").reshape(1, 64, 64)
    shape: dict[str, Any] = {"width": 64, "height": 64, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    shape["transform"] = rasterio.Affine(10, 0, 500_000, 0, -10, 5_100_000)
    found = []
    with tempfile.TemporaryDirectory(prefix="swathe-doctor-") as name, MemoryFile() as memory:
        with memory.open(driver="GTiff", **shape) as raster:
            raster.write(pixels)
        for driver, file, options in (
            ("COG", "a.tif", {"COMPRESS": "DEFLATE"}),
            ("JP2OpenJPEG", "a.jp2", {"QUALITY": "100", "REVERSIBLE": "YES"}),
        ):
            path = Path(name) / file
            try:
                with memory.open() as raster:
                    copy(raster, path, driver=driver, **options)
                reader = BlockReader(ObjectStores(StorageSettings()))
                blocks = list(reader.read_blocks(str(path), (1,), list(reader.info(str(path)).blocks())))
                is_right = len(blocks) == 1 and bool(np.array_equal(blocks[0][1], pixels))
            except Exception as error:
                found.append(problem("rasters", f"a small {driver} cannot be read: {_one_line(error)}", _WHEELS))
                continue
            if not is_right:
                found.append(problem("rasters", f"a small {driver} is read wrong", _WHEELS))
    return found or [ok("rasters", "a COG and a JPEG 2000 are read right")]


def check_v8(patient: Patient) -> list[Finding]:
    """Whether V8 runs a script, and whether one that loops or eats memory is ended."""
    import dataclasses

    from swathe.evalscript.runtime import ScriptHost, ScriptLimits
    from swathe.model.errors import ScriptError, ScriptMemory, ScriptTimeout

    limits = ScriptLimits.from_settings(patient.settings.limits)
    remedy = (
        f"{_WHEELS}; see that the process may have {limits.process_bytes // 2**20} MiB of address space (ulimit -v)"
    )
    try:
        with ScriptHost(limits) as host:
            host.setup(_GOOD)
    except ScriptError as error:
        return [problem("v8", f"an evalscript does not run: {error.message}", remedy)]
    found = [ok("v8", f"runs an evalscript in a process of its own{_v8_version()}")]
    quick = dataclasses.replace(limits, setup_s=_ENDLESS_S)
    small = dataclasses.replace(limits, heap_bytes=_HEAP_BYTES)
    for script, its, expected, what in (
        (_ENDLESS, quick, ScriptTimeout, "loops for ever"),
        (_GREEDY, small, ScriptMemory, "eats memory"),
    ):
        try:
            with ScriptHost(its) as host:
                host.setup(script)
        except expected:
            continue
        except ScriptError as error:
            text = f"a script that {what} ends otherwise than it should: {error.message}"
            found.append(
                warning("v8", text, "the script's process has limits of its own; look at ulimit and the container's")
            )
    return found


def _v8_version() -> str:
    from importlib import metadata

    try:
        return f" (mini-racer {metadata.version('mini-racer')})"
    except metadata.PackageNotFoundError:
        return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
