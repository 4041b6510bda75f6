"""What importing the client brings along."""

from __future__ import annotations

import subprocess
import sys

import swathe.client


def test_import_needs_none_of_the_engine_s_dependencies() -> None:
    heavy = [
        "numpy",
        "pandas",
        "osgeo",
        "rasterio",
        "shapely",
        "pyproj",
        "dask",
        "fastapi",
        "requests",
        "boto3",
        "tqdm",
    ]
    code = f"import sys, swathe.client; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_import_of_the_client_loads_nothing_of_swathe_but_the_model() -> None:
    code = "import sys, swathe.client; print({m.split('.')[1] for m in sys.modules if m.startswith('swathe.')})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(found.stdout) == {"client", "model"}


def test_all_names_are_there() -> None:
    assert all(hasattr(swathe.client, name) for name in swathe.client.__all__)
    assert swathe.client.S3Specification.__optional_keys__ == {"region"}
    assert swathe.client.S3Specification.__required_keys__ == {"url", "accessKey", "secretAccessKey"}
