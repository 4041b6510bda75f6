#!/usr/bin/env python3
"""Fetches the browser parts that Swathe carries with it, in the versions of the table, from the npm registry.

Users need neither npm nor the internet: the files are part of the repository and of the wheel. Run this with npm at
hand when a version is to change, or with `--check` to see whether the files are those of the table:

    python scripts/refresh_vendored.py
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATIC = Path("src/swathe/server/static")


@dataclass(frozen=True)
class Package:
    """A package of the registry, the folder of the repository that its files go to, and which they are.

    `files` are paths in the package by the names that they get; the licence belongs to them.
    """

    name: str
    version: str
    folder: Path
    files: Mapping[str, str]


PACKAGES = (
    Package(
        name="swagger-ui-dist",
        version="5.35.0",
        folder=STATIC / "docs/swagger-ui",
        files={
            name: name
            for name in (
                "swagger-ui-bundle.js",
                "swagger-ui-bundle.js.LICENSE.txt",
                "swagger-ui.css",
                "LICENSE",
                "NOTICE",
            )
        },
    ),
    Package(
        name="maplibre-gl",
        version="6.17.0",
        folder=STATIC / "console/maplibre-gl",
        files={
            "maplibre-gl.mjs": "dist/maplibre-gl.mjs",
            "maplibre-gl-worker.mjs": "dist/maplibre-gl-worker.mjs",
            "maplibre-gl.css": "dist/maplibre-gl.css",
            "LICENSE.txt": "LICENSE.txt",
        },
    ),
    Package(
        name="uplot",
        version="1.6.32",
        folder=STATIC / "console/uplot",
        files={"uPlot.esm.js": "dist/uPlot.esm.js", "uPlot.min.css": "dist/uPlot.min.css", "LICENSE": "LICENSE"},
    ),
    # For the tests alone.
    Package(
        name="axe-core",
        version="4.14.1",
        folder=Path("tests/browser/axe"),
        files={"axe.min.js": "axe.min.js", "LICENSE": "LICENSE"},
    ),
)


def fetch(package: Package, folder: Path) -> dict[str, Path]:
    """The wanted files of a package, unpacked into `folder`, by the names that they get.

    Raises:
        SystemExit: npm is not there, does not have the package, or a file is not in it.
    """
    wanted = f"{package.name}@{package.version}"
    try:
        packed = subprocess.run(
            ["npm", "pack", "--silent", wanted], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.split()[-1]
    except FileNotFoundError:
        raise SystemExit("npm is not installed; it comes with Node.js") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"npm cannot fetch {wanted}: {error.stderr.strip()}") from None
    with tarfile.open(folder / packed) as archive:
        archive.extractall(folder, filter="data")
    found = {name: folder / "package" / path for name, path in package.files.items()}
    missing = [path for path in found.values() if not path.is_file()]
    if missing:
        raise SystemExit(f"{wanted} has no {missing[0].relative_to(folder / 'package')}")
    return found


def main() -> int:
    """Brings the files to the state of the table; with `--check`, says what is not in it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file differs")
    is_check = parser.parse_args().check
    differing = 0
    for package in PACKAGES:
        with tempfile.TemporaryDirectory() as folder:
            for name, source in fetch(package, Path(folder)).items():
                target = ROOT / package.folder / name
                if target.is_file() and filecmp.cmp(source, target, shallow=False):
                    continue
                differing += 1
                sys.stdout.write(f"{target.relative_to(ROOT)} {'differs' if is_check else 'is new'}\n")
                if not is_check:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
    return 1 if is_check and differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
