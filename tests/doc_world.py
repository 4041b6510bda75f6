"""What the programs of the pages find: a folder with scenes and parcels, a server, an S3 server; and how they are run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas
import httpx
import numpy as np
import shapely

from builders import make_catalog, make_scene
from doc_pages import ROOT, Block, find_blocks
from servers import S3Server, moto_server
from serving import ENV, SOURCE, Serving

DATES = ("2018-05-02", "2018-06-11", "2018-07-21", "2018-09-09", "2020-06-10")
_EPSG = 32631  # 500,000 E 5,100,000 N is 3.0 E 46.05 N there


@dataclass
class World:
    """Servers are started when a page first needs them."""

    folder: Path
    stack: ExitStack

    def __post_init__(self) -> None:
        rng = np.random.default_rng(8)
        place = self.folder / "catalog"
        items = [
            make_scene(
                place,
                f"S{number}",
                f"{date}T10:30:00Z",
                {band: rng.integers(1, 5000, (128, 128)).astype("u2") for band in ("B02", "B03", "B04", "B08")},
                epsg=_EPSG,
                cloud_cover=4.0 * number,
            )
            for number, date in enumerate(DATES)
        ]
        make_catalog(place, items)
        boxes = [shapely.box(500_100 + 200 * i, 5_099_000, 500_230 + 200 * i, 5_099_150) for i in range(4)]
        names = [f"field {number}" for number in range(4)]
        self.parcels = geopandas.GeoDataFrame({"parcel_nr": names}, geometry=boxes, crs=_EPSG)
        self.write_config(self.folder / "swathe.toml")
        programs = self.folder / "bin"
        programs.mkdir()
        wrapper = programs / "swathe"
        code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from swathe.cli.main import run; run()"
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
        wrapper.chmod(0o755)

    def write_config(self, path: Path) -> None:
        """The quick start's configuration, its catalog changed to the scenes of this world; small besides."""
        (text,) = [
            block.text
            for block in find_blocks(ROOT / "docs/quickstart.md")
            if block.language == "toml" and "storage" not in tomllib.loads(block.text)
        ]
        path.write_text(self.translate(text) + "[dask]\nworkers = 1\n[services]\nprocesses = 1\nthreads = 1\n")

    def translate(self, text: str) -> str:
        """A block with this world's places in those of the page."""
        return text.replace("/data/my-stac-catalog", str(self.folder / "catalog"))

    @cached_property
    def server(self) -> Serving:
        """Buckets are folders in `home/buckets`."""
        return self.stack.enter_context(Serving(self.folder / "home", config=self.folder / "swathe.toml"))

    @cached_property
    def client(self) -> dict[str, str]:
        return self.server.client("pages")

    @cached_property
    def admin(self) -> dict[str, str]:
        """The client id and secret of an operator."""
        made = self.swathe("client", "create", "operator", "--scope", "admin", "--home", "home", "--json")
        keys = json.loads(made.stdout)
        return {name: keys[name] for name in ("client_id", "client_secret")}

    @cached_property
    def session(self) -> httpx.Client:
        session = self.server.session(self.client)
        self.stack.callback(session.close)
        return session

    @cached_property
    def s3(self) -> S3Server:
        """A bucket `scenes` with the catalog, a bucket `fields` with the parcels."""
        server = self.stack.enter_context(moto_server())
        s3 = server.client()
        for bucket in ("scenes", "fields"):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": server.region})
        for file in (self.folder / "catalog").rglob("*"):
            if file.is_file():
                s3.upload_file(str(file), "scenes", f"s2-l2a/{file.relative_to(self.folder / 'catalog')}")
        parcels = self.folder / "s3-parcels.gpkg"
        self.parcels.rename(columns={"parcel_nr": "identifier"}).to_file(parcels, layer="parcels", driver="GPKG")
        s3.upload_file(str(parcels), "fields", "parcels.gpkg")
        return server

    def s3_serving(self, text: str) -> Serving:
        """A server by a configuration with `[storage]` as a page has it; the deployment's keys are in variables."""
        config = self.folder / "s3.toml"
        config.write_text(re.sub("https://s3.example.org", self.s3.url, text) + "[dask]\nworkers = 1\n")
        with _variables(
            {
                "SWATHE_STORAGE_ACCESS_KEY": self.s3.access_key,
                "SWATHE_STORAGE_SECRET_ACCESS_KEY": self.s3.secret_access_key,
            },
            ENV,
        ):
            return self.stack.enter_context(Serving(self.folder / "s3-home", config=config))

    def swathe(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command in the folder."""
        command = [str(self.folder / "bin/swathe"), *arguments]
        return subprocess.run(command, cwd=self.folder, env=ENV, capture_output=True, text=True, check=True)


@contextlib.contextmanager
def _variables(values: Mapping[str, str], environment: Any) -> Iterator[None]:
    before = {name: environment.get(name) for name in values}
    environment.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del environment[name]
            else:
                environment[name] = value


@dataclass
class PageRun:
    """A page's programs one after another, in a folder of their own and with the names of those before."""

    world: World
    folder: Path
    replaced: dict[str, str] = field(default_factory=dict)
    """What stands on the page, and what is meant here."""
    variables: dict[str, str] = field(default_factory=dict)
    """Of shell programs, and the environment of Python's."""
    names: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def translate(self, text: str) -> str:
        for words, meant in self.replaced.items():
            text = text.replace(words, meant)
        return self.world.translate(text)

    def python(self, block: Block) -> None:
        code = compile(self.translate(block.text), f"{block.page} {block.number}", "exec")
        out = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), _variables(self.variables, os.environ):
            exec(code, self.names)
        self.printed = out.getvalue()

    def shell(self, block: Block, *, instead: Callable[[str], bool] = lambda line: False) -> None:
        """Runs a block in bash, but for lines of which `instead` says that it has seen to them."""
        text = self.translate(block.text).replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and not instead(line)]
        if not lines:
            return
        path = f"{self.world.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=self.folder,
            env={**ENV, **self.variables, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.printed = done.stdout
        assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
