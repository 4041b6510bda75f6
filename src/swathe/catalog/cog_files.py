"""Scenes of rasters that no STAC describes: a folder of files whose names tell date and band.

Names are matched, as paths within the folder, by a pattern: a regular expression with the groups `date`, `band` and, where
several scenes are of one time, `scene`. Where a file lies is what its own header says.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import shapely
from shapely.geometry import mapping

from swathe.catalog.failures import SourceUnavailable, cannot_read
from swathe.catalog.item_cache import Item, Window
from swathe.catalog.items import Extent
from swathe.model.errors import SourceError, StorageError
from swathe.storage import ObjectStores, SourceFiles
from swathe.storage.sources import local_path

if TYPE_CHECKING:
    from swathe.rasters.blocks import BlockReader
    from swathe.rasters.source import SourceGrid

_TIMES = (
    "%Y%m%dT%H%M%S",
    "%Y-%m-%dT%H%M%S",
    "%Y%m%d%H%M%S",
    "%Y%m%d",
    "%Y-%m-%d",
    "%Y_%m_%d",
    "%Y.%m.%d",
    "%Y%j",
    "%Y-%j",
)
_RASTERS = (".tif", ".tiff", ".jp2", ".j2k", ".img", ".png", ".jpg", ".jpeg")
_MOST_FILES = 1_000_000
_LOCAL_THREADS, _REMOTE_THREADS = 4, 32
_EDGE_POINTS = 9
_LOOK_AGAIN_S = 2.0


@dataclass(frozen=True)
class _Named:
    """A file whose name fits."""

    href: str
    scene: str
    band: str
    time: datetime


class CogFiles:
    """A folder or a prefix of a bucket that the deployment names. Raises what `ItemFinder` raises."""

    def __init__(self, source: str, pattern: str, stores: ObjectStores, *, apart: bool = False) -> None:
        """The pattern's groups are as `CollectionSettings` has checked them.

        `apart`: rasters are opened in a process of their own, as the server's has no libraries for them.
        """
        self.base = source
        self.knows_places = False
        self._text = pattern
        self._pattern = re.compile(pattern)
        self._stores = stores
        self._files = SourceFiles(stores)
        self._has_bands = "band" in self._pattern.groupindex
        self._apart = apart
        self._reader: BlockReader | None = None
        self._stamp = (float("-inf"), "")

    @property
    def identity(self) -> str:
        return f"files {self.base} {self._text} {self._changes()}"

    def _changes(self) -> str:
        """What changes when files on this machine do; of those in stores nothing is known until they are listed."""
        if local_path(self.base) is None:
            return ""
        at, stamp = self._stamp
        if time.monotonic() - at > _LOOK_AGAIN_S:
            digest = hashlib.sha256()
            try:
                for href in self._files.list_files(self.base):
                    status = Path(href).stat()
                    digest.update(f"{href}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
            except (StorageError, OSError):
                digest.update(b"away")
            stamp = digest.hexdigest()
            self._stamp = time.monotonic(), stamp
        return stamp

    def find(self, window: Window) -> Iterator[list[Item]]:
        """The items of a window's time in one page; where they lie is found out by opening one file of each."""
        scenes: dict[str, list[_Named]] = {}
        for file in self._listed():
            if (window.start is None or window.start <= file.time) and (window.end is None or file.time < window.end):
                scenes.setdefault(file.scene, []).append(file)
        if self._apart:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                try:
                    yield process.submit(
                        _read_apart, self.base, self._text, self._stores, list(scenes.values())
                    ).result()
                except BrokenExecutor:
                    raise SourceUnavailable(f"The process that opened files of {self.base} has ended") from None
        else:
            yield self.read_items(list(scenes.values()))

    def read_items(self, scenes: list[list[_Named]]) -> list[Item]:
        """The items of scenes."""
        from swathe.rasters.blocks import BlockReader

        if self._reader is None:
            self._reader = BlockReader(self._stores)
        threads = _LOCAL_THREADS if local_path(self.base) is not None else _REMOTE_THREADS
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(partial(self._item, self._reader), scenes))

    def newest(self, window: Window, ids: frozenset[str] | None) -> None:
        """All have to be known."""

    def extent(self) -> Extent:
        """The first and the last time; nothing is opened for it."""
        times = [file.time for file in self._listed()]
        return None, min(times, default=None), max(times, default=None)

    def _listed(self) -> Iterator[_Named]:
        """The files whose names fit.

        Raises:
            SourceError: there are none, a date is none, or two files are the same band of one scene.
        """
        seen: dict[tuple[str, str], str] = {}
        count = fitting = 0
        base = self.base.removesuffix("/")
        local = local_path(base)
        base = base if local is None else str(local)
        try:
            for href in self._files.list_files(base):
                count += 1
                if count > _MOST_FILES:
                    raise SourceError(f"{self.base} holds more than {_MOST_FILES:,} files")
                if not href.lower().endswith(_RASTERS):
                    continue
                path = href.removeprefix(base).lstrip("/")
                match = self._pattern.search(unquote(path) if local is None else path)
                if match is None:
                    continue
                fitting += 1
                file = self._named(href, path, match.groupdict())
                twin = seen.setdefault((file.scene, file.band), href)
                if twin != href:
                    raise SourceError(
                        f"{twin} and {href} are both band {file.band} of {file.scene}; give the pattern a group"
                        " (?P<scene>…) that tells them apart"
                    )
                yield file
        except StorageError as error:
            raise cannot_read(error) from None
        if not fitting:
            raise SourceError(f"None of the {count} files of {self.base} is a raster whose name fits {self._text}")

    def _named(self, href: str, path: str, groups: Mapping[str, str | None]) -> _Named:
        time = _parse(groups.get("date") or "")
        if time is None:
            raise SourceError(
                f"{href}: '{groups.get('date')}' is no date that is understood; write dates like 20200619,"
                " 2020-06-19 or 20200619T101530, or mend the pattern"
            )
        stem = PurePosixPath(path).with_suffix("").name
        band = groups.get("band") or "B1"
        moment = f"{time:%Y%m%dT%H%M%S}"
        named = groups.get("scene")
        unnamed = moment if groups.get("band") else stem
        scene = f"{named}_{moment}" if named else unnamed
        return _Named(href, scene, band, time)

    def _item(self, reader: BlockReader, files: list[_Named]) -> Item:
        """The item of one scene. The bands of a scene cover the same ground, so one of them is opened."""
        info = reader.info(files[0].href)
        west, south, east, north = (footprint := _footprint(info.grid)).bounds
        several = info.band_count > 1 and not self._has_bands
        names = [{"name": f"B{number}"} for number in range(1, info.band_count + 1)] if several else []
        return {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": files[0].scene,
            "geometry": mapping(footprint),
            "bbox": [west, south, east, north],
            "properties": {"datetime": files[0].time.isoformat().replace("+00:00", "Z")},
            "assets": {
                file.band: {"href": file.href, "roles": ["data"], **({"bands": names} if names else {})}
                for file in sorted(files, key=lambda file: file.band)
            },
        }


def _read_apart(source: str, pattern: str, stores: ObjectStores, scenes: list[list[_Named]]) -> list[Item]:
    return CogFiles(source, pattern, stores).read_items(scenes)


def _parse(text: str) -> datetime | None:
    for form in _TIMES:
        try:
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if moment.strftime(form) == text:  # digits may be cut in several ways
            return moment
    return None


def _footprint(grid: SourceGrid) -> Any:
    """The outline of a raster in WGS84, its edges followed at several points."""
    from pyproj import Transformer

    steps = [number / (_EDGE_POINTS - 1) for number in range(_EDGE_POINTS)]
    ring = [(step, 0.0) for step in steps] + [(1.0, step) for step in steps[1:]]
    ring += [(1.0 - step, 1.0) for step in steps[1:]] + [(0.0, 1.0 - step) for step in steps[1:-1]]
    places = [grid.to_crs(x * grid.width, y * grid.height) for x, y in ring]
    change = Transformer.from_crs(grid.epsg, 4326, always_xy=True)
    lon, lat = change.transform([x for x, _ in places], [y for _, y in places])
    return shapely.Polygon(list(zip(lon, lat, strict=True)))
